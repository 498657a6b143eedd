//! bk-restore is killed, interrupted, out of space, or loses its archive: the target is whole,
//! old or new, and no scratch directory stays.

use std::fs;

use crate::support::{KILLED, Ran, Sandbox, can_trace, has, strace};

/// The calls that make something, or move it to its place.
const CALLS: &str = "mkdirat openat2 pwrite64 fchmod fchown utimensat linkat symlinkat \
                     renameat renameat2 syncfs fsync unlinkat exit_group";

/// `app/` with its backup `a`, and `old/` that is to be exchanged.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("app/config", "port = 8080\n");
    sandbox.write("app/sub/large", &"order\n".repeat(100_000));
    sandbox.ok("ln app/config app/hard; ln -s config app/link; chmod 750 app/sub");
    sandbox.ok("touch -d @5 app/link app/sub; bk-create --name a -C app . >/dev/null");
    sandbox.ok("mkdir old; echo old >old/config; cp -a old start");
    sandbox
}

fn no_stage(sandbox: &Sandbox, ran: &Ran) {
    let left = sandbox.ok("find . -name '.bk-restore-*'").stdout;
    assert_eq!(left, "", "{ran:#?}");
}

/// Kills a restoration at each of its calls, and looks whether `out` is what it was, which
/// `prepare` made and `is_old` tells, or new.
fn kill_at_each(prepare: &str, flags: &str, is_old: &str, step: usize) {
    if !can_trace() {
        return;
    }
    let sandbox = sandbox();
    let facts =
        "facts() (cd $1 && find . -printf '%p %m %y %T@ %l %n\\n' | sort && cat config sub/large)";
    let mut kills = 0;
    for call in CALLS.split_whitespace() {
        for when in (1..).step_by(step) {
            let ran = sandbox.run(&format!(
                "rm -rf out* .bk-restore-*; {prepare}
                 exec strace -f -o /dev/null -e trace={call} -e inject={call}:signal=SIGKILL:when={when} \
                     bk-restore {flags} -C out a"
            ));
            let is_new = format!("{facts}; diff <(facts app) <(facts out)");
            let new = sandbox.run(&is_new);
            let old = sandbox.run(is_old);
            assert!(
                new.status == 0 || old.status == 0,
                "{ran:#?}{new:#?}{old:#?}"
            );
            if flags.contains("swap") && new.status == 0 {
                let kept = sandbox.run("diff -r start out.before-1");
                assert_eq!(kept.status, 0, "{ran:#?}{kept:#?}");
            }
            if ran.status != KILLED {
                assert_eq!((ran.status, new.status), (0, 0), "{ran:#?}");
                break;
            }
            kills += 1;
            let next = sandbox.ok("rm -rf next; bk-restore -C next a");
            no_stage(&sandbox, &next);
        }
    }
    println!("killed {kills} times");
    assert!(kills * step > 25, "only {kills} kills");
}

const SWAP: [&str; 3] = ["cp -a start out;", "--swap", "diff -r start out"];
const FRESH: [&str; 3] = ["", "", "test ! -e out"];
const EMPTY: [&str; 3] = [
    "mkdir out;",
    "",
    "test -d out && find out -mindepth 1 | wc -l | grep -qx 0",
];

#[test]
fn a_kill_leaves_a_new_target_whole() {
    kill_at_each(FRESH[0], FRESH[1], FRESH[2], 29);
}

#[test]
fn a_kill_leaves_an_exchanged_target_whole() {
    kill_at_each(SWAP[0], SWAP[1], SWAP[2], 29);
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_kill_at_any_call_leaves_the_target_whole() {
    for [prepare, flags, is_old] in [FRESH, EMPTY, SWAP] {
        kill_at_each(prepare, flags, is_old, 1);
    }
}

/// Each call fails once, and all from some point on.
#[test]
fn a_call_that_fails_leaves_the_target_as_it_was() {
    if !can_trace() {
        return;
    }
    let sandbox = sandbox();
    let mut count = 0;
    for fault in [
        "pwrite64:error=ENOSPC:when=1",
        "pwrite64:error=ENOSPC:when=2+",
        "mkdirat:error=ENOSPC:when=1",
        "mkdirat:error=ENOSPC:when=3",
        "linkat:error=EIO",
        "symlinkat:error=EDQUOT",
        "fchmod:error=EIO:when=3",
        "utimensat:error=EIO:when=1",
        "utimensat:error=EIO:when=4",
        "syncfs:error=EIO",
        "renameat2:error=EIO:when=1",
        "renameat2:error=EIO:when=2",
    ] {
        let (call, _) = fault.split_once(':').unwrap();
        // Files of the catalog are written by the same calls.
        let ran = sandbox.run(&format!(
            "rm -rf out*; cp -a start out
             {} -o trace -e trace={call} -e inject={fault} bk-restore --swap -C out a 2>err; e=$?
             cat err >&2; exit $e",
            strace(fault)
        ));
        assert_eq!((ran.status, &*ran.stdout), (1, ""), "{fault}: {ran:#?}");
        let told = ran.stderr.lines().next().unwrap_or_default();
        assert!(
            told.starts_with("bk-restore: cannot restore 'a': "),
            "{fault}: {ran:#?}"
        );
        sandbox.ok("diff -r start out; test ! -e out.before-1");
        no_stage(&sandbox, &ran);
        count += 1;
    }
    assert_eq!(count, 12);
    let ledger = sandbox.ledger();
    assert!(
        ledger
            .iter()
            .any(|it| it.contains("a restore failed") && it.contains("No space left")),
        "{ledger:#?}"
    );
    sandbox.ok("bk-restore --swap -C out a && diff -r app out && diff -r start out.before-1");
}

#[test]
fn a_move_into_a_directory_that_stays_is_undone() {
    if !can_trace() {
        return;
    }
    let sandbox = sandbox();
    for when in 1..=4 {
        let ran = sandbox.run(&format!(
            "rm -rf out*; cp -a start out
             strace -f --seccomp-bpf -o trace -e trace=renameat2 -e inject=renameat2:error=EIO:when={when} \
                 bk-restore --into-existing --overwrite -C out a"
        ));
        assert_eq!((ran.status, &*ran.stdout), (1, ""), "{when}: {ran:#?}");
        sandbox.ok("diff -r start out");
        no_stage(&sandbox, &ran);
    }
    sandbox.ok("bk-restore --into-existing --overwrite -C out a && diff -r app out");
}

/// A disk that fails on and on: what was there is somewhere.
#[test]
fn what_was_replaced_and_cannot_be_put_back_is_kept_and_named() {
    if !can_trace() {
        return;
    }
    let sandbox = sandbox();
    sandbox.ok(
        "mkdir new; for it in a b c; do echo new $it >new/$it; done; bk-create --name b -C new .",
    );
    for when in 2..=6 {
        let ran = sandbox.run(&format!(
            "rm -rf out .bk-restore-*; mkdir out; for it in a b c; do echo old $it >out/$it; done
             strace -f --seccomp-bpf -o trace -e trace=renameat2 -e inject=renameat2:error=EIO:when={when}+ \
                 bk-restore --into-existing --overwrite -C out b"
        ));
        assert_eq!((ran.status, &*ran.stdout), (1, ""), "{when}: {ran:#?}");
        assert!(
            ran.stderr
                .contains("holds what was being replaced and could not be moved back"),
            "{when}: {ran:#?}"
        );
        let left = "cat out/* $(find .bk-restore-* -type f) | grep old | sort";
        assert_eq!(
            sandbox.ok(left).stdout,
            "old a\nold b\nold c\n",
            "{when}: {ran:#?}"
        );
    }
}

/// SIGINT and SIGTERM in the middle; with job control, as without it a shell's `&` turns SIGINT
/// off.
#[test]
fn a_signal_leaves_the_target_as_it_was() {
    let sandbox = sandbox();
    sandbox.ok(
        "mkdir big; head -c 300M /dev/zero >big/zeros; echo x >>big/zeros
        bk-create --name big big >/dev/null",
    );
    for (signal, number) in [("INT", 2), ("TERM", 15)] {
        let ran = sandbox.run(&format!(
            "set -m; rm -rf out*; cp -a start out
             bk-restore --swap -C out big 2>err &
             until test -s .bk-restore-*/new/big/zeros || ! kill -0 $!; do :; done
             kill -{signal} $!; wait $! 2>/dev/null; e=$?; cat err >&2; exit $e"
        ));
        let told = format!("bk-restore: cannot restore 'big': interrupted by signal {number}\n");
        ran.fails(128 + number, &told);
        sandbox.ok("diff -r start out; test ! -e out.before-2");
        no_stage(&sandbox, &ran);
    }
    let ledger = sandbox.ledger();
    let told = "big restore failed interrupted by signal 15".to_owned();
    assert!(ledger.contains(&told), "{ledger:#?}");
}

/// It is opened once: what is verified is what is restored.
#[test]
fn an_archive_that_is_unlinked_or_replaced_meanwhile_is_still_restored() {
    if !can_trace() {
        return;
    }
    let sandbox = sandbox();
    for meanwhile in [
        "rm home/archives/a.tar.gz",
        "rm home/archives/a.tar.gz; echo junk >home/archives/a.tar.gz",
    ] {
        sandbox.ok("cp home/archives/a.tar.gz kept");
        let line = format!(
            "rm -rf out; strace -f --seccomp-bpf -o /dev/null -P $PWD/home/archives/a.tar.gz -e trace=lseek -e inject=lseek:delay_enter=2500000:when=1 \
                 bk-restore -C out a & sleep 1.5; {meanwhile}; wait $!"
        );
        let ran = sandbox.ok(&line);
        sandbox.ok("diff -r app out && cp kept home/archives/a.tar.gz");
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn a_full_disk_is_told_before_anything_is_written() {
    if !has("unshare") {
        return;
    }
    let sandbox = sandbox();
    sandbox
        .ok("mkdir disk; head -c 9M /dev/urandom >app/more; bk-create --name large app >/dev/null");
    let ran = sandbox.run(
        "unshare -m sh -c 'mount -t tmpfs -o size=8M tmpfs disk || exit 99
             bk-restore -C disk/out large; e=$?; ls -A disk; bk-restore -C disk large; ls -A disk; exit $e'",
    );
    if ran.status == 99 || ran.stderr.contains("unshare") {
        println!("skipped: a file system in memory cannot be mounted here");
        return;
    }
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    assert!(ran.stderr.contains("it takes 9.57 MiB and '"), "{ran:#?}");
    // Where the record does not tell, the archive does, entry by entry.
    let ran = sandbox.run(
        "unshare -m sh -c 'mount -t tmpfs -o size=8M tmpfs disk
             bk-restore --no-verify -C disk/out large; e=$?; ls -A disk; exit $e'",
    );
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    assert!(ran.stderr.contains(" bytes, but 8"), "{ran:#?}");
}

#[test]
fn a_damaged_archive_restores_nothing_unless_that_is_wanted() {
    let sandbox = sandbox();
    let archive = sandbox.archive("a");
    let bytes = fs::read(&archive).unwrap();
    for (damaged, no_verify, is_restored) in [
        (
            bytes[..200].to_vec(),
            "bk-restore: cannot restore 'a': it is damaged, and nothing of it is whole",
            false,
        ),
        (
            [&bytes[..], b"junk"].concat(),
            "bk-restore: 'a' is damaged: only its undamaged part was restored",
            true,
        ),
        (Vec::new(), "it is neither a gzip nor a zstd file", false),
    ] {
        fs::write(&archive, damaged).unwrap();
        let ran = sandbox.run("bk-restore -C out a");
        let path = archive.display();
        ran.fails(
            1,
            &format!("bk-restore: cannot restore 'a': its archive '{path}' is not what was recorded: its SHA-256 differs; bk-verify shows more, --no-verify restores what can be read\n"),
        );
        let ran = sandbox.run("bk-restore --no-verify -C out a");
        assert_eq!(ran.status, 1, "{ran:#?}");
        assert!(ran.stderr.contains(no_verify), "{ran:#?}");
        assert_eq!(sandbox.path("out/config").exists(), is_restored, "{ran:#?}");
        assert_eq!(sandbox.path("out").exists(), is_restored, "{ran:#?}");
        no_stage(&sandbox, &ran);
        sandbox.ok("rm -rf out");
    }
    let test = sandbox.run("bk-restore --test -C . a");
    assert_eq!(test.status, 1, "{test:#?}");
    let told = sandbox.ok("bk-ls a").record()["backup_metadata"]["last_restored_test"].clone();
    assert_eq!(told["ok"], false, "{told}");
}
