//! What the fuzz targets share: bytes as files, checksums made right, archives read to their end.
//!
//! Knows nothing of what is right: each target says that itself.

use std::fs::File;
use std::io::{Read, Seek, Write};

use bk_archive::format::entry::{Entry, Kind};
use bk_archive::read::reader::Reader;

/// A tar stream is made of these.
pub const BLOCK_BYTES: usize = 512;

/// A file in memory that holds these bytes.
pub fn file(bytes: &[u8]) -> File {
    let memory = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(memory.expect("memory"));
    file.write_all(bytes).expect("memory");
    file.rewind().expect("memory");
    file
}

/// As one gzip member of another program.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A header of a file, which `change` makes what it is to be.
pub fn header(flag: u8, size: u64, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    block[0] = b'f';
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    sum(&mut block);
    block
}

/// Fills up to whole blocks.
pub fn pad(stream: &mut Vec<u8>) {
    stream.resize(stream.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Makes the checksums right of all blocks that look like headers, or no fuzzer would come past
/// the first.
pub fn sum_all(stream: &mut [u8]) {
    for block in stream.chunks_exact_mut(BLOCK_BYTES) {
        if &block[257..262] == b"ustar" {
            sum(block);
        }
    }
}

fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Reads all entries with their content, and holds them to what is promised of each.
pub fn read_all(mut reader: Reader<impl Read>) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(!entry.path.is_empty() && !entry.path.contains(&0));
        assert!(entry.mode <= 0o7777 && entry.mtime.nanos < 1_000_000_000);
        if let Kind::File {
            extents: Some(extents),
        } = &entry.kind
        {
            let mut end = 0;
            for extent in extents {
                assert!(extent.offset >= end);
                end = extent.offset + extent.length;
            }
            assert!(end <= entry.size);
        }
        let mut bytes = 0;
        let mut content = reader.content();
        let mut buffer = [0; 8 << 10];
        let is_whole = loop {
            match content.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) => bytes += count as u64,
                Err(_) => break false,
            }
        };
        if is_whole && matches!(entry.kind, Kind::File { .. }) {
            assert_eq!(bytes, entry.data_bytes());
        }
        drop(content);
        entries.push(entry);
    }
    entries
}
