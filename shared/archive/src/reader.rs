//! The entries of any `.tar.gz`, one after the other, with their content: ustar, pax and GNU tar.
//!
//! Takes the archive for hostile: what it tells is limited and checked before it is believed.
//! Knows no place to unpack to, and no rule of what a name may be but that it is one.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::decode::{
    Before, Block, NAME_MAX_BYTES, attributes, check_sum, device_of, flag, is_file, link_of,
    name_of, real_size_of, size_of, trimmed, until_nul,
};
use crate::entry::{Entry, Extent, Kind};
use crate::header::BLOCK_BYTES;
use crate::inflate::Inflate;
use crate::pax::{HEADER_MAX_BYTES, Records};
use crate::sparse::{self, Told};

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
    is_over: bool,
}

impl Reader<Inflate> {
    /// Opens a `.tar.gz`, to be inflated by so many threads.
    ///
    /// # Errors
    /// Those of opening it, and what is no regular file.
    pub fn open(archive: &Path, jobs: usize) -> Result<Self> {
        Ok(Self::new(Inflate::open(archive, jobs)?))
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
            is_over: false,
        }
    }

    /// Whether the end of the archive was seen, and only zeros may follow.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether a global header was met.
    pub(crate) fn has_global(&self) -> bool {
        self.global != Records::default()
    }

    /// Where the last entry ends in the stream, with what fills its last block.
    pub(crate) fn entry_end(&self) -> u64 {
        self.position + self.content_left + self.padding
    }

    /// Whether all of the stream is one global header that tells of no entry.
    ///
    /// # Errors
    /// Those of the input, and what is no header.
    pub(crate) fn is_comment_alone(&mut self) -> Result<bool> {
        let block = self.block()?;
        check_sum(&block)?;
        if flag(&block) != b'g' {
            return Ok(false);
        }
        let records = self.records(&block)?;
        let is_comment = records.iter().all(|(keyword, _)| keyword == b"comment");
        Ok(is_comment && self.input.read(&mut [0])? == 0)
    }

    /// What it reads from.
    pub(crate) fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// The `comment` of the global header, which in an own archive is the record's birth facts;
    /// known from the first entry on.
    #[must_use]
    pub fn comment(&self) -> Option<&[u8]> {
        self.comment.as_deref()
    }

    /// What it reads from, where it is.
    #[must_use]
    pub fn into_input(self) -> R {
        self.input
    }

    /// The next entry; `None` when the archive is over and whole. What was not read of the
    /// content of the one before is passed over.
    ///
    /// # Errors
    /// Where the archive is damaged, cut short, or not one; those of the input.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.pass_over()?;
        let begin = self.position;
        self.parse_entry()
            .with_context(|| format!("at byte {begin} of the tar stream"))
    }

    /// Reads what is left of the last entry.
    pub(crate) fn pass_over(&mut self) -> Result<()> {
        io::copy(&mut self.content(), &mut io::sink())?;
        self.skip_padding()
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
                self.is_over = true;
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
