//! Prints one file of an archive.
//!
//! Follows hard links within the archive; writes nothing to disk.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};

use crate::format::entry::{Entry, Kind};
use crate::read::entries::Entries;
use crate::restore::extract::Observer;
use crate::restore::names::{NameRange, normalize};

const BUFFER_BYTES: usize = 256 << 10;
/// So many hard links are followed; each may need a pass over the archive.
const LINKS_MAX: usize = 8;

/// Prints a file to standard output, and returns its size. Where the entries of the archive are in the order of their
/// names, only those that can have the name are read.
///
/// # Errors
/// A name that is not there or not a file, and a damaged archive. A reader that goes away is no
/// error.
pub fn print(
    archive: &File,
    is_in_order: bool,
    jobs: usize,
    path: &[u8],
    observer: &dyn Observer,
) -> Result<u64> {
    let mut wanted = normalize(path)?;
    for _ in 0..LINKS_MAX {
        let sought = [NameRange::path(wanted.clone())];
        let sought = is_in_order.then_some(&sought[..]);
        let mut entries = Entries::read(archive, sought, jobs, false, &|| observer.is_stopped())?;
        let entry = find(&mut entries, &wanted, observer)?;
        match &entry.kind {
            Kind::File { .. } => {
                print_file(&entry, entries.content(), observer)?;
                return Ok(entry.size);
            }
            Kind::HardLink(first) => wanted = normalize(first)?,
            Kind::Symlink(target) => {
                bail!("it is a symbolic link to '{}'", target.escape_ascii())
            }
            Kind::Directory => bail!("it is a directory"),
            _ => bail!("it is not a file"),
        }
        // The next pass shares the file offset: this one must have ended.
        entries.into_input().whole();
    }
    bail!("it is a hard link to a hard link, and so on")
}

fn find(entries: &mut Entries, wanted: &[u8], observer: &dyn Observer) -> Result<Entry> {
    while let Some(entry) = entries.next_entry()? {
        ensure!(!observer.is_stopped(), "interrupted");
        if normalize(&entry.path).is_ok_and(|name| name == wanted) {
            return Ok(entry);
        }
    }
    bail!("the backup holds no '{}'", wanted.escape_ascii())
}

fn print_file(entry: &Entry, mut content: impl Read, observer: &dyn Observer) -> Result<()> {
    let mut at = 0;
    for extent in entry.data().iter() {
        copy(&mut io::repeat(0), extent.offset - at, observer)?;
        copy(&mut content, extent.length, observer)?;
        at = extent.offset + extent.length;
    }
    // The hole at the end.
    copy(&mut io::repeat(0), entry.size - at, observer)
}

fn copy(from: &mut impl Read, count: u64, observer: &dyn Observer) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut stdout = io::stdout().lock();
    let mut left = count;
    while left > 0 {
        ensure!(!observer.is_stopped(), "interrupted");
        let piece = usize::try_from(left).unwrap_or(usize::MAX);
        let piece = piece.min(buffer.len());
        from.read_exact(&mut buffer[..piece])?;
        match stdout.write_all(&buffer[..piece]) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write to standard output")?,
        }
        left -= piece as u64;
    }
    stdout.flush().or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error).context("cannot write to standard output"),
    })
}
