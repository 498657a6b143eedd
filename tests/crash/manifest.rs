//! A manifest that cannot be written, or whose writer dies: the backup is made all the same, and nothing
//! is left behind.

use std::fs;

use crate::support::mounts::tmpfs;
use crate::support::{Sandbox, can_trace, check_manifests};

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
    sandbox.ok("bk-create -n first app");
    let ran = sandbox.run(
        "strace -f -qqq -o /dev/null -e trace=rename -e inject=rename:error=EIO bk-create -n a app",
    );
    warns(&ran, "Input/output error");
    sandbox.ok("bk-verify a; bk-rm a; rm -r home/manifests; touch home/manifests");
    warns(&sandbox.run("bk-create -n a app"), "Not a directory");
    sandbox.ok("bk-verify a; bk-create -n b app");
}

#[test]
fn a_full_disk_costs_the_manifest_alone() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for n in $(seq 2000); do echo $n >app/file-of-some-length-$RANDOM-$n; done; mkdir -p home/manifests");
    let Some(_disk) = tmpfs(&sandbox, "home/manifests", "size=8K,mode=0700") else {
        return;
    };
    let ran = sandbox.run("bk-create -n a app");
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
            "strace -f -qqq -o /dev/null -e trace={name} -e inject={}:signal=SIGKILL:{} bk-create -n a{number} app",
            name,
            call.split(':').nth(1).unwrap()
        ));
        assert_eq!(ran.status, 137, "{call}: {ran:#?}");
        sandbox.ok(&format!("bk-create -n b{number} app; bk-verify --all"));
        check_manifests(&sandbox);
    }
}
