//! One file of a backup to standard output.
//!
//! A name of it that is a hard link leads to its content; nothing is written to any disk.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::format::entry::Kind;
use bk_archive::read::seek;
use bk_archive::restore::extract::Observer;
use bk_archive::restore::names::{NameRange, normalize};

use crate::watch::Watch;

const BUFFER_BYTES: usize = 256 << 10;

/// An archive that is open.
pub(crate) struct Archive<'a> {
    pub(crate) file: &'a File,
    /// Whether its entries are in the order of bk's archives.
    pub(crate) is_in_order: bool,
    pub(crate) jobs: usize,
}

/// So many hard links are followed from one to the next; each may take a reading.
const LINKS_MAX: usize = 8;

/// Prints the file of that name; returns how many bytes it has. Of a name that comes twice, as
/// after `tar -r`, it is the last one, which tar leaves on the disk too.
///
/// # Errors
/// A name that is not there or is no file's, a damaged archive, those of standard output. A
/// reader that goes away is none.
pub(crate) fn print(archive: &Archive<'_>, path: &[u8], watch: &Watch) -> Result<u64> {
    let mut wanted = normalize(path)?;
    let mut before = u64::MAX;
    for _ in 0..LINKS_MAX {
        // In bk's own order a name comes once.
        let last = match archive.is_in_order {
            true => None,
            false => Some(last_before(archive, &wanted, before, watch)?),
        };
        match look_for(archive, &wanted, last, watch)? {
            Found::Printed(bytes) => return Ok(bytes),
            // It means what had the name then.
            Found::Link(first, number) => (wanted, before) = (first, number),
        }
    }
    bail!("it is a hard link to a hard link, and so on")
}

enum Found {
    Printed(u64),
    /// The name that holds the content, and the number of the entry that leads to it.
    Link(Vec<u8>, u64),
}

/// The number of the last entry of that name before another one.
fn last_before(archive: &Archive<'_>, wanted: &[u8], before: u64, watch: &Watch) -> Result<u64> {
    let mut reader = seek::read(archive.file, None, archive.jobs, &|| watch.is_stopped())?;
    let mut last = None;
    let mut number = 0;
    while let Some(entry) = reader.next_entry()? {
        ensure!(!watch.is_stopped(), "interrupted");
        if number >= before {
            break;
        }
        if is_it(&entry.path, wanted) {
            last = Some(number);
        }
        number += 1;
    }
    // The next reading shares the place in the file: this one is to be over.
    reader.into_input().whole();
    last.with_context(|| format!("the backup holds no '{}'", wanted.escape_ascii()))
}

fn is_it(path: &[u8], wanted: &[u8]) -> bool {
    normalize(path).is_ok_and(|name| name == wanted)
}

/// `number` is that of the entry; `None` for the first of the name.
fn look_for(
    archive: &Archive<'_>,
    wanted: &[u8],
    number: Option<u64>,
    watch: &Watch,
) -> Result<Found> {
    let ranges = [NameRange::path(wanted.to_owned())];
    let ranges = archive.is_in_order.then_some(&ranges[..]);
    let mut reader = seek::read(archive.file, ranges, archive.jobs, &|| watch.is_stopped())?;
    for at in 0.. {
        let Some(entry) = reader.next_entry()? else {
            break;
        };
        ensure!(!watch.is_stopped(), "interrupted");
        if number.is_some_and(|number| number != at) || !is_it(&entry.path, wanted) {
            continue;
        }
        let extents = match entry.kind {
            Kind::File { extents } => extents,
            Kind::HardLink(first) => {
                let first = normalize(&first)?;
                // The next reading shares the place in the file: this one is to be over.
                reader.into_input().whole();
                return Ok(Found::Link(first, at));
            }
            Kind::Symlink(target) => {
                bail!("it is a symbolic link to '{}'", target.escape_ascii())
            }
            Kind::Directory => bail!("it is a directory"),
            _ => bail!("it is no file"),
        };
        let mut content = reader.content();
        let mut at = 0;
        for extent in extents.unwrap_or_default() {
            let hole = extent.offset - at;
            copy(&mut io::repeat(0).take(hole), hole, watch)?;
            copy(&mut content, extent.length, watch)?;
            at = extent.offset + extent.length;
        }
        // All of a file without holes, or the hole at the end of one.
        let rest = entry.size - at;
        copy(&mut content.chain(io::repeat(0)), rest, watch)?;
        return Ok(Found::Printed(entry.size));
    }
    bail!("the backup holds no '{}'", wanted.escape_ascii())
}

fn copy(from: &mut impl Read, count: u64, watch: &Watch) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut stdout = io::stdout().lock();
    let mut left = count;
    while left > 0 {
        ensure!(!watch.is_stopped(), "interrupted");
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
