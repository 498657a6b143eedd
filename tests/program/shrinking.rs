//! Backups that hold much less than the one before: told, recorded, and accepted.

use crate::support::Sandbox;
use serde_json::{Value, json};

fn shrunk(record: &Value) -> &Value {
    &record["backup_metadata"]["shrunk"]
}

#[test]
fn what_is_not_there_any_more_is_told_until_it_is_accepted() {
    let sandbox = Sandbox::with_app();
    let create = |name: &str| sandbox.run(&format!("bk-create --name {name} app"));
    let first = create("a");
    first.fails(0, "");
    let bytes = &first.record()["backup_metadata"]["content_bytes"];
    let held = json!({ "backup_name": "a", "content_bytes": bytes });
    // As if it was not mounted.
    sandbox.ok("mv app real; mkdir app");
    for name in ["b", "c"] {
        let ran = create(name);
        let told = format!(
            "bk-create: warning: '{name}' holds 0 B where 'a' held 200 KiB: \
             if nothing is missing, accept it with 'bk-set --accept {name}'\n"
        );
        ran.fails(0, &told);
        assert_eq!(*shrunk(&ran.record()), held);
    }
    let event =
        "bk-log --event create --json | jq -c 'select(.backup_name == \"b\").details.shrunk'";
    assert_eq!(sandbox.ok(event).stdout, format!("{held}\n"));
    let accepted = sandbox
        .ok("bk-set --accept c; bk-set --accept a c")
        .records();
    assert!(accepted.iter().all(|it| shrunk(it).is_null()));
    let sets = "bk-log --event set --json | jq -c '[.backup_name, .details]'";
    let details = json!({ "old": { "backup_metadata": { "shrunk": held } }, "new": { "backup_metadata": {} } });
    assert_eq!(
        sandbox.ok(sets).stdout,
        format!("{}\n", json!(["c", details]))
    );
    // What was accepted is the measure; what did not shrink needs nothing.
    create("d").fails(0, "");
    sandbox.ok("rmdir app; mv real app");
    create("e").fails(0, "");
    // One that holds less of another job is no measure.
    let job = "bk-create -m job=other --exclude orders.db --name f app";
    sandbox.run(job).fails(0, "");
    sandbox.ok("rm app/data/orders.db");
    let ran = sandbox.run("bk-create --name g --shrink-warn 0 app");
    ran.fails(0, "");
    assert!(shrunk(&ran.record()).is_null());
    let ran = sandbox.run("bk-create --name h --shrink-warn 101% app");
    let told = "bk-create: --shrink-warn: invalid number '101': use a number from 0 to 100\n";
    ran.fails(2, told);
}

#[test]
fn a_dump_that_came_to_an_early_end_is_told() {
    let sandbox = Sandbox::new();
    sandbox.ok("bk-create --name a --command x.sql='seq 100000'");
    // The shell tells how cat ended.
    let ran = sandbox.run("bk-create --name b --command x.sql='seq 9 | false | cat'");
    let told = "bk-create: warning: 'x.sql': the input was empty: it is an empty file in the archive\n\
                bk-create: warning: 'b' holds 0 B where 'a' held 575 KiB: \
                if nothing is missing, accept it with 'bk-set --accept b'\n";
    ran.fails(0, told);
    assert_eq!(shrunk(&ran.record())["backup_name"], "a");
}

/// One of several, beside a directory that is larger by far.
#[test]
fn each_dump_is_compared_with_the_same_one_also_where_other_sources_come_to_it() {
    let sandbox = Sandbox::with_app();
    let create = |name: &str, what: &str| {
        let line = format!("bk-create -m job=j --name {name} {what}");
        sandbox.run(&line)
    };
    let first = create("a", "--command x.sql='seq 9' --command y='seq 9' app");
    first.fails(0, "");
    let printed = json!({ "x.sql": 18, "y": 18 });
    assert_eq!(first.record()["backup_metadata"]["command_bytes"], printed);
    let held = json!({ "backup_name": "a", "content_bytes": 18, "name": "x.sql" });
    let accept = "if nothing is missing, accept it with 'bk-set --accept";
    for (name, what, told) in [
        (
            "b",
            "--command x.sql='seq 4' --command y='seq 9' app",
            "8 B of 'x.sql'",
        ),
        (
            "c",
            "--command x.sql='seq 4' app/config.toml",
            "8 B of 'x.sql'",
        ),
        (
            "d",
            "--command x.sql='seq 4' app/config.toml",
            "8 B of 'x.sql'",
        ),
        ("e", "--command z='seq 1' app/config.toml", ""),
    ] {
        let ran = create(name, what);
        let told = match told {
            "" => String::new(),
            told => format!(
                "bk-create: warning: '{name}' holds {told} where 'a' held 18 B: {accept} {name}'\n"
            ),
        };
        ran.fails(0, &told);
        let expected = if told.is_empty() { &Value::Null } else { &held };
        assert_eq!(shrunk(&ran.record()), expected, "{name}");
    }
}

/// The retention of a job waits, and bk-prune keeps the last one that did not shrink.
#[test]
fn nothing_is_removed_for_a_backup_that_shrank() {
    let sandbox = Sandbox::with_app();
    let told = sandbox.path("told").display().to_string();
    sandbox.ok(&format!(
        "bk-auto --set a -s @daily --keep-last 1 --notify 'echo $BK_OUTCOME $BK_REASON >>{told}' -- app; \
         bk-auto --now a; mv app real; mkdir app"
    ));
    let ids = || {
        let records = sandbox.records();
        let ids = records.iter().map(|it| it["id"].as_i64().unwrap());
        ids.collect::<Vec<_>>()
    };
    for count in 2..4 {
        let ran = sandbox.run("bk-auto --now a");
        let warning = "bk-auto: warning: the job 'a': no retention: the backup shrank";
        assert_eq!(ran.errors()[1], warning);
        assert_eq!((ran.status, ids().len()), (0, count));
    }
    let told = std::fs::read_to_string(told).unwrap();
    let is_notice = |line: &str| {
        let end = "; no retention: the backup shrank";
        line.starts_with("shrunk 'a_")
            && line.contains("accept it with 'bk-set --accept a_")
            && line.ends_with(end)
    };
    assert!(
        told.lines().count() == 2 && told.lines().all(is_notice),
        "{told}"
    );
    // Nor does a round over all jobs remove anything of it; others go by the rules.
    sandbox.ok("for n in x y; do bk-create --name $n real; done >/dev/null");
    let ran = sandbox.run("bk-auto --set p -s @daily --prune --keep-last 1; bk-auto --now p");
    let newest = sandbox.ok("bk-ls latest:a | jq -r .backup_name").stdout;
    let newest = newest.trim();
    let warning = format!(
        "bk-prune: warning: nothing is removed of the group of '{newest}', which is far smaller than the backup before it: \
         if that is right, accept it with 'bk-set --accept {newest}'"
    );
    assert!(ran.errors().contains(&&*warning), "{ran:#?}");
    assert_eq!((ran.status, ids()), (0, vec![1, 2, 3, 5]));
    sandbox.ok("bk-rm y 2>/dev/null >/dev/null");
    // After a failure both are told.
    sandbox.ok("bk-auto --set a --before false");
    assert_eq!(sandbox.run("bk-auto --now a").status, 1);
    sandbox.ok("bk-auto --set a --before '' && bk-auto --now a 2>/dev/null && bk-rm $(bk-ls --latest | jq .id)");
    let all = std::fs::read_to_string(sandbox.path("told")).unwrap();
    // The last two are told at the same time.
    let mut words: Vec<_> = all
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    words[3..].sort_unstable();
    assert_eq!(words, ["shrunk", "shrunk", "failed", "recovered", "shrunk"]);
    // Once it is accepted, the retention goes on, and leaves the last one that has files.
    sandbox.ok("bk-set --accept latest:a; bk-auto --now a");
    assert_eq!(ids(), [1, 7]);
}
