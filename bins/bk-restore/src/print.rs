//! One file of a backup to standard output.
//!
//! A name of it that is a hard link leads to its content; nothing is written to any disk.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::entries::Entries;
use bk_archive::entry::Kind;
use bk_archive::extract::Observer;
use bk_archive::names::{Sought, plain};

use crate::watch::Watch;

const BUFFER_BYTES: usize = 256 << 10;

/// An archive that is open.
pub(crate) struct Archive<'a> {
    pub(crate) file: &'a File,
    /// Whether its entries are in the order of bk's archives.
    pub(crate) is_in_order: bool,
    pub(crate) jobs: usize,
}

/// Prints the file of that name; returns how many bytes it has.
///
/// # Errors
/// A name that is not there or is no file's, a damaged archive, those of standard output. A
/// reader that goes away is none.
pub(crate) fn print(archive: &Archive<'_>, path: &[u8], watch: &Watch) -> Result<u64> {
    let wanted = plain(path)?;
    match look_for(archive, &wanted, watch)? {
        Found::Printed(bytes) => Ok(bytes),
        Found::Link(first) => match look_for(archive, &first, watch)? {
            Found::Printed(bytes) => Ok(bytes),
            Found::Link(_) => bail!("it is a hard link to another"),
        },
    }
}

enum Found {
    Printed(u64),
    /// The name that holds the content.
    Link(Vec<u8>),
}

fn look_for(archive: &Archive<'_>, wanted: &[u8], watch: &Watch) -> Result<Found> {
    let sought = [Sought::path(wanted.to_owned())];
    let sought = archive.is_in_order.then_some(&sought[..]);
    let mut reader = Entries::read(archive.file, sought, archive.jobs, &|| watch.is_stopped())?;
    while let Some(entry) = reader.next_entry()? {
        ensure!(!watch.is_stopped(), "interrupted");
        if plain(&entry.path)? != wanted {
            continue;
        }
        let extents = match entry.kind {
            Kind::File { extents } => extents,
            Kind::HardLink(first) => {
                let first = plain(&first)?;
                // The next reading shares the place in the file: this one is to be over.
                reader.into_input().whole();
                return Ok(Found::Link(first));
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
