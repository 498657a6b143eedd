//! Lines on stdin that a program was not told to read: who pipes some in means them.
//!
//! cron, ssh and loops of a shell give a program a stdin that means nothing, which is why what
//! only lists complains of records alone, and reads none. Knows no record.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::io::{ioctl_fionread, pread};
use rustix::pipe::{SpliceFlags, pipe, tee};

use crate::message::UsageError;

/// How long lines may take that are on their way: all stages of a pipeline begin at once.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

/// For a program that destroys what it is not told to spare: any pipe or file may be meant as
/// the choice.
///
/// # Errors
/// [`UsageError`], with what `remedy` says.
pub fn check_no_choice(remedy: &str) -> Result<(), UsageError> {
    let what = match kind() {
        Some(FileType::Fifo) => "a pipe",
        Some(FileType::RegularFile) => "a file",
        // ssh and inetd give one that nobody may ever write to.
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

/// For a program that would go on as if nothing was piped in.
///
/// # Errors
/// [`UsageError`], with what `remedy` says, where a record is waiting to be read.
pub fn check_no_record(remedy: &str) -> Result<(), UsageError> {
    // What cannot be looked at is none.
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
    // Where even that fails there is nothing to wait for.
    poll(&mut one, Some(&PATIENCE)).is_ok_and(|count| count > 0)
        && one[0].revents().contains(PollFlags::IN)
}

/// Of what is to be read, which stays there for whoever it is meant for.
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
