//! Salvages the intact entries of a damaged archive, before and after the damage.
//!
//! Members of bk's begin with an entry, or continue one. In archives of other programs every block
//! is tried as a header.

use std::io;

use anyhow::{Error, Result};

use crate::format::decode::{begins_entry, check_sum};
use crate::format::entry::Entry;
use crate::read::blocks::cut_short;
use crate::read::inflate::Inflate;
use crate::read::reader::Reader;

/// The limit of reported damage.
const LOST_MAX: usize = 20;

impl Reader<Inflate> {
    /// The next entry with an intact header; `None` at the end. `lost` gets the errors for others.
    pub(crate) fn next_intact(&mut self) -> Option<Entry> {
        loop {
            // The caller has had that error already.
            let was_cut = self.blocks.is_cut;
            let next = match was_cut {
                true => Err(cut_short().into()),
                false => self.next_entry(),
            };
            let error = match next {
                Ok(entry) => return entry,
                Err(error) => error,
            };
            let is_found = self.go_on(&error);
            if !was_cut && self.lost.len() < LOST_MAX {
                self.lost.push(format!("{error:#}"));
            }
            if !is_found {
                return None;
            }
        }
    }

    /// Skips to the start of the next entry, if there is one.
    fn go_on(&mut self, error: &Error) -> bool {
        if self.is_over {
            return false;
        }
        let is_input = error.chain().any(|it| it.is::<io::Error>());
        if self.is_own() {
            let is_found = self.blocks.input.skip_to(begins_entry);
            self.restart();
            return is_found;
        }
        !is_input && self.find_header().unwrap_or(false)
    }

    /// As GNU tar does: "Skipping to next header".
    fn find_header(&mut self) -> Result<bool> {
        self.restart();
        while let Some(block) = self.blocks.peek()? {
            if check_sum(&block).is_ok() {
                return Ok(true);
            }
            self.blocks.block()?;
        }
        Ok(false)
    }
}

impl Inflate {
    /// Skips to the next piece with such a beginning, if there is one.
    pub(crate) fn skip_to(&mut self, is_begin: impl Fn(&[u8]) -> bool) -> bool {
        self.piece = io::Cursor::default();
        while let Some(piece) = self.next_piece() {
            if let Ok(piece) = piece
                && is_begin(&piece.content)
            {
                self.piece = io::Cursor::new(piece.content);
                return true;
            }
        }
        false
    }
}
