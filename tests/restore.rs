//! bk-restore: what went in comes back, where it is asked to and nowhere else.

use std::fs;

use bk_tests::rich::{assert_same, rich};
use bk_tests::{Ran, Sandbox, has};
use serde_json::Value;

/// A sandbox with `app/` and its backup `a`, made with `-C` where it is.
fn with_backup() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app");
    sandbox
}

/// All names below a directory.
fn names(sandbox: &Sandbox, dir: &str) -> String {
    sandbox.ok(&format!("cd {dir} && find . | sort")).stdout
}

/// Nothing is left of any stage.
fn assert_tidy(sandbox: &Sandbox) {
    let left = sandbox.ok("find . -name '.bk-restore-*'").stdout;
    assert_eq!(left, "");
}

fn sandbox_dir(sandbox: &Sandbox) -> String {
    let dir = sandbox.path("").canonicalize().unwrap();
    dir.to_str().unwrap().to_owned()
}

#[test]
fn a_difficult_tree_comes_back_in_everything() {
    let sandbox = rich();
    let is_root = rustix::process::geteuid().is_root();
    let devices = if is_root { "--devices" } else { "" };
    let ran = sandbox.ok(&format!("bk-restore {devices} -C out a"));
    assert_eq!(ran.stderr, "");
    assert_same(&sandbox, "facts", "rich", "out/rich");
    assert_same(&sandbox, "attributes", "rich", "out/rich");
    let kib = sandbox.ok("du -sk rich out/rich | cut -f 1").stdout;
    let kib: Vec<u64> = kib.lines().map(|line| line.parse().unwrap()).collect();
    assert!(kib[1] < kib[0] + 1024, "holes are filled: {kib:?} KiB");
    let restore = &ran.record()["restore"];
    let listed = sandbox.ok("bk-ls --files a").records();
    assert_eq!(restore["entries"], listed.len());
    assert_eq!(restore["skipped"], 0);
    assert_tidy(&sandbox);
}

#[test]
fn a_difficult_tree_passes_its_own_test() {
    let sandbox = rich();
    sandbox.ok("mkdir scratch");
    let ran = sandbox.run("bk-restore --test -C scratch a");
    assert_eq!(ran.status, 0, "{ran:#?}");
    let record = ran.record();
    assert_eq!(record["backup_metadata"]["last_restored_test"]["ok"], true);
    assert_eq!(record["restore"]["test"], true);
    assert_eq!(names(&sandbox, "scratch"), ".\n");
}

/// As a user who is not root, of a tree that root made.
#[test]
fn a_user_gets_the_content_and_what_is_his_to_have() {
    if !has("setpriv") || !rustix::process::geteuid().is_root() {
        println!("skipped: this takes root and setpriv");
        return;
    }
    let sandbox = rich();
    let dir = sandbox_dir(&sandbox);
    sandbox.ok(&format!(
        "chown -R 65534:65534 home && chmod 755 {dir} && mkdir mine && chown 65534:65534 mine"
    ));
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let ran = sandbox.run(&format!("{user} bk-restore -C mine/out a"));
    assert_eq!(ran.status, 0, "{ran:#?}");
    let skipped = ran.record()["restore"]["skipped_entries"].clone();
    let has = |path: &str, reason: &str| {
        let is_it =
            |it: &Value| it["path"] == path && it["reason"].as_str().unwrap().contains(reason);
        assert!(
            skipped.as_array().unwrap().iter().any(is_it),
            "{path}: {skipped:#}"
        );
    };
    has("rich/root/null", "--devices");
    has("rich/root/suid", "setuid");
    has("rich/root/owned", "'security.capability'");
    let content = "content() (cd $1; find . -path ./root/null -o -path ./root/disk -o -type s -o -printf '%p %y %T@ %l\\n' | sort
        find . -type f -print0 | sort -z | xargs -0 sha256sum)
        diff -a <(content rich) <(content mine/out/rich)";
    let ran = sandbox.run(content);
    assert_eq!((ran.status, &*ran.stdout), (0, ""), "{ran:#?}");
    let odd = sandbox
        .ok("find mine/out -perm /6000; find mine/out ! -user 65534")
        .stdout;
    assert_eq!(odd, "");
    let tested = sandbox.run(&format!("{user} bk-restore --test -C mine a"));
    assert_eq!(tested.status, 0, "{tested:#?}");
    sandbox.ok(&format!("{user} bk-restore --swap -C mine/out a"));
    assert_tidy(&sandbox);
}

/// Puts another archive in the place of `a`'s, which the catalog then knows by its hash.
fn replace(sandbox: &Sandbox) {
    let sum = sandbox
        .ok("sha256sum home/archives/a.tar.gz | cut -d' ' -f1")
        .stdout;
    let catalog = duckdb::Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
    let sql = format!(
        "UPDATE backup_records SET backup_hash = '{}', backup_metadata = '{{}}'",
        sum.trim()
    );
    catalog.execute_batch(&sql).unwrap();
}

#[test]
fn archives_of_gnu_tar_come_back_in_every_format() {
    let sandbox = rich();
    for format in ["pax", "gnu"] {
        let xattrs = if format == "pax" {
            "--xattrs --xattrs-include='*'"
        } else {
            ""
        };
        sandbox.run(&format!(
            "rm home/archives/a.tar.gz; tar --format={format} --sparse {xattrs} -czf home/archives/a.tar.gz rich"
        ));
        replace(&sandbox);
        let devices = if rustix::process::geteuid().is_root() {
            "--devices"
        } else {
            ""
        };
        let ran = sandbox.ok(&format!("rm -rf out; bk-restore {devices} -C out a"));
        assert_eq!(ran.stderr, "");
        if format == "pax" {
            assert_same(&sandbox, "facts", "rich", "out/rich");
            assert_same(&sandbox, "attributes", "rich", "out/rich");
        } else {
            let content = "content() (cd $1; find . ! -type s -printf '%p %M %U:%G %l\\n' | sort
                find . -type f -print0 | sort -z | xargs -0 sha256sum)
                diff -a <(content rich) <(content out/rich)";
            // Without extended attributes ACLs are lost, and they show in the mode.
            let ran = sandbox.run(content);
            assert_eq!((ran.status, &*ran.stdout), (0, ""), "{ran:#?}");
        }
    }
}
