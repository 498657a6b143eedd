//! Detects input on stdin that a program would ignore: whoever pipes records in expects them to be
//! read.
//!
//! cron, ssh and shell loops pass a stdin that means nothing. So programs that only list refuse
//! records alone, and leave them unread. Knows no record.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::io::{ioctl_fionread, pread};
use rustix::pipe::{SpliceFlags, pipe, tee};

use crate::message::UsageError;

/// How long to wait for the first line: all stages of a pipeline start at once.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

/// Refuses any pipe or file on stdin: for a program that destroys, as it may have been meant to
/// select.
///
/// # Errors
/// [`UsageError`] that ends with `remedy`.
pub fn check_no_input(remedy: &str) -> Result<(), UsageError> {
    let what = match kind() {
        Some(FileType::Fifo) => "a pipe",
        Some(FileType::RegularFile) => "a file",
        // ssh and inetd pass a socket that may never carry data.
        Some(FileType::Socket)
            if waits_for_data() && ioctl_fionread(io::stdin()).is_ok_and(|bytes| bytes > 0) =>
        {
            "a socket with data"
        }
        _ => return Ok(()),
    };
    Err(UsageError(format!(
        "standard input is {what}, which is not read: {remedy}"
    )))
}

/// Refuses records on stdin: for a program that would ignore them.
///
/// # Errors
/// [`UsageError`] that ends with `remedy`.
pub fn check_no_record(remedy: &str) -> Result<(), UsageError> {
    // Input that cannot be inspected is no record.
    if matches!(first_byte(), Ok(Some(b'{'))) {
        return Err(UsageError(format!(
            "there are lines on standard input, which are not read: {remedy}"
        )));
    }
    Ok(())
}

fn kind() -> Option<FileType> {
    let stat = fstat(io::stdin()).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

fn waits_for_data() -> bool {
    let stdin = io::stdin();
    let mut one = [PollFd::new(&stdin, PollFlags::IN)];
    // If polling fails there is nothing to wait for.
    poll(&mut one, Some(&PATIENCE)).is_ok_and(|count| count > 0)
        && one[0].revents().contains(PollFlags::IN)
}

/// The first byte on stdin, which is left there.
fn first_byte() -> io::Result<Option<u8>> {
    let mut byte = [0];
    let count = match kind() {
        Some(FileType::RegularFile) => {
            let at = seek(io::stdin(), SeekFrom::Current(0))?;
            pread(io::stdin(), &mut byte, at)?
        }
        Some(FileType::Fifo) if waits_for_data() => {
            let (copy, end): (OwnedFd, OwnedFd) = pipe()?;
            tee(io::stdin(), &end, 1, SpliceFlags::NONBLOCK)?;
            drop(end);
            std::fs::File::from(copy).read(&mut byte)?
        }
        _ => 0,
    };
    Ok((count > 0).then_some(byte[0]))
}
