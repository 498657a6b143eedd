//! Whether the files of a directory can share blocks, as on XFS and Btrfs.
//!
//! That is found out by doing it once: neither the name of a file system tells it, nor its version.
//! Knows no archive format.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

/// Of larger blocks, padding to them costs too much.
const BLOCK_MAX_BYTES: u64 = 32 << 10;

/// The size of the blocks that files in a directory can share; `None` where they can share none, or
/// where that cannot be found out.
#[must_use]
pub fn block_bytes(dir: &Path) -> Option<u32> {
    share(dir).ok()
}

fn share(dir: &Path) -> io::Result<u32> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let unnamed = || rustix::fs::openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR).map(File::from);
    let (one, other) = (unnamed()?, unnamed()?);
    let block_bytes = rustix::fs::fstatvfs(&one)?.f_bsize;
    if block_bytes == 0 || block_bytes > BLOCK_MAX_BYTES {
        return Err(io::ErrorKind::Unsupported.into());
    }
    one.write_all_at(&vec![0; block_bytes as usize], 0)?;
    rustix::fs::ioctl_ficlone(&other, &one)?;
    Ok(block_bytes as u32)
}
