//! `make soak`, for some days in place of a year: its model is in `tests/soak.py`.

use crate::support::{Sandbox, checkout, has, programs};

#[test]
#[ignore = "jobs that run alone for some days take a minute"]
fn jobs_run_alone_for_days() {
    if !has("python3") {
        return;
    }
    let sandbox = Sandbox::new();
    let (soak, programs) = (checkout().join("tests/soak.py"), programs());
    let ran = sandbox.run(&format!(
        "python3 {} --days 4 {}",
        soak.display(),
        programs.display()
    ));
    for lacks in ["libfaketime is not installed", "it takes root"] {
        if ran.stderr.contains(lacks) {
            println!("skipped: {}", ran.stderr.trim());
            return;
        }
    }
    assert_eq!(ran.status, 0, "{ran:#?}");
}
