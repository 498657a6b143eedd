//! One gzip member (RFC 1952) whose header tells the member's own length.
//!
//! The extra field carries the subfield `BK` with the length of the whole member as four bytes,
//! least significant first, so that a reader can walk an archive without inflating it. Knows
//! nothing of what a member holds.

use std::io::{self, Read};

use anyhow::{Context, Result, ensure};
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

use crate::damage::Salvage;
use crate::gunzip::Gunzip;

/// Header with the extra field, before the deflated bytes.
pub(crate) const HEADER_BYTES: usize = 20;
/// CRC-32 and length, after them.
pub(crate) const TRAILER_BYTES: usize = 8;
const LENGTH_AT: usize = 16;
/// FLG is FEXTRA, no time, unknown system; XLEN 8, then SI1 SI2 LEN.
const BEGIN: &[u8; LENGTH_AT] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x08\0BK\x04\0";

/// The level unless another is asked for.
pub const DEFAULT_LEVEL: i32 = 6;

/// Compresses members, one after the other, independently of each other.
pub struct Deflater(Compressor);

impl Deflater {
    /// # Errors
    /// A level that is not from 0 to 12.
    pub fn new(level: i32) -> Result<Self> {
        let level = CompressionLvl::new(level).ok();
        let level = level.with_context(|| "the compression level is a number from 0 to 12")?;
        Ok(Self(Compressor::new(level)))
    }

    /// The member that holds `content`.
    ///
    /// # Errors
    /// A content that makes a member of more than 4 GiB.
    pub fn member(&mut self, content: &[u8]) -> Result<Vec<u8>> {
        let bound = self.0.deflate_compress_bound(content.len());
        let mut member = vec![0; HEADER_BYTES + bound + TRAILER_BYTES];
        member[..LENGTH_AT].copy_from_slice(BEGIN);
        let deflated = self
            .0
            .deflate_compress(content, &mut member[HEADER_BYTES..]);
        let deflated_bytes = deflated.context("a member does not fit its bound")?;
        let length = HEADER_BYTES + deflated_bytes + TRAILER_BYTES;
        let length_u32 = u32::try_from(length).context("a member is longer than 4 GiB")?;
        let content_u32 = u32::try_from(content.len()).context("a member holds more than 4 GiB")?;
        member[LENGTH_AT..HEADER_BYTES].copy_from_slice(&length_u32.to_le_bytes());
        let trailer = HEADER_BYTES + deflated_bytes;
        member[trailer..trailer + 4].copy_from_slice(&libdeflater::crc32(content).to_le_bytes());
        member[trailer + 4..length].copy_from_slice(&content_u32.to_le_bytes());
        member.truncate(length);
        Ok(member)
    }
}

/// The length that the member at the start of `bytes` tells of itself; `None` where the member
/// is another program's and tells none.
///
/// # Errors
/// A length that cannot be one.
pub fn told_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return Ok(None);
    };
    if &header[..4] != b"\x1f\x8b\x08\x04" || &header[10..LENGTH_AT] != b"\x08\0BK\x04\0" {
        return Ok(None);
    }
    let mut length = [0; 4];
    length.copy_from_slice(&header[LENGTH_AT..]);
    let length = u32::from_le_bytes(length) as usize;
    ensure!(
        length > HEADER_BYTES + TRAILER_BYTES,
        "a member tells a length of {length} bytes, less than its own header"
    );
    Ok(Some(length))
}

/// Whether a header that tells a length is the writer's to the last byte.
pub(crate) fn is_as_written(header: &[u8]) -> bool {
    header.starts_with(BEGIN)
}

/// What a member that tells its length holds.
///
/// # Errors
/// Why it is corrupt.
pub(crate) fn inflate_member(
    decompressor: &mut Decompressor,
    member: &[u8],
) -> Result<Vec<u8>, &'static str> {
    let mut content = vec![0; content_bytes(member)];
    match decompressor.gzip_decompress(member, &mut content) {
        Ok(count) if count == content.len() => {}
        Ok(_) | Err(DecompressionError::InsufficientSpace) => {
            return Err("a member holds another number of bytes than it tells");
        }
        Err(DecompressionError::BadData) => {
            return Err("a member cannot be inflated, or its checksum is wrong");
        }
    }
    if ends_early(member) {
        return Err("a member has bytes after its end");
    }
    Ok(content)
}

/// Whether a member whose content is right ends before the slice does. The decompressor does
/// not tell where the deflated bytes ended, but it found the right checksum and length there:
/// where the same eight bytes stand nowhere but at the end of the slice, that was there.
fn ends_early(member: &[u8]) -> bool {
    let Some((before, trailer)) = member.split_last_chunk::<TRAILER_BYTES>() else {
        return true;
    };
    let trailer = u64::from_le_bytes(*trailer);
    let mut window = 0;
    let stands_twice = before.iter().any(|byte| {
        window = window >> 8 | u64::from(*byte) << 56;
        window == trailer
    });
    let mut gunzip = Gunzip::new(member);
    stands_twice
        && (io::copy(&mut gunzip, &mut io::sink()).is_err()
            || gunzip.taken_bytes() != member.len() as u64)
}

/// What can be inflated of a corrupt member, up to so many bytes.
pub(crate) fn salvage(member: &[u8], max_bytes: usize) -> Salvage {
    let mut content = Vec::new();
    let mut gunzip = Gunzip::new(member);
    // In small steps: what the failing one inflated is not handed out.
    let mut step = [0; 64];
    while let Ok(count @ 1..) = gunzip.read(&mut step) {
        content.extend_from_slice(&step[..count]);
        if content.len() >= max_bytes {
            break;
        }
    }
    Salvage {
        is_complete: content.len() == content_bytes(member),
        content,
    }
}

/// What a member tells that it holds: its last four bytes.
pub(crate) fn content_bytes(member: &[u8]) -> usize {
    let told = member.last_chunk().copied().unwrap_or_default();
    u32::from_le_bytes(told) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_impossible_length_or_level_is_refused() {
        let mut member = Deflater::new(1).unwrap().member(b"x").unwrap();
        member[LENGTH_AT..HEADER_BYTES].copy_from_slice(&28u32.to_le_bytes());
        assert!(told_length(&member).is_err());
        assert!(Deflater::new(13).is_err());
        assert_eq!(told_length(b"\x1f\x8b\x08\0").unwrap(), None);
    }

    proptest! {
        #[test]
        fn members_joined_are_walked_by_length_and_read_by_any_gunzip(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5000), 1..5),
            level in 0..=12,
        ) {
            let mut deflater = Deflater::new(level).unwrap();
            let members: Vec<_> = contents.iter().map(|c| deflater.member(c).unwrap()).collect();
            let joined = members.concat();
            let mut at = 0;
            for member in &members {
                prop_assert_eq!(told_length(&joined[at..]).unwrap(), Some(member.len()));
                at += member.len();
            }
            let mut read = Vec::new();
            flate2::read::MultiGzDecoder::new(&joined[..]).read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, contents.concat());
        }
    }
}
