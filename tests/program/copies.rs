//! What is known of copies elsewhere: in every record, as a filter, and as what a removal needs.

use crate::support::{Ran, Sandbox};
use serde_json::{Value, json};

/// Four completed backups, of which `a` and `b` have complete copies, and one that failed.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for it in a b c d; do bk-create --name $it app; done >/dev/null");
    sandbox.run("ulimit -f 8; trap '' XFSZ; bk-create --name failed app");
    for location in ["nas", "offsite"] {
        sandbox.location(location);
    }
    for (backup, location, status) in [
        ("a", "offsite", "complete"),
        ("a", "nas", "complete"),
        ("b", "offsite", "complete"),
        ("b", "nas", "failed"),
        ("c", "offsite", "copying"),
    ] {
        sandbox.copy(backup, location, status);
    }
    sandbox
}

fn names(ran: &Ran) -> Vec<String> {
    let name = |it: &Value| it["backup_name"].as_str().unwrap().to_owned();
    ran.records().iter().map(name).collect()
}

/// What a record tells of the copy of `a` at the location `offsite`.
fn copy_of_a(record: &Value) -> Value {
    json!({
        "location": "offsite", "key": "web/archives/a-0123456789ab.tar.gz", "version_id": null,
        "size": record["backup_size"], "hash": record["backup_hash"], "recipients": [],
        "storage_class": null, "locked_until": null, "status": "complete",
        "copied_at": "2026-11-24T09:00:00.5Z",
        "checked_at": null
    })
}

#[test]
fn every_program_that_prints_a_record_tells_its_copies_in_one_place() {
    let sandbox = Sandbox::with_app();
    let made = sandbox.ok("bk-create --name a app").record();
    assert_eq!(made["copies"], json!([]));
    sandbox.location("offsite");
    sandbox.copy("a", "offsite", "complete");
    sandbox.sql("UPDATE backup_copies SET copied_at = '2026-11-24 09:00:00.5'");
    for line in [
        "bk-ls",
        "bk-verify a",
        "bk-set -d new a",
        "bk-mv a elsewhere",
        "bk-restore -C out a",
        "mv elsewhere by; bk-adopt --relink by",
        "bk-prune -n --keep-last 1 --explain",
        "bk-rm -n a",
        "bk-rm a",
    ] {
        let record = sandbox.ok(&format!("{line} </dev/null")).record();
        let keys: Vec<_> = record.as_object().unwrap().keys().collect();
        assert_eq!(
            keys[15..18],
            ["file_status", "file_name", "copies"],
            "{line}"
        );
        let copies = record["copies"].as_array().unwrap();
        assert_eq!(copies[..], [copy_of_a(&record)], "{line}");
        // To the letter: the order of its keys is a contract too.
        let keys: Vec<_> = copies[0].as_object().unwrap().keys().cloned().collect();
        let wanted: Vec<_> = copy_of_a(&record)
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(keys, wanted, "{line}");
    }
}

#[test]
fn the_catalog_says_what_is_copied_and_no_line_of_input_does() {
    let sandbox = sandbox();
    let line = r#"{"id":3,"copies":[{"location":"nas","status":"complete"}],"ticket":7}"#;
    let record = sandbox.ok(&format!("echo '{line}' | bk-ls -")).record();
    assert_eq!(record["copies"][0]["status"], "copying");
    assert_eq!(record["ticket"], 7);
    let keys: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys[17..], ["copies", "ticket"]);
    let ran = sandbox.run(&format!("echo '{line}' | bk-rm --require-copy nas"));
    let why = "it has no copy at 'nas': bk-push nas c makes one";
    ran.fails(1, &format!("bk-rm: cannot remove 'c': {why}\n"));
    // Copies come by their locations.
    let a = sandbox.ok("bk-ls a | jq -c '[.copies[].location]'").stdout;
    assert_eq!(a, "[\"nas\",\"offsite\"]\n");
}

#[test]
fn a_damaged_row_is_told_with_its_record_and_hides_no_other() {
    let sandbox = sandbox();
    sandbox.sql(
        "UPDATE backup_copies SET recipients = 'x' WHERE backup_name = 'a' AND location = 'nas'",
    );
    let ran = sandbox.run("bk-ls --json");
    ran.fails(1, "bk-ls: the record 1 'a' in the catalog is damaged: its copy at 'nas': its recipients are no array of texts: expected value at line 1 column 1\n");
    assert_eq!(names(&ran), ["b", "c", "d", "failed"]);
}

#[test]
fn backups_are_listed_by_where_they_have_a_copy() {
    let sandbox = sandbox();
    for (flags, expected) in [
        ("--with-copy offsite", &["a", "b"][..]),
        ("--with-copy offsite --with-copy nas", &["a"]),
        ("--without-copy offsite", &["c", "d"]),
        ("--without-copy nas", &["b", "c", "d"]),
        ("--without-copy nas --without-copy offsite", &["c", "d"]),
        ("--with-copy offsite --without-copy nas", &["b"]),
        ("--with-copy nas --latest", &["a"]),
    ] {
        let ran = sandbox.ok(&format!("bk-ls --json {flags}"));
        assert_eq!(names(&ran), expected, "{flags}");
        let piped = sandbox.ok(&format!("bk-ls | bk-ls --json {flags} -"));
        assert_eq!(names(&piped), expected, "{flags}");
    }
    // The archive need not be there.
    sandbox.ok("rm home/archives/d.tar.gz");
    let there = sandbox.ok("bk-ls --json --without-copy offsite --available");
    assert_eq!(names(&there), ["c"]);
    assert_eq!(
        names(&sandbox.ok("bk-ls --json --without-copy offsite")),
        ["c", "d"]
    );
}

#[test]
fn people_see_the_copies_too() {
    let sandbox = sandbox();
    let table = sandbox.ok("bk-ls --table").stdout;
    let lines: Vec<_> = table.lines().collect();
    let at = lines[0].find("COPIES").unwrap();
    let cell = |line: &str| line[at..].split("  ").next().unwrap().trim().to_owned();
    let cells: Vec<_> = lines[1..].iter().map(|it| cell(it)).collect();
    assert_eq!(cells, ["nas, offsite", "offsite", "-", "-", "-"], "{table}");
    for line in ["bk-ls --table c d", "bk-ls --wide c d"] {
        let without = sandbox.ok(line).stdout;
        assert!(!without.contains("COPIES"), "{without}");
    }
    sandbox.sql(
        "UPDATE backup_copies SET checked_at = '2026-11-25 08:00:00', locked_until = '2027-01-01 00:00:00',
         copied_at = '2026-11-24 08:00:00' WHERE backup_id = 1 AND location = 'offsite'",
    );
    let detail = sandbox.ok("bk-ls --table -l a c").stdout;
    let after = detail.split("copy              offsite").nth(1).unwrap();
    let told: Vec<_> = after.lines().take(4).collect();
    assert_eq!(
        told,
        [
            ", complete: web/archives/a-0123456789ab.tar.gz",
            "copied            2026-11-24T08:00:00Z (2026-11-24 08:00:00 UTC)",
            "checked           2026-11-25T08:00:00Z (2026-11-25 08:00:00 UTC)",
            "locked until      2027-01-01T00:00:00Z (2027-01-01 00:00:00 UTC)",
        ]
    );
    let c = "\ncopy              offsite, copying: web/archives/c-0123456789ab.tar.gz\n";
    assert!(detail.contains(c), "{detail}");
}

#[test]
fn a_location_that_nobody_named_is_a_mistake_and_nothing_is_done() {
    let sandbox = sandbox();
    for line in [
        "bk-ls --with-copy nass",
        "bk-ls --with-copy nas --without-copy nass",
        "bk-rm --require-copy nas --require-copy nass a",
        "bk-rm -n --require-copy nass a",
        "bk-prune --require-copy nass --expired --all",
    ] {
        let program = line.split(' ').next().unwrap();
        let known = "there is no location 'nass': use nas or offsite";
        let ran = sandbox.run(line);
        ran.fails(2, &format!("{program}: {known}\n"));
        assert_eq!(ran.stdout, "", "{line}");
    }
    assert_eq!(sandbox.records().len(), 5);
    sandbox.run("bk-ls --with-copy 'a b'").fails(
        2,
        "bk-ls: --with-copy: invalid location 'a b': use letters, digits, '.', '_' and '-'\n",
    );
    sandbox.sql("DELETE FROM settings WHERE name = 'location.nas'");
    sandbox
        .run("bk-ls --with-copy nas")
        .fails(2, "bk-ls: there is no location 'nas': use offsite\n");
    sandbox.sql("DELETE FROM settings WHERE name = 'location.offsite'");
    sandbox.run("bk-ls --with-copy nas").fails(
        2,
        "bk-ls: there is no location 'nas': 'bk-push --set nas URL' names one\n",
    );
}

#[test]
fn a_removal_that_requires_a_copy_leaves_what_has_none() {
    let sandbox = sandbox();
    let refused = "bk-rm: cannot remove 'c': it has no copy at 'offsite': bk-push offsite c makes one\n\
         bk-rm: cannot remove 'd': it has no copy at 'offsite': bk-push offsite d makes one\n";
    for (flags, gone) in [("-n", vec![]), ("", vec!["b", "failed"])] {
        // One that failed has nothing that could be copied.
        let ran = sandbox.run(&format!(
            "bk-rm {flags} --require-copy offsite b c d failed"
        ));
        ran.fails(1, refused);
        assert_eq!(names(&ran), ["b", "failed"]);
        let left = names(&sandbox.ok("bk-ls --json"));
        assert!(
            left.iter().all(|it| !gone.contains(&it.as_str())),
            "{left:?}"
        );
    }
    sandbox.ok("bk-rm --require-copy offsite --require-copy nas a");
    assert_eq!(names(&sandbox.ok("bk-ls --json")), ["c", "d"]);
    // What is known of the copies stays when the records are gone.
    let known = [
        "a nas complete",
        "a offsite complete",
        "b nas failed",
        "b offsite complete",
        "c offsite copying",
    ];
    assert_eq!(sandbox.copies(), known);
    sandbox.ok("bk-rm c d");
    assert_eq!(sandbox.copies(), known);
}

/// `NAME ACTION: REASONS` of each line.
fn decisions(ran: &Ran) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let one = |it: &Value| {
        let decision = &it["decision"];
        let reasons = decision["reasons"].as_array().unwrap();
        let reasons: Vec<_> = reasons.iter().map(text).collect();
        let (name, action) = (text(&it["backup_name"]), text(&decision["action"]));
        format!("{name} {action}: {}", reasons.join(", "))
    };
    ran.records().iter().map(one).collect()
}

#[test]
fn a_policy_that_requires_a_copy_keeps_what_has_none() {
    let sandbox = sandbox();
    // Limits come after it.
    let limit = "--keep-last 9 --max-count 1 --require-copy offsite";
    let limited = sandbox.run(&format!("bk-prune -n {limit} </dev/null"));
    assert_eq!(names(&limited), ["a", "b"]);
    let unmet = "bk-prune: warning: --max-count 1 cannot be met: what is left may not be removed\n";
    assert_eq!(limited.stderr, unmet);
    // So does the expiry.
    sandbox
        .sql("UPDATE backup_records SET expires_at = created_at WHERE backup_name IN ('b', 'c')");
    sandbox.sql("UPDATE backup_records SET created_at = created_at - INTERVAL 30 DAY WHERE backup_name = 'failed'");
    let policy = "--keep-last 1 --max-count 1 --require-copy offsite";
    let explained = sandbox.run(&format!("bk-prune --explain {policy} </dev/null"));
    assert_eq!(explained.status, 0);
    let expired = explained.records()[2]["decision"]["reasons"][0].clone();
    let expired = expired.as_str().unwrap();
    assert!(expired.starts_with("expired "), "{expired}");
    let told = [
        "failed remove: failed, older than 7d".to_owned(),
        "a remove: kept by no rule".to_owned(),
        format!("b remove: {expired}"),
        "c keep: no copy at offsite".to_owned(),
        "d keep: no copy at offsite, last 1, newest in group".to_owned(),
    ];
    assert_eq!(decisions(&explained), told);
    assert_eq!(explained.stderr, unmet);
    let ran = sandbox.ok(&format!("bk-prune {policy} </dev/null"));
    assert_eq!(names(&ran), ["failed", "a", "b"]);
    assert_eq!(names(&sandbox.ok("bk-ls --json")), ["c", "d"]);
    // The ledger tells which copy let it go.
    let events = sandbox.ok("bk-log --json --event prune a").records();
    let rules = events[0]["details"]["rules"].as_array().unwrap();
    let copied = "require-copy offsite: copied ";
    assert_eq!(rules[0], "keep-last 1: number 2 of 2");
    assert!(rules[1].as_str().unwrap().starts_with(copied), "{rules:?}");
    // It is no rule that says what goes.
    let ran = sandbox.run("bk-prune --require-copy offsite </dev/null");
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.starts_with("bk-prune: there is no rule: "));
    // Without it, or where the copy is complete, the policy goes on.
    sandbox.sql("DELETE FROM backup_copies");
    sandbox.copy("c", "offsite", "complete");
    let both = "--require-copy offsite --require-copy nas";
    assert!(names(&sandbox.ok(&format!("bk-prune --expired {both} </dev/null"))).is_empty());
    let ran = sandbox.ok("bk-prune --expired --require-copy offsite </dev/null");
    assert_eq!(names(&ran), ["c"]);
}

#[test]
fn a_copy_that_is_lost_meanwhile_keeps_the_backup() {
    if !crate::support::can_trace() {
        return;
    }
    let sandbox = sandbox();
    // Decided, and not yet decided again under the lock.
    let change = "touch ready; while [ -e ready ]; do sleep 0.05; done";
    let line = "bk-prune --keep-last 1 --require-copy offsite --all";
    let waits = std::thread::scope(|scope| {
        let ran = scope.spawn(|| {
            sandbox.stopped_at(
                "statx,newfstatat",
                "home/archives/a.tar.gz",
                1,
                line,
                change,
            )
        });
        while !sandbox.path("ready").exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        sandbox.sql("UPDATE backup_copies SET status = 'failed' WHERE backup_name = 'a'");
        std::fs::remove_file(sandbox.path("ready")).unwrap();
        ran.join().unwrap()
    });
    assert_eq!(waits.status, 0, "{waits:#?}");
    assert_eq!(names(&waits), ["b"]);
    assert_eq!(names(&sandbox.ok("bk-ls --json --with-copy nas")), [""; 0]);
}

#[test]
fn a_job_keeps_what_has_no_copy_yet() {
    let sandbox = Sandbox::with_app();
    let set = "bk-auto --set -s @daily --enable --keep-last 1 --require-copy nas --require-copy offsite -- app";
    let unknown = |remedy: &str| {
        let told = format!("bk-auto: there is no location {remedy}\n");
        sandbox.run(set).fails(2, &told);
    };
    unknown("'nas': 'bk-push --set nas URL' names one");
    sandbox.ok("test ! -e home/catalog.duckdb");
    sandbox.ok("bk-auto --set -s @daily -- app");
    sandbox.location("nas");
    unknown("'offsite': use nas");
    sandbox.location("offsite");
    sandbox.ok(set);
    let job = sandbox.ok("bk-auto --list --json").record();
    let flags = [
        "--keep-last=1",
        "--require-copy=nas",
        "--require-copy=offsite",
    ];
    assert_eq!(job["prune_flags"], json!(flags));
    for _ in 0..3 {
        sandbox.ok("bk-auto --now default");
    }
    let all = names(&sandbox.ok("bk-ls --json"));
    assert_eq!(all.len(), 3);
    for location in ["nas", "offsite"] {
        sandbox.copy(&all[1], location, "complete");
    }
    sandbox.copy(&all[0], "nas", "complete");
    sandbox.ok("bk-auto --now default");
    let left = names(&sandbox.ok("bk-ls --json"));
    assert_eq!(left.len(), 3);
    assert!(!left.contains(&all[1]), "{left:?}");
    // An empty value takes it away; alone it says nothing of what goes.
    sandbox.ok("bk-auto --set --require-copy ''");
    let job = sandbox.ok("bk-auto --list --json").record();
    assert_eq!(job["prune_flags"], json!(["--keep-last=1"]));
    let ran = sandbox.run("bk-auto --set other -s @daily --require-copy nas -- app");
    assert_eq!(ran.status, 2, "{ran:#?}");
    assert!(ran.stderr.contains("nothing says what is to be kept"));
}
