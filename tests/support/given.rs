//! What a run of the tests is given: tools and ports of the machine, whether it is of CI, each case or some.
//!
//! Knows no test.

use std::net::TcpListener;
use std::process::Command;

/// A test is skipped for want of something that `.ci/run` installs: a word of that is printed;
/// where `CI` is set, all is to be there, and the test fails.
pub fn lacks(what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{what}, and CI is set: add it to .ci/run"
    );
    println!("skipped: {what}");
}

/// Whether a tool is installed; where it is not, a word of that is printed.
pub fn has(tool: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", tool])
        .status()
        .unwrap()
        .success();
    if !found {
        lacks(&format!("{tool} is not installed"));
    }
    found
}

/// Every how many of many like cases a test takes: `usual`, or with `BK_TESTS_LONG`, as `make test-long`
/// sets it, each.
pub fn stride(usual: usize) -> usize {
    match std::env::var_os("BK_TESTS_LONG") {
        Some(_) => 1,
        None => usual,
    }
}

/// Which of the calls of a kind a test strikes: every `usual`th, or with `BK_TESTS_LONG` each of the first forty and
/// then every seventh, which are those of a loop.
pub fn whens(usual: usize) -> impl Iterator<Item = usize> {
    let step = stride(usual);
    let is_struck = move |when: &usize| step > 1 || *when < 40 || when.is_multiple_of(7);
    (1..).step_by(step).filter(is_struck)
}

/// Ports that nobody listens on.
pub fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    // All are open before the first is closed: no two are the same.
    let open = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    open.map(|socket| socket.local_addr().unwrap().port())
}
