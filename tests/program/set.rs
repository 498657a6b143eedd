//! bk-set: what is recorded of backups is changed as asked, all of it or none, and is told.

use crate::support::{Sandbox, as_born, has};
use serde_json::{Value, json};

/// Two backups, `a` and `b`.
fn two() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a -m ticket=1 app; bk-create --name b app");
    sandbox
}

/// What the ledger tells of the changes, oldest first: backup, and details.
fn changes(sandbox: &Sandbox) -> Vec<(String, Value)> {
    let catalog = sandbox.home().join("catalog.duckdb");
    let catalog = duckdb::Connection::open(catalog).unwrap();
    let sql = "SELECT backup_name, details FROM backup_events WHERE event = 'set' ORDER BY id";
    let mut rows = catalog.prepare(sql).unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
    rows.unwrap()
        .map(Result::unwrap)
        .map(|(name, details)| (name, serde_json::from_str(&details).unwrap()))
        .collect()
}

fn fields(record: &Value, keys: &[&str]) -> Vec<Value> {
    keys.iter().map(|key| record[*key].clone()).collect()
}

#[test]
fn each_flag_changes_its_field_and_no_other() {
    let sandbox = two();
    for (flags, key, values) in [
        ("-d 'a note'", "description", [json!(null), json!("a note")]),
        (
            "--description ''",
            "description",
            [json!("a note"), json!(null)],
        ),
        ("--protect", "protected", [json!(false), json!(true)]),
        ("--unprotect", "protected", [json!(true), json!(false)]),
        (
            "-t automatic",
            "backup_type",
            [json!("manual"), json!("automatic")],
        ),
        (
            "--source-version 2.4",
            "source_version",
            [json!(null), json!("2.4")],
        ),
        (
            "--source-version ''",
            "source_version",
            [json!("2.4"), json!(null)],
        ),
        (
            "-e 2030-01-01T00:00:00Z",
            "expires_at",
            [json!(null), json!("2030-01-01T00:00:00Z")],
        ),
        // A time past is one to expire at, too.
        (
            "-e 2020-01-01",
            "expires_at",
            [json!("2030-01-01T00:00:00Z"), json!("2020-01-01T00:00:00Z")],
        ),
        (
            "--expires never",
            "expires_at",
            [json!("2020-01-01T00:00:00Z"), json!(null)],
        ),
        ("--name c", "backup_name", [json!("a"), json!("c")]),
        ("--name a", "backup_name", [json!("c"), json!("a")]),
    ] {
        let before = sandbox.records();
        let ran = sandbox.ok(&format!("bk-set {flags} 1"));
        assert_eq!(ran.stderr, "");
        let mut expected = before.clone();
        assert_eq!(expected[0][key], values[0], "{flags}");
        expected[0][key] = values[1].clone();
        assert_eq!(sandbox.records(), expected, "{flags}");
        assert_eq!(ran.record(), expected[0], "{flags}");
        let name = before[0]["backup_name"].as_str().unwrap().to_owned();
        let details = json!({"old": {key: values[0]}, "new": {key: values[1]}});
        assert_eq!(changes(&sandbox).last(), Some(&(name, details)), "{flags}");
    }
}

#[test]
fn a_span_counts_from_now() {
    if !has("jq") {
        return;
    }
    let sandbox = two();
    let record = sandbox.ok("bk-set -e 30d b | jq '.expires_at[0:19] + \"Z\" | fromdate - now'");
    let seconds: f64 = record.stdout.trim().parse().unwrap();
    assert!((seconds - 30.0 * 86400.0).abs() < 60.0, "{seconds}");
    sandbox.ok("test $(bk-ls --expires-within 31d | jq .id) = 2; bk-set -e 0s b; bk-ls --expired | grep -q 2");
}

#[test]
fn metadata_is_read_as_bk_create_reads_it_and_removed_by_its_key() {
    let sandbox = two();
    let before = sandbox.records()[0]["backup_metadata"].clone();
    sandbox.ok(
        "bk-set -m owner=eve -m 'tags=[\"x\",1]' -m ticket= -m a=b=c -m empty='\"\"' -m nobody= a",
    );
    let mut expected = before;
    expected.as_object_mut().unwrap().remove("ticket");
    for (key, value) in [
        ("owner", json!("eve")),
        ("tags", json!(["x", 1])),
        ("a", json!("b=c")),
        ("empty", json!("")),
    ] {
        expected[key] = value;
    }
    assert_eq!(sandbox.records()[0]["backup_metadata"], expected);
    let details = json!({
        "old": {"backup_metadata": {"ticket": 1}},
        "new": {"backup_metadata": {"owner": "eve", "tags": ["x", 1], "a": "b=c", "empty": ""}},
    });
    assert_eq!(changes(&sandbox), [("a".to_owned(), details)]);
    for (pair, reason) in [
        (
            "sources=x",
            "the metadata key 'sources' is reserved: use another",
        ),
        (
            "last_verified=",
            "the metadata key 'last_verified' is reserved: use another",
        ),
        (
            "moving={}",
            "the metadata key 'moving' is reserved: use another",
        ),
        ("=x", "a metadata key cannot be empty"),
        ("x", "invalid metadata 'x': use KEY=VALUE"),
    ] {
        let ran = sandbox.run(&format!("bk-set -m '{pair}' a"));
        ran.fails(2, &format!("bk-set: --metadata: {reason}\n"));
    }
    assert_eq!(changes(&sandbox).len(), 1);
}

#[test]
fn what_is_as_asked_is_printed_and_not_noted() {
    let sandbox = two();
    sandbox.ok("bk-set --protect -m k=1 b");
    let again = sandbox.ok("bk-set --protect -m k=1 -d '' -e never -t manual --name b b");
    assert_eq!(again.record(), sandbox.records()[1]);
    assert_eq!(changes(&sandbox).len(), 1);
    // One that is named twice is printed twice, and changed once.
    let ran = sandbox.ok("bk-set -d x 1 a 1");
    assert_eq!(ran.records().len(), 3);
    assert_eq!(changes(&sandbox).len(), 2);
}

#[test]
fn lines_keep_their_order_and_the_keys_that_nobody_knows() {
    let sandbox = two();
    let ran = sandbox.ok("(echo '{\"id\":2,\"note\":7,\"backup_type\":\"automatic\",\"protected\":true}'; echo '\"a\"') | bk-set -d x");
    let keys = [
        "id",
        "note",
        "backup_type",
        "protected",
        "description",
        "file_status",
    ];
    let all: Vec<_> = ran.records().iter().map(|it| fields(it, &keys)).collect();
    assert_eq!(
        all,
        [
            [
                json!(2),
                json!(7),
                json!("manual"),
                json!(false),
                json!("x"),
                json!("available")
            ],
            [
                json!(1),
                json!(null),
                json!("manual"),
                json!(false),
                json!("x"),
                json!("available")
            ],
        ]
    );
    let table = sandbox.ok("bk-ls | bk-set --table --protect").stdout;
    assert!(
        table.starts_with("ID  TYPE ") && table.lines().count() == 3,
        "{table}"
    );
}

#[test]
fn what_cannot_be_changed_is_told_and_the_others_are() {
    let sandbox = two();
    let ran = sandbox
        .run("echo '{\"id\":1,\"backup_name\":\"b\"}' | bk-set -d x; bk-set -d x 9 b nobody");
    ran.fails(
        1,
        "bk-set: the backup 1 is named 'a', not 'b': the line is from another catalog
bk-set: there is no backup 9\nbk-set: there is no backup 'nobody'\n",
    );
    assert_eq!(ran.record()["description"], "x");
    assert_eq!(sandbox.records()[0]["description"], json!(null));
}

#[test]
fn a_backup_that_somebody_is_at_work_on_is_left_alone() {
    if !has("flock") {
        return;
    }
    let sandbox = two();
    sandbox.ok("cp home/archives/a.tar.gz home/archives/a.tar.gz.partial");
    for (status, work) in [
        ("creating", "creating"),
        ("deleting", "removing"),
        ("moving", "moving"),
    ] {
        sandbox.sql(&format!(
            "UPDATE backup_records SET status = '{status}', backup_metadata = '{{\"moving\":{{\"to\":\"/nowhere/a.tar.gz\"}}}}' WHERE id = 1"
        ));
        let before = sandbox.records()[0].clone();
        // Who holds the file is alive, so that recovery lets the record be.
        let ran = sandbox.run(
            "flock home/archives/a.tar.gz flock home/archives/a.tar.gz.partial bk-set -d again-$RANDOM 1 b",
        );
        ran.fails(
            1,
            &format!("bk-set: cannot change 'a': another program is {work} it\n"),
        );
        assert_eq!(ran.record()["id"], 2);
        assert_eq!(sandbox.records()[0], before);
    }
    let events = changes(&sandbox);
    assert!(events.iter().all(|(name, _)| name == "b"), "{events:?}");
}

#[test]
fn a_failed_attempt_may_be_changed() {
    let sandbox = two();
    sandbox.sql("UPDATE backup_records SET status = 'failed' WHERE id = 1");
    assert_eq!(sandbox.ok("bk-set -d why a").record()["description"], "why");
}

#[test]
fn nothing_is_done_on_a_mistake() {
    let sandbox = two();
    let before = sandbox.records();
    for (line, reason) in [
        ("bk-set a", "nothing to change; try 'bk-set --help'"),
        (
            "bk-set --protect --unprotect a",
            "--protect and --unprotect exclude each other",
        ),
        ("bk-set --name c a b", "--name takes one backup, not 2"),
        ("bk-ls | bk-set --name c", "--name takes one backup, not 2"),
        (
            "bk-set --name 7 a",
            "--name: invalid name '7': use more than digits, which are an id",
        ),
        (
            "bk-set --name a/b a",
            "--name: invalid name 'a/b': use no slash and no control character",
        ),
        (
            "bk-set --type daily a",
            "--type: invalid type 'daily': use manual, pre-upgrade or automatic",
        ),
        (
            "bk-set -e soon a",
            "--expires: invalid time 'soon': use 2026-11-24, 2026-11-24T08:00:00Z, 30d, 6mo or 12h",
        ),
        (
            "bk-set -d x - a",
            "'-' must be the only operand: it reads standard input",
        ),
        (
            "(bk-ls; echo '{\"id\":') | bk-set -d x",
            "bad input: line 3: it is not JSON (column 6)",
        ),
        (
            "(bk-ls; printf 1) | bk-set -d x",
            "bad input: line 3: it ends without a newline, so the number may be cut short",
        ),
        (
            "bk-ls | head -c -5 | bk-set -d x",
            "bad input: line 2: it is not JSON (column 566)",
        ),
    ] {
        let ran = sandbox.run(line);
        if line.contains("head") {
            assert!(
                ran.status == 2 && ran.stderr.contains("line 2: it is not JSON"),
                "{ran:#?}"
            );
        } else {
            ran.fails(2, &format!("bk-set: {reason}\n"));
        }
        assert_eq!(ran.stdout, "");
    }
    let none = sandbox.ok("bk-set -d x </dev/null; bk-set --name c - </dev/null");
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", ""));
    assert_eq!(sandbox.records(), before);
    assert_eq!(changes(&sandbox), []);
}

#[test]
fn it_makes_no_catalog() {
    let sandbox = Sandbox::new();
    let home = sandbox.home().display().to_string();
    sandbox.run("bk-set -d x 1").fails(
        1,
        &format!("bk-set: there is no catalog in '{home}': bk-create makes one with the first backup, bk-adopt one of archives that are there; --home names another place\n"),
    );
    assert!(!sandbox.home().exists());
}

#[test]
fn a_name_goes_from_one_to_another_and_is_never_had_by_two() {
    let sandbox = two();
    sandbox
        .run("bk-set --name b -d x a")
        .fails(1, "bk-set: cannot change 'a': the name 'b' is taken\n");
    assert_eq!(
        sandbox.records()[0]["description"],
        json!(null),
        "all or nothing"
    );
    // With other changes of the same row in the same transaction, over and over.
    for n in 0..5 {
        sandbox.ok(&format!(
            "bk-set --name c -d {n} -m n={n} --protect 1 && bk-set --name a -t automatic -e {n}d 2 && bk-set --name b --unprotect c"
        ));
        let names: Vec<_> = sandbox
            .records()
            .iter()
            .map(|it| fields(it, &["id", "backup_name"]))
            .collect();
        assert_eq!(names, [[json!(1), json!("b")], [json!(2), json!("a")]]);
        sandbox.ok("bk-set --name c 1 && bk-set --name b 2 && bk-set --name a 1");
    }
    sandbox.ok("bk-set --name x a && bk-ls x && bk-set -d found x && ! bk-ls a 2>/dev/null");
    // The file keeps its name, and its place.
    let record = sandbox.ok("bk-ls x").record();
    assert_eq!(record["file_name"], "a.tar.gz");
    assert_eq!(record["file_status"], "available");
}

#[test]
fn the_old_name_never_leads_to_the_archive_of_the_renamed_one() {
    let sandbox = two();
    sandbox.ok("bk-set --name x a");
    let archives = sandbox.home().join("archives").display().to_string();
    let taken = format!(
        "bk-create: cannot create 'a': the name is taken, by a backup or by a file in '{archives}'\n"
    );
    sandbox.run("bk-create --name a app").fails(1, &taken);
    // Also where its archive is missing: what removes the one must not remove the other's.
    sandbox.ok("mv home/archives/a.tar.gz kept");
    sandbox.run("bk-create --name a app").fails(1, &taken);
    assert!(!sandbox.archive("a").exists());
    sandbox.ok("mv kept home/archives/a.tar.gz");
    // Elsewhere the name is free.
    sandbox.ok("bk-create --storage other --name a app");
    let mut paths: Vec<_> = sandbox
        .records()
        .iter()
        .map(|it| it["backup_path"].to_string())
        .collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 3);
    // And a failed attempt that was renamed keeps its place too.
    sandbox.sql("UPDATE backup_records SET status = 'failed' WHERE backup_name = 'b'");
    sandbox.ok("bk-set --name was-b b; rm home/archives/b.tar.gz");
    let ran = sandbox.run("bk-create --name b app");
    ran.fails(1, &taken.replace("'a'", "'b'"));
}

#[test]
fn the_archive_of_a_renamed_one_is_known() {
    let sandbox = two();
    sandbox.ok("bk-set --name x a");
    assert_eq!(
        sandbox.ok("bk-adopt home/archives/a.tar.gz").actions(),
        ["already known x"]
    );
    assert_eq!(
        sandbox.ok("bk-verify --deep x").record()["verify"]["ok"],
        true
    );
    sandbox.ok("bk-restore -C out x && diff -r app out/app");
}

/// The archive keeps the facts of its birth, and so does a catalog that is built from it.
#[test]
fn a_lost_catalog_comes_back_as_the_archives_were_born() {
    let sandbox = two();
    let hash = "sha256sum home/archives/*";
    let (archives, born) = (sandbox.ok(hash).stdout, as_born(sandbox.records()));
    sandbox.ok(
        "bk-set --name x -d changed -e 5y --protect -t pre-upgrade --source-version 9 -m ticket=2 -m new=1 a",
    );
    assert_ne!(as_born(sandbox.records()), born);
    assert_eq!(sandbox.ok(hash).stdout, archives);
    sandbox.ok("rm home/catalog.*; bk-adopt");
    assert_eq!(as_born(sandbox.records()), born);
}

#[test]
fn a_line_never_grows_longer_than_programs_read() {
    if !has("jq") {
        return;
    }
    let sandbox = two();
    let pad = "UPDATE backup_records SET backup_metadata = json_merge_patch(backup_metadata, json_object('pad', repeat('x', 8300000))) WHERE id = 1";
    sandbox.sql(pad);
    let note = "-d $(printf %0100000d 0)";
    let ran = sandbox.run(&format!(
        "set -o pipefail; bk-set {note} a b | jq -r .backup_name"
    ));
    ran.fails(
        1,
        "bk-set: cannot change 'a': its record would be longer than 8388608 bytes\n",
    );
    assert_eq!(ran.stdout, "b\n");
    sandbox
        .ok("bk-ls | bk-set -d short | bk-ls - | bk-verify --quick >/dev/null && bk-set -m pad= a");
    assert_eq!(sandbox.ok(&format!("bk-set {note} a")).record()["id"], 1);
}

#[test]
#[ignore = "a minute: make test-long"]
fn a_hundred_thousand_are_changed_in_one_session() {
    if !has("jq") {
        return;
    }
    let sandbox = two();
    sandbox.sql(
        "INSERT INTO backup_records SELECT nextval('backup_id'), 'auto-' || n, 'automatic', 'completed', NULL,
             '/nowhere/auto-' || n || '.tar.gz', 1000, 5, 'gzip', repeat('a', 64), NULL,
             '{\"sources\":[\"/srv/app\"],\"content_bytes\":100}', false, TIMESTAMP '2020-01-01' + to_seconds(n), NULL
         FROM range(100000) AS t(n)",
    );
    let ran = sandbox.ok("bk-ls --type automatic | bk-set -e 90d | jq -c .expires_at | sort | uniq -c | awk '{print $1}'");
    assert_eq!(ran.stdout, "100000\n");
    assert_eq!(changes(&sandbox).len(), 100_000);
    sandbox.ok("test $(bk-ls --expires-within 91d | wc -l) = 100000");
}
