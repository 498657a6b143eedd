//! Calls of the programs that change a store fail, one after the other: each failure is told on
//! one line that names the file, and what holds after a crash holds after it.
//!
//! Beside that: a program that is stopped while it has the catalog, and one that is killed then.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::life::*;
use crate::support::{Ran, can_trace, stride};

/// Whatever takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Calls, and an error of each.
const FAILURES: &str = "write:ENOSPC write:EIO pwrite64:ENOSPC pwrite64:EIO ftruncate:EIO \
                        fallocate:ENOSPC fsync:EIO fsync:ENOSPC fdatasync:EIO \
                        copy_file_range:EIO copy_file_range:ENOSPC mkdir:ENOSPC mkdir:EIO \
                        rename:EIO renameat2:ENOSPC renameat2:EIO link:ENOSPC link:EIO \
                        unlink:EIO unlinkat:EIO";
/// Lets each call fail, or every `step`th, either that one alone or (`rest` is `+`) all from
/// there on, until nothing fails any more.
fn fail_at_each(store: &Store, deed: &Deed, rest: &str, step: usize) {
    let files: Vec<_> = FILES.split_whitespace().collect();
    let (mut failures, mut told) = (0, 0);
    let pairs = FAILURES
        .split_whitespace()
        .filter_map(|it| it.split_once(':'));
    // Else each call fails in one way.
    let (is_long, mut seen) = (stride(2) == 1, BTreeSet::new());
    let pairs = pairs.filter(|(call, _)| seen.insert(*call) || is_long);
    for (call, error) in pairs {
        let step = if FEW.contains(&call) { 1 } else { step };
        for when in (1..).step_by(step) {
            let fault = format!("error={error}:when={when}{rest}");
            let mut ran = store.strike(deed, call, &fault, &files);
            check_told(store, deed, &ran);
            let kill = format!("signal=SIGKILL:when={when}");
            if ran.status == 0 {
                if store.strike(deed, call, &kill, &files).status == 0 {
                    // It has no call of that number: nothing failed.
                    break;
                }
                // That was another end: this one is to be looked at.
                ran = store.strike(deed, call, &fault, &files);
            }
            store.check(deed, &ran);
            failures += 1;
            told += usize::from(ran.status == 1);
        }
    }
    println!(
        "'{}' failed {failures} calls, and told of {told}",
        deed.line
    );
    assert!(told * step > 15, "only {told} of {failures}");
}

/// An error that names the file on one line; or it was done all the same.
fn check_told(store: &Store, deed: &Deed, ran: &Ran) {
    assert!([0, 1].contains(&ran.status), "{ran:#?}");
    let errors = ran.errors();
    assert_eq!(ran.status == 0, errors.is_empty(), "{ran:#?}");
    let program = deed.line.split(' ').next().unwrap();
    let dir = store.sandbox.path("").display().to_string();
    for line in errors {
        assert!(line.starts_with(&format!("{program}: ")), "{ran:#?}");
        let names_it = line.contains(&format!("'{dir}")) || line.contains(&format!("\"{dir}"));
        assert!(names_it, "{ran:#?}");
    }
}

#[test]
fn a_move_to_another_file_system_whose_calls_fail_loses_nothing() {
    let store = Store::new("true");
    if can_trace() && store.has_far() {
        fail_at_each(&store, &MOVE_FAR, "", 160);
    }
}

/// The archives are gone by then, and no row may say otherwise.
#[test]
fn a_removal_whose_directory_cannot_be_synced_is_finished_by_the_next_program() {
    if !can_trace() {
        return;
    }
    let store = Store::new("true");
    let ran = store.strike(&REMOVE, "fsync", "error=EIO", &["store"]);
    let dir = store.sandbox.path("store").display().to_string();
    let reason = format!("cannot sync '{dir}': Input/output error");
    ran.fails(
        1,
        &["a", "b"]
            .map(|name| format!("bk-rm: cannot remove '{name}': {reason}\n"))
            .concat(),
    );
    store.check(&REMOVE, &ran);
}

#[test]
#[ignore = "minutes: make test-long"]
fn every_third_call_may_fail_and_nothing_is_lost() {
    if !can_trace() {
        return;
    }
    // A store for each, as none lives for longer than its deadline.
    for rest in ["", "+"] {
        for deed in [
            CREATE,
            CREATE_DUMP,
            REMOVE,
            PRUNE,
            MOVE_NEAR,
            MOVE_ALL,
            MOVE_FAR,
        ] {
            let store = Store::new("true");
            if deed != MOVE_FAR || store.has_far() {
                fail_at_each(&store, &deed, rest, 3);
            }
        }
    }
}

/// A removal that is stopped as it is about to commit.
const STOPPED: &str = "exec strace -f -o trace -P $PWD/home/catalog.duckdb.wal \
                           -e trace=fsync,fdatasync \
                           -e inject=fsync,fdatasync:signal=SIGSTOP:when=1 bk-rm a";

/// The process id of [`STOPPED`], once it is.
fn stopped_pid(store: &Store) -> String {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "it is never stopped");
        let trace = fs::read_to_string(store.sandbox.path("trace")).unwrap_or_default();
        let mut lines = trace.lines();
        if let Some(line) = lines.find(|it| it.contains("stopped by SIGSTOP")) {
            return line.split(' ').next().unwrap().to_owned();
        }
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn who_is_stopped_with_the_catalog_is_named_and_once_killed_in_nobodys_way() {
    if !can_trace() {
        return;
    }
    let store = Store::new("true");
    let tracer = store.sandbox.start(STOPPED);
    let pid = stopped_pid(&store);
    let lines = [
        "bk-ls",
        "bk-rm b",
        "bk-mv b near",
        "bk-set -d x b",
        "bk-prune --keep-last 1",
        "bk-verify b",
    ];
    let began = Instant::now();
    let mut waiting = Vec::new();
    for line in lines {
        let (program, rest) = line.split_once(' ').unwrap_or((line, ""));
        let line = format!("exec {program} --lock-timeout 2s {rest}");
        waiting.push((program, store.sandbox.start(&line), line));
    }
    for (program, child, line) in waiting {
        let ran = Ran::new(&line, child.wait_with_output().unwrap());
        assert_eq!((ran.status, ran.stdout.as_str()), (75, ""), "{ran:#?}");
        let (holder, rest) = ran.stderr.split_once(", since ").expect(&ran.stderr);
        let who = format!("{program}: the catalog is locked by bk-rm (pid {pid}");
        assert_eq!(holder, who, "{ran:#?}");
        let (_, rest) = rest.split_once(") ").unwrap();
        let remedy = "try again, or wait longer with --lock-timeout";
        assert_eq!(
            rest,
            format!("and stayed so for 2 s; {remedy}\n"),
            "{ran:#?}"
        );
    }
    let waited = began.elapsed();
    let limits = Duration::from_secs(2)..Duration::from_secs(20);
    assert!(limits.contains(&waited), "{waited:?}");

    let next = store.sandbox.start("exec bk-rm b");
    sleep(Duration::from_millis(500));
    store.sandbox.ok(&format!("kill -KILL {pid}"));
    let killed = Instant::now();
    let next = Ran::new("bk-rm b", next.wait_with_output().unwrap());
    let took = killed.elapsed();
    assert_eq!((next.status, next.stderr.as_str()), (0, ""), "{next:#?}");
    println!("the next went on and ended {took:?} after the kill");
    assert!(took < Duration::from_secs(20), "{took:?}");
    tracer.wait_with_output().unwrap();
    store.check_tidy("a removal was stopped and killed");
}
