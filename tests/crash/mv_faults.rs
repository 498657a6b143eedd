//! What kills, full disks, failing calls, damage and signals make of a move: each archive is
//! whole in one place, its record says which, and no file is left over.

use crate::support::disk::SmallDisk;
use crate::support::{
    KILLED, Ran, Sandbox, UNTIL_STOPPED, can_trace, files_in, has, strace, stride,
};

/// The calls between which a move has other states.
const CALLS: &str = "openat flock renameat2 fsync unlink copy_file_range pwrite64 fchmod";

/// A sandbox with one backup, and a directory in another file system.
struct Start {
    sandbox: Sandbox,
    other: tempfile::TempDir,
}

impl Start {
    fn new() -> Option<Self> {
        if !can_trace() {
            return None;
        }
        let sandbox = Sandbox::with_app();
        sandbox.ok("bk-create --name a app; mkdir new start; cp -a home start");
        let other = tempfile::tempdir_in("/dev/shm").ok()?;
        Some(Self { sandbox, other })
    }

    /// Puts all back and moves the archive to `dir`, with a fault at calls on its files.
    fn run(&self, dir: &str, call: &str, fault: &str) -> Ran {
        let home = self.sandbox.home().display().to_string();
        let files = format!(
            "-P {home}/archives -P {home}/archives/a.tar.gz -P {dir} -P {dir}/a.tar.gz -P {dir}/a.tar.gz.partial"
        );
        self.sandbox.run(&format!(
            "rm -rf home new/* {dir}/* && cp -a start/home . &&
             exec {} -o /dev/null {files} -e trace={call} -e inject={call}:{fault} bk-mv a {dir}",
            strace(fault)
        ))
    }

    /// For strace(1): the files by which two directories are proved to be two.
    fn probes(&self, dir: &str) -> String {
        let old = self.sandbox.archive("a").display().to_string();
        format!(" -P {old}.probe1 -P {dir}/a.tar.gz.probe2")
    }

    fn dirs(&self) -> [String; 2] {
        let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        [text(&self.sandbox.path("new")), text(self.other.path())]
    }

    /// After any end, and one more session that writes.
    fn check(&self, dir: &str, ended: &Ran) {
        let next = self.sandbox.run("bk-create --name next app");
        assert_eq!((next.status, &*next.stderr), (0, ""), "{ended:#?}{next:#?}");
        let records = self.sandbox.records();
        let mut known = Vec::new();
        for record in &records {
            assert_eq!(record["status"], "completed", "{record}{ended:#?}");
            known.push(record["backup_path"].as_str().unwrap().to_owned());
        }
        let archives = self.sandbox.home().join("archives");
        let mut files = Vec::new();
        for dir in [archives.to_str().unwrap(), dir] {
            let all = files_in(dir.as_ref()).into_iter();
            files.extend(all.map(|path| path.to_str().unwrap().to_owned()));
        }
        known.sort();
        files.sort();
        assert_eq!(files, known, "{ended:#?}");
        if !ended.stdout.is_empty() {
            assert!(
                known[0].starts_with(dir) || known[1].starts_with(dir),
                "{ended:#?}"
            );
        }
        let whole = self.sandbox.run("bk-verify --all");
        assert_eq!((whole.status, &*whole.stderr), (0, ""), "{ended:#?}");
    }
}

/// Kills it at each of these calls, one after the other; how often.
fn kill_at_each(start: &Start, calls: &str, rest: &str, stride: usize) -> usize {
    let mut kills = 0;
    for dir in start.dirs() {
        for call in calls.split(' ') {
            for when in (1..).step_by(stride) {
                let probes = start.probes(&dir);
                let fault = format!("signal=SIGKILL:when={when}{rest}{probes}");
                let ran = start.run(&dir, call, &fault);
                if ran.status != KILLED {
                    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
                    break;
                }
                start.check(&dir, &ran);
                kills += 1;
            }
        }
    }
    println!("killed {kills} times");
    kills
}

#[test]
fn a_kill_at_any_call_leaves_one_whole_archive() {
    let Some(start) = Start::new() else { return };
    let kills = kill_at_each(&start, CALLS, "", stride(29));
    assert!(kills > 8, "{kills}");
}

/// Where the file system cannot rename without replacing, the archive has two names for a
/// moment.
#[test]
fn a_kill_between_link_and_unlink_leaves_one_whole_archive() {
    let Some(start) = Start::new() else { return };
    let rest = " -e trace=link,unlink,fsync,renameat2 -e inject=renameat2:error=EINVAL";
    assert!(kill_at_each(&start, "link unlink fsync", rest, 1) > 6);
}

#[test]
fn a_call_that_fails_is_told_and_leaves_one_whole_archive() {
    let Some(start) = Start::new() else { return };
    // Each fault at one of them.
    let part = stride(2);
    for (number, dir) in start.dirs().into_iter().enumerate() {
        for fault in [
            "renameat2:EIO",
            "renameat2:EINVAL",
            "fsync:EIO",
            "unlink:EIO",
            "unlink:EROFS",
            "openat:EMFILE",
            "flock:ENOLCK",
            "pwrite64:ENOSPC",
            "fchmod:EPERM",
        ]
        .into_iter()
        .skip(number % part)
        .step_by(part)
        {
            let (call, error) = fault.split_once(':').unwrap();
            for when in (1..6).step_by(stride(6)) {
                let probes = start.probes(&dir);
                let ran = start.run(&dir, call, &format!("error={error}:when={when}{probes}"));
                assert!([0, 1].contains(&ran.status), "{ran:#?}");
                assert_eq!(ran.status == 0, ran.stderr.is_empty(), "{fault}: {ran:#?}");
                assert!(ran.stderr.lines().count() < 2, "{ran:#?}");
                start.check(&dir, &ran);
            }
        }
    }
}

/// An old disk that became read-only: the backups are usable in the new place.
#[test]
fn an_old_archive_that_cannot_be_removed_is_named() {
    let Some(start) = Start::new() else { return };
    let [_, dir] = start.dirs();
    let ran = start.run(&dir, "unlink", "error=EROFS");
    let old = start.sandbox.archive("a").display().to_string();
    ran.fails(
        1,
        &format!(
            "bk-mv: cannot move 'a': it is '{dir}/a.tar.gz' now, but the old '{old}' cannot be removed: Read-only file system\n"
        ),
    );
    let record = start.sandbox.ok("bk-ls --json a").record();
    assert_eq!(record["status"], "completed");
    assert_eq!(record["backup_path"], format!("{dir}/a.tar.gz"));
    let told = format!(
        "a recover ok its move was interrupted; it is '{dir}/a.tar.gz'; '{old}' stays: Read-only file system (os error 30)"
    );
    assert!(
        start.sandbox.ledger().contains(&told),
        "{:?}",
        start.sandbox.ledger()
    );
}

/// What somebody else put into the new place meanwhile is not taken for the copy.
#[test]
fn recovery_removes_only_what_the_move_made() {
    let Some(start) = Start::new() else { return };
    for dir in start.dirs() {
        let ran = start.run(&dir, "renameat2", "signal=SIGKILL:when=1");
        assert_eq!(ran.status, KILLED, "{ran:#?}");
        start.sandbox.ok(&format!(
            "echo mine >{dir}/a.tar.gz; bk-create --name next app"
        ));
        assert_eq!(
            start.sandbox.ok(&format!("cat {dir}/a.tar.gz")).stdout,
            "mine\n"
        );
        assert_eq!(start.sandbox.ok("bk-verify a").status, 0);
    }
}

#[test]
fn damage_stays_where_it_is() {
    let Some(start) = Start::new() else { return };
    let [_, dir] = start.dirs();
    let old = start.sandbox.archive("a").display().to_string();
    start.sandbox.flip(&old, 500);
    let reason = format!(
        "its archive '{old}' is not what was recorded: its SHA-256 differs; bk-verify tells more"
    );
    start
        .sandbox
        .run(&format!("bk-mv a {dir}"))
        .fails(1, &format!("bk-mv: cannot move 'a': {reason}\n"));
    assert!(files_in(dir.as_ref()).is_empty());
    assert!(
        start
            .sandbox
            .ledger()
            .contains(&format!("a move failed {reason}"))
    );
    let record = start.sandbox.ok("bk-ls --json").record();
    assert_eq!(
        (record["status"].as_str(), record["backup_path"].as_str()),
        (Some("completed"), Some(&*old))
    );
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_done() {
    let Some(disk) = SmallDisk::new("8M") else {
        return;
    };
    disk.ok("head -c 5M /dev/urandom >big; bk-create --name a big; bk-create --name b big");
    let ran = disk.run("bk-mv a b disk");
    assert_eq!(ran.status, 1, "{ran:#?}");
    let dir = disk.sandbox.path("disk").display().to_string();
    assert_eq!(
        ran.stderr,
        format!(
            "bk-mv: cannot move: 2 archives, 10.0 MiB, are to be copied and 410 KiB to stay free there, but '{dir}' has 8.00 MiB free; make space, move fewer, or say what is to stay free with --reserve\n"
        )
    );
    assert_eq!(
        disk.ok("ls disk; bk-ls --json | grep -c home/archives")
            .stdout,
        "2\n"
    );
    let refused = disk.run("bk-mv --reserve 4M a disk");
    assert_eq!(refused.status, 1, "{refused:#?}");
    disk.ok("bk-mv --reserve 1M a disk");
    assert_eq!(
        disk.ok("ls disk home/archives").stdout,
        "disk:\na.tar.gz\n\nhome/archives:\nb.tar.gz\n"
    );
}

/// The disk fills up while the copy is written.
#[test]
fn a_disk_that_fills_up_leaves_the_archive_where_it_was() {
    let Some(start) = Start::new() else { return };
    let [_, dir] = start.dirs();
    let ran = start.run(&dir, "pwrite64", "error=ENOSPC");
    ran.fails(
        1,
        &format!("bk-mv: cannot move 'a': cannot write '{dir}/a.tar.gz.partial': No space left on device\n"),
    );
    start.check(&dir, &ran);
}

#[test]
fn a_signal_undoes_the_copy_that_is_under_way() {
    let Some(start) = Start::new() else { return };
    if !has("jq") {
        return;
    }
    let [_, dir] = start.dirs();
    let sandbox = &start.sandbox;
    sandbox
        .ok("head -c 80M /dev/urandom >big; bk-create --name big big; bk-create --name small app");
    let partial = format!("{dir}/big.tar.gz.partial");
    // It is slow, so that the signal finds it in the middle.
    let ran = sandbox.run(&format!(
        "set -m; strace -f --seccomp-bpf -o /dev/null -P {partial} -e trace=pwrite64 -e inject=pwrite64:delay_enter=20000 bk-mv a big small {dir} >out 2>err & strace=$!
         until test -s {partial}; do sleep 0.01; done
         kill -INT $(cat /proc/$strace/task/$strace/children); wait $strace"
    ));
    assert_eq!(ran.status, 130, "{ran:#?}");
    let told = sandbox.ok(
        "cat err; jq -r .backup_name out; ls home/archives; bk-ls --json | jq -r .status | uniq",
    );
    assert_eq!(
        told.stdout,
        "bk-mv: cannot move 'big': interrupted by signal 2\na\nbig.tar.gz\nsmall.tar.gz\ncompleted\n"
    );
    sandbox.ok("bk-verify --all");
    assert_eq!(files_in(dir.as_ref()).len(), 1);
}

/// While it is under way the archive can be checked and restored, and not removed or moved.
#[test]
fn others_find_the_archive_while_it_moves() {
    let Some(start) = Start::new() else { return };
    let sandbox = &start.sandbox;
    for dir in start.dirs() {
        // Stopped once the archive has its new name and the row not yet; the first one is tried
        // before the work.
        let ran = sandbox.run(&format!(
            "rm -rf home {dir}/* out trace; cp -a start/home .; echo '{{\"id\":\"x\"}}' >{dir}/.bk-storage
             strace -f -o trace -P {dir} -e trace=fsync -e inject=fsync:signal=SIGSTOP:when=2 bk-mv a {dir} >moved 2>err & strace=$!
             {UNTIL_STOPPED}
             bk-ls --json | jq -r .status
             bk-verify a >/dev/null && bk-restore -C out a >/dev/null && ls out
             bk-mv a elsewhere
             kill -CONT $(cat /proc/$strace/task/$strace/children); wait $strace; cat err"
        ));
        assert_eq!(ran.stdout, "moving\napp\n", "{ran:#?}");
        assert_eq!(
            ran.stderr, "bk-mv: cannot move 'a': another program is moving it\n",
            "{ran:#?}"
        );
        start.check(&dir, &ran);
        assert!(
            sandbox.records()[0]["backup_path"]
                .as_str()
                .unwrap()
                .starts_with(&dir)
        );
    }
}

/// Both ends of a rename last before the row points to the new one.
#[test]
fn both_directories_are_synced_before_the_row_tells_of_the_move() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "bk-create --name a app; strace -y -qq -o trace -e trace=renameat2,fsync,fdatasync bk-mv a new",
    );
    let trace = std::fs::read_to_string(sandbox.path("trace")).unwrap();
    let calls: Vec<_> = trace.lines().collect();
    let renamed = calls
        .iter()
        .position(|call| call.contains("/new/a.tar.gz\""));
    let after = &calls[renamed.expect(&trace)..];
    let first = |word: &str| after.iter().position(|call| call.contains(word));
    let recorded = first("/catalog.duckdb.wal>").expect(&trace);
    for dir in ["/new>", "/home/archives>"] {
        let synced = first(&format!("{dir})"));
        assert!(synced.is_some_and(|at| at < recorded), "{dir}:\n{trace}");
    }
}
