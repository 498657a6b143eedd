//! Lines in and out: bad input, readers that go away, what never happens on stdout.

use crate::support::{Sandbox, has, stride};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A sandbox with three backups, a, b and c.
fn three() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for name in a b c; do bk-create --name $name app; done");
    sandbox
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = three();
    for line in [
        "bk-ls | head -n 1",
        "bk-ls --table | head -n 1",
        "bk-ls -l --table | head -n 1",
        "bk-ls --files a b c | head -n 1",
        "bk-ls --help | head -n 1",
        "bk-ls --completions zsh | head -n 1",
    ] {
        let ran = sandbox.run(&format!("set -o pipefail; {line}"));
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:#?}");
    }
    let ran = sandbox.run("set -o pipefail; bk-ls | true");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
}

#[test]
fn nobody_who_reads_help_is_no_error() {
    let sandbox = Sandbox::new();
    for flag in ["--help", "--version", "--completions bash"] {
        let line = format!("{{ sleep 0.1; bk-create {flag}; echo $? >status; }} | true");
        assert_eq!(sandbox.ok(&line).stderr, "", "{flag}");
        assert_eq!(sandbox.ok("cat status").stdout, "0\n", "{flag}");
    }
}

#[test]
fn a_program_that_changes_things_finishes_when_its_reader_goes_away() {
    let sandbox = Sandbox::with_app();
    let requests = r#"printf '{"sources":["app"],"backup_name":"r%d"}\n' 1 2 3 4"#;
    let ran = sandbox.run(&format!("set -o pipefail; {requests} | bk-create - | true"));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert_eq!(sandbox.records().len(), 4);
}

#[test]
fn a_closed_or_full_stdout_is_an_error_and_the_backup_is_made() {
    let sandbox = Sandbox::with_app();
    let full = "cannot write to standard output: No space left on device\n";
    sandbox
        .run("bk-create --name a app >/dev/full")
        .fails(1, &format!("bk-create: {full}"));
    sandbox
        .run("bk-ls >/dev/full")
        .fails(1, &format!("bk-ls: {full}"));
    assert_eq!(sandbox.records().len(), 1);
    // Rust opens /dev/null in the place of a closed stdout.
    let ran = sandbox.run("bk-create --name b app >&-; bk-ls >&-");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert_eq!(sandbox.records().len(), 2);
}

#[test]
fn every_bad_line_is_named_and_nothing_is_done() {
    let sandbox = three();
    for (input, error) in [
        (r#"{"id":1"#, "line 1: it is not JSON (column 7)"),
        (
            "nightly",
            "line 1: it is not JSON (column 2): a name alone stands in double quotes",
        ),
        (r#"1\n{}"#, "line 2: it has neither an id nor a backup_name"),
        (
            r#"1\n\n[1]"#,
            "line 3: it is neither an object nor an id nor a name",
        ),
        (
            r#"1\n12"#,
            "line 2: it ends without a newline, so the number may be cut short",
        ),
        (
            r#"{"id":"1"}\n"#,
            "line 1: its id is not a positive whole number",
        ),
        (
            r#"{"backup_name":7}\n"#,
            "line 1: its backup_name is not a string",
        ),
        (
            r#""../etc"\n"#,
            "line 1: invalid name '../etc': use no slash and no control character",
        ),
        (r#""\377"\n"#, "line 1: it is not UTF-8"),
    ] {
        let ran = sandbox.run(&format!("printf '{input}' | bk-ls -"));
        ran.fails(2, &format!("bk-ls: bad input: {error}\n"));
        assert_eq!(ran.stdout, "");
    }
    for (request, error) in [
        (r#"{"sources":["app"]}\n{}"#, "line 2: it has no sources"),
        (
            r#"{"sources":["app"],"id":7}"#,
            "line 1: its id: cannot be requested: bk-create sets it",
        ),
        (
            r#"{"sources":["app"],"backup_type":"x"}"#,
            "line 1: its backup_type: invalid type 'x': use manual, pre-upgrade or automatic",
        ),
        (
            r#"{"sources":["app"],"backup_metadata":{"host":1}}"#,
            "line 1: its backup_metadata: the metadata key 'host' is reserved: use another",
        ),
        (r#"7\n"#, "line 1: it is not an object with the key sources"),
    ] {
        let ran = sandbox.run(&format!("printf '{request}' | bk-create -"));
        ran.fails(2, &format!("bk-create: bad input: {error}\n"));
    }
    assert_eq!(
        sandbox.records().len(),
        3,
        "none of the good requests was run either"
    );
}

#[test]
fn an_enormous_line_is_refused_before_it_fills_the_memory() {
    if !has("jq") {
        return;
    }
    let sandbox = three();
    let line = "ulimit -v 1000000; head -c 2000000000 /dev/zero | tr '\\0' ' ' | bk-ls -";
    sandbox.run(line).fails(
        2,
        "bk-ls: bad input: line 1: it is longer than 16777216 bytes\n",
    );
    let request =
        r#"jq -nc '{sources: ["app"], backup_metadata: {x: ("x" * 2000000)}}' | bk-create -"#;
    let ran = sandbox.run(request);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("its sources, description and metadata are longer than")
    );
    assert_eq!(sandbox.records().len(), 3);
}

#[test]
fn empty_input_is_success() {
    let sandbox = three();
    for line in [
        "bk-ls - </dev/null",
        "bk-create - </dev/null",
        "echo | bk-ls -",
    ] {
        let ran = sandbox.ok(line);
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("", ""),
            "{ran:#?}"
        );
    }
}

#[test]
fn lines_are_refreshed_from_the_catalog_and_unknown_keys_pass_through() {
    let sandbox = three();
    let ran = sandbox.ok(
        r#"printf '%s\n' 3 '"a"' '{"id":2,"backup_size":1,"backup_path":"/etc/shadow","status":"failed","note":[1]}' | bk-ls -"#,
    );
    let records = ran.records();
    let names: Vec<_> = records
        .iter()
        .map(|record| &record["backup_name"])
        .collect();
    assert_eq!(names, ["c", "a", "b"], "the order of the input");
    assert_eq!(records[2]["note"], json!([1]));
    let path = sandbox.archive("b");
    assert_eq!(records[2]["backup_path"], path.to_str().unwrap());
    assert_ne!(records[2]["backup_size"], 1);
    assert_eq!(records[2]["status"], "completed");
}

#[test]
fn an_id_and_a_name_that_disagree_come_from_another_catalog() {
    let sandbox = three();
    let ran = sandbox.run(r#"printf '%s\n' '{"id":1,"backup_name":"b"}' 99 2 | bk-ls -"#);
    ran.fails(
        1,
        "bk-ls: the backup 1 is named 'a', not 'b': the line is from another catalog\nbk-ls: there is no backup 99\n",
    );
    assert_eq!(ran.record()["backup_name"], "b", "the rest was done");
}

#[test]
fn a_pipeline_of_programs_does_not_lock_itself_out() {
    if !has("jq") {
        return;
    }
    let sandbox = three();
    let line = r#"bk-ls | jq -c '{sources: .backup_metadata.sources, note: .id}' | bk-create - | bk-ls - | jq .note"#;
    assert_eq!(sandbox.ok(line).stdout, "1\n2\n3\n");
}

#[test]
fn a_program_holds_the_catalog_neither_while_it_prints_nor_while_it_reads() {
    let sandbox = Sandbox::with_app();
    let notes = "x".repeat(20_000);
    sandbox.write("note", &notes);
    sandbox.ok("for n in 1 2 3 4 5 6 7 8 9; do bk-create -d \"$(cat note)\" app >/dev/null; done");
    // Nobody reads the pipe, which is full: a writer goes ahead all the same.
    let ran = sandbox.ok(
        "bk-ls | (bk-create --name meanwhile --lock-timeout 5s app >/dev/null; cat) | wc -l; bk-ls | wc -l",
    );
    assert_eq!(ran.stdout, "9\n10\n");
    let ran = sandbox.ok(
        "(bk-create --name later --lock-timeout 5s app >&2; echo '\"later\"') 2>/dev/null | bk-ls -",
    );
    assert_eq!(ran.record()["backup_name"], "later");
}

#[test]
fn stdout_has_records_and_nothing_else() {
    if !has("python3") {
        return;
    }
    let sandbox = three();
    sandbox.ok("chmod 700 app; mkfifo app/pipe; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"app/sock\")'");
    let ran = sandbox.ok("bk-create --name warned app");
    assert_eq!(ran.record()["status"], "completed");
    assert!(
        ran.stderr.contains("app/sock': a socket is not backed up"),
        "{ran:#?}"
    );
    for line in [
        "bk-create --name a app",
        "bk-create nowhere",
        "bk-ls 77",
        "bk-ls --nope",
    ] {
        assert_eq!(sandbox.run(line).stdout, "", "{line}");
    }
}

#[test]
fn a_mistake_on_the_command_line_opens_no_catalog() {
    if !has("strace") {
        return;
    }
    let sandbox = three();
    for line in [
        "bk-ls --nope",
        "bk-ls --help",
        "bk-ls --type x",
        "bk-ls --since soon",
        "bk-create",
        "bk-create --level 13 app",
        "bk-ls a - ",
    ] {
        sandbox.run(&format!("strace -f -o trace {line}"));
        sandbox.ok("test -s trace && ! grep -q catalog trace");
    }
}

#[test]
fn no_program_attempts_a_connection() {
    if !has("strace") {
        return;
    }
    let sandbox = three();
    for line in [
        "bk-create --name traced app",
        "bk-ls",
        "bk-ls -l --table",
        "bk-ls --files a",
        "bk-create --estimate app",
    ] {
        sandbox.ok(&format!(
            "strace -f --seccomp-bpf -e trace=network -o trace {line}"
        ));
        sandbox.ok("test -e trace && ! grep -E 'socket|connect|sendto' trace");
    }
}

#[test]
fn the_clock_is_read_once() {
    let sandbox = Sandbox::with_app();
    let ran = sandbox
        .ok("printf '{\"sources\":[\"app\"],\"expires_at\":\"1h\"}\\n%.0s' 1 2 | bk-create -");
    let records = ran.records();
    assert_eq!(records[0]["created_at"], records[1]["created_at"]);
    assert_eq!(records[0]["expires_at"], records[1]["expires_at"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24 / stride(4) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_request_says_comes_back_as_it_was(
        description in ".{0,40}", version in "\\PC{1,20}", key in "[a-z]{1,8}x", value in "\\PC{0,20}", number in any::<i64>()
    ) {
        let sandbox = Sandbox::with_app();
        let request = json!({
            "sources": ["app"], "description": description, "source_version": version,
            "backup_metadata": {&key: {"deep": [value, number, null]}}, "own": number,
        });
        sandbox.write("request", &request.to_string());
        let made = sandbox.ok("bk-create - <request").record();
        let listed = sandbox.ok("bk-create --name other app >/dev/null; bk-ls 1").record();
        for record in [&made, &listed] {
            for known in ["description", "source_version"] {
                prop_assert_eq!(&record[known], &request[known]);
            }
            prop_assert_eq!(&record["backup_metadata"][&key], &request["backup_metadata"][&key]);
        }
        prop_assert_eq!(&made["own"], &Value::from(number));
    }
}
