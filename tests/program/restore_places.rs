//! bk-restore where people restore: mount points, overlays, shares, other file systems, parents
//! that are gone, names without room, directories that are closed.

use crate::support::{Sandbox, mounts};

/// What the other tests stand on: each kind of mount comes and goes, and lacks what it is to lack.
#[test]
fn mounts_come_go_and_lack_what_they_are_to_lack() {
    let sandbox = Sandbox::new();
    sandbox.write("low/f", "low\n");
    sandbox.write("root/f", "one\n");
    {
        let Some(_disk) = mounts::tmpfs(&sandbox, "disk", "size=1M") else {
            return;
        };
        sandbox.ok("mountpoint -q disk; echo x >disk/f");
        if mounts::overlay(&sandbox, "low", "merged").is_some() {
            sandbox.ok("! mountpoint -q merged");
        }
        if let Some(_bound) = mounts::bind(&sandbox, "low", "bound") {
            sandbox.ok("cat bound/f");
        }
        if let Some(_image) = mounts::image(&sandbox, "mkfs.ext4 -q -F -I 128", "8M", "ext") {
            sandbox.ok("touch ext/f; stat -c %y ext/f | grep -F .000000000");
        }
        let lacks = "nolink,noxattr,nochmod,nochown,statfs0,small=4,zero,nodir";
        if let Some(_fuse) = mounts::fuse(&sandbox, "root", "m", lacks) {
            sandbox.ok("cat m/f | grep one && stat -c %s m/f | grep -qx 0 && ! ln m/f m/g");
            sandbox.ok("! chmod 600 m/f; ! chown 1:1 m/f; echo abc >m/h; ! echo abcd >m/h");
            sandbox.ok("stat -f -c %b m | grep -qx 0; ! setfattr -n user.a -v b m/f; ! sync m");
        }
    }
    sandbox.ok("! mountpoint -q disk; ! mountpoint -q m; test ! -e disk/f");
}

/// The sandbox's own path, without links.
fn dir(sandbox: &Sandbox) -> String {
    let dir = sandbox.path("").canonicalize().unwrap();
    dir.to_str().unwrap().to_owned()
}

/// Nothing is left of any stage.
fn assert_tidy(sandbox: &Sandbox) {
    let left = sandbox.ok("find . -name '.bk-restore-*'").stdout;
    assert_eq!(left, "");
}

#[test]
fn what_is_mounted_below_is_not_taken_away() {
    let sandbox = Sandbox::new();
    let dir = dir(&sandbox);
    sandbox.write("src/conf", "v1\n");
    let Some(_mount) = mounts::tmpfs(&sandbox, "src/with space", "size=1M") else {
        return;
    };
    sandbox.ok("echo precious >'src/with space/db'; bk-create --name a --one-file-system $PWD/src");
    for (line, way) in [
        ("bk-restore --to-source a", "-C /".to_owned()),
        (
            "bk-restore --swap -C src --strip-components 9 a",
            format!("-C {dir}/src"),
        ),
    ] {
        sandbox
            .run(line)
            .fails(1, &format!("bk-restore: cannot restore 'a': '{dir}/src' cannot be exchanged: '{dir}/src/with space' is mounted below and would go with what was there; unmount it, or leave it where it is with '{way} --into-existing --overwrite'\n"));
    }
    sandbox.ok("grep precious 'src/with space/db' && ! ls -d *.before-*");
    sandbox.ok("rm src/conf; bk-restore -C / --into-existing --overwrite a; grep v1 src/conf");
    assert_tidy(&sandbox);
}

#[test]
fn archives_below_are_not_taken_away() {
    let sandbox = Sandbox::new();
    let dir = dir(&sandbox);
    sandbox.write("src/f", "one\n");
    sandbox.ok("bk-create --name a $PWD/src; mkdir src/old src/storage");
    sandbox.ok("bk-mv --to src/old a; bk-mv --all src/storage || true");
    let archive = sandbox.records()[0]["backup_path"].clone();
    let storage = archive.as_str().unwrap().rsplit_once('/').unwrap().0;
    let ran = sandbox.run("bk-restore --to-source a");
    ran.fails(1, &format!("bk-restore: cannot restore 'a': '{dir}/src' cannot be exchanged: bk's archives in '{storage}' would go with what was there; '-C / --into-existing --overwrite' leaves them where they are\n"));
}

/// Also those of other backups, wherever they are; what they were moved away from is nobody's loss.
#[test]
fn archives_of_other_backups_below_are_not_taken_away() {
    let sandbox = Sandbox::new();
    let dir = dir(&sandbox);
    sandbox.write("src/f", "one\n");
    sandbox.ok("bk-create --name a $PWD/src; bk-create --storage src/copies --name b $PWD/src/f");
    let refused = format!(
        "bk-restore: cannot restore 'a': '{dir}/src' cannot be exchanged: bk's archives in '{dir}/src/copies' would go with what was there; '-C / --into-existing --overwrite' leaves them where they are\n"
    );
    sandbox.run("bk-restore --to-source a").fails(1, &refused);
    sandbox.ok("test -s src/copies/b.tar.gz; bk-mv b elsewhere; bk-restore --to-source a");
}

#[test]
fn what_was_excluded_is_named_before_it_goes() {
    let sandbox = Sandbox::new();
    let dir = dir(&sandbox);
    sandbox.write("src/uploads/u", "user\n");
    sandbox.write("src/deep/x.log", "log\n");
    sandbox.write("src/conf", "v1\n");
    sandbox.write("src/marked/.no", "");
    sandbox.write("src/marked/m", "m\n");
    sandbox.ok("truncate -s 2M src/big; bk-create --name a --exclude uploads --exclude '*.LOG' --ignore-case-excludes \
         --exclude-if-present .no --exclude-larger 1M $PWD/src");
    let ran = sandbox.ok("bk-restore --to-source a");
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert!(lines[0].starts_with("bk-restore: warning: '"), "{ran:#?}");
    assert!(
        lines[0].contains(&format!("'{dir}/src/big', '{dir}/src/deep/x.log', '{dir}/src/marked/m', '{dir}/src/uploads'"))
            && lines[0].ends_with(&format!("were excluded from the backup and goes to '{dir}/src.before-1' with all that was there: '-C / --into-existing --overwrite' would leave it where it is")),
        "{ran:#?}"
    );
    assert_eq!(
        lines[1..],
        [format!(
            "bk-restore: what was there is kept as '{dir}/src.before-1'"
        )]
    );
    sandbox.ok("grep user src.before-1/uploads/u; rm -r src.before-1");
    // Nothing of that kind is there any more.
    let ran = sandbox.ok("bk-restore --to-source a");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
}

/// A volume of a container: it cannot be exchanged, and is filled.
#[test]
fn a_mount_point_is_filled_and_what_was_there_is_kept_in_it() {
    let sandbox = Sandbox::new();
    let dir = dir(&sandbox);
    let Some(_mount) = mounts::tmpfs(&sandbox, "src", "size=4M") else {
        return;
    };
    sandbox.ok(
        "echo v1 >src/f; mkdir src/d; echo d >src/d/x; chmod 711 src; cp -a src start
        bk-create --name a $PWD/src; echo v2 >src/f; echo new >src/added; chmod 700 src src/d",
    );
    let ran = sandbox.ok("bk-restore --to-source a");
    assert_eq!(
        ran.stderr,
        format!(
            "bk-restore: warning: '{dir}/src' is filled in place, as it is a mount point\nbk-restore: what was there is kept as '{dir}/src/.before-1'\n"
        )
    );
    let kept = &ran.record()["restore"]["places"][0]["kept"];
    assert_eq!(*kept, format!("{dir}/src/.before-1"));
    sandbox.ok("grep v2 src/.before-1/f; grep new src/.before-1/added; grep d src/.before-1/d/x");
    assert_eq!(sandbox.ok("stat -c %a src").stdout, "711\n");
    let ran = sandbox.run("bk-restore --to-source a");
    ran.fails(1, &format!("bk-restore: cannot restore 'a': '{dir}/src/.before-1' is there already, from an earlier exchange: remove or rename it\n"));
    sandbox.ok("mv src/.before-1 kept; diff -r src start; mv kept src/.before-7");
    // What was kept earlier stays where it is.
    sandbox.ok("bk-restore --swap -C src --strip-components 9 a; test -e src/.before-7/added -a -e src/.before-1/f");
    assert_tidy(&sandbox);
}

/// Each move fails once.
#[test]
fn a_fill_that_fails_is_undone() {
    let sandbox = Sandbox::new();
    let Some(_mount) = mounts::tmpfs(&sandbox, "src", "size=4M") else {
        return;
    };
    if !crate::support::can_trace() {
        return;
    }
    sandbox.ok("echo v1 >src/f; mkdir src/d; echo d >src/d/x; bk-create --name a $PWD/src; echo v2 >src/f; echo new >src/added; cp -a src start");
    for when in 1..=5 {
        let ran = sandbox.run(&format!(
            "strace -f --seccomp-bpf -o /dev/null -e trace=renameat2 -e inject=renameat2:error=EIO:when={when} bk-restore --to-source a"
        ));
        assert_eq!((ran.status, &*ran.stdout), (1, ""), "{when}: {ran:#?}");
        sandbox.ok("diff -r src start");
        assert_tidy(&sandbox);
    }
    sandbox.ok("bk-restore --to-source a; grep v1 src/f; test ! -e src/added");
}

#[test]
fn a_directory_of_a_lower_layer_is_filled() {
    let sandbox = Sandbox::new();
    let dir = dir(&sandbox);
    sandbox.write("low/app/f", "v1\n");
    sandbox.write("low/app/d/e/x", "x\n");
    sandbox.ok("mkdir low/empty; chmod 750 low/app/d");
    let Some(_mount) = mounts::overlay(&sandbox, "low", "merged") else {
        return;
    };
    sandbox.ok(
        "bk-create --name a $PWD/merged/app; echo v2 >merged/app/f; echo new >merged/app/d/new",
    );
    let ran = sandbox.ok("bk-restore --to-source a");
    assert_eq!(
        ran.stderr,
        format!(
            "bk-restore: warning: '{dir}/merged/app' is filled in place, as it is in a lower layer of an overlay, which cannot be renamed\nbk-restore: what was there is kept as '{dir}/merged/app/.before-1'\n"
        )
    );
    sandbox.ok("grep v2 merged/app/.before-1/f; grep new merged/app/.before-1/d/new");
    assert_eq!(
        sandbox.ok("stat -c %a merged/app/.before-1/d").stdout,
        "750\n"
    );
    sandbox.ok("rm -r merged/app/.before-1; diff -r low/app merged/app");
    sandbox.ok("bk-restore -C merged/empty a; cd merged/empty && find . -name x | grep .");
    sandbox.ok("bk-restore --swap -C merged/app a && test -e merged/app/.before-1/d/e/x");
    assert_tidy(&sandbox);
}

#[test]
fn a_long_name_is_cut_where_what_was_there_is_kept() {
    let sandbox = Sandbox::new();
    let name = "n".repeat(250);
    sandbox.write(&format!("{name}/f"), "v1\n");
    sandbox.ok(&format!(
        "bk-create --name a $PWD/{name}; echo v2 >{name}/f"
    ));
    sandbox.ok("bk-restore --to-source a");
    let kept = format!("{}.before-1", "n".repeat(246));
    sandbox.ok(&format!("grep v1 {name}/f; grep v2 {kept}/f"));
}

#[test]
fn parents_that_are_gone_are_made_and_go_again_where_it_fails() {
    let sandbox = Sandbox::new();
    sandbox.write("srv/apps/one/f", "x\n");
    sandbox.ok("bk-create --name a $PWD/srv/apps/one; rm -r srv");
    if crate::support::can_trace() {
        let fault =
            "strace -f --seccomp-bpf -o /dev/null -e trace=syncfs -e inject=syncfs:error=EIO";
        let ran = sandbox.run(&format!("{fault} bk-restore --to-source a"));
        assert_eq!(ran.status, 1, "{ran:#?}");
        assert!(!sandbox.path("srv").exists());
    }
    sandbox.ok("umask 027; bk-restore --to-source a; grep x srv/apps/one/f");
    assert_eq!(sandbox.ok("stat -c %a srv srv/apps").stdout, "750\n750\n");
}

#[test]
fn what_goes_to_other_file_systems_gets_there() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p top/home");
    let Some(_mount) = mounts::tmpfs(&sandbox, "top/home", "size=4M") else {
        return;
    };
    sandbox.ok("mkdir top/home/app top/etc; echo v1 >top/home/app/f; echo e >top/etc/e; chmod 750 top/home/app
        ln top/home/app/f top/home/app/g; bk-create --name a -C top home etc
        rm top/home/app/f; echo v2 >top/etc/e; chmod 700 top/home/app");
    let ran = sandbox.ok("bk-restore -C top --into-existing --overwrite a");
    assert_eq!(ran.stderr, "");
    sandbox.ok("grep v1 top/home/app/f; grep -x e top/etc/e; mountpoint -q top/home");
    assert_eq!(
        sandbox
            .ok("stat -c %a top/home/app; stat -c %h top/home/app/f")
            .stdout,
        "750\n2\n"
    );
    // All or none, over all of them.
    sandbox.ok("echo v3 >top/etc/e; rm top/home/app/g");
    let ran = sandbox.run("bk-restore -C top --into-existing a");
    assert_eq!(ran.status, 1, "{ran:#?}");
    sandbox.ok("grep v3 top/etc/e; test ! -e top/home/app/g");
    if let Some(_bound) = mounts::bind(&sandbox, "top/etc", "top/bound") {
        sandbox.ok("mkdir b; mkdir b/bound; echo b >b/bound/b; bk-create --name b -C b bound");
        sandbox.ok("bk-restore -C top --into-existing b; grep b top/etc/b");
    }
    assert_tidy(&sandbox);
}

#[test]
fn a_link_in_the_place_of_a_directory_stays_one() {
    let sandbox = Sandbox::new();
    sandbox.write("app/www/sub/f", "v1\n");
    sandbox.ok(
        "bk-create --name a app; mkdir data; mv app/www data/www; ln -s ../data/www app/www
        echo v2 >data/www/sub/f; sleep 0.05; bk-restore -C . --into-existing --overwrite a",
    );
    sandbox.ok("test -L app/www; grep v1 data/www/sub/f");
    // A link that an archive made, a moment ago or in the same run, leads nowhere.
    sandbox.ok("mkdir out evil victim; mkdir evil/in; ln -s $PWD/victim evil/in/x; bk-create --name link -C evil in
        rm evil/in/x; mkdir evil/in/x; echo bad >evil/in/x/f; bk-create --name file -C evil in");
    let ran = sandbox.run("bk-restore -C out --into-existing --overwrite link file");
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(
        ran.stderr
            .contains("as a symbolic link of another user or of an archive"),
        "{ran:#?}"
    );
    sandbox.ok("test ! -e victim/f");
    assert_tidy(&sandbox);
}

#[test]
fn modes_of_directories_come_back_and_closed_ones_are_filled() {
    let sandbox = Sandbox::new();
    sandbox.write("src/d/f", "x\n");
    sandbox.ok("chmod 750 src/d; chmod 640 src/d/f; touch -d @5 src/d; bk-create --name a src; chmod -R 777 src");
    sandbox.ok("bk-restore -C . --into-existing a -- src/none 2>/dev/null || true; stat -c %a src/d | grep 777");
    sandbox.ok("bk-restore -C . --into-existing --overwrite a -- src/d/f");
    assert_eq!(sandbox.ok("stat -c %a src/d src/d/f").stdout, "777\n640\n");
    let ran = sandbox.ok("bk-restore -C . --into-existing --overwrite a");
    assert_eq!(ran.stderr, "");
    assert_eq!(sandbox.ok("stat -c '%a %Y' src/d").stdout, "750 5\n");
    if !crate::support::has("setpriv") || !rustix::process::geteuid().is_root() {
        println!("skipped: this takes root and setpriv");
        return;
    }
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    sandbox.ok("rm src/d/f; chmod 555 src/d src; chown -R 65534:65534 src home; chmod 755 .");
    sandbox.ok(&format!(
        "{user} bk-restore -C src --into-existing --strip-components 1 a"
    ));
    assert_eq!(
        sandbox.ok("cat src/d/f; stat -c %a src src/d").stdout,
        "x\n555\n555\n"
    );
    assert_tidy(&sandbox);
}

/// A share that gives all to one user.
#[test]
fn what_a_file_system_refuses_is_told_once_and_the_content_restored() {
    let sandbox = Sandbox::new();
    sandbox.write("src/f", "x\n");
    sandbox.ok("echo y >src/g; ln src/f src/h; chown 1:1 src/f src/g; chmod 600 src/f src/g; bk-create --name a src");
    let lacks = "nochmod,nochown,nolink,statfs0,nodir";
    let Some(_mount) = mounts::fuse(&sandbox, "root", "m", lacks) else {
        return;
    };
    let ran = sandbox.ok("bk-restore -C m/out a");
    let refused =
        "is not restored: Operation not permitted; others of the kind are counted, not named\n";
    let told =
        |name: &str, what: &str| format!("bk-restore: warning: '{name}': its {what} {refused}");
    assert_eq!(
        ran.stderr,
        [
            told("src/f", "owner"),
            told("src/h", "hard link"),
            told("src", "mode")
        ]
        .concat()
    );
    let not_held = &ran.record()["restore"]["not_held"];
    assert_eq!(not_held["owner"], 2, "{not_held}");
    sandbox.ok("diff -r src m/out/src");
    let ran = sandbox.ok("bk-restore --test -C m a");
    assert_eq!(
        ran.record()["backup_metadata"]["last_restored_test"]["ok"],
        true
    );
    sandbox.ok("echo z >m/out/src/f; bk-restore --swap -C m/out a; diff -r src m/out/src; grep z m/out.before-1/src/f");
    sandbox.ok("echo z >m/out/src/f; bk-restore --into-existing --overwrite -C m/out a; diff -r src m/out/src");
    assert_eq!(sandbox.ok("ls -A root").stdout, "out\nout.before-1\n");
}

/// The scratch directory is made in it, and removed at the very end.
#[test]
fn a_mount_point_that_is_restored_to_has_the_time_of_the_backup() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir src; echo x >src/f; touch -d @5 src; bk-create --name a -C src .");
    let Some(_mount) = mounts::image(&sandbox, "mkfs.ext4 -q -F", "8M", "m") else {
        return;
    };
    sandbox.ok("rmdir m/lost+found; bk-restore -C m a");
    assert_eq!(sandbox.ok("stat -c %Y m").stdout, "5\n");
    sandbox.ok("bk-restore --swap -C m a");
    assert_eq!(sandbox.ok("stat -c %Y m").stdout, "5\n");
}

/// They would be removed with what was there.
#[test]
fn archives_of_other_backups_are_not_exchanged() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p srv/app srv/old; echo x >srv/app/f; bk-create --name a srv/app; bk-create --name b srv/app; bk-mv a srv/old");
    let ran = sandbox.run("bk-restore --swap -C srv b");
    let srv = sandbox.path("srv").canonicalize().unwrap();
    let srv = srv.display();
    ran.fails(
        1,
        &format!(
            "bk-restore: cannot restore 'b': '{srv}' cannot be exchanged: bk's archives in '{srv}/old' would go with what was there; '-C {srv} --into-existing --overwrite' leaves them where they are\n"
        ),
    );
}

/// A few bytes of an archive are as much content as it has names for it.
#[test]
fn copies_in_the_place_of_hard_links_have_holes_and_count() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir src; truncate -s 40M src/a; printf x | dd of=src/a bs=1 seek=30M conv=notrunc status=none; ln src/a src/b; ln src/a src/c; bk-create --name a src");
    let Some(_mount) = mounts::fuse(&sandbox, "root", "m", "nolink") else {
        return;
    };
    let ran = sandbox.run("bk-restore -C m/out a");
    let bomb =
        "the archive holds more than 200 times its size, as a bomb does: --max-ratio allows more";
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert_eq!(
        ran.stderr.lines().last(),
        Some(&*format!(
            "bk-restore: cannot restore 'a': cannot restore 'src/c': {bomb}"
        ))
    );
    assert_eq!(sandbox.ok("ls -A root").stdout, "");
    let ran = sandbox.ok("bk-restore --max-ratio 1000000 -C m/out a");
    assert_eq!(ran.record()["restore"]["not_held"]["hard link"], 2);
    sandbox.ok("for it in b c; do cmp src/a root/out/src/$it; done");
    let blocks = sandbox
        .ok("stat -c %b root/out/src/b root/out/src/c")
        .stdout;
    assert!(
        blocks.lines().all(|it| it.parse::<u64>().unwrap() < 1000),
        "{blocks}"
    );
    sandbox.ok("bk-restore --max-ratio 1000000 --test -C m a");
}

#[test]
fn names_beyond_those_that_a_file_can_have_are_copies() {
    let sandbox = Sandbox::new();
    sandbox.ok(
        "mkdir src; echo x >src/a; for it in b c d; do ln src/a src/$it; done; bk-create --name a src",
    );
    let Some(_mount) = mounts::fuse(&sandbox, "root", "m", "links=2") else {
        return;
    };
    let ran = sandbox.ok("bk-restore -C m/out a");
    assert_eq!(
        ran.stderr,
        "bk-restore: warning: 'src/c': its hard link is not restored: Too many links; others of the kind are counted, not named\n"
    );
    assert_eq!(ran.record()["restore"]["not_held"]["hard link"], 2);
    sandbox.ok("diff -r src m/out/src; bk-restore --test -C m a");
}

#[test]
fn a_test_compares_what_the_file_system_can_hold() {
    let sandbox = Sandbox::new();
    sandbox.write("src/f", "x\n");
    sandbox.ok("touch -d '2001-01-01 00:00:00.5' src/f; touch -d @5 src; bk-create --name a src");
    let Some(_mount) = mounts::image(&sandbox, "mkfs.ext4 -q -F -I 128", "8M", "m") else {
        return;
    };
    let ran = sandbox.ok("bk-restore --test -C m a");
    assert_eq!(
        ran.stderr,
        "bk-restore: warning: 'src/f': its time of modification is not restored: this file system does not store it as it is in the archive; others of the kind are counted, not named\n"
    );
    assert_eq!(
        ran.record()["restore"]["not_held"]["time of modification"],
        1
    );
}

/// The size of the file is a hundred thousand times what it takes.
#[test]
fn a_test_reads_no_holes() {
    let sandbox = Sandbox::new();
    sandbox.ok(
        "mkdir src; echo begin >src/hole; truncate -s 400G src/hole || exit 9; echo end >>src/hole",
    );
    sandbox
        .ok("bk-create --name a src; timeout 20 bk-restore --test -C . --max-ratio 1000000000 a");
}

/// As `tar -r` adds it.
#[test]
fn of_a_name_that_comes_twice_the_last_one_is_printed() {
    let sandbox = Sandbox::new();
    sandbox.write("t/f", "old\n");
    sandbox.ok("cd t; ln f g; tar -cf ../t.tar f g; rm f; echo new >f; tar -rf ../t.tar f; cd ..; gzip t.tar; bk-adopt t.tar.gz");
    assert_eq!(sandbox.ok("bk-restore --stdout f 1").stdout, "new\n");
    assert_eq!(sandbox.ok("bk-restore --stdout g 1").stdout, "old\n");
}

/// What a directory could not be made to last is no success.
#[test]
fn a_directory_that_cannot_be_synced_is_an_error() {
    if !crate::support::can_trace() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("app/f", "one\n");
    sandbox.ok("bk-create --name a app; mkdir out; cp -a app out/app; cp -a out start; echo two >start/app/f; echo two >out/app/f");
    let dir = dir(&sandbox);
    for (at, flags) in [("out/app", "--into-existing --overwrite"), ("", "--swap")] {
        let ran = sandbox.run(&format!(
            "strace -f --seccomp-bpf -o /dev/null -P {dir}/{at} -e trace=fsync -e inject=fsync:error=EIO bk-restore {flags} -C out a"
        ));
        assert_eq!((ran.status, &*ran.stdout), (1, ""), "{flags}: {ran:#?}");
        sandbox.ok("diff -r out start; ! ls -d *.before-*");
        assert_tidy(&sandbox);
    }
}
