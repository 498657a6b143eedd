//! What kills, failing calls, signals and a locked catalog make of a copy: nothing is complete that is not there,
//! the next bk-push finishes it, and no part that is there is sent again.

use crate::support::pushed::{PLACE, check_all_copied, check_complete};
use crate::support::{KILLED, Ran, Sandbox, UNTIL_STOPPED, can_trace, has, strace, stride, whens};

/// The calls between which a copy has other states.
const CALLS: [&str; 11] = [
    "pwrite64",
    "openat",
    "write",
    "ftruncate",
    "fdatasync",
    "fsync",
    "renameat2",
    "rename",
    "unlink",
    "mkdir",
    "flock",
];
const PUSH: &str = "bk-push usb big small";
/// A backup that goes in three parts, and a small one, in `store/`; and a place to copy them to.
struct Start {
    sandbox: Sandbox,
}

impl Start {
    fn new() -> Option<Self> {
        Self::with(false)
    }

    fn with(is_encrypted: bool) -> Option<Self> {
        if !can_trace() || !has("jq") || is_encrypted && !has("age") {
            return None;
        }
        let sandbox = Sandbox::with_app();
        sandbox.ok(
            "head -c 34M /dev/urandom >big; export BK_HOST=web
             bk-create --storage store --level 1 --name big big; bk-create --storage store --name small app",
        );
        sandbox.usb();
        if is_encrypted {
            let key = sandbox.age_key();
            sandbox.ok(&format!(
                "bk-push --set --recipient {key} usb file://$PWD/{PLACE}"
            ));
        }
        sandbox.ok("mkdir start; cp -a home place start");
        Some(Self { sandbox })
    }

    /// Puts all back to the start, and runs a command line.
    fn run(&self, line: &str) -> Ran {
        self.sandbox
            .run(&format!("rm -rf home place trace; cp -a start/. .; {line}"))
    }

    /// Copies from the start on, with a fault, as strace's `inject` has it, at a call; at those on the files of the
    /// home and the place alone where `is_ours`.
    fn strike(&self, call: &str, fault: &str, is_ours: bool) -> Ran {
        let files = "home home/uploads home/uploads/usb.1 home/uploads/usb.2 home/uploads/usb.1.age home/uploads/usb.2.age home/catalog.lock home/catalog.duckdb \
                     home/catalog.duckdb.wal place place/web place/web/archives store/big.tar.gz store/small.tar.gz";
        let path = |file: &str| format!("-P {} ", self.sandbox.path(file).display());
        let files: String = files
            .split_whitespace()
            .filter(|_| is_ours)
            .map(path)
            .collect();
        self.run(&format!(
            "exec {} --quiet=all -o /dev/null {files} -e trace={call} -e inject={call}:{fault} {PUSH}",
            strace(fault)
        ))
    }

    /// After any end, and after the next copy.
    fn check(&self, ended: &Ran) {
        let told = format!("{ended:#?}");
        let records = self.sandbox.records();
        check_complete(&self.sandbox, &records, &told);
        for printed in ended.records() {
            let now = records.iter().find(|it| it["id"] == printed["id"]).unwrap();
            assert_eq!(now["copies"], printed["copies"], "{told}");
            assert_eq!(now["copies"][0]["status"], "complete", "{told}");
        }
        let next = self.sandbox.run(PUSH);
        assert_eq!((next.status, &*next.stderr), (0, ""), "{told}{next:#?}");
        check_all_copied(&self.sandbox, &told);
    }

    /// Copies the large one, and returns how many bytes of it were written to the place.
    fn sent_bytes(&self) -> u64 {
        let ran = self
            .sandbox
            .run("strace -f --seccomp-bpf -y -qq -o trace -e trace=pwrite64 bk-push usb big");
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
        let trace = std::fs::read_to_string(self.sandbox.path("trace")).unwrap();
        let archive = format!("/{PLACE}/web/archives/big-");
        let of_archive = trace
            .lines()
            .filter(|line| line.contains(&archive) && line.contains(".tar.gz."));
        // pwrite64(FILE, TEXT, LENGTH, OFFSET
        let length = |line: &str| -> u64 {
            let word = line.rsplit(", ").nth(1).unwrap();
            word.parse().unwrap_or_else(|_| panic!("{line}"))
        };
        of_archive.map(length).sum()
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_kill_at_any_call_is_made_up_for_by_the_next_copy() {
    kill_at_any_call(false);
}

#[test]
fn a_kill_at_any_call_while_it_encrypts_is_made_up_for_by_the_next_copy() {
    kill_at_any_call(true);
}

fn kill_at_any_call(is_encrypted: bool) {
    let Some(start) = Start::with(is_encrypted) else {
        return;
    };
    let mut kills = 0;
    for call in CALLS.into_iter().step_by(stride(6)) {
        for when in whens(if call == "renameat2" { 1 } else { 97 }) {
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
#[ignore = "minutes: make test-long"]
fn a_call_that_fails_is_told_in_a_line_and_made_up_for() {
    fail_at_any_call(false);
}

#[test]
fn a_call_that_fails_while_it_encrypts_is_told_in_a_line_and_made_up_for() {
    fail_at_any_call(true);
}

fn fail_at_any_call(is_encrypted: bool) {
    let Some(start) = Start::with(is_encrypted) else {
        return;
    };
    let mut failures = 0;
    for (number, call) in CALLS.into_iter().enumerate().step_by(stride(6)) {
        // One of both, in turns, where not each case is taken.
        let errors = ["ENOSPC", "EIO"].into_iter().skip(number / 6 % stride(2));
        for error in errors.step_by(stride(2)) {
            let mut unharmed = 0;
            for when in whens(61).take_while(|it| *it < 400) {
                // What the loader opens is none of ours.
                let is_ours = call == "openat";
                let ran = start.strike(call, &format!("error={error}:when={when}"), is_ours);
                check_told(&start.sandbox, &ran);
                start.check(&ran);
                failures += usize::from(ran.status != 0);
                unharmed = if ran.status == 0 { unharmed + 1 } else { 0 };
                // Some failures do no harm; after so many in turn there are no more calls.
                if unharmed > 20 || ran.status == 0 && stride(2) > 1 {
                    break;
                }
            }
        }
    }
    println!("{failures} failures");
    assert!(failures > 2, "{failures}");
}

#[test]
fn what_was_encrypted_and_could_not_be_removed_goes_with_the_next_copy() {
    let Some(start) = Start::with(true) else {
        return;
    };
    let spool = start.sandbox.path("home/uploads/usb.1.age");
    let ran = start.run(&format!(
        "strace -f -qq -o trace -P {} -e trace=unlink -e inject=unlink:error=EIO {PUSH}",
        spool.display()
    ));
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
    assert!(spool.exists(), "{ran:#?}");
    start.check(&ran);
}

/// strace counts the calls of each thread: a fault may strike each of both backups once.
fn check_told(sandbox: &Sandbox, ran: &Ran) {
    assert!([0, 1].contains(&ran.status), "{ran:#?}");
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert!(lines.len() <= 2, "{ran:#?}");
    // A list that cannot be written is a warning.
    let failed = lines.iter().filter(|it| !it.contains(": warning: "));
    assert_eq!(failed.count() == 0, ran.status == 0, "{ran:#?}");
    let mut distinct = lines.clone();
    distinct.dedup();
    assert_eq!(distinct, lines, "{ran:#?}");
    let dir = sandbox.path("").display().to_string();
    // A list is made in memory.
    let files = [&*dir, "standard output", "'records/"];
    let names_file = |line: &&str| files.iter().any(|file| line.contains(file));
    assert!(lines.iter().all(names_file), "{ran:#?}");
}

#[test]
fn an_upload_that_was_ended_goes_on() {
    let Some(start) = Start::new() else { return };
    for (signal, status) in [("KILL", 137), ("TERM", 143), ("INT", 130)] {
        start.run("true");
        let ran = start.sandbox.copy_until_a_part("", "usb", signal);
        assert_eq!(ran.status, status, "{ran:#?}");
        let (_, there_bytes) = start.sandbox.parts_there("usb");
        let archive = start.sandbox.path("store/big.tar.gz");
        let archive_bytes = std::fs::metadata(archive).unwrap().len();
        assert_eq!(start.sent_bytes(), archive_bytes - there_bytes, "{ran:#?}");
        start.check(&ran);
        if stride(2) > 1 && signal == "TERM" {
            break;
        }
    }
    parts_of_a_damaged_archive_are_sent_again(&start);
    what_was_begun_of_a_backup_that_is_removed_goes(&start);
}

/// What was sent while the archive was damaged is no part of what is sent once it is whole again.
fn parts_of_a_damaged_archive_are_sent_again(start: &Start) {
    let damage = || {
        for at in [5_000_000, 20_000_000, 34_000_000] {
            start.sandbox.flip("store/big.tar.gz", at);
        }
    };
    start.run("cp store/big.tar.gz whole");
    damage();
    let ran = start.sandbox.copy_until_a_part("", "usb", "KILL");
    start.sandbox.ok("cp whole store/big.tar.gz");
    start.check(&ran);
    // And where it stays damaged, it is no object.
    damage();
    let ran = start.run("bk-push usb big");
    let archive = start.sandbox.path("store/big.tar.gz").display().to_string();
    ran.fails(
        1,
        &format!("bk-push: cannot copy 'big' to 'usb': '{archive}' has another hash than its record: 'bk-verify' tells and records that\n"),
    );
    assert!(start.sandbox.objects().is_empty() && start.sandbox.journals().is_empty());
    assert_eq!(start.sandbox.copies(), ["big usb failed"]);
    start.sandbox.ok("cp whole store/big.tar.gz");
}

/// Nobody goes on with it.
fn what_was_begun_of_a_backup_that_is_removed_goes(start: &Start) {
    start.run("true");
    start.sandbox.copy_until_a_part("", "usb", "KILL");
    start
        .sandbox
        .ok("cp store/big.tar.gz whole; bk-rm big; bk-push usb small");
    check_all_copied(&start.sandbox, "");
    start.sandbox.ok("cp whole store/big.tar.gz");
}

/// The object is there when the catalog is not to be had.
#[test]
fn a_catalog_that_stays_locked_is_told_and_the_next_copy_records_without_sending() {
    let Some(start) = Start::new() else { return };
    let ran = start.run(&format!(
        "strace -f -qqq -o trace -e trace=renameat2 -e inject=renameat2:signal=SIGSTOP:when=1 \
             bk-push --lock-timeout 200ms usb big & {UNTIL_STOPPED}
         exec 9<>home/catalog.lock; flock 9
         kill -CONT $(grep -o -m 1 '^[0-9]*' trace); wait $!"
    ));
    assert_eq!((ran.status, &*ran.stdout), (75, ""), "{ran:#?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    assert_eq!(start.sandbox.copies(), ["big usb copying"]);
    assert_eq!(start.sent_bytes(), 0);
    assert_eq!(start.sandbox.copies(), ["big usb complete"]);
    start.check(&ran);
}

/// A real disk that is too small, and then is not.
#[test]
fn a_disk_that_is_full_is_told_and_the_copy_goes_on_once_there_is_room() {
    let Some(disk) = crate::support::disk::SmallDisk::new("40M") else {
        return;
    };
    disk.ok(
        "head -c 34M /dev/urandom >big; BK_HOST=web bk-create --level 1 --name big big >/dev/null
        bk-push --set --init usb file://$PWD/disk/place; head -c 10M /dev/zero >disk/filler",
    );
    let ran = disk.run("bk-push usb big");
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    let place = disk.sandbox.path("disk/place").display().to_string();
    let is_told =
        ran.stderr.contains(&place) && ran.stderr.ends_with(": No space left on device\n");
    assert!(is_told && ran.stderr.lines().count() == 1, "{ran:#?}");
    assert_eq!(disk.sandbox.copies(), ["big usb failed"]);
    let whole = disk.ok("rm disk/filler; bk-push usb big >/dev/null; cmp disk/place/web/archives/*.tar.gz home/archives/big.tar.gz; ls disk/place/web/archives | wc -l");
    assert_eq!((&*whole.stdout, &*whole.stderr), ("3\n", ""));
}
