//! What kills, failing calls and signals make of an archive that is being brought back: it is whole or not there,
//! and the next bk-pull, or whoever else comes, does not trip over what is left.

use crate::support::{KILLED, Ran, Sandbox, UNTIL_STOPPED, can_trace, has, strace, stride, whens};

/// The calls between which it has other states.
const CALLS: [&str; 10] = [
    "write",
    "pread64",
    "openat",
    "fdatasync",
    "fsync",
    "renameat2",
    "unlink",
    "mkdir",
    "flock",
    "ftruncate",
];
const PULL: &str = "bk-pull usb big small";

/// A backup of 34 MiB and a small one, whose archives are in a place alone; what they were is in `kept/`.
struct Start {
    sandbox: Sandbox,
}

impl Start {
    fn new() -> Option<Self> {
        if !can_trace() || !has("jq") {
            return None;
        }
        let sandbox = Sandbox::with_app();
        sandbox.ok(
            "head -c 34M /dev/urandom >big; export BK_HOST=web
             bk-create --storage store --level 1 --name big big; bk-create --storage store --name small app",
        );
        sandbox.usb();
        sandbox.ok("bk-push usb big small; mkdir kept start; mv store/*.tar.gz kept; cp -a home store start");
        Some(Self { sandbox })
    }

    /// Puts all back to the start, and runs a command line.
    fn run(&self, line: &str) -> Ran {
        self.sandbox
            .run(&format!("rm -rf home store trace; cp -a start/. .; {line}"))
    }

    /// With a fault, as strace's `inject` has it, at a call; at those on the files of the home and the store alone
    /// where `is_ours`.
    fn strike(&self, call: &str, fault: &str, is_ours: bool) -> Ran {
        let files = "home home/catalog.lock home/catalog.duckdb home/catalog.duckdb.wal store store/big.tar.gz.partial \
                     store/small.tar.gz.partial place place/web/archives";
        let path = |file: &str| format!("-P {} ", self.sandbox.path(file).display());
        let files: String = files
            .split_whitespace()
            .filter(|_| is_ours)
            .map(path)
            .collect();
        self.run(&format!(
            "exec {} --quiet=all -o /dev/null {files} -e trace={call} -e inject={call}:{fault} {PULL}",
            strace(fault)
        ))
    }

    /// After any end: what is there is whole, what was told is there, and after the next one all is.
    fn check(&self, ended: &Ran) {
        self.sandbox.ok(
            "for file in store/*.tar.gz; do test ! -e $file || cmp $file kept/${file#store/}; done",
        );
        for printed in ended.records() {
            let path = printed["pull"]["path"].as_str().unwrap();
            assert!(std::path::Path::new(path).exists(), "{ended:#?}");
        }
        let next = self.sandbox.run(PULL);
        assert_eq!((next.status, &*next.stderr), (0, ""), "{ended:#?}{next:#?}");
        assert_eq!(next.records().len(), 2, "{ended:#?}{next:#?}");
        self.sandbox
            .ok("diff -r store kept | grep -v '^Only in store: .bk-storage$' | wc -l | grep -qx 0");
    }
}

#[test]
fn a_kill_at_any_call_is_made_up_for_by_the_next() {
    let Some(start) = Start::new() else { return };
    let mut kills = 0;
    for call in CALLS.into_iter().step_by(stride(5)) {
        for when in whens(if call == "renameat2" { 1 } else { 37 }) {
            let ran = start.strike(call, &format!("signal=SIGKILL:when={when}"), false);
            if ran.status != KILLED {
                assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
                break;
            }
            start.check(&ran);
            kills += 1;
        }
    }
    println!("killed {kills} times");
    assert!(kills > 2, "{kills}");
}

#[test]
fn a_call_that_fails_is_told_and_made_up_for() {
    let Some(start) = Start::new() else { return };
    let mut failures = 0;
    for (number, call) in CALLS.into_iter().enumerate().step_by(stride(2)) {
        let errors = ["ENOSPC", "EIO"].into_iter().skip(number / 2 % stride(2));
        for error in errors.step_by(stride(2)) {
            for when in whens(23).take_while(|it| *it < 400) {
                // What the loader opens is none of ours.
                let is_ours = matches!(call, "openat" | "pread64" | "write");
                let ran = start.strike(call, &format!("error={error}:when={when}"), is_ours);
                assert!([0, 1].contains(&ran.status), "{ran:#?}");
                let lines = ran.stderr.lines().count();
                assert!(lines <= 2 && (lines > 0) == (ran.status == 1), "{ran:#?}");
                start.check(&ran);
                failures += usize::from(ran.status != 0);
                if ran.status == 0 && (when > 60 || stride(2) > 1) {
                    break;
                }
            }
        }
    }
    println!("{failures} failures");
    assert!(failures > 2, "{failures}");
}

#[test]
fn a_signal_ends_it_at_once_and_leaves_nothing() {
    let Some(start) = Start::new() else { return };
    for (signal, status) in [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)] {
        // Amid the large one.
        let ran = start.run(&format!(
            "exec strace -f -qqq -o /dev/null -P $PWD/store/big.tar.gz.partial -e trace=write -e inject=write:signal={signal}:when=9 {PULL}"
        ));
        assert_eq!(
            (ran.status, &*ran.stdout, &*ran.stderr),
            (status, "", ""),
            "{ran:#?}"
        );
        start.sandbox.ok("test -z \"$(ls store)\"");
        start.check(&ran);
    }
}

/// The partial of a killed one is nobody's: the other programs go their ways.
#[test]
fn others_do_not_trip_over_what_a_kill_left() {
    let Some(start) = Start::new() else { return };
    let killed = "strace -f -qqq -o /dev/null -P $PWD/store/big.tar.gz.partial -e trace=write -e inject=write:signal=SIGKILL:when=9 bk-pull usb big; test -s store/big.tar.gz.partial || exit 9; ";
    for (line, left) in [
        ("bk-rm big 2>&1", ""),
        (
            "bk-rm big && bk-create --storage store --name big app",
            "big.tar.gz\n",
        ),
        (
            "bk-adopt -r store; bk-verify --quick small; cp kept/big.tar.gz . && bk-adopt --relink . && bk-verify big",
            "big.tar.gz.partial\n",
        ),
    ] {
        let ran = start.run(&format!("{killed} {{ {line}; }} >/dev/null"));
        assert!(!ran.stderr.contains("cannot"), "{ran:#?}");
        assert_eq!(start.sandbox.ok("ls store").stdout, left, "{ran:#?}");
    }
    start.sandbox.ok("rm -f big.tar.gz");
}

/// While one is brought, nobody else takes its place, or its record.
#[test]
fn what_is_being_brought_is_left_alone_by_others() {
    let Some(start) = Start::new() else { return };
    let ran = start.run(&format!(
        "strace -f -qqq -o trace -P $PWD/store/big.tar.gz.partial -e trace=write -e inject=write:signal=SIGSTOP:when=9 bk-pull usb big &
         {UNTIL_STOPPED}
         bk-rm big; bk-pull usb big; kill -CONT $(grep -o -m 1 '^[0-9]*' trace); wait $!"
    ));
    let partial = start
        .sandbox
        .path("store/big.tar.gz.partial")
        .display()
        .to_string();
    ran.fails(
        0,
        &format!(
            "bk-rm: cannot remove 'big': '{partial}': another program is at work on it\n\
         bk-pull: cannot bring 'big' from 'usb': '{partial}': another program is at work on it\n"
        ),
    );
    start.check(&ran);
}

/// The archive is there when the catalog is not to be had.
#[test]
fn a_catalog_that_stays_locked_is_told_and_the_archive_stays() {
    let Some(start) = Start::new() else { return };
    let ran = start.run(&format!(
        "strace -f -qqq -o trace -e trace=renameat2 -e inject=renameat2:signal=SIGSTOP:when=1 \
             bk-pull --lock-timeout 200ms usb big & {UNTIL_STOPPED}
         exec 9<>home/catalog.lock; flock 9
         kill -CONT $(grep -o -m 1 '^[0-9]*' trace); wait $!"
    ));
    assert_eq!((ran.status, ran.records().len()), (75, 1), "{ran:#?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    start.sandbox.ok("cmp store/big.tar.gz kept/big.tar.gz");
    start.check(&ran);
}
