//! A POSIX ACL from the bytes of its extended attribute (linux/posix_acl_xattr.h) to the long
//! text form of acl(5), with numbers for users and groups.
//!
//! Knows no file and no header.

const ENTRY_BYTES: usize = 8;

/// One line for each entry; `None` where the bytes are no ACL of version 2.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let entries = bytes.strip_prefix(&2u32.to_le_bytes())?;
    let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    entries.iter().map(line).collect()
}

fn line(entry: &[u8; ENTRY_BYTES]) -> Option<String> {
    let [tag, _, bits, _, id @ ..] = *entry;
    let id = u32::from_le_bytes(id);
    let who = match tag {
        0x01 => "user:".to_owned(),
        0x02 => format!("user:{id}"),
        0x04 => "group:".to_owned(),
        0x08 => format!("group:{id}"),
        0x10 => "mask:".to_owned(),
        0x20 => "other:".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_is_told_as_acl_5_writes_it() {
        let bytes = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\xd2\x04\0\0\x20\0\x04\0\xff\xff\xff\xff";
        let told = "user::rw-\nuser:1234:rwx\nother::r--\n";
        assert_eq!(text(bytes).as_deref(), Some(told));
        assert_eq!(text(&bytes[..9]), None);
        assert_eq!(text(b"\x03\0\0\0"), None);
    }
}
