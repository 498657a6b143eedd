//! bk-rm on a full disk, with signals and crashes in the middle, and where it may not write.
//! The table of contents is rm.rs.

use crate::support::disk::SmallDisk;
use crate::support::{Sandbox, can_trace, has};

/// A store of `count` backups named a1, a2, ..., each with its archive.
fn store(count: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("d/x", "x\n");
    sandbox.ok(&format!(
        r#"for n in $(seq {count}); do echo "{{\"backup_name\":\"a$n\",\"sources\":[\"d\"]}}"; done | bk-create - >/dev/null"#
    ));
    sandbox
}

/// Every backup is listed with its archive, and no archive is without its backup; `count` are.
fn assert_whole(sandbox: &Sandbox, count: usize) {
    let listed = sandbox.ok(
        "bk-ls --json | jq -r 'select(.status == \"completed\") | .backup_name + \".tar.gz\"' | sort >listed
         ls home/archives | sort | diff listed - && wc -l <listed; bk-ls --json | wc -l",
    );
    assert_eq!(listed.stdout, format!("{count}\n{count}\n"));
}

/// What is on the disk beside the archives fills it to the last byte.
const FILL: &str = "dd if=/dev/zero of=disk/filler bs=1M 2>/dev/null; dd if=/dev/zero bs=1 count=4096 2>/dev/null >>disk/filler;
    test $(df --output=avail --block-size=1 disk | tail -n 1) = 0 || exit 9;";

/// Home and archives on the full disk, which others fill again after each removal.
#[test]
fn a_full_disk_can_be_emptied() {
    let Some(disk) = SmallDisk::new("96M") else {
        return;
    };
    disk.ok(&format!(
        "export BK_HOME=$PWD/disk/home
         bk-create --name first app >/dev/null; test -s disk/home/catalog.spare
         head -c 8M /dev/urandom >app/data/more; for n in $(seq 7); do bk-create --name a$n app >/dev/null; done
         {FILL}
         for n in $(seq 4); do bk-rm a$n >/dev/null || exit 1; {FILL} done"
    ));
    let left = disk.ok("export BK_HOME=$PWD/disk/home; bk-ls --json | bk-rm | wc -l; bk-ls --json | wc -l; ls disk/home/archives");
    assert_eq!(left.stdout, "4\n0\n");
}

/// The home on the full disk, the archives elsewhere: what is removed frees nothing there.
#[test]
fn a_full_disk_under_the_home_lets_all_be_removed() {
    let Some(disk) = SmallDisk::new("96M") else {
        return;
    };
    let told = disk.ok(&format!(
        "export BK_HOME=$PWD/disk/home
         for n in $(seq 40); do echo \"{{\\\"backup_name\\\":\\\"a$n\\\",\\\"sources\\\":[\\\"app\\\"]}}\"; done | bk-create --storage store - >/dev/null
         {FILL}
         for n in $(seq 12); do bk-rm a$n || exit 1; done >removed
         bk-ls --json | bk-rm >>removed; wc -l <removed; bk-ls --json | wc -l; ls store"
    ));
    assert_eq!((&*told.stdout, &*told.stderr), ("40\n0\n", ""));
}

/// Without the spare a full disk is an error, and nothing is lost.
#[test]
fn a_full_disk_without_a_spare_is_told_and_loses_nothing() {
    let Some(disk) = SmallDisk::new("96M") else {
        return;
    };
    disk.ok(&format!(
        "export BK_HOME=$PWD/disk/home
         bk-create --storage store --name a app >/dev/null; rm disk/home/catalog.spare; {FILL}"
    ));
    let ran = disk.run("export BK_HOME=$PWD/disk/home; bk-rm a");
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    let told = ran.stderr.starts_with("bk-rm: cannot ") && ran.stderr.contains("No space left");
    assert!(told && ran.stderr.lines().count() == 1, "{ran:#?}");
    let after = disk.ok(
        "export BK_HOME=$PWD/disk/home; rm disk/filler; gzip -t store/a.tar.gz
         bk-ls --json | jq -r .status; bk-rm a | jq .id; ls store",
    );
    assert_eq!(after.stdout, "completed\n1\n");
}

/// A signal between two archives: those before it are gone, recorded and printed.
#[test]
fn a_signal_ends_it_in_good_order() {
    if !has("jq") || !can_trace() {
        return;
    }
    for (signal, number) in [("SIGINT", 2), ("SIGTERM", 15)] {
        let sandbox = store(9);
        // The signal comes after the third archive of the one part is unlinked.
        let dir = sandbox.home().join("archives").display().to_string();
        let paths: String = (1..=9).map(|n| format!(" -P {dir}/a{n}.tar.gz")).collect();
        let ran = sandbox.run(&format!(
            "bk-ls --json >all; strace -f -o trace {paths} -e trace=unlink,unlinkat \
                 -e inject=unlink,unlinkat:signal={signal}:when=3 bk-rm <all"
        ));
        assert_eq!((ran.status, &*ran.stderr), (128 + number, ""), "{ran:#?}");
        let ids: Vec<_> = ran.records().iter().map(|it| it["id"].as_i64()).collect();
        assert_eq!(ids, [Some(1), Some(2), Some(3)]);
        assert_whole(&sandbox, 6);
        let ledger = sandbox.ledger();
        assert_eq!(
            &ledger[9..],
            ["a1 remove ok", "a2 remove ok", "a3 remove ok"]
        );
    }
}

#[test]
fn a_signal_ends_the_wait_for_the_catalog() {
    if !has("flock") {
        return;
    }
    let sandbox = store(1);
    let ran = sandbox.run(
        "set -m; exec 9<>home/catalog.lock; flock 9
         bk-rm a1 9>&- & until readlink /proc/$!/fd/* | grep -q catalog.lock || ! kill -0 $!; do sleep 0.01; done
         kill -TERM $!; wait $!; code=$?; flock -u 9; exit $code",
    );
    assert_eq!((ran.status, &*ran.stdout), (143, ""), "{ran:#?}");
    assert_whole(&sandbox, 1);
}

#[test]
fn a_catalog_that_stays_locked_is_told_and_nothing_is_removed() {
    if !has("flock") || !has("jq") {
        return;
    }
    let sandbox = store(1);
    let ran = sandbox.run("exec 9<>home/catalog.lock; flock 9; bk-rm --lock-timeout 100ms a1 9>&-");
    assert_eq!((ran.status, &*ran.stdout), (75, ""), "{ran:#?}");
    assert_whole(&sandbox, 1);
}

/// SIGKILL at each unlink: what was begun is finished by the next writer, and nothing else is.
#[test]
fn a_kill_between_the_steps_is_finished_by_the_next_writer() {
    if !has("jq") || !can_trace() {
        return;
    }
    // At the first, the second, the last unlink; at the first sync of the directory.
    for (calls, when) in [
        ("unlink,unlinkat", 1),
        ("unlink,unlinkat", 2),
        ("unlink,unlinkat", 3),
        ("fsync", 1),
    ] {
        let sandbox = store(4);
        let dir = sandbox.home().join("archives").display().to_string();
        let paths: String = (1..=3).map(|n| format!(" -P {dir}/a{n}.tar.gz")).collect();
        let ran = sandbox.run(&format!(
            "strace -f -o trace -P {dir} {paths} -e trace={calls} \
                 -e inject={calls}:signal=KILL:when={when} bk-rm a1 a2 a3"
        ));
        assert_eq!((ran.status, &*ran.stdout), (137, ""), "{ran:#?}");
        let begun = sandbox.ok("bk-ls --json | jq -r .status");
        assert_eq!(begun.stdout, "deleting\ndeleting\ndeleting\ncompleted\n");
        // The next one removes another backup, and finishes these.
        sandbox.run("bk-rm nobody");
        assert_whole(&sandbox, 1);
        let ledger = sandbox.ledger();
        let recovered = |n| format!("a{n} recover ok its removal was finished");
        assert_eq!(&ledger[4..], [recovered(1), recovered(2), recovered(3)]);
        let ran = sandbox.run("bk-rm a1");
        assert!(
            ran.status == 1
                && ran
                    .stderr
                    .starts_with("bk-rm: backup 1 'a1' is gone: bk-rm removed it at 20"),
            "{ran:#?}"
        );
    }
}

/// A directory in which nothing may be removed: an error that names the file, and the row is
/// as it was.
#[test]
fn an_archive_that_cannot_be_removed_stays_with_its_record() {
    let Some(disk) = SmallDisk::new("16M") else {
        return;
    };
    disk.ok("bk-create --storage disk --name a app; bk-create --name b app; mount -o remount,bind,ro disk");
    let before = disk.ok("bk-ls --json a").stdout;
    let path = disk.sandbox.path("disk/a.tar.gz").display().to_string();
    let ran = disk.run("bk-rm a b");
    ran.fails(
        1,
        &format!("bk-rm: cannot remove 'a': cannot remove '{path}': Read-only file system\n"),
    );
    assert_eq!(ran.record()["backup_name"], "b");
    assert_eq!(disk.ok("bk-ls --json").stdout, before);
    let ledger = disk.sandbox.ledger();
    let failed =
        format!("a remove failed cannot remove '{path}': Read-only file system (os error 30)");
    assert!(ledger.contains(&failed), "{ledger:#?}");
    disk.ok("mount -o remount,bind,rw disk; bk-rm a; test -z \"$(ls disk)\"");
}

#[test]
fn an_archive_of_somebody_else_stays_with_its_record() {
    if !has("setpriv") || !has("jq") || !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "mkdir store; bk-create --storage store --name a app; bk-create --name b app
        chown -R nobody home; chmod 755 . store; chmod 644 store/.bk-storage",
    );
    let path = sandbox.path("store/a.tar.gz").display().to_string();
    let nobody = "setpriv --reuid nobody --clear-groups --inh-caps=-all";
    // The programs are below a directory that only root may read, where a checkout is.
    if sandbox.run(&format!("{nobody} bk-ls --json")).status != 0 {
        println!("skipped: nobody may not run the programs here");
        return;
    }
    let ran = sandbox.run(&format!("{nobody} bk-rm a b"));
    ran.fails(
        1,
        &format!("bk-rm: cannot remove 'a': '{path}': Permission denied\n"),
    );
    assert_eq!(ran.record()["backup_name"], "b");
    assert_eq!(
        sandbox
            .ok("bk-ls --json | jq -r '.backup_name + .status'")
            .stdout,
        "acompleted\n"
    );
}

/// The kill came after the unlink and before the sync: the row goes only once that is made up for.
#[test]
fn a_removal_is_finished_by_a_sync_before_the_row_goes() {
    if !can_trace() {
        return;
    }
    let sandbox = store(2);
    sandbox.sql("UPDATE backup_records SET status = 'deleting' WHERE id = 1");
    sandbox.ok("rm home/archives/a1.tar.gz; strace -y -qq -o trace -e trace=fsync,fdatasync bk-set --description x a2 >/dev/null");
    let trace = std::fs::read_to_string(sandbox.path("trace")).unwrap();
    let mut calls = trace.lines();
    for file in ["/home/archives>", "/home/catalog.duckdb.wal>"] {
        assert!(calls.any(|call| call.contains(file)), "{file} in\n{trace}");
    }
    assert_whole(&sandbox, 1);
}

/// Somebody exchanges the archive before it is locked, or after: what is removed is what was
/// locked, or nothing.
#[test]
fn what_is_exchanged_meanwhile_is_not_removed_for_the_archive() {
    if !can_trace() {
        return;
    }
    let archive = "home/archives/a1.tar.gz";
    let exchange = format!("cp {archive} other; mv other {archive}");
    let sandbox = store(2);
    let ran = sandbox.stopped_at("openat", archive, 1, "bk-rm a1", &exchange);
    assert_eq!(ran.status, 0, "{ran:#?}");
    assert_whole(&sandbox, 1);
    let (wal, sandbox) = ("home/catalog.duckdb.wal", store(2));
    let ran = sandbox.stopped_at("fsync,fdatasync", wal, 1, "bk-rm a1", &exchange);
    let archive = sandbox.path(archive);
    let error = format!(
        "bk-rm: cannot remove 'a1': cannot remove '{}': another file is in its place\n",
        archive.display()
    );
    ran.fails(1, &error);
    // Nor by whoever comes next.
    sandbox.ok("bk-set --description x a2");
    assert_whole(&sandbox, 2);
}
