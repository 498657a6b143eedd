//! Reads the entries of any `.tar.gz` with their content: ustar, pax and GNU tar.
//!
//! The archive may be hostile: everything in it is limited and checked. In an archive of bk's an
//! oddity is damage. In one of another program it is a note, if GNU tar, bsdtar and Python's tarfile
//! tolerate it. Knows no target.

use std::io::{self, Read};

use anyhow::{Context, Result, bail, ensure};

use crate::format::decode::{
    Before, NAME_MAX_BYTES, attributes, block_size, check_path, check_sum, flag, has_data,
    is_old_dir, is_remark, is_ustar, kind_of, name_of, size_of, trimmed, until_nul,
};
use crate::format::entry::{Entry, Extent, Kind};
use crate::format::header::{BLOCK_BYTES, Block};
use crate::format::notes::{Notes, Oddity};
use crate::format::pax::{Global, HEADER_MAX_BYTES, Records};
use crate::read::blocks::{Blocks, Content, cut_short};
use crate::read::holes;
use crate::restore::names::normalize;

/// Reads the entries of a tar stream.
pub struct Reader<R> {
    pub(super) blocks: Blocks<R>,
    global: Global,
    pub(super) has_global: bool,
    comment: Option<Vec<u8>>,
    is_own: bool,
    /// Whether there was an extended header: then hard links may have data.
    is_pax: bool,
    pub(super) is_begun: bool,
    /// Whether the end-of-archive blocks were read.
    pub(super) is_over: bool,
    notes: Notes,
    /// Errors for entries that were skipped because of damage.
    pub(super) lost: Vec<String>,
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

    /// Whether the stream is nothing but a global header with a comment.
    ///
    /// # Errors
    /// Failed reads, an invalid header.
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

    /// The `comment` of the global header, which in archives of bk's has the birth facts; known from
    /// the first entry on.
    #[must_use]
    pub fn comment(&self) -> Option<&[u8]> {
        self.comment.as_deref()
    }

    /// Whether the archive is one of bk's: it begins with its birth facts. Known from the first entry
    /// on.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Oddities so far.
    #[must_use]
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Continues at the current position of the input, where an entry or the end begins.
    pub(crate) fn restart(&mut self) {
        self.blocks.discard();
        self.is_begun = true;
        if self.is_own {
            // What was odd there was an error, and is none of what follows.
            self.notes = Notes::default();
        }
    }

    /// The input at its present position.
    #[must_use]
    pub fn into_input(self) -> R {
        self.blocks.input
    }

    /// The next entry; `None` at the end of an intact archive. Unread content of the last entry is
    /// skipped.
    ///
    /// # Errors
    /// Damage, truncation, a file that is not an archive, failed reads.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.blocks.skip_content()?;
        loop {
            let begin = self.blocks.position;
            let parsed = self
                .parse_entry()
                .with_context(|| format!("at byte {begin} of the tar stream"))?;
            match parsed {
                Parsed::Entry(entry) => return Ok(Some(*entry)),
                Parsed::Nothing => self.blocks.skip_content()?,
                Parsed::End => return Ok(None),
            }
        }
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
        let extended = before.extended(&self.global);
        let name = name_of(block, extended, before);
        let shown = || format!("'{}'", name.escape_ascii());
        // A sparse file in GNU tar's old format.
        let old_map = (flag(block) == b'S').then(|| holes::old_map(&mut self.blocks, block));
        let mut size = size_of(block, extended);
        let tells_size = !matches!(size, Ok(0));
        if tells_size && !data_follows(&mut self.blocks, block, self.is_pax)? {
            size = Ok(0);
            let text = || format!("{} states a size, but no data follows", shown());
            self.notes.add(Oddity::Size, text);
        }
        self.blocks.set_content(size?)?;
        let parsed = match self.usable_entry(block, before, old_map, &name) {
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

    /// The entry of a header; `None` if the header is not about an entry.
    ///
    /// # Errors
    /// An entry that cannot be restored.
    fn usable_entry(
        &mut self,
        block: &Block,
        before: &Before,
        old_map: Option<Result<Vec<Extent>>>,
        name: &[u8],
    ) -> Result<Option<Entry>> {
        if is_remark(block) {
            return Ok(None);
        }
        let (extended, notes) = (before.extended(&self.global), &mut self.notes);
        check_path(name, "name")?;
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

    /// Adds a note. In an archive of bk's that is an error.
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

    /// The content of an extended header; `None` if it is too long.
    fn extension(
        &mut self,
        block: &Block,
        max_bytes: usize,
        what: &str,
    ) -> Result<Option<Vec<u8>>> {
        let size = block_size(block)?;
        self.blocks.set_content(size)?;
        if size > max_bytes as u64 {
            let text = || format!("{what} is longer than {max_bytes} bytes, and not read");
            self.odd(Oddity::Value, text)?;
            self.blocks.skip_content()?;
            return Ok(None);
        }
        let mut content = Vec::new();
        self.content().read_to_end(&mut content)?;
        self.blocks.skip_content()?;
        Ok(Some(content))
    }

    /// Reads to the end of the file. After the first block of zeros there must only be zeros; in an
    /// archive of bk's, whole blocks of them.
    fn end(&mut self) -> Result<()> {
        self.is_over = true;
        match self.blocks.zeros_to_end()? {
            Some(zeros) if self.is_own && self.blocks.trailing.is_none() => ensure!(
                zeros % BLOCK_BYTES as u64 == 0,
                "what the archive holds does not end on the border of a block"
            ),
            Some(_) => {}
            None => {
                ensure!(!self.is_own, "something follows the end of the archive");
                let text = || "what follows the end of the archive is not read".into();
                self.notes.add(Oddity::AfterEnd, text);
                self.blocks.drain()?;
            }
        }
        self.note_trailing()
    }

    fn note_trailing(&mut self) -> Result<()> {
        match self.blocks.trailing.clone() {
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

/// The result of parsing headers.
enum Parsed {
    Entry(Box<Entry>),
    /// Something to be skipped.
    Nothing,
    End,
}

/// The birth facts are one line of JSON; other programs have other comments.
fn is_birth(comment: &[u8]) -> bool {
    comment.starts_with(b"{")
}

/// Whether data follows a header with a size. After a hard link as bsdtar decides it: yes in the pax
/// format, no in older ones; if the format is unknown, no if a header follows.
fn data_follows<R: Read>(blocks: &mut Blocks<R>, block: &Block, is_pax: bool) -> Result<bool> {
    match flag(block) {
        b'1' if is_pax || !is_ustar(block) => Ok(is_pax),
        b'1' => Ok(!is_header_next(blocks)?),
        _ if is_old_dir(block) => Ok(!is_header_next(blocks)?),
        _ => Ok(has_data(block)),
    }
}

/// Whether a header or the end follows.
fn is_header_next<R: Read>(blocks: &mut Blocks<R>) -> Result<bool> {
    let next = blocks.peek()?;
    Ok(next.is_none_or(|next| check_sum(&next).is_ok() || next.iter().all(|byte| *byte == 0)))
}
