//! bk-set, many at once, killed at any call and on a full disk: all of a change or nothing.

use crate::support::{Ran, Sandbox, can_trace, has, strace, stride};
use serde_json::{Value, json};

#[test]
fn all_that_are_set_at_once_land() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let lines: Vec<_> = (0..12).map(|n| format!("bk-set -m key{n}={n} a")).collect();
    let children: Vec<_> = lines.iter().map(|line| sandbox.start(line)).collect();
    for (line, child) in lines.iter().zip(children) {
        let ran = Ran::new(line, child.wait_with_output().unwrap());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    }
    let metadata = sandbox.records()[0]["backup_metadata"].clone();
    for n in 0..12 {
        assert_eq!(metadata[format!("key{n}")], n, "{metadata}");
    }
    let events = sandbox.ledger();
    assert_eq!(events.iter().filter(|it| *it == "a set ok").count(), 12);
}

/// A home with one backup; `start/` is a copy of it, from which each fault begins.
fn start() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b app; mkdir start; cp -a home start/");
    sandbox
}

/// Name, description, protection and ticket of both, and the changes in the ledger.
type State = (Vec<[Value; 4]>, usize);

fn state(sandbox: &Sandbox) -> State {
    let facts = |it: &Value| {
        let ticket = it["backup_metadata"]["ticket"].clone();
        [
            it["backup_name"].clone(),
            it["description"].clone(),
            it["protected"].clone(),
            ticket,
        ]
    };
    let sets = sandbox
        .ledger()
        .iter()
        .filter(|it| it.ends_with(" set ok"))
        .count();
    (sandbox.records().iter().map(facts).collect(), sets)
}

/// What is killed or fails, over and over: several fields of one record.
const SET: &str = "bk-set -d note --protect -m ticket=7 a";
/// The same with one that is unique.
const RENAME: &str = "bk-set --name x -d note --protect -m ticket=7 a";

fn before() -> State {
    let row = |name: &str| [json!(name), json!(null), json!(false), json!(null)];
    (vec![row("a"), row("b")], 0)
}

fn after(name: &str) -> State {
    let changed = [json!(name), json!("note"), json!(true), json!(7)];
    (vec![changed, before().0[1].clone()], 1)
}

/// Runs a command line from the start with a fault at one call on the catalog.
fn run_with(sandbox: &Sandbox, line: &str, call: &str, fault: &str) -> Ran {
    let home = sandbox.home().display().to_string();
    let files = [
        "",
        "/catalog.lock",
        "/catalog.duckdb",
        "/catalog.duckdb.wal",
    ];
    let paths: String = files.map(|file| format!("-P {home}{file} ")).concat();
    sandbox.run(&format!(
        "rm -rf home && cp -a start/home . &&
         exec {} -o /dev/null {paths} -e trace={call} -e inject={call}:{fault} {line}",
        strace(fault)
    ))
}

#[test]
fn killed_at_any_call_it_changed_all_or_nothing() {
    if !can_trace() {
        return;
    }
    let sandbox = start();
    let (mut kills, mut changed) = (0, 0);
    for call in [
        "openat",
        "flock",
        "write",
        "pwrite64",
        "fsync",
        "fdatasync",
        "ftruncate",
        "unlink",
    ] {
        for at in (1..).step_by(stride(3)) {
            let ran = run_with(&sandbox, RENAME, call, &format!("signal=SIGKILL:when={at}"));
            if ran.status == 0 {
                break;
            }
            assert_eq!(ran.status, 137, "{ran:#?}");
            kills += 1;
            let left = state(&sandbox);
            assert!(
                left == before() || left == after("x"),
                "{call} {at}: {left:?}"
            );
            // What was printed lasts.
            assert!(
                ran.stdout.is_empty() || left == after("x"),
                "{call} {at}: {ran:#?}"
            );
            changed += usize::from(left == after("x"));
            let name = if left == after("x") { "x" } else { "a" };
            sandbox.ok(&format!(
                "bk-set -d again {name} && test $(bk-ls | wc -l) = 2"
            ));
        }
    }
    assert!(
        kills > 10 && changed > 0 && changed < kills,
        "{changed} of {kills}"
    );
}

#[test]
fn a_call_that_fails_is_told_and_changes_all_or_nothing() {
    if !can_trace() {
        return;
    }
    let sandbox = start();
    let home = format!(" '{}", sandbox.home().display());
    let mut failures = 0;
    for (call, error) in [
        ("pwrite64", "ENOSPC"),
        ("write", "ENOSPC"),
        ("fsync", "EIO"),
        ("fdatasync", "EIO"),
    ] {
        for at in (1..).step_by(stride(3)) {
            // From then on, as a full disk stays full.
            let ran = run_with(&sandbox, SET, call, &format!("error={error}:when={at}+"));
            let left = state(&sandbox);
            if ran.status == 0 {
                assert_eq!((left, ran.stderr.as_str()), (after("a"), ""), "{call} {at}");
                break;
            }
            failures += 1;
            assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
            assert!(ran.stderr.contains(&home), "{ran:#?}");
            assert!(
                left == before() || left == after("a"),
                "{call} {at}: {left:?}"
            );
            sandbox.ok(&format!("bk-set -d again {}", left.0[0][0]));
        }
    }
    assert!(failures * stride(3) > 3, "{failures}");
}

/// DuckDB would end the process where the commit of a new name cannot be written.
#[test]
fn a_full_disk_is_told_by_name_and_changes_nothing() {
    if !has("unshare") {
        return;
    }
    let sandbox = start();
    let begin = "mount -t tmpfs -o size=24M tmpfs home || exit 77; cp -a start/home .";
    let fill = "dd if=/dev/zero of=home/filler bs=4k 2>/dev/null";
    let script = format!(
        "{begin}; {fill}; bk-set --name x a; echo $?; bk-set -d \"$(head -c 100000 /dev/zero | tr '\\0' x)\" a; echo $?
         rm home/filler; bk-ls | cmp - before; bk-set --name x -d note a >/dev/null; echo $?"
    );
    sandbox.write("script", &script);
    sandbox.ok("bk-ls >before");
    let ran = sandbox
        .run("unshare -m true 2>/dev/null && flags=-m || flags=-Urm; unshare $flags sh script");
    if ran.status != 0 && ran.stdout.is_empty() {
        println!("skipped: a file system in memory cannot be mounted here");
        return;
    }
    let catalog = sandbox.home().join("catalog.duckdb").display().to_string();
    assert_eq!(ran.stdout, "1\n1\n0\n", "{ran:#?}");
    let told: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(
        told[0],
        format!(
            "bk-set: cannot change 'a': cannot write the catalog '{catalog}': No space left on device"
        )
    );
    assert!(
        told[1].contains(&format!("the catalog '{catalog}'")) && told.len() == 2,
        "{ran:#?}"
    );
}

#[test]
fn a_lock_that_stays_is_told_and_changes_nothing() {
    let sandbox = start();
    let ran = sandbox
        .run("exec 9<>home/catalog.lock; flock -x 9; bk-set --lock-timeout 300ms -d x a 9>&-");
    assert_eq!((ran.status, ran.stdout.as_str()), (75, ""), "{ran:#?}");
    assert_eq!(state(&sandbox), before());
}

#[test]
fn a_reader_that_goes_away_does_not_keep_it_from_its_work() {
    let sandbox = start();
    sandbox.ok("bk-ls | bk-set -d x | true; bk-set --table --protect a b | true");
    let records = sandbox.records();
    assert!(
        records
            .iter()
            .all(|it| it["description"] == "x" && it["protected"] == true)
    );
    let ran = sandbox.run("bk-set -d y a >/dev/full");
    ran.fails(
        1,
        "bk-set: cannot write to standard output: No space left on device\n",
    );
    assert_eq!(sandbox.records()[0]["description"], "y");
}
