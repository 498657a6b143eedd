//! bk-auto itself, killed at any call on the home, and with calls that fail: the job has its backup in
//! the end, its run is in the ledger once, and what failed is told.

use crate::support::{Ran, Sandbox, can_trace, stride};

/// A home with a job that is due, with these flags; `start/` is a copy of it, from which each fault begins.
fn start(flags: &str) -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok(&format!(
        "bk-auto --set a -s @daily --enable --keep-last 5 {flags} -- app"
    ));
    sandbox.sql("UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name LIKE '%_since.a'");
    // A catalog that has a round is not written to for that.
    sandbox.ok("mkdir start; cp -a home start/");
    sandbox
}

/// Runs bk-auto with a fault at one of its own calls; what it starts is left alone.
fn strike(sandbox: &Sandbox, call: &str, fault: &str) -> Ran {
    let home = sandbox.home().display().to_string();
    let files = [
        "",
        "/auto.a.lock",
        "/catalog.lock",
        "/catalog.duckdb",
        "/catalog.duckdb.wal",
    ];
    let paths: String = files.map(|file| format!("-P {home}{file} ")).concat();
    sandbox.run(&format!(
        "rm -rf home && cp -a start/home . &&
         exec strace -qqq -o /dev/null {paths} -e trace={call} -e inject={call}:{fault} bk-auto"
    ))
}

/// The runs that the ledger has, by their outcome.
fn runs(sandbox: &Sandbox) -> (usize, usize) {
    let ledger = sandbox.ledger();
    let count = |word: &str| ledger.iter().filter(|it| it.contains(word)).count();
    (count("auto ok"), count("auto failed"))
}

/// Runs what is due, as the next minutes would; returns how many backups there are then.
fn settle(sandbox: &Sandbox, told: &str) -> usize {
    sandbox.run("bk-auto");
    let last = sandbox.ok("bk-auto");
    assert_eq!(
        (last.stdout.as_str(), last.stderr.as_str()),
        ("", ""),
        "{told}"
    );
    let lock = std::fs::read_to_string(sandbox.home().join("auto.a.lock"));
    assert_eq!(lock.unwrap().trim(), "", "{told}");
    let records = sandbox.records();
    assert!(
        records.iter().all(|it| it["status"] == "completed"),
        "{told}"
    );
    records.len()
}

#[test]
fn killed_at_any_call_the_job_has_its_backup_in_the_end() {
    if !can_trace() {
        return;
    }
    let sandbox = start("");
    let (mut kills, mut again) = (0, 0);
    for call in [
        "openat",
        "flock",
        "pwrite64",
        "fdatasync",
        "fsync",
        "ftruncate",
    ] {
        for at in (1..).step_by(stride(37)) {
            let ran = strike(&sandbox, call, &format!("signal=SIGKILL:when={at}"));
            if ran.status == 0 {
                break;
            }
            let told = format!("{call} {at}: {ran:#?}");
            assert_eq!(ran.status, 137, "{told}");
            kills += 1;
            let count = settle(&sandbox, &told);
            let (ok, failed) = runs(&sandbox);
            // Where the backup was made and the run not recorded, it is made again.
            assert!((1..=2).contains(&count) && failed < 2, "{told}");
            assert_eq!(ok, 1, "{told}");
            again += count - 1;
        }
    }
    assert!(kills > 4 && again < kills, "{again} of {kills}");
}

#[test]
fn a_call_that_fails_is_told_and_the_run_is_in_the_ledger_once() {
    if !can_trace() {
        return;
    }
    let sandbox = start("");
    let home = sandbox.home().display().to_string();
    let mut failures = 0;
    for (call, error) in [
        ("pwrite64", "ENOSPC"),
        ("fdatasync", "EIO"),
        ("fsync", "EIO"),
        ("ftruncate", "EIO"),
    ] {
        for at in (1..).step_by(stride(29)) {
            // From then on, as a full disk stays full.
            let ran = strike(&sandbox, call, &format!("error={error}:when={at}+"));
            let told = format!("{call} {at}: {ran:#?}");
            if ran.stderr.is_empty() {
                assert_eq!(ran.status, 0, "{told}");
                break;
            }
            failures += 1;
            assert!(ran.stderr.contains(&home), "{told}");
            let count = settle(&sandbox, &told);
            let (ok, failed) = runs(&sandbox);
            // Where neither the ledger nor the lock's file can be written to, it is made again.
            assert!((1..=2).contains(&count) && failed < 2, "{told}");
            assert_eq!(ok, 1, "{told}");
        }
    }
    assert!(failures > 1, "{failures}");
}

/// No process can be begun, no pipe made: nothing that somebody asked for is left out in silence.
#[test]
fn a_hook_or_notice_that_cannot_be_begun_is_told() {
    if !can_trace() {
        return;
    }
    let flags = "--before 'echo before >>log' --after 'echo after $BK_OUTCOME >>log' \
                 --notify-always --notify 'echo told $BK_OUTCOME >>log'";
    let sandbox = start(flags);
    let mut failures = 0;
    for (calls, error) in [
        ("clone,clone3,vfork,fork", "EAGAIN"),
        ("pipe2", "EMFILE"),
        ("memfd_create", "ENFILE"),
        ("fcntl", "EMFILE"),
    ] {
        for at in (1..).step_by(stride(5)) {
            let ran = sandbox.run(&format!(
                "rm -rf home log && cp -a start/home . && exec strace -qqq -o trace -e trace={calls} \
                     -e inject={calls}:error={error}:when={at} bk-auto"
            ));
            let log = std::fs::read_to_string(sandbox.path("log")).unwrap_or_default();
            let told = format!("{calls} {at}: {ran:#?} {log}");
            if sandbox.run("grep -q INJECTED trace").status != 0 {
                break;
            }
            failures += usize::from(ran.status != 0);
            match ran.status {
                0 => assert_eq!(log, "before\nafter ok\ntold ok\n", "{told}"),
                1 => assert!(ran.stderr.starts_with("bk-auto: "), "{told}"),
                other => panic!("{other}: {told}"),
            }
            let count = settle(&sandbox, &told);
            let (ok, failed) = runs(&sandbox);
            assert!(count <= 2 && ok < 3 && failed < 2, "{told}");
            assert!(ok + failed > 0, "{told}");
        }
    }
    assert!(failures > 4, "{failures}");
}
