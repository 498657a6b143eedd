//! What comes between bk-prune's decision and its removal: other programs, signals, errors, a
//! full disk. Never is more removed than was decided at first.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::store::{ids, left, six};
use crate::support::{Ran, Sandbox, can_trace, has};

/// Runs `line` after bk-prune has looked at the archives and before it takes the lock.
fn between(sandbox: &Sandbox, flags: &str, line: impl Fn()) -> Ran {
    let path = sandbox.archive("b6").display().to_string();
    let traced = format!(
        "exec strace -o trace -P {path} -e trace=%stat,statx \
             -e inject=%stat,statx:signal=SIGSTOP:when=1 bk-prune {flags}"
    );
    let child = sandbox.start(&traced);
    let stopped = "grep -qs 'stopped by SIGSTOP' trace";
    let end = Instant::now() + Duration::from_secs(30);
    while sandbox.run(stopped).status != 0 {
        assert!(Instant::now() < end, "it does not stop");
        std::thread::sleep(Duration::from_millis(10));
    }
    line();
    resume(&child);
    Ran::new(flags, child.wait_with_output().unwrap())
}

/// strace's child goes on.
fn resume(strace: &Child) {
    let id = strace.id();
    let line = format!("kill -CONT $(cat /proc/{id}/task/{id}/children)");
    let status = Command::new("sh").args(["-c", &line]).status();
    assert!(status.unwrap().success());
}

#[test]
fn what_is_protected_meanwhile_stays() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    let ran = between(&sandbox, "--keep-last 2", || {
        sandbox.sql("UPDATE backup_records SET protected = true WHERE id = 2");
    });
    assert_eq!(ran.status, 0, "{ran:#?}");
    assert_eq!(ids(&ran.records()), [1, 3, 4].into());
    assert_eq!(left(&sandbox), [2, 5, 6]);
}

#[test]
fn a_backup_that_is_made_meanwhile_makes_nothing_else_go() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    let ran = between(&sandbox, "--keep-last 2", || {
        sandbox.ok("bk-create --name new app");
    });
    assert_eq!(ids(&ran.records()), [1, 2, 3, 4].into());
    assert_eq!(left(&sandbox), [5, 6, 7]);
}

#[test]
fn what_others_remove_meanwhile_leaves_the_newest_of_the_rest() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    let ran = between(&sandbox, "--keep-last 1", || {
        sandbox.sql("DELETE FROM backup_records WHERE id > 3");
        sandbox.ok("rm home/archives/b[456].tar.gz");
    });
    assert_eq!(ids(&ran.records()), [1, 2].into());
    assert_eq!(left(&sandbox), [3]);
    let summary = "bk-prune: removed 2 of 6, ";
    assert!(ran.stderr.starts_with(summary), "{}", ran.stderr);
}

#[test]
fn what_is_moved_meanwhile_stays_for_the_next_time() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    let ran = between(&sandbox, "--keep-last 2", || {
        sandbox.ok("mkdir elsewhere; mv home/archives/b1.tar.gz elsewhere");
        let path = sandbox.path("elsewhere/b1.tar.gz").display().to_string();
        sandbox.sql(&format!(
            "UPDATE backup_records SET backup_path = '{path}' WHERE id = 1"
        ));
    });
    assert_eq!(ids(&ran.records()), [2, 3, 4].into());
    assert!(sandbox.path("elsewhere/b1.tar.gz").exists());
    assert_eq!(ids(&sandbox.records()), [1, 5, 6].into());
}

#[test]
fn what_expires_meanwhile_waits_for_the_next_time() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    let ran = between(&sandbox, "--keep-last 2", || {
        sandbox.sql("UPDATE backup_records SET expires_at = created_at WHERE id = 5");
    });
    // Without 5, 4 is of the two newest.
    assert_eq!(ids(&ran.records()), [1, 2, 3].into());
    assert_eq!(left(&sandbox), [4, 5, 6]);
    assert_eq!(
        ids(&sandbox.ok("bk-prune --keep-last 2").records()),
        [5].into()
    );
}

#[test]
fn a_signal_ends_it_after_the_archive_under_way() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    let ran = sandbox.run(
        "strace -o /dev/null -e trace=unlink,unlinkat -e inject=unlink,unlinkat:signal=SIGINT:when=4 \
             bk-prune --keep-last 1",
    );
    assert_eq!(ran.status, 130, "{ran:#?}");
    let gone = ids(&ran.records());
    assert!(!gone.is_empty() && gone.len() < 5, "{ran:#?}");
    let all: BTreeSet<i64> = (1..=6).collect();
    assert_eq!(
        left(&sandbox),
        all.difference(&gone).copied().collect::<Vec<_>>()
    );
    // The next one does the rest.
    sandbox.ok("bk-prune --keep-last 1");
    assert_eq!(left(&sandbox), [6]);
}

#[test]
fn an_archive_that_cannot_be_removed_is_told_and_the_others_go() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    let path = sandbox.archive("b2").display().to_string();
    let ran = sandbox.run(&format!(
        "strace -o /dev/null -P {path} -e trace=unlink,unlinkat -e inject=unlink,unlinkat:error=EIO \
             bk-prune --keep-last 2"
    ));
    assert_eq!(ran.status, 1, "{ran:#?}");
    let first = format!("bk-prune: cannot remove 'b2': cannot remove '{path}': Input/output error");
    assert_eq!(ran.stderr.lines().next(), Some(first.as_str()));
    assert_eq!(ids(&ran.records()), [1, 3, 4].into());
    assert_eq!(left(&sandbox), [2, 5, 6]);
}

/// Archives of 1 MiB on a disk that is filled to the last byte.
#[test]
fn space_is_made_on_a_full_disk() {
    if !has("unshare") || !has("jq") {
        return;
    }
    let sandbox = Sandbox::new();
    let ran = sandbox.run(
        "mkdir disk
        unshare -m bash -c '
            mount -t tmpfs -o size=100M tmpfs disk || exit 99
            export BK_HOME=$PWD/disk/home
            head -c 1M /dev/urandom >random
            for n in 1 2 3 4 5 6; do bk-create --name b$n random >/dev/null || exit; done
            cat /dev/zero >disk/filler 2>/dev/null
            df -B1 --output=avail disk | tail -1 | xargs
            bk-prune --keep-free 3M | jq -c \"[.id, .decision.reasons[]]\"
            test $(df -B1 --output=avail disk | tail -1) -ge $((3 << 20)) && echo enough
            bk-verify --all | jq .verify.ok
        '",
    );
    if ran.status == 99 || ran.stderr.starts_with("unshare:") {
        println!("skipped: a file system in memory cannot be mounted here");
        return;
    }
    let removed: Vec<_> = ran
        .stdout
        .lines()
        .filter(|it| it.contains("keep-free"))
        .collect();
    let few = [
        "[1,\"keep-free 3.00 MiB\"]",
        "[2,\"keep-free 3.00 MiB\"]",
        "[3,\"keep-free 3.00 MiB\"]",
    ];
    assert_eq!(removed, few, "{ran:#?}");
    assert!(ran.stdout.ends_with("true\ntrue\ntrue\n"), "{ran:#?}");
}
