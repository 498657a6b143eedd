//! bk-set, many at once, killed at any call and on a full disk: all of a change or nothing.

use bk_tests::{Ran, Sandbox, can_trace, has};

#[test]
fn all_that_are_set_at_once_land() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app");
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
