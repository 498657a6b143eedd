//! Bytes as gzip members, and as the deflated bytes of one of bk's: whatever gunzip reads too has
//! the same content.
#![no_main]

use std::io::Read;

use bk_archive::read::inflate::Inflate;
use flate2::read::MultiGzDecoder;
use libfuzzer_sys::fuzz_target;

/// A bomb takes the time of the fuzzer and tells nothing.
const CONTENT_MAX_BYTES: u64 = 16 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let members = match choice {
        0 => bytes.to_vec(),
        _ => own_member(bytes),
    };
    let mut expected = Vec::new();
    let mut gunzip = MultiGzDecoder::new(&members[..]).take(CONTENT_MAX_BYTES);
    let is_whole = gunzip.read_to_end(&mut expected).is_ok();
    for is_strict in [false, true] {
        let file = bk_fuzz::file(&members);
        let inflate = match is_strict {
            true => Inflate::strict(file, 2).expect("threads"),
            false => Inflate::new(file, 2).expect("threads"),
        };
        let mut content = Vec::new();
        let read = inflate.take(CONTENT_MAX_BYTES).read_to_end(&mut content);
        if read.is_ok() && is_whole {
            assert_eq!(content, expected);
        }
    }
});

/// With a header that tells its true length, and the bytes as they are between that and the end.
fn own_member(bytes: &[u8]) -> Vec<u8> {
    let mut member = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x08\0BK\x04\0\0\0\0\0".to_vec();
    member.extend_from_slice(bytes);
    let length = u32::try_from(member.len()).expect("a small input");
    member[16..20].copy_from_slice(&length.to_le_bytes());
    member
}
