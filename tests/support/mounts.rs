//! Real file systems below a sandbox: in memory, on a loop device, stacked, bound, and through
//! FUSE one that lacks something.
//!
//! Each goes when its guard is dropped, which is to be made after the sandbox. Where the machine
//! does not let us mount it, there is none, and a word of that is printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Sandbox, checkout, has};

/// FUSE is mounted by then, or never.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that is mounted; unmounted when it is dropped.
pub struct Mount {
    pub path: PathBuf,
    server: Option<Child>,
}

/// A file system in memory; `options` as mount(8) has them, such as `size=1M,nr_inodes=100`.
pub fn tmpfs(sandbox: &Sandbox, name: &str, options: &str) -> Option<Mount> {
    mount(sandbox, name, &["-t", "tmpfs", "-o", options, "none"])
}

/// One in memory that tells no figures of its space.
pub fn ramfs(sandbox: &Sandbox, name: &str) -> Option<Mount> {
    mount(sandbox, name, &["-t", "ramfs", "none"])
}

/// The directory `from` a second time, as a container or a share may have it.
pub fn bind(sandbox: &Sandbox, from: &str, name: &str) -> Option<Mount> {
    let from = sandbox.path(from);
    mount(sandbox, name, &["--bind", from.to_str().unwrap()])
}

/// The directory `low` under a layer that takes the changes, as the image of a container is.
pub fn overlay(sandbox: &Sandbox, low: &str, name: &str) -> Option<Mount> {
    let layer = |what| sandbox.path(&format!("{name}.{what}"));
    let (up, work) = (layer("up"), layer("work"));
    fs::create_dir_all(&up).unwrap();
    fs::create_dir_all(&work).unwrap();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        sandbox.path(low).display(),
        up.display(),
        work.display()
    );
    mount(sandbox, name, &["-t", "overlay", "-o", &options, "overlay"])
}

/// An image of so many bytes (`50M`), made by `mkfs` with its options: `mkfs.ext4 -I 128`.
pub fn image(sandbox: &Sandbox, mkfs: &str, size: &str, name: &str) -> Option<Mount> {
    if !has(mkfs.split(' ').next().unwrap()) {
        return None;
    }
    let made = sandbox.run(&format!(
        "truncate -s {size} {name}.image && {mkfs} {name}.image"
    ));
    assert_eq!(made.status, 0, "{made:#?}");
    let image = sandbox.path(&format!("{name}.image"));
    mount(sandbox, name, &["-o", "loop", image.to_str().unwrap()])
}

/// The directory `root` through a file system that lacks something: see `passthrough.py`.
pub fn fuse(sandbox: &Sandbox, root: &str, name: &str, lacks: &str) -> Option<Mount> {
    fs::create_dir_all(sandbox.path(root)).unwrap();
    let path = sandbox.path(name);
    fs::create_dir_all(&path).unwrap();
    let has_fuse = |python: &&str| {
        let tried = Command::new(python).args(["-c", "import fuse"]).output();
        tried.is_ok_and(|it| it.status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_fuse) else {
        super::lacks("python3 with fusepy is not installed");
        return None;
    };
    let server = Command::new(python)
        .arg(checkout().join("tests/passthrough.py"))
        .args([&sandbox.path(root), &path])
        .arg(lacks)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mount = Mount {
        path,
        server: Some(server.unwrap()),
    };
    let began = Instant::now();
    while !is_mount_point(&mount.path) {
        if began.elapsed() > PATIENCE {
            println!("skipped: FUSE cannot be mounted here");
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(mount)
}

fn mount(sandbox: &Sandbox, name: &str, arguments: &[&str]) -> Option<Mount> {
    let path = sandbox.path(name);
    fs::create_dir_all(&path).unwrap();
    let mut command = Command::new("mount");
    let output = command.args(arguments).arg(&path).output().unwrap();
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        println!(
            "skipped: cannot mount {arguments:?} here: {}",
            reason.trim()
        );
        return None;
    }
    Some(Mount { path, server: None })
}

fn is_mount_point(path: &Path) -> bool {
    let tried = Command::new("mountpoint").arg("-q").arg(path).status();
    tried.unwrap().success()
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily where a process of a failed test still stands there.
        let unmount = |lazily: &[&str]| {
            let mut command = Command::new("umount");
            let output = command.args(lazily).arg(&self.path).output();
            output.is_ok_and(|it| it.status.success())
        };
        let _ = unmount(&[]) || unmount(&["-l"]);
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
