//! Reads the map of a sparse file from the stream and from extended headers.
//!
//! Knows where maps are; sparse.rs parses them.

use std::io::Read;

use anyhow::{Context, Result, bail};

use crate::format::decode::real_size_of;
use crate::format::entry::Extent;
use crate::format::header::{BLOCK_BYTES, Block};
use crate::format::pax::Extended;
use crate::format::sparse;
use crate::read::blocks::{Blocks, Content};

/// The map in the header of GNU tar's old format, and in the blocks between it and the content.
pub(crate) fn old_map<R: Read>(blocks: &mut Blocks<R>, block: &Block) -> Result<Vec<Extent>> {
    let (mut extents, mut more) = sparse::old(block, sparse::OLD_IN_HEADER)?;
    while more {
        let (further, still_more) = sparse::old(&blocks.block()?, sparse::OLD_IN_BLOCK)?;
        extents.extend(further);
        sparse::check_count(extents.len())?;
        more = still_more;
    }
    Ok(extents)
}

/// The map of a sparse file and its size with holes; `None` if it is not sparse. Leaves the stream at
/// the start of the data.
///
/// # Errors
/// An invalid map, failed reads.
pub(crate) fn map<R: Read>(
    blocks: &mut Blocks<R>,
    block: &Block,
    extended: Extended<'_>,
    old: Option<Vec<Extent>>,
) -> Result<Option<(Vec<Extent>, u64)>> {
    // A header without extents but with data is that of a normal file.
    let old = old.filter(|extents| !extents.is_empty() || blocks.content_left == 0);
    let extents = match sparse::map_of(extended.own)? {
        sparse::SparseMap::None => old,
        sparse::SparseMap::Map(extents) => Some(extents),
        sparse::SparseMap::BeforeData => Some(before_data(blocks)?),
    };
    let Some(extents) = extents else {
        return Ok(None);
    };
    let size = real_size_of(block, extended)?;
    sparse::check(&extents, size, blocks.content_left)?;
    Ok(Some((extents, size)))
}

fn before_data<R: Read>(blocks: &mut Blocks<R>) -> Result<Vec<Extent>> {
    let mut lines = Lines {
        blocks,
        block: [0; BLOCK_BYTES],
        at: BLOCK_BYTES,
    };
    let count = usize::try_from(lines.next()?)?;
    sparse::check_count(count)?;
    let numbers: Result<Vec<u64>> = (0..count * 2).map(|_| lines.next()).collect();
    sparse::pair(&numbers?)
}

/// The numbers of a sparse map of format 1.0, each on a line, in whole blocks before the data.
struct Lines<'a, R> {
    blocks: &'a mut Blocks<R>,
    block: Block,
    at: usize,
}

impl<R: Read> Lines<'_, R> {
    fn next(&mut self) -> Result<u64> {
        let mut digits = String::new();
        loop {
            if self.at == BLOCK_BYTES {
                let mut content = Content(self.blocks);
                content
                    .read_exact(&mut self.block)
                    .context("a sparse map is cut short")?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return sparse::parse(&digits),
                b'0'..=b'9' if digits.len() < 20 => digits.push(char::from(byte)),
                _ => bail!("a sparse map is malformed"),
            }
        }
    }
}
