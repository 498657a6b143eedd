//! Small places and odd ones: disks of a few megabytes or without inodes, homes with any name,
//! file systems that lack something, and no more threads to be had.

use crate::support::disk::SmallDisk;
use crate::support::mounts::{self, Mount};
use crate::support::{Sandbox, can_trace, has, stride};

/// Fills what is left of the disk, to the last byte and inode.
const FILL: &str = "dd if=/dev/zero of=disk/fill bs=64k 2>/dev/null; dd if=/dev/zero of=disk/fill2 bs=1 count=65536 2>/dev/null;
    n=0; while touch disk/full$n 2>/dev/null && [ $n -lt 200 ]; do n=$((n + 1)); done;";

/// A life of a backup in a home: each program that opens the catalog, for reading and writing.
const LIFE: &str = "bk-create --storage store --name a app >/dev/null && bk-create --storage store --name b app >/dev/null &&
    bk-ls | jq -r .backup_name && bk-verify a | jq -r .verify.ok && bk-set -d note a | jq -r .description &&
    bk-df >/dev/null && bk-log >/dev/null && bk-restore -C out a >/dev/null && test -e out/app/config.toml &&
    bk-mv a b other | jq -r .file_status && bk-prune --keep-last 1 --all | jq -r .backup_name &&
    bk-auto --set -s @daily -- $PWD/app >/dev/null && bk-auto --now | jq -r .status && bk-ls | bk-rm | wc -l";

#[test]
fn a_home_may_have_any_name() {
    if !has("jq") {
        return;
    }
    let names = [
        "why?not",
        "a.duckdb?b=c",
        "per%20cent%3F",
        "ha#sh qu'o\"te new\nline [a]*{b}\\c",
        ":memory:",
    ];
    for name in names.into_iter().step_by(stride(2)) {
        let sandbox = Sandbox::with_app();
        let home = sandbox.path(name).join("home");
        let ran = sandbox
            .command("bash")
            .env("BK_HOME", &home)
            .args(["-c", LIFE])
            .output();
        let ran = crate::support::Ran::new(name, ran.unwrap());
        let told = "a\nb\ntrue\nnote\navailable\navailable\na\ncompleted\n2\n";
        assert_eq!((ran.status, &*ran.stdout), (0, told), "{ran:#?}");
        assert!(home.join("catalog.duckdb").exists(), "{name}");
        let beside: Vec<_> = std::fs::read_dir(home.parent().unwrap()).unwrap().collect();
        assert_eq!(beside.len(), 1, "{name}: {beside:?}");
    }
}

/// DuckDB takes the file that a link leads to, under its own name.
#[test]
fn a_home_may_be_a_link_to_any_name() {
    let sandbox = Sandbox::with_app();
    let places = "mkdir -p 'why?not'/$'h\\xff'; ln -s 'why?not'/$'h\\xff' home;";
    let ran = sandbox.ok(&format!("{places} {LIFE}; ls 'why?not'; ls why* | wc -l"));
    let told = "a\nb\ntrue\nnote\navailable\navailable\na\ncompleted\n2\nh\u{fffd}\n1\n";
    assert_eq!(ran.stdout, told, "{ran:#?}");
    assert!(sandbox.home().join("catalog.duckdb").exists());
}

/// The paths in the catalog are text: the archives of such a home need another place.
#[test]
fn a_home_that_is_no_text_keeps_its_archives_elsewhere() {
    let sandbox = Sandbox::with_app();
    let ran = sandbox.run(
        "export BK_HOME=$PWD/$'h\\xff'; bk-create app; echo $?
         bk-create --storage store --name a app >/dev/null && bk-verify a | wc -l && bk-rm a | wc -l",
    );
    let told = "is not UTF-8: the paths in the catalog are text; name another with --storage\n";
    assert_eq!(ran.stdout, "1\n1\n1\n", "{ran:#?}");
    assert!(ran.stderr.ends_with(told), "{ran:#?}");
}

/// What a killed process had written to the WAL of a catalog is not passed over.
#[test]
fn a_wal_that_was_moved_below_a_question_mark_is_refused() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app >/dev/null; touch home/catalog.duckdb.wal; mv home 'ho?me'");
    let ran = sandbox.run("BK_HOME=$PWD/ho?me bk-ls");
    let wal = sandbox.path("ho?me/catalog.duckdb.wal");
    let told = format!(
        "bk-ls: '{}' cannot be read where the path holds a '?' or is not UTF-8: move the home to another path, run bk-ls there, and move it back\n",
        wal.display()
    );
    ran.fails(1, &told);
}

/// The spare is laid by in proportion; it is given up with its inode.
#[test]
fn a_small_disk_that_is_full_can_be_emptied() {
    let sizes = ["8M", "16M", "48M", "16M,nr_inodes=40"];
    for (number, size) in sizes.into_iter().enumerate() {
        let removals = [("bk-rm a", "2\n"), ("bk-prune --keep-last 1 --all", "1\n")];
        let stride = stride(2);
        for (remove, left) in removals.into_iter().skip(number % stride).step_by(stride) {
            let Some(disk) = SmallDisk::new(size) else {
                return;
            };
            let ran = disk.ok(&format!(
                "export BK_HOME=$PWD/disk/home
                 for n in a b c; do bk-create --reserve 0 --name $n app/data >/dev/null || exit 3; done
                 test -s disk/home/catalog.spare || exit 4
                 {FILL} {remove} >/dev/null || exit 5
                 test -e disk/home/catalog.spare || exit 6; bk-ls --json | wc -l"
            ));
            assert_eq!(
                (&*ran.stdout, ran.errors()),
                (left, vec![]),
                "{size} {remove}"
            );
        }
    }
}

/// DuckDB ends the process where the commit of a row that was replaced in an index fails.
#[test]
fn a_name_that_is_to_be_used_again_on_a_full_disk_is_an_error() {
    if !can_trace() {
        return;
    }
    let Some(disk) = SmallDisk::new("16M") else {
        return;
    };
    // The row of one that died is there, its archive is not.
    let died = "strace -qqq -f -o /dev/null -e trace=renameat2 -e inject=renameat2:signal=SIGKILL";
    disk.ok(&format!(
        "export BK_HOME=$PWD/disk/home; bk-create --reserve 0 --storage store --name a app >/dev/null
         bk-create --reserve 0 --storage store --name b app >/dev/null; bk-rm b >/dev/null
         {died} bk-create --reserve 0 --storage store --name b app
         bk-create --reserve 0 --storage store --name c app/log >/dev/null"
    ));
    let failed = disk.run("BK_HOME=$PWD/disk/home bk-ls --status failed | wc -l");
    assert_eq!(failed.stdout, "1\n");
    let ran = disk.run(&format!(
        "export BK_HOME=$PWD/disk/home; {FILL} bk-create --reserve 0 --storage store --name b app/log"
    ));
    let catalog = disk.sandbox.path("disk/home/catalog.duckdb");
    let told = format!(
        "bk-create: cannot write the catalog '{}': No space left on device\n",
        catalog.display()
    );
    ran.fails(1, &told);
}

/// Nothing says that a file system is full that tells no figures.
#[test]
fn figures_that_are_not_told_are_unknown() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    let Some(_mount) = mounts::ramfs(&sandbox, "ram") else {
        return;
    };
    let ran = sandbox.ok(
        "bk-create --name a app >/dev/null; bk-create --name b --storage ram/st app >/dev/null
         bk-create --estimate --storage ram/st app | jq -c '[.available_bytes, .fits]'
         bk-mv a ram/st >/dev/null; bk-restore -C ram/out a >/dev/null; ls ram/out ram/st
         bk-prune --keep-free 1T --all; bk-ls --json | wc -l
         bk-df --json | jq -c 'select(.backup_count == 2 and .total == false) | [.size_bytes, .free_bytes, .reserve_bytes]'
         bk-df --table | grep -c 'does not report its space'
         bk-df --prometheus | grep -c '^bk_filesystem_reachable.* 1$'
         bk-ls | bk-rm | wc -l",
    );
    let told =
        "[null,true]\nram/out:\napp\n\nram/st:\na.tar.gz\nb.tar.gz\n2\n[null,null,null]\n1\n2\n2\n";
    assert_eq!(ran.stdout.replace(".bk-storage\n", ""), told, "{ran:#?}");
    let warning = "bk-prune: warning: --keep-free is not heeded where '";
    assert!(ran.stderr.starts_with(warning), "{ran:#?}");
    let ran = sandbox.run(
        "bk-create --name c --storage ram/st app >/dev/null; bk-df --fail 'free<1' --json >/dev/null",
    );
    let ram = sandbox.path("ram");
    let told = format!(
        "bk-df: failure: free<1: '{}' does not report its free space\n",
        ram.display()
    );
    ran.fails(4, &told);
}

/// A storage, and a home, on a file system that lacks something.
#[test]
fn what_a_file_system_cannot_do_is_done_without() {
    if !has("jq") {
        return;
    }
    for lacks in [
        "noexch,nodir,nolink",
        "nochmod,nochown,notimes",
        "statfs0,noxattr,nosymlink",
    ]
    .into_iter()
    .step_by(stride(2))
    {
        let sandbox = Sandbox::with_app();
        let Some(_mount): Option<Mount> = mounts::fuse(&sandbox, "back", "odd", lacks) else {
            return;
        };
        let ran = sandbox.run(
            &LIFE
                .replace("--storage store", "--storage odd/store")
                .replace("a b other", "a b odd/other"),
        );
        let told = "a\nb\ntrue\nnote\navailable\navailable\na\ncompleted\n2\n";
        assert_eq!((ran.status, &*ran.stdout), (0, told), "{lacks}: {ran:#?}");
        let ran = sandbox.run(&format!("rm -rf out; export BK_HOME=$PWD/odd/home; {LIFE}"));
        assert_eq!((ran.status, &*ran.stdout), (0, told), "{lacks}: {ran:#?}");
        let ran = sandbox.run(
            "bk-create --name taken app >/dev/null; touch odd/store/x.tar.gz
             bk-create --name x --storage odd/store app; ls -A odd/store | grep -v .bk-storage; wc -c <odd/store/x.tar.gz",
        );
        assert_eq!(ran.stdout, "x.tar.gz\n0\n", "{lacks}: {ran:#?}");
    }
}

/// What no archive holds is not counted, and what a file system does not tell of is.
#[test]
fn an_estimate_counts_what_the_backup_holds() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir root; seq 100000 >root/a; truncate -s 5M root/b; printf x >>root/b; ln root/a root/c");
    let socket = std::os::unix::net::UnixListener::bind(sandbox.path("root/socket")).unwrap();
    let compare = |dir: &str| {
        let told = sandbox
            .ok(&format!("bk-create --estimate --json {dir}"))
            .record();
        let made = sandbox
            .ok(&format!("bk-create --name {dir} {dir} 2>/dev/null"))
            .record();
        assert_eq!(told["file_count"], made["file_count"], "{dir}");
        let (told, made) = (
            &told["content_bytes"],
            &made["backup_metadata"]["content_bytes"],
        );
        assert_eq!(told, made, "{dir}");
    };
    compare("root");
    drop(socket);
    let Some(_mount) = mounts::fuse(&sandbox, "root", "odd", "noblocks") else {
        return;
    };
    compare("odd");
}

/// Fewer are used, or there is an error; never a panic.
#[test]
fn threads_are_as_many_as_are_to_be_had() {
    if !has("setpriv") || !has("prlimit") || !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    if !sandbox
        .run("setpriv --reuid 65534 --clear-groups bk-ls --help >/dev/null")
        .stderr
        .is_empty()
    {
        println!("skipped: nobody may not run the programs here");
        return;
    }
    sandbox.ok("bk-create --name a app >/dev/null; mkdir work; chmod -R a+rwX .");
    let lines = [
        "bk-create --name b --storage work/st app",
        "bk-create --name b --storage work/st --stdin-from-command -- echo",
        "bk-verify --deep a",
        "bk-verify a",
        "bk-restore -C work/out a",
        "bk-restore --stdout app/log/app.log a",
        "bk-ls --files a",
        "bk-adopt -r home/archives",
        "bk-auto --now",
        "bk-ls",
    ];
    for limit in [1, 2, 3, 400] {
        for line in lines {
            let ran = sandbox.run(&format!(
                "cp -a home work/home; chown -R 65533 work; BK_HOME=$PWD/work/home setpriv --reuid 65533 --clear-groups prlimit --nproc={limit} {line}
                 e=$?; rm -rf work/*; exit $e"
            ));
            let is_told = ran
                .stderr
                .contains("cannot begin a thread: Resource temporarily unavailable");
            // What begins programs may lack a process first.
            let begins = line.starts_with("bk-auto") || line.ends_with("-- echo");
            assert!(ran.status == 0 || is_told || begins, "{limit}: {ran:#?}");
            assert!(!ran.stderr.contains("panicked"), "{limit}: {ran:#?}");
            assert!(
                limit < 400 || ran.status == 0 || line.starts_with("bk-auto"),
                "{ran:#?}"
            );
        }
    }
}
