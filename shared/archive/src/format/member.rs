//! One gzip member (RFC 1952) whose header states the length of the member.
//!
//! The extra field has the subfield `BK` with the length of the whole member as four bytes,
//! least significant first, so that a reader can skip it without inflating it. Padding is a member
//! without content, whose extra field `BP` has zeros after the length. Knows nothing about the content.

use anyhow::{Context, Result, ensure};
use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

/// Header with the extra field, before the deflated bytes.
pub(crate) const HEADER_BYTES: usize = 20;
/// CRC-32 and length, after them.
pub(crate) const TRAILER_BYTES: usize = 8;
const LENGTH_AT: usize = 16;
/// FLG is FEXTRA, no time, unknown system; XLEN 8, then SI1 SI2 LEN.
const BEGIN: &[u8; LENGTH_AT] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x08\0BK\x04\0";
const XLEN_AT: usize = 10;
const SUBFIELD_AT: usize = 12;
const SUBFIELD_HEADER_BYTES: usize = 4;
/// Deflated, no bytes are two.
const NOTHING: [u8; 2] = [3, 0];
/// The shortest padding.
pub(crate) const PADDING_MIN_BYTES: usize = HEADER_BYTES + NOTHING.len() + TRAILER_BYTES;

/// Its version is part of what makes a member: another one may compress otherwise.
pub(crate) const COMPRESSOR: &str = "libdeflate 1.26.1";

/// Compresses members, each independently.
pub struct Deflater(Compressor);

impl Deflater {
    /// A compressor with a level from 0 to 12.
    ///
    /// # Errors
    /// Any other level.
    pub fn new(level: i32) -> Result<Self> {
        let level = CompressionLvl::new(level).ok();
        let level = level.with_context(|| "the compression level is a number from 0 to 12")?;
        Ok(Self(Compressor::new(level)))
    }

    /// Compresses `content` into a member.
    ///
    /// # Errors
    /// A content or member of more than 4 GiB.
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

/// The length that the member at the start of `bytes` states; `None` for a member of another program,
/// which has none.
///
/// # Errors
/// A length shorter than header and trailer.
pub fn stated_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return Ok(None);
    };
    let is_member = header[XLEN_AT..LENGTH_AT] == BEGIN[XLEN_AT..];
    if header[..4] != BEGIN[..4] || !is_member && !is_padding(header) {
        return Ok(None);
    }
    let mut length = [0; 4];
    length.copy_from_slice(&header[LENGTH_AT..]);
    let length = u32::from_le_bytes(length) as usize;
    ensure!(
        length > HEADER_BYTES + TRAILER_BYTES,
        "a member states a length of {length} bytes, less than its own header"
    );
    Ok(Some(length))
}

/// Whether a header is exactly as bk writes it; of padding all is compared later.
pub(crate) fn is_as_written(header: &[u8]) -> bool {
    header.starts_with(BEGIN) || is_padding(header)
}

/// Whether a member that begins so is padding.
fn is_padding(header: &[u8]) -> bool {
    header[SUBFIELD_AT..].starts_with(b"BP")
}

/// A member of so many bytes, at least [`PADDING_MIN_BYTES`], that holds nothing; `None` where no
/// extra field is that long.
pub(crate) fn padding(bytes: usize) -> Option<Vec<u8>> {
    let zeros = bytes.checked_sub(PADDING_MIN_BYTES)?;
    let subfield = u16::try_from(HEADER_BYTES - LENGTH_AT + zeros).ok()?;
    let extra = subfield.checked_add(SUBFIELD_HEADER_BYTES as u16)?;
    let mut member = BEGIN.to_vec();
    member[XLEN_AT..SUBFIELD_AT].copy_from_slice(&extra.to_le_bytes());
    member[SUBFIELD_AT..SUBFIELD_AT + 2].copy_from_slice(b"BP");
    member[SUBFIELD_AT + 2..LENGTH_AT].copy_from_slice(&subfield.to_le_bytes());
    member.extend_from_slice(&u32::try_from(bytes).ok()?.to_le_bytes());
    member.resize(HEADER_BYTES + zeros, 0);
    member.extend_from_slice(&NOTHING);
    // The checksum and the length of nothing.
    member.resize(bytes, 0);
    Some(member)
}

/// Inflates members that state their length.
pub(crate) enum Inflater {
    /// libdeflate: twice as fast. Accepts some data that gzip(1) rejects, such as an incomplete
    /// distance code, and does not detect unused input.
    Fast(Decompressor),
    /// zlib: rejects what gzip(1) rejects, and unused input.
    Strict(Decompress),
}

impl Inflater {
    pub(crate) fn new(is_strict: bool) -> Self {
        if is_strict {
            Self::Strict(Decompress::new(false))
        } else {
            Self::Fast(Decompressor::new())
        }
    }

    /// Inflates a member and checks its checksum and length.
    ///
    /// # Errors
    /// Why it is corrupt.
    pub(crate) fn member(&mut self, member: &[u8]) -> Result<Vec<u8>, &'static str> {
        if is_padding(member) {
            let is_so = padding(member.len()).is_some_and(|padding| padding == member);
            return is_so.then(Vec::new).ok_or("padding is not as bk writes it");
        }
        let mut content = vec![0; content_bytes(member)];
        let deflated = &member[HEADER_BYTES..member.len() - TRAILER_BYTES];
        match self {
            Self::Fast(decompressor) => inflate_fast(decompressor, deflated, &mut content)?,
            Self::Strict(decompress) => inflate_strictly(decompress, deflated, &mut content)?,
        }
        let trailer = &member[member.len() - TRAILER_BYTES..];
        if trailer[..4] != libdeflater::crc32(&content).to_le_bytes() {
            return Err("the checksum of a member is wrong");
        }
        Ok(content)
    }
}

const WRONG_LENGTH: &str = "a member does not have the number of bytes that it states";
const NOT_DEFLATED: &str = "a member cannot be inflated";

fn inflate_fast(
    decompressor: &mut Decompressor,
    deflated: &[u8],
    content: &mut [u8],
) -> Result<(), &'static str> {
    match decompressor.deflate_decompress(deflated, content) {
        Ok(count) if count == content.len() => Ok(()),
        Ok(_) | Err(DecompressionError::InsufficientSpace) => Err(WRONG_LENGTH),
        Err(DecompressionError::BadData) => Err(NOT_DEFLATED),
    }
}

fn inflate_strictly(
    decompress: &mut Decompress,
    deflated: &[u8],
    content: &mut [u8],
) -> Result<(), &'static str> {
    decompress.reset(false);
    let status = decompress.decompress(deflated, content, FlushDecompress::Finish);
    let is_full = decompress.total_out() == content.len() as u64;
    match status {
        Err(_) => Err(NOT_DEFLATED),
        Ok(Status::StreamEnd) if !is_full => Err(WRONG_LENGTH),
        Ok(Status::StreamEnd) if decompress.total_in() == deflated.len() as u64 => Ok(()),
        Ok(Status::StreamEnd) => Err("a member has bytes after its end"),
        Ok(_) if is_full => Err(WRONG_LENGTH),
        Ok(_) => Err(NOT_DEFLATED),
    }
}

/// The length of the content that a member states in its last four bytes.
pub(crate) fn content_bytes(member: &[u8]) -> usize {
    let told = member.last_chunk().copied().unwrap_or_default();
    u32::from_le_bytes(told) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read;

    use proptest::prelude::*;

    #[test]
    fn an_impossible_length_or_level_is_refused() {
        let mut member = Deflater::new(1).unwrap().member(b"x").unwrap();
        member[LENGTH_AT..HEADER_BYTES].copy_from_slice(&28u32.to_le_bytes());
        assert!(stated_length(&member).is_err());
        assert!(Deflater::new(13).is_err());
        assert_eq!(stated_length(b"\x1f\x8b\x08\0").unwrap(), None);
    }

    #[test]
    fn what_a_strict_reading_refuses() {
        let whole = Deflater::new(6).unwrap().member(&[7; 5000]).unwrap();
        let with = |at: usize, more: &[u8]| {
            let mut member = whole.clone();
            member.splice(at..at, more.iter().copied());
            member
        };
        let read = |member: &[u8]| Inflater::new(true).member(member);
        assert_eq!(read(&whole).unwrap(), [7; 5000]);
        let end = whole.len() - TRAILER_BYTES;
        let hidden = "a member has bytes after its end";
        assert_eq!(read(&with(end, b"\0")), Err(hidden));
        assert_eq!(read(&with(end, &whole[end..])), Err(hidden));
        assert_eq!(read(&with(HEADER_BYTES, b"\xff")), Err(NOT_DEFLATED));
        let mut longer = whole.clone();
        longer[end + 4] += 1;
        assert_eq!(read(&longer), Err(WRONG_LENGTH));
        longer[end + 4] -= 2;
        assert_eq!(read(&longer), Err(WRONG_LENGTH));
        let mut other = whole.clone();
        other[end] ^= 1;
        assert_eq!(read(&other), Err("the checksum of a member is wrong"));
    }

    #[test]
    fn padding_holds_nothing_and_is_compared_byte_by_byte() {
        assert_eq!(padding(PADDING_MIN_BYTES - 1), None);
        assert_eq!(padding(1 << 17), None);
        for bytes in [PADDING_MIN_BYTES, 31, 4096, 1 << 15] {
            let padding = padding(bytes).unwrap();
            assert_eq!(padding.len(), bytes);
            assert_eq!(stated_length(&padding).unwrap(), Some(bytes));
            let mut content = Vec::new();
            let mut gunzip = flate2::read::MultiGzDecoder::new(&padding[..]);
            gunzip.read_to_end(&mut content).unwrap();
            assert_eq!(content, b"");
            for at in (0..bytes).filter(|at| *at < 40 || bytes - at < 12) {
                let mut other = padding.clone();
                other[at] ^= 1;
                let is_found = match stated_length(&other) {
                    Ok(Some(length)) if length == bytes => {
                        !is_as_written(&other) || Inflater::new(true).member(&other).is_err()
                    }
                    _ => true,
                };
                assert!(is_found, "byte {at} of {bytes}");
            }
        }
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
                prop_assert_eq!(stated_length(&joined[at..]).unwrap(), Some(member.len()));
                let fast = Inflater::new(false).member(member);
                prop_assert_eq!(&fast, &Inflater::new(true).member(member));
                prop_assert!(contents.contains(&fast.unwrap()));
                at += member.len();
            }
            let mut read = Vec::new();
            flate2::read::MultiGzDecoder::new(&joined[..]).read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, contents.concat());
        }
    }
}
