//! Whether a store answered with a checksum of what it received, and whether it is ours.
//!
//! Knows no operation.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};

use crate::answer::Answer;
use crate::place::{hex, hex_of_base64};

/// A checksum that is another's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Differs;

/// Whether the store confirmed what it was sent.
pub(crate) fn is_confirmed(answer: &Answer, bytes: &[u8], sha256: &str) -> Result<bool, Differs> {
    if let Some(told) = answer
        .header("x-amz-checksum-sha256")
        .and_then(hex_of_base64)
    {
        return if told == sha256 {
            Ok(true)
        } else {
            Err(Differs)
        };
    }
    // One for each kind of checksum, or all of them in one.
    let google = answer.headers.get_all("x-goog-hash").iter();
    let google = google
        .filter_map(|told| told.to_str().ok())
        .flat_map(|told| told.split(','))
        .find_map(|hash| hash.trim().strip_prefix("md5="));
    if let Some(told) = google.or_else(|| answer.header("content-md5")) {
        let ours = BASE64_STANDARD.encode(Md5::digest(bytes));
        return if told == ours { Ok(true) } else { Err(Differs) };
    }
    // An ETag is the MD5 of the content in most stores; where it is encrypted there, it is something else.
    let etag = answer.header("etag").unwrap_or_default().trim_matches('"');
    Ok(etag.len() == 32 && etag == hex(&Md5::digest(bytes)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::place::sha256;

    fn told(name: &'static str, value: &str) -> Result<bool, Differs> {
        let mut answer = Answer::default();
        answer.headers.insert(name, value.parse().unwrap());
        is_confirmed(&answer, b"a", &sha256(b"a"))
    }

    #[test]
    fn what_the_store_tells_is_compared() {
        // printf a | openssl dgst -sha256 -binary | base64, and -md5
        let sha = "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=";
        let md5 = "DMF1ucDxtqgxw5niaXcmYQ==";
        assert_eq!(told("x-amz-checksum-sha256", sha), Ok(true));
        assert_eq!(told("x-amz-checksum-sha256", md5), Err(Differs));
        assert_eq!(told("content-md5", md5), Ok(true));
        assert_eq!(told("content-md5", sha), Err(Differs));
        assert_eq!(
            told("x-goog-hash", &format!("crc32c=AAAAAA==, md5={md5}")),
            Ok(true)
        );
        assert_eq!(told("x-goog-hash", "md5=AAAA"), Err(Differs));
        assert_eq!(told("x-goog-hash", "crc32c=AAAAAA=="), Ok(false));
        assert_eq!(
            told("etag", "\"0cc175b9c0f1b6a831c399e269772661\""),
            Ok(true)
        );
        assert_eq!(
            told("etag", "\"00000000000000000000000000000000\""),
            Ok(false)
        );
        assert_eq!(told("etag", "\"x-2\""), Ok(false));
    }
}
