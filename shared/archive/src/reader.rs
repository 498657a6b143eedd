//! The entries of any `.tar.gz`, one after the other, with their content: ustar, pax and GNU tar.
//!
//! Takes the archive for hostile: what it tells is limited and checked before it is believed.
//! Knows no place to unpack to, and no rule of what a name may be but that it is one.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::OFlags;

use crate::entry::{Entry, Extent, FileTime, Kind};
use crate::gunzip::Gunzip;
use crate::header::{BLOCK_BYTES, number, parse_pax_time};
use crate::pax::{HEADER_MAX_BYTES, Records};
use crate::sparse::{self, Told};

/// A longer name is refused: the archive may be hostile.
pub const NAME_MAX_BYTES: usize = 64 << 10;

type Block = [u8; BLOCK_BYTES];

/// Reads the entries of a tar stream.
pub struct Reader<R> {
    input: R,
    /// Bytes of the stream that were read.
    position: u64,
    /// Of the entry's content, that were not read yet.
    content_left: u64,
    /// That follow it.
    padding: u64,
    global: Records,
    comment: Option<Vec<u8>>,
}

/// What stands before the header of an entry and tells more of it.
#[derive(Default)]
struct Before {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Reader<Gunzip<BufReader<File>>> {
    /// Opens a `.tar.gz`.
    ///
    /// # Errors
    /// Those of the file system, and what is no gzip file.
    pub fn open(archive: &Path) -> Result<Self> {
        // A FIFO in the place of an archive would block.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(archive)?;
        ensure!(file.metadata()?.is_file(), "it is no regular file");
        Ok(Self::new(Gunzip::new(BufReader::with_capacity(
            1 << 17,
            file,
        ))?))
    }
}

impl<R: Read> Reader<R> {
    /// Reads from a tar stream.
    pub fn new(input: R) -> Self {
        Self {
            input,
            position: 0,
            content_left: 0,
            padding: 0,
            global: Records::default(),
            comment: None,
        }
    }

    /// The `comment` of the global header, which in an own archive is the record's birth facts;
    /// known from the first entry on.
    #[must_use]
    pub fn comment(&self) -> Option<&[u8]> {
        self.comment.as_deref()
    }

    /// The next entry; `None` when the archive is over and whole. What was not read of the
    /// content of the one before is passed over.
    ///
    /// # Errors
    /// Where the archive is damaged, cut short, or not one; those of the input.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        io::copy(&mut self.content(), &mut io::sink())?;
        self.skip_padding()?;
        let begin = self.position;
        self.parse_entry()
            .with_context(|| format!("at byte {begin} of the tar stream"))
    }

    /// The content of the last entry: of a file with holes, the data alone.
    pub fn content(&mut self) -> impl Read + '_ {
        Content(self)
    }

    fn parse_entry(&mut self) -> Result<Option<Entry>> {
        let mut before = Before::default();
        loop {
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                self.check_end()?;
                return Ok(None);
            }
            check_sum(&block)?;
            match flag(&block) {
                b'g' => {
                    let records = self.records(&block)?;
                    let comment = records.last("comment").map(<[u8]>::to_vec);
                    self.comment = self.comment.take().or(comment);
                    self.global.extend(records);
                    // Whoever tells more than one header may hold tells it to fill the memory.
                    let bytes = self
                        .global
                        .iter()
                        .map(|(key, value)| key.len() + value.len());
                    let limit = bytes.sum::<usize>() <= HEADER_MAX_BYTES;
                    ensure!(
                        limit,
                        "the global headers are longer than {HEADER_MAX_BYTES} bytes"
                    );
                }
                b'x' | b'X' => before.records = self.records(&block)?,
                b'L' => before.name = Some(self.long_name(&block)?),
                b'K' => before.link = Some(self.long_name(&block)?),
                _ => return self.entry(&block, &before).map(Some),
            }
        }
    }

    fn entry(&mut self, block: &Block, before: &Before) -> Result<Entry> {
        let mut records = self.global.clone();
        records.extend(before.records.clone());
        let path = name_of(block, &records, before)?;
        let is_dir = flag(block) == b'5' || (is_file(block) && path.ends_with(b"/"));
        let mut size = size_of(block, &records)?;
        let mut kind = match flag(block) {
            _ if is_dir => Kind::Directory,
            b'1' => Kind::HardLink(link_of(block, &records, before)?),
            b'2' => Kind::Symlink(link_of(block, &records, before)?),
            b'3' | b'4' => device_of(block, &records)?,
            b'6' => Kind::Fifo,
            b'S' => Kind::File {
                extents: Some(self.old_sparse_map(block)?),
            },
            _ if is_file(block) => Kind::File { extents: None },
            other => Kind::Unknown(other),
        };
        // Some write the size of the file that is linked to; nothing follows all the same.
        if let Kind::HardLink(_) = kind {
            size = 0;
        }
        self.set_content(size)?;
        let mut real_size = size;
        if let Kind::File { extents } = &mut kind {
            if let Some(told) = self.pax_sparse_map(&records)? {
                *extents = Some(told);
            }
            if let Some(extents) = extents {
                real_size = real_size_of(block, &records)?;
                sparse::check(extents, real_size, self.content_left)?;
            }
        }
        Ok(Entry {
            path: trimmed(path),
            size: if let Kind::File { .. } = kind {
                real_size
            } else {
                0
            },
            kind,
            ..attributes(block, &records)?
        })
    }

    fn set_content(&mut self, size: u64) -> Result<()> {
        let padded = size.checked_next_multiple_of(BLOCK_BYTES as u64);
        let padded = padded.filter(|padded| i64::try_from(*padded).is_ok());
        self.padding = padded.context("a size is out of range")? - size;
        self.content_left = size;
        Ok(())
    }

    fn pax_sparse_map(&mut self, records: &Records) -> Result<Option<Vec<Extent>>> {
        match sparse::told(records)? {
            Told::Nothing => Ok(None),
            Told::Map(extents) => Ok(Some(extents)),
            Told::BeforeData => {
                let mut lines = MapLines {
                    reader: self,
                    block: [0; BLOCK_BYTES],
                    at: BLOCK_BYTES,
                };
                let count = usize::try_from(lines.next()?)?;
                sparse::check_count(count)?;
                let numbers: Result<Vec<u64>> = (0..count * 2).map(|_| lines.next()).collect();
                sparse::pair(&numbers?).map(Some)
            }
        }
    }

    fn old_sparse_map(&mut self, block: &Block) -> Result<Vec<Extent>> {
        let (mut extents, mut more) = sparse::old_in_header(block)?;
        while more {
            let (further, still_more) = sparse::old_in_block(&self.block()?)?;
            extents.extend(further);
            sparse::check_count(extents.len())?;
            more = still_more;
        }
        Ok(extents)
    }

    fn records(&mut self, block: &Block) -> Result<Records> {
        let header = self.extension(block, HEADER_MAX_BYTES, "an extended header")?;
        Records::new(&header)
    }

    fn long_name(&mut self, block: &Block) -> Result<Vec<u8>> {
        let name = self.extension(block, NAME_MAX_BYTES, "a long name")?;
        Ok(until_nul(&name).to_vec())
    }

    /// The content of a header that belongs to the one after it.
    fn extension(&mut self, block: &Block, max_bytes: usize, what: &str) -> Result<Vec<u8>> {
        let size = size_of(block, &Records::default())?;
        ensure!(
            size <= max_bytes as u64,
            "{what} is longer than {max_bytes} bytes"
        );
        self.set_content(size)?;
        let mut content = Vec::new();
        self.content().read_to_end(&mut content)?;
        self.skip_padding()?;
        Ok(content)
    }

    fn skip_padding(&mut self) -> Result<()> {
        // Padding is less than a block.
        let mut rest = [0; BLOCK_BYTES];
        let padding = std::mem::take(&mut self.padding);
        self.read_exact(&mut rest[..padding as usize])
    }

    fn block(&mut self) -> Result<Block> {
        let mut block = [0; BLOCK_BYTES];
        self.read_exact(&mut block)?;
        Ok(block)
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.input
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => cut_short(),
                _ => error,
            })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// After the first block of zeros come only zeros, to the end of the file.
    fn check_end(&mut self) -> Result<()> {
        let mut rest = [0; 16 * BLOCK_BYTES];
        loop {
            match self.input.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(count) if rest[..count].iter().all(|byte| *byte == 0) => {}
                Ok(_) => bail!("something follows the end of the archive"),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.0;
        let wanted = usize::try_from(reader.content_left).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = reader.input.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(cut_short());
        }
        reader.content_left -= count as u64;
        reader.position += count as u64;
        Ok(count)
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut short")
}

/// The numbers of a sparse map of format 1.0, each on a line, in whole blocks before the data.
struct MapLines<'a, R> {
    reader: &'a mut Reader<R>,
    block: Block,
    at: usize,
}

impl<R: Read> MapLines<'_, R> {
    fn next(&mut self) -> Result<u64> {
        let mut digits = String::new();
        loop {
            if self.at == BLOCK_BYTES {
                let mut content = self.reader.content();
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

fn flag(block: &Block) -> u8 {
    block[156]
}

fn is_file(block: &Block) -> bool {
    matches!(flag(block), b'0' | 0 | b'7')
}

/// The sum of a header's bytes, its own field taken as spaces; some old programs added signed
/// bytes.
fn check_sum(block: &Block) -> Result<()> {
    let told = number(&block[148..156]).context("it is no tar header")?;
    let bytes = || {
        let field = 148..156;
        let plain = block.iter().enumerate();
        plain.map(move |(at, byte)| if field.contains(&at) { b' ' } else { *byte })
    };
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    ensure!(
        told == unsigned || told == signed,
        "it is no tar header: its checksum is wrong"
    );
    Ok(())
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn name_of(block: &Block, records: &Records, before: &Before) -> Result<Vec<u8>> {
    let told = records.last("GNU.sparse.name").or(records.last("path"));
    let path = match (told, &before.name) {
        (Some(path), _) => path.to_vec(),
        (None, Some(path)) => path.clone(),
        (None, None) => {
            let name = until_nul(&block[..100]);
            // GNU tar has other things where ustar has the prefix.
            let is_ustar = &block[257..263] == b"ustar\0";
            match until_nul(&block[345..500]) {
                prefix @ [_, ..] if is_ustar => [prefix, b"/", name].concat(),
                _ => name.to_vec(),
            }
        }
    };
    check_name(path)
}

fn link_of(block: &Block, records: &Records, before: &Before) -> Result<Vec<u8>> {
    let told = records.last("linkpath").or(before.link.as_deref());
    check_name(told.unwrap_or_else(|| until_nul(&block[157..257])).to_vec())
}

fn check_name(name: Vec<u8>) -> Result<Vec<u8>> {
    ensure!(!name.is_empty(), "a name is empty");
    ensure!(!name.contains(&0), "a name holds a NUL");
    ensure!(
        name.len() <= NAME_MAX_BYTES,
        "a name is longer than {NAME_MAX_BYTES} bytes"
    );
    Ok(name)
}

/// Without slashes at its end, unless it is nothing else.
fn trimmed(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    path
}

/// A number from the records where they tell one, else from the header.
fn told_number(records: &Records, keyword: &str, field: &[u8]) -> Result<i64> {
    match records.last(keyword) {
        None => number(field),
        Some(value) => {
            let text = str::from_utf8(value).ok();
            let told = text.and_then(|text| text.parse().ok());
            told.with_context(|| format!("the {keyword} of an extended header is no number"))
        }
    }
}

fn size_of(block: &Block, records: &Records) -> Result<u64> {
    let size = told_number(records, "size", &block[124..136])?;
    u64::try_from(size).ok().context("a size is negative")
}

fn real_size_of(block: &Block, records: &Records) -> Result<u64> {
    let keyword = ["GNU.sparse.realsize", "GNU.sparse.size"]
        .into_iter()
        .find(|keyword| records.last(keyword).is_some());
    let size = told_number(records, keyword.unwrap_or_default(), &block[483..495])?;
    u64::try_from(size).ok().context("a size is negative")
}

fn device_of(block: &Block, records: &Records) -> Result<Kind> {
    let part = |keyword, field| {
        let told = told_number(records, keyword, field)?;
        u32::try_from(told)
            .ok()
            .context("a device number is out of range")
    };
    let major = part("SCHILY.devmajor", &block[329..337])?;
    let minor = part("SCHILY.devminor", &block[337..345])?;
    Ok(match flag(block) {
        b'3' => Kind::CharDevice(major, minor),
        _ => Kind::BlockDevice(major, minor),
    })
}

/// An entry of which all is told but its name, kind and size.
fn attributes(block: &Block, records: &Records) -> Result<Entry> {
    let id = |keyword, field| {
        let told = told_number(records, keyword, field)?;
        u32::try_from(told)
            .ok()
            .with_context(|| format!("a {keyword} is out of range"))
    };
    let owner = |keyword, field| records.last(keyword).unwrap_or(until_nul(field)).to_vec();
    let mtime = match records.last("mtime") {
        Some(text) => parse_pax_time(text).context("an mtime is no time")?,
        None => FileTime {
            secs: number(&block[136..148])?,
            nanos: 0,
        },
    };
    let xattrs = records.iter().filter_map(|(keyword, value)| {
        let name = keyword.strip_prefix("SCHILY.xattr.")?;
        let name = name.replace("%3D", "=").replace("%25", "%");
        Some((name.into_bytes(), value.to_vec()))
    });
    Ok(Entry {
        path: Vec::new(),
        kind: Kind::Directory,
        size: 0,
        mode: u32::try_from(number(&block[100..108])? & 0o7777)?,
        uid: id("uid", &block[108..116])?,
        gid: id("gid", &block[116..124])?,
        uname: owner("uname", &block[265..297]),
        gname: owner("gname", &block[297..329]),
        mtime,
        xattrs: xattrs.collect(),
    })
}
