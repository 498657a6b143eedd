//! How the tar stream is compressed: as gzip members or as zstd frames. Both are called members.
//!
//! The one place that knows which codecs there are. Knows nothing about the content.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use flate2::bufread::GzDecoder;

use crate::format::damage::Salvage;
use crate::format::seek_table::Builder;
use crate::format::{frame, member};

/// A member that holds more, or is longer itself, is decompressed as a stream. The writer's own are
/// smaller.
pub(crate) const MEMBER_MAX_BYTES: usize = 8 << 20;

/// How headers are written and where members are cut. It is to count up with each change of that: what
/// was cut otherwise cannot be taken over.
const LAYOUT: u32 = 1;

/// Whether the tar stream is compressed by gzip or by zstd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `NAME.tar.gz`
    Gzip,
    /// `NAME.tar.zst`
    Zstd,
}

impl Codec {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// Its name in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// How the file names of bk's archives end.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Gzip => ".tar.gz",
            Self::Zstd => ".tar.zst",
        }
    }

    /// All endings that file names of such archives have.
    #[must_use]
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Gzip => &[".tar.gz", ".tgz"],
            Self::Zstd => &[".tar.zst", ".tzst"],
        }
    }

    /// The levels that can be asked for.
    fn levels(self) -> RangeInclusive<i32> {
        match self {
            Self::Gzip => 0..=12,
            Self::Zstd => 1..=19,
        }
    }

    fn default_level(self) -> i32 {
        match self {
            Self::Gzip => 6,
            Self::Zstd => 3,
        }
    }

    /// The average content of a member of small files. Less makes the archive larger than one that is
    /// compressed as a whole, more makes more of it new where single files changed. zstd looks farther
    /// back.
    pub(crate) fn average_bytes(self) -> u64 {
        match self {
            Self::Gzip => 128 << 10,
            Self::Zstd => 1 << 20,
        }
    }

    /// What its members are called by everybody else.
    pub(crate) fn member_name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip member",
            Self::Zstd => "zstd frame",
        }
    }

    /// The codec of a file, whatever its name; a file that has none counts as gzip, which its reader will
    /// find out.
    #[must_use]
    pub fn of(archive: &File) -> Self {
        let mut begin = [0; 4];
        let read = archive.read_exact_at(&mut begin, 0);
        match read.is_ok() && frame::is_begin(&begin) {
            true => Self::Zstd,
            false => Self::Gzip,
        }
    }

    /// A member of a fixed length, which depends on nothing but the length of the content.
    pub(crate) fn stored(self, content: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Gzip => member::Deflater::new(0)?.member(content),
            Self::Zstd => frame::stored(content),
        }
    }

    /// A member without content, after which the file is as long as a multiple of `block_bytes`; `None`
    /// where it is so without, or where there can be none.
    pub(crate) fn padding(self, file_bytes: u64, block_bytes: u32) -> Option<Vec<u8>> {
        let block_bytes = u64::from(block_bytes);
        let least = match self {
            Self::Gzip => member::PADDING_MIN_BYTES,
            Self::Zstd => frame::SKIPPABLE_HEADER_BYTES,
        };
        let missing = file_bytes.checked_next_multiple_of(block_bytes)? - file_bytes;
        let more_blocks = (least as u64).saturating_sub(missing).div_ceil(block_bytes);
        let bytes = usize::try_from(missing + more_blocks * block_bytes).ok()?;
        match self {
            _ if missing == 0 => None,
            Self::Gzip => member::padding(bytes),
            Self::Zstd => frame::padding(bytes),
        }
    }

    /// What can be decompressed of a corrupt member, up to `max_bytes`.
    pub(crate) fn salvage(self, bytes: &[u8], max_bytes: usize) -> Salvage {
        let mut content = Vec::new();
        // In small steps: the output of the failing step is lost.
        let mut step = [0; 64];
        if let Ok(mut stream) = self.stream(bytes) {
            while let Ok(count @ 1..) = stream.read(&mut step) {
                content.extend_from_slice(&step[..count]);
                if content.len() >= max_bytes {
                    break;
                }
            }
        }
        let stated = match self {
            Self::Gzip => Some(member::content_bytes(bytes)),
            Self::Zstd => frame::content_bytes(bytes),
        };
        Salvage {
            is_complete: stated == Some(content.len()),
            content,
        }
    }

    /// Decompresses the member at the start of `input`, and consumes nothing beyond it.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn stream<R: BufRead>(self, input: R) -> io::Result<Stream<R>> {
        // Without a limit in effect: what is left of it tells how much was taken.
        let input = input.take(u64::MAX);
        Ok(match self {
            Self::Gzip => Stream::Gzip(Box::new(GzDecoder::new(input))),
            Self::Zstd => Stream::Zstd(frame::stream(input)?),
        })
    }
}

/// Decompresses one member piece by piece.
pub(crate) enum Stream<R: BufRead> {
    Gzip(Box<GzDecoder<io::Take<R>>>),
    Zstd(frame::Stream<io::Take<R>>),
}

impl<R: BufRead> Stream<R> {
    /// How much of the input was consumed.
    pub(crate) fn taken_bytes(&self) -> u64 {
        let input = match self {
            Self::Gzip(gunzip) => gunzip.get_ref(),
            Self::Zstd(frame) => frame.get_ref(),
        };
        u64::MAX - input.limit()
    }
}

impl<R: BufRead> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(gunzip) => gunzip.read(buffer),
            Self::Zstd(frame) => frame.read(buffer).map_err(frame::read_error),
        }
    }
}

/// A codec and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Which.
    pub codec: Codec,
    /// How much effort.
    pub level: i32,
}

impl Default for Compression {
    fn default() -> Self {
        Self::of(Codec::Gzip)
    }
}

impl Compression {
    /// What [`Compression::parse`] reads, for people.
    pub const FORM: &'static str = "gzip, zstd, or zstd:LEVEL with a level from 1 to 19";

    /// With the default level.
    #[must_use]
    pub fn of(codec: Codec) -> Self {
        let level = codec.default_level();
        Self { codec, level }
    }

    /// # Errors
    /// A level out of range.
    pub fn new(codec: Codec, level: i32) -> Result<Self> {
        let levels = codec.levels();
        let text = || {
            let (first, last) = (levels.start(), levels.end());
            format!(
                "the compression level of {} is a number from {first} to {last}",
                codec.name()
            )
        };
        let is_one = levels.contains(&level).then_some(());
        is_one.with_context(text)?;
        Ok(Self { codec, level })
    }

    /// Reads `CODEC` or `CODEC:LEVEL`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some((name, level)) = text.split_once(':') else {
            return Codec::named(text).map(Self::of);
        };
        let is_number = level.bytes().all(|byte| byte.is_ascii_digit());
        let level = level.parse().ok().filter(|_| is_number)?;
        Self::new(Codec::named(name)?, level).ok()
    }

    /// What else than the content makes the bytes of a member.
    #[must_use]
    pub fn archive_format(self) -> String {
        let compressor = match self.codec {
            Codec::Gzip => member::COMPRESSOR.to_owned(),
            Codec::Zstd => frame::compressor(),
        };
        let (codec, level) = (self.codec.name(), self.level);
        format!("{codec}, {compressor}, level {level}, layout {LAYOUT}")
    }

    /// One that makes members so.
    ///
    /// # Errors
    /// A level out of range.
    pub fn compressor(self) -> Result<Compressor> {
        Self::new(self.codec, self.level)?;
        Ok(Compressor(match self.codec {
            Codec::Gzip => By::Gzip(member::Deflater::new(self.level)?),
            Codec::Zstd => By::Zstd(frame::Compressor::new(self.level)?),
        }))
    }
}

/// Makes members, each independently.
pub struct Compressor(By);

enum By {
    Gzip(member::Deflater),
    Zstd(frame::Compressor),
}

impl Compressor {
    /// Compresses `content` into a member.
    ///
    /// # Errors
    /// A content or member of more than 4 GiB.
    pub fn member(&mut self, content: &[u8]) -> Result<Vec<u8>> {
        match &mut self.0 {
            By::Gzip(deflater) => deflater.member(content),
            By::Zstd(compressor) => compressor.member(content),
        }
    }
}

/// Decompresses whole members.
pub(crate) enum Decompressor {
    Gzip(member::Inflater),
    Zstd(frame::Decompressor),
}

impl Decompressor {
    pub(crate) fn new(codec: Codec, is_strict: bool) -> io::Result<Self> {
        Ok(match codec {
            Codec::Gzip => Self::Gzip(member::Inflater::new(is_strict)),
            Codec::Zstd => Self::Zstd(frame::Decompressor::new()?),
        })
    }

    /// Decompresses a member, and checks its checksum and length.
    ///
    /// # Errors
    /// Why it is corrupt.
    pub(crate) fn member(&mut self, member: &[u8]) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Gzip(inflater) => inflater.member(member),
            Self::Zstd(decompressor) => decompressor.member(member, MEMBER_MAX_BYTES),
        }
    }
}

/// What an archive has after its last member.
pub(crate) enum Tail {
    Nothing,
    Table(Builder),
}

impl Tail {
    pub(crate) fn new(codec: Codec) -> Self {
        match codec {
            Codec::Gzip => Self::Nothing,
            Codec::Zstd => Self::Table(Builder::default()),
        }
    }

    /// One more member was written.
    pub(crate) fn add(&mut self, member: &[u8]) {
        if let Self::Table(table) = self {
            table.add(member.len(), frame::content_bytes(member));
        }
    }

    /// Padding was written.
    pub(crate) fn add_padding(&mut self, padding: &[u8]) {
        if let Self::Table(table) = self {
            table.add(padding.len(), Some(0));
        }
    }

    /// # Errors
    /// More members than a table can list.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Table(table) => table.finish(),
        }
    }
}
