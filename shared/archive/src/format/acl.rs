//! A POSIX ACL as the bytes of its extended attribute (linux/posix_acl_xattr.h) and as text.
//!
//! Writes the long text form of acl(5) with numeric ids; reads what GNU tar, bsdtar and star write.
//! Knows no file and no header.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

use crate::accounts::Ids;

/// The attribute of the access ACL.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of the default ACL, which new files in a directory inherit.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: [u8; 4] = 2u32.to_le_bytes();
const ENTRY_BYTES: usize = 8;
/// The kernel rejects attributes over 64 KiB (`XATTR_SIZE_MAX` in linux/limits.h).
const ENTRIES_MAX: usize = ((64 << 10) - VERSION.len()) / ENTRY_BYTES;
/// The id in entries without a qualifier (`ACL_UNDEFINED_ID`); not a valid id.
const NO_ID: u32 = u32::MAX;
/// The length to which a malformed entry is cut in messages.
const SHOWN_BYTES: usize = 60;

const OWNER: u8 = 0x01;
const USER: u8 = 0x02;
const OWN_GROUP: u8 = 0x04;
const GROUP: u8 = 0x08;
const MASK: u8 = 0x10;
const OTHER: u8 = 0x20;

/// The text form, one line per entry; `None` if the bytes are not an ACL of version 2.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let entries = bytes.strip_prefix(&VERSION)?;
    let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    entries.iter().map(line).collect()
}

/// The mode bits of a file with this ACL, the mask in place of the group's permissions (acl(5),
/// "Correspondence between ACL entries and file permission bits"); `None` if the bytes are not an
/// ACL.
pub(crate) fn mode(bytes: &[u8]) -> Option<u32> {
    let (entries, _) = bytes.strip_prefix(&VERSION)?.as_chunks::<ENTRY_BYTES>();
    let bits = |tag| {
        let entry = entries.iter().find(|entry| entry[0] == tag)?;
        Some(u32::from(entry[2] & 7))
    };
    let group = bits(MASK).or(bits(OWN_GROUP))?;
    Some(bits(OWNER)? << 6 | group << 3 | bits(OTHER)?)
}

fn line(entry: &[u8; ENTRY_BYTES]) -> Option<String> {
    let [tag, _, bits, _, id @ ..] = *entry;
    let id = u32::from_le_bytes(id);
    let who = match tag {
        OWNER => "user:".to_owned(),
        USER => format!("user:{id}"),
        OWN_GROUP => "group:".to_owned(),
        GROUP => format!("group:{id}"),
        MASK => "mask:".to_owned(),
        OTHER => "other:".to_owned(),
        _ => return None,
    };
    let bit = |bit, letter| if bits & bit == 0 { '-' } else { letter };
    Some(format!(
        "{who}:{}{}{}\n",
        bit(4, 'r'),
        bit(2, 'w'),
        bit(1, 'x')
    ))
}

/// An ACL that the kernel accepts, or one without entries.
#[derive(Debug)]
pub(crate) struct Acl(Vec<AclEntry>);

/// Sorted as the kernel requires: by tag, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct AclEntry {
    tag: u8,
    id: u32,
    bits: u8,
}

impl Acl {
    /// Parses the text form: entries in any order, separated by commas or newlines; `#` begins a
    /// comment.
    ///
    /// # Errors
    /// A malformed entry, a set of entries that the kernel rejects, an unknown user or group.
    pub(crate) fn parse(text: &[u8], ids: &Ids) -> Result<Self> {
        let mut entries = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            let told = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            let told = told.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            for entry in told.filter(|entry| !entry.is_empty()) {
                ensure!(
                    entries.len() < ENTRIES_MAX,
                    "it has more than {ENTRIES_MAX} entries"
                );
                entries.push(AclEntry::parse(entry, ids)?);
            }
        }
        entries.sort_unstable();
        check(&entries)?;
        Ok(Self(entries))
    }

    /// Whether it is equivalent to a mode: the kernel does not store such an access ACL.
    pub(crate) fn is_mode_alone(&self) -> bool {
        let is_mode = |it: &AclEntry| [OWNER, OWN_GROUP, OTHER].contains(&it.tag);
        self.0.iter().all(is_mode)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        for AclEntry { tag, id, bits } in &self.0 {
            bytes.extend_from_slice(&[*tag, 0, *bits, 0]);
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        bytes
    }
}

/// Checks what the kernel requires (`posix_acl_valid` in fs/posix_acl.c), and that no user or group
/// occurs twice.
fn check(entries: &[AclEntry]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let is_same = |pair: &[AclEntry]| (pair[0].tag, pair[0].id) == (pair[1].tag, pair[1].id);
    ensure!(!entries.windows(2).any(is_same), "it has an entry twice");
    let has = |tag| entries.iter().any(|entry| entry.tag == tag);
    let needs_mask = has(USER) || has(GROUP);
    for (tag, name, is_needed) in [
        (OWNER, "user::", true),
        (OWN_GROUP, "group::", true),
        (MASK, "mask::", needs_mask),
        (OTHER, "other::", true),
    ] {
        ensure!(!is_needed || has(tag), "it has no entry '{name}'");
    }
    Ok(())
}

impl AclEntry {
    /// Parses `TAG:WHO:PERMISSIONS`. bsdtar and star append the id after a name; Solaris omits an
    /// empty second field.
    fn parse(text: &[u8], ids: &Ids) -> Result<Self> {
        let malformed = || format!("'{}' is not an entry of an ACL", shown(text));
        // At most four fields are valid; the fifth is detected here.
        let fields = text.splitn(5, |byte| *byte == b':');
        let fields: Vec<_> = fields.map(<[u8]>::trim_ascii).collect();
        let (tag, who, bits, number) = match fields[..] {
            [tag @ (b"m" | b"mask" | b"o" | b"other"), bits] => (tag, &b""[..], bits, None),
            [tag, who, bits] => (tag, who, bits, None),
            [tag, who @ [_, ..], bits, number] => (tag, who, bits, Some(number)),
            _ => bail!(malformed()),
        };
        let bits = permissions(bits).with_context(malformed)?;
        let (tag, id) = match (tag, who) {
            (b"u" | b"user", b"") => (OWNER, NO_ID),
            (b"u" | b"user", who) => (USER, id(who, number, &ids.users, "user")?),
            (b"g" | b"group", b"") => (OWN_GROUP, NO_ID),
            (b"g" | b"group", who) => (GROUP, id(who, number, &ids.groups, "group")?),
            (b"m" | b"mask", b"") => (MASK, NO_ID),
            (b"o" | b"other", b"") => (OTHER, NO_ID),
            _ => bail!(malformed()),
        };
        Ok(Self { tag, id, bits })
    }
}

fn permissions(text: &[u8]) -> Option<u8> {
    if !(1..=3).contains(&text.len()) {
        return None;
    }
    text.iter().try_fold(0, |bits, letter| match letter {
        b'r' => Some(bits | 4),
        b'w' => Some(bits | 2),
        b'x' => Some(bits | 1),
        b'-' => Some(bits),
        _ => None,
    })
}

/// The stated id, else that of the name.
fn id(who: &[u8], number: Option<&[u8]>, ids: &HashMap<Vec<u8>, u32>, what: &str) -> Result<u32> {
    let stated = number.unwrap_or(who);
    if number.is_some() || stated.iter().all(u8::is_ascii_digit) {
        let is_digits = stated.iter().all(u8::is_ascii_digit);
        let text = str::from_utf8(stated).ok().filter(|_| is_digits);
        let id = text.and_then(|text| text.parse().ok());
        return id
            .filter(|id| *id != NO_ID)
            .with_context(|| format!("'{}' is not the id of a {what}", shown(stated)));
    }
    let name = unescaped(who);
    let id = ids.get(&name).copied();
    id.with_context(|| format!("unknown {what} '{}'", shown(&name)))
}

/// Decodes libacl's escapes: `\` and three octal digits, `\\`.
fn unescaped(mut name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        name = match name {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            [b'\\', b'\\', rest @ ..] => {
                plain.push(b'\\');
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

/// For messages: escaped and cut.
fn shown(text: &[u8]) -> String {
    match text.get(..SHOWN_BYTES) {
        Some(begin) => format!("{}...", begin.escape_ascii()),
        None => text.escape_ascii().to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    fn ids() -> Ids {
        let of = |all: &[(&str, u32)]| all.iter().map(|(name, id)| ((*name).into(), *id)).collect();
        Ids {
            users: of(&[("lisa", 7), ("DOM\\a b", 8)]),
            groups: of(&[("toolies", 9)]),
        }
    }

    fn told(given: &str) -> String {
        match Acl::parse(given.as_bytes(), &ids()) {
            Ok(acl) => text(&acl.bytes()).unwrap(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn an_acl_is_told_as_acl_5_writes_it() {
        let bytes = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\xd2\x04\0\0\x20\0\x04\0\xff\xff\xff\xff";
        let told = "user::rw-\nuser:1234:rwx\nother::r--\n";
        assert_eq!(text(bytes).as_deref(), Some(told));
        assert_eq!(text(&bytes[..9]), None);
        assert_eq!(text(b"\x03\0\0\0"), None);
    }

    #[test]
    fn text_is_read_in_every_form_that_other_programs_write() {
        let whole =
            "user::rwx\nuser:7:rw-\ngroup::r-x\ngroup:9:---\nmask::rwx\nother::r--\n".to_owned();
        for given in [
            "user::rwx,user:lisa:rw-,group::r-x,group:toolies:---,mask::rwx,other::r--",
            "user::rwx\nuser:lisa:rw-\ngroup::r-x\ngroup:toolies:---\nmask::rwx\nother::r--\n",
            "group:toolies:---,other::r--,user:lisa:rw-,user::rwx,mask::rwx,group::r-x",
            "u::rwx,u:lisa:rw,g::rx,g:toolies:-,m:rwx,o:r",
            "user::rwx,user:gone:rw-:7,group::r-x,group:lisa:---:9,mask:rwx,other:r--",
            "# file: x\nuser::rwx  # of x\n\n user : 7 : rw-\t#effective:r--\r\n,group::r-x,,group:9:---#,mask::r\nmask::rwx\nother::r-- \n",
        ] {
            assert_eq!(told(given), whole, "{given}");
        }
        for name in ["DOM\\\\a\\040b", "DOM\\134a\\040b", "DOM\\a b"] {
            assert_eq!(
                told(&format!("u::r,u:{name}:r,g::r,m::r,o::r")),
                "user::r--\nuser:8:r--\ngroup::r--\nmask::r--\nother::r--\n"
            );
        }
        assert_eq!(told(""), "");
        assert_eq!(told(" \n# nothing\n,"), "");
    }

    #[test]
    fn what_is_no_acl_is_refused_with_a_reason() {
        let long = "x".repeat(SHOWN_BYTES);
        for (entry, reason) in [
            ("nonsense", "'nonsense' is not an entry of an ACL"),
            ("user:rwx", "'user:rwx' is not an entry of an ACL"),
            ("owner::rwx", "'owner::rwx' is not an entry of an ACL"),
            ("mask:lisa:rwx", "'mask:lisa:rwx' is not an entry of an ACL"),
            ("user::rwx:7", "'user::rwx:7' is not an entry of an ACL"),
            ("other::", "'other::' is not an entry of an ACL"),
            ("other::rwxr", "'other::rwxr' is not an entry of an ACL"),
            ("other::7", "'other::7' is not an entry of an ACL"),
            ("user:7:r:7:7", "'user:7:r:7:7' is not an entry of an ACL"),
            (
                "user:\u{e9}\0:q",
                "'user:\\xc3\\xa9\\x00:q' is not an entry of an ACL",
            ),
            (
                &format!("{long}:{long}"),
                &format!("'{long}...' is not an entry of an ACL"),
            ),
            ("user:toolies:r", "unknown user 'toolies'"),
            ("group:lisa:r", "unknown group 'lisa'"),
            ("user:lisa:r:x", "'x' is not the id of a user"),
            ("user:lisa:r:-1", "'-1' is not the id of a user"),
            ("user:lisa:r:", "'' is not the id of a user"),
            ("user:4294967295:r", "'4294967295' is not the id of a user"),
            (
                "group:99999999999:r",
                "'99999999999' is not the id of a group",
            ),
            ("user:7:r,m::r,user:lisa:w", "it has an entry twice"),
            ("other::r", "it has an entry twice"),
            ("user:7:r", "it has no entry 'mask::'"),
            ("group:7:r", "it has no entry 'mask::'"),
        ] {
            let given = format!("user::r,group::r,other::r,{entry}");
            assert_eq!(told(&given), reason, "{given}");
        }
        for (given, missing) in [
            ("user::r", "group"),
            ("group::r,other::r", "user"),
            ("user::r,group::r", "other"),
        ] {
            assert_eq!(told(given), format!("it has no entry '{missing}::'"));
        }
        let many: String = (0..=ENTRIES_MAX).map(|id| format!("u:{id}:r,")).collect();
        assert_eq!(
            told(&many),
            format!("it has more than {ENTRIES_MAX} entries")
        );
    }

    #[test]
    fn a_mode_has_the_mask_for_its_group() {
        let parse = |given: &str| Acl::parse(given.as_bytes(), &ids()).unwrap();
        for (given, bits, is_mode) in [
            ("u::rwx,g::rx,o::-", 0o750, true),
            ("u::rwx,g::rx,m::rw,o::x", 0o761, false),
            ("u::r,u:7:rwx,g::rx,m::w,o::x", 0o421, false),
        ] {
            let acl = parse(given);
            assert_eq!(
                (mode(&acl.bytes()), acl.is_mode_alone()),
                (Some(bits), is_mode)
            );
        }
        assert_eq!(mode(b"nonsense"), None);
        assert_eq!(mode(&VERSION), None);
    }

    type Who = std::collections::BTreeMap<u32, u8>;

    /// The long form, in the order of the kernel.
    fn written(bits: [u8; 4], users: &Who, groups: &Who) -> String {
        let mut entries = vec![(OWNER, NO_ID, bits[0])];
        entries.extend(users.iter().map(|(id, bits)| (USER, *id, *bits)));
        entries.push((OWN_GROUP, NO_ID, bits[1]));
        entries.extend(groups.iter().map(|(id, bits)| (GROUP, *id, *bits)));
        entries.push((MASK, NO_ID, bits[2]));
        entries.push((OTHER, NO_ID, bits[3]));
        let entries = entries.into_iter();
        let entries = entries.map(|(tag, id, bits)| AclEntry { tag, id, bits });
        text(&Acl(entries.collect()).bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn text_comes_back_from_the_bytes_in_whatever_order_and_form(
            bits in proptest::array::uniform4(0u8..8),
            users in btree_map(0..NO_ID, 0u8..8, 0..8),
            groups in btree_map(0..NO_ID, 0u8..8, 0..8),
            (order, is_comma) in (any::<u64>(), any::<bool>()),
        ) {
            let long = written(bits, &users, &groups);
            prop_assert_eq!(told(&long), &*long);
            let mut lines: Vec<_> = long.lines().collect();
            let count = lines.len();
            for at in 1..count {
                lines.swap(at, (order >> at) as usize % (at + 1));
            }
            let given = lines.join(if is_comma { "," } else { "  #x\n" });
            prop_assert_eq!(told(&given), long);
        }

        #[test]
        fn no_text_panics_and_what_is_read_is_an_acl(
            bytes in vec(any::<u8>(), 0..60),
            pieces in vec("[ugmo]|user|group|mask|other|:|::|,|\n|#|[rwx-]{1,3}|[0-9]{1,11}|lisa|\\\\[0-7]{1,3}", 0..40),
        ) {
            let _ = Acl::parse(&bytes, &ids());
            if let Ok(acl) = Acl::parse(pieces.concat().as_bytes(), &ids()) {
                let long = text(&acl.bytes()).unwrap();
                prop_assert_eq!(told(&long), long);
            }
        }
    }
}
