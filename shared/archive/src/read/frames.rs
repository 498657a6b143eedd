//! Cuts an archive of zstd frames into members: by its seek table where it has one, else frame by
//! frame.
//!
//! So that, with a table, damage of one frame does not hide those after it. What the table lists is held
//! against what is there. Knows nothing of tar.

use std::fs::File;
use std::io::{self, Read};

use crate::format::codec::{Codec, MEMBER_MAX_BYTES};
use crate::format::damage::{Damage, DamageKind, Salvage};
use crate::format::frame::{self, Cut, Header, SKIPPABLE_HEADER_BYTES};
use crate::format::seek_table::{Listed, SeekTable};
use crate::read::cutter::{Cutter, stream};

const MAGIC_BYTES: usize = 4;
/// Padding is not longer.
const PADDING_MAX_BYTES: u64 = 1 << 16;
const SHORT: &str = "the file ends within a member";
const WRONG_TABLE: &str = "the seek table does not list a member as it is";

/// What is known of the frames of a file.
pub(super) struct Frames {
    table: Option<SeekTable>,
    /// Where the table itself begins.
    table_begin: Option<u64>,
    /// Whether something was told that bk does not write.
    is_odd: bool,
}

impl Frames {
    pub(super) fn new(codec: Codec, archive: Option<&File>) -> Self {
        let archive = archive.filter(|_| codec == Codec::Zstd);
        let table = archive.and_then(SeekTable::of);
        Self {
            table_begin: table.as_ref().map(SeekTable::begin),
            table,
            is_odd: false,
        }
    }

    /// Whether another may follow.
    pub(super) fn next(&mut self, cutter: &mut Cutter) -> Result<bool, Damage> {
        let mut frame = Vec::new();
        cutter.read(MAGIC_BYTES, &mut frame)?;
        if frame.is_empty() && cutter.offset > 0 {
            if self.table_begin.is_none() {
                self.odd(
                    cutter,
                    cutter.offset,
                    "the seek table is missing, or does not fit the file",
                );
            }
            return Ok(false);
        }
        let listed = self.table.as_mut().and_then(Iterator::next);
        let Ok(magic) = <[u8; MAGIC_BYTES]>::try_from(&frame[..]) else {
            return Err(cutter.damage(DamageKind::Truncated, SHORT));
        };
        if frame::is_skippable(&magic) {
            return self.skip(cutter, frame, listed);
        }
        match listed {
            Some(listed) => self.listed(cutter, frame, listed),
            None if frame::is_begin(&magic) => self.unlisted(cutter, frame, None),
            None => Err(cutter.no_member()),
        }
    }

    /// Tells once of what bk does not write. Whether anybody listens.
    fn odd(&mut self, cutter: &mut Cutter, offset: u64, reason: &str) -> bool {
        let is_told = std::mem::replace(&mut self.is_odd, true);
        let odd = || Damage::new(DamageKind::Odd, offset, reason);
        !cutter.is_strict || is_told || cutter.tell(odd())
    }

    /// A frame without content.
    fn skip(
        &mut self,
        cutter: &mut Cutter,
        mut frame: Vec<u8>,
        listed: Option<Listed>,
    ) -> Result<bool, Damage> {
        cutter.read(SKIPPABLE_HEADER_BYTES - MAGIC_BYTES, &mut frame)?;
        let Some(length) = frame.get(MAGIC_BYTES..).and_then(|it| it.try_into().ok()) else {
            return Err(cutter.damage(DamageKind::Truncated, SHORT));
        };
        let length = u64::from(u32::from_le_bytes(length));
        let bytes = SKIPPABLE_HEADER_BYTES as u64 + length;
        if listed.is_some_and(|it| u64::from(it.bytes) != bytes || it.content_bytes != 0) {
            return Err(cutter.damage(DamageKind::Corrupt, WRONG_TABLE));
        }
        // Of a table nothing is left to compare: it was read.
        let is_table = self.table_begin == Some(cutter.offset);
        cutter.read(length.min(PADDING_MAX_BYTES) as usize, &mut frame)?;
        let is_padding = frame::padding(frame.len()).is_some_and(|padding| padding == frame);
        let rest = bytes.saturating_sub(frame.len() as u64);
        let skipped = io::copy(&mut cutter.input.by_ref().take(rest), &mut io::sink());
        let skipped =
            skipped.map_err(|error| cutter.damage(DamageKind::Unreadable, &error.to_string()))?;
        if frame.len() as u64 + skipped < bytes {
            return Err(cutter.damage(DamageKind::Truncated, SHORT));
        }
        let is_as_written = is_table || is_padding && rest == 0;
        if !is_as_written && !self.odd(cutter, cutter.offset, "a member has no content") {
            return Ok(false);
        }
        cutter.offset += bytes;
        Ok(true)
    }

    /// A frame whose length the table has, whatever it holds.
    fn listed(
        &mut self,
        cutter: &mut Cutter,
        mut frame: Vec<u8>,
        listed: Listed,
    ) -> Result<bool, Damage> {
        let bytes = listed.bytes as usize;
        if bytes.max(listed.content_bytes as usize) > MEMBER_MAX_BYTES {
            return self.unlisted(cutter, frame, Some(listed));
        }
        cutter.read(bytes.saturating_sub(MAGIC_BYTES), &mut frame)?;
        if frame.len() != bytes {
            // The table adds up, so this frame is shorter than a magic number.
            return Err(cutter.damage(DamageKind::Corrupt, WRONG_TABLE));
        }
        let goes_on = Header::parse(&frame)
            .is_none_or(|it| self.check(cutter, cutter.offset, &it, Some(listed)));
        let offset = cutter.offset;
        cutter.offset += bytes as u64;
        Ok(goes_on && cutter.members.job((offset, frame)))
    }

    /// A frame whose end is where its last block ends.
    fn unlisted(
        &mut self,
        cutter: &mut Cutter,
        mut frame: Vec<u8>,
        listed: Option<Listed>,
    ) -> Result<bool, Damage> {
        let offset = cutter.offset;
        let cut = frame::cut(&mut cutter.input, &mut frame, MEMBER_MAX_BYTES);
        let cut = cut.map_err(|error| cutter.damage(DamageKind::Unreadable, &error.to_string()))?;
        let goes_on = match cut {
            Cut::Short => return Err(cutter.damage(DamageKind::Truncated, SHORT)),
            Cut::Bad(reason) => return Err(cutter.damage(DamageKind::Corrupt, reason)),
            Cut::Large(header) => {
                let corrupt = |reason| cutter.damage(DamageKind::Corrupt, reason);
                header.check().map_err(corrupt)?;
                if !self.check(cutter, offset, &header, listed) {
                    return Ok(false);
                }
                let input = io::Cursor::new(frame).chain(&mut cutter.input);
                let bytes = stream(Codec::Zstd, cutter.members.place(), offset, input)?;
                cutter.offset += bytes.unwrap_or_default();
                bytes.is_some()
            }
            Cut::Whole(header) => {
                cutter.offset += frame.len() as u64;
                let goes_on = self.check(cutter, offset, &header, listed);
                goes_on && cutter.members.job((offset, frame))
            }
        };
        let end = listed.map(|it| offset + u64::from(it.bytes));
        if goes_on && end.is_some_and(|end| end != cutter.offset) {
            return Err(Damage::new(DamageKind::Corrupt, offset, WRONG_TABLE));
        }
        Ok(goes_on)
    }

    /// Tells what is wrong with the header of the frame there, which is read all the same.
    /// Whether anybody listens.
    fn check(
        &mut self,
        cutter: &mut Cutter,
        offset: u64,
        header: &Header,
        listed: Option<Listed>,
    ) -> bool {
        let stated = header.content_bytes.zip(listed);
        if stated.is_some_and(|(stated, listed)| stated != u64::from(listed.content_bytes)) {
            return cutter.tell(Damage {
                salvage: Some(Salvage {
                    content: Vec::new(),
                    is_complete: true,
                }),
                ..Damage::new(DamageKind::Corrupt, offset, WRONG_TABLE)
            });
        }
        header.is_as_written()
            || self.odd(
                cutter,
                offset,
                "the header of a member is not as bk writes it",
            )
    }
}
