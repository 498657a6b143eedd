//! Lines that are piped into a program that was not told to read them: none is taken for all.

use crate::support::Sandbox;
use crate::support::store::{left, six};

const REMEDY: &str =
    "say '-' where it has the candidates, --all or </dev/null where all backups are meant";

#[test]
fn what_is_piped_into_bk_prune_is_never_taken_for_all() {
    let sandbox = six();
    sandbox.ok("bk-ls >list; : >empty");
    for (line, what) in [
        ("bk-ls 1 2 | bk-prune --keep-last 1", "a pipe"),
        ("bk-ls --type automatic | bk-prune --keep-last 1", "a pipe"),
        (": | bk-prune -n --keep-last 1", "a pipe"),
        ("bk-prune --keep-last 1 <list", "a file"),
        ("bk-prune --explain --keep-last 1 <empty", "a file"),
    ] {
        sandbox.run(line).fails(
            2,
            &format!("bk-prune: standard input is {what}, which is not read: {REMEDY}\n"),
        );
    }
    assert_eq!(left(&sandbox).len(), 6);
    // Who names them, or says that all are meant, is understood.
    for line in [
        "bk-ls | bk-prune -n --keep-last 1 -",
        "bk-prune -n --keep-last 1 - <list",
        "bk-ls 1 | bk-prune -n --keep-last 1 --all",
        "bk-prune -n --keep-last 1 </dev/null",
        "bk-prune -n --keep-last 1 <&-",
        "bk-ls 1 | bk-prune -n --keep-last 1 1 2 3 4 5 6",
    ] {
        assert_eq!(sandbox.ok(line).records().len(), 5, "{line}");
    }
    for (line, operand) in [
        ("bk-prune --all --keep-last 1 -", "-"),
        ("bk-prune --all --keep-last 1 3", "3"),
    ] {
        sandbox.run(line).fails(
            2,
            &format!("bk-prune: --all and '{operand}' exclude each other\n"),
        );
    }
    assert_eq!(left(&sandbox).len(), 6);
}

/// As ssh(1) gives one to what it runs.
#[test]
fn a_socket_is_refused_where_something_came() {
    let sandbox = six();
    let run = |sent: &str, line: &str| {
        let script = format!(
            "import socket, subprocess, sys\na, b = socket.socketpair()\na.sendall({sent:?}.encode())\n\
             sys.exit(subprocess.run({line:?}.split(), stdin=b).returncode)"
        );
        sandbox.write("run.py", &script);
        sandbox.run("python3 run.py")
    };
    if !crate::support::has("python3") {
        return;
    }
    run("{\"id\":1}\n", "bk-prune --keep-last 1").fails(
        2,
        &format!("bk-prune: standard input is a socket with data, which is not read: {REMEDY}\n"),
    );
    assert_eq!(run("", "bk-prune -n --keep-last 1").records().len(), 5);
    assert_eq!(left(&sandbox).len(), 6);
}

#[test]
fn what_lists_all_refuses_lines_that_would_choose() {
    let sandbox = six();
    sandbox.ok("bk-auto --set -s @daily -- app; bk-ls >list; bk-auto --list >jobs");
    // From files: a program under load prints later than anybody waits.
    for (line, says) in [
        (
            "cat list | bk-ls",
            "bk-ls: there are lines on standard input, which are not read: use 'bk-ls -' to read them, or </dev/null to ignore them",
        ),
        (
            "(sleep 0.1; cat list) | bk-ls",
            "bk-ls: there are lines on standard input, which are not read: use 'bk-ls -' to read them, or </dev/null to ignore them",
        ),
        (
            "bk-log <list",
            "bk-log: there are lines on standard input, which are not read: use 'bk-log -' to read them, or </dev/null to ignore them",
        ),
        (
            "cat list | bk-df",
            "bk-df: there are lines on standard input, which are not read: bk-df always reports all backups; use </dev/null to ignore them",
        ),
        (
            "cat jobs | bk-auto --remove",
            "bk-auto: there are lines on standard input, which are not read: name the jobs; 'bk-auto --set -' reads jobs from there",
        ),
        (
            "cat jobs | bk-auto --set -r 1",
            "bk-auto: there are lines on standard input, which are not read: name the jobs; 'bk-auto --set -' reads jobs from there",
        ),
    ] {
        sandbox.run(line).fails(2, &format!("{says}\n"));
    }
    sandbox.ok("bk-ls 1 >one; cat one | bk-ls | bk-rm >/dev/null 2>&1; true");
    assert_eq!(left(&sandbox).len(), 6);
    // cron, ssh, loops and scripts have something else there, and lose none of it.
    let loops = "while read -r line; do bk-ls --latest >/dev/null || exit; bk-df >/dev/null || exit; echo $line; done";
    for line in [
        format!("printf 'a\\nb\\n' | {loops}").as_str(),
        format!("printf 'a\\nb\\n' >names; {loops} <names").as_str(),
        "printf 'bk-ls --latest >/dev/null || exit\\necho a\\necho b\\n' | bash -s",
    ] {
        assert_eq!(sandbox.ok(line).stdout, "a\nb\n", "{line}");
    }
    sandbox.ok(": | bk-ls >/dev/null; bk-ls >/dev/null </dev/null; bk-log >/dev/null <&-; : | bk-auto; bk-ls | bk-auto");
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create app; sleep 0.5 | bk-ls >/dev/null");
}
