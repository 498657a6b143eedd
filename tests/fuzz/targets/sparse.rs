//! Bytes as the map of a file with holes, in each of the ways that GNU tar has: the extents lie in
//! their order within the file.
#![no_main]

use bk_archive::format::pax;
use bk_archive::read::reader::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let (numbers, content) = rest.split_at(rest.len() / 2);
    let stream = match choice % 4 {
        0 => records(&[("GNU.sparse.map", numbers)], content),
        1 => pieces(numbers, content),
        2 => before_data(rest),
        _ => old(numbers, content),
    };
    bk_fuzz::read_all(Reader::new(&stream[..]));
});

fn records(told: &[(&str, &[u8])], content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    pax::push(&mut body, "GNU.sparse.size", b"100000");
    for (keyword, value) in told {
        pax::push(&mut body, keyword, value);
    }
    with_header(&body, content)
}

/// Format 0.0: each number is a record.
fn pieces(numbers: &[u8], content: &[u8]) -> Vec<u8> {
    let keywords = ["GNU.sparse.offset", "GNU.sparse.numbytes"];
    let numbers = numbers.split(|byte| *byte == b',');
    let told: Vec<_> = keywords.into_iter().cycle().zip(numbers).collect();
    records(&told, content)
}

/// Format 1.0: the map is the begin of the content.
fn before_data(content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (keyword, value) in [("major", "1"), ("minor", "0"), ("realsize", "100000")] {
        pax::push(&mut body, format!("GNU.sparse.{keyword}"), value.as_bytes());
    }
    with_header(&body, content)
}

fn with_header(body: &[u8], content: &[u8]) -> Vec<u8> {
    let mut stream = bk_fuzz::header(b'x', body.len() as u64, |_| {});
    stream.extend_from_slice(body);
    bk_fuzz::pad(&mut stream);
    stream.extend(bk_fuzz::header(b'0', content.len() as u64, |_| {}));
    finish(stream, content)
}

/// The old format: numbers in the header and in blocks after it.
fn old(numbers: &[u8], content: &[u8]) -> Vec<u8> {
    let header = bk_fuzz::header(b'S', content.len() as u64, |block| {
        let fits = numbers.len().min(109);
        block[257..265].copy_from_slice(b"ustar  \0");
        block[386..386 + fits].copy_from_slice(&numbers[..fits]);
    });
    finish(header, content)
}

fn finish(mut stream: Vec<u8>, content: &[u8]) -> Vec<u8> {
    stream.extend_from_slice(content);
    bk_fuzz::pad(&mut stream);
    stream.extend([0; 2 * bk_fuzz::BLOCK_BYTES]);
    stream
}
