//! Checks an archive: every member, every header and every byte.
//!
//! Continues after a corrupt member if bk's members show where the next entry begins, and reports
//! the entries that each one affects. Knows no record: the caller compares.

use std::fs::File;
use std::io;

use anyhow::Result;

use crate::format::damage::{DamageKind, Finding};
use crate::format::entry::Kind;
use crate::hashed::Whole;
use crate::read::inflate::Inflate;
use crate::read::last::Names;
use crate::read::pieces::Pieces;
use crate::read::reader::Reader;

/// The result of checking an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Length and hash of the file; `None` if it could not be read to its end.
    pub whole: Option<Whole>,
    /// The number of entries that are not directories; `None` if some could not be read.
    pub file_count: Option<u64>,
    /// What is wrong, in the order of the file.
    pub findings: Vec<Finding>,
    /// Tolerated oddities in an archive of another program.
    pub notes: Vec<String>,
}

/// Checks the whole `file`, inflating with `jobs` threads. `go_on` gets the bytes that were read since
/// its last call; if it returns false, the result is `None`.
///
/// # Errors
/// No thread could be started. Damage is a finding, not an error.
pub fn check(
    file: File,
    jobs: usize,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> io::Result<Option<Checked>> {
    let pieces = Pieces::new(Inflate::strict(file, jobs)?, go_on);
    let mut check = Check {
        reader: Reader::new(pieces),
        entry: None,
        names: Names::default(),
        entry_count: 0,
        file_count: 0,
        is_gap: false,
    };
    while let Err(error) = check.entries() {
        check.record(&error);
        check.hit();
        if check.reader.is_over {
            break;
        }
        check.is_gap = true;
        let is_found = check.reader.blocks.input.find_entry();
        check.reader.restart();
        // What was skipped belongs to the current entry.
        check.hit();
        check.entry = None;
        if !is_found {
            break;
        }
    }
    let is_own = check.reader.is_own();
    let mut notes = check.reader.notes().texts();
    notes.extend(check.names.superseded().note());
    let Some((whole, mut findings)) = check.reader.into_input().finish() else {
        return Ok(None);
    };
    if !is_own {
        // gzip(1) only warns about it, and the reader has a note; nor does it write as bk does.
        let passes = [DamageKind::Trailing, DamageKind::Odd];
        findings.retain(|finding| !passes.contains(&finding.kind));
    }
    Ok(Some(Checked {
        whole,
        file_count: (!check.is_gap).then_some(check.file_count),
        findings,
        notes,
    }))
}

struct Check<'a> {
    reader: Reader<Pieces<'a>>,
    /// The name of the current entry.
    entry: Option<Vec<u8>>,
    names: Names,
    entry_count: u64,
    file_count: u64,
    /// Whether some entries could not be read.
    is_gap: bool,
}

impl Check<'_> {
    /// Reads entries to the end of the archive.
    fn entries(&mut self) -> Result<()> {
        while let Some(entry) = self.reader.next_entry()? {
            self.names.add(&entry);
            self.entry_count += 1;
            self.file_count += u64::from(entry.kind != Kind::Directory);
            self.entry = Some(entry.path);
            self.reader.blocks.skip_content()?;
            self.hit();
            self.entry = None;
        }
        Ok(())
    }

    /// Records that damage since the last call affects the current entry.
    fn hit(&mut self) {
        let entry = self.entry.as_deref();
        let tell = |finding: &mut Finding| entry.iter().for_each(|it| finding.hits(it));
        self.reader.blocks.input.take_met(tell);
    }

    /// Records why no more entries can be read, unless it follows from a finding.
    fn record(&mut self, error: &anyhow::Error) {
        let is_over = self.reader.is_over;
        let is_first = self.entry_count == 0 && !self.is_gap && self.reader.comment().is_none();
        let pieces = &mut self.reader.blocks.input;
        if pieces.is_suspect {
            return;
        }
        let malformed = format!("{error:#}");
        let (kind, reason) = if is_first && !is_over {
            (DamageKind::NotAnArchive, "it contains no tar archive")
        } else if pieces.is_at_end {
            let reason = "it ends before the end of the archive";
            (DamageKind::Truncated, reason)
        } else if is_over {
            let reason = "something follows the end of the archive";
            (DamageKind::Trailing, reason)
        } else {
            (DamageKind::BadHeader, &malformed[..])
        };
        pieces.find(kind, reason);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::format::entry::Entry;
    use crate::format::header;
    use crate::format::member::Deflater;
    use std::io::{Read, Seek, Write};

    fn check(bytes: &[u8]) -> Checked {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        super::check(file, 2, &mut |_| true).unwrap().unwrap()
    }

    fn entry(stream: &mut Vec<u8>, name: &str, content: &[u8]) {
        let entry = Entry {
            path: name.into(),
            kind: Kind::File { extents: None },
            size: content.len() as u64,
            mode: 0o644,
            uid: 0,
            gid: 0,
            uname: Vec::new(),
            gname: Vec::new(),
            mtime: crate::format::entry::FileTime::default(),
            xattrs: Vec::new(),
            acl_texts: Vec::new(),
        };
        header::push_entry(stream, &entry);
        stream.extend_from_slice(content);
        header::pad(stream);
    }

    /// Of five members: the global header, `a` and `b`, `c` alone, `d`, the end.
    fn archive() -> Vec<Vec<u8>> {
        let mut contents = vec![Vec::new(); 5];
        header::push_global(&mut contents[0], "{}");
        entry(&mut contents[1], "a", b"some");
        entry(&mut contents[1], "b", b"more");
        entry(&mut contents[2], "c", &[7; 3000]);
        entry(&mut contents[3], "d", b"last");
        contents[4].resize(1024, 0);
        let mut deflater = Deflater::new(6).unwrap();
        let member = |content: &Vec<u8>| deflater.member(content).unwrap();
        contents.iter().map(member).collect()
    }

    fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
        decoder.read_to_end(&mut content).ok().map(|_| content)
    }

    #[test]
    fn no_flipped_bit_is_overlooked_that_gunzip_sees() {
        let whole = archive().concat();
        let content = gunzip(&whole);
        let mut overlooked = 0;
        for at in 0..whole.len() {
            for mask in [1, 2, 4, 8, 16, 32, 64, 128, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= mask;
                if check(&bytes).findings.is_empty() {
                    assert_eq!(gunzip(&bytes), content, "byte {at}, mask {mask}");
                    overlooked += 1;
                }
            }
        }
        // Bits after the last of the data, and other ways to tell what repeats itself.
        assert!(overlooked < whole.len() / 4, "{overlooked}");
    }

    #[test]
    fn the_check_goes_on_with_the_next_entry_after_each_corrupt_member() {
        let mut members = archive();
        let good = check(&members.concat());
        assert_eq!((good.findings, good.file_count), (Vec::new(), Some(4)));
        let in_checksum = |member: &mut Vec<u8>| {
            let at = member.len() - 8;
            member[at] ^= 1;
        };
        in_checksum(&mut members[1]);
        members[2][crate::format::member::HEADER_BYTES] = 0xff;
        let offset = |at: usize| members[..at].concat().len() as u64;
        let bad = check(&members.concat());
        let told: Vec<_> = bad
            .findings
            .iter()
            .map(|it| (it.kind, it.offset, it.entries.concat()))
            .collect();
        let corrupt = DamageKind::Corrupt;
        let expected = [
            (corrupt, offset(1), b"ab".to_vec()),
            (corrupt, offset(2), Vec::new()),
        ];
        assert_eq!(told, expected);
        assert_eq!(bad.file_count, None);
    }

    #[test]
    fn what_is_malformed_in_one_member_is_told_once() {
        let mut members = archive();
        let mut odd = Vec::new();
        header::push_global(&mut odd, "{}");
        // An extended header, whose first record has no length.
        (odd[156], odd[512]) = (b'x', b'y');
        odd[148..156].fill(b' ');
        let sum: u32 = odd[..512].iter().map(|it| u32::from(*it)).sum();
        odd[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        entry(&mut odd, "b", b"more");
        members[1] = Deflater::new(6).unwrap().member(&odd).unwrap();
        let bad = check(&members.concat());
        let told: Vec<_> = bad.findings.iter().map(|it| (it.kind, it.offset)).collect();
        assert_eq!(
            told,
            [(DamageKind::BadHeader, members[0].len() as u64)],
            "{bad:?}"
        );
    }

    #[test]
    fn a_check_can_be_stopped() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&archive().concat()).unwrap();
        file.rewind().unwrap();
        assert_eq!(super::check(file, 1, &mut |_| false).unwrap(), None);
    }
}
