//! One gzip member (RFC 1952) whose header tells the member's own length.
//!
//! The extra field carries the subfield `BK` with the length of the whole member as four bytes,
//! least significant first, so that a reader can walk an archive without inflating it. Knows
//! nothing of what a member holds.

use anyhow::{Context, Result, ensure};
use libdeflater::{CompressionLvl, Compressor};

/// Header with the extra field, before the deflated bytes.
pub(crate) const HEADER_BYTES: usize = 20;
/// CRC-32 and length, after them.
pub(crate) const TRAILER_BYTES: usize = 8;
const LENGTH_AT: usize = 16;

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
        // FLG is FEXTRA, no time, unknown system; XLEN 8, then SI1 SI2 LEN.
        member[..LENGTH_AT].copy_from_slice(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x08\0BK\x04\0");
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

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
