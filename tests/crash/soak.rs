//! Two days of the simulated year of `make soak`, with three times its faults. What it does, and what it holds
//! that against, stands in tests/soak.py.

use std::process::Command;

use crate::support::{checkout, has, lacks, programs};

#[test]
#[ignore = "a minute: make test-long"]
fn jobs_that_are_killed_and_lack_space_lose_nothing_for_two_days() {
    if !has("python3") {
        return;
    }
    // Summer time begins in the second night.
    let ran = Command::new("python3")
        .arg(checkout().join("tests/soak.py"))
        .arg(programs())
        .args(["--days", "2", "--faults", "3", "--seed", "6"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    println!("{told}");
    match told.strip_prefix("skipped: ") {
        Some(reason) if reason.starts_with("libfaketime") => lacks(reason.trim_end()),
        Some(_) => {}
        None => assert!(ran.status.success(), "{ran:#?}"),
    }
}
