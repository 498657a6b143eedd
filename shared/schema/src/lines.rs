//! JSON lines in and out, with line numbers.
//!
//! Knows which backup a line names, not whether it exists: no catalog.

use std::io::{self, BufRead, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value};

use crate::record::Latest;
use crate::visible::is_hidden;

/// A longer line is refused before it fills the memory.
pub const LINE_MAX_BYTES: u64 = 16 << 20;

/// The id or the name of a backup, or both, which must then agree; or what a location tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The primary key.
    pub id: Option<i64>,
    /// The unique name.
    pub name: Option<String>,
    /// Of a line that tells what a location holds. Its id and its name are those of the catalog that it
    /// comes from, so there is neither.
    pub held: Option<HeldArchive>,
}

/// An archive that a location holds, by what is the same in every catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldArchive {
    /// The host that it was made on.
    pub host: String,
    /// SHA-256 in lower-case hex.
    pub backup_hash: String,
    /// The name that it has elsewhere, to be told.
    pub name: String,
}

/// One line of input: the backup that it names, and all of its keys, to be passed through.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Which backup.
    pub identity: Identity,
    /// The object as it was; empty for a bare id or name.
    pub object: Map<String, Value>,
}

impl Identity {
    /// The backup with this id, whatever its name is.
    pub fn from_id(id: i64) -> Self {
        Self {
            id: Some(id),
            ..Self::default()
        }
    }

    /// Parses an operand: all digits are an id, anything else is a name.
    ///
    /// # Errors
    /// An id out of range, and the rules of [`check_name`](crate::record::check_name).
    pub fn from_operand(text: &str) -> Result<Self> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let id = text
                .parse()
                .ok()
                .with_context(|| format!("the id {text} is out of range"))?;
            return Ok(Self::from_id(id));
        }
        crate::record::check_name(text)?;
        Ok(Self {
            name: Some(text.to_owned()),
            ..Self::default()
        })
    }

    /// What its name stands for where no backup is named so.
    #[must_use]
    pub fn latest(&self) -> Option<Latest<'_>> {
        Latest::parse(self.name.as_deref()?)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(held) = &self.held {
            let (name, host) = (held.name.escape_debug(), held.host.escape_debug());
            return write!(f, "'{name}' of the host '{host}'");
        }
        match (&self.name, self.id) {
            (Some(name), Some(id)) => write!(f, "{id} '{}'", name.escape_debug()),
            (Some(name), None) => write!(f, "'{}'", name.escape_debug()),
            (None, Some(id)) => write!(f, "{id}"),
            (None, None) => write!(f, "nothing"),
        }
    }
}

/// Reads all lines as JSON values with their line numbers, skipping blank ones.
///
/// # Errors
/// The first line that is not JSON, not UTF-8 or too long. A bare number at the very end without
/// a newline is refused too: `7` may be the rest of `71`.
pub fn read_values(mut input: impl BufRead) -> Result<Vec<(usize, Value)>> {
    let mut values = Vec::new();
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        input
            .by_ref()
            .take(LINE_MAX_BYTES + 1)
            .read_until(b'\n', &mut bytes)
            .context("cannot read standard input")?;
        if bytes.is_empty() {
            break;
        }
        ensure!(
            bytes.len() as u64 <= LINE_MAX_BYTES,
            "line {number}: it is longer than {LINE_MAX_BYTES} bytes"
        );
        let text = str::from_utf8(&bytes)
            .ok()
            .with_context(|| format!("line {number}: it is not UTF-8"))?;
        if text.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(text.trim_end()).map_err(|e| {
            let is_word = !text.trim_start().starts_with(['{', '[', '"']);
            let hint = if is_word {
                ": a name alone stands in double quotes"
            } else {
                ""
            };
            let column = e.column();
            anyhow::anyhow!("line {number}: it is not JSON (column {column}){hint}")
        })?;
        if value.is_number() && !text.ends_with('\n') {
            bail!("line {number}: it ends without a newline, so the number may be cut short");
        }
        values.push((number, value));
    }
    Ok(values)
}

/// Reads all lines as identities of backups.
///
/// # Errors
/// As [`read_values`], and the first line that has neither an id nor a name.
pub fn read_identities(input: impl BufRead) -> Result<Vec<Line>> {
    let parse = |(number, value)| identify(value).with_context(|| format!("line {number}"));
    read_values(input)?.into_iter().map(parse).collect()
}

fn identify(value: Value) -> Result<Line> {
    let (id, name, object) = match value {
        Value::Number(number) => (Some(Value::Number(number)), None, Map::new()),
        Value::String(name) => (None, Some(Value::String(name)), Map::new()),
        Value::Object(object) => {
            let given = |key| object.get(key).filter(|value| !value.is_null()).cloned();
            // A row of the ledger has an id of its own, which is no backup's.
            let is_event = object.contains_key("backup_id") && object.contains_key("happened_at");
            let id = given(if is_event { "backup_id" } else { "id" });
            (id, given("backup_name"), object)
        }
        _ => bail!("it is neither an object nor an id nor a name"),
    };
    let positive = |id: Value| id.as_i64().filter(|id| *id > 0);
    let wrong = "its id is not a positive whole number";
    let id = id.map(|id| positive(id).context(wrong)).transpose()?;
    let name = match name {
        Some(Value::String(name)) => Some(name),
        Some(_) => bail!("its backup_name is not a string"),
        None => None,
    };
    name.as_deref().map_or(Ok(()), crate::record::check_name)?;
    ensure!(
        id.is_some() || name.is_some(),
        "it has neither an id nor a backup_name"
    );
    let identity = match held(&object, name.as_deref())? {
        None => Identity {
            id,
            name,
            held: None,
        },
        held => Identity {
            held,
            ..Identity::default()
        },
    };
    Ok(Line { identity, object })
}

/// What the line tells that a location holds: no other line has a host and a location, or, as the record that lies
/// beside a copy, a host and a catalog.
fn held(object: &Map<String, Value>, name: Option<&str>) -> Result<Option<HeldArchive>> {
    let given = |key| object.get(key).filter(|value| !value.is_null());
    let place = given("location").or_else(|| given("catalog"));
    let (Some(host), Some(_)) = (given("host"), place) else {
        return Ok(None);
    };
    let is_hash = |text: &&str| {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        text.len() == 64 && text.bytes().all(hex)
    };
    let host = host.as_str().context("its host is not a string")?;
    let hash = given("backup_hash").and_then(Value::as_str).filter(is_hash);
    Ok(Some(HeldArchive {
        host: host.to_owned(),
        backup_hash: hash
            .context("it tells what a location holds, and has no backup_hash")?
            .to_owned(),
        name: name.unwrap_or_default().to_owned(),
    }))
}

/// The string that a key of a line holds.
///
/// # Errors
/// Anything else, in words that follow the key.
pub fn string(value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        _ => bail!("is not a string"),
    }
}

/// Writes one value as one line, with control characters escaped.
pub fn write_line(mut output: impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut output, Visible))?;
    output.write_all(b"\n")
}

/// Escapes the characters that JSON allows unescaped but a terminal would obey.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            // None of them needs a surrogate.
            write!(writer, "{}\\u{:04x}", &rest[..at], u32::from(hidden))?;
            rest = &rest[at + hidden.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error_of(input: &[u8]) -> String {
        format!("{:#}", read_identities(input).unwrap_err())
    }

    #[test]
    fn an_identity_is_an_object_an_id_or_a_name() {
        let lines =
            read_identities(&b"{\"id\":7,\"x\":1}\n\n8\n\"nightly\"\n{\"backup_name\":\"a\"}"[..])
                .unwrap();
        let ids: Vec<_> = lines.iter().map(|l| l.identity.to_string()).collect();
        assert_eq!(ids, ["7", "8", "'nightly'", "'a'"]);
        assert_eq!(lines[0].object["x"], 1);
    }

    #[test]
    fn what_plays_tricks_on_a_terminal_is_an_escape() {
        let mut written = Vec::new();
        let value = "a\u{9b}2J\x7f\x1b é\u{202e}b\\";
        write_line(&mut written, &value).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text, "\"a\\u009b2J\\u007f\\u001b é\\u202eb\\\\\"\n");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }

    #[test]
    fn a_row_of_the_ledger_means_its_backup_and_not_its_own_id() {
        let event = |id: &str, name: &str| {
            format!(
                "{{\"id\":9,\"happened_at\":\"2026-11-24T08:00:00Z\",\"backup_id\":{id},\"backup_name\":{name}}}\n"
            )
        };
        let lines = read_identities(event("7", "\"a\"").as_bytes()).unwrap();
        assert_eq!(lines[0].identity.to_string(), "7 'a'");
        assert_eq!(
            error_of(event("null", "null").as_bytes()),
            "line 1: it has neither an id nor a backup_name"
        );
    }

    #[test]
    fn a_line_of_a_location_names_the_archive_and_neither_id_nor_name() {
        let line = |host: &str, hash: &str| {
            format!(
                "{{\"id\":7,\"backup_name\":\"a\",\"backup_hash\":{hash},\"host\":{host},\"location\":\"x\"}}\n"
            )
        };
        let hash = format!("\"{}\"", "0f".repeat(32));
        let lines = read_identities(line("\"web2\"", &hash).as_bytes()).unwrap();
        let identity = &lines[0].identity;
        assert_eq!(identity.to_string(), "'a' of the host 'web2'");
        assert_eq!((identity.id, &identity.name), (None, &None));
        let lines = read_identities(line("null", "null").as_bytes()).unwrap();
        assert_eq!(lines[0].identity.to_string(), "7 'a'");
        for hash in ["null", "7", "\"x\"", &hash.to_uppercase()] {
            assert_eq!(
                error_of(line("\"web2\"", hash).as_bytes()),
                "line 1: it tells what a location holds, and has no backup_hash"
            );
        }
        assert_eq!(
            error_of(line("7", &hash).as_bytes()),
            "line 1: its host is not a string"
        );
    }

    #[test]
    fn a_torn_or_malformed_line_is_named_and_nothing_is_returned() {
        assert_eq!(
            error_of(b"1\n{\"id\":"),
            "line 2: it is not JSON (column 6)"
        );
        assert_eq!(
            error_of(b"1\n7"),
            "line 2: it ends without a newline, so the number may be cut short"
        );
        assert_eq!(error_of(b"\"\xff\"\n"), "line 1: it is not UTF-8");
        assert_eq!(
            error_of(b"[]\n"),
            "line 1: it is neither an object nor an id nor a name"
        );
        assert_eq!(
            error_of(b"{}\n"),
            "line 1: it has neither an id nor a backup_name"
        );
        assert_eq!(
            error_of(b"{\"id\":1.5}\n"),
            "line 1: its id is not a positive whole number"
        );
        assert_eq!(
            error_of(b"0\n"),
            "line 1: its id is not a positive whole number"
        );
        assert_eq!(
            error_of(b"\"../x\"\n"),
            "line 1: invalid name '../x': use no slash and no control character"
        );
        let long = vec![b' '; LINE_MAX_BYTES as usize + 1];
        assert!(error_of(&long).starts_with("line 1: it is longer than"));
    }

    proptest! {
        #[test]
        fn no_input_panics(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_identities(&input[..]);
        }

        #[test]
        fn what_is_written_is_read_back(id in 1..i64::MAX, name in "[a-zé][ -.0-~é]{0,40}", extra in ".*") {
            let object = serde_json::json!({"id": id, "backup_name": name, "extra": extra});
            let mut bytes = Vec::new();
            write_line(&mut bytes, &object).unwrap();
            prop_assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 1);
            let lines = read_identities(&bytes[..]).unwrap();
            prop_assert_eq!(&lines[0].identity, &Identity { id: Some(id), name: Some(name), held: None });
            prop_assert_eq!(Value::Object(lines[0].object.clone()), object);
        }

        #[test]
        fn a_line_cut_anywhere_is_refused(id in 10..i64::MAX, cut in 1usize..30) {
            let line = format!("{{\"id\":{id},\"backup_name\":\"nightly\"}}");
            prop_assert!(read_identities(&line.as_bytes()[..cut.min(line.len() - 1)]).is_err());
            let bare = id.to_string();
            prop_assert!(read_identities(&bare.as_bytes()[..cut.min(bare.len())]).is_err());
        }
    }
}
