//! What cannot be reached is not gone: storages whose disk is not mounted, archives that the file
//! system fails to tell of.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::disk::SmallDisk;
use crate::support::{Sandbox, can_trace, checkout, has};

/// A disk `disk/` with the backups a, b and c, and `kept/` another way to it; then it is away.
fn away() -> Option<SmallDisk> {
    let disk = SmallDisk::new("64M")?;
    disk.ok("mkdir kept && for n in a b c; do bk-create --storage $PWD/disk --name $n app >/dev/null || exit 1; done
             bk-create --name own app >/dev/null; mount --make-private disk; mount --bind disk kept && umount disk");
    Some(disk)
}

/// It is back.
fn back(disk: &SmallDisk) {
    disk.ok("mount --bind kept disk");
}

fn told(disk: &SmallDisk, program: &str, reason: &str) -> String {
    let dir = disk.sandbox.path("disk");
    format!(
        "{program}: the storage '{}' is not there: {reason}; its backups are offline and left alone: mount it; where its marker alone is lost, or a new disk takes its place, begin it anew with bk-create --init-storage; only where they are gone for good, give them up with bk-rm --offline\n",
        dir.display()
    )
}

const NO_MARKER: &str = "it has no '.bk-storage'";

fn states(disk: &SmallDisk) -> String {
    disk.ok(
        "bk-ls --json 2>/dev/null | jq -r '.backup_name + \" \" + .status + \" \" + .file_status'",
    )
    .stdout
}

const OFFLINE: &str =
    "a completed offline\nb completed offline\nc completed offline\nown completed available\n";

#[test]
fn every_program_leaves_the_records_of_a_storage_alone_that_is_not_mounted() {
    let Some(disk) = away() else { return };
    assert_eq!(states(&disk), OFFLINE);
    let alone = |program: &str| told(&disk, program, NO_MARKER);
    for line in ["bk-create --estimate", "bk-create --name d"] {
        let ran = disk.run(&format!("{line} --storage $PWD/disk app"));
        let told = format!(
            "bk-create: cannot write to the storage '{}': it is not there: {NO_MARKER}; mount it; ",
            disk.sandbox.path("disk").display()
        );
        assert!(ran.stderr.starts_with(&told), "{ran:#?}");
        assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    }
    let ls = disk.ok("bk-ls --json");
    assert_eq!(ls.stderr, alone("bk-ls"));
    for (program, line, printed) in [
        ("bk-rm", "bk-rm a b c", 0),
        ("bk-rm", "bk-rm -n a b c", 0),
        ("bk-rm", "bk-rm a own -n", 1),
        (
            "bk-prune",
            "bk-prune --group-by none --keep-last 1 - < <(bk-ls --json a b c 2>/dev/null)",
            0,
        ),
        ("bk-mv", "bk-mv a b c elsewhere", 0),
        ("bk-verify", "bk-verify a b c own", 1),
        ("bk-verify", "bk-verify --quick --all", 1),
    ] {
        let ran = disk.run(line);
        assert_eq!(
            (ran.status, ran.stderr.as_str()),
            (1, &*alone(program)),
            "{ran:#?}"
        );
        assert_eq!(ran.stdout.lines().count(), printed, "{ran:#?}");
        assert_eq!(states(&disk), OFFLINE, "{line}");
    }
    let ran = disk.run("bk-restore -C out a");
    let why = alone("bk-restore").replacen("bk-restore: ", "bk-restore: cannot restore 'a': ", 1);
    ran.fails(1, &why);
    let set = disk.ok("bk-set --description x a");
    assert_eq!(set.record()["file_status"], "offline");
    assert_eq!(set.stderr, alone("bk-set"));
    let df = disk.ok("bk-df --json");
    let (total, _) = df.file_systems();
    assert_eq!(
        (&total["missing_count"], &total["offline_count"]),
        (&0.into(), &3.into())
    );
    assert_eq!(
        disk.ok("bk-ls --offline --json 2>/dev/null | jq -r .backup_name")
            .stdout,
        "a\nb\nc\n"
    );
    assert_eq!(disk.ok("bk-ls --missing --json").stdout, "");
    assert_eq!(disk.ok("ls -A disk").stdout, "");
    back(&disk);
    assert_eq!(states(&disk), OFFLINE.replace("offline", "available"));
    let verified = disk.ok("bk-verify --all");
    assert_eq!(verified.records().len(), 4);
}

#[test]
fn nothing_is_written_to_the_mount_point_beneath() {
    let Some(disk) = away() else { return };
    let dir = disk.sandbox.path("disk");
    let refused = |program: &str, reason: &str| {
        format!(
            "{program}: cannot write to the storage '{}': it is not there: {reason}; mount it; only where its disk or its marker is gone for good, begin it anew with bk-create --init-storage\n",
            dir.display()
        )
    };
    disk.run("bk-create --storage $PWD/disk --name d app")
        .fails(1, &refused("bk-create", NO_MARKER));
    disk.run("bk-mv own disk")
        .fails(1, &refused("bk-mv", NO_MARKER));
    assert_eq!(disk.ok("ls -A disk").stdout, "");
    disk.ok("rmdir disk");
    let none = "there is no such directory";
    disk.run("bk-create --storage $PWD/disk --name d app")
        .fails(1, &refused("bk-create", none));
    disk.ok("test ! -e disk; mkdir disk");
    let ran = disk.run("bk-create --storage $PWD/disk --estimate app");
    ran.fails(1, &refused("bk-create", NO_MARKER));
    assert_eq!(
        (ran.stdout.as_str(), &*disk.ok("ls -A disk").stdout),
        ("", "")
    );
    let anew = |count: usize| {
        format!(
            "bk-create: warning: the storage '{}' is begun anew without {count} of its archives, which count as missing from now on: 'bk-ls --missing' lists them, bk-rm gives them up; if its disk is only away, mount it and begin it anew there once more\n",
            dir.display()
        )
    };
    // What was begun anew is another storage, to both.
    let begun = "bk-create --storage $PWD/disk --init-storage";
    assert_eq!(disk.ok(&format!("{begun} --estimate app")).stderr, "");
    assert_eq!(disk.ok(&format!("{begun} --name d app")).stderr, anew(3));
    let states_now = states(&disk);
    assert!(
        states_now.contains("a completed missing") && states_now.contains("d completed available"),
        "{states_now}"
    );
    back(&disk);
    let other = "its '.bk-storage' is that of another storage";
    disk.run("bk-create --storage $PWD/disk --name e app")
        .fails(1, &refused("bk-create", other));
    assert_eq!(disk.ok(&format!("{begun} --name e app")).stderr, anew(1));
    let states_now = states(&disk);
    assert!(
        states_now.contains("a completed available") && states_now.contains("d completed missing"),
        "{states_now}"
    );
}

#[test]
fn records_can_be_given_up() {
    let Some(disk) = away() else { return };
    let ran = disk.ok("bk-ls --offline --json 2>/dev/null | bk-rm --offline");
    assert_eq!(ran.records().len(), 3);
    assert!(ran.records().iter().all(|it| it["freed"] == 0), "{ran:#?}");
    assert_eq!(ran.stderr, "");
    assert_eq!(states(&disk), "own completed available\n");
    back(&disk);
    assert_eq!(disk.ok("ls disk").stdout, "a.tar.gz\nb.tar.gz\nc.tar.gz\n");
    assert_eq!(disk.ok("bk-adopt -r disk").records().len(), 3);
    // Where the storage is there, they are removed as ever.
    disk.ok("bk-rm --offline a; test ! -e disk/a.tar.gz");
}

#[test]
fn the_retention_of_jobs_waits_for_the_storage() {
    let Some(disk) = SmallDisk::new("64M") else {
        return;
    };
    disk.ok("bk-auto --set j -s '0 3 * * *' -r 2 --enable -- $PWD/app >/dev/null; bk-mv --all $PWD/disk >/dev/null
             for n in 1 2 3; do bk-auto --now j >/dev/null || exit 1; done
             mkdir kept; mount --make-private disk; mount --bind disk kept && umount disk");
    disk.sandbox
        .sql("UPDATE backup_records SET created_at = created_at - INTERVAL 9 DAY");
    let ran = disk.run("bk-auto --now j");
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
    assert!(
        ran.stderr.contains("cannot write to the storage"),
        "{ran:#?}"
    );
    // Its backups go elsewhere by now; its older ones stay as they are.
    disk.ok("bk-auto --set j --create-flag=--storage=$PWD/other >/dev/null");
    let ran = disk.run("bk-auto --now j");
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert_eq!(ran.stderr.matches("is not there").count(), 2, "{ran:#?}");
    assert_eq!(states(&disk).matches("completed offline").count(), 3);
    disk.ok("mount --bind kept disk; bk-auto --now j");
    assert_eq!(states(&disk).matches("completed").count(), 2);
}

#[test]
fn what_was_under_way_on_a_storage_waits_for_it() {
    let Some(disk) = away() else { return };
    disk.sandbox.sql(
        "UPDATE backup_records SET status = 'deleting' WHERE backup_name = 'a';
         UPDATE backup_records SET status = 'creating' WHERE backup_name = 'b'",
    );
    let ran = disk.ok("bk-create --name next app");
    assert_eq!(ran.stderr, told(&disk, "bk-create", NO_MARKER));
    let waiting = "a deleting offline\nb creating offline\nc completed offline\nown completed available\nnext completed available\n";
    assert_eq!(states(&disk), waiting);
    back(&disk);
    disk.ok("bk-create --name last app");
    let after = states(&disk);
    assert!(
        !after.contains("a deleting") && after.contains("b failed"),
        "{after}"
    );
    disk.ok("test ! -e disk/a.tar.gz");
}

/// In use since before there were markers.
#[test]
fn a_storage_of_the_first_version_is_marked_at_the_first_write_that_finds_it() {
    let Some(disk) = SmallDisk::new("64M") else {
        return;
    };
    let fixtures = checkout().join("tests/fixtures/v1");
    let fixtures = fixtures.display();
    disk.ok(&format!(
        "mkdir -m 700 home kept; mount --make-private disk; cp {fixtures}/*.tar.gz disk; gzip -dc {fixtures}/catalog.duckdb.gz >home/catalog.duckdb; mount --bind disk kept; umount disk"
    ));
    let dir = disk.sandbox.path("disk");
    disk.sandbox.sql(&format!(
        "UPDATE backup_records SET backup_path = replace(backup_path, '/tmp/bk-v1/home/archives', '{0}');
         INSERT OR REPLACE INTO settings VALUES ('storage_dir', '{0}')",
        dir.display()
    ));
    // Nothing tells yet what it is, but it is empty where archives should be.
    let ran = disk.run("bk-create --name third app");
    ran.fails(1, &format!(
        "bk-create: cannot write to the storage '{}': it is not there: it has no '.bk-storage' and none of its archives; mount it; only where its disk or its marker is gone for good, begin it anew with bk-create --init-storage\n",
        dir.display()
    ));
    assert_eq!(disk.ok("ls -A disk").stdout, "");
    back(&disk);
    disk.ok("bk-set --description found first >/dev/null");
    assert_eq!(
        disk.ok("stat -c %a disk/.bk-storage; jq -r '.id | length' disk/.bk-storage")
            .stdout,
        "600\n32\n"
    );
    disk.ok("umount disk");
    assert!(states(&disk).contains("first completed offline"));
}

#[test]
fn a_storage_that_was_removed_by_hand_is_told_of_with_the_remedy() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; rm -r home/archives");
    let dir = sandbox.home().join("archives");
    let dir = dir.display();
    sandbox.run("bk-create --name b app").fails(1, &format!(
        "bk-create: cannot write to the storage '{dir}': it is not there: there is no such directory; mount it; only where its disk or its marker is gone for good, begin it anew with bk-create --init-storage\n"
    ));
    sandbox.ok("bk-create --init-storage --name b app; bk-rm a");
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn archives_that_are_adopted_make_a_storage_where_bk_may_write() {
    let Some(disk) = SmallDisk::new("64M") else {
        return;
    };
    disk.ok("mkdir disk/a disk/b other; for n in a b; do bk-create --home $PWD/first --storage $PWD/other --name $n app >/dev/null; mv other/$n.tar.gz disk/$n; done; rm -r first
             bk-adopt -r disk/a >/dev/null; test -s disk/a/.bk-storage; mount -o remount,ro disk; bk-adopt -r disk/b >/dev/null; bk-create --name c app >/dev/null; test ! -e disk/b/.bk-storage");
    assert!(disk.run("umount disk").status == 0);
    // Of a place where no marker could be left nobody can tell.
    assert_eq!(
        states(&disk),
        "a completed offline\nb completed missing\nc completed available\n"
    );
}

#[test]
fn records_follow_their_storage_to_another_place() {
    let Some(disk) = away() else { return };
    disk.ok(
        "bk-adopt --relink kept 2>/dev/null | jq -e '.adopt.action == \"relinked\"' >/dev/null",
    );
    assert_eq!(states(&disk), OFFLINE.replace("offline", "available"));
    disk.ok("umount kept");
    assert_eq!(states(&disk), OFFLINE);
}

/// Two ways to the same directory, as a bind mount is, are one storage.
#[test]
fn a_storage_may_be_reached_by_two_paths() {
    let Some(disk) = SmallDisk::new("64M") else {
        return;
    };
    disk.ok("mkdir way; mount --make-private disk; mount --bind disk way; bk-create --storage $PWD/disk --name a app >/dev/null; bk-create --storage $PWD/way --name b app >/dev/null");
    assert_eq!(
        states(&disk),
        "a completed available\nb completed available\n"
    );
    disk.ok("umount way");
    assert_eq!(
        states(&disk),
        "a completed available\nb completed offline\n"
    );
}

/// EIO and EACCES are no answer: only what the file system says is not there, is not there.
#[test]
fn a_failing_file_system_removes_no_record() {
    if !can_trace() || !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("for n in a b; do bk-create --name $n app >/dev/null; done");
    let archive = sandbox.archive("a").display().to_string();
    let fault = |call: &str| {
        format!(
            "strace -f --seccomp-bpf -qq -o /dev/null -P {archive} -e trace={call} -e inject={call}:error=EIO "
        )
    };
    let stat = fault("statx");
    let ran = sandbox.ok(&format!("{stat} bk-ls --json"));
    assert_eq!(
        ran.stderr,
        format!("bk-ls: warning: cannot look at '{archive}': Input/output error\n")
    );
    assert_eq!(ran.records()[0]["file_status"], "offline");
    assert_eq!(ran.records()[1]["file_status"], "available");
    let ran = sandbox.run(&format!("{stat} bk-prune --keep-last 1 --group-by none --all || {stat} bk-prune --keep-last 1 --group-by none </dev/null"));
    assert!(
        ran.stderr
            .contains(&format!("cannot look at '{archive}': Input/output error")),
        "{ran:#?}"
    );
    assert_eq!(sandbox.records().len(), 2);
    let open = fault("openat");
    let ran = sandbox.run(&format!("{open} bk-rm a"));
    ran.fails(
        1,
        &format!("bk-rm: cannot remove 'a': '{archive}': Input/output error\n"),
    );
    assert_eq!(sandbox.records().len(), 2);
    sandbox.ok(&format!("{open} bk-rm --offline a; test -e {archive}"));
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn a_directory_that_may_not_be_searched_is_offline() {
    if !has("setpriv") || !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --storage store --name a app >/dev/null");
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    if sandbox
        .run(&format!("chown -R 65534:65534 home store && {user} true"))
        .status
        != 0
    {
        println!("skipped: only root becomes another user");
        return;
    }
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.ok("chown root store; chmod 700 store");
    let store = sandbox.path("store");
    let ran = sandbox.run(&format!("{user} bk-rm a"));
    ran.fails(1, &format!(
        "bk-rm: the storage '{}' is not there: cannot read its '.bk-storage': Permission denied; its backups are offline and left alone: mount it; where its marker alone is lost, or a new disk takes its place, begin it anew with bk-create --init-storage; only where they are gone for good, give them up with bk-rm --offline\n",
        store.display()
    ));
    sandbox.ok("chown 65534 store");
    sandbox.ok(&format!("{user} bk-rm a"));
}

#[test]
fn a_marker_that_is_none_is_told() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; echo x >home/archives/.bk-storage");
    let ran = sandbox.run("bk-rm a");
    assert!(
        ran.status == 1
            && ran
                .stderr
                .contains("cannot read its '.bk-storage': it is no marker of bk;"),
        "{ran:#?}"
    );
    sandbox.ok("bk-create --init-storage --name b app; bk-rm a");
    // Nor is it waited for, nor a link followed.
    for other in ["mkfifo", "ln -s ../../kept"] {
        sandbox.ok(&format!(
            "cd home/archives; cp .bk-storage ../../kept; rm .bk-storage; {other} .bk-storage"
        ));
        let ran = sandbox.run("timeout 5 bk-ls b --json");
        assert_eq!(ran.record()["file_status"], "offline", "{ran:#?}");
        sandbox.ok("rm home/archives/.bk-storage; mv kept home/archives/.bk-storage");
    }
}

/// However many records a storage has, its marker is looked at once.
#[test]
fn a_marker_is_looked_at_once() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name seed app >/dev/null");
    sandbox.sql(&format!(
        "INSERT INTO backup_records SELECT i + 10, 'b' || i, 'manual', 'completed', NULL, '{}/b' || i || '.tar.gz',
             5, 1, 'gzip', sha256(i::VARCHAR), NULL, '{{}}', false, now()::TIMESTAMP, NULL FROM range(100000) t(i)",
        sandbox.home().join("archives").display()
    ));
    sandbox.ok("bk-ls --json >listed; test $(wc -l <listed) = 100001");
    if !can_trace() {
        return;
    }
    let looks = sandbox
        .ok("strace -f --seccomp-bpf -qq -e trace=openat -o trace bk-ls >/dev/null; grep -c bk-storage trace");
    assert_eq!(looks.stdout, "1\n");
    sandbox.ok("bk-set --description x seed");
}

/// A storage that hangs: a program that waits for it holds nobody else up.
#[test]
fn nobody_holds_the_catalog_while_it_looks_at_a_storage() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "bk-create --name a app >/dev/null; bk-create --storage $PWD/store --name b app >/dev/null",
    );
    let store = sandbox.path("store");
    let store = store.display();
    let archives = sandbox.home().join("archives");
    let archives = archives.display();
    // Where a storage is marked that was none, and where a name is looked for.
    for (line, place) in [
        ("bk-set --description x a", format!("{store}/.bk-storage")),
        ("bk-set --description x a", format!("{store}/b.tar.gz")),
        ("bk-create --name c app", format!("{archives}/c.tar.gz")),
    ] {
        sandbox.sql("DELETE FROM storages WHERE path LIKE '%/store'");
        let ran = sandbox.run(&format!(
            "rm -f trace {store}/.bk-storage
             strace -f -o trace -P {place} -e trace=openat,%stat,statx -e inject=openat,%stat,statx:signal=SIGSTOP:when=1 {line} >out 2>err & strace=$!
             for n in {{1..1000}}; do grep -qs 'stopped by SIGSTOP' trace && break; sleep 0.01; done
             bk-rm --lock-timeout 300ms no-such 2>&1
             bk-ls --lock-timeout 300ms a >/dev/null
             pid=$(cat /proc/$strace/task/$strace/children)
             while kill -CONT $pid 2>/dev/null; do sleep 0.01; done; wait $strace || cat err"
        ));
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("bk-rm: there is no backup 'no-such'\n", ""),
            "{place}: {ran:#?}"
        );
        sandbox.ok(&format!("test -s {store}/.bk-storage"));
    }
    sandbox.ok("rm -r store");
    assert_eq!(
        sandbox
            .ok("bk-ls --offline --json 2>/dev/null | jq -r .backup_name")
            .stdout,
        "b\n"
    );
}

/// The disk goes away between the look at its marker and the look for the archive.
#[test]
fn a_storage_that_goes_away_meanwhile_removes_no_record() {
    if !can_trace() {
        return;
    }
    for (program, line, look) in [
        ("bk-rm", "bk-rm a", 1),
        ("bk-prune", "bk-prune --all --keep-last 1", 2),
    ] {
        let sandbox = Sandbox::with_app();
        sandbox.ok("for n in a b; do bk-create --storage store --name $n app >/dev/null; done");
        let marker = "store/.bk-storage";
        let ran = sandbox.stopped_at("openat", marker, look, line, "mv store away; mkdir store");
        assert_eq!(ran.status, 1, "{ran:#?}");
        let told = format!(
            "{program}: the storage '{}' is not there: {NO_MARKER};",
            sandbox.path("store").display()
        );
        assert!(ran.stderr.starts_with(&told), "{ran:#?}");
        sandbox.ok("rmdir store; mv away store; test $(bk-ls | wc -l) = 2; bk-verify a b");
    }
}
