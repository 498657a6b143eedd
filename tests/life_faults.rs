//! Calls of the programs that change a store fail, one after the other: each failure is told on
//! one line that names the file, and what holds after a crash holds after it.
//!
//! Beside that: a program that is stopped while it has the catalog, and one that is killed then.

use bk_tests::life::*;
use bk_tests::{Ran, can_trace};

/// Calls, and an error of each.
const FAILURES: &str = "write:ENOSPC write:EIO pwrite64:ENOSPC pwrite64:EIO ftruncate:EIO \
                        fallocate:ENOSPC fsync:EIO fsync:ENOSPC fdatasync:EIO \
                        copy_file_range:EIO copy_file_range:ENOSPC mkdir:ENOSPC mkdir:EIO \
                        rename:EIO renameat2:ENOSPC renameat2:EIO link:ENOSPC link:EIO \
                        unlink:EIO unlinkat:EIO";
/// What these calls are made on; a line on stdout or stderr is another matter.
const FILES: &str = "home home/catalog.lock home/catalog.duckdb home/catalog.duckdb.wal \
                     home/catalog.spare store near far \
                     store/x.tar.gz store/x.tar.gz.partial \
                     store/a.tar.gz store/a.tar.gz.partial store/b.tar.gz store/b.tar.gz.partial \
                     near/a.tar.gz near/a.tar.gz.partial near/b.tar.gz near/b.tar.gz.partial \
                     far/a.tar.gz far/a.tar.gz.partial far/b.tar.gz far/b.tar.gz.partial";

/// Lets each call fail, or every `step`th, either that one alone or (`rest` is `+`) all from
/// there on, until nothing fails any more.
fn fail_at_each(store: &Store, deed: &Deed, rest: &str, step: usize) {
    let files: Vec<_> = FILES.split_whitespace().collect();
    let (mut failures, mut told) = (0, 0);
    let pairs = FAILURES
        .split_whitespace()
        .filter_map(|it| it.split_once(':'));
    for (call, error) in pairs {
        for when in (1..).step_by(step) {
            let fault = format!("error={error}:when={when}{rest}");
            let ran = store.strike(deed, call, &fault, &files);
            check_told(store, deed, &ran);
            store.check(deed, &ran);
            let kill = format!("signal=SIGKILL:when={when}");
            if ran.status == 0 && store.strike(deed, call, &kill, &files).status == 0 {
                // It has no call of that number: nothing failed.
                break;
            }
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
    assert_eq!(ran.status == 0, ran.stderr.is_empty(), "{ran:#?}");
    let program = deed.line.split(' ').next().unwrap();
    let dir = store.sandbox.path("").display().to_string();
    for line in ran.stderr.lines() {
        assert!(line.starts_with(&format!("{program}: ")), "{ran:#?}");
        let names_it = line.contains(&format!("'{dir}")) || line.contains(&format!("\"{dir}"));
        assert!(names_it, "{ran:#?}");
    }
}

#[test]
fn a_removal_whose_calls_fail_loses_nothing() {
    if can_trace() {
        fail_at_each(&Store::new("true"), &REMOVE, "", 4);
    }
}
