//! `bk-auto --wait` and signals: a job under way ends in good order, with its command after.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{Ran, Sandbox, has};

/// Waits until it holds; fails after long.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ended(child: Child) -> Ran {
    Ran::new("bk-auto", child.wait_with_output().unwrap())
}

fn has_line(sandbox: &Sandbox, file: &str, line: &str) -> bool {
    let text = std::fs::read_to_string(sandbox.path(file)).unwrap_or_default();
    text.lines().any(|it| it.starts_with(line))
}

/// A job that is due, whose hooks write to `log`; `slow` ones wait in the named place.
fn due(sandbox: &Sandbox, before: &str, after: &str, flags: &str) {
    let log = sandbox.path("log").display().to_string();
    sandbox.ok(&format!(
        "bk-auto --set a -s @hourly --enable --before 'echo before >>{log}; {before}' \
         --after 'echo after $BK_OUTCOME >>{log}; {after}' {flags} -- app"
    ));
    sandbox.sql(
        "UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name = 'auto_backup_since.a'",
    );
}

#[test]
fn it_runs_what_is_due_and_stays_until_a_signal() {
    for (signal, status) in [("TERM", 143), ("INT", 130)] {
        let sandbox = Sandbox::with_app();
        due(&sandbox, "true", "true", "");
        let child = sandbox.start("exec bk-auto --wait");
        until("a run", || has_line(&sandbox, "log", "after ok"));
        until("the ledger", || {
            sandbox
                .run("bk-auto --list")
                .stdout
                .contains("\"last_outcome\":\"ok\"")
        });
        let began = Instant::now();
        sandbox.ok(&format!("kill -{signal} {}", child.id()));
        let ran = ended(child);
        assert!(began.elapsed() < Duration::from_secs(20));
        assert_eq!((ran.status, ran.stderr.as_str()), (status, ""), "{ran:#?}");
        assert_eq!(ran.record()["job"], "a");
    }
}

#[test]
fn a_signal_comes_to_bk_create_and_after_runs() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("head -c 100M /dev/urandom >app/big");
    due(
        &sandbox,
        "true",
        "true",
        "--create-flag --level=12 --create-flag --jobs=1",
    );
    for line in [
        "exec bk-auto --wait",
        "exec bk-auto",
        "exec bk-auto --now a",
    ] {
        let child = sandbox.start(line);
        let partial = || {
            std::fs::read_dir(sandbox.home().join("archives")).is_ok_and(|mut dir| {
                dir.any(|file| {
                    file.unwrap()
                        .file_name()
                        .to_string_lossy()
                        .ends_with(".partial")
                })
            })
        };
        until("a partial", partial);
        sandbox.ok(&format!("kill -TERM {}", child.id()));
        let ran = ended(child);
        assert_eq!((ran.status, ran.stdout.as_str()), (143, ""), "{ran:#?}");
        assert!(!partial());
        let ledger = sandbox.ledger();
        let last = ledger.last().unwrap();
        assert_eq!(last, "auto failed interrupted by signal 15");
        assert!(has_line(&sandbox, "log", "after failed"));
        sandbox.ok("rm log");
        sandbox.sql("DELETE FROM backup_events WHERE event = 'auto'");
    }
}

#[test]
fn a_signal_during_after_does_not_stop_it() {
    let sandbox = Sandbox::with_app();
    let log = sandbox.path("log").display().to_string();
    due(
        &sandbox,
        "true",
        &format!("sleep 1; echo started again >>{log}"),
        "--retention-days 1",
    );
    let child = sandbox.start("exec bk-auto --wait");
    until("after", || has_line(&sandbox, "log", "after ok"));
    sandbox.ok(&format!("kill -TERM {}", child.id()));
    let ran = ended(child);
    assert_eq!((ran.status, ran.records().len()), (143, 1), "{ran:#?}");
    assert!(has_line(&sandbox, "log", "started again"));
    assert!(sandbox.ledger().last().unwrap().ends_with(" auto ok"));
}

#[test]
fn a_signal_during_before_skips_the_backup() {
    let sandbox = Sandbox::with_app();
    due(&sandbox, "exec sleep 60", "true", "");
    let child = sandbox.start("exec bk-auto");
    until("before", || has_line(&sandbox, "log", "before"));
    sandbox.ok(&format!("kill -TERM {}", child.id()));
    let ran = ended(child);
    assert_eq!(ran.status, 143, "{ran:#?}");
    assert!(has_line(&sandbox, "log", "after failed"));
    assert!(sandbox.records().is_empty());
    let reason = "the command before failed, so there is no backup: it was ended by signal 15";
    assert_eq!(sandbox.ledger(), [format!("auto failed {reason}")]);
}

#[test]
fn as_process_1_it_heeds_a_signal() {
    if !has("unshare") || !has("pgrep") {
        return;
    }
    let sandbox = Sandbox::with_app();
    if sandbox.run("unshare --pid --fork true").status != 0 {
        println!("skipped: unshare may not make a pid namespace here");
        return;
    }
    due(&sandbox, "true", "true", "");
    let child = sandbox.start("exec unshare --pid --fork bk-auto --wait");
    until("a run", || {
        sandbox
            .run("bk-auto --list")
            .stdout
            .contains("\"last_outcome\":\"ok\"")
    });
    sandbox.ok(&format!("kill -TERM $(pgrep -P {})", child.id()));
    let ran = ended(child);
    assert_eq!(ran.status, 143, "{ran:#?}");
}

#[test]
#[ignore = "waits for two minutes to come"]
fn jobs_run_as_they_come_due_and_new_ones_are_seen() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s '0 0 1 1 *' -- app");
    let child = sandbox.start("exec bk-auto --wait");
    std::thread::sleep(Duration::from_secs(1));
    sandbox.ok("bk-auto --set b -s '* * * * *' --enable -- app");
    let began = Instant::now();
    // One that is being made has a record, too.
    let made = || {
        sandbox
            .ok("bk-ls --json --status completed")
            .records()
            .len()
    };
    while made() < 2 {
        assert!(began.elapsed() < Duration::from_secs(200));
        std::thread::sleep(Duration::from_millis(500));
    }
    sandbox.ok(&format!("kill -TERM {}", child.id()));
    let ran = ended(child);
    assert_eq!(ran.status, 143);
    let minutes: Vec<_> = ran
        .records()
        .iter()
        .map(|it| it["created_at"].as_str().unwrap()[..16].to_owned())
        .collect();
    assert!(minutes.len() == 2 && minutes[0] < minutes[1], "{minutes:?}");
}
