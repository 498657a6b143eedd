//! Encodes an entry as header blocks: ustar (POSIX.1-2017, pax, "ustar Interchange Format"), preceded
//! by a pax extended header for values that do not fit.
//!
//! Sparse files are written as GNU tar's sparse format 1.0 ("Storing Sparse Files, PAX
//! Format" in its manual). Knows no file system.

use std::borrow::Cow;

use anyhow::{Context, Result};

use crate::format::acl;
use crate::format::entry::{Entry, Extent, FileTime, Kind};
use crate::format::pax::{self, Decimal};

/// The block size of a tar stream: everything is padded to it.
pub const BLOCK_BYTES: usize = 512;
pub(crate) type Block = [u8; BLOCK_BYTES];

const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;
const OWNER_BYTES: usize = 32;
const ID_MAX: u64 = 0o7_777_777;
const SIZE_MAX: u64 = 0o77_777_777_777;
const TIME_MAX: i64 = 0o77_777_777_777;

/// The prefix of the keyword for an extended attribute.
pub(crate) const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// The attributes of ACLs, and the keywords for their text form.
pub(crate) const ACL_KEYWORDS: [(&[u8], &str); 2] = [
    (acl::ACCESS, "SCHILY.acl.access"),
    (acl::DEFAULT, "SCHILY.acl.default"),
];

/// The longest comment that readers accept in a global header.
pub const COMMENT_MAX_BYTES: usize = pax::HEADER_MAX_BYTES - 32;

/// Pads `stream` with zeros to a whole number of blocks.
pub fn pad(stream: &mut Vec<u8>) {
    stream.resize(stream.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Appends the global header whose `comment` is one line of JSON, of at most
/// [`COMMENT_MAX_BYTES`].
pub fn push_global(stream: &mut Vec<u8>, comment: &str) {
    assert!(comment.len() <= COMMENT_MAX_BYTES, "checked by the caller");
    let begin = begin_extended(stream);
    pax::push(stream, "comment", comment.as_bytes());
    end_extended(stream, begin, b'g', b"pax_global_header");
}

/// Appends the headers of one entry, and the map of a sparse file. The caller appends
/// [`Entry::data_bytes`] bytes of content and pads them.
pub fn push_entry(stream: &mut Vec<u8>, entry: &Entry) {
    let begin = begin_extended(stream);
    push_after(stream, begin, entry, None);
}

/// The same, with a length that does not depend on the size: for headers that are rewritten in place
/// once the size is known.
pub(crate) fn push_fixed_length(stream: &mut Vec<u8>, entry: &Entry) {
    let begin = begin_extended(stream);
    // The largest size has twenty digits.
    let mut size = Decimal::new();
    size.prepend(entry.size, 20);
    push_after(stream, begin, entry, Some(size));
}

/// `records`, the stream, ends in the extended header that was begun at `begin`. `size` is written
/// whether the header can hold it or not.
fn push_after(records: &mut Vec<u8>, begin: usize, entry: &Entry, size: Option<Decimal>) {
    let has_size = size.is_some();
    if let Some(size) = size {
        pax::push(records, "size", size.text());
    }
    let mut header = tar::Header::new_ustar();
    let (path, map) = match &entry.kind {
        Kind::File { extents: Some(all) } => {
            (Cow::Owned(sparse_path(&entry.path)), sparse_map(all))
        }
        Kind::Directory => (Cow::Owned([&entry.path[..], b"/"].concat()), Vec::new()),
        _ => (Cow::Borrowed(&entry.path[..]), Vec::new()),
    };
    set_path(&mut header, records, &path);
    if !map.is_empty() {
        // After `path`: Python uses whichever of the two names comes last.
        push_sparse_records(records, entry);
    }
    set_kind(&mut header, records, &entry.kind);
    let size = entry.data_bytes() + map.len() as u64;
    set_numbers(&mut header, records, entry, (size, has_size));
    let ustar = header.as_ustar_mut();
    if let Some(ustar) = ustar {
        set_owner(&mut ustar.uname, records, "uname", &entry.uname);
        set_owner(&mut ustar.gname, records, "gname", &entry.gname);
    }
    for (name, value) in &entry.xattrs {
        pax::push(records, xattr_keyword(name), value);
        push_acl(records, name, value);
    }
    set_checksum(&mut header);
    end_extended(records, begin, b'x', b"pax_header");
    records.extend_from_slice(header.as_bytes());
    records.extend_from_slice(&map);
}

/// Leaves a block for the header of records that are appended next.
fn begin_extended(stream: &mut Vec<u8>) -> usize {
    let begin = stream.len();
    stream.resize(begin + BLOCK_BYTES, 0);
    begin
}

/// Writes the header of the records that were appended since, if any were.
fn end_extended(stream: &mut Vec<u8>, begin: usize, flag: u8, name: &[u8]) {
    let from = begin + BLOCK_BYTES;
    let records_bytes = stream.len() - from;
    if records_bytes == 0 {
        stream.truncate(begin);
        return;
    }
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::new(flag));
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    set_octal(&mut old.mode, 0o644);
    set_octal(&mut old.uid, 0);
    set_octal(&mut old.gid, 0);
    set_octal(&mut old.size, records_bytes as u64);
    set_octal(&mut old.mtime, 0);
    set_checksum(&mut header);
    stream[begin..from].copy_from_slice(header.as_bytes());
    pad(stream);
}

/// The sum of all bytes of the header, where those of the sum itself count as spaces.
fn set_checksum(header: &mut tar::Header) {
    header.as_old_mut().cksum = [b' '; 8];
    let sum: u32 = header.as_bytes().iter().map(|byte| u32::from(*byte)).sum();
    set_octal(&mut header.as_old_mut().cksum, sum.into());
}

/// Names go into the header block if they fit: readers take those as bytes, but the names in pax
/// records as UTF-8.
fn set_path(header: &mut tar::Header, records: &mut Vec<u8>, path: &[u8]) {
    let Some(ustar) = header.as_ustar_mut() else {
        return;
    };
    if path.len() <= NAME_BYTES {
        ustar.name[..path.len()].copy_from_slice(path);
    } else if let Some(slash) = prefix_end(path) {
        ustar.prefix[..slash].copy_from_slice(&path[..slash]);
        let name = &path[slash + 1..];
        ustar.name[..name.len()].copy_from_slice(name);
    } else {
        ustar.name.copy_from_slice(&path[..NAME_BYTES]);
        pax::push(records, "path", path);
    }
}

/// The position of the slash that splits `path` into a prefix and a name that both fit.
fn prefix_end(path: &[u8]) -> Option<usize> {
    let from = path.len() - NAME_BYTES - 1;
    let until = PREFIX_BYTES.min(path.len() - 2);
    (from.max(1)..=until).find(|at| path[*at] == b'/')
}

fn set_kind(header: &mut tar::Header, records: &mut Vec<u8>, kind: &Kind) {
    let (flag, link) = match kind {
        Kind::File { .. } => (b'0', None),
        Kind::HardLink(to) => (b'1', Some(to)),
        Kind::Symlink(to) => (b'2', Some(to)),
        Kind::CharDevice(..) => (b'3', None),
        Kind::BlockDevice(..) => (b'4', None),
        Kind::Directory => (b'5', None),
        Kind::Fifo => (b'6', None),
    };
    header.set_entry_type(tar::EntryType::new(flag));
    if let Some(to) = link {
        let fits = to.len().min(NAME_BYTES);
        header.as_old_mut().linkname[..fits].copy_from_slice(&to[..fits]);
        if to.len() > NAME_BYTES {
            pax::push(records, "linkpath", to);
        }
    }
    let (major, minor) = match kind {
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => (*major, *minor),
        _ => (0, 0),
    };
    let (major, minor) = (u64::from(major), u64::from(minor));
    if let Some(ustar) = header.as_ustar_mut() {
        set_octal(&mut ustar.dev_major, major.min(ID_MAX));
        set_octal(&mut ustar.dev_minor, minor.min(ID_MAX));
    }
    if major > ID_MAX || minor > ID_MAX {
        push_number(records, "SCHILY.devmajor", major);
        push_number(records, "SCHILY.devminor", minor);
    }
}

/// The size comes with whether a record has it already.
fn set_numbers(
    header: &mut tar::Header,
    records: &mut Vec<u8>,
    entry: &Entry,
    (size, has_size): (u64, bool),
) {
    let secs = entry.mtime.secs.clamp(0, TIME_MAX);
    let old = header.as_old_mut();
    set_octal(&mut old.mode, u64::from(entry.mode & 0o7777));
    set_octal(&mut old.mtime, secs.unsigned_abs());
    set_number(&mut old.uid, ID_MAX, records, "uid", entry.uid.into());
    set_number(&mut old.gid, ID_MAX, records, "gid", entry.gid.into());
    set_octal(&mut old.size, size.min(SIZE_MAX));
    if size > SIZE_MAX && !has_size {
        push_number(records, "size", size);
    }
    if entry.mtime.nanos != 0 || secs != entry.mtime.secs {
        pax::push(records, "mtime", pax_time(entry.mtime).text());
    }
}

fn push_number(records: &mut Vec<u8>, keyword: &str, number: u64) {
    pax::push(records, keyword, Decimal::of(number).text());
}

/// A number larger than the field can hold goes into a record.
fn set_number(field: &mut [u8], max: u64, records: &mut Vec<u8>, keyword: &str, number: u64) {
    set_octal(field, number.min(max));
    if number > max {
        push_number(records, keyword, number);
    }
}

/// Octal digits fill the field, followed by the NUL that old tars need.
fn set_octal(field: &mut [u8], mut number: u64) {
    for (from_end, byte) in field.iter_mut().rev().enumerate() {
        if from_end == 0 {
            *byte = 0;
            continue;
        }
        *byte = b'0' + (number & 7) as u8;
        number >>= 3;
    }
}

fn set_owner(field: &mut [u8; OWNER_BYTES], records: &mut Vec<u8>, keyword: &str, name: &[u8]) {
    if name.len() < OWNER_BYTES {
        field[..name.len()].copy_from_slice(name);
    } else {
        pax::push(records, keyword, name);
    }
}

/// A time as a decimal number of seconds. The fraction of a negative one counts away from zero.
fn pax_time(time: FileTime) -> Decimal {
    let (whole, mut fraction) = match time.nanos {
        nanos @ 1.. if time.secs < 0 => (time.secs + 1, 1_000_000_000 - nanos),
        nanos => (time.secs, nanos),
    };
    let mut digits = 9;
    while fraction != 0 && fraction.is_multiple_of(10) {
        (fraction, digits) = (fraction / 10, digits - 1);
    }
    let mut text = Decimal::new();
    if fraction != 0 {
        text.prepend(fraction.into(), digits);
        text.prepend_byte(b'.');
    }
    text.prepend(whole.unsigned_abs(), 1);
    if time.secs < 0 {
        text.prepend_byte(b'-');
    }
    text
}

/// Parses a decimal number of seconds; digits after the ninth are dropped.
pub(crate) fn parse_pax_time(text: &[u8]) -> Option<FileTime> {
    let text = str::from_utf8(text).ok()?;
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let secs: i64 = whole.parse().ok()?;
    let nanos: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    Some(match (is_negative, nanos) {
        (false, nanos) => FileTime { secs, nanos },
        (true, 0) => FileTime { secs: -secs, nanos },
        (true, nanos) => FileTime {
            secs: -secs - 1,
            nanos: 1_000_000_000 - nanos,
        },
    })
}

/// Parses a number of a header: octal, or base 256 as GNU tar writes large and negative numbers.
///
/// # Errors
/// Anything else, and numbers that do not fit.
pub(crate) fn number(field: &[u8]) -> Result<i64> {
    if let [first @ 0x80..=0xff, rest @ ..] = field {
        let sign = if first & 0x40 == 0 { 0 } else { -1i128 };
        let high = (sign << 6) | i128::from(first & 0x3f);
        let value = rest
            .iter()
            .fold(high, |value, byte| value << 8 | i128::from(*byte));
        return i64::try_from(value)
            .ok()
            .context("a number in a header is out of range");
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ');
    // A leading NUL means 0, whatever follows, as in other programs.
    let digits: Vec<u8> = digits
        .take_while(|byte| **byte != b' ' && **byte != 0)
        .copied()
        .collect();
    digits.iter().try_fold(0i64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8);
        let digit = digit.context("a number in a header is not octal")?;
        let value = value
            .checked_mul(8)
            .context("a number in a header is out of range")?;
        Ok(value + i64::from(digit))
    })
}

/// Encodes `=` and `%` in the name of an attribute, as GNU tar does.
fn xattr_keyword(name: &[u8]) -> Vec<u8> {
    let mut keyword = XATTR_PREFIX.as_bytes().to_vec();
    for byte in name {
        match byte {
            b'%' => keyword.extend_from_slice(b"%25"),
            b'=' => keyword.extend_from_slice(b"%3D"),
            byte => keyword.push(*byte),
        }
    }
    keyword
}

/// Adds the text form of an ACL: `tar --acls` and bsdtar restore ACLs only from that.
fn push_acl(records: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let mut acls = ACL_KEYWORDS.into_iter();
    let keyword = acls.find(|(attribute, _)| *attribute == name);
    if let Some((_, keyword)) = keyword
        && let Some(text) = acl::text(value)
    {
        pax::push(records, keyword, text.as_bytes());
    }
}

fn push_sparse_records(records: &mut Vec<u8>, entry: &Entry) {
    pax::push(records, "GNU.sparse.major", b"1");
    pax::push(records, "GNU.sparse.minor", b"0");
    pax::push(records, "GNU.sparse.name", &entry.path);
    push_number(records, "GNU.sparse.realsize", entry.size);
}

/// The name under which a tar without support for sparse files extracts the map and the data.
fn sparse_path(path: &[u8]) -> Vec<u8> {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (dir, name) = path.split_at(slash.map_or(0, |slash| slash + 1));
    [dir, b"GNUSparseFile.0/", name].concat()
}

fn sparse_map(extents: &[Extent]) -> Vec<u8> {
    let mut map = format!("{}\n", extents.len()).into_bytes();
    for extent in extents {
        map.extend_from_slice(format!("{}\n{}\n", extent.offset, extent.length).as_bytes());
    }
    pad(&mut map);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_count_away_from_zero() {
        for (secs, nanos, text) in [
            (0, 1, "0.000000001"),
            (5, 0, "5"),
            (-1, 500_000_000, "-0.5"),
            (-2, 750_000_000, "-1.25"),
            (-3, 0, "-3"),
        ] {
            assert_eq!(pax_time(FileTime { secs, nanos }).text(), text.as_bytes());
            assert_eq!(
                parse_pax_time(text.as_bytes()),
                Some(FileTime { secs, nanos })
            );
        }
        for bad in ["", "x", "1.x", "--1", "+1", "1.-2", "99999999999999999999"] {
            assert_eq!(parse_pax_time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"   17 \0", 0o17),
            (b"\0\0\0", 0),
            (b"\x0005\0", 0),
            (b"17\0 5", 0o17),
            (b"\x80\0\x01\0", 256),
            (b"\xff\xff\xff\xfe", -2),
        ] {
            assert_eq!(number(field).ok(), Some(value), "{field:?}");
        }
        assert!(number(b"8").is_err() && number(b"-1").is_err());
        assert!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn a_path_is_split_only_where_both_parts_fit() {
        let path = |lengths: &[usize]| {
            lengths
                .iter()
                .map(|n| "x".repeat(*n))
                .collect::<Vec<_>>()
                .join("/")
                .into_bytes()
        };
        assert_eq!(prefix_end(&path(&[60, 60])), Some(60));
        assert_eq!(prefix_end(&path(&[155, 100])), Some(155));
        assert_eq!(prefix_end(&path(&[156, 100])), None);
        assert_eq!(prefix_end(&path(&[155, 101])), None);
        assert_eq!(prefix_end(&path(&[101])), None);
        assert_eq!(prefix_end(b"/".repeat(101).as_slice()), Some(1));
    }
}
