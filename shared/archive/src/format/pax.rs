//! Records of a pax extended header: `LENGTH KEYWORD=VALUE\n` (POSIX.1-2017, pax, "pax
//! Extended Header File Format").
//!
//! Parsed by their length, so a value can contain any byte, newlines too.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, ensure};

/// Longer extended headers are refused: the archive may be hostile.
pub const HEADER_MAX_BYTES: usize = 1 << 20;

/// The limit of records in global headers.
const GLOBAL_MAX: usize = 1000;

/// Appends one record. The keyword must not contain `=`.
pub fn push(records: &mut Vec<u8>, keyword: impl AsRef<[u8]>, value: &[u8]) {
    let keyword = keyword.as_ref();
    debug_assert!(!keyword.contains(&b'='), "{keyword:?}");
    // The length includes its own digits, which may add one more digit.
    let rest = keyword.len() + value.len() + 3;
    let digits = |number: usize| Decimal::of(number as u64).text().len();
    let length = rest + digits(rest + digits(rest));
    records.extend_from_slice(Decimal::of(length as u64).text());
    records.push(b' ');
    records.extend_from_slice(keyword);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// A decimal number as text, written from its end: there are several in each entry.
pub(crate) struct Decimal {
    bytes: [u8; Self::BYTES],
    begin: usize,
}

impl Decimal {
    /// Room for a time: a sign, twenty digits, a point and nine more.
    const BYTES: usize = 32;

    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; Self::BYTES],
            begin: Self::BYTES,
        }
    }

    /// A whole number.
    pub(crate) fn of(number: u64) -> Self {
        let mut decimal = Self::new();
        decimal.prepend(number, 1);
        decimal
    }

    /// Puts a number before what is there, with so many digits at least.
    pub(crate) fn prepend(&mut self, mut number: u64, digits_min: usize) {
        let until = self.begin.saturating_sub(digits_min);
        while number > 0 || self.begin > until {
            self.prepend_byte(b'0' + (number % 10) as u8);
            number /= 10;
        }
    }

    /// Puts a byte before what is there.
    pub(crate) fn prepend_byte(&mut self, byte: u8) {
        self.begin -= 1;
        self.bytes[self.begin] = byte;
    }

    /// The text.
    pub(crate) fn text(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }
}

/// Keyword and value. Keywords are ASCII, but for attribute names at their end.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Owned records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// Parses records up to the first malformed one, and the error for that, which tells its offset.
    #[must_use]
    pub fn read(header: &[u8]) -> (Self, Option<anyhow::Error>) {
        let mut records = Vec::new();
        let mut rest = header;
        while !rest.is_empty() {
            let offset = header.len() - rest.len();
            let Some(((keyword, value), after)) = split_record(rest) else {
                let error = anyhow!("the extended header is malformed at byte {offset}");
                return (Self(records), Some(error));
            };
            records.push((keyword.to_vec(), value.to_vec()));
            rest = after;
        }
        (Self(records), None)
    }

    /// In their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'_>> {
        self.0
            .iter()
            .map(|(keyword, value)| (keyword.as_slice(), value.as_slice()))
    }

    /// The value of a keyword; of several, the last one counts (POSIX).
    #[must_use]
    pub fn last(&self, keyword: &str) -> Option<&[u8]> {
        let mut same = self.iter().filter(|(name, _)| *name == keyword.as_bytes());
        same.next_back().map(|(_, value)| value)
    }
}

/// The records of global headers, which apply to all following entries.
#[derive(Debug, Default)]
pub(crate) struct Global(BTreeMap<Vec<u8>, Vec<u8>>);

impl Global {
    /// Adds records, which override earlier ones; an empty value removes a record. Keywords that do
    /// not apply to entries are ignored.
    ///
    /// # Errors
    /// More records or bytes than an honest archive has: they are searched for every entry.
    pub(crate) fn extend(&mut self, later: Records) -> Result<()> {
        let known = later.0.into_iter().filter(|(keyword, _)| is_known(keyword));
        for (keyword, value) in known {
            match value.is_empty() {
                true => self.0.remove(&keyword),
                false => self.0.insert(keyword, value),
            };
        }
        ensure!(
            self.0.len() <= GLOBAL_MAX,
            "the global headers have more than {GLOBAL_MAX} facts"
        );
        // More than one header can hold is an attempt to fill the memory.
        let bytes = self
            .0
            .iter()
            .map(|(keyword, value)| keyword.len() + value.len());
        ensure!(
            bytes.sum::<usize>() <= HEADER_MAX_BYTES,
            "the global headers are longer than {HEADER_MAX_BYTES} bytes"
        );
        Ok(())
    }
}

/// Whether a global record with this keyword applies to entries.
fn is_known(keyword: &[u8]) -> bool {
    const PLAIN: [&[u8]; 8] = [
        b"path",
        b"linkpath",
        b"size",
        b"uid",
        b"gid",
        b"uname",
        b"gname",
        b"mtime",
    ];
    PLAIN.contains(&keyword) || keyword.starts_with(b"SCHILY.")
}

/// The records that apply to one entry: its own, and the global ones.
#[derive(Clone, Copy)]
pub(crate) struct Extended<'a> {
    pub(crate) own: &'a Records,
    pub(crate) global: &'a Global,
}

impl<'a> Extended<'a> {
    /// The value of a keyword. An empty value counts as none and overrides a global one: then the
    /// header block counts (POSIX).
    pub(crate) fn last(self, keyword: &str) -> Option<&'a [u8]> {
        let own = self.own.last(keyword);
        let value = own.or_else(|| self.global.0.get(keyword.as_bytes()).map(Vec::as_slice));
        value.filter(|value| !value.is_empty())
    }

    /// All records whose keywords have this prefix, in increasing precedence.
    pub(crate) fn beginning(self, with: &'a [u8]) -> impl Iterator<Item = Record<'a>> {
        let global = self.global.0.range(with.to_vec()..);
        let global = global.map(|(keyword, value)| (keyword.as_slice(), value.as_slice()));
        let global = global.take_while(move |(keyword, _)| keyword.starts_with(with));
        let own = self.own.iter();
        global.chain(own.filter(move |(keyword, _)| keyword.starts_with(with)))
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
            let (records, error) = Records::read(header.as_bytes());
            assert_eq!(records.last("a"), Some(&b"b"[..]));
            let expected = "the extended header is malformed at byte 6";
            assert_eq!(error.unwrap().to_string(), expected, "{bad:?}");
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
            let (records, error) = Records::read(&header);
            let parsed: Vec<_> = records.iter().map(|(k, v)| (text(k), v.to_vec())).collect();
            prop_assert!(error.is_none());
            prop_assert_eq!(parsed, given);
        }

        #[test]
        fn no_header_panics(header in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Records::read(&header);
        }
    }
}
