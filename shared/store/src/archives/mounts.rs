//! Where the file system of a directory is mounted, and what is mounted below it, as the kernel
//! tells it.
//!
//! Reads `/proc/self/mountinfo`, whose format proc(5) has; where there is none, the topmost
//! directory of the same device is taken. Knows no archive.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Every place where something is mounted.
#[derive(Debug)]
pub struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Those that this process sees; none where the system does not tell.
    pub fn read() -> Self {
        Self(parse(&fs::read("/proc/self/mountinfo").unwrap_or_default()))
    }

    /// The mount point of a directory that is there.
    pub fn of(&self, dir: &Path) -> PathBuf {
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let above = self.0.iter().filter(|mount| dir.starts_with(mount));
        let longest = above.max_by_key(|mount| mount.components().count());
        longest.cloned().unwrap_or_else(|| top_of_device(&dir))
    }

    /// What is mounted below a directory, which is told without links on the way.
    pub fn below(&self, dir: &Path) -> Vec<&Path> {
        let is_below = |mount: &&PathBuf| mount.as_path() != dir && mount.starts_with(dir);
        self.0
            .iter()
            .filter(is_below)
            .map(PathBuf::as_path)
            .collect()
    }
}

fn top_of_device(dir: &Path) -> PathBuf {
    let device = |path: &Path| path.metadata().map(|it| it.dev()).ok();
    let own = device(dir);
    let same = dir.ancestors().take_while(|it| device(it) == own).last();
    same.unwrap_or(dir).to_owned()
}

/// The fifth field of each line.
fn parse(mountinfo: &[u8]) -> Vec<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let field = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescape);
    lines.filter_map(field).collect()
}

/// Space, tab, newline and backslash stand as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let text = octal.and_then(|digits| str::from_utf8(digits).ok());
        match text.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
        36 22 98:0 /mnt1 /srv rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
        37 36 98:1 / /srv/a\\040b\\134\\011\\012c rw - tmpfs tmpfs rw\n\
        38 22 98:2 / /srv/odd\\9\\04 rw - tmpfs tmpfs rw\n\
        torn\n";

    #[test]
    fn the_longest_mount_point_above_it_is_its_own() {
        let mounts = Mounts(parse(INFO));
        for (dir, mount) in [
            ("/", "/"),
            ("/nowhere/at/all", "/"),
            ("/srv", "/srv"),
            ("/srv/deep/er", "/srv"),
            ("/srvx", "/"),
            ("/srv/a b\\\t\nc/d", "/srv/a b\\\t\nc"),
            ("/srv/odd\\9\\04", "/srv/odd\\9\\04"),
        ] {
            assert_eq!(mounts.of(Path::new(dir)), Path::new(mount), "{dir}");
        }
    }

    #[test]
    fn what_is_mounted_below_is_told_by_whole_names() {
        let mounts = Mounts(parse(INFO));
        let below = |dir| mounts.below(Path::new(dir)).len();
        assert_eq!(
            (below("/"), below("/srv"), below("/sr"), below("/srv/a")),
            (3, 2, 0, 0)
        );
    }

    #[test]
    fn without_the_kernels_word_it_is_the_top_of_the_device() {
        let mounts = Mounts(Vec::new());
        assert_eq!(mounts.of(Path::new("/")), Path::new("/"));
        let proc = Path::new("/proc/self/task");
        if proc.exists() {
            assert_eq!(mounts.of(proc), Path::new("/proc"));
        }
    }

    #[test]
    fn a_torn_line_is_passed_over() {
        assert_eq!(parse(INFO).len(), 4);
        assert_eq!(parse(b"").len(), 0);
    }
}
