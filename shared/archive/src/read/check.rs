//! The check of one archive: every member, every header and every byte.
//!
//! Goes on after a corrupt member where bk's own members say where the next entry begins, and
//! tells which entries each one hits. Knows no record: what the archive should be is for the
//! caller to compare.

use std::fs::File;
use std::io;

use anyhow::Result;

use crate::format::entry::{Entry, Kind};
use crate::hashed::Whole;
use crate::read::finding::{Finding, FindingKind};
use crate::read::inflate::Inflate;
use crate::read::last::Names;
use crate::read::pieces::Pieces;
use crate::read::reader::Reader;

/// What a whole reading of an archive brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The file itself; `None` where it could not be read to its end.
    pub whole: Option<Whole>,
    /// Entries that are no directories; `None` where some could not be read.
    pub file_count: Option<u64>,
    /// What is wrong, in the order of the file.
    pub findings: Vec<Finding>,
    /// What is odd and not wrong, as the archive is another program's.
    pub notes: Vec<String>,
}

/// Reads the whole of `file`, inflating with so many threads. `go_on` is told of the bytes of
/// the file that were read; `None` where it says no.
///
/// # Errors
/// No more threads to be had; what is wrong with the file is found, and no error.
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
        check.judge(&error);
        check.hit();
        if check.reader.is_over() {
            break;
        }
        check.is_gap = true;
        let is_found = check.reader.input().find_entry();
        check.reader.restart();
        // Until the next one begins, it is the last one that goes on.
        check.hit();
        check.entry = None;
        if !is_found {
            break;
        }
    }
    let Check {
        reader,
        names,
        file_count,
        is_gap,
        ..
    } = check;
    let is_own = reader.is_own();
    let mut notes = reader.notes().texts();
    notes.extend(names.superseded().note());
    let Some((whole, mut findings)) = reader.into_input().finish() else {
        return Ok(None);
    };
    if !is_own {
        // What gzip(1) warns of, and the reader has a note of.
        findings.retain(|finding| finding.kind != FindingKind::TrailingBytes);
    }
    Ok(Some(Checked {
        whole,
        file_count: (!is_gap).then_some(file_count),
        findings,
        notes,
    }))
}

struct Check<'a> {
    reader: Reader<Pieces<'a>>,
    /// The name of the one that is being read.
    entry: Option<Vec<u8>>,
    names: Names,
    entry_count: u64,
    file_count: u64,
    /// Whether some entries could not be read.
    is_gap: bool,
}

impl Check<'_> {
    /// To the end of the archive.
    fn entries(&mut self) -> Result<()> {
        while let Some(entry) = self.reader.next_entry()? {
            self.count(&entry);
            self.entry = Some(entry.path);
            self.reader.pass_over()?;
            self.hit();
            self.entry = None;
        }
        Ok(())
    }

    fn count(&mut self, entry: &Entry) {
        self.names.add(entry);
        self.entry_count += 1;
        self.file_count += u64::from(entry.kind != Kind::Directory);
    }

    /// Notes that the entry that is being read is hit by what was met since the last time.
    fn hit(&mut self) {
        let entry = self.entry.as_deref();
        let tell = |finding: &mut Finding| entry.iter().for_each(|it| finding.hits(it));
        self.reader.input().take_met(tell);
    }

    /// Why the entries cannot be read on, unless that follows from what was found already.
    fn judge(&mut self, error: &anyhow::Error) {
        let is_over = self.reader.is_over();
        let is_first = self.entry_count == 0 && !self.is_gap && self.reader.comment().is_none();
        let pieces = self.reader.input();
        if pieces.is_suspect() {
            return;
        }
        let (kind, reason) = if is_first && !is_over {
            let reason = "it contains no tar archive".to_owned();
            (FindingKind::NotAnArchive, reason)
        } else if pieces.is_at_end() {
            let reason = "it ends before the end of the archive".to_owned();
            (FindingKind::Truncated, reason)
        } else if is_over {
            let reason = "something follows the end of the archive".to_owned();
            (FindingKind::TrailingBytes, reason)
        } else {
            (FindingKind::BadHeader, format!("{error:#}"))
        };
        pieces.find(kind, &reason);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
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
        let corrupt = FindingKind::CorruptMember;
        let expected = [
            (corrupt, offset(1), b"ab".to_vec()),
            (corrupt, offset(2), Vec::new()),
        ];
        assert_eq!(told, expected);
        assert_eq!(bad.file_count, None);
    }

    #[test]
    fn a_check_can_be_stopped() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&archive().concat()).unwrap();
        file.rewind().unwrap();
        assert_eq!(super::check(file, 1, &mut |_| false).unwrap(), None);
    }
}
