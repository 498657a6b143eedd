//! A manifest that cannot be written, or whose writer dies: the backup is made all the same, and nothing
//! is left behind.

use std::fs;

use crate::support::compared::rest_of;
use crate::support::mounts::tmpfs;
use crate::support::{Sandbox, can_trace, check_manifests, strace, stride};

fn warns(ran: &crate::support::Ran, reason: &str) {
    assert_eq!(ran.status, 0, "{ran:#?}");
    assert!(
        ran.stderr
            .starts_with("bk-create: warning: 'a' has no manifest: "),
        "{ran:#?}"
    );
    assert!(ran.stderr.ends_with(&format!("{reason}\n")), "{ran:#?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
}

#[test]
fn without_a_manifest_the_backup_is_made() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    // Where there is a catalog, nothing else is renamed so.
    sandbox.ok("bk-create --name first app");
    let ran = sandbox.run(
        "strace -f --seccomp-bpf -qqq -o /dev/null -e trace=rename -e inject=rename:error=EIO bk-create --name a app",
    );
    warns(&ran, "Input/output error");
    sandbox.ok("bk-verify a; bk-rm a; rm -r home/manifests; touch home/manifests");
    warns(&sandbox.run("bk-create --name a app"), "Not a directory");
    sandbox.ok("bk-verify a; bk-create --name b app");
}

#[test]
fn a_full_disk_costs_the_manifest_alone() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for n in $(seq 2000); do echo $n >app/file-of-some-length-$RANDOM-$n; done; mkdir -p home/manifests");
    let Some(_disk) = tmpfs(&sandbox, "home/manifests", "size=8K,mode=0700") else {
        return;
    };
    let ran = sandbox.run("bk-create --name a app");
    warns(&ran, "");
    let record = ran.record();
    assert_eq!(
        record["backup_metadata"]["manifest_hash"],
        serde_json::Value::Null
    );
    assert_eq!(
        fs::read_dir(sandbox.home().join("manifests"))
            .unwrap()
            .count(),
        0
    );
    sandbox.ok("bk-verify a");
}

#[test]
fn who_dies_while_a_manifest_is_written_leaves_nothing_for_long() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    for (number, call) in [
        "rename:when=1",
        "fsync:when=1",
        "fsync:when=2",
        "fsync:when=3",
        "fsync:when=4",
    ]
    .iter()
    .enumerate()
    {
        let name = call.split(':').next().unwrap();
        let ran = sandbox.run(&format!(
            "strace -f -qqq -o /dev/null -e trace={name} -e inject={}:signal=SIGKILL:{} bk-create --name a{number} app",
            name,
            call.split(':').nth(1).unwrap()
        ));
        assert_eq!(ran.status, 137, "{call}: {ran:#?}");
        sandbox.ok(&format!("bk-create --name b{number} app; bk-verify --all"));
        check_manifests(&sandbox);
    }
}

/// With a parent: killed, or refused by the disk, at each call; the next backup is the one that is made
/// without a parent, and nothing is left behind.
#[test]
fn whatever_fails_of_a_backup_with_a_parent_the_next_one_is_whole() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("head -c 1500000 /dev/urandom >app/large; touch -d 2020-01-01 app/large; bk-create --name p app; echo more >>app/log/app.log; bk-create --no-parent --name plain app");
    let mut number = 0;
    for call in [
        "write",
        "pwrite64",
        "fsync",
        "fdatasync",
        "rename",
        "renameat2",
        "unlink",
        "ftruncate",
    ] {
        let counted = sandbox.ok(&format!("strace -f --seccomp-bpf -qqq -o count -e trace={call} bk-create --parent p --name a app; grep -c '{call}(' count || true"));
        let count: usize = counted.stdout.lines().last().unwrap().parse().unwrap();
        sandbox.ok("bk-rm a");
        for at in 1..=count {
            for fault in ["signal=SIGKILL", "error=EIO", "error=ENOSPC"] {
                number += 1;
                if number % stride(61) != 0 {
                    continue;
                }
                let what = format!("{call} {at}: {fault}");
                let line = format!(
                    "{} -qqq -o /dev/null -e trace={call} -e inject={call}:{fault}:when={at} bk-create --parent p --name a app",
                    strace(fault)
                );
                let ran = sandbox.run(&line);
                if ran.status == 0 {
                    assert!(
                        rest_of(&sandbox.archive("a")) == rest_of(&sandbox.archive("plain")),
                        "{what}"
                    );
                }
                // One that was completed and then not told stays.
                let next = sandbox.run("bk-create --parent p --name next app");
                assert_eq!((next.status, &*next.stderr), (0, ""), "{what}: {ran:#?}");
                assert!(
                    rest_of(&sandbox.archive("next")) == rest_of(&sandbox.archive("plain")),
                    "{what}"
                );
                let all = sandbox.run("bk-verify --deep --all");
                assert_eq!(all.status, 0, "{what}: {all:#?}");
                check_manifests(&sandbox);
                // Who dies while it removes leaves no manifest behind for long.
                let kill = format!(
                    "{} -qqq -o /dev/null -e trace=unlink -e inject=unlink:{fault}:when={} bk-rm next",
                    strace(fault),
                    1 + number % 3
                );
                sandbox.run(&kill);
                sandbox.run("bk-rm next a");
                sandbox.ok("bk-set -d x p");
                check_manifests(&sandbox);
                assert!(
                    sandbox.run("bk-ls next a").stdout.is_empty()
                        || sandbox.run("bk-ls next a").stdout.contains("failed"),
                    "{what}"
                );
                sandbox.run("bk-rm next a");
            }
        }
    }
}
