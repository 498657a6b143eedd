//! Any bytes as a tar stream: its entries, their content, and what follows.
#![no_main]

use bk_archive::read::reader::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut stream = data.to_vec();
    bk_fuzz::sum_all(&mut stream);
    bk_fuzz::read_all(Reader::new(&stream[..]));
});
