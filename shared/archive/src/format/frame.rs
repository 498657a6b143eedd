//! One zstd frame (RFC 8878): its header, what it holds, and where it ends.
//!
//! Frames of bk's state the length of their content and have a checksum. A frame that needs a
//! dictionary, or more memory than `zstd -d` uses unasked, is an error. Knows nothing about the
//! content.

use std::io::{self, BufRead, Read};

use anyhow::{Context, Result};
use zstd::stream::read::Decoder;
use zstd::zstd_safe::{self, CParameter};

/// How a frame begins.
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// How a frame without content begins, but for its lowest four bits.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
/// Magic number, descriptor, window, dictionary, length of the content.
const HEADER_MAX_BYTES: usize = 18;
const BLOCK_HEADER_BYTES: usize = 3;
const CHECKSUM_BYTES: usize = 4;
/// As much as `zstd -d` allows unless told otherwise: 128 MiB.
const WINDOW_MAX_LOG: u32 = 27;

/// Its version is part of what makes a frame: another one may compress otherwise.
pub(crate) fn compressor() -> String {
    format!("libzstd {}", zstd_safe::version_string())
}

/// Whether a file that begins so is one of zstd's.
pub(crate) fn is_begin(begin: &[u8; 4]) -> bool {
    *begin == MAGIC || is_skippable(begin)
}

/// Whether a frame that begins so has no content.
pub(crate) fn is_skippable(begin: &[u8; 4]) -> bool {
    u32::from_le_bytes(*begin) & !0xf == SKIPPABLE_MAGIC
}

/// What a frame states of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of the header.
    pub(crate) bytes: usize,
    /// The content, where that is stated.
    pub(crate) content_bytes: Option<u64>,
    window_bytes: u64,
    needs_dictionary: bool,
    has_checksum: bool,
    has_unused_bit: bool,
}

impl Header {
    /// As long as a header of bk's can be, and shorter than any frame with what follows the frames.
    pub(crate) const OWN_MAX_BYTES: usize = 14;

    /// Reads the header from the bytes at the start of a frame; `None` where they are too few, or none.
    pub(crate) fn parse(begin: &[u8]) -> Option<Self> {
        let rest = begin.strip_prefix(&MAGIC)?;
        let (&descriptor, mut rest) = rest.split_first()?;
        let mut bytes = MAGIC.len() + 1;
        let mut number = |count: usize| {
            let (taken, left) = rest.split_at_checked(count)?;
            (rest, bytes) = (left, bytes + count);
            let mut number = [0; 8];
            number[..count].copy_from_slice(taken);
            Some(u64::from_le_bytes(number))
        };
        let is_single = descriptor & 0x20 != 0;
        let window = match is_single {
            true => None,
            false => Some(number(1)?),
        };
        let dictionary = number([0, 1, 2, 4][usize::from(descriptor & 3)])?;
        let content_bytes = match (descriptor >> 6, is_single) {
            (0, false) => None,
            (0, true) => Some(number(1)?),
            (1, _) => Some(number(2)? + 256),
            (2, _) => Some(number(4)?),
            _ => Some(number(8)?),
        };
        let window_bytes = window.map(|window| {
            let base = 1 << (10 + (window >> 3));
            base + base / 8 * (window & 7)
        });
        Some(Self {
            bytes,
            content_bytes,
            window_bytes: window_bytes.or(content_bytes).unwrap_or_default(),
            needs_dictionary: dictionary != 0,
            has_checksum: descriptor & 4 != 0,
            has_unused_bit: descriptor & 0x18 != 0,
        })
    }

    /// Whether it is as bk writes it.
    pub(crate) fn is_as_written(&self) -> bool {
        self.has_checksum && self.content_bytes.is_some() && !self.has_unused_bit
    }

    /// # Errors
    /// Why such a frame is not decompressed.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.needs_dictionary {
            return Err("a member needs a dictionary");
        }
        if self.window_bytes > 1 << WINDOW_MAX_LOG {
            return Err("a member needs a window of more than 128 MiB");
        }
        Ok(())
    }
}

/// The magic number and the length of a frame without content.
pub(crate) const SKIPPABLE_HEADER_BYTES: usize = 8;

/// A frame of so many bytes, at least [`SKIPPABLE_HEADER_BYTES`], that holds nothing.
pub(crate) fn padding(bytes: usize) -> Option<Vec<u8>> {
    let zeros = bytes.checked_sub(SKIPPABLE_HEADER_BYTES)?;
    let mut frame = SKIPPABLE_MAGIC.to_le_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(zeros).ok()?.to_le_bytes());
    frame.resize(bytes, 0);
    Some(frame)
}

/// The length of the content that a frame states.
pub(crate) fn content_bytes(frame: &[u8]) -> Option<usize> {
    usize::try_from(Header::parse(frame)?.content_bytes?).ok()
}

/// What came of cutting a frame from its input.
pub(crate) enum Cut {
    /// The bytes are a whole frame.
    Whole(Header),
    /// The bytes are the begin of one that holds more than was asked for, or does not tell.
    Large(Header),
    /// The input ends within it.
    Short,
    /// Why its end cannot be found.
    Bad(&'static str),
}

/// Reads the rest of a frame whose magic number stands in `frame`, if it is no longer than `max_bytes`,
/// with and without compression.
pub(crate) fn cut(input: &mut impl Read, frame: &mut Vec<u8>, max_bytes: usize) -> io::Result<Cut> {
    let header = loop {
        if let Some(header) = Header::parse(frame) {
            break header;
        }
        if frame.len() >= HEADER_MAX_BYTES || !read(input, 1, frame)? {
            return Ok(Cut::Short);
        }
    };
    let is_small = |bytes: u64| bytes <= max_bytes as u64;
    if !header.content_bytes.is_some_and(is_small) {
        return Ok(Cut::Large(header));
    }
    loop {
        let at = frame.len();
        if !read(input, BLOCK_HEADER_BYTES, frame)? {
            return Ok(Cut::Short);
        }
        let block = u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], 0]);
        let block_bytes = match (block >> 1) & 3 {
            // One byte that is repeated.
            1 => 1,
            3 => return Ok(Cut::Bad("a member cannot be decompressed")),
            _ => (block >> 3) as usize,
        };
        if !read(input, block_bytes, frame)? {
            return Ok(Cut::Short);
        }
        if block & 1 != 0 {
            break;
        }
        if frame.len() > max_bytes {
            return Ok(Cut::Large(header));
        }
    }
    let checksum_bytes = if header.has_checksum {
        CHECKSUM_BYTES
    } else {
        0
    };
    Ok(match read(input, checksum_bytes, frame)? {
        true => Cut::Whole(header),
        false => Cut::Short,
    })
}

/// Reads so many bytes onto the end of `bytes`; whether there are as many.
fn read(input: &mut impl Read, count: usize, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let read = input.take(count as u64).read_to_end(bytes)?;
    Ok(read == count)
}

/// Makes frames.
pub(crate) struct Compressor(zstd::bulk::Compressor<'static>);

impl Compressor {
    /// # Errors
    /// No memory.
    pub(crate) fn new(level: i32) -> Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
        Ok(Self(compressor))
    }

    /// # Errors
    /// A content or frame of more than 4 GiB.
    pub(crate) fn member(&mut self, content: &[u8]) -> Result<Vec<u8>> {
        u32::try_from(content.len()).context("a member holds more than 4 GiB")?;
        let frame = self.0.compress(content)?;
        u32::try_from(frame.len()).context("a member is longer than 4 GiB")?;
        Ok(frame)
    }
}

/// A frame of one block that is not compressed, so that its length does not depend on its content.
///
/// # Errors
/// More than a block can hold.
pub(crate) fn stored(content: &[u8]) -> Result<Vec<u8>> {
    const BLOCK_MAX_BYTES: usize = 128 << 10;
    let fits = content.len() <= BLOCK_MAX_BYTES;
    let bytes = u32::try_from(content.len()).ok().filter(|_| fits);
    let bytes = bytes.context("a header is longer than a block of zstd")?;
    // Content of four bytes' length, in a single segment, with a checksum.
    let mut frame = [&MAGIC[..], &[0xa4], &bytes.to_le_bytes()].concat();
    let last_raw_block = bytes << 3 | 1;
    frame.extend_from_slice(&last_raw_block.to_le_bytes()[..BLOCK_HEADER_BYTES]);
    frame.extend_from_slice(content);
    // The checksum is that of any frame of the same content.
    let compressed = Compressor::new(1)?.member(content)?;
    frame.extend_from_slice(&compressed[compressed.len() - CHECKSUM_BYTES..]);
    Ok(frame)
}

/// Decompresses whole frames.
pub(crate) struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Decompressor {
    /// # Errors
    /// No memory.
    pub(crate) fn new() -> io::Result<Self> {
        zstd::bulk::Decompressor::new().map(Self)
    }

    /// The content of a frame of at most so many bytes, checked.
    ///
    /// # Errors
    /// Why it is corrupt.
    pub(crate) fn member(
        &mut self,
        frame: &[u8],
        max_bytes: usize,
    ) -> Result<Vec<u8>, &'static str> {
        const CORRUPT: &str = "a member cannot be decompressed";
        const WRONG_LENGTH: &str = "a member does not have the number of bytes that it states";
        let header = Header::parse(frame).ok_or(CORRUPT)?;
        header.check()?;
        let stated = content_bytes(frame);
        if stated.is_some_and(|stated| stated > max_bytes) {
            return Err(WRONG_LENGTH);
        }
        match zstd_safe::find_frame_compressed_size(frame) {
            Ok(bytes) if bytes == frame.len() => {}
            Ok(_) => return Err("a member has bytes after its end"),
            Err(_) => return Err(CORRUPT),
        }
        match self.0.decompress(frame, stated.unwrap_or(max_bytes)) {
            Ok(content) if stated.is_none_or(|stated| stated == content.len()) => Ok(content),
            Ok(_) => Err(WRONG_LENGTH),
            Err(error) if error.to_string().contains("checksum") => {
                Err("the checksum of a member is wrong")
            }
            Err(_) => Err(CORRUPT),
        }
    }
}

/// Decompresses one frame piece by piece.
pub(crate) type Stream<R> = Decoder<'static, R>;

/// # Errors
/// No memory.
pub(crate) fn stream<R: BufRead>(input: R) -> io::Result<Stream<R>> {
    let mut decoder = Decoder::with_buffer(input)?.single_frame();
    decoder.window_log_max(WINDOW_MAX_LOG)?;
    Ok(decoder)
}

/// An error of libzstd is one of the data; those of the file have a number.
pub(crate) fn read_error(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Other if error.raw_os_error().is_none() => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
        _ => error,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(frame: &[u8]) -> Result<Vec<u8>, &'static str> {
        Decompressor::new().unwrap().member(frame, 1 << 20)
    }

    /// The first frame of these bytes.
    fn first(bytes: &[u8]) -> Vec<u8> {
        let mut frame = bytes[..4].to_vec();
        let cut = cut(&mut &bytes[4..], &mut frame, 1 << 20).unwrap();
        assert!(matches!(cut, Cut::Whole(_)));
        frame
    }

    #[test]
    fn what_is_refused_of_a_header() {
        let header = |descriptor: u8, rest: &[u8]| {
            Header::parse(&[&MAGIC[..], &[descriptor], rest].concat()).unwrap()
        };
        let window = Err("a member needs a window of more than 128 MiB");
        assert_eq!(header(0, &[17 << 3]).check(), Ok(()));
        assert_eq!(header(0, &[17 << 3 | 1]).check(), window);
        assert_eq!(header(0, &[21 << 3]).check(), window);
        let single = header(0xa0, &u32::MAX.to_le_bytes());
        assert_eq!(single.content_bytes, Some(u64::from(u32::MAX)));
        assert_eq!(single.check(), window);
        let dictionary = Err("a member needs a dictionary");
        assert_eq!(header(0x21, &[7, 0]).check(), dictionary);
        assert_eq!(header(0x60, &[1, 0]).content_bytes, Some(257));
        assert_eq!(Header::parse(&MAGIC), None);
        assert_eq!(Header::parse(b"\x28\xb5\x2f\xfd\x20"), None);
    }

    #[test]
    fn a_frame_with_another_length_or_checksum_is_refused() {
        let frame = Compressor::new(3).unwrap().member(&[7; 3000]).unwrap();
        assert_eq!(whole(&frame).unwrap(), [7; 3000]);
        let more = [&frame[..], b"\0"].concat();
        assert_eq!(whole(&more), Err("a member has bytes after its end"));
        let mut other = frame.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(whole(&other), Err("the checksum of a member is wrong"));
        for change in [1, 255] {
            let mut other = frame.clone();
            other[5] = other[5].wrapping_add(change);
            whole(&other).unwrap_err();
            let mut read = Vec::new();
            stream(&other[..])
                .unwrap()
                .read_to_end(&mut read)
                .unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn frames_joined_are_walked_and_read_by_any_zstd(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5000), 1..5),
            level in 1..=19,
        ) {
            let mut compressor = Compressor::new(level).unwrap();
            let mut frames: Vec<_> = contents.iter().map(|it| compressor.member(it).unwrap()).collect();
            frames.push(stored(&contents[0]).unwrap());
            let joined = frames.concat();
            let mut at = 0;
            for frame in &frames {
                prop_assert!(Header::parse(frame).unwrap().is_as_written());
                prop_assert_eq!(&first(&joined[at..]), frame);
                prop_assert!(contents.contains(&whole(frame).unwrap()));
                at += frame.len();
            }
            let read = zstd::decode_all(&joined[..]).unwrap();
            prop_assert_eq!(read, [contents.concat(), contents[0].clone()].concat());
        }
    }
}
