//! The maps of sparse files, in the four formats of GNU tar (its manual, "Storing Sparse Files" and
//! "Basic Tar Format").
//!
//! Knows no stream: the caller passes records and blocks.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use crate::format::entry::Extent;
use crate::format::header::{Block, number};
use crate::format::pax::{Record, Records};

/// Files with more extents are refused: the archive may be hostile.
pub(crate) const EXTENTS_MAX: usize = 1_000_000;

/// The size of an extent in the old format, and where extents are in header and further blocks.
const OLD_EXTENT_BYTES: usize = 24;
pub(crate) const OLD_IN_HEADER: Range<usize> = 386..482;
pub(crate) const OLD_IN_BLOCK: Range<usize> = 0..504;

/// The map of a sparse file, as far as the extended header has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SparseMap {
    /// The file is not sparse.
    None,
    /// Formats 0.0 and 0.1: the records are the map.
    Map(Vec<Extent>),
    /// Format 1.0: the map precedes the data.
    BeforeData,
}

/// Reads the map from an extended header.
///
/// # Errors
/// An unknown format, a malformed map.
pub(crate) fn map_of(records: &Records) -> Result<SparseMap> {
    let text = |keyword| {
        let value = records.last(keyword).map(str::from_utf8).transpose();
        value.context("a sparse map is not UTF-8")
    };
    match (text("GNU.sparse.major")?, text("GNU.sparse.minor")?) {
        (Some("1"), Some("0")) => return Ok(SparseMap::BeforeData),
        (None | Some("0"), _) => {}
        (Some(major), minor) => bail!(
            "the sparse format {}.{} is unknown",
            major.escape_debug(),
            minor.unwrap_or("?").escape_debug()
        ),
    }
    let numbers: Vec<u64> = if let Some(map) = text("GNU.sparse.map")? {
        let parts = map.split(',').filter(|part| !part.is_empty());
        parts.map(parse).collect::<Result<_>>()?
    } else {
        let is_number = |(keyword, _): &Record<'_>| {
            [&b"GNU.sparse.offset"[..], b"GNU.sparse.numbytes"].contains(keyword)
        };
        let pieces = records.iter().filter(is_number);
        pieces
            .map(|(_, value)| parse(str::from_utf8(value)?))
            .collect::<Result<_>>()?
    };
    if numbers.is_empty() && records.last("GNU.sparse.size").is_none() {
        return Ok(SparseMap::None);
    }
    Ok(SparseMap::Map(pair(&numbers)?))
}

/// Parses a number of a sparse map.
pub(crate) fn parse(text: &str) -> Result<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number.with_context(|| format!("'{}' is not a number of a sparse map", text.escape_debug()))
}

/// Extents from alternating offsets and lengths.
pub(crate) fn pair(numbers: &[u64]) -> Result<Vec<Extent>> {
    ensure!(numbers.len().is_multiple_of(2), "a sparse map is cut short");
    check_count(numbers.len() / 2)?;
    let extent = |pair: &[u64]| Extent {
        offset: pair[0],
        length: pair[1],
    };
    Ok(numbers.chunks_exact(2).map(extent).collect())
}

pub(crate) fn check_count(count: usize) -> Result<()> {
    ensure!(
        count <= EXTENTS_MAX,
        "a sparse map has more than {EXTENTS_MAX} extents"
    );
    Ok(())
}

/// The extents in a header of the old format or in a block that follows it, and whether one more
/// follows.
pub(crate) fn old(block: &Block, within: Range<usize>) -> Result<(Vec<Extent>, bool)> {
    let is_more = block[within.end] != 0;
    let (records, _) = block[within].as_chunks::<OLD_EXTENT_BYTES>();
    let used = records.iter().take_while(|record| record[12] != 0);
    let extents = used.map(|record| {
        let number = |field| {
            u64::try_from(number(field)?)
                .ok()
                .context("a sparse map is malformed")
        };
        Ok(Extent {
            offset: number(&record[..12])?,
            length: number(&record[12..])?,
        })
    });
    Ok((extents.collect::<Result<_>>()?, is_more))
}

/// Checks that extents are in order, within the file, and of `data_bytes` in total.
///
/// # Errors
/// The rule that they break.
pub(crate) fn check(extents: &[Extent], size: u64, data_bytes: u64) -> Result<()> {
    let (mut end, mut sum) = (0, 0u64);
    for extent in extents {
        let until = extent.offset.checked_add(extent.length);
        let until = until.filter(|until| extent.offset >= end && *until <= size);
        end = until.context("the extents of a sparse map overlap or leave the file")?;
        sum += extent.length;
    }
    ensure!(
        sum == data_bytes,
        "a sparse map has {sum} bytes of data, the header {data_bytes}"
    );
    Ok(())
}
