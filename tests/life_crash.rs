//! Programs that change a store are killed at one call after the other: no row is left without
//! its archive and no archive without its row, and nothing that was printed is undone.
//!
//! What bk-create owes beside this is in crash.rs.

use bk_tests::can_trace;
use bk_tests::life::{CREATE, Deed, REMOVE, Store};

/// The calls that change what is on the disk.
const CALLS: &str = "write pwrite64 ftruncate fallocate fsync fdatasync copy_file_range ioctl \
                     mkdir rename renameat2 link unlink unlinkat flock exit_group";
/// Of these each is struck, in the short round too.
const FEW: [&str; 4] = ["renameat2", "unlink", "link", "copy_file_range"];
/// Exit status of what was killed.
const KILLED: i32 = 137;

/// Kills it before each call, or before every `step`th, until it comes to its end.
fn kill_at_each(store: &Store, deed: &Deed, step: usize) {
    let mut kills = 0;
    for call in CALLS.split_whitespace() {
        let step = if FEW.contains(&call) { 1 } else { step };
        for when in (1..).step_by(step) {
            let fault = format!("signal=SIGKILL:when={when}");
            let ran = store.strike(deed, call, &fault, &[]);
            store.check(deed, &ran);
            if ran.status != KILLED {
                assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
                break;
            }
            kills += 1;
        }
    }
    println!("'{}' was killed {kills} times", deed.line);
    assert!(kills * step > 30, "only {kills} kills");
}

#[test]
fn a_creation_that_is_killed_loses_nothing() {
    if can_trace() {
        kill_at_each(&Store::new("true"), &CREATE, 7);
    }
}

#[test]
fn a_removal_that_is_killed_loses_nothing() {
    if can_trace() {
        kill_at_each(&Store::new("true"), &REMOVE, 4);
    }
}
