//! What servers run as that refuse root, or that would need more of the machine as root.
//!
//! Where the tests themselves do not run as root, that is who runs them. Knows no server.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;

const NOBODY: &str = "nobody";

fn told(flags: &[&str]) -> String {
    let told = Command::new("id").args(flags).output().unwrap().stdout;
    String::from_utf8(told).unwrap().trim().to_owned()
}

/// What that user is called.
pub fn name() -> String {
    match geteuid().is_root() {
        true => NOBODY.to_owned(),
        false => told(&["-un"]),
    }
}

/// Gives a directory to that user; others may go through it.
pub fn give(dir: &Path) {
    fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
    if geteuid().is_root() {
        let id = |flag| told(&[flag, NOBODY]).parse().unwrap();
        chown(dir, Some(id("-u")), Some(id("-g"))).unwrap();
    }
}

/// A program that runs as that user.
pub fn command(program: &str) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let user = format!("--reuid={NOBODY}");
    command.args([&user, "--regid=nogroup", "--clear-groups", program]);
    command
}
