//! Changes that are made to a tree between two backups.
//!
//! Knows no backup.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
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
    /// So many neighbours.
    RemoveRange(usize, usize),
    AddRange(usize, usize, usize),
    RemoveDir(usize),
    RenameDir(usize, usize),
    SwapDirs(usize, usize),
    /// The first name of a file with several.
    RemoveFirstName(usize),
    TouchDir(usize),
    ChmodDir(usize),
    Acl(usize),
    Socket(usize),
    LargeAdd(usize, usize),
    LargeShrink(usize, usize),
    /// A page in so many places.
    LargePages(usize, usize),
    LargePiecesMoved(usize),
    LargePunch(usize, usize),
    LargeFill(usize),
    LargeCopy(usize, usize),
    LargeLink(usize, usize),
}

impl Change {
    /// Whether nothing but the time of change, or the inode, tells of it.
    pub fn is_hidden(&self) -> bool {
        matches!(
            self,
            Self::RewriteAsOld(_) | Self::Xattr(_) | Self::Acl(_) | Self::LargeFill(_)
        )
    }
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

/// Those that leave much as it was, and what is left beside other neighbours.
pub fn wide_change() -> impl Strategy<Value = Change> {
    use Change::*;
    let n = any::<usize>;
    let size = || prop_oneof![0usize..3000, 0usize..60_000];
    let large = || 1_000_000usize..4_500_000;
    prop_oneof![
        8 => change(),
        4 => (n(), 1usize..40).prop_map(|(at, count)| RemoveRange(at, count)),
        2 => (n(), 1usize..20, size()).prop_map(|(at, count, size)| AddRange(at, count, size)),
        1 => n().prop_map(RemoveDir),
        2 => (n(), n()).prop_map(|(at, to)| RenameDir(at, to)),
        1 => (n(), n()).prop_map(|(at, to)| SwapDirs(at, to)),
        2 => n().prop_map(RemoveFirstName),
        1 => n().prop_map(TouchDir),
        1 => n().prop_map(ChmodDir),
        1 => n().prop_map(Acl),
        1 => n().prop_map(Socket),
        1 => (n(), large()).prop_map(|(at, size)| LargeAdd(at, size)),
        1 => (n(), n()).prop_map(|(at, to)| LargeShrink(at, to)),
        2 => (n(), 1usize..6).prop_map(|(at, count)| LargePages(at, count)),
        1 => n().prop_map(LargePiecesMoved),
        1 => (n(), n()).prop_map(|(at, to)| LargePunch(at, to)),
        1 => n().prop_map(LargeFill),
        1 => (n(), n()).prop_map(|(at, to)| LargeCopy(at, to)),
        2 => (n(), n()).prop_map(|(at, to)| LargeLink(at, to)),
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
    let large = |number: usize| {
        let all = below(tree, false).into_iter();
        let all: Vec<_> = all
            .filter(|it| {
                it.symlink_metadata()
                    .is_ok_and(|it| it.is_file() && it.len() >= 1 << 20)
            })
            .collect();
        (!all.is_empty()).then(|| all[number % all.len()].clone())
    };
    let open = |path: &Path| fs::File::options().write(true).open(path).unwrap();
    match change {
        Change::RemoveRange(at, count) => {
            let all = below(tree, false);
            let from = at % all.len().max(1);
            all.iter()
                .skip(from)
                .take(*count)
                .for_each(|it| fs::remove_file(it).unwrap());
        }
        Change::AddRange(at, count, size) => {
            let dir = dir(*at);
            for number in 0..*count {
                let name = format!("f{}", (at % 250) * 10 + number);
                // What is there already gets other content.
                let _ = fs::write(
                    dir.join(name),
                    noise(at.wrapping_add(number), size + number),
                );
            }
        }
        Change::RemoveDir(at) => pick(true, *at)
            .into_iter()
            .for_each(|it| fs::remove_dir_all(it).unwrap()),
        Change::RenameDir(at, to) => {
            if let Some(path) = pick(true, *at) {
                // Not into itself.
                let _ = fs::rename(&path, dir(*to).join(format!("d{}", to % 100)));
            }
        }
        Change::SwapDirs(at, to) => {
            if let (Some(one), Some(other)) = (pick(true, *at), pick(true, *to)) {
                let (fs, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
                let _ = rustix::fs::renameat_with(fs, one, fs, other, flags);
            }
        }
        Change::RemoveFirstName(at) => {
            let is_linked = |it: &PathBuf| {
                let status = it.symlink_metadata().unwrap();
                std::os::unix::fs::MetadataExt::nlink(&status) > 1
            };
            let all: Vec<_> = below(tree, false).into_iter().filter(is_linked).collect();
            if let Some(path) = all.get(at % all.len().max(1)) {
                let inode = std::os::unix::fs::MetadataExt::ino;
                let number = inode(&path.symlink_metadata().unwrap());
                let first = all
                    .iter()
                    .find(|it| inode(&it.symlink_metadata().unwrap()) == number);
                fs::remove_file(first.unwrap()).unwrap();
            }
        }
        Change::TouchDir(at) => run("touch", &dir(*at)),
        Change::ChmodDir(at) => run("chmod 2750", &dir(*at)),
        Change::Acl(at) => file(*at).iter().for_each(|it| run("setfacl -m u:7:r", it)),
        Change::Socket(at) => {
            let _ = std::os::unix::net::UnixListener::bind(dir(*at).join(format!("s{}", at % 100)));
        }
        Change::LargeAdd(at, size) => {
            let _ = fs::write(dir(*at).join(format!("l{}", at % 10)), noise(*at, *size));
        }
        Change::LargeShrink(at, to) => {
            if let Some(path) = large(*at) {
                let bytes = path.metadata().unwrap().len();
                open(&path).set_len(*to as u64 % bytes).unwrap();
            }
        }
        Change::LargePages(at, count) => {
            if let Some(path) = large(*at) {
                let pages = path.metadata().unwrap().len() as usize / 4096;
                for number in 0..*count {
                    let page = at.wrapping_mul(number + 3) % pages;
                    let content = noise(at ^ number, 4096);
                    open(&path)
                        .write_all_at(&content, page as u64 * 4096)
                        .unwrap();
                }
            }
        }
        Change::LargePiecesMoved(at) => {
            if let Some(path) = large(*at) {
                let mut content = fs::read(&path).unwrap();
                content.rotate_left(1 << 20);
                fs::write(&path, content).unwrap();
            }
        }
        Change::LargePunch(at, to) => {
            if let Some(path) = large(*at) {
                let page = to % 256;
                let line = format!("fallocate -p -o {} -l {}", page * 4096, (to % 7 + 1) << 16);
                run(&line, &path);
            }
        }
        Change::LargeFill(at) => {
            if let Some(path) = large(*at) {
                let path = path.display();
                sandbox.ok(&format!(
                    "cp --sparse=never --preserve=all '{path}' filled && mv filled '{path}'"
                ));
            }
        }
        Change::LargeCopy(at, to) => {
            if let Some(path) = large(*at) {
                let _ = fs::copy(path, dir(*to).join(format!("c{}", to % 100)));
            }
        }
        Change::LargeLink(at, to) => {
            if let Some(path) = large(*at) {
                let place = dir(*to).join(format!("f{}", to % 1000));
                let _ = fs::remove_file(&place);
                let _ = fs::hard_link(path, place);
            }
        }
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
            if let Some(mut content) = fs::read(&path).ok().filter(|it| !it.is_empty()) {
                let at = at % content.len();
                content[at] ^= 1;
                fs::write(path, content).unwrap();
            }
        }
    }
}
