//! Programs that change a store are killed at one call after the other: no row is left without
//! its archive and no archive without its row, and nothing that was printed is undone.
//!
//! What bk-create owes beside this is in crash.rs.

use crate::support::life::*;
use crate::support::{KILLED, can_trace};

/// The calls that change what is on the disk.
const CALLS: &str = "write pwrite64 ftruncate fallocate fsync fdatasync copy_file_range ioctl \
                     mkdir rename renameat2 link unlink unlinkat flock exit_group";

/// Kills it before each call, or before every `step`th, until it comes to its end.
fn kill_at_each(store: &Store, deed: &Deed, step: usize) {
    let own = FILES.split_whitespace().filter(|_| *deed == CREATE_DUMP);
    let (files, mut kills): (Vec<_>, _) = (own.collect(), 0);
    for call in CALLS.split_whitespace() {
        let step = if FEW.contains(&call) { 1 } else { step };
        for when in (1..).step_by(step) {
            let fault = format!("signal=SIGKILL:when={when}");
            let ran = store.strike(deed, call, &fault, &files);
            if ran.status != KILLED {
                assert!(ran.status == 0 && ran.errors().is_empty(), "{ran:#?}");
                break;
            }
            store.check(deed, &ran);
            kills += 1;
        }
    }
    let whole = store.run(deed.line);
    store.check(deed, &whole);
    println!("'{}' was killed {kills} times", deed.line);
    assert!(kills * step > 30, "only {kills} kills");
}

/// Programs that are killed before their work is done: what the next one finishes.
const DEAD: [&str; 3] = [
    "strace -qqq -f -o /dev/null -P $PWD/store/b.tar.gz -e trace=unlink -e inject=unlink:signal=SIGKILL bk-rm a b
     test $? = 137 -a -s store/b.tar.gz -a ! -e store/a.tar.gz",
    "strace -qqq -f -o /dev/null -P $PWD/near/b.tar.gz -e trace=renameat2 -e inject=renameat2:signal=SIGKILL bk-mv a b near
     test $? = 137 -a -s store/b.tar.gz -a -s near/a.tar.gz",
    "strace -qqq -f -o /dev/null -e trace=renameat2 -e inject=renameat2:signal=SIGKILL bk-create --storage store --name dead app
     test $? = 137 -a -s store/dead.tar.gz.partial",
];

fn kill_recovery(step: usize) {
    for dead in DEAD {
        kill_at_each(&Store::new(dead), &REMOVE_ANOTHER, step);
    }
}

fn kill_move_far(step: usize) {
    let store = Store::new("true");
    if store.has_far() {
        kill_at_each(&store, &MOVE_FAR, step);
    }
}

#[test]
fn a_removal_that_is_killed_loses_nothing() {
    if can_trace() {
        kill_at_each(&Store::new("true"), &REMOVE, 80);
    }
}

#[test]
fn a_move_to_another_file_system_that_is_killed_loses_nothing() {
    if can_trace() {
        kill_move_far(160);
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_kill_at_every_other_call_loses_nothing() {
    if can_trace() {
        kill_move_far(2);
        for deed in [CREATE, CREATE_DUMP, REMOVE, PRUNE, MOVE_NEAR, MOVE_ALL] {
            kill_at_each(&Store::new("true"), &deed, 2);
        }
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_kill_while_finishing_what_others_left_loses_nothing() {
    if can_trace() {
        kill_recovery(2);
    }
}
