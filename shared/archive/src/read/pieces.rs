//! The content of an archive during its check: damage is recorded, and salvaged content passed on.
//!
//! Knows where bk's members begin an entry; decodes none.

use std::io::{self, Read};

use crate::format::damage::{Damage, DamageKind, Finding};
use crate::format::decode::begins_entry;
use crate::format::header::BLOCK_BYTES;
use crate::hashed::Whole;
use crate::read::inflate::Inflate;

/// A tar stream that collects findings.
pub(crate) struct Pieces<'a> {
    inflate: Inflate,
    go_on: &'a mut dyn FnMut(u64) -> bool,
    told_bytes: u64,
    is_stopped: bool,
    findings: Vec<Finding>,
    piece: io::Cursor<Vec<u8>>,
    /// The offset of the current member.
    offset: u64,
    /// The finding for the current piece, if that was salvaged.
    damaged: Option<usize>,
    /// The damage that follows the piece, if its rest is lost.
    lost: Option<Damage>,
    pub(super) is_at_end: bool,
    /// Whether there was damage since the last known start of an entry.
    pub(super) is_suspect: bool,
    /// Findings whose content was read since the last [`Self::take_met`].
    met: Vec<usize>,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(inflate: Inflate, go_on: &'a mut dyn FnMut(u64) -> bool) -> Self {
        Self {
            inflate,
            go_on,
            told_bytes: 0,
            is_stopped: false,
            findings: Vec::new(),
            piece: io::Cursor::default(),
            offset: 0,
            damaged: None,
            lost: None,
            is_at_end: false,
            is_suspect: false,
            met: Vec::new(),
        }
    }

    /// Adds a finding at the current member.
    pub(crate) fn find(&mut self, kind: DamageKind, reason: &str) {
        self.findings.push(Finding::new(kind, self.offset, reason));
    }

    /// Calls `tell` for each finding that was met since the last call.
    pub(crate) fn take_met(&mut self, mut tell: impl FnMut(&mut Finding)) {
        let mut met = std::mem::take(&mut self.met);
        met.sort_unstable();
        met.dedup();
        // Only these: there may be as many findings as entries.
        for at in met {
            self.findings.get_mut(at).map(&mut tell);
        }
    }

    /// Skips to the next member that begins an entry or ends the archive, if there is one.
    pub(crate) fn find_entry(&mut self) -> bool {
        while self.next() {
            let piece = self.piece.get_ref();
            if begins_entry(piece) || is_end(piece) {
                self.is_suspect = self.damaged.is_some();
                return true;
            }
            self.met.extend(self.damaged);
        }
        false
    }

    /// Reads to the end; the hash of the file and all findings. `None` if it was stopped.
    pub(crate) fn finish(mut self) -> Option<(Option<Whole>, Vec<Finding>)> {
        while self.next() {}
        if self.is_stopped {
            return None;
        }
        self.findings.sort_by_key(|finding| finding.offset);
        Some((self.inflate.whole(), self.findings))
    }

    /// Fetches the next piece, if there is one.
    fn next(&mut self) -> bool {
        self.piece = io::Cursor::default();
        let was_damaged = self.damaged.take().is_some();
        self.lost = None;
        let piece = self.inflate.next_piece();
        let read_bytes = self.inflate.read_bytes();
        if self.is_stopped || !(self.go_on)(read_bytes - self.told_bytes) {
            self.is_stopped = true;
            return false;
        }
        self.told_bytes = read_bytes;
        match piece {
            None => {
                self.is_at_end = true;
                return false;
            }
            Some(Ok(piece)) => {
                self.piece = io::Cursor::new(piece.content);
                self.offset = piece.offset;
            }
            Some(Err(damage)) => self.damage(damage, was_damaged),
        }
        true
    }

    fn damage(&mut self, damage: Damage, was_damaged: bool) {
        self.is_suspect |= damage.kind != DamageKind::Odd;
        self.offset = damage.offset;
        if was_damaged && damage.kind == DamageKind::Trailing {
            // If the length of a member is damaged, the next one cannot be found.
            if let Some(last) = self.findings.last_mut() {
                last.reason
                    .push_str("; no member follows where it should end");
            }
            let kind = DamageKind::Corrupt;
            self.lost = Some(Damage { kind, ..damage });
            return;
        }
        let finding = Finding::new(damage.kind, damage.offset, &damage.reason);
        let id = |it: &Finding| (it.kind.name(), it.offset);
        match self.findings.last_mut() {
            // A header that passes in an archive of another program hides no damage of its member.
            Some(last) if id(last) == id(&finding) => {
                if last.kind == DamageKind::Odd {
                    last.kind = finding.kind;
                    last.reason = finding.reason;
                }
            }
            _ => self.findings.push(finding),
        }
        self.damaged = Some(self.findings.len() - 1);
        let is_lost = match &damage.salvage {
            Some(salvage) => !salvage.is_complete,
            None => damage.kind != DamageKind::Odd,
        };
        let Damage { salvage, .. } = damage.clone();
        self.piece = io::Cursor::new(salvage.map(|it| it.content).unwrap_or_default());
        self.lost = is_lost.then_some(damage);
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.position() == self.piece.get_ref().len() as u64 {
            if let Some(damage) = &self.lost {
                self.met.extend(self.damaged);
                return Err(io::Error::new(io::ErrorKind::InvalidData, damage.clone()));
            }
            if !self.next() {
                return match self.is_stopped {
                    true => Err(io::Error::other("stopped")),
                    false => Ok(0),
                };
            }
        }
        if let Some(finding) = self.damaged.filter(|it| self.met.last() != Some(it)) {
            self.met.push(finding);
        }
        self.piece.read(buffer)
    }
}

/// Whether it is the last member, which has the end-of-archive blocks alone.
fn is_end(piece: &[u8]) -> bool {
    piece.len() == 2 * BLOCK_BYTES && piece.iter().all(|byte| *byte == 0)
}
