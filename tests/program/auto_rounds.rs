//! What jobs keep, by the flags of bk-prune, and jobs that prove instead of backing up: they verify,
//! restore for a test, and prune.

use crate::support::Sandbox;
use serde_json::{Value, json};

/// What the last run of a job came to.
fn last_run(sandbox: &Sandbox) -> Value {
    let lines = sandbox.ok("bk-log --event auto --limit 1").records();
    lines[0]["details"].clone()
}

fn ids(sandbox: &Sandbox) -> Vec<i64> {
    let records = sandbox.records();
    records
        .iter()
        .map(|it| it["id"].as_i64().unwrap())
        .collect()
}

#[test]
fn a_job_keeps_what_its_flags_say() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s @daily --keep-last 2 --keep-daily 3 -- app; bk-auto --set a --keep-daily ''");
    sandbox.ok("bk-create --name hand app; bk-auto --now a a a a");
    let listed = sandbox.ok("bk-auto --list").record();
    assert_eq!(listed["prune_flags"], json!(["--keep-last=2"]));
    // Of its own backups it keeps the newest two; the other one is none of them.
    assert_eq!(ids(&sandbox), [1, 4, 5]);
    assert_eq!(last_run(&sandbox)["pruned"], 1);
    // Both ways of saying it count together, and a list makes the same job elsewhere.
    sandbox.ok("bk-auto --set a --keep-last '' --max-count 1 -r 400; bk-auto --now a");
    assert_eq!(ids(&sandbox), [1, 6]);
    let there = sandbox.ok("bk-auto --list | bk-auto --home other --set -");
    assert_eq!(there.record()["prune_flags"], json!(["--max-count=1"]));
}

#[test]
fn rounds_verify_test_and_prune_and_fail_as_any_job_does() {
    let sandbox = Sandbox::with_app();
    sandbox
        .ok("bk-create --name one app; bk-create --name two app/data; bk-create --name three app");
    sandbox.ok(
        "bk-auto --set proof -s @weekly --verify 'deep older-than=30d limit=2' --test-restore latest",
    );
    let ran = sandbox.ok("bk-auto --now proof");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    let run = last_run(&sandbox);
    assert_eq!(
        (
            &run["job"],
            &run["verified"],
            &run["tested"],
            &run["pruned"]
        ),
        (&json!("proof"), &json!(2), &json!(1), &json!(0))
    );
    // Only those that were not verified for so long are, and the rest of them now.
    sandbox.ok("bk-auto --now proof");
    assert_eq!(last_run(&sandbox)["verified"], 1);
    sandbox.ok("bk-auto --now proof");
    assert_eq!(last_run(&sandbox).get("verified"), None);
    // A damaged archive fails the round, and the others are made all the same.
    sandbox.ok("bk-auto --set proof --verify deep");
    sandbox.flip("home/archives/two.tar.gz", 99);
    let ran = sandbox.run("bk-auto --now proof");
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
    let run = last_run(&sandbox);
    assert_eq!((&run["verified"], &run["tested"]), (&json!(2), &json!(1)));
    let reason = run["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("cannot verify all: bk-verify ended with exit status 1: "),
        "{reason}"
    );
    assert!(reason.contains("two"), "{reason}");
    let listed = sandbox.ok("bk-auto --list").record();
    assert_eq!(listed["last_outcome"], "failed");
    // What it does stands in the table in place of paths.
    let table = sandbox.ok("bk-auto --list --table --wide").stdout;
    assert!(
        table.contains("verify deep; test-restore latest"),
        "{table}"
    );
    // A job of retention is over all backups of its groups.
    sandbox.ok("bk-auto --set thin -s @weekly --prune --keep-last 1; bk-auto --now thin");
    assert_eq!(ids(&sandbox), [2, 3]);
    assert_eq!(last_run(&sandbox)["pruned"], 1);
}
