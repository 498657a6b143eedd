//! `bk-auto --notify`: who is told of what, and that a notice that fails or hangs holds up nothing and
//! is told itself; and hooks that take too long.

use std::time::{Duration, Instant};

use crate::support::{Sandbox, has};
use serde_json::{Value, json};

/// What the notices wrote, each a line.
fn told(sandbox: &Sandbox) -> Vec<String> {
    let text = std::fs::read_to_string(sandbox.path("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A job whose backup fails while the file `broken` is there.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_app();
    let broken = sandbox.path("broken").display().to_string();
    sandbox.ok(&format!(
        "bk-auto --set a -s @daily --before 'test ! -e {broken}' -- app"
    ));
    let told = sandbox.path("told").display().to_string();
    sandbox.ok(&format!(
        "bk-auto --notify 'echo \"$BK_JOB $BK_OUTCOME <$BK_REASON>\" >>{told}'"
    ));
    sandbox
}

const REASON: &str =
    "the command before failed, so there is no backup: it ended with exit status 1";

#[test]
fn failures_are_told_each_time_and_a_recovery_once() {
    let sandbox = sandbox();
    sandbox.ok("bk-auto --now a");
    sandbox.ok("touch broken");
    for _ in 0..2 {
        assert_eq!(sandbox.run("bk-auto --now a").status, 1);
    }
    sandbox.ok("rm broken; bk-auto --now a; bk-auto --now a");
    let failed = format!("a failed <{REASON}>");
    assert_eq!(told(&sandbox), [&*failed, &*failed, "a recovered <>"]);
    // A job's own command takes the place of that of all, and tells of good runs where that is asked.
    let own = sandbox.path("own").display().to_string();
    sandbox.ok(&format!(
        "bk-auto --set a --notify-always --notify 'cat >{own}; printenv BK_RECORD | cmp - {own} && echo same >>{own}'"
    ));
    let made = sandbox.ok("bk-auto --now a").record();
    let text = std::fs::read_to_string(&own).unwrap();
    let (line, rest) = text.split_once('\n').unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&line["job"], &line["outcome"], &line["record"], rest),
        (&json!("a"), &json!("ok"), &made, "same\n")
    );
    assert_eq!(told(&sandbox).len(), 3);
    let listed = sandbox.ok("bk-auto --list").record();
    assert_eq!(
        (&listed["notify"], &listed["notify_always"]),
        (&listed["notifies"], &json!(true))
    );
    // Each of the two stays as it is where the other is changed, also by lines.
    for (change, is_always) in [
        ("bk-auto --set a --notify true", true),
        (
            "echo '{\"job\":\"a\",\"notify_always\":false}' | bk-auto --set -",
            false,
        ),
        ("bk-auto --set a --notify-always", true),
        (
            "echo '{\"job\":\"a\",\"notify\":\"true\"}' | bk-auto --set -",
            true,
        ),
    ] {
        let job = sandbox.ok(change).record();
        let both = (&job["notify"], &job["notify_always"]);
        assert_eq!(both, (&json!("true"), &json!(is_always)), "{change}");
    }
    // Taken away, first its own, then that of all.
    sandbox.ok("bk-auto --set a --notify ''; touch broken");
    assert_eq!(sandbox.run("bk-auto --now a").status, 1);
    sandbox.ok("bk-auto --notify ''");
    assert_eq!(sandbox.run("bk-auto --now a").status, 1);
    assert_eq!(told(&sandbox).len(), 4);
    assert_eq!(
        sandbox.ok("bk-auto --list").record()["notifies"],
        json!(null)
    );
}

#[test]
fn a_notice_that_hangs_holds_up_no_backup_and_is_told() {
    let sandbox = Sandbox::with_app();
    let log = sandbox.path("told").display().to_string();
    // It would go on for a minute; its job gives it two seconds.
    let hang = format!("echo begun >>{log}; sleep 100 & sleep 100");
    sandbox.ok(&format!(
        "bk-auto --set a -s @daily --hook-timeout 2s --notify '{hang}' -- gone; \
         bk-auto --set b -s @daily --after 'echo b >>{log}' -- app"
    ));
    let began = Instant::now();
    let ran = sandbox.run("bk-auto --now a b");
    let took = began.elapsed();
    let gone = sandbox.path("gone");
    let reason = format!(
        "cannot back up '{}': No such file or directory",
        gone.display()
    );
    let lost = "the notice of the job 'a' failed: it took longer than 2s and was ended";
    assert_eq!(
        ran.errors(),
        [
            &*format!("bk-create: {reason}"),
            &*format!("bk-auto: the job 'a' failed: {reason}"),
            &*format!("bk-auto: {lost}")
        ]
    );
    assert_eq!((ran.status, ran.records().len()), (1, 1));
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(20),
        "{took:?}"
    );
    assert_eq!(told(&sandbox), ["begun", "b"]);
    let ledger = sandbox.ledger();
    let reason = "it took longer than 2s and was ended";
    assert_eq!(ledger.last().unwrap(), &format!("notify failed {reason}"));
    // One that fails says why, and fails the whole, however well the backup went.
    sandbox.ok("bk-auto --set b --notify-always --notify 'echo no mail here; exit 7'");
    let ran = sandbox.run("bk-auto --now b");
    let why =
        "bk-auto: the notice of the job 'b' failed: it ended with exit status 7: no mail here";
    assert_eq!((ran.status, ran.errors()), (1, vec!["no mail here", why]));
}

#[test]
fn a_hook_that_takes_too_long_is_ended_with_what_it_began() {
    if !has("pgrep") {
        return;
    }
    let sandbox = Sandbox::with_app();
    // A mark that no other process has on its command line.
    let mark = format!("7654{}", std::process::id());
    let before = format!("trap \"\" TERM; echo waiting; sleep {mark} & sleep {mark}; wait");
    sandbox.ok(&format!(
        "bk-auto --set a -s @daily --hook-timeout 1s --before '{before}' --after 'exit 0' -- app"
    ));
    let reason = "the command before failed, so there is no backup: it took longer than 1s and was ended: waiting";
    let ran = sandbox.run("bk-auto --now a");
    let errors = ran.errors();
    assert_eq!(
        (ran.status, errors.last().unwrap()),
        (1, &&*format!("bk-auto: the job 'a' failed: {reason}"))
    );
    assert_eq!(sandbox.ledger(), [format!("auto failed {reason}")]);
    // SIGTERM was ignored by all of them; in the next one by a child alone.
    let left = sandbox.run(&format!(
        "pgrep -f 'sleep {mark}' | xargs -r ps -o args= -p | grep -v pgrep"
    ));
    assert_eq!(left.stdout, "");
}
