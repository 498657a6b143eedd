//! Decodes an entry from its header block and the extended headers before it.
//!
//! Every value is checked. An invalid value loses that value, not the entry. Knows no stream.

use anyhow::{Context, Result, ensure};

use crate::format::entry::{Entry, FileTime, Kind, Xattrs};
use crate::format::header::{ACL_KEYWORDS, Block, XATTR_PREFIX, number, parse_pax_time};
use crate::format::notes::{Notes, Oddity};
use crate::format::pax::{Extended, Global, Records};
use crate::restore::names::normalize;

/// Longer names are refused: the archive may be hostile.
pub(crate) const NAME_MAX_BYTES: usize = 64 << 10;

/// An id that no user can have: to chown(2) it means to leave the owner unchanged.
const NO_OWNER: u32 = u32::MAX;

/// The extended headers before the header block of an entry.
#[derive(Default)]
pub(crate) struct Before {
    pub(crate) records: Records,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
}

impl Before {
    /// With those that apply to all entries.
    pub(crate) fn extended<'a>(&'a self, global: &'a Global) -> Extended<'a> {
        let own = &self.records;
        Extended { own, global }
    }
}

pub(crate) fn flag(block: &Block) -> u8 {
    block[156]
}

pub(crate) fn is_file(block: &Block) -> bool {
    matches!(flag(block), b'0' | 0 | b'7')
}

/// Whether it is a ustar header, as pax has too, and not one of older formats or of GNU tar.
pub(crate) fn is_ustar(block: &Block) -> bool {
    &block[257..263] == b"ustar\0"
}

/// Whether it begins with a header as bk writes it. A file that is itself a tar archive may have one
/// at the start of a member; then its entries are read as if they were the archive's.
pub(crate) fn begins_entry(piece: &[u8]) -> bool {
    let block: Option<&Block> = piece.first_chunk();
    block.is_some_and(|block| &block[257..265] == b"ustar\x0000" && check_sum(block).is_ok())
}

/// Checks the checksum: the sum of the bytes with spaces in its own field (POSIX). Some old programs
/// added signed bytes.
pub(crate) fn check_sum(block: &Block) -> Result<()> {
    let stated = number(&block[148..156]).context("it is not a tar header")?;
    let bytes = || {
        let field = 148..156;
        let plain = block.iter().enumerate();
        plain.map(move |(at, byte)| if field.contains(&at) { b' ' } else { *byte })
    };
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    ensure!(
        stated == unsigned || stated == signed,
        "it is not a tar header: its checksum is wrong"
    );
    Ok(())
}

pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

pub(crate) fn name_of(block: &Block, extended: Extended<'_>, before: &Before) -> Vec<u8> {
    let path = extended.last("GNU.sparse.name").or(extended.last("path"));
    match (path, &before.name) {
        (Some(path), _) => path.to_vec(),
        (None, Some(path)) => path.clone(),
        (None, None) => {
            let name = until_nul(&block[..100]);
            // GNU tar uses the bytes of the prefix for other fields.
            match until_nul(&block[345..500]) {
                prefix @ [_, ..] if is_ustar(block) => [prefix, b"/", name].concat(),
                _ => name.to_vec(),
            }
        }
    }
}

fn link_of(block: &Block, extended: Extended<'_>, before: &Before) -> Result<Vec<u8>> {
    let link = extended.last("linkpath").or(before.link.as_deref());
    let link = link.unwrap_or_else(|| until_nul(&block[157..257]));
    check_path(link, "link target")?;
    Ok(link.to_vec())
}

/// # Errors
/// What no file system takes as a path.
pub(crate) fn check_path(path: &[u8], what: &str) -> Result<()> {
    ensure!(!path.is_empty(), "its {what} is empty");
    ensure!(!path.contains(&0), "its {what} contains a NUL");
    ensure!(
        path.len() <= NAME_MAX_BYTES,
        "its {what} is longer than {NAME_MAX_BYTES} bytes"
    );
    Ok(())
}

/// Without slashes at its end, unless it is nothing else.
pub(crate) fn trimmed(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    path
}

/// A number from the records where they tell one, else from the header.
fn stated_number(extended: Extended<'_>, keyword: &str, field: &[u8]) -> Result<i64> {
    match extended.last(keyword) {
        None => number(field),
        Some(value) => {
            let text = str::from_utf8(value).ok();
            let number = text.and_then(|text| text.parse().ok());
            number.with_context(|| format!("the {keyword} of an extended header is not a number"))
        }
    }
}

pub(crate) fn size_of(block: &Block, extended: Extended<'_>) -> Result<u64> {
    as_size(stated_number(extended, "size", &block[124..136])?)
}

/// The size that the header block tells, whatever extended headers do.
pub(crate) fn block_size(block: &Block) -> Result<u64> {
    as_size(number(&block[124..136])?)
}

fn as_size(number: i64) -> Result<u64> {
    u64::try_from(number).ok().context("a size is negative")
}

pub(crate) fn real_size_of(block: &Block, extended: Extended<'_>) -> Result<u64> {
    let keyword = ["GNU.sparse.realsize", "GNU.sparse.size"]
        .into_iter()
        .find(|keyword| extended.last(keyword).is_some());
    let keyword = keyword.unwrap_or_default();
    as_size(stated_number(extended, keyword, &block[483..495])?)
}

fn device_of(block: &Block, extended: Extended<'_>) -> Result<Kind> {
    let part = |keyword, field| {
        let number = stated_number(extended, keyword, field)?;
        u32::try_from(number)
            .ok()
            .context("its device number is out of range")
    };
    let major = part("SCHILY.devmajor", &block[329..337])?;
    let minor = part("SCHILY.devminor", &block[337..345])?;
    Ok(match flag(block) {
        b'3' => Kind::CharDevice(major, minor),
        _ => Kind::BlockDevice(major, minor),
    })
}

/// Decodes all of an entry but its kind and size. An invalid value is noted, and replaced by the most
/// restrictive one.
pub(crate) fn attributes(
    block: &Block,
    extended: Extended<'_>,
    path: Vec<u8>,
    is_dir: bool,
    notes: &mut Notes,
) -> Entry {
    let mut odd = |what: &str| {
        let text = || format!("the {what} of '{}' is out of range", path.escape_ascii());
        notes.add(Oddity::Value, text);
    };
    let mut id = |keyword, field: &[u8]| {
        let id = stated_number(extended, keyword, field)
            .ok()
            .and_then(as_owner);
        id.unwrap_or_else(|| {
            odd(keyword);
            number(field).ok().and_then(as_owner).unwrap_or(NO_OWNER)
        })
    };
    let (uid, gid) = (id("uid", &block[108..116]), id("gid", &block[116..124]));
    let header_time = number(&block[136..148]);
    let mtime = match (extended.last("mtime"), header_time) {
        (None, Ok(secs)) => FileTime { secs, nanos: 0 },
        (text, header_time) => {
            let time = text.and_then(parse_pax_time);
            time.unwrap_or_else(|| {
                odd("mtime");
                let secs = header_time.unwrap_or(0);
                FileTime { secs, nanos: 0 }
            })
        }
    };
    let mode = number(&block[100..108]).unwrap_or_else(|_| {
        odd("mode");
        if is_dir { 0o700 } else { 0o600 }
    });
    let owner = |keyword, field| extended.last(keyword).unwrap_or(until_nul(field)).to_vec();
    let xattrs = extended.beginning(XATTR_PREFIX.as_bytes());
    let xattrs = xattrs.map(|(keyword, value)| {
        let name = unquoted(&keyword[XATTR_PREFIX.len()..]);
        (name, value.to_vec())
    });
    let xattrs = xattrs.collect();
    Entry {
        path,
        kind: Kind::Directory,
        size: 0,
        mode: (mode & 0o7777) as u32,
        uid,
        gid,
        uname: owner("uname", &block[265..297]),
        gname: owner("gname", &block[297..329]),
        mtime,
        acl_texts: acl_texts(extended, &xattrs),
        xattrs,
    }
}

fn as_owner(number: i64) -> Option<u32> {
    u32::try_from(number).ok().filter(|id| *id != NO_OWNER)
}

/// ACL texts without the corresponding attribute, which has ids instead of names and is preferred.
fn acl_texts(extended: Extended<'_>, xattrs: &Xattrs) -> Xattrs {
    let alone = ACL_KEYWORDS
        .into_iter()
        .filter(|(attribute, _)| xattrs.iter().all(|(name, _)| name != attribute));
    let text = |(attribute, keyword): (&[u8], &str)| {
        let text = extended.last(keyword)?;
        Some((attribute.to_vec(), text.to_vec()))
    };
    alone.filter_map(text).collect()
}

/// The name of an attribute with `%3D` and `%25` decoded to `=` and `%`, as GNU tar encodes them.
fn unquoted(mut name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        name = match name {
            [b'%', b'3', b'D', rest @ ..] => {
                plain.push(b'=');
                rest
            }
            [b'%', b'2', b'5', rest @ ..] => {
                plain.push(b'%');
                rest
            }
            [byte, rest @ ..] => {
                plain.push(*byte);
                rest
            }
            [] => return plain,
        };
    }
}

/// Whether data follows a header: for files, and for unknown types, which POSIX treats as files. Never
/// for symbolic links, devices, directories and FIFOs, whatever size they state. Hard links and old
/// directories are decided by the reader.
pub(crate) fn has_data(block: &Block) -> bool {
    !matches!(flag(block), b'2'..=b'6')
}

/// A directory as tar wrote it before there was a type for it: a file whose name ends with a slash.
pub(crate) fn is_old_dir(block: &Block) -> bool {
    flag(block) == 0 && until_nul(&block[..100]).ends_with(b"/")
}

/// Whether it is about another entry or the whole archive: a volume label of GNU tar, an ACL of
/// Solaris.
pub(crate) fn is_remark(block: &Block) -> bool {
    matches!(flag(block), b'V' | b'A')
}

/// The kind of an entry, without its extents.
///
/// # Errors
/// An invalid link target or device number.
pub(crate) fn kind_of(
    block: &Block,
    extended: Extended<'_>,
    before: &Before,
    name: &[u8],
    notes: &mut Notes,
) -> Result<Kind> {
    let shown = || name.escape_ascii();
    Ok(match flag(block) {
        _ if is_file(block) && name.ends_with(b"/") => Kind::Directory,
        // `D` is from an incremental archive of GNU tar: its data are the names in it.
        b'5' | b'D' => Kind::Directory,
        b'1' => {
            let first = link_of(block, extended, before)?;
            normalize(&first).context("it is a hard link")?;
            Kind::HardLink(first)
        }
        b'2' => Kind::Symlink(link_of(block, extended, before)?),
        b'3' | b'4' => device_of(block, extended)?,
        b'6' => Kind::Fifo,
        _ if is_file(block) || flag(block) == b'S' => Kind::File { extents: None },
        b'M' => {
            let what = "is the rest of a file that begins on another volume";
            notes.add(Oddity::Part, || format!("'{}' {what}", shown()));
            Kind::File { extents: None }
        }
        other => {
            let (flag, treated) = (other.escape_ascii(), "it is treated as a file");
            let text = || format!("'{}' has the unknown type '{flag}': {treated}", shown());
            notes.add(Oddity::Type, text);
            Kind::File { extents: None }
        }
    })
}
