//! What comes through a pipe: standard input, and what a command prints.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::disk::SmallDisk;
use crate::support::{Sandbox, has};
use serde_json::json;

/// Lengths around those of a block and of a member.
const LENGTHS: [u64; 8] = [
    1,
    511,
    512,
    513,
    1 << 20,
    (1 << 20) + 1,
    (2 << 20) - 1,
    3_400_000,
];

#[test]
fn standard_input_is_stored_whole_as_one_file_that_every_tar_reads() {
    let sandbox = Sandbox::new();
    for bytes in LENGTHS {
        sandbox.ok(&format!("seq 1000000 | head -c {bytes} >in"));
        let line = format!("bk-create --name s{bytes} --stdin-filename /db/dump.sql <in");
        let record = sandbox.ok(&line).record();
        let metadata = &record["backup_metadata"];
        assert_eq!(record["file_count"], 1);
        assert_eq!(metadata["content_bytes"], bytes);
        assert_eq!(metadata["sources"], json!(["stdin:db/dump.sql"]));
        assert_eq!(metadata["source_entries"], json!(["db/dump.sql"]));
        assert_eq!(metadata["stdin_filename"], "db/dump.sql");
        let archive = record["backup_path"].as_str().unwrap();
        sandbox.ok(&format!(
            "set -o pipefail
             [ $(sha256sum <{archive} | cut -c -64) = {} ] && gzip -t {archive}
             tar -xzOf {archive} db/dump.sql | cmp - in
             bk-restore --stdout db/dump.sql s{bytes} | cmp - in
             [ -z \"$(command -v bsdtar)\" ] || bsdtar -xOf {archive} db/dump.sql | cmp - in
             [ -z \"$(command -v python3)\" ] || python3 -c \"
import sys, tarfile
t = tarfile.open('{archive}')
assert t.extractfile('db/dump.sql').read() == open('in', 'rb').read()
\"
             bk-verify --deep s{bytes} && bk-restore --test s{bytes} && rm -rf out
             bk-restore -C out s{bytes} && stat -c '%a %u' out/db/dump.sql | grep -qx \"600 $UID\"",
            record["backup_hash"]
        ));
    }
}

#[test]
#[ignore = "writes ten gigabytes: a size that no ustar header holds"]
fn a_stream_of_more_than_a_header_can_tell_is_whole() {
    let sandbox = Sandbox::new();
    sandbox.ok("head -c 9G /dev/zero | bk-create --name a --level 1 --stdin-filename big");
    sandbox.ok(
        "bk-verify --deep a && [ $(tar -xzOf home/archives/a.tar.gz big | wc -c) = 9663676416 ]",
    );
}

#[test]
fn what_a_command_prints_is_stored_and_its_stderr_passed_on() {
    let sandbox = Sandbox::new();
    let line = "bk-create --name a --stdin-from-command -- sh -c 'echo told >&2; seq 100000; cat; grep SigIgn /proc/self/status'";
    let ran = sandbox.run(&format!("echo not for it | {line}"));
    ran.fails(0, "told\n");
    let metadata = &ran.record()["backup_metadata"];
    assert_eq!(metadata["command"], "sh");
    assert_eq!(metadata["sources"], json!(["stdin:stdin"]));
    // A broken pipe ends it as it would in a shell: bit 12 of the ignored signals is SIGPIPE.
    let ignored = sandbox.ok("bk-restore --stdout stdin a | tail -n 1").stdout;
    let mask = ignored.trim().strip_prefix("SigIgn:").unwrap().trim();
    assert_eq!(u64::from_str_radix(mask, 16).unwrap() & (1 << 12), 0);
    sandbox.ok("bk-restore --stdout stdin a | head -n -1 | cmp - <(seq 100000)");
    let ran = sandbox.run("bk-restore --to-source a");
    ran.fails(
        1,
        "bk-restore: cannot restore 'a': it came through a pipe, from no place: name a directory with -C, or print it with --stdout\n",
    );
}

#[test]
fn a_command_that_fails_makes_no_backup() {
    let sandbox = Sandbox::new();
    for (command, passed, reason) in [
        (
            "sh -c 'seq 1000000; exit 3'",
            "",
            "'sh' ended with exit status 3",
        ),
        (
            "sh -c 'seq 10; printf \"1\\n2\\n\\n3\\n4\\n\" >&2; exit 1'",
            "1\n2\n\n3\n4\n",
            "'sh' ended with exit status 1: 2; 3; 4",
        ),
        (
            "sh -c 'seq 10; kill -9 $$'",
            "",
            "'sh' was ended by signal 9",
        ),
        (
            "./missing -p secret",
            "",
            "cannot run './missing': No such file or directory",
        ),
    ] {
        let line = format!("bk-create --name a --stdin-from-command -- {command}");
        let ran = sandbox.run(&line);
        let told = format!("{passed}bk-create: cannot create 'a': {reason}\n");
        ran.fails(1, &told);
        assert_eq!(ran.stdout, "");
        let record = sandbox.ok("bk-ls --json").record();
        assert_eq!(record["status"], "failed");
        assert_eq!(record["backup_metadata"]["failure"], reason);
        assert!(
            sandbox
                .ledger()
                .contains(&format!("a create failed {reason}"))
        );
        assert_eq!(sandbox.ok("ls home/archives").stdout, "");
        assert!(!record.to_string().contains("secret"));
    }
}

#[test]
fn nothing_is_an_empty_file_and_told() {
    let sandbox = Sandbox::new();
    let nothing = "the input was empty: it is an empty file in the archive";
    for line in [
        "bk-create --name a --stdin-filename x </dev/null",
        "bk-create --name b --stdin-filename x --stdin-from-command -- true",
    ] {
        let ran = sandbox.run(line);
        ran.fails(0, &format!("bk-create: warning: 'x': {nothing}\n"));
        let problem = json!({ "path": "x", "kind": "empty", "reason": nothing });
        assert_eq!(ran.record()["backup_metadata"]["problems"][0], problem);
    }
    sandbox.ok("bk-verify --deep a b && tar -xzf home/archives/b.tar.gz && [ -f x -a ! -s x ]");
}

#[test]
fn a_signal_ends_the_command_with_all_of_its_group_and_keeps_nothing() {
    let sandbox = Sandbox::new();
    for (signal, status, command) in [
        ("TERM", 143, "sleep 7001 & echo $$ >pid; seq 10; sleep 7002"),
        // One that only SIGKILL ends.
        (
            "INT",
            130,
            "trap '' TERM; echo $$ >pid; seq 10; while :; do sleep 0.1; done",
        ),
    ] {
        let line = format!("exec bk-create --name a --stdin-from-command -- sh -c '{command}'");
        let child = sandbox.start(&line);
        let began = Instant::now();
        while !fs::read_to_string(sandbox.path("pid")).is_ok_and(|pid| pid.ends_with('\n')) {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
        sandbox.ok(&format!("kill -{signal} {}", child.id()));
        let ran = crate::support::Ran::new(&line, child.wait_with_output().unwrap());
        let number = status - 128;
        ran.fails(
            status,
            &format!("bk-create: cannot create 'a': interrupted by signal {number}\n"),
        );
        // What nobody waited for yet is dead all the same.
        let living = "ps -eo pgid=,stat= | awk -v group=$(cat pid) '$1 == group && $2 !~ /Z/'";
        assert_eq!(sandbox.ok(living).stdout, "");
        assert_eq!(sandbox.ok("rm pid; ls home/archives").stdout, "");
    }
    let ran = sandbox.run("timeout -s TERM 0.5 bk-create --name b --stdin-filename x < <(sleep 9)");
    assert_eq!(sandbox.ok("ls home/archives").stdout, "", "{ran:#?}");
}

#[test]
fn a_crash_leaves_a_partial_that_the_next_writer_removes() {
    let sandbox = Sandbox::new();
    let line =
        "bk-create --name a --stdin-from-command -- sh -c 'seq 1000000; kill -9 $PPID; sleep 1'";
    assert_eq!(sandbox.run(line).status, 137);
    assert_eq!(sandbox.ok("ls home/archives").stdout, "a.tar.gz.partial\n");
    sandbox.ok("seq 10 | bk-create --name b --stdin-filename x");
    assert_eq!(sandbox.ok("ls home/archives").stdout, "b.tar.gz\n");
}

#[test]
fn a_disk_that_is_full_ends_it_and_keeps_nothing() {
    let Some(disk) = SmallDisk::new("8m") else {
        return;
    };
    let line = "bk-create --name a --storage disk --reserve 1M --on-low-space fail --level 0 \
                --stdin-from-command -- head -c 20M /dev/zero";
    let ran = disk.run(line);
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(ran.stderr.contains("are to stay so"), "{ran:#?}");
    assert_eq!(
        disk.ok("ls -A disk | grep -v '^.bk-storage$' || true")
            .stdout,
        ""
    );
}

#[test]
fn mistakes_are_told_and_nothing_is_made() {
    let sandbox = Sandbox::with_app();
    for (line, reason) in [
        (
            "--stdin-filename x app",
            "--stdin-filename backs up standard input alone, and no PATH",
        ),
        (
            "--stdin-filename x -",
            "--stdin-filename: standard input carries the requests: give each its stdin_filename, beside its command",
        ),
        (
            "--stdin-filename ''",
            "--stdin-filename: the file name '' is empty: use one such as dump.sql",
        ),
        (
            "--stdin-filename a/",
            "--stdin-filename: the file name 'a/' ends with a slash, as those of directories do",
        ),
        (
            "--stdin-filename ../a",
            "--stdin-filename: the name '../a' contains '..'",
        ),
        (
            "--stdin-filename x --exclude y",
            "--exclude is for a PATH, and there is none",
        ),
        (
            "--stdin-filename x -C app",
            "--directory is for a PATH, and there is none",
        ),
        (
            "--stdin-from-command",
            "--stdin-from-command runs the command that stands after '--'",
        ),
        (
            "--stdin-from-command true",
            "--stdin-from-command runs the command that stands after '--'",
        ),
        (
            "--estimate --stdin-filename x",
            "--estimate: the size of what comes through a pipe is not known before",
        ),
    ] {
        let ran = sandbox.run(&format!("bk-create {line}"));
        ran.fails(2, &format!("bk-create: {reason}\n"));
    }
    if has("script") {
        let ran = sandbox.run("script -qec 'bk-create --stdin-filename x' /dev/null </dev/null");
        assert_eq!(ran.status, 2);
        assert!(
            ran.stdout
                .contains("which is a terminal: pipe something in"),
            "{ran:#?}"
        );
    }
    for (request, reason) in [
        (
            r#"{"stdin_filename":"x"}"#,
            "its stdin_filename needs a command: standard input carries the requests",
        ),
        (
            r#"{"command":"true"}"#,
            "its command: is not an array of words",
        ),
        (
            r#"{"command":[]}"#,
            "its command: is empty, or has a word that cannot be an argument",
        ),
        (
            r#"{"command":["true"],"sources":"app"}"#,
            "it has sources beside its command",
        ),
        (
            r#"{"command":["true"],"stdin_filename":"/"}"#,
            "its stdin_filename: the file name '/' is empty: use one such as dump.sql",
        ),
    ] {
        let ran = sandbox.run(&format!("echo '{request}' | bk-create -"));
        ran.fails(2, &format!("bk-create: bad input: line 1: {reason}\n"));
    }
    assert!(!sandbox.home().exists());
}

#[test]
fn requests_may_name_commands() {
    let sandbox = Sandbox::with_app();
    let ran = sandbox.ok(
        r#"printf '%s\n' '{"backup_name":"a","command":["seq","3"],"stdin_filename":"n"}' \
           '{"backup_name":"b","sources":"app"}' '{"backup_name":"c","command":["cat"]}' | bk-create - 2>/dev/null"#,
    );
    let counts: Vec<_> = ran
        .records()
        .iter()
        .map(|it| it["file_count"].clone())
        .collect();
    assert_eq!(counts, [1, 6, 1]);
    assert_eq!(sandbox.ok("bk-restore --stdout n a").stdout, "1\n2\n3\n");
    assert_eq!(sandbox.ok("bk-restore --stdout stdin c").stdout, "");
}

#[test]
fn pipes_and_devices_as_operands_are_refused() {
    let sandbox = Sandbox::with_app();
    let hint = "--stdin-filename NAME backs up what comes on standard input";
    sandbox.ok("mkfifo pipe; ln -s pipe link");
    for (line, what) in [
        (
            "echo x | bk-create /dev/stdin",
            "'/dev/stdin': it is a FIFO",
        ),
        (
            "bk-create /dev/stdin <app/config.toml",
            "'/dev/stdin': it is an open file",
        ),
        ("bk-create app pipe", "'pipe': it is a FIFO"),
        ("bk-create link", "'link': it is a FIFO"),
        ("bk-create /dev/null", "'/dev/null': it is a device"),
    ] {
        let ran = sandbox.run(line);
        ran.fails(1, &format!("bk-create: cannot back up {what}: {hint}\n"));
    }
    let ran = sandbox.run("bk-create <(echo x)");
    assert!(
        ran.stderr.ends_with(&format!("it is a FIFO: {hint}\n")),
        "{ran:#?}"
    );
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("socket")).unwrap();
    let ran = sandbox.run("bk-create socket");
    ran.fails(
        1,
        "bk-create: cannot back up 'socket': it is a socket, which holds nothing\n",
    );
}

#[test]
fn its_archive_tells_where_it_came_from() {
    let sandbox = Sandbox::new();
    sandbox.ok("bk-create --name a --stdin-filename x --stdin-from-command -- seq 3");
    sandbox.ok("mv home/archives/a.tar.gz .; rm -r home; bk-adopt a.tar.gz");
    let metadata = &sandbox.ok("bk-ls --json").record()["backup_metadata"];
    assert_eq!(metadata["sources"], json!(["stdin:x"]));
    assert_eq!(metadata["command"], "seq");
    assert_eq!(metadata["stdin_filename"], "x");
}
