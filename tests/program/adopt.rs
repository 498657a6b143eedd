//! bk-adopt: a lost catalog is built again, archives of other programs are taken in.

use std::fs;

use crate::support::{Sandbox, as_born, has};
use serde_json::{Value, json};

/// The lines of bk-ls without their ids.
fn without_ids(sandbox: &Sandbox) -> Vec<String> {
    let mut records = as_born(sandbox.records());
    for record in &mut records {
        record.as_object_mut().unwrap().remove("id");
    }
    records.iter().map(Value::to_string).collect()
}

#[test]
fn a_lost_catalog_is_built_again_line_by_line() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    // With what is hard to keep: quotes, newlines, NUL, any JSON, holes, hard links, FIFOs.
    let request = json!({
        "sources": ["app"], "backup_name": "hard", "backup_type": "automatic",
        "source_version": "v\"2\"\n", "description": "say \"hi\" \u{0}\n\tthere 'é' \\ {}",
        "backup_metadata": {"x": {"deep": [1.5, null, "a\nb", true]}, "é\"": -9007199254740993i64},
        "protected": true, "expires_at": "2199-01-01T00:00:00.123456Z",
    });
    sandbox.write("request", &request.to_string());
    sandbox.ok("truncate -s 5M app/holes; printf x >>app/holes; ln app/holes app/again; mkfifo app/pipe; ln -s nowhere app/link; mkdir app/empty");
    sandbox.ok("bk-create --name first app; bk-create - <request; bk-create --protect -t pre-upgrade --source-version 1 app; bk-create -e 1s app/config.toml app/log");
    sandbox.ok("bk-create --name removed app/log; bk-create --storage elsewhere --name third app");
    let before = without_ids(&sandbox);
    assert_eq!(before.len(), 6);
    assert!(before[1].contains(r#""description":"say \"hi\" \u0000\n\tthere"#));
    let hashes = sandbox.ok(
        "sha256sum home/archives/* elsewhere/*; stat -c '%n %i %y %Z' home/archives/* elsewhere/*",
    );

    sandbox.ok("rm home/catalog.duckdb");
    let ran = sandbox.ok("bk-adopt home/archives elsewhere -r");
    assert_eq!(without_ids(&sandbox), before);
    let ids = sandbox.ok("bk-ls --json | jq -c .id").stdout;
    assert_eq!(ids, "1\n2\n3\n4\n5\n6\n", "in the order of creation");
    assert_eq!(ran.stderr, "");
    assert!(
        ran.records()
            .iter()
            .all(|it| it["adopt"]["action"] == "adopted"
                && it["adopt"]["from"] == it["backup_path"]
                && it["file_status"] == "available")
    );
    assert_eq!(sandbox.ledger().len(), 6);
    assert_eq!(sandbox.ledger()[0], "first adopt ok");
    // Nothing was written to, moved or renamed.
    let after = sandbox.ok(
        "sha256sum home/archives/* elsewhere/*; stat -c '%n %i %y %Z' home/archives/* elsewhere/*",
    );
    assert_eq!(after.stdout, hashes.stdout);

    let again = sandbox.ok("bk-adopt -r . && bk-adopt");
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("", ""));
    let named = sandbox.ok("bk-adopt home/archives/first.tar.gz ./app/../elsewhere/third.tar.gz");
    assert_eq!(
        named.actions(),
        ["already known first", "already known third"]
    );
    assert_eq!(without_ids(&sandbox), before);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_makes_nothing() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b app; cp home/archives/b.tar.gz b2.tar.gz; rm home/catalog.duckdb");
    let ran = sandbox.ok("bk-adopt -n home/archives b2.tar.gz -r");
    assert_eq!(
        ran.actions(),
        ["would adopt a", "would adopt b", "already known b"]
    );
    assert!(ran.records().iter().all(|it| it["id"].is_null()));
    assert!(!sandbox.home().join("catalog.duckdb").exists());
    let done = sandbox.ok("bk-adopt home/archives b2.tar.gz -r");
    assert_eq!(
        done.actions(),
        ["adopted a", "adopted b", "already known b"]
    );
    let ids: Vec<_> = done.records().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(
        ids,
        [1, 2, 2],
        "a copy is told by the record that was just made"
    );
    for (would, did) in ran.records().iter().zip(done.records()) {
        for key in [
            "backup_name",
            "backup_hash",
            "file_count",
            "backup_path",
            "created_at",
        ] {
            assert_eq!(would[key], did[key]);
        }
    }
}

#[test]
fn a_damaged_catalog_is_moved_aside_and_built_again_as_its_message_says() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b app");
    let before = without_ids(&sandbox);
    sandbox.write("home/catalog.duckdb", "no catalog");
    sandbox.write("home/catalog.duckdb.wal", "its log");
    for line in ["bk-ls", "bk-adopt"] {
        let ran = sandbox.run(line);
        assert_eq!(ran.status, 1);
        assert!(ran.stderr.ends_with(
            "if it is damaged, move it and its .wal aside and build it again from the archives with bk-adopt\n"
        ), "{ran:#?}");
    }
    // Only one of the two: the catalog that would be made could not be opened.
    sandbox.ok("mkdir aside; mv home/catalog.duckdb aside");
    let home = sandbox.home().display().to_string();
    for line in ["bk-adopt", "bk-create --name c app"] {
        let program = line.split(' ').next().unwrap();
        sandbox.run(line).fails(1, &format!(
            "{program}: cannot make the catalog in '{home}': '{home}/catalog.duckdb.wal' is left of the catalog that was there: move it aside too\n"
        ));
    }
    sandbox.ok("rm -f home/archives/c.tar.gz; mv home/catalog.duckdb.wal aside; bk-adopt");
    assert_eq!(without_ids(&sandbox), before);
    assert_eq!(sandbox.ok("cat aside/*").stdout, "no catalogits log");
}

#[test]
fn archives_of_other_programs_are_adopted() {
    let sandbox = Sandbox::with_app();
    let python = "python3 -c 'import tarfile; t = tarfile.open(\"python.tar.gz\", \"w:gz\"); t.add(\"app\"); t.close()'";
    let mut made = vec!["gnu"];
    sandbox.ok("tar czf gnu.tar.gz app");
    if has("bsdtar") {
        sandbox.ok("bsdtar czf bsd.tar.gz app");
        made.push("bsd");
    }
    if has("python3") {
        sandbox.ok(python);
        made.push("python");
    }
    sandbox.ok("touch -d '2001-02-03 04:05:06.789 UTC' *.tar.gz");
    for name in made {
        let record = sandbox.ok(&format!("bk-adopt {name}.tar.gz")).record();
        assert_eq!(record["backup_name"], name);
        assert_eq!(record["backup_type"], "manual");
        assert_eq!(record["created_at"], "2001-02-03T04:05:06.789Z");
        let path = sandbox.path(&format!("{name}.tar.gz"));
        assert_eq!(record["backup_path"], path.to_str().unwrap());
        assert_eq!(record["backup_size"], fs::metadata(&path).unwrap().len());
        let sum = sandbox.ok(&format!("sha256sum {name}.tar.gz")).stdout;
        assert_eq!(record["backup_hash"], sum.split(' ').next().unwrap());
        let own = sandbox.ok("bk-create --storage own app").record();
        assert_eq!(record["file_count"], own["file_count"]);
        let bytes = &own["backup_metadata"]["content_bytes"];
        let hash = &record["backup_metadata"]["manifest_hash"];
        let metadata = json!({"content_bytes": bytes, "manifest_hash": hash});
        assert_eq!(record["backup_metadata"], metadata);
        assert_eq!(record["protected"], false);
        let files = sandbox.ok(&format!("bk-ls --files {name}")).stdout;
        assert!(files.contains("\"app/data/orders.db\""), "{files}");
    }
    // A catalog was made on the way, where none was.
    assert!(sandbox.home().join("catalog.duckdb").exists());
    if !has("git") {
        return;
    }
    sandbox.ok("git init -q repo && cd repo && echo x >x && git add x && git -c user.name=a -c user.email=a@b commit -qm x && git archive --format=tar.gz -o ../git.tar.gz HEAD");
    assert_eq!(
        sandbox.ok("bk-adopt git.tar.gz").actions(),
        ["adopted git"],
        "a comment that is no record"
    );
}

#[test]
fn what_cannot_be_a_name_is_made_one() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("tar czf x app/log; mkdir odd");
    let long = "é".repeat(120);
    for file in ["2026", "-n", ".hidden", "a b", "a\nb\u{1b}[31m", "", &long] {
        fs::copy(
            sandbox.path("x"),
            sandbox.path(&format!("odd/{file}.tar.gz")),
        )
        .unwrap();
    }
    // All but the copies of one name differ.
    let ran = sandbox.ok("bk-adopt -r odd");
    let mut names: Vec<_> = ran
        .records()
        .iter()
        .map(|it| it["backup_name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    let cut = "é".repeat(97);
    assert_eq!(
        names,
        [
            "a b",
            "a-b-[31m",
            "backup",
            "backup-2026",
            "hidden",
            "n",
            &cut
        ]
    );
    for name in names {
        sandbox.ok(&format!("bk-ls '{name}'"));
    }
}

#[test]
fn a_name_that_is_taken_is_the_same_archive_or_gets_a_number() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("mkdir 1 2 3; tar czf 1/x.tar.gz app; tar czf 2/x.tar.gz app/log; tar czf 3/x.tar.gz app/data");
    let one = |line: &str| sandbox.ok(line).actions().join(" ");
    assert_eq!(one("bk-adopt 1/x.tar.gz"), "adopted x");
    assert_eq!(one("bk-adopt 2/x.tar.gz"), "adopted x_2");
    assert_eq!(one("bk-adopt 3/x.tar.gz"), "adopted x_3");
    let copy = sandbox.ok("mkdir 4; cp 2/x.tar.gz 4; bk-adopt 4/x.tar.gz");
    assert_eq!(copy.actions(), ["already known x_2"]);
    let record = copy.record();
    assert_eq!(
        record["adopt"]["from"],
        sandbox.path("4/x.tar.gz").to_str().unwrap()
    );
    assert_eq!(
        record["backup_path"],
        sandbox.path("2/x.tar.gz").to_str().unwrap()
    );
    assert_eq!(copy.stderr, "");
    let gone = sandbox.ok("rm 2/x.tar.gz; bk-adopt 4/x.tar.gz");
    let path = sandbox.path("4/x.tar.gz").display().to_string();
    assert_eq!(
        gone.stderr,
        format!(
            "bk-adopt: warning: '{path}' is 'x_2', whose archive is missing: --relink makes its record point to this one\n"
        )
    );
    // Own archives are known by the name in them, whatever the file is named.
    sandbox.ok("bk-create --name own app; cp home/archives/own.tar.gz renamed.tar.gz");
    assert_eq!(one("bk-adopt renamed.tar.gz"), "already known own");
    sandbox.ok("rm home/catalog.duckdb home/archives/own.tar.gz");
    assert_eq!(one("bk-adopt renamed.tar.gz"), "adopted own");
}

#[test]
fn usage_is_checked_before_anything_is_done() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("tar czf a.tar.gz app");
    for (line, error) in [
        (
            "bk-adopt a.tar.gz -",
            "'-' is not a path: name archives on the command line, or a directory with -r",
        ),
        (
            "bk-adopt --relink . a.tar.gz",
            "--relink DIR takes no further paths",
        ),
        (
            "bk-adopt --relink . --damaged",
            "--relink and --damaged exclude each other",
        ),
        (
            "bk-adopt --nope",
            "invalid option '--nope'; try 'bk-adopt --help'",
        ),
    ] {
        let ran = sandbox.run(line);
        ran.fails(2, &format!("bk-adopt: {error}\n"));
    }
    assert!(!sandbox.home().exists());
    let home = sandbox.home().display().to_string();
    sandbox.run("bk-adopt").fails(
        1,
        &format!("bk-adopt: cannot read '{home}/archives': No such file or directory\n"),
    );
    assert!(!sandbox.home().exists());
}

#[test]
fn without_operands_the_storage_directory_is_looked_at() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --storage elsewhere --name a app; mkdir elsewhere/below; tar czf elsewhere/below/b.tar.gz app");
    let catalog = duckdb::Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
    let elsewhere = sandbox.path("elsewhere").display().to_string();
    let sql = format!(
        "INSERT INTO settings VALUES ('storage_dir', '{elsewhere}'); DELETE FROM backup_records"
    );
    catalog.execute_batch(&sql).unwrap();
    drop(catalog);
    assert_eq!(sandbox.ok("bk-adopt").actions(), ["adopted a"]);
    assert_eq!(sandbox.ok("bk-adopt -r").actions(), ["adopted b"]);
}

#[test]
fn a_record_that_cannot_be_read_keeps_its_name() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name x app; mkdir copy; cp home/archives/x.tar.gz copy");
    let catalog = duckdb::Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
    let sql = "UPDATE backup_records SET backup_hash = 'none'";
    catalog.execute_batch(sql).unwrap();
    drop(catalog);
    assert_eq!(
        sandbox.ok("bk-adopt copy/x.tar.gz").actions(),
        ["adopted x_2"]
    );
}

/// Its size and its hash are those of the damaged file, and prove nothing.
#[test]
fn what_was_damaged_when_it_was_adopted_stays_so() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name whole app; bk-create --name cut app; cp home/archives/cut.tar.gz cut; bk-rm cut; head -c -60 cut >home/archives/cut.tar.gz");
    let adopted = sandbox.ok("bk-adopt --damaged").record();
    let damage = adopted["backup_metadata"]["damaged"].as_str().unwrap();
    for (level, code) in [
        ("--quick", "damaged"),
        ("", "damaged"),
        ("--deep", "truncated"),
    ] {
        let ran = sandbox.run(&format!("bk-verify {level} cut"));
        assert_eq!(ran.status, 1, "{ran:#?}");
        let verdict = ran.record()["verify"].clone();
        assert_eq!(
            (&verdict["ok"], &verdict["problems"][0]["code"]),
            (&json!(false), &json!(code))
        );
        if code == "damaged" {
            assert_eq!(
                ran.stderr,
                format!(
                    "bk-verify: 'cut' is bad: its archive was damaged when it was adopted: {damage}\n"
                )
            );
        }
    }
    // Nor does it stand in for the one that is whole, verified or not.
    for verified in ["", "bk-verify whole >/dev/null;"] {
        sandbox.ok(verified);
        let kept = sandbox.ok("bk-prune --explain --keep-last 1 --json </dev/null");
        let reasons = |name: &str| {
            let record = kept
                .records()
                .into_iter()
                .find(|it| it["backup_name"] == name);
            record.unwrap()["decision"]["reasons"].clone()
        };
        assert_eq!(reasons("cut"), json!(["last 1", "newest in group"]));
        assert_eq!(reasons("whole"), json!(["newest that lacks nothing"]));
    }
}

/// What is odd in an archive is kept, also where the record of its creation is there already.
#[test]
fn a_creation_that_is_completed_gets_the_notes_on_its_archive() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app >/dev/null; gzip -dc home/archives/a.tar.gz >a.tar; tar --format=posix -rf a.tar app/config.toml; gzip -c a.tar >home/archives/a.tar.gz");
    sandbox.sql("UPDATE backup_records SET status = 'failed'");
    let completed = sandbox.ok("bk-adopt --json").record();
    assert_eq!(completed["adopt"]["action"], "completed");
    assert_eq!(
        completed["backup_metadata"]["archive_notes"],
        json!(["a name comes twice: the last one counts"])
    );
}
