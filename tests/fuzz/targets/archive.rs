//! A whole gzip archive: read, and checked in depth. What the check finds whole can be read.
#![no_main]

use bk_archive::read::check::check;
use bk_archive::read::inflate::Inflate;
use bk_archive::read::reader::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = match data.split_first() {
        // The bytes themselves, or a tar stream in members.
        Some((0, bytes)) => bytes.to_vec(),
        Some((cut, bytes)) => {
            let mut stream = bytes.to_vec();
            bk_fuzz::sum_all(&mut stream);
            let cut = stream.len() * usize::from(*cut) / 256;
            [bk_fuzz::gzip(&stream[..cut]), bk_fuzz::gzip(&stream[cut..])].concat()
        }
        None => return,
    };
    let reader = Reader::new(Inflate::new(bk_fuzz::file(&bytes), 2).expect("threads"));
    let entries = bk_fuzz::read_all(reader);
    let checked = check(bk_fuzz::file(&bytes), 2, &mut |_| true).expect("threads").expect("nobody stops it");
    if checked.findings.is_empty() {
        let mut reader = Reader::new(Inflate::new(bk_fuzz::file(&bytes), 2).expect("threads"));
        let mut count = 0;
        while reader.next_entry().expect("it was checked").is_some() {
            count += 1;
        }
        assert_eq!(count, entries.len());
    }
    assert_eq!(checked.whole.expect("memory").bytes, bytes.len() as u64);
});
