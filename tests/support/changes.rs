//! Changes that are made to a tree between two backups.
//!
//! Knows no backup.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::Sandbox;

/// Something that is done to a tree, at a path that is chosen by number.
#[derive(Debug, Clone)]
pub enum Change {
    Add(usize, usize),
    Remove(usize),
    Rename(usize, usize),
    Touch(usize),
    /// With the same size and time of the content.
    RewriteAsOld(usize),
    Grow(usize, usize),
    Chmod(usize),
    Chown(usize),
    Xattr(usize),
    HardLink(usize, usize),
    Symlink(usize, usize),
    Hole(usize),
    DirectoryByFile(usize),
    LargeByPart(usize),
}

/// Any of them.
pub fn change() -> impl Strategy<Value = Change> {
    use Change::*;
    let n = any::<usize>;
    let size = || prop_oneof![0usize..3000, 0usize..300_000, Just(1_400_000)];
    prop_oneof![
        (n(), size()).prop_map(|(at, size)| Add(at, size)),
        n().prop_map(Remove),
        (n(), n()).prop_map(|(at, to)| Rename(at, to)),
        n().prop_map(Touch),
        n().prop_map(RewriteAsOld),
        (n(), size()).prop_map(|(at, size)| Grow(at, size)),
        n().prop_map(Chmod),
        n().prop_map(Chown),
        n().prop_map(Xattr),
        (n(), n()).prop_map(|(at, to)| HardLink(at, to)),
        (n(), n()).prop_map(|(at, to)| Symlink(at, to)),
        n().prop_map(Hole),
        n().prop_map(DirectoryByFile),
        n().prop_map(LargeByPart),
    ]
}

/// Files and directories below a directory.
fn below(dir: &Path, wants_dirs: bool) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let is_dir = path.symlink_metadata().unwrap().is_dir();
        if is_dir == wants_dirs {
            all.push(path.clone());
        }
        if is_dir {
            all.extend(below(&path, wants_dirs));
        }
    }
    all.sort();
    all
}

/// Bytes that do not compress.
pub fn noise(seed: usize, bytes: usize) -> Vec<u8> {
    let mut state = seed as u64 | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Makes a change, where the tree has what it needs.
pub fn apply(sandbox: &Sandbox, tree: &Path, change: &Change) {
    let pick = |wants_dirs, number: usize| {
        let all = below(tree, wants_dirs);
        (!all.is_empty()).then(|| all[number % all.len()].clone())
    };
    let run = |line: &str, path: &Path| {
        sandbox.ok(&format!("{line} '{}'", path.display()));
    };
    let dir = |number| pick(true, number).unwrap_or_else(|| tree.to_owned());
    let file =
        |number| pick(false, number).filter(|path| path.symlink_metadata().unwrap().is_file());
    match change {
        Change::Add(at, size) => {
            fs::write(
                dir(*at).join(format!("new{}", at % 1000)),
                noise(*at, *size),
            )
            .unwrap();
        }
        Change::Remove(at) => pick(false, *at)
            .into_iter()
            .for_each(|it| fs::remove_file(it).unwrap()),
        Change::Rename(at, to) => {
            if let Some(path) = pick(false, *at) {
                fs::rename(path, dir(*to).join(format!("moved{}", to % 1000))).unwrap();
            }
        }
        Change::Touch(at) => file(*at).iter().for_each(|it| run("touch", it)),
        Change::RewriteAsOld(at) => {
            if let Some(path) = file(*at) {
                let size = path.metadata().unwrap().len() as usize;
                let time = path.metadata().unwrap().modified().unwrap();
                fs::write(&path, noise(at + 7, size)).unwrap();
                fs::File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
            }
        }
        Change::Grow(at, size) => {
            if let Some(path) = file(*at) {
                let more = [fs::read(&path).unwrap(), noise(*at, *size)].concat();
                fs::write(path, more).unwrap();
            }
        }
        Change::Chmod(at) => file(*at).iter().for_each(|it| run("chmod 640", it)),
        Change::Chown(at) => file(*at).iter().for_each(|it| run("chown 1:1", it)),
        Change::Xattr(at) => file(*at)
            .iter()
            .for_each(|it| run("setfattr -n user.note -v x", it)),
        Change::HardLink(at, to) => {
            if let Some(path) = file(*at) {
                let _ = fs::hard_link(path, dir(*to).join(format!("link{}", to % 1000)));
            }
        }
        Change::Symlink(at, to) => {
            let _ = symlink(
                format!("to{at}"),
                dir(*to).join(format!("sym{}", to % 1000)),
            );
        }
        Change::Hole(at) => file(*at).iter().for_each(|it| run("truncate -s +200K", it)),
        Change::DirectoryByFile(at) => {
            if let Some(path) = pick(true, *at) {
                fs::remove_dir_all(&path).unwrap();
                fs::write(path, "a file now").unwrap();
            }
        }
        Change::LargeByPart(at) => {
            let path = tree.join("large");
            if let Ok(mut content) = fs::read(&path) {
                let at = at % content.len();
                content[at] ^= 1;
                fs::write(path, content).unwrap();
            }
        }
    }
}
