//! bk-log by job: the column, the reason, and the rows of one job.

use crate::support::{Ran, Sandbox};

fn told(ran: &Ran) -> Vec<String> {
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let line = |it: &serde_json::Value| format!("{} {}", word(&it["event"]), word(&it["outcome"]));
    ran.records().iter().map(line).collect()
}

#[test]
fn a_job_has_its_runs_and_what_befell_its_backups() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name c app; bk-auto --set a -s @daily --before 'exit 7' -- app; bk-auto --set b -s @daily -- app");
    sandbox.ok("! bk-auto --now a 2>/dev/null; bk-auto --now b >/dev/null; bk-ls --job b | bk-verify --quick >/dev/null");
    for (flags, rows) in [
        ("--job a", &["auto failed"][..]),
        ("--job b", &["create ok", "auto ok", "verify ok"]),
        ("--job b --event auto,verify --limit 1", &["verify ok"]),
        ("--job b c", &[]),
        ("--job nobody", &[]),
    ] {
        assert_eq!(
            told(&sandbox.ok(&format!("bk-log {flags}"))),
            rows,
            "{flags}"
        );
    }
    let table = sandbox.ok("bk-log --table").stdout;
    let reason = "the command before failed, so there is no backup: it ended with exit status 7";
    let name = sandbox.ok("bk-ls --job b | jq -r .backup_name").stdout;
    let name = name.trim();
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines[0].ends_with("OUTCOME  BACKUP                 JOB  DETAILS"),
        "{table}"
    );
    let blank = " ".repeat(name.len() - 1);
    assert!(
        lines[2].ends_with(&format!("auto    failed   -{blank}  a    {reason}")),
        "{table}"
    );
    for (line, job) in [(1, "-"), (3, "b")] {
        let job = format!("  {job}  ");
        assert!(
            lines[line].contains("create  ok ") && lines[line].contains(&job),
            "{table}"
        );
    }
    assert!(
        lines[4].contains(&format!("auto    ok       {name}  b    ")),
        "{table}"
    );

    // What was wrong with a run that succeeded; and a backup that is gone is still the job's.
    sandbox.sql(
        "UPDATE backup_events SET details = replace(details, '}', ',\"warning\":\"1 place\"}') WHERE backup_name IS NOT NULL AND event = 'auto';
         UPDATE backup_events SET details = 'no' WHERE event = 'verify'",
    );
    // One that fails is of its job too, with a record and without.
    sandbox.ok("! bk-create -m job=f --name r nothing 2>/dev/null; ! bk-create -m job=f --command x=false 2>/dev/null");
    let failed = sandbox.ok("bk-log --job f --event create --outcome failed");
    let of: Vec<_> = failed
        .records()
        .into_iter()
        .map(|it| it["details"]["job"].clone())
        .collect();
    assert_eq!(of, ["f", "f"]);
    sandbox.ok("bk-ls --job b | bk-rm 2>/dev/null >/dev/null");
    let table = sandbox
        .ok("bk-log --table --job b --event auto,remove")
        .stdout;
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[1].contains("  b    1 place, "), "{table}");
    assert!(lines[2].contains("remove  ok "), "{table}");
}
