//! What kills make of copies that are removed, asked for, listed and adopted: nothing counts as a copy that is not
//! there, and the next run finishes it.

use crate::support::pushed::{PLACE, USB, check_all_copied, check_complete};
use crate::support::{KILLED, Ran, Sandbox, can_trace, has, strace, stride};

/// The calls between which there are other states.
const CALLS: [&str; 9] = [
    "unlink",
    "write",
    "pwrite64",
    "renameat2",
    "openat",
    "fdatasync",
    "fsync",
    "flock",
    "ftruncate",
];

/// Two backups with their copies.
struct Start {
    sandbox: Sandbox,
}

impl Start {
    /// After `line`.
    fn after(line: &str) -> Option<Self> {
        if !can_trace() || !has("jq") {
            return None;
        }
        let sandbox = Sandbox::with_app();
        sandbox.ok(
            "export BK_HOST=web; bk-create --storage store --name a app; bk-create --storage store --name b app",
        );
        sandbox.usb();
        sandbox.ok(&format!(
            "bk-push usb a b; {line}; mkdir start; cp -a home place start"
        ));
        Some(Self { sandbox })
    }

    /// Kills a command line at each call, from the start on.
    fn kill_at_any_call(&self, line: &str, check: impl Fn(&Ran)) {
        let mut kills = 0;
        for call in CALLS.into_iter().step_by(stride(3)) {
            for when in (1..).step_by(stride(13)) {
                let fault = format!("signal=SIGKILL:when={when}");
                let ran = self.sandbox.run(&format!(
                    "rm -rf home place; cp -a start/. .; export BK_HOST=web
                     exec {} --quiet=all -o /dev/null -e trace={call} -e inject={call}:{fault} {line}",
                    strace(&fault)
                ));
                if ran.status != KILLED {
                    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
                    break;
                }
                check(&ran);
                kills += 1;
            }
        }
        println!("killed {kills} times");
        assert!(kills > 0, "{kills}");
    }

    fn ok(&self, line: &str, killed: &Ran) -> Ran {
        let ran = self.sandbox.run(&format!("export BK_HOST=web; {line}"));
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{killed:#?}{ran:#?}");
        ran
    }
}

#[test]
fn a_removal_that_is_killed_is_finished_by_the_next() {
    let Some(start) = Start::after("true") else {
        return;
    };
    let sandbox = &start.sandbox;
    // Several go at once, so that the last calls of one are made by another thread.
    for which in ["a", "a b"] {
        start.kill_at_any_call(&format!("bk-push --remove usb {which}"), |ran| {
            check_complete(sandbox, &sandbox.records(), &format!("{ran:#?}"));
            start.ok(
                "bk-ls --json | jq -c 'select(.copies != [])' | bk-push --remove usb && bk-push usb </dev/null",
                ran,
            );
            assert_eq!(sandbox.copies(), [""; 0], "{ran:#?}");
            assert!(sandbox.objects().is_empty(), "{ran:#?}");
            let listed = start.ok("bk-pull --list usb", ran);
            assert_eq!(listed.stdout, "", "{ran:#?}");
        });
    }
}

#[test]
fn a_check_that_is_killed_changes_nothing_but_its_time() {
    let Some(start) = Start::after("true") else {
        return;
    };
    start.kill_at_any_call("bk-push --check --read 100% usb", |ran| {
        check_all_copied(&start.sandbox, &format!("{ran:#?}"));
        let next = start.ok("bk-push --check usb", ran);
        assert_eq!(next.records().len(), 2, "{ran:#?}");
    });
}

/// On a machine that has nothing else.
#[test]
fn an_adoption_that_is_killed_is_finished_by_the_next() {
    let line = format!("rm -r home store; bk-push --set {USB} file://$PWD/{PLACE}");
    let Some(start) = Start::after(&line) else {
        return;
    };
    start.kill_at_any_call("bk-pull --adopt usb", |ran| {
        start.ok("bk-pull --adopt usb", ran);
        let told = start.ok("bk-ls --json | jq -r '.backup_name, .file_status'", ran);
        assert_eq!(told.stdout, "a\nremote\nb\nremote\n", "{ran:#?}");
        let copies = start.sandbox.copies();
        assert_eq!(copies, ["a usb complete", "b usb complete"], "{ran:#?}");
    });
}

#[test]
fn a_list_that_is_made_anew_is_the_old_or_the_new_one() {
    let Some(start) = Start::after("true") else {
        return;
    };
    start.kill_at_any_call("bk-pull --list --rebuild usb", |ran| {
        for line in ["bk-pull --list usb", "bk-pull --list --rebuild usb"] {
            let listed = start.ok(line, ran);
            assert_eq!(listed.records().len(), 2, "{ran:#?}");
        }
        assert_eq!(start.sandbox.lists().len(), 1, "{ran:#?}");
    });
}
