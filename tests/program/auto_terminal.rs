//! Commands before and after that ask on the terminal, hang, leave something behind or say too
//! much: bk-auto goes on or ends, in good order, and tells why.

use std::time::{Duration, Instant};

use crate::support::tmux::Tmux;
use crate::support::{Sandbox, has};
use serde_json::json;

/// A job with these commands; what they write goes to `log`.
fn sandbox(before: &str, after: &str) -> Sandbox {
    let sandbox = Sandbox::with_app();
    let job = json!({
        "job": "a", "enabled": true, "schedule": "@hourly", "sources": [sandbox.path("app")],
        "before": before, "after": after,
    });
    sandbox.write("job", &job.to_string());
    sandbox.ok("bk-auto --set - <job");
    sandbox
}

/// Waits until a file has a line that begins so.
fn wait_for(sandbox: &Sandbox, file: &str, line: &str) {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(sandbox.path(file)).unwrap_or_default();
        if text.lines().any(|it| it.starts_with(line)) {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "no '{line}' in {file}: {text}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

const ASKS: &str = "echo question; read answer </dev/tty && echo got $answer >>log";

#[test]
fn what_asks_in_the_foreground_is_answered() {
    let sandbox = sandbox(ASKS, ASKS);
    let Some(tmux) = Tmux::new(&sandbox, 100, 30) else {
        return;
    };
    tmux.run("bk-auto --now a >made; echo ended $?");
    tmux.wait("question");
    tmux.run("one");
    tmux.wait_until("the second question", |screen| {
        screen.iter().filter(|line| *line == "question").count() == 2
    });
    tmux.run("two");
    tmux.wait("ended 0");
    assert_eq!(
        std::fs::read_to_string(sandbox.path("log")).unwrap(),
        "got one\ngot two\n"
    );
}

#[test]
fn control_c_ends_what_asks_and_after_still_runs() {
    let sandbox = sandbox(ASKS, "echo after $BK_OUTCOME >>log");
    let Some(tmux) = Tmux::new(&sandbox, 100, 30) else {
        return;
    };
    tmux.run("bk-auto --now a; echo ended $?");
    tmux.wait("question");
    tmux.press(&["C-c"]);
    tmux.wait("ended 130");
    wait_for(&sandbox, "log", "after failed");
    let reason = "the command before failed, so there is no backup: it was ended by signal 2";
    assert_eq!(sandbox.ledger(), [format!("auto failed {reason}")]);
}

#[test]
fn control_c_ends_after_the_second_time() {
    let sandbox = sandbox(
        "true",
        "echo question; read answer </dev/tty; echo over >>log",
    );
    let Some(tmux) = Tmux::new(&sandbox, 100, 30) else {
        return;
    };
    tmux.run("bk-auto --now a >made; echo ended $?");
    tmux.wait("question");
    tmux.press(&["C-c"]);
    tmux.wait("bk-auto: the command after is run to its end; a second signal ends it");
    assert!(!sandbox.path("log").exists());
    tmux.press(&["C-c"]);
    tmux.wait("ended 130");
    let ledger = sandbox.ledger();
    let reason = "failed the command after failed: it was ended by signal 15";
    assert!(ledger.last().unwrap().ends_with(reason), "{ledger:?}");
}

#[test]
fn what_asks_where_nobody_is_fails_at_once() {
    let sandbox = sandbox(ASKS, "true");
    if !has("setsid") {
        return;
    }
    let failed = |sandbox: &Sandbox| {
        let ledger = sandbox.ledger();
        let last = ledger.last().unwrap().clone();
        let begin = "auto failed the command before failed, so there is no backup: it ended with exit status ";
        assert!(
            last.starts_with(begin) && last.contains("/dev/tty"),
            "{last}"
        );
        ledger.len()
    };
    // As cron starts it, and as a job in the background of a terminal.
    assert_eq!(sandbox.run("setsid -w bk-auto --now a").status, 1);
    assert_eq!(failed(&sandbox), 1);
    let Some(tmux) = Tmux::new(&sandbox, 100, 30) else {
        return;
    };
    tmux.run("bk-auto --now a & wait; echo fin''ished");
    tmux.wait("finished");
    assert_eq!(failed(&sandbox), 2);
    // As a service that was left on a terminal: in the foreground, and nobody there.
    sandbox.sql("UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name = 'auto_backup_since.a'; DELETE FROM backup_events");
    tmux.run("clear");
    tmux.run("bk-auto --wait; echo service ended $?");
    tmux.wait("the job 'a' failed");
    tmux.press(&["C-c"]);
    tmux.wait("service ended 130");
    assert_eq!(failed(&sandbox), 1);
}

#[test]
fn what_hangs_is_ended_with_all_that_it_began() {
    let sandbox = sandbox("echo began >>log; sleep 300; echo went on >>log", "true");
    let child = sandbox.start("exec bk-auto --now a");
    wait_for(&sandbox, "log", "began");
    sandbox.ok(&format!("kill -TERM {}", child.id()));
    let ran = crate::support::Ran::new("bk-auto", child.wait_with_output().unwrap());
    assert_eq!(ran.status, 143, "{ran:#?}");
    let reason = "the command before failed, so there is no backup: it was ended by signal 15";
    assert_eq!(sandbox.ledger(), [format!("auto failed {reason}")]);
    assert_eq!(
        std::fs::read_to_string(sandbox.path("log")).unwrap(),
        "began\n"
    );
}

#[test]
fn what_does_not_heed_a_signal_is_killed_by_the_next() {
    let stubborn = "trap '' TERM; echo began >>log; sleep 300; echo went on >>log; sleep 300";
    for (before, after, signals) in [(stubborn, "true", 2), ("true", stubborn, 3)] {
        let sandbox = sandbox(before, after);
        let child = sandbox.start("exec bk-auto --now a");
        wait_for(&sandbox, "log", "began");
        for _ in 0..signals {
            sandbox.ok(&format!("kill -TERM {}", child.id()));
            // Two that come at once are one.
            std::thread::sleep(Duration::from_millis(300));
        }
        let ran = crate::support::Ran::new("bk-auto", child.wait_with_output().unwrap());
        assert_eq!(ran.status, 143, "{ran:#?}");
        assert!(
            ran.stderr.contains("it was ended by signal 9\n"),
            "{ran:#?}"
        );
    }
}

#[test]
fn what_leaves_a_daemon_behind_is_not_waited_for() {
    let daemon = "(exec sleep 20) & echo $! >>pids";
    let sandbox = sandbox(daemon, &format!("{daemon}; echo oops >&2; exit 5"));
    let began = Instant::now();
    let ran = sandbox.run("bk-auto --now a");
    assert!(began.elapsed() < Duration::from_secs(15), "{ran:#?}");
    let reason = "the command after failed: it ended with exit status 5: oops";
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert_eq!(
        ran.stderr,
        format!("oops\nbk-auto: the job 'a' failed: {reason}\n")
    );
    sandbox.ok("kill $(cat pids)");
}

#[test]
fn what_says_too_much_fills_neither_memory_nor_ledger() {
    let flood = "head -c 200000000 /dev/zero | tr '\\0' x >&2; yes | head -c 50000000 >&2";
    let last =
        "printf '\\n\\033[2Jthe reason\\n\\n' >&2; grep VmHWM /proc/$PPID/status >peak; exit 3";
    let sandbox = sandbox(&format!("{flood}; {last}"), "true");
    let ran = sandbox.run("bk-auto --now a 2>said");
    assert_eq!(ran.status, 1, "{ran:#?}");
    let reason = "the command before failed, so there is no backup: it ended with exit status 3: \\u{1b}[2Jthe reason";
    assert_eq!(sandbox.ledger(), [format!("auto failed {reason}")]);
    assert!(sandbox.path("said").metadata().unwrap().len() > 250_000_000);
    let peak = std::fs::read_to_string(sandbox.path("peak")).unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 120_000, "{peak}");
}

#[test]
fn a_line_without_end_is_cut_in_the_ledger() {
    let sandbox = sandbox("head -c 100000 /dev/zero | tr '\\0' x; exit 3", "true");
    assert_eq!(sandbox.run("bk-auto --now a").status, 1);
    assert!(sandbox.ledger()[0].len() < 700);
}

#[test]
fn commands_get_data_as_variables_and_never_as_code() {
    let sandbox = Sandbox::with_app();
    let name = "j$(touch PWNED)`touch PWNED`; touch PWNED '\"";
    let job = json!({
        "job": name, "schedule": "@hourly", "sources": ["app"],
        "before": "printf %s \"$BK_JOB\" >job-name", "after": "printf %s \"$BK_HOME\" >home-name",
    });
    sandbox.write("job", &job.to_string());
    let home = "h $(touch PWNED)\\n'";
    sandbox.write("line", "export BK_HOME=$PWD/$'h $(touch PWNED)\\\\n\\''; bk-auto --set - <job; bk-auto --now \"$(cat name)\"");
    sandbox.write("name", name);
    sandbox.ok("bash line");
    assert_eq!(
        std::fs::read_to_string(sandbox.path("job-name")).unwrap(),
        name
    );
    assert_eq!(
        std::fs::read_to_string(sandbox.path("home-name")).unwrap(),
        sandbox.path(home).display().to_string()
    );
    assert!(!sandbox.path("PWNED").exists());
}

#[test]
fn process_1_takes_the_status_of_orphans_and_keeps_its_own() {
    if !has("unshare") || !has("pgrep") {
        return;
    }
    let orphans = "for it in 1 2 3 4 5; do (sleep 0.2 &); (true &); done";
    let sandbox = sandbox(orphans, &format!("{orphans}; echo after $BK_OUTCOME >>log"));
    if sandbox.run("unshare --pid --fork --mount-proc true").status != 0 {
        println!("skipped: unshare may not make a pid namespace here");
        return;
    }
    sandbox.sql(
        "UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name = 'auto_backup_since.a'",
    );
    let child = sandbox.start("exec unshare --pid --fork --mount-proc bk-auto --wait");
    wait_for(&sandbox, "log", "after ok");
    let first = sandbox.ok(&format!("pgrep -P {}", child.id())).stdout;
    let began = Instant::now();
    while sandbox.run(&format!("pgrep -P {first}")).status == 0 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "zombies are left"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    sandbox.ok(&format!("kill -TERM {first}"));
    let ran = crate::support::Ran::new("bk-auto", child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.stderr.as_str()), (143, ""), "{ran:#?}");
    assert!(sandbox.ledger().last().unwrap().ends_with(" auto ok"));
}
