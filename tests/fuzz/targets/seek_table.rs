//! Bytes as the seek table of an archive: what it makes of the frames is what is in them, or an error, and
//! what is sought by it is there too.
#![no_main]

use std::io::Read;

use bk_archive::format::codec::{Codec, Compression};
use bk_archive::read::inflate::Inflate;
use bk_archive::read::seek;
use bk_archive::restore::names::NameRange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let mut compressor = Compression::of(Codec::Zstd).compressor().expect("memory");
    let mut stream = bk_fuzz::header(b'g', 13, |_| {});
    stream.extend_from_slice(b"13 comment={\n");
    bk_fuzz::pad(&mut stream);
    let mut contents = vec![stream];
    for name in b"abcd" {
        let mut stream = bk_fuzz::header(b'0', 600, |block| block[0] = *name);
        stream.resize(stream.len() + 600, *name);
        bk_fuzz::pad(&mut stream);
        contents.push(stream);
    }
    contents.push(vec![0; 1024]);
    let member = |content: &Vec<u8>| compressor.member(content).expect("memory");
    let frames: Vec<_> = contents.iter().map(member).collect();
    let mut archive = frames.concat();
    match choice {
        // The bytes themselves, the true entries changed a little, or entries in a frame that is one.
        0 => archive.extend_from_slice(data),
        _ => archive.extend_from_slice(&table(&frames, &contents, *choice, data)),
    }
    let file = || bk_fuzz::file(&archive);
    let mut content = Vec::new();
    if Inflate::strict(file(), 2).expect("threads").read_to_end(&mut content).is_ok() {
        assert_eq!(content, contents.concat());
    }
    let ranges = [NameRange::path(b"c".to_vec())];
    if let Ok(reader) = seek::read(&file(), Some(&ranges), 2, &|| false) {
        bk_fuzz::read_all(reader);
    }
});

fn table(frames: &[Vec<u8>], contents: &[Vec<u8>], choice: u8, data: &[u8]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (frame, content) in frames.iter().zip(contents) {
        entries.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        entries.extend_from_slice(&(content.len() as u32).to_le_bytes());
    }
    if choice == 1 {
        entries = data.to_vec();
    } else {
        for pair in data.chunks_exact(2) {
            let at = usize::from(pair[0]) % entries.len();
            entries[at] = entries[at].wrapping_add(pair[1]);
        }
    }
    let count = entries.len() as u32 / 8;
    let length = entries.len() as u32 + 9;
    [
        &0x184d_2a5e_u32.to_le_bytes()[..],
        &length.to_le_bytes(),
        &entries,
        &count.to_le_bytes(),
        &[0],
        &0x8f92_eab1_u32.to_le_bytes(),
    ]
    .concat()
}
