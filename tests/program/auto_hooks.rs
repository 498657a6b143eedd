//! The commands before and after a job: after runs whatever happens, and is told how it went.

use crate::support::{Sandbox, has};
use serde_json::Value;

/// A job whose hooks write what they are told to `log`.
fn sandbox(before: &str, after: &str, sources: &str) -> Sandbox {
    let sandbox = Sandbox::with_app();
    let log = sandbox.path("log").display().to_string();
    let before = format!("echo before $BK_JOB >>{log}; {before}");
    let after =
        format!("echo after $BK_JOB $BK_OUTCOME \"<$BK_BACKUP>\" $BK_HOME >>{log}; {after}");
    let line = serde_json::json!({
        "job": "a", "enabled": true, "schedule": "@hourly", "before": before, "after": after,
        "sources": [sandbox.path(sources)], "retention_days": 30,
    });
    sandbox.write("job", &line.to_string());
    sandbox.ok("bk-auto --set - <job");
    sandbox
}

fn log(sandbox: &Sandbox) -> Vec<String> {
    let text = std::fs::read_to_string(sandbox.path("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn after(sandbox: &Sandbox, outcome: &str, backup: &str) -> String {
    format!("after a {outcome} <{backup}> {}", sandbox.home().display())
}

fn job(sandbox: &Sandbox) -> Value {
    sandbox.ok("bk-auto --list").record()
}

#[test]
fn both_run_around_the_backup_and_their_output_is_no_record() {
    let sandbox = sandbox("echo out", "echo out", "app");
    let ran = sandbox.ok("bk-auto --now a");
    let made = ran.record();
    assert_eq!(ran.stderr, "out\nout\n");
    let name = made["backup_name"].as_str().unwrap();
    assert_eq!(
        log(&sandbox),
        ["before a".to_owned(), after(&sandbox, "ok", name)]
    );
}

#[test]
fn a_failing_before_skips_the_backup() {
    let sandbox = sandbox("exit 7", "true", "app");
    let reason = "the command before failed, so there is no backup: it ended with exit status 7";
    sandbox
        .run("bk-auto --now a")
        .fails(1, &format!("bk-auto: the job 'a' failed: {reason}\n"));
    assert_eq!(
        log(&sandbox),
        ["before a".to_owned(), after(&sandbox, "failed", "")]
    );
    assert_eq!(sandbox.records().len(), 0);
    assert_eq!(sandbox.ledger(), [format!("auto failed {reason}")]);
    assert_eq!(job(&sandbox)["last_reason"], reason);
}

#[test]
fn a_failing_create_has_its_after() {
    let sandbox = sandbox("true", "true", "gone");
    assert_eq!(sandbox.run("bk-auto --now a").status, 1);
    assert_eq!(log(&sandbox)[1], after(&sandbox, "failed", ""));
}

#[test]
fn a_failing_after_is_a_failure_with_a_backup() {
    let sandbox = sandbox("true", "kill -9 $$", "app");
    let reason = "the command after failed: it was ended by signal 9";
    let ran = sandbox.run("bk-auto --now a");
    ran.fails(1, &format!("bk-auto: the job 'a' failed: {reason}\n"));
    let name = ran.record()["backup_name"].as_str().unwrap().to_owned();
    assert_eq!(
        sandbox.ledger().last().unwrap(),
        &format!("{name} auto failed {reason}")
    );
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn after_comes_before_the_retention() {
    if !has("jq") {
        return;
    }
    let sandbox = sandbox("true", "bk-ls | jq -r .id | xargs >>count", "app");
    sandbox.ok("bk-auto --now a");
    sandbox.sql("UPDATE backup_records SET created_at = TIMESTAMP '2024-01-01 00:00:00'");
    sandbox.ok("bk-auto --now a");
    assert_eq!(
        std::fs::read_to_string(sandbox.path("count")).unwrap(),
        "1\n1 2\n"
    );
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn some_unread_is_a_success_with_a_warning() {
    if !has("setpriv") || !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = sandbox("true", "true", "app");
    sandbox.ok("chmod 000 app/log/app.log; chmod -R a+rX . && chmod 000 app/log/app.log");
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    sandbox.ok(&format!(
        "chown -R 65534:65534 . && chown 0 app/log/app.log && {user} bk-auto --now a 2>err >out"
    ));
    let outcome = sandbox.ledger().pop().unwrap();
    assert!(outcome.ends_with(" auto ok"), "{outcome}");
    let log = log(&sandbox);
    assert!(log[1].starts_with("after a ok <a_"), "{log:?}");
    let catalog = duckdb::Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
    let sql = "SELECT details FROM backup_events WHERE event = 'auto'";
    let details: String = catalog.query_row(sql, [], |row| row.get(0)).unwrap();
    let warning = "\"warning\":\"1 place of the sources could not be read\"";
    assert!(details.contains(warning), "{details}");
}
