//! Where the members of an archive of bk's begin and end, without reading what is in them.
//!
//! A gzip member tells it in its header and trailer; of zstd frames the seek table does. Nothing is
//! checked but that they agree.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

use crate::format::codec::Codec;
use crate::format::frame::{Header, is_skippable};
use crate::format::member::{HEADER_BYTES, TRAILER_BYTES, content_bytes, stated_length};
use crate::format::seek_table::SeekTable;
use crate::within::Within;

/// Enough for a compressed first header in most members.
const HEAD_BYTES: usize = 2 << 10;

/// A member.
pub(crate) struct Span {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) content_bytes: u64,
}

/// The members of an archive, in their order.
pub(crate) struct Spans<'a> {
    archive: &'a File,
    file_bytes: u64,
    codec: Codec,
    table: Option<SeekTable>,
    offset: u64,
}

impl<'a> Spans<'a> {
    /// # Errors
    /// Those of fstat(2).
    pub(crate) fn of(archive: &'a File) -> io::Result<Self> {
        let codec = Codec::of(archive);
        let table = match codec {
            Codec::Gzip => None,
            Codec::Zstd => SeekTable::of(archive),
        };
        Ok(Self {
            archive,
            file_bytes: archive.metadata()?.len(),
            codec,
            table,
            offset: 0,
        })
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The content of a member, decompressed on demand, at most as long as it states.
    pub(crate) fn content(&self, span: &Span) -> io::Result<impl Read + use<'a>> {
        let bytes = self.bytes(span.begin, span.end);
        Ok(self.codec.stream(bytes)?.take(span.content_bytes))
    }

    /// The content of the first member, whatever it states.
    pub(crate) fn first_content(&self) -> io::Result<impl Read + use<'a>> {
        self.codec.stream(self.bytes(0, self.file_bytes))
    }

    fn bytes(&self, begin: u64, end: u64) -> impl BufRead + use<'a> {
        let within = Within {
            file: self.archive,
            at: begin,
            end,
        };
        BufReader::with_capacity(HEAD_BYTES, within)
    }

    /// The next member that holds something; `None` where none of bk's follows that is complete.
    pub(crate) fn next(&mut self) -> Option<Span> {
        loop {
            let span = match self.codec {
                Codec::Gzip => self.gzip_member()?,
                Codec::Zstd => self.frame()?,
            };
            self.offset = span.end;
            if span.content_bytes > 0 {
                return Some(span);
            }
        }
    }

    fn gzip_member(&self) -> Option<Span> {
        let begin = self.offset;
        let mut header = [0; HEADER_BYTES];
        self.archive.read_exact_at(&mut header, begin).ok()?;
        let end = begin.checked_add(stated_length(&header).ok()?? as u64)?;
        if end > self.file_bytes {
            return None;
        }
        let mut trailer = [0; TRAILER_BYTES];
        let at = end - TRAILER_BYTES as u64;
        self.archive.read_exact_at(&mut trailer, at).ok()?;
        Some(Span {
            begin,
            end,
            content_bytes: content_bytes(&trailer) as u64,
        })
    }

    fn frame(&mut self) -> Option<Span> {
        let listed = self.table.as_mut()?.next()?;
        let (begin, content_bytes) = (self.offset, u64::from(listed.content_bytes));
        let mut begin_bytes = [0; Header::OWN_MAX_BYTES];
        self.archive.read_exact_at(&mut begin_bytes, begin).ok()?;
        let is_so = match Header::parse(&begin_bytes) {
            Some(header) => header.is_as_written() && header.content_bytes == Some(content_bytes),
            None => begin_bytes.first_chunk().is_some_and(is_skippable) && content_bytes == 0,
        };
        is_so.then_some(Span {
            begin,
            end: begin + u64::from(listed.bytes),
            content_bytes,
        })
    }
}
