//! Bytes as lines of input, as the birth of a record and as what people type: no panic, and a
//! birth that is read is read again as it was written.
#![no_main]

use bk_schema::birth::Birth;
use bk_schema::lines::{Identity, read_identities};
use bk_schema::metadata;
use bk_cli::units;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for line in read_identities(data).unwrap_or_default() {
        assert!(line.identity.id.is_some() || line.identity.name.is_some());
        let _ = line.identity.to_string();
    }
    if let Ok(birth) = Birth::from_comment(data)
        && let Ok(comment) = birth.to_comment()
    {
        let again = Birth::from_comment(comment.as_bytes()).expect("just written");
        assert_eq!(again.to_comment().expect("written before"), comment);
    }
    if let Ok(text) = str::from_utf8(data) {
        let _ = Identity::from_operand(text);
        let _ = metadata::split_pair(text);
        let _ = metadata::parse_value(text);
        if let Ok(bytes) = units::parse_size(text) {
            let _ = units::human_size(bytes);
        }
        for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let _ = units::parse_past(text, now);
            let _ = units::parse_future(text, now);
        }
    }
});
