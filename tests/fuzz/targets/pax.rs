//! Bytes as the records of an extended header: those that are parsed make the same bytes again.
#![no_main]

use bk_archive::format::pax::{self, Records};
use bk_archive::read::reader::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (records, error) = Records::read(data);
    if error.is_none() {
        let mut again = Vec::new();
        for (keyword, value) in records.iter() {
            pax::push(&mut again, keyword, value);
        }
        // A length may be written with zeros before it.
        assert_eq!(Records::read(&again).0, records);
    }
    for flag in *b"gx" {
        let mut stream = bk_fuzz::header(flag, data.len() as u64, |_| {});
        stream.extend_from_slice(data);
        bk_fuzz::pad(&mut stream);
        stream.extend(bk_fuzz::header(b'0', 0, |_| {}));
        stream.extend([0; 2 * bk_fuzz::BLOCK_BYTES]);
        bk_fuzz::read_all(Reader::new(&stream[..]));
    }
});
