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

/// The size of the blocks that an empty file shares with others in its directory; `None` where it can
/// share none.
///
/// # Errors
/// Where the file cannot be made empty again.
pub fn block_bytes(empty: &File, dir: &Path) -> io::Result<Option<u32>> {
    let shared = share(empty, dir);
    empty.set_len(0)?;
    // Whatever keeps it from sharing does not keep it from being written.
    Ok(shared.ok())
}

fn share(empty: &File, dir: &Path) -> io::Result<u32> {
    let block_bytes = rustix::fs::fstatvfs(empty)?.f_bsize;
    if block_bytes == 0 || block_bytes > BLOCK_MAX_BYTES {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let other = File::from(rustix::fs::openat(
        CWD,
        dir,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    other.write_all_at(&vec![0; block_bytes as usize], 0)?;
    rustix::fs::ioctl_ficlone(empty, &other)?;
    Ok(block_bytes as u32)
}
