//! A session that fails after the work on the files: what was done is told all the same, and the
//! next program that writes records it.

use crate::support::store::{ids, left, six};
use crate::support::{Ran, Sandbox, can_trace};

/// Runs a command line whose so many-th session cannot lock the catalog.
fn failing(sandbox: &Sandbox, session: u32, line: &str) -> (Ran, String) {
    let lock = sandbox.home().join("catalog.lock").display().to_string();
    let ran = sandbox.run(&format!(
        "{{ ulimit -n 28; exec strace -f --seccomp-bpf -o /dev/null -P {lock} -e trace=flock \
             -e inject=flock:error=EIO:when={session} {line}; }}"
    ));
    (ran, format!("cannot lock '{lock}': Input/output error"))
}

/// The next program that writes; what it recovers.
fn recovered(sandbox: &Sandbox) -> Vec<String> {
    sandbox.ok("bk-set --description x b6");
    let mut ledger = sandbox.ledger();
    ledger.retain(|it| it.contains(" recover "));
    ledger
}

/// Two parts of two, and the session that records the second one fails.
#[test]
fn what_was_removed_is_told_though_it_cannot_be_recorded() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    let (ran, cannot) = failing(&sandbox, 3, "bk-rm b1 b2 b3 b4");
    ran.fails(1, &format!("bk-rm: {cannot}\n"));
    assert_eq!(ids(&ran.records()), [1, 2, 3, 4].into());
    let recovered = recovered(&sandbox);
    assert_eq!(
        recovered,
        [3, 4].map(|n| format!("b{n} recover ok its removal was finished"))
    );
    assert_eq!(left(&sandbox), [5, 6]);
}

#[test]
fn what_was_pruned_is_told_though_it_cannot_be_recorded() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    // The first session only reads.
    let (ran, cannot) = failing(&sandbox, 4, "bk-prune --keep-last 1");
    ran.fails(1, &format!("bk-prune: {cannot}\n"));
    assert_eq!(ids(&ran.records()), [1, 2, 3, 4].into());
    assert_eq!(recovered(&sandbox).len(), 2);
    assert_eq!(left(&sandbox), [5, 6]);
}

#[test]
fn what_was_moved_is_told_though_it_cannot_be_recorded() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    sandbox.ok("mkdir new");
    // Two sessions only read.
    let (ran, cannot) = failing(&sandbox, 5, "bk-mv b1 b2 b3 new");
    ran.fails(1, &format!("bk-mv: {cannot}\n"));
    let records = ran.records();
    assert_eq!(ids(&records), [1, 2, 3].into());
    let place = sandbox.path("new/b3.tar.gz").display().to_string();
    assert_eq!(records[2]["backup_path"], *place);
    assert_eq!(
        recovered(&sandbox),
        [format!(
            "b3 recover ok its move was interrupted; it is '{place}'"
        )]
    );
    let paths = sandbox.ok("bk-ls --json | jq -r .backup_path | grep -c /new/; ls new");
    assert_eq!(paths.stdout, "3\nb1.tar.gz\nb2.tar.gz\nb3.tar.gz\n");
}

#[test]
fn what_was_verified_is_told_though_it_cannot_be_recorded() {
    if !can_trace() {
        return;
    }
    let sandbox = six();
    // The first session only reads.
    let (ran, cannot) = failing(&sandbox, 2, "bk-verify b1 b2");
    ran.fails(
        1,
        &format!("bk-verify: cannot record what was found: {cannot}\n"),
    );
    let is_ok = |record: &serde_json::Value| record["verify"]["ok"] == true;
    assert!(ran.records().len() == 2 && ran.records().iter().all(is_ok));
    assert!(!sandbox.ledger().iter().any(|it| it.contains("verify")));
}
