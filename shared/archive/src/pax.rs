//! Records of a pax extended header: `LENGTH KEYWORD=VALUE\n` (POSIX.1-2017, pax, "pax
//! Extended Header File Format").
//!
//! Read by their length, so that a value may hold any byte, newlines too. Knows no keyword.

use anyhow::{Context, Result, ensure};

/// A longer extended header is refused: the archive may be hostile.
pub const HEADER_MAX_BYTES: usize = 1 << 20;

/// Appends one record. The keyword holds no `=`.
pub fn push(records: &mut Vec<u8>, keyword: impl AsRef<[u8]>, value: &[u8]) {
    let keyword = keyword.as_ref();
    debug_assert!(!keyword.contains(&b'='), "{keyword:?}");
    // The length counts its own digits, which may add one more digit.
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    length = rest + digits(length);
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(keyword);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// The records of an extended header, in their order.
///
/// # Errors
/// A header over [`HEADER_MAX_BYTES`], or the offset in bytes of the first malformed record.
pub fn parse(header: &[u8]) -> Result<Vec<Record<'_>>> {
    ensure!(
        header.len() <= HEADER_MAX_BYTES,
        "an extended header is longer than {HEADER_MAX_BYTES} bytes"
    );
    let mut records = Vec::new();
    let mut rest = header;
    while !rest.is_empty() {
        let offset = header.len() - rest.len();
        let (record, after) = split_record(rest)
            .with_context(|| format!("the extended header is malformed at byte {offset}"))?;
        records.push(record);
        rest = after;
    }
    Ok(records)
}

/// Keyword and value; a keyword is text but where it ends in the name of an attribute.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Records that outlive the bytes that they were read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// # Errors
    /// As [`parse`].
    pub fn new(header: &[u8]) -> Result<Self> {
        let owned = |(keyword, value): Record<'_>| (keyword.to_vec(), value.to_vec());
        Ok(Self(parse(header)?.into_iter().map(owned).collect()))
    }

    /// In their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'_>> {
        self.0
            .iter()
            .map(|(keyword, value)| (keyword.as_slice(), value.as_slice()))
    }

    /// The value of a keyword: where it stands twice, the last one counts (POSIX).
    #[must_use]
    pub fn last(&self, keyword: &str) -> Option<&[u8]> {
        let mut same = self.iter().filter(|(name, _)| *name == keyword.as_bytes());
        same.next_back().map(|(_, value)| value)
    }

    /// Adds records that count where both tell the same.
    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }
}

fn split_record(input: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = input.iter().position(|byte| *byte == b' ')?;
    let number = &input[..space];
    if !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = str::from_utf8(number).ok()?.parse().ok()?;
    let (record, after) = input.split_at_checked(length)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let keyword = &body[..equals];
    (!keyword.is_empty()).then_some(((keyword, &body[equals + 1..]), after))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_length_counts_its_own_digits() {
        for (value_bytes, length) in [(3, 8), (4, 9), (5, 11), (92, 98), (93, 99), (94, 101)] {
            let mut records = Vec::new();
            push(&mut records, "k", &vec![b'x'; value_bytes]);
            assert_eq!(records.len(), length);
            assert!(records.starts_with(format!("{length} k=").as_bytes()));
        }
    }

    #[test]
    fn a_malformed_record_is_named_by_its_offset() {
        for bad in [
            "x",
            "6 k=v",
            "7 k=v\n",
            "+6 k=v\n",
            " k=v\n",
            "6 kvv\n",
            "5 =v\n",
            "0 k=v\n",
            "99999999999999999999 k=v\n",
        ] {
            let header = format!("6 a=b\n{bad}");
            let error = parse(header.as_bytes()).unwrap_err().to_string();
            assert_eq!(
                error, "the extended header is malformed at byte 6",
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn records_come_back_whatever_bytes_they_hold(
            given in proptest::collection::vec(("[a-zA-Z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..1200)), 0..5)
        ) {
            let mut header = Vec::new();
            for (keyword, value) in &given {
                push(&mut header, keyword, value);
            }
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let parsed: Vec<_> = parse(&header).unwrap().into_iter().map(|(k, v)| (text(k), v.to_vec())).collect();
            prop_assert_eq!(parsed, given);
        }

        #[test]
        fn no_header_panics(header in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&header);
        }
    }
}
