//! Bytes as zstd frames, and as the blocks of one of bk's: whatever zstd reads too has the same
//! content.
#![no_main]

use std::io::Read;

use bk_archive::read::inflate::Inflate;
use libfuzzer_sys::fuzz_target;

/// A bomb takes the time of the fuzzer and tells nothing.
const CONTENT_MAX_BYTES: u64 = 16 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let frames = match choice {
        0 => bytes.to_vec(),
        _ => own_frame(bytes),
    };
    let mut expected = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(&frames[..]).expect("memory");
    let mut decoder = decoder.take(CONTENT_MAX_BYTES);
    let is_whole = decoder.read_to_end(&mut expected).is_ok();
    for is_strict in [false, true] {
        let file = bk_fuzz::file(&frames);
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

/// With a header of one segment, whose length is the first two bytes, and no checksum.
fn own_frame(bytes: &[u8]) -> Vec<u8> {
    [&b"\x28\xb5\x2f\xfd\x60"[..], bytes].concat()
}
