//! The entries of any `.tar.gz`, one after the other, with their content: ustar, pax and GNU tar.
//!
//! Takes the archive for hostile: what it tells is limited and checked before it is believed.
//! In an archive of bk's whatever is odd is damage; in one of another program it is a note, where
//! GNU tar, bsdtar and Python's tarfile read on, too. Knows no place to unpack to.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::format::decode::{
    Before, Block, NAME_MAX_BYTES, attributes, check_name, check_sum, flag, has_data, is_old_dir,
    is_remark, is_ustar, kind_of, name_of, size_of, trimmed, until_nul,
};
use crate::format::entry::{Entry, Kind};
use crate::format::notes::{Notes, Oddity};
use crate::format::pax::{Extended, Global, HEADER_MAX_BYTES, Records};
use crate::read::blocks::{Blocks, Content, cut_short};
use crate::read::holes;
use crate::read::inflate::Inflate;
use crate::restore::names::normalize;

/// So many damaged places are told.
const LOST_MAX: usize = 20;

/// Reads the entries of a tar stream.
pub struct Reader<R> {
    blocks: Blocks<R>,
    global: Global,
    has_global: bool,
    comment: Option<Vec<u8>>,
    is_own: bool,
    /// Whether an extended header was met: a hard link may have data then.
    is_pax: bool,
    is_begun: bool,
    is_over: bool,
    notes: Notes,
    lost: Vec<String>,
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
            blocks: Blocks::new(input),
            global: Global::default(),
            has_global: false,
            comment: None,
            is_own: false,
            is_pax: false,
            is_begun: false,
            is_over: false,
            notes: Notes::default(),
            lost: Vec::new(),
        }
    }

    /// Whether the end of the archive was seen, and only zeros may follow.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether a global header was met.
    pub(crate) fn has_global(&self) -> bool {
        self.has_global
    }

    /// Where the last entry ends in the stream, with what fills its last block.
    pub(crate) fn entry_end(&self) -> u64 {
        self.blocks.end()
    }

    /// Whether all of the stream is one global header that tells of no entry.
    ///
    /// # Errors
    /// Those of the input, and what is no header.
    pub(crate) fn is_comment_alone(&mut self) -> Result<bool> {
        let block = self.blocks.block()?;
        check_sum(&block)?;
        if flag(&block) != b'g' {
            return Ok(false);
        }
        let records = self.records(&block)?;
        let is_comment = records.iter().all(|(keyword, _)| keyword == b"comment");
        Ok(is_comment && self.blocks.input.read(&mut [0])? == 0)
    }

    /// What it reads from.
    pub(crate) fn input(&mut self) -> &mut R {
        &mut self.blocks.input
    }

    /// The `comment` of the global header, which in an own archive is the record's birth facts;
    /// known from the first entry on.
    #[must_use]
    pub fn comment(&self) -> Option<&[u8]> {
        self.comment.as_deref()
    }

    /// Whether the archive begins by telling its birth: it is one of bk's; known from the first
    /// entry on.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// What was odd so far, and read all the same.
    #[must_use]
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Why entries were lost that were passed over with what is damaged.
    #[must_use]
    pub fn lost(&self) -> &[String] {
        &self.lost
    }

    pub(crate) fn lose(&mut self, error: anyhow::Error) {
        if self.lost.len() < LOST_MAX {
            self.lost.push(format!("{error:#}"));
        }
    }

    pub(crate) fn peek(&mut self) -> Result<Option<Block>> {
        self.blocks.peek()
    }

    pub(crate) fn skip_block(&mut self) -> Result<()> {
        self.blocks.block().map(|_| ())
    }

    /// Reads on from where the input is now: an entry begins there, or the end of the archive.
    pub(crate) fn restart(&mut self) {
        self.blocks.give_up();
        self.is_begun = true;
    }

    /// Whether content of the last entry could not be read.
    pub(crate) fn is_cut(&self) -> bool {
        self.blocks.is_cut
    }

    /// What it reads from, where it is.
    #[must_use]
    pub fn into_input(self) -> R {
        self.blocks.input
    }

    /// The next entry; `None` when the archive is over and whole. What was not read of the
    /// content of the one before is passed over.
    ///
    /// # Errors
    /// Where the archive is damaged, cut short, or not one; those of the input.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.pass_over()?;
        loop {
            let begin = self.blocks.position;
            let parsed = self
                .parse_entry()
                .with_context(|| format!("at byte {begin} of the tar stream"))?;
            match parsed {
                Parsed::Entry(entry) => return Ok(Some(*entry)),
                Parsed::Nothing => self.pass_over()?,
                Parsed::End => return Ok(None),
            }
        }
    }

    /// Reads what is left of the last entry.
    pub(crate) fn pass_over(&mut self) -> Result<()> {
        self.blocks.pass_over()
    }

    /// The content of the last entry: of a file with holes, the data alone.
    pub fn content(&mut self) -> impl Read + '_ {
        Content(&mut self.blocks)
    }

    fn parse_entry(&mut self) -> Result<Parsed> {
        let mut before = Before::default();
        loop {
            let is_first = !std::mem::replace(&mut self.is_begun, true);
            let block = match self.blocks.header()? {
                Some(block) if block.iter().any(|byte| *byte != 0) => block,
                Some(_) => return self.end().map(|()| Parsed::End),
                None if is_first || self.is_own => {
                    self.note_trailing()?;
                    return Err(cut_short().into());
                }
                None => {
                    let text = || "the end of the archive is missing; what is there is read".into();
                    self.odd(Oddity::NoEnd, text)?;
                    self.note_trailing()?;
                    return Ok(Parsed::End);
                }
            };
            check_sum(&block)?;
            match flag(&block) {
                b'g' => {
                    let records = self.records(&block)?;
                    let comment = records.last("comment").map(<[u8]>::to_vec);
                    self.is_own |= is_first && comment.as_ref().is_some_and(|it| is_birth(it));
                    self.comment = self.comment.take().or(comment);
                    self.has_global = true;
                    self.is_pax = true;
                    self.global.extend(records)?;
                }
                b'x' | b'X' => {
                    self.is_pax = true;
                    before.records = self.records(&block)?;
                }
                b'L' => before.name = Some(self.long_name(&block)?),
                b'K' => before.link = Some(self.long_name(&block)?),
                _ => return self.entry(&block, &before),
            }
        }
    }

    fn entry(&mut self, block: &Block, before: &Before) -> Result<Parsed> {
        let extended = Extended {
            own: &before.records,
            global: &self.global,
        };
        let name = name_of(block, extended, before);
        let shown = || format!("'{}'", name.escape_ascii());
        let old_map = holes::is_old(block).then(|| holes::old_map(&mut self.blocks, block));
        let mut size = size_of(block, extended);
        let tells_size = !matches!(size, Ok(0));
        if tells_size && !self.has_data(block)? {
            size = Ok(0);
            let text = || format!("{} states a size, but no data follows", shown());
            self.notes.add(Oddity::Size, text);
        }
        self.blocks.set_content(size?)?;
        let mut notes = std::mem::take(&mut self.notes);
        let entry = self.usable_entry(block, before, old_map, &name, &mut notes);
        self.notes = notes;
        let parsed = match entry {
            Ok(Some(entry)) => Parsed::Entry(Box::new(entry)),
            Ok(None) => {
                let text = || "a label or an ACL of Solaris is not restored".into();
                self.notes.add(Oddity::Extension, text);
                Parsed::Nothing
            }
            Err(error) if error.chain().any(|it| it.is::<io::Error>()) => return Err(error),
            Err(error) => {
                let text = || format!("cannot restore {}: {error:#}", shown());
                self.notes.add(Oddity::Unusable, text);
                Parsed::Nothing
            }
        };
        self.check_own()?;
        Ok(parsed)
    }

    /// Whether data follows a header that tells a size.
    fn has_data(&mut self, block: &Block) -> Result<bool> {
        match flag(block) {
            b'1' => link_has_data(&mut self.blocks, block, self.is_pax),
            _ if is_old_dir(block) => Ok(!is_header_next(&mut self.blocks)?),
            _ => Ok(has_data(block)),
        }
    }

    /// What the header tells where it can be made; `None` where it tells of no entry.
    fn usable_entry(
        &mut self,
        block: &Block,
        before: &Before,
        old_map: Option<Result<Vec<crate::format::entry::Extent>>>,
        name: &[u8],
        notes: &mut Notes,
    ) -> Result<Option<Entry>> {
        if is_remark(block) {
            return Ok(None);
        }
        let extended = Extended {
            own: &before.records,
            global: &self.global,
        };
        check_name(name)?;
        let is_root = normalize(name)?.is_empty();
        let mut kind = kind_of(block, extended, before, name, notes)?;
        ensure!(
            !is_root || kind == Kind::Directory,
            "its name is '.', which only a directory can have"
        );
        let mut size = 0;
        if let Kind::File { extents } = &mut kind {
            size = self.blocks.content_left;
            let map = holes::map(&mut self.blocks, block, extended, old_map.transpose()?)?;
            if let Some((map, real_size)) = map {
                (*extents, size) = (Some(map), real_size);
            }
        }
        let is_dir = kind == Kind::Directory;
        let entry = attributes(block, extended, trimmed(name.to_vec()), is_dir, notes);
        Ok(Some(Entry {
            kind,
            size,
            ..entry
        }))
    }

    /// Notes what is odd; in an archive of bk's it is damage.
    fn odd(&mut self, oddity: Oddity, text: impl FnOnce() -> String) -> Result<()> {
        self.notes.add(oddity, text);
        self.check_own()
    }

    fn check_own(&self) -> Result<()> {
        if !self.is_own {
            return Ok(());
        }
        match self.notes.texts().first() {
            Some(text) => bail!("{text}"),
            None => Ok(()),
        }
    }

    fn records(&mut self, block: &Block) -> Result<Records> {
        let Some(header) = self.extension(block, HEADER_MAX_BYTES, "an extended header")? else {
            return Ok(Records::default());
        };
        let (records, error) = Records::read(&header);
        if let Some(error) = error {
            self.odd(Oddity::Value, || error.to_string())?;
        }
        Ok(records)
    }

    fn long_name(&mut self, block: &Block) -> Result<Vec<u8>> {
        let name = self.extension(block, NAME_MAX_BYTES, "a long name")?;
        Ok(until_nul(&name.unwrap_or_default()).to_vec())
    }

    /// The content of a header that belongs to the one after it; `None` where it is too long.
    fn extension(
        &mut self,
        block: &Block,
        max_bytes: usize,
        what: &str,
    ) -> Result<Option<Vec<u8>>> {
        let nothing = (&Records::default(), &Global::default());
        let size = size_of(
            block,
            Extended {
                own: nothing.0,
                global: nothing.1,
            },
        )?;
        self.blocks.set_content(size)?;
        if size > max_bytes as u64 {
            let text = || format!("{what} is longer than {max_bytes} bytes, and not read");
            self.odd(Oddity::Value, text)?;
            self.pass_over()?;
            return Ok(None);
        }
        let mut content = Vec::new();
        self.content().read_to_end(&mut content)?;
        self.pass_over()?;
        Ok(Some(content))
    }

    /// After the first block of zeros come only zeros, to the end of the file.
    fn end(&mut self) -> Result<()> {
        self.is_over = true;
        if !self.blocks.is_zeros_to_end()? {
            ensure!(!self.is_own, "something follows the end of the archive");
            let text = || "what follows the end of the archive is not read".into();
            self.notes.add(Oddity::AfterEnd, text);
            self.blocks.drain()?;
        }
        self.note_trailing()
    }

    fn note_trailing(&mut self) -> Result<()> {
        match self.blocks.trailing().cloned() {
            None => Ok(()),
            Some(damage) if self.is_own => {
                Err(io::Error::new(io::ErrorKind::InvalidData, damage).into())
            }
            Some(damage) => {
                let text = || format!("{damage}; they are not read");
                self.odd(Oddity::AfterLast, text)
            }
        }
    }
}

/// What a header began.
enum Parsed {
    Entry(Box<Entry>),
    /// Something that nothing is made of.
    Nothing,
    End,
}

/// The birth facts are one line of JSON; other programs have other comments.
fn is_birth(comment: &[u8]) -> bool {
    comment.starts_with(b"{")
}

/// Whether data follows a hard link that tells a size: in the pax format it does, in older ones
/// it does not, and where the format is not known a header in its place says that it does not. So
/// bsdtar has it.
fn link_has_data<R: Read>(blocks: &mut Blocks<R>, block: &Block, is_pax: bool) -> Result<bool> {
    if is_pax || !is_ustar(block) {
        return Ok(is_pax);
    }
    Ok(!is_header_next(blocks)?)
}

/// Whether a header follows, or the end.
fn is_header_next<R: Read>(blocks: &mut Blocks<R>) -> Result<bool> {
    let next = blocks.peek()?;
    Ok(next.is_none_or(|next| check_sum(&next).is_ok() || next.iter().all(|byte| *byte == 0)))
}
