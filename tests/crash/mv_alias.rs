//! bk-mv and recovery where one directory has two names: bound, pooled, linked, layered. Nothing is
//! unlinked because what is the same file was taken for another.

use std::path::Path;

use crate::support::mounts::{bind, fuse, image, overlay, tmpfs};
use crate::support::{Ran, Sandbox, UNTIL_STOPPED, can_trace};

/// A sandbox with the backup `a`.
fn one() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    sandbox
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// That the archive is where its record says, and whole.
fn assert_whole(sandbox: &Sandbox, ran: &Ran) {
    let verified = sandbox.run("bk-verify a");
    assert_eq!(verified.status, 0, "{ran:#?}{verified:#?}");
    let record = verified.record();
    assert_eq!(record["status"], "completed", "{ran:#?}{record}");
}

fn refusal(sandbox: &Sandbox, dir: &str) -> String {
    let (dir, from) = (text(&sandbox.path(dir)), text(&sandbox.archive("a")));
    format!(
        "bk-mv: cannot move 'a': '{dir}/a.tar.gz' is there already, and bk-mv takes no file for the archive: where it is a copy, 'bk-adopt --relink {dir}' finds it once '{from}' is moved aside\n"
    )
}

#[test]
fn a_file_that_is_there_is_never_taken_for_the_archive() {
    for prepare in [
        "cp home/archives/a.tar.gz new",
        "cp -p home/archives/a.tar.gz new",
        "ln home/archives/a.tar.gz new",
        "ln -s ../home/archives/a.tar.gz new",
        "head -c $(stat -c %s home/archives/a.tar.gz) /dev/zero >new/a.tar.gz; touch -r home/archives/a.tar.gz new/a.tar.gz",
        "head -c 100 home/archives/a.tar.gz >new/a.tar.gz",
        "mkdir new/a.tar.gz",
    ] {
        let sandbox = one();
        sandbox.ok(&format!("mkdir new; {prepare}"));
        for flags in ["a", "-n a", "--all"] {
            let ran = sandbox.run(&format!("bk-mv {flags} new"));
            ran.fails(1, &refusal(&sandbox, "new"));
            assert_eq!(ran.stdout, "", "{prepare}");
            assert!(sandbox.archive("a").is_file(), "{prepare}");
            assert_whole(&sandbox, &ran);
        }
    }
}

/// What the refusal says leads to where a user wanted to come.
#[test]
fn a_copy_that_is_there_is_relinked() {
    let sandbox = one();
    sandbox.ok("mkdir new aside; cp home/archives/a.tar.gz new");
    assert_eq!(sandbox.run("bk-mv a new").status, 1);
    sandbox.ok("mv home/archives/a.tar.gz aside; bk-adopt --relink new");
    let ran = sandbox.ok("rm -r aside; bk-ls a");
    let path = text(&sandbox.path("new/a.tar.gz"));
    assert_eq!(ran.record()["backup_path"], path);
    assert_whole(&sandbox, &ran);
}

#[test]
fn a_pool_over_the_disk_is_no_other_disk() {
    let sandbox = one();
    let Some(_pool) = fuse(&sandbox, "home/archives", "pool", "") else {
        return;
    };
    for (flags, dir) in [("a", "pool"), ("--all", "pool"), ("a", "pool/.")] {
        let ran = sandbox.run(&format!("bk-mv {flags} {dir}"));
        ran.fails(1, &refusal(&sandbox, "pool"));
        assert!(sandbox.archive("a").is_file());
        assert_whole(&sandbox, &ran);
    }
    // Below the pool are other directories, which are reached only through it.
    let ran = sandbox.ok("bk-mv a pool/deep");
    assert!(sandbox.path("home/archives/deep/a.tar.gz").is_file());
    assert_whole(&sandbox, &ran);
}

#[test]
fn a_bound_directory_is_the_same_place() {
    let sandbox = one();
    let Some(_bound) = bind(&sandbox, "home/archives", "bound") else {
        return;
    };
    let ran = sandbox.ok("bk-mv a bound");
    assert_eq!(ran.record()["move"]["how"], "none");
    assert!(sandbox.archive("a").is_file());
    assert_whole(&sandbox, &ran);
    // Bound under another directory it is moved there and back, as to another file system.
    let ran = sandbox.ok("mkdir home/archives/deep; bk-mv a bound/deep; bk-mv a home/archives");
    assert!(sandbox.archive("a").is_file());
    assert_whole(&sandbox, &ran);
}

/// In the layers of an overlay, what is put into the upper one shows in the whole.
#[test]
fn a_layer_is_no_other_place_than_the_whole() {
    let sandbox = Sandbox::with_app();
    let Some(_layers) = tmpfs(&sandbox, "layers", "size=64M") else {
        return;
    };
    sandbox.ok("mkdir layers/low");
    sandbox.ok("bk-create --name a --storage layers/low app");
    let Some(_whole) = overlay(&sandbox, "layers/low", "layers/whole") else {
        return;
    };
    // The record points into the whole; the file is in the lower layer.
    let whole = text(&sandbox.path("layers/whole"));
    sandbox.sql(&format!(
        "UPDATE backup_records SET backup_path = '{whole}/a.tar.gz'"
    ));
    let upper = text(&sandbox.path("layers/whole.up"));
    let ran = sandbox.run(&format!("bk-mv a {upper}"));
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert_whole(&sandbox, &ran);
    let ran = interrupted(
        &sandbox,
        &format!("{upper}/a.tar.gz"),
        &format!("'from', '{whole}/a.tar.gz'"),
    );
    assert_whole(&sandbox, &ran);
    assert!(sandbox.path("layers/whole/a.tar.gz").is_file());
    assert!(sandbox.path("layers/low/a.tar.gz").is_file());
}

/// While it is copied, the old place is mounted on the new one.
#[test]
fn the_old_one_goes_only_while_the_copy_is_there() {
    if !can_trace() {
        return;
    }
    let sandbox = one();
    let Some(_disk) = tmpfs(&sandbox, "disk", "size=64M") else {
        return;
    };
    let (disk, here) = (text(&sandbox.path("disk")), text(&sandbox.archive("a")));
    let ran = sandbox.run(&format!(
        "strace -f -o trace -P {disk}/a.tar.gz -e trace=renameat2 -e inject=renameat2:signal=SIGSTOP:when=2 bk-mv a {disk} 2>err & strace=$!
         {UNTIL_STOPPED}
         mount --bind home/archives {disk}
         kill -CONT $(cat /proc/$strace/task/$strace/children); wait $strace; status=$?
         ls {disk}; umount {disk}; ls {disk} home/archives; cat err >&2; exit $status"
    ));
    assert_eq!(
        ran.stdout,
        format!("a.tar.gz\n{disk}:\na.tar.gz\n\nhome/archives:\na.tar.gz\n")
    );
    assert_eq!(ran.status, 1, "{ran:#?}");
    let told = format!(
        "bk-mv: cannot move 'a': it is '{disk}/a.tar.gz' now, but the old '{here}' cannot be removed: the new one is gone\n"
    );
    assert!(ran.stderr.starts_with(&told), "{ran:#?}");
    assert_whole(&sandbox, &ran);
}

/// The row of a move that was interrupted, with the places as they are then.
fn interrupted(sandbox: &Sandbox, path: &str, other: &str) -> Ran {
    sandbox.sql(&format!(
        "UPDATE backup_records SET status = 'moving', backup_path = '{path}',
         backup_metadata = json_object('moving', json_object({other}))"
    ));
    sandbox.ok("bk-create --name next app")
}

/// After a move was interrupted, the one place was mounted in the other.
#[test]
fn recovery_proves_that_the_other_file_is_another() {
    let sandbox = one();
    let Some(pool) = fuse(&sandbox, "home/archives", "pool", "") else {
        return;
    };
    let (here, there) = (
        text(&sandbox.archive("a")),
        text(&pool.path.join("a.tar.gz")),
    );
    for (path, other) in [
        (&here, format!("'to', '{there}'")),
        (&here, format!("'from', '{there}'")),
        (&there, format!("'to', '{here}'")),
        (&there, format!("'from', '{here}'")),
    ] {
        let ran = interrupted(&sandbox, path, &other);
        assert!(sandbox.archive("a").is_file(), "{other}");
        assert_whole(&sandbox, &ran);
        sandbox.ok("bk-rm next");
    }
    let told = sandbox.ledger();
    let told = told.iter().filter(|it| it.contains(" are one directory"));
    assert_eq!(told.count(), 4);
    let left = sandbox.ok("ls home/archives").stdout;
    assert_eq!(left, "a.tar.gz\n", "no probe stays");
}

/// A single file that is mounted holds nothing of its own, nor can what it is mounted on be
/// removed.
#[test]
fn recovery_keeps_what_a_file_is_mounted_from() {
    let sandbox = one();
    sandbox.ok("mkdir new; touch new/a.tar.gz");
    let (here, there) = (
        text(&sandbox.archive("a")),
        text(&sandbox.path("new/a.tar.gz")),
    );
    let mounted = sandbox.run(&format!("mount --bind {here} {there}"));
    if mounted.status != 0 {
        println!("skipped: a file cannot be mounted here");
        return;
    }
    for (path, other) in [
        (&there, format!("'from', '{here}'")),
        (&here, format!("'from', '{there}'")),
        (&here, format!("'to', '{there}'")),
    ] {
        let ran = interrupted(&sandbox, path, &other);
        assert!(sandbox.archive("a").is_file(), "{other}");
        assert_whole(&sandbox, &ran);
        sandbox.ok("bk-rm next");
    }
    sandbox.ok(&format!("umount {there}; bk-adopt --relink home"));
    assert!(sandbox.archive("a").is_file());
}

/// Another file of the same size is not what the move made: the one that is whole may be it.
#[test]
fn recovery_removes_nothing_for_its_size_alone() {
    for (was, is) in [("'from'", "new"), ("'to'", "old")] {
        let sandbox = one();
        sandbox.ok("mkdir new old; cp -p home/archives/a.tar.gz old; cp -p old/a.tar.gz new; cp -p old/a.tar.gz kept");
        let whole = text(&sandbox.path(&format!("{is}/a.tar.gz")));
        let rest = if is == "new" { "old" } else { "new" };
        let rest = text(&sandbox.path(&format!("{rest}/a.tar.gz")));
        // The whole one is torn meanwhile, or the other is somebody's.
        sandbox.ok(&format!(
            "printf x | dd of={whole} conv=notrunc status=none"
        ));
        let ran = interrupted(&sandbox, &whole, &format!("{was}, '{rest}'"));
        sandbox.ok(&format!("cmp {rest} kept"));
        let reason = format!("'{rest}' stays: it has another size or time");
        let ledger = sandbox.ledger();
        assert!(
            ledger.iter().any(|it| it.ends_with(&reason)),
            "{ledger:?} {ran:#?}"
        );
    }
}

/// And what the move did make goes, with what a kill left of the probes.
#[test]
fn recovery_removes_what_the_move_made() {
    let sandbox = one();
    sandbox.ok("mkdir new; cp -p home/archives/a.tar.gz new; : >home/archives/a.tar.gz.probe1; ln new/a.tar.gz new/a.tar.gz.probe2");
    let (here, there) = (
        text(&sandbox.archive("a")),
        text(&sandbox.path("new/a.tar.gz")),
    );
    let ran = interrupted(&sandbox, &there, &format!("'from', '{here}'"));
    assert_whole(&sandbox, &ran);
    assert_eq!(
        sandbox.ok("ls new home/archives").stdout,
        "home/archives:\nnext.tar.gz\n\nnew:\na.tar.gz\n"
    );
}

/// A disk without an inode left is a reason to move away from it.
#[test]
fn a_full_disk_is_left() {
    let sandbox = Sandbox::with_app();
    let Some(disk) = image(&sandbox, "mkfs.ext4 -q -N 32", "4M", "disk") else {
        return;
    };
    sandbox.ok("bk-create --name a --storage disk --reserve 0 app");
    sandbox.run("for n in $(seq 40); do touch disk/$n; done 2>/dev/null");
    let ran = sandbox.ok("bk-mv a new");
    assert_eq!(ran.record()["move"]["how"], "copy");
    assert_whole(&sandbox, &ran);
    assert!(!disk.path.join("a.tar.gz").exists());
    let left = sandbox.run("ls disk | grep probe");
    assert_eq!(left.stdout, "");
}

/// A record that another name of the archive was found for would be removed with the first.
#[test]
fn an_archive_has_one_record_whatever_it_is_reached_by() {
    let sandbox = one();
    let Some(pool) = fuse(&sandbox, "home/archives", "pool", "") else {
        return;
    };
    sandbox
        .ok("bk-set a --name renamed; tar czf home/archives/f.tar.gz app/log; bk-adopt; bk-set f --name g");
    let ran = sandbox.ok("bk-adopt pool/a.tar.gz pool/f.tar.gz");
    assert_eq!(ran.actions(), ["already known renamed", "already known g"]);
    sandbox.ok("bk-rm g");
    // Of two records with the same content, one misses its archive: that of the other is no find.
    sandbox.ok("mkdir x y; tar czf x/f.tar.gz app/log; cp x/f.tar.gz y; bk-adopt x/f.tar.gz");
    sandbox.sql(
        "INSERT INTO backup_records SELECT nextval('backup_id'), 'twin', backup_type, status, source_version,
            replace(backup_path, '/x/', '/y/'), backup_size, file_count, compression_type, backup_hash,
            description, backup_metadata, protected, created_at, expires_at
         FROM backup_records WHERE backup_name = 'f'",
    );
    drop(pool);
    let Some(_pool) = fuse(&sandbox, "x", "pool2", "") else {
        return;
    };
    sandbox.ok("rm -r y");
    let ran = sandbox.run("bk-adopt --relink pool2");
    let (pool, x) = (text(&sandbox.path("pool2")), text(&sandbox.path("x")));
    assert_eq!(ran.status, 1, "{ran:#?}");
    let told = format!(
        "bk-adopt: cannot take '{pool}/f.tar.gz': it may be '{x}/f.tar.gz': '{pool}' and '{x}' are one directory\n"
    );
    assert!(ran.stderr.starts_with(&told), "{ran:#?}");
    // A true copy is.
    sandbox.ok("mkdir z; cp x/f.tar.gz z; bk-adopt --relink z");
}

/// Between two sessions somebody else takes the catalog and keeps it.
#[test]
fn what_was_moved_is_told_also_where_it_cannot_be_recorded() {
    if !can_trace() {
        return;
    }
    let sandbox = one();
    sandbox.ok("bk-create --name b app; mkdir new");
    let new = text(&sandbox.path("new"));
    let ran = sandbox.run(&format!(
        "strace -f -o trace -P {new}/b.tar.gz -e trace=renameat2 -e inject=renameat2:signal=SIGSTOP:when=1 bk-mv --lock-timeout 100ms a b {new} >out 2>err & strace=$!
         {UNTIL_STOPPED}
         exec 9>>home/catalog.lock; flock 9
         kill -CONT $(cat /proc/$strace/task/$strace/children); wait $strace; echo $?; cat err >&2"
    ));
    assert_eq!(ran.stdout, "75\n", "{ran:#?}");
    assert!(ran.stderr.contains("locked"), "{ran:#?}");
    let told = sandbox.ok("cat out").records();
    assert_eq!(told.len(), 2, "{ran:#?}");
    for record in &told {
        assert_eq!(record["status"], "moving");
        assert_eq!(record["move"]["to"], record["backup_path"]);
        assert_eq!(record["file_status"], "available");
    }
    // What is on its way can be listed, and the next writer ends it.
    let listed = sandbox.ok("bk-ls --files a");
    assert!(listed.stdout.contains("app/config.toml"), "{listed:#?}");
    let listed = sandbox.ok("bk-ls --json a").record();
    assert_eq!(listed["file_status"], "available", "{listed}");
    let ran = sandbox.ok("bk-create --name next app");
    assert_whole(&sandbox, &ran);
    assert_eq!(sandbox.ok("ls new").stdout, "a.tar.gz\nb.tar.gz\n");
}

#[test]
fn before_the_first_backup_the_storage_is_chosen() {
    let sandbox = Sandbox::with_app();
    let ran = sandbox.ok("bk-mv -n --all disk");
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
    assert!(!sandbox.home().exists() && !sandbox.path("disk").exists());
    let ran = sandbox.ok("bk-mv --all disk");
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
    let record = sandbox.ok("bk-create --name a app").record();
    let path = text(&sandbox.path("disk/a.tar.gz"));
    assert_eq!(record["backup_path"], path);
    assert_eq!(sandbox.ledger(), ["storage ok", "a create ok"]);
    assert!(!sandbox.home().join("archives").exists());
}

/// What came into the new place meanwhile is not the archive, though its own place is empty.
#[test]
fn recovery_takes_no_file_of_another_size_for_the_archive() {
    let sandbox = one();
    sandbox.ok("mkdir new; mv home/archives/a.tar.gz aside; echo precious >new/a.tar.gz");
    let (here, there) = (
        text(&sandbox.archive("a")),
        text(&sandbox.path("new/a.tar.gz")),
    );
    interrupted(&sandbox, &here, &format!("'to', '{there}'"));
    let record = sandbox.ok("bk-ls a").record();
    assert_eq!(record["backup_path"], here);
    assert_eq!(record["file_status"], "missing");
    assert_eq!(sandbox.ok("cat new/a.tar.gz").stdout, "precious\n");
    sandbox.ok("mv aside home/archives/a.tar.gz; bk-verify a");
}
