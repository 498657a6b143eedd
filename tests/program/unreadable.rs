//! Backups that would be none: content that cannot be read, that is not told, or that lies deep.

use std::os::fd::OwnedFd;

use crate::support::{Sandbox, has, mounts};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use serde_json::json;

/// Runs bk-create as a user for whom permissions count.
const UNPRIVILEGED: &str =
    "$([ $UID != 0 ] || echo setpriv --bounding-set -dac_override,-dac_read_search)";

#[test]
fn a_backup_without_content_where_files_could_not_be_read_is_none() {
    if !has("setpriv") {
        return;
    }
    let reason = "nothing of it can be read: 'src/a': Permission denied";
    for (tree, more) in [
        ("mkdir -p src/a; chmod 0 src/a", ""),
        (
            "mkdir src; touch src/a; ln -s a src/link; chmod 0 src/a",
            "",
        ),
        (
            "mkdir src; touch src/a src/b src/c; chmod 0 src/*",
            " (and 2 more)",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.ok(tree);
        let ran = sandbox.run(&format!("{UNPRIVILEGED} bk-create --name x src"));
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
        let archive = sandbox.archive("x");
        let reason = format!("cannot write '{}': {reason}{more}", archive.display());
        let told = format!("bk-create: cannot create 'x': {reason}");
        assert_eq!(ran.stderr.lines().last(), Some(&*told));
        let record = sandbox.ok("bk-ls --json").record();
        assert_eq!(record["status"], "failed");
        let problem =
            json!({ "path": "src/a", "kind": "unreadable", "reason": "Permission denied" });
        assert_eq!(record["backup_metadata"]["problems"][0], problem);
        let event = sandbox.ok("bk-log --json | tail -n 1").record();
        assert_eq!(event["outcome"], "failed");
        assert_eq!(event["details"]["unread"][0], problem);
        assert_eq!(event["details"]["reason"], reason);
        assert_eq!(sandbox.ok("ls home/archives").stdout, "");
    }
}

#[test]
fn what_could_be_read_is_a_backup_and_the_ledger_tells_the_rest() {
    if !has("setpriv") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p src/a src/empty; touch src/b; chmod 0 src/a");
    let ran = sandbox.run(&format!("{UNPRIVILEGED} bk-create --name x src"));
    ran.fails(3, "bk-create: cannot read 'src/a': Permission denied\n");
    assert_eq!(ran.record()["backup_metadata"]["loss_count"], 1);
    let details = &sandbox.ok("bk-log --json | tail -n 1").record()["details"];
    assert_eq!(details["problem_count"], 1);
    assert_eq!(details["unread"][0]["path"], "src/a");
    // What holds no file has none to lose.
    sandbox.run("bk-create src/empty").fails(0, "");
}

#[test]
fn files_that_tell_another_size_are_stored_as_they_are_read() {
    let sandbox = Sandbox::new();
    for file in ["proc/version", "sys/kernel/mm/transparent_hugepage/enabled"] {
        if !std::path::Path::new("/").join(file).exists() {
            println!("skipped: there is no /{file}");
            continue;
        }
        let ran = sandbox.run(&format!("bk-create --name a /{file}"));
        ran.fails(0, "");
        sandbox.ok(&format!(
            "bk-restore --stdout {file} a | cmp - /{file}; bk-rm a"
        ));
    }
}

#[test]
fn files_of_a_file_system_that_tells_no_sizes_are_read_up_to_a_bound() {
    let sandbox = Sandbox::new();
    sandbox.ok(
        "mkdir low; echo told >low/a; : >low/empty; seq 100000 >low/large; truncate -s 9M low/huge",
    );
    let Some(_mount) = mounts::fuse(&sandbox, "low", "src", "zero") else {
        return;
    };
    let ran = sandbox.run("bk-create --name a src");
    let reason =
        "it reports a size of 0 but has more than 8388608 bytes: the rest is not in the archive";
    ran.fails(3, &format!("bk-create: cannot read 'src/huge': {reason}\n"));
    sandbox.ok("tar -xzf home/archives/a.tar.gz --one-top-level=out; truncate -s 8M low/huge; diff -r low out/src");
}

#[test]
#[ignore = "a file of a hundred thousand pieces takes seconds"]
fn a_file_in_many_pieces_keeps_its_holes() {
    let sandbox = Sandbox::new();
    let Some(_mount) = mounts::image(&sandbox, "mkfs.ext4 -q -b 1024", "200M", "src") else {
        return;
    };
    let pieces = "import os
f = os.open('src/image', os.O_CREAT | os.O_RDWR)
for n in range(100001): os.pwrite(f, b'x' * 1024, n * 20480)";
    sandbox.ok(&format!("python3 -c \"{pieces}\""));
    let record = sandbox.ok("bk-create --name a src/image").record();
    assert_eq!(record["backup_metadata"]["content_bytes"], 100_001 * 1024);
    sandbox.ok("bk-restore --stdout src/image a | cmp - src/image");
}

/// Makes directories, each in the one before, and returns the last one.
fn nested(sandbox: &Sandbox, name: &str, depth: usize) -> OwnedFd {
    let mut dir = openat(CWD, sandbox.path("src"), OFlags::RDONLY, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&dir, name, Mode::RWXU).unwrap();
        dir = openat(&dir, name, OFlags::RDONLY, Mode::empty()).unwrap();
    }
    dir
}

#[test]
fn names_longer_than_a_path_may_be_are_backed_up_and_restored() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir src; echo first >src/a; echo last >src/z");
    // More levels than may be open at once, by twenty characters: twelve kilobytes.
    let depth = 600;
    let last = nested(&sandbox, "twenty-characters-xx", depth);
    let file = openat(&last, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    rustix::io::write(&file, b"deep\n").unwrap();
    let ran = sandbox.run("ulimit -n 100; bk-create --name a src");
    ran.fails(0, "");
    assert_eq!(ran.record()["file_count"], 3);
    let name = format!("src/{}file", "twenty-characters-xx/".repeat(depth));
    let restored = sandbox.ok(&format!("bk-restore --stdout {name} a"));
    assert_eq!(restored.stdout, "deep\n");
    sandbox.ok("bk-verify --deep a; tar -xzOf home/archives/a.tar.gz | cmp - <(printf 'first\\ndeep\\nlast\\n')");
    sandbox.ok("rm -rf src");
}

#[test]
fn what_lies_deeper_than_an_archive_tells_is_told_and_the_rest_is_backed_up() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir src; echo last >src/z");
    nested(&sandbox, "d", 4200);
    let ran = sandbox.run("bk-create --name a src");
    let told = format!(
        "bk-create: cannot read 'src{}': its name has more than 65536 bytes or 4096 parts\n",
        "/d".repeat(4096)
    );
    ran.fails(3, &told);
    assert_eq!(ran.record()["file_count"], 1);
    sandbox.ok("rm -rf src");
}

#[test]
fn a_link_in_the_place_of_a_directory_leads_nowhere() {
    let sandbox = Sandbox::new();
    sandbox.ok(
        "mkdir -p src/dir secret; echo x >src/dir/in; echo y >secret/in; ln -s $PWD/secret link",
    );
    // Names are taken from the directory that was opened, however it is exchanged.
    let swap = "while :; do mv -T src/dir kept; mv -T link src/dir; mv -T src/dir link; mv -T kept src/dir; done";
    let line = format!(
        "({swap}) 2>/dev/null & swap=$!
         for n in {{1..15}}; do bk-create --name b$n src >/dev/null 2>&1; done; kill $swap; wait
         for file in home/archives/*.tar.gz; do tar -xzOf $file | grep y && exit 9; done; true"
    );
    sandbox.ok(&line);
}

#[test]
fn archives_of_earlier_runs_are_left_out() {
    let sandbox = Sandbox::new();
    sandbox.ok(
        "mkdir -p src/st src/other; echo x >src/f; echo y >src/st/mine; echo z >src/other/a.tar.gz",
    );
    sandbox.ok(
        "bk-create --name a --storage src/st src; bk-create --name b --storage $PWD/src/other/../st src",
    );
    let listed = |name: &str| {
        sandbox.ok(&format!("bk-create --name {name} src"));
        let names = sandbox.ok(&format!("tar -tzf home/archives/{name}.tar.gz"));
        names.stdout
    };
    let expected = "src/\nsrc/f\nsrc/other/\nsrc/other/a.tar.gz\nsrc/st/\nsrc/st/mine\n";
    assert_eq!(listed("c"), expected);
    // By another way, too.
    if let Some(_mount) = mounts::bind(&sandbox, "src", "bound") {
        let ran = sandbox.ok("bk-create --name bound bound && tar -tzf home/archives/bound.tar.gz");
        assert!(ran.stdout.contains("bound/st/mine\n"), "{ran:#?}");
        assert!(!ran.stdout.contains("bound/st/a.tar.gz"), "{ran:#?}");
    }
    // What is no record's archive any more is a file as others are.
    sandbox.ok("mv src/st/b.tar.gz src/st/own; bk-rm b; rm src/st/own");
    assert_eq!(listed("d"), expected);
}

#[test]
fn many_sources_and_many_requests_take_no_time_by_the_square() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir many; cd many; seq -w 15000 | xargs touch");
    let all = "find many -type f | jq -R . | jq -sc '{sources: ., backup_name: \"a\"}'";
    if has("jq") {
        sandbox.ok(&format!("{all} | timeout 40 bk-create - >/dev/null"));
    }
    let ran =
        sandbox.ok("for n in {1..15}; do echo '{\"sources\":\"many/00001\"}'; done | bk-create -");
    let names: Vec<_> = ran
        .records()
        .iter()
        .map(|it| it["backup_name"].as_str().unwrap().to_owned())
        .collect();
    let numbered: Vec<_> = (2..=15)
        .map(|number| format!("{}_{number}", names[0]))
        .collect();
    assert_eq!(names[1..], numbered);
}

#[test]
fn a_value_is_json_only_where_it_prints_the_same() {
    let sandbox = Sandbox::with_app();
    let ran = sandbox.ok(
        "bk-create --name a -m version=1.10 -m build=12345678901234567890123 -m n=7 -m 'tags=[\"a\", \"b\"]' app",
    );
    let metadata = &ran.record()["backup_metadata"];
    assert_eq!(metadata["version"], "1.10");
    assert_eq!(metadata["build"], "12345678901234567890123");
    assert_eq!(metadata["n"], 7);
    assert_eq!(metadata["tags"], json!(["a", "b"]));
    let ran = sandbox.ok("bk-set -m version=2.50 a");
    assert_eq!(ran.record()["backup_metadata"]["version"], "2.50");
}

#[test]
fn attributes_that_root_cannot_see_are_told_once_and_recorded() {
    let sandbox = Sandbox::with_app();
    if !has("setpriv")
        || sandbox
            .run("setfattr -n trusted.t -v 1 app/config.toml")
            .status
            != 0
    {
        return println!("skipped: no trusted attributes can be set here");
    }
    let line = |name: &str| {
        format!("setpriv --bounding-set=-all,+dac_read_search bk-create --name {name} app")
    };
    let warning = "bk-create: warning: without CAP_SYS_ADMIN attributes of the name space 'trusted' are not seen, and not backed up\n";
    for (name, told) in [("a", warning), ("b", "")] {
        let ran = sandbox.run(&line(name));
        ran.fails(0, told);
        let unseen = &ran.record()["backup_metadata"]["unseen_attributes"];
        assert_eq!(*unseen, json!(["trusted"]));
    }
    let ran = sandbox.run("bk-create --name c app");
    ran.fails(0, "");
    assert!(ran.record()["backup_metadata"]["unseen_attributes"].is_null());
}
