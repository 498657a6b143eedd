//! A small file system in memory, in a mount namespace of its own: a disk that is soon full, or
//! another one to move to.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::{Ran, Sandbox, has};

/// A sandbox in which `disk/` is a small file system, for the command lines that run on it.
pub struct SmallDisk {
    pub sandbox: Sandbox,
    /// Keeps the name space until its standard input is closed.
    keeper: Child,
}

impl SmallDisk {
    /// `None`, and a word of it, where the machine does not let us mount.
    pub fn new(size: &str) -> Option<Self> {
        if !has("unshare") || !has("nsenter") || !has("jq") {
            return None;
        }
        let sandbox = Sandbox::with_app();
        sandbox.ok("mkdir disk");
        let mount = format!("mount -t tmpfs -o size={size} tmpfs disk && echo mounted && exec cat");
        let keeper = sandbox
            .command("unshare")
            .args([namespaces(), "sh", "-c", &mount])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut disk = Self {
            sandbox,
            keeper: keeper.unwrap(),
        };
        let mut word = String::new();
        let stdout = disk.keeper.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut word).unwrap();
        if word != "mounted\n" {
            println!("skipped: a file system in memory cannot be mounted here");
            return None;
        }
        Some(disk)
    }

    pub fn run(&self, line: &str) -> Ran {
        let pid = self.keeper.id().to_string();
        let mut command = self.sandbox.command("nsenter");
        command.args(["--target", &pid, "--wd", "--mount"]);
        if namespaces() != "-m" {
            command.args(["--user", "--preserve-credentials"]);
        }
        Ran::new(line, command.args(["bash", "-c", line]).output().unwrap())
    }

    pub fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.status, 0, "{ran:#?}");
        ran
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Which namespaces root needs to mount something, or else anybody.
fn namespaces() -> &'static str {
    let can_mount = Command::new("unshare").args(["-m", "true"]).output();
    match can_mount {
        Ok(output) if output.status.success() => "-m",
        _ => "-Urm",
    }
}
