//! Runs that were killed, ended by a signal, or could not be recorded: each is an event of its job, and
//! none is lost or made twice.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{Ran, Sandbox, has};
use serde_json::{Value, json};

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A job that was due long ago, whose hook waits while the file `slow` is there.
fn due() -> Sandbox {
    let sandbox = Sandbox::with_app();
    let (slow, log) = (sandbox.path("slow"), sandbox.path("log"));
    let before = format!(
        "echo begun >>{}; while test -e {}; do sleep 0.05; done",
        log.display(),
        slow.display()
    );
    sandbox.ok(&format!(
        "touch slow; bk-auto --set a -s @daily --enable --before '{before}' -- app"
    ));
    sandbox.sql("UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name LIKE '%_since.a'");
    sandbox
}

fn begun(sandbox: &Sandbox) -> usize {
    let text = std::fs::read_to_string(sandbox.path("log")).unwrap_or_default();
    text.lines().count()
}

/// Starts bk-auto, and sends it a signal in its hook.
fn signalled(sandbox: &Sandbox, signal: &str) -> Ran {
    let before = begun(sandbox);
    let child: Child = sandbox.start("exec bk-auto");
    until("a hook", || begun(sandbox) > before);
    sandbox.ok(&format!("kill -{signal} {}", child.id()));
    Ran::new("bk-auto", child.wait_with_output().unwrap())
}

fn last_run(sandbox: &Sandbox) -> Value {
    let listed = sandbox.ok("bk-auto --list").record();
    json!([listed["last_outcome"], listed["last_reason"]])
}

const KILLED: &str = "bk-auto was killed, or the machine went down, while it ran";

#[test]
fn a_run_that_was_killed_is_an_event_and_is_made_up_for_once() {
    let sandbox = due();
    assert_eq!(signalled(&sandbox, "KILL").status, 128 + 9);
    assert_eq!(sandbox.ledger(), Vec::<String>::new());
    // The next one tells, and tries again.
    let second = signalled(&sandbox, "KILL");
    let told = format!("bk-auto: the job 'a' failed: {KILLED}\n");
    assert_eq!(second.stderr, told);
    assert_eq!(sandbox.ledger(), [format!("auto failed {KILLED}")]);
    assert_eq!(last_run(&sandbox), json!(["failed", KILLED]));
    // What is interrupted each time is not tried for ever.
    sandbox.run("bk-auto").fails(1, &told);
    assert_eq!(sandbox.ok("bk-auto").stdout, "");
    assert_eq!((sandbox.ledger().len(), begun(&sandbox)), (2, 2));
    // At its next time it runs as ever.
    sandbox.ok("rm slow");
    let made = sandbox.ok("bk-auto --now a").record();
    let name = made["backup_name"].as_str().unwrap();
    assert_eq!(sandbox.ledger().last().unwrap(), &format!("{name} auto ok"));
}

#[test]
fn a_run_that_a_signal_ended_is_made_up_for() {
    let sandbox = due();
    let ran = signalled(&sandbox, "TERM");
    assert_eq!(ran.status, 128 + 15, "{ran:#?}");
    let outcome = last_run(&sandbox);
    assert_eq!(outcome[0], "failed");
    sandbox.ok("rm slow");
    assert_eq!(sandbox.ok("bk-auto").records().len(), 1);
    assert_eq!(sandbox.ok("bk-auto").records().len(), 0);
}

/// A catalog that others hold when the outcome is to be recorded.
#[test]
fn a_run_that_cannot_be_recorded_is_recorded_later_and_not_made_twice() {
    if !has("flock") {
        return;
    }
    let sandbox = due();
    let held = sandbox.path("held").display().to_string();
    let hold = format!(
        "flock -x $BK_HOME/catalog.lock sh -c \"touch {held}; while test -e {held}; do sleep 0.05; done\" >/dev/null 2>&1 & \
         until test -e {held}; do sleep 0.05; done"
    );
    sandbox.ok(&format!("rm slow; bk-auto --set a --after '{hold}'"));
    sandbox.sql("UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name LIKE '%_since.a'");
    let told = sandbox.path("told").display().to_string();
    sandbox.ok(&format!(
        "bk-auto --set a --notify-always --notify 'echo $BK_OUTCOME >>{told}'"
    ));
    let ran = sandbox.run("bk-auto --lock-timeout 1s");
    assert_eq!((ran.status, ran.records().len()), (75, 1), "{ran:#?}");
    // Who is to know does at once, and no second time.
    let told = || std::fs::read_to_string(&told).unwrap_or_default();
    assert_eq!(told(), "ok\n");
    let lock = sandbox.home().join("auto.a.lock");
    let keeps = format!(
        "cannot record the run of the job 'a': '{}' keeps it for the next bk-auto: ",
        lock.display()
    );
    assert!(ran.stderr.contains(&keeps), "{ran:#?}");
    // While the catalog stays locked, nothing is run.
    assert_eq!(sandbox.run("bk-auto --lock-timeout 1s").status, 75);
    sandbox.ok("rm held; while ! flock -n home/catalog.lock true; do sleep 0.05; done");
    let ran = sandbox.ok("bk-auto");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    let name = sandbox.records()[0]["backup_name"].clone();
    let ledger = sandbox.ledger();
    let last = ledger.last().unwrap();
    assert_eq!(last, &format!("{} auto ok", name.as_str().unwrap()));
    assert_eq!((sandbox.records().len(), begun(&sandbox)), (1, 1));
    assert_eq!(told(), "ok\n");
    assert_eq!(std::fs::read_to_string(lock).unwrap().trim(), "");
}

/// A catalog that others hold when jobs are to be looked at, which is told as a failure of those that were due.
#[test]
fn a_job_that_could_not_begin_is_told_and_made_up_for() {
    if !has("flock") {
        return;
    }
    let sandbox = due();
    let told = sandbox.path("told").display().to_string();
    sandbox.ok(&format!(
        "rm slow; bk-auto --notify 'echo \"$BK_JOB $BK_OUTCOME\" >>{told}'
         bk-auto --set later -s @daily --enable -- app"
    ));
    let held = sandbox.ok("exec 9>home/catalog.lock; flock 9
        for _ in 1 2; do bk-auto --lock-timeout 1s; echo $?; done");
    assert_eq!(held.stdout, "75\n75\n");
    let first = held.stderr.lines().next().unwrap();
    let why = first.strip_prefix("bk-auto: ").unwrap();
    assert!(why.starts_with("the catalog is locked by"), "{held:#?}");
    // Once for both, though it failed twice; and not for the job that was not due.
    let reason = format!("it could not begin: {why}");
    let ran = sandbox.run("bk-auto");
    assert_eq!((ran.status, ran.records().len()), (1, 1), "{ran:#?}");
    assert_eq!(
        ran.stderr,
        format!("bk-auto: the job 'a' failed: {reason}\n")
    );
    let name = ran.record()["backup_name"].as_str().unwrap().to_owned();
    let ledger = sandbox.ledger();
    let runs: Vec<_> = ledger.iter().filter(|it| it.contains("auto ")).collect();
    assert_eq!(
        runs,
        [&format!("auto failed {reason}"), &format!("{name} auto ok")]
    );
    let told = std::fs::read_to_string(&told).unwrap();
    assert_eq!(told, "a failed\na recovered\n");
    sandbox.ok("test ! -e home/auto.missed");
    let next = sandbox.ok("bk-auto");
    assert_eq!((next.stdout.as_str(), next.stderr.as_str()), ("", ""));
    // What nobody can read, or tells of a time to come, is no round.
    for text in ["{", r#"{"began":"2999-01-01T00:00:00Z","reason":"x"}"#] {
        sandbox.write("home/auto.missed", text);
        assert_eq!(sandbox.ok("bk-auto").stderr, "");
        sandbox.ok("test ! -e home/auto.missed");
    }
}

/// bk-auto is killed; bk-create goes on, and holds the lock of the job.
#[test]
fn a_job_is_not_begun_again_while_its_program_is_at_work() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("head -c 60M /dev/urandom >app/big");
    sandbox.ok(
        "bk-auto --set a -s @daily --enable --create-flag --level=12 --create-flag --jobs=1 -- app",
    );
    sandbox.sql("UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name LIKE '%_since.a'");
    let mut child = sandbox.start("exec bk-auto >/dev/null 2>&1");
    let is_writing = || {
        let dir = std::fs::read_dir(sandbox.home().join("archives"));
        dir.is_ok_and(|mut all| {
            all.any(|it| {
                it.unwrap()
                    .path()
                    .extension()
                    .is_some_and(|it| it == "partial")
            })
        })
    };
    until("a partial", is_writing);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_writing(), "too fast for this test");
    assert_eq!(sandbox.ok("bk-auto").stdout, "");
    until("the end", || !is_writing());
    assert_eq!(sandbox.records().len(), 1);
}

/// What cannot be printed is made and recorded all the same, and not made again.
#[test]
fn a_reader_that_is_gone_is_no_reason_to_run_again() {
    let sandbox = due();
    sandbox.ok("rm slow");
    let ran = sandbox.run("bk-auto >/dev/full");
    ran.fails(
        1,
        "bk-auto: cannot write to standard output: No space left on device\n",
    );
    assert_eq!(sandbox.ok("bk-auto").stdout, "");
    assert_eq!((sandbox.records().len(), begun(&sandbox)), (1, 1));
    assert!(sandbox.ledger().last().unwrap().ends_with(" auto ok"));
}

/// What a crash of the machine, or somebody else, left in the lock's file or in the settings is told.
#[test]
fn what_cannot_be_read_of_a_job_is_told() {
    let sandbox = due();
    sandbox.ok("rm slow; printf '{\"began\":\"2026' >home/auto.a.lock");
    let ran = sandbox.run("bk-auto");
    let told = format!("bk-auto: the job 'a' failed: {KILLED}\n");
    assert_eq!((ran.status, ran.stderr, begun(&sandbox)), (1, told, 1));
    assert_eq!(sandbox.ledger()[0], format!("auto failed {KILLED}"));
    sandbox.sql("INSERT INTO settings VALUES ('auto_backup_hook_timeout.a', 'long')");
    let wrong = "bk-auto: cannot use the job 'a': its setting auto_backup_hook_timeout: \
                 invalid duration 'long': use a number with a unit, such as 90s, 10m or 1h\n";
    sandbox.run("bk-auto").fails(1, wrong);
}
