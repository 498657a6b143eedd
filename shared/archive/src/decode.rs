//! One header block, and what the extended headers before it tell, as the facts of an entry.
//!
//! Each fact is checked before it is believed. Knows no stream.

use anyhow::{Context, Result, ensure};

use crate::entry::{Entry, FileTime, Kind, Xattrs};
use crate::header::{ACL_KEYWORDS, BLOCK_BYTES, XATTR_PREFIX, number, parse_pax_time};
use crate::pax::Records;

/// A longer name is refused: the archive may be hostile.
pub(crate) const NAME_MAX_BYTES: usize = 64 << 10;

pub(crate) type Block = [u8; BLOCK_BYTES];

/// What stands before the header of an entry and tells more of it.
#[derive(Default)]
pub(crate) struct Before {
    pub(crate) records: Records,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
}

pub(crate) fn flag(block: &Block) -> u8 {
    block[156]
}

pub(crate) fn is_file(block: &Block) -> bool {
    matches!(flag(block), b'0' | 0 | b'7')
}

/// The sum of a header's bytes, its own field taken as spaces; some old programs added signed
/// bytes.
pub(crate) fn check_sum(block: &Block) -> Result<()> {
    let told = number(&block[148..156]).context("it is no tar header")?;
    let bytes = || {
        let field = 148..156;
        let plain = block.iter().enumerate();
        plain.map(move |(at, byte)| if field.contains(&at) { b' ' } else { *byte })
    };
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    ensure!(
        told == unsigned || told == signed,
        "it is no tar header: its checksum is wrong"
    );
    Ok(())
}

pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

pub(crate) fn name_of(block: &Block, records: &Records, before: &Before) -> Result<Vec<u8>> {
    let told = records.last("GNU.sparse.name").or(records.last("path"));
    let path = match (told, &before.name) {
        (Some(path), _) => path.to_vec(),
        (None, Some(path)) => path.clone(),
        (None, None) => {
            let name = until_nul(&block[..100]);
            // GNU tar has other things where ustar has the prefix.
            let is_ustar = &block[257..263] == b"ustar\0";
            match until_nul(&block[345..500]) {
                prefix @ [_, ..] if is_ustar => [prefix, b"/", name].concat(),
                _ => name.to_vec(),
            }
        }
    };
    check_name(path)
}

pub(crate) fn link_of(block: &Block, records: &Records, before: &Before) -> Result<Vec<u8>> {
    let told = records.last("linkpath").or(before.link.as_deref());
    check_name(told.unwrap_or_else(|| until_nul(&block[157..257])).to_vec())
}

fn check_name(name: Vec<u8>) -> Result<Vec<u8>> {
    ensure!(!name.is_empty(), "a name is empty");
    ensure!(!name.contains(&0), "a name holds a NUL");
    ensure!(
        name.len() <= NAME_MAX_BYTES,
        "a name is longer than {NAME_MAX_BYTES} bytes"
    );
    Ok(name)
}

/// Without slashes at its end, unless it is nothing else.
pub(crate) fn trimmed(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    path
}

/// A number from the records where they tell one, else from the header.
fn told_number(records: &Records, keyword: &str, field: &[u8]) -> Result<i64> {
    match records.last(keyword) {
        None => number(field),
        Some(value) => {
            let text = str::from_utf8(value).ok();
            let told = text.and_then(|text| text.parse().ok());
            told.with_context(|| format!("the {keyword} of an extended header is no number"))
        }
    }
}

pub(crate) fn size_of(block: &Block, records: &Records) -> Result<u64> {
    let size = told_number(records, "size", &block[124..136])?;
    u64::try_from(size).ok().context("a size is negative")
}

pub(crate) fn real_size_of(block: &Block, records: &Records) -> Result<u64> {
    let keyword = ["GNU.sparse.realsize", "GNU.sparse.size"]
        .into_iter()
        .find(|keyword| records.last(keyword).is_some());
    let size = told_number(records, keyword.unwrap_or_default(), &block[483..495])?;
    u64::try_from(size).ok().context("a size is negative")
}

pub(crate) fn device_of(block: &Block, records: &Records) -> Result<Kind> {
    let part = |keyword, field| {
        let told = told_number(records, keyword, field)?;
        u32::try_from(told)
            .ok()
            .context("a device number is out of range")
    };
    let major = part("SCHILY.devmajor", &block[329..337])?;
    let minor = part("SCHILY.devminor", &block[337..345])?;
    Ok(match flag(block) {
        b'3' => Kind::CharDevice(major, minor),
        _ => Kind::BlockDevice(major, minor),
    })
}

/// An entry of which all is told but its name, kind and size.
pub(crate) fn attributes(block: &Block, records: &Records) -> Result<Entry> {
    let id = |keyword, field| {
        let told = told_number(records, keyword, field)?;
        u32::try_from(told)
            .ok()
            .with_context(|| format!("a {keyword} is out of range"))
    };
    let owner = |keyword, field| records.last(keyword).unwrap_or(until_nul(field)).to_vec();
    let mtime = match records.last("mtime") {
        Some(text) => parse_pax_time(text).context("an mtime is no time")?,
        None => FileTime {
            secs: number(&block[136..148])?,
            nanos: 0,
        },
    };
    let xattrs = records.iter().filter_map(|(keyword, value)| {
        let name = keyword.strip_prefix(XATTR_PREFIX.as_bytes())?;
        Some((unquoted(name), value.to_vec()))
    });
    let xattrs = xattrs.collect();
    Ok(Entry {
        path: Vec::new(),
        kind: Kind::Directory,
        size: 0,
        mode: u32::try_from(number(&block[100..108])? & 0o7777)?,
        uid: id("uid", &block[108..116])?,
        gid: id("gid", &block[116..124])?,
        uname: owner("uname", &block[265..297]),
        gname: owner("gname", &block[297..329]),
        mtime,
        acl_texts: acl_texts(records, &xattrs),
        xattrs,
    })
}

/// Those that do not stand as attributes too, which tell the same without names.
fn acl_texts(records: &Records, xattrs: &Xattrs) -> Xattrs {
    let alone = ACL_KEYWORDS
        .into_iter()
        .filter(|(attribute, _)| xattrs.iter().all(|(name, _)| name != attribute));
    let text = |(attribute, keyword): (&[u8], &str)| {
        let text = records.last(keyword)?;
        Some((attribute.to_vec(), text.to_vec()))
    };
    alone.filter_map(text).collect()
}

/// The name of an attribute, in which `=` and `%` are written as `%3D` and `%25`.
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
