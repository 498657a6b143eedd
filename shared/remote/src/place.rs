//! What can be done at a location, whatever kind it is: objects put, asked for, read, listed, removed.
//!
//! Every call blocks, and may be made from several threads at once. Keys are `HOST/archives/NAME`,
//! relative to the prefix of the location. Knows no catalog and no record.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// How to speak with a place.
#[derive(Clone)]
pub struct Options {
    /// A file with the credentials, instead of the provider's usual environment and files.
    pub credentials: Option<PathBuf>,
    /// Bytes a second that are sent at most, by all threads together.
    pub limit_rate: Option<u64>,
    /// How long a failing operation is tried again before it is [`Unreachable`](crate::Kind::Unreachable).
    pub time_limit: Duration,
    /// How long a connection may be silent before it counts as lost.
    pub stall_limit: Duration,
    /// Asked while an operation waits: one that says yes ends it as [`Stopped`](crate::Kind::Stopped).
    pub is_stopped: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Told what fails for now and is tried again, once that has lasted ten seconds; not again within five minutes.
    pub on_waiting: Arc<dyn Fn(&Error) + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credentials: None,
            limit_rate: None,
            time_limit: Duration::from_secs(3 * 60),
            stall_limit: Duration::from_secs(30),
            is_stopped: Arc::new(|| false),
            on_waiting: Arc::new(|_| ()),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("Options");
        told.field("credentials", &self.credentials);
        told.field("limit_rate", &self.limit_rate);
        told.field("time_limit", &self.time_limit);
        told.field("stall_limit", &self.stall_limit);
        told.finish_non_exhaustive()
    }
}

/// What a kind of place can do at all. Whether this one has locks, [`Place::can_lock`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// `begin`, `part`, `complete`, `abort`; without them there are `put` and `put_file`.
    pub has_parts: bool,
    /// Parts that an object may have.
    pub most_parts: u32,
    /// Whether there may be object locks.
    pub may_lock: bool,
    /// How many small requests it answers at once, without refusing some.
    pub most_at_once: usize,
}

/// How a lock may be lifted before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// By nobody.
    Compliance,
    /// By who has the right to bypass it.
    Governance,
}

/// That an object stays until a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who can lift it.
    pub mode: LockMode,
    /// The first instant at which the object may be removed.
    pub until: Timestamp,
}

/// How an object is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storing {
    /// The store's own name of it, such as `STANDARD_IA`.
    pub storage_class: Option<String>,
    /// Until when it stays.
    pub lock: Option<Lock>,
    /// Whether an object of that key may be replaced; otherwise it is
    /// [`AlreadyThere`](crate::Kind::AlreadyThere), where the place can tell.
    pub may_replace: bool,
}

/// Whether a bucket has object locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanLock {
    /// It has.
    Yes,
    /// It has not; nor can they be added to every bucket.
    No,
    /// The credentials do not allow to ask: a lock may work all the same.
    MayNotAsk,
}

/// A piece of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 1, in the order of the object.
    pub number: u32,
    /// Where it begins in the object.
    pub offset: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// That a part is there; [`Place::complete`] needs all of them. To be kept as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReceipt {
    /// As it was sent.
    pub number: u32,
    /// As it was sent.
    pub offset: u64,
    /// How much it is.
    pub bytes: u64,
    /// Of what was sent, in hex.
    pub sha256: String,
    /// Whether the place answered with a checksum of its own, which was the same.
    pub is_confirmed: bool,
    /// What the store calls it.
    pub id: String,
}

/// That an object is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// In a bucket with versions.
    pub version: Option<String>,
    /// As the store gave it.
    pub etag: Option<String>,
    /// Whether the place answered with a checksum of its own, which was the same.
    pub is_confirmed: bool,
}

/// What a place tells of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// In bytes.
    pub size: u64,
    /// When it was written.
    pub modified_at: Option<Timestamp>,
    /// As the store gave it.
    pub etag: Option<String>,
    /// In a bucket with versions.
    pub version: Option<String>,
    /// In hex, where the store has it: of the content, or [`sha256_of_parts`].
    pub sha256: Option<String>,
    /// Where it is locked and the credentials may ask.
    pub locked_until: Option<Timestamp>,
    /// The store's name, where it tells one.
    pub storage_class: Option<String>,
}

/// A line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Relative to the prefix of the location.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// When it was written, where the place tells it.
    pub modified_at: Option<Timestamp>,
}

/// What S3 tells as the checksum of an object that came in parts: of the checksums of the parts, and their
/// number.
#[must_use]
pub fn sha256_of_parts(receipts: &[PartReceipt]) -> String {
    let mut hash = Sha256::new();
    for receipt in receipts {
        hash.update(from_hex(&receipt.sha256));
    }
    format!("{}-{}", hex(&hash.finalize()), receipts.len())
}

/// In hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let pairs = digits.filter_map(|pair| std::str::from_utf8(pair).ok());
    pairs
        .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
        .collect()
}

/// A checksum as headers have it, with its count of parts, in hex.
pub(crate) fn hex_of_base64(text: &str) -> Option<String> {
    let (text, count) = match text.split_once('-') {
        Some((text, count)) => (text, Some(count)),
        None => (text, None),
    };
    let told = hex(&BASE64_STANDARD.decode(text).ok()?);
    Some(match count {
        Some(count) => format!("{told}-{count}"),
        None => told,
    })
}

/// A place. [`open`](crate::open()) gives one.
pub trait Place: Send + Sync {
    /// What this kind of place can do.
    fn abilities(&self) -> Abilities;

    /// Makes the root of a directory or remote, where it is missing; a bucket has to be there.
    ///
    /// # Errors
    /// Those of the place.
    fn init(&self) -> Result<()>;

    /// Asks whether objects can be locked here.
    ///
    /// # Errors
    /// Those of the place.
    fn can_lock(&self) -> Result<CanLock>;

    /// Writes a small object whole.
    ///
    /// # Errors
    /// [`AlreadyThere`](crate::Kind::AlreadyThere), [`Checksum`](crate::Kind::Checksum), those of the place.
    fn put(&self, key: &str, bytes: Vec<u8>, storing: &Storing) -> Result<Stored>;

    /// Writes the first `size` bytes of a file, in parts where the place has them. Does not go on after a kill:
    /// for that there are `begin`, `part` and `complete`.
    ///
    /// # Errors
    /// As of `put`; a file that is shorter.
    fn put_file(&self, key: &str, file: &File, size: u64, storing: &Storing) -> Result<Stored>;

    /// Begins an object that comes in parts. The upload has an id, which stays good when this process ends.
    ///
    /// # Errors
    /// Those of the place.
    fn begin(&self, key: &str, storing: &Storing) -> Result<String>;

    /// Writes a part. The same part may be written again.
    ///
    /// # Errors
    /// [`UnknownUpload`](crate::Kind::UnknownUpload), [`Checksum`](crate::Kind::Checksum), those of the place.
    fn part(&self, key: &str, upload: &str, part: Part) -> Result<PartReceipt>;

    /// Makes the object of its parts, which are given in order and without gaps.
    ///
    /// # Errors
    /// [`UnknownUpload`](crate::Kind::UnknownUpload), also where an earlier call made the object and
    /// the answer was lost: [`head`](Self::head) then tells; [`AlreadyThere`](crate::Kind::AlreadyThere).
    fn complete(
        &self,
        key: &str,
        upload: &str,
        receipts: &[PartReceipt],
        storing: &Storing,
    ) -> Result<Stored>;

    /// Gives up an upload, and its space. One that is not known is given up already.
    ///
    /// # Errors
    /// Those of the place.
    fn abort(&self, key: &str, upload: &str) -> Result<()>;

    /// Asks for an object.
    ///
    /// # Errors
    /// [`NotFound`](crate::Kind::NotFound), those of the place.
    fn head(&self, key: &str) -> Result<Object>;

    /// Writes the content of an object to `sink`, and gives its length. A connection that is lost is taken up
    /// where it was; what comes is not yet compared with any checksum.
    ///
    /// # Errors
    /// [`NotFound`](crate::Kind::NotFound), those of the place and of the sink.
    fn get(&self, key: &str, sink: &mut dyn Write) -> Result<u64>;

    /// Reads a part of the content; less only where it ends.
    ///
    /// # Errors
    /// [`NotFound`](crate::Kind::NotFound), those of the place.
    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>>;

    /// Gives each object below a key, or below the prefix of the location for `""`, to `each`, in
    /// no order, as they come. What `each` fails with ends it.
    ///
    /// # Errors
    /// Those of the place. A directory that is not there is empty, but for the root.
    fn list(&self, below: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()>;

    /// The names of what has objects below itself, directly below a key: the hosts, for `""`.
    ///
    /// # Errors
    /// Those of the place.
    fn list_dirs(&self, below: &str) -> Result<Vec<String>>;

    /// Removes an object, or one version of it. One that is not there is removed already.
    ///
    /// # Errors
    /// [`Locked`](crate::Kind::Locked), those of the place.
    fn delete(&self, key: &str, version: Option<&str>) -> Result<()>;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_of_parts_is_that_of_their_checksums() {
        // printf a | sha256sum | xxd -r -p, and of b, joined | sha256sum
        let receipt = |number, bytes: &[u8]| PartReceipt {
            number,
            offset: 0,
            bytes: 1,
            sha256: sha256(bytes),
            is_confirmed: true,
            id: String::new(),
        };
        let told = sha256_of_parts(&[receipt(1, b"a"), receipt(2, b"b")]);
        assert_eq!(
            told,
            "e5a01fee14e0ed5c48714f22180f25ad8365b53f9779f79dc4a3d7e93963f94a-2"
        );
    }

    #[test]
    fn checksums_of_headers_are_hex_here() {
        assert_eq!(hex_of_base64("AP8="), Some("00ff".to_owned()));
        assert_eq!(hex_of_base64("AP8=-3"), Some("00ff-3".to_owned()));
        assert_eq!(hex_of_base64("!"), None);
    }

    #[test]
    fn a_receipt_is_kept_as_json() {
        let text =
            r#"{"number":1,"offset":0,"bytes":1,"sha256":"00","is_confirmed":true,"id":"x"}"#;
        let receipt: PartReceipt = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&receipt).unwrap(), text);
    }
}
