//! Sources that change while they are read, and names of every kind.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{Ran, Sandbox, has, strace};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Bytes of the file that is read while things change: random hex digits, for which the highest
/// level takes long.
const SLOW_BYTES: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// What goes into the backup that a command line makes, names with a blank between them.
fn listed(sandbox: &Sandbox, line: &str) -> String {
    let archive = sandbox.ok(line).record()["backup_path"].clone();
    let names = sandbox.ok(&format!("tar -tzf {archive}")).stdout;
    names.lines().collect::<Vec<_>>().join(" ")
}

/// Waits for what is soon to be so.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process has a file open whose path ends so.
fn has_open(child: &Child, end: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{}/fd", child.id())) else {
        return false;
    };
    open.flatten().any(|file| {
        fs::read_link(file.path()).is_ok_and(|path| path.to_string_lossy().ends_with(end))
    })
}

/// A sandbox with `src/` in it, whose first file takes long to read.
fn slow() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir src; head -c 4M /dev/urandom | od -An -v -tx1 | tr -d ' \n' > src/0-slow");
    sandbox
}

/// Backs up `src/` as `a`, and does `change` while its first file is read.
fn while_read(sandbox: &Sandbox, change: &str) -> Ran {
    let line = "exec bk-create --name a --level 12 --jobs 1 src";
    let child = sandbox.start(line);
    let pid = Pid::from_child(&child);
    // The estimate reads it too, but before there is a partial.
    wait_until("it reads", || {
        has_open(&child, "/src/0-slow") && has_open(&child, "/a.tar.gz.partial")
    });
    kill_process(pid, Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    wait_until("it stops", || {
        fs::read_to_string(&stat).unwrap().contains(") T ")
    });
    sandbox.ok(change);
    kill_process(pid, Signal::CONT).unwrap();
    Ran::new(line, child.wait_with_output().unwrap())
}

/// Asserts what was told, that the record has it too, and that the archive is whole.
fn check(sandbox: &Sandbox, ran: &Ran, status: i32, problems: &[(&str, &str, &str)]) {
    let is_loss = |kind| ["unreadable", "shrank", "replaced"].contains(&kind);
    let told = problems.iter().map(|(path, kind, reason)| {
        let what = if is_loss(*kind) {
            "cannot read"
        } else {
            "warning:"
        };
        format!("bk-create: {what} 'src/{path}': {reason}\n")
    });
    ran.fails(status, &told.collect::<String>());
    let listed = problems.iter().map(|(path, kind, reason)| {
        json!({ "path": format!("src/{path}"), "kind": kind, "reason": reason })
    });
    let record = &sandbox.ok("bk-ls --json a").record();
    let metadata = &record["backup_metadata"];
    if problems.is_empty() {
        assert!(metadata["problems"].is_null() && metadata["problem_count"].is_null());
    } else {
        assert_eq!(metadata["problems"], listed.collect::<Value>());
        assert_eq!(metadata["problem_count"], problems.len());
    }
    assert_eq!(record["status"], "completed");
    sandbox.ok("gzip -t home/archives/a.tar.gz && rm -rf out && mkdir out && tar -xzf home/archives/a.tar.gz -C out");
    let hash = sandbox.ok("sha256sum <home/archives/a.tar.gz").stdout;
    assert_eq!(record["backup_hash"], hash[..64]);
}

#[test]
fn a_file_that_grows_is_cut_at_the_size_that_it_had() {
    let sandbox = slow();
    let ran = while_read(&sandbox, "echo more >> src/0-slow");
    let reason = format!("it grew while it was read: the archive has its first {SLOW_BYTES} bytes");
    check(&sandbox, &ran, 0, &[("0-slow", "grew", &reason)]);
    sandbox.ok(&format!(
        "head -c {SLOW_BYTES} src/0-slow | cmp - out/src/0-slow"
    ));
}

#[test]
fn a_file_that_shrinks_is_filled_up_with_zeros() {
    let sandbox = slow();
    let ran = while_read(&sandbox, "truncate -s 7000000 src/0-slow");
    let reason = "it became shorter while it was read: the rest is zeros in the archive";
    check(&sandbox, &ran, 3, &[("0-slow", "shrank", reason)]);
    sandbox.ok(&format!(
        "truncate -s {SLOW_BYTES} src/0-slow && cmp src/0-slow out/src/0-slow"
    ));
}

#[test]
fn a_file_that_is_written_to_is_told() {
    let sandbox = slow();
    let ran = while_read(
        &sandbox,
        "printf x | dd of=src/0-slow conv=notrunc status=none",
    );
    check(
        &sandbox,
        &ran,
        0,
        &[("0-slow", "changed", "it was written to while it was read")],
    );
}

#[test]
fn a_file_that_is_removed_while_it_is_read_is_read_to_its_end() {
    let sandbox = slow();
    let ran = while_read(&sandbox, "mv src/0-slow kept; cp kept removed; rm kept");
    check(&sandbox, &ran, 0, &[]);
    sandbox.ok("cmp removed out/src/0-slow");
}

#[test]
fn what_changes_before_the_walk_comes_to_it_is_taken_as_it_is_then() {
    let sandbox = slow();
    sandbox.ok("cd src; mkdir gone-dir kept; touch fifo gone gone-dir/x link kept/grows");
    let change =
        "cd src; rm -r gone gone-dir fifo link; mkfifo fifo; ln -s / link; echo more > kept/grows";
    let ran = while_read(&sandbox, change);
    let vanished = "it vanished before it was read";
    let problems = ["gone", "gone-dir"].map(|path| (path, "vanished", vanished));
    check(&sandbox, &ran, 0, &problems);
    sandbox.ok("cd out/src && test -p fifo && test -L link && cmp kept/grows ../../src/kept/grows && ! test -e gone");
}

#[test]
fn a_file_that_becomes_a_directory_before_the_walk_comes_to_it_is_told_or_stored_whole() {
    let sandbox = slow();
    sandbox.ok("touch src/becomes");
    let ran = while_read(
        &sandbox,
        "cd src; rm becomes; mkdir becomes; echo inside > becomes/inside",
    );
    sandbox.ok("tar -xzf home/archives/a.tar.gz");
    let is_whole = sandbox
        .run("tar -tzf home/archives/a.tar.gz src/becomes/inside")
        .status
        == 0;
    assert!(
        is_whole || (ran.status == 3 && ran.stderr.contains("'src/becomes'")),
        "{ran:#?}"
    );
}

#[test]
fn a_new_file_with_the_inode_of_a_removed_one_is_no_hard_link_to_it() {
    let sandbox = slow();
    sandbox.ok("cd src; echo first > -1; ln -- -1 -2; mkdir z; touch z/z");
    let change = "cd src; rm -- -1 -2; for n in {1..64}; do echo new $n > z/$n; done";
    let ran = while_read(&sandbox, change);
    check(&sandbox, &ran, 0, &[]);
    sandbox.ok("diff -r src/z out/src/z");
}

#[test]
fn a_directory_that_becomes_a_file_before_the_walk_comes_to_it_is_stored_without_a_word() {
    let sandbox = slow();
    sandbox.ok("mkdir src/becomes");
    let ran = while_read(&sandbox, "cd src; rmdir becomes; echo file > becomes");
    check(&sandbox, &ran, 0, &[]);
    sandbox.ok("cmp src/becomes out/src/becomes");
}

/// A sandbox with `src/a`, `src/dir/in` and `src/pipe` and an earlier backup, so that no
/// estimate opens a file.
fn traced() -> Option<Sandbox> {
    if !has("strace") {
        return None;
    }
    let sandbox = Sandbox::new();
    sandbox.ok(
        "mkdir -p src/dir; seq 1000000 > src/a; touch src/dir/in; mkfifo src/pipe; ln -s a src/link",
    );
    sandbox.ok("bk-create --name earlier src; touch src/z");
    Some(sandbox)
}

/// Backs up `src/` as `a` with a system call on one path tampered with; `change` is done
/// between what was before that call and the call. Places are called by their name in an open
/// directory; with no path it is the call itself that counts.
fn tampered(sandbox: &Sandbox, path: &str, calls: &str, how: &str, change: &str) -> Ran {
    let paths = match path {
        "" => String::new(),
        path => format!("-P src/{path} -P {path}"),
    };
    let line = format!(
        "exec {} -o trace {paths} -e trace={calls} -e inject={calls}:{how} \
         bash -c 'exec bk-create --shrink-warn 0 --name a --jobs 1 src 2>&3' 3>&2 2>/dev/null",
        strace(how)
    );
    let _ = fs::remove_file(sandbox.path("trace"));
    let child = sandbox.start(&line);
    if !change.is_empty() {
        let called =
            || fs::read_to_string(sandbox.path("trace")).is_ok_and(|trace| trace.contains('('));
        wait_until("it calls", called);
        sandbox.ok(change);
    }
    Ran::new(&line, child.wait_with_output().unwrap())
}

const LATER: &str = "delay_enter=1000000:when=1";

#[test]
fn a_file_that_is_exchanged_between_the_look_and_the_opening_is_never_followed() {
    let replaced = ("a", "replaced", "it was replaced by something else");
    for change in [
        "rm src/a; mkfifo src/a",
        "rm src/a; echo out > outside; ln -s $PWD/outside src/a",
        "rm src/a; mkdir src/a",
        "echo another > b; mv b src/a",
    ] {
        let Some(sandbox) = traced() else { return };
        let ran = tampered(&sandbox, "a", "openat", LATER, change);
        check(&sandbox, &ran, 3, &[replaced]);
        sandbox.ok("! test -e out/src/a && test -e out/src/z");
    }
    let Some(sandbox) = traced() else { return };
    fs::remove_file(sandbox.path("src/z")).unwrap();
    let socket = UnixListener::bind(sandbox.path("socket")).unwrap();
    let ran = tampered(&sandbox, "a", "openat", LATER, "mv socket src/a");
    check(&sandbox, &ran, 3, &[replaced]);
    drop(socket);
}

#[test]
fn what_vanishes_between_the_look_and_the_opening_is_no_loss() {
    let vanished = |path| (path, "vanished", "it vanished before it was read");
    // The attributes of the link come before those of the pipe.
    for (path, at, calls, number, is_called) in [
        ("a", "a", "openat", 1, "true"),
        ("link", "link", "readlinkat", 1, "true"),
        (
            "pipe",
            "",
            "llistxattr",
            2,
            "grep -q 'llistxattr.*/pipe' trace",
        ),
        ("dir", "dir", "openat", 1, "true"),
    ] {
        let Some(sandbox) = traced() else { return };
        let how = format!("delay_enter=1000000:when={number}");
        let change = format!("until {is_called}; do sleep 0.01; done; rm -r src/{path}");
        let ran = tampered(&sandbox, at, calls, &how, &change);
        check(&sandbox, &ran, 0, &[vanished(path)]);
        sandbox.ok(&format!("! test -e out/src/{path} && test -e out/src/z"));
    }
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_backed_up() {
    let zeros = "Input/output error: the rest is zeros in the archive";
    let no_list = "its extended attributes cannot be listed: Input/output error";
    for (path, calls, how, reason) in [
        ("a", "openat", "error=EACCES", "Permission denied"),
        ("a", "openat", "error=EIO", "Input/output error"),
        ("a", "pread64", "error=EIO:when=2", zeros),
        ("a", "flistxattr", "error=EIO", no_list),
        ("dir", "flistxattr", "error=EIO", no_list),
    ] {
        let Some(sandbox) = traced() else { return };
        let ran = tampered(&sandbox, path, calls, how, "");
        check(&sandbox, &ran, 3, &[(path, "unreadable", reason)]);
        assert!(sandbox.path("out/src/z").exists());
        if calls == "pread64" {
            sandbox.ok("cmp -n 1048576 src/a out/src/a && tail -c +1048577 src/a | tr '\\0-\\377' '\\0' | cmp - <(tail -c +1048577 out/src/a)");
        }
    }
    let Some(sandbox) = traced() else { return };
    let ran = tampered(&sandbox, "a", "pread64", "error=EINTR:when=1..3", "");
    check(&sandbox, &ran, 0, &[]);
    sandbox.ok("cmp src/a out/src/a");
}

#[test]
fn a_directory_that_cannot_be_listed_is_told_by_its_own_name() {
    let Some(sandbox) = traced() else { return };
    let ran = tampered(&sandbox, "dir", "getdents64", "error=EIO", "");
    check(
        &sandbox,
        &ran,
        3,
        &[("dir", "unreadable", "Input/output error")],
    );
}

/// Runs bk-create as a user for whom permissions count.
const UNPRIVILEGED: &str =
    "$([ $UID != 0 ] || echo setpriv --bounding-set -dac_override,-dac_read_search)";

#[test]
fn all_problems_are_told_and_the_first_hundred_are_listed() {
    if !has("setpriv") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p src/dir; touch src/dir/in src/f{000..148} src/z; chmod 0 src/f* src/dir");
    let ran = sandbox.run(&format!("{UNPRIVILEGED} bk-create --name a src"));
    let told: Vec<_> = ran.stderr.lines().collect();
    assert_eq!((ran.status, told.len()), (3, 150), "{ran:#?}");
    assert_eq!(
        told[0],
        "bk-create: cannot read 'src/dir': Permission denied"
    );
    assert_eq!(
        told[149],
        "bk-create: cannot read 'src/f148': Permission denied"
    );
    let metadata = &ran.record()["backup_metadata"];
    assert_eq!(metadata["problem_count"], 150);
    assert_eq!(metadata["problems"].as_array().unwrap().len(), 100);
    let last = json!({ "path": "src/f098", "kind": "unreadable", "reason": "Permission denied" });
    assert_eq!(metadata["problems"][99], last);
    sandbox.ok("chmod 700 src/dir");
    assert_eq!(
        sandbox.ok("tar -tzf home/archives/a.tar.gz src/z").stdout,
        "src/z\n"
    );
    let file = sandbox.run(&format!("{UNPRIVILEGED} bk-create src/f000"));
    file.fails(
        1,
        "bk-create: cannot back up 'src/f000': Permission denied\n",
    );
}

#[test]
fn a_fifo_blocks_nothing() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p src/cache; mkfifo src/pipe src/cache/CACHEDIR.TAG");
    let listed = listed(&sandbox, "timeout 20 bk-create --exclude-caches src");
    assert_eq!(listed, "src/ src/cache/ src/cache/CACHEDIR.TAG src/pipe");
}

#[test]
fn names_of_any_bytes_are_told_in_one_line_and_kept_to_the_byte() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("s")).unwrap();
    let record = sandbox
        .ok("mkdir $'s/\\xff\\n'; touch $'s/\\xff\\n/-\\e'; bk-create --name a $'s/\\xff\\n'")
        .record();
    let metadata = &record["backup_metadata"];
    let encoded = metadata["sources_base64"][0].as_str().unwrap();
    sandbox.ok(&format!(
        "cmp <(base64 -d <<<{encoded}) <(printf '%s' \"$PWD\"/$'s/\\xff\\n')"
    ));
    assert_eq!(metadata["source_entries"], json!(["s/\u{fffd}\n"]));
    assert_eq!(
        sandbox
            .ok("bk-ls --files a | jq -r .path_base64 | base64 -di | od -An -c | tr -d ' \n'")
            .stdout,
        "s/377\\ns/377\\n/-033"
    );
    sandbox.ok("mkdir out; tar -xzf home/archives/a.tar.gz -C out; diff -r s out/s");

    let _socket = UnixListener::bind(sandbox.path("s/soc\nket")).unwrap();
    let ran = sandbox.run("rm -r $'s/\\xff\\n'; bk-create --name b s");
    assert_eq!((ran.status, ran.stderr.lines().count()), (0, 1), "{ran:#?}");
    assert_eq!(
        ran.record()["backup_metadata"]["problems"][0]["path"],
        "s/soc\nket"
    );
}

#[test]
fn sources_that_cannot_be_backed_up_are_refused_and_nothing_is_made() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("mkdir -p other/app s; ln -s app link; bk-create app");
    let dir = sandbox
        .path("")
        .to_str()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let missing = "No such file or directory";
    let own = "it is where bk keeps its catalog or its archives";
    let clash =
        format!("'{dir}/app' and '{dir}/other/app' together: both hold what is stored as 'app'");
    for (line, why) in [
        ("missing", format!("'missing': {missing}")),
        ("app app/missing", format!("'app/missing': {missing}")),
        ("''", format!("'': {missing}")),
        ("home", format!("'home': {own}")),
        ("app home/archives/", format!("'home/archives/': {own}")),
        ("--storage s s", format!("'s': {own}")),
        ("app $PWD/other/../other/app/../app", clash.clone()),
        ("other/../app other/app/../app", clash),
    ] {
        let ran = sandbox.run(&format!("bk-create {line}"));
        ran.fails(1, &format!("bk-create: cannot back up {why}\n"));
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn a_source_that_is_a_link_is_stored_as_one_with_a_warning() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("ln -s app/log link");
    let warning = "bk-create: warning: 'link' is a symbolic link and stored as one: 'link/' backs up what it points to\n";
    sandbox.run("bk-create link").fails(0, warning);
    assert_eq!(listed(&sandbox, "bk-create link 2>/dev/null"), "link");
    assert_eq!(listed(&sandbox, "bk-create link/"), "link/ link/app.log");
}
