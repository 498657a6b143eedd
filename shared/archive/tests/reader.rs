//! Archives of other programs, and archives that mean harm, as the reader takes them.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use bk_archive::format::entry::{Entry, Extent, FileTime, Kind};
use bk_archive::format::header;
use bk_archive::format::member::Deflater;
use bk_archive::format::pax;
use bk_archive::read::inflate::Inflate;
use bk_archive::read::reader::Reader;
use proptest::prelude::*;

const HOLE_BYTES: u64 = 1 << 20;

/// Every entry with its content.
fn entries(stream: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(stream);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content)?;
        all.push((entry, content));
    }
    Ok(all)
}

fn error_of(stream: &[u8]) -> String {
    format!("{:#}", entries(stream).unwrap_err())
}

fn entry(path: &str, kind: Kind, size: u64) -> Entry {
    Entry {
        path: path.into(),
        kind,
        size,
        mode: 0o4755,
        uid: 3_000_000,
        gid: 7,
        uname: b"somebody-with-a-name-that-is-too-long-for-ustar".to_vec(),
        gname: b"staff".to_vec(),
        mtime: FileTime {
            secs: -2,
            nanos: 750_000_000,
        },
        xattrs: vec![(b"user.a=%".to_vec(), b"two\nlines\0".to_vec())],
        acl_texts: Vec::new(),
    }
}

fn ended(mut stream: Vec<u8>) -> Vec<u8> {
    stream.resize(stream.len() + 2 * header::BLOCK_BYTES, 0);
    stream
}

/// As an archive of ours begins, in which nothing may be odd.
fn own(rest: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    header::push_global(&mut stream, "{}");
    [&stream, rest].concat()
}

fn one_file() -> Vec<u8> {
    let mut stream = Vec::new();
    header::push_entry(&mut stream, &entry("a", Kind::File { extents: None }, 3));
    stream.extend_from_slice(b"abc");
    header::pad(&mut stream);
    stream
}

#[test]
fn what_the_headers_tell_is_read_back() {
    let long = format!("{}/{}", "d".repeat(300), "f".repeat(300));
    let extents = Some(vec![
        Extent {
            offset: 512,
            length: 3,
        },
        Extent {
            offset: HOLE_BYTES,
            length: 0,
        },
    ]);
    let kinds = [
        Kind::Directory,
        Kind::HardLink(b"plain".to_vec()),
        Kind::Symlink(long.clone().into_bytes()),
        Kind::Fifo,
        Kind::CharDevice(1, 3),
        Kind::BlockDevice(3_000_000, 4_000_000),
    ];
    let mut given: Vec<Entry> = kinds.map(|kind| entry(&long, kind, 0)).to_vec();
    given.push(entry("holes", Kind::File { extents }, HOLE_BYTES));
    let mut stream = Vec::new();
    header::push_global(&mut stream, "birth facts");
    for one in &given {
        header::push_entry(&mut stream, one);
        stream.extend_from_slice(&b"abc"[..one.data_bytes() as usize]);
        header::pad(&mut stream);
    }
    let stream = ended(stream);
    let read = entries(&stream).unwrap();
    let read_entries: Vec<_> = read.iter().map(|(entry, _)| entry.clone()).collect();
    assert_eq!(read_entries, given);
    assert_eq!(read.last().unwrap().1, b"abc");
    let mut reader = Reader::new(&stream[..]);
    reader.next_entry().unwrap();
    assert_eq!(reader.comment(), Some(&b"birth facts"[..]));
}

#[test]
fn every_format_of_gnu_tar_and_bsdtar_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let deep = tree.join("d".repeat(90)).join("e".repeat(50));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("f".repeat(40)), "deep").unwrap();
    std::fs::write(tree.join("plain"), "plain").unwrap();
    std::fs::hard_link(tree.join("plain"), tree.join("twin")).unwrap();
    std::os::unix::fs::symlink("plain", tree.join("soft")).unwrap();
    let holes = File::create(tree.join("holes")).unwrap();
    holes.set_len(8 * HOLE_BYTES).unwrap();
    for piece in 0..7 {
        holes.write_all_at(b"data", piece * HOLE_BYTES).unwrap();
    }
    for program in [
        &["tar", "--format=gnu", "-S"][..],
        &["tar", "--format=oldgnu", "-S"],
        &["tar", "--format=ustar"],
        &["tar", "--format=pax", "-S", "--sparse-version=0.0"],
        &["tar", "--format=pax", "-S", "--sparse-version=0.1"],
        &["tar", "--format=pax", "-S", "--sparse-version=1.0"],
        &["bsdtar", "--format=pax"],
        &["bsdtar", "--format=gnutar"],
    ] {
        let archive = dir.path().join("a.tar.gz");
        let made = Command::new(program[0])
            .args(&program[1..])
            .arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(dir.path())
            .arg("tree")
            .status();
        if made
            .as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            println!("skipped: {} is not installed", program[0]);
            continue;
        }
        assert!(made.unwrap().success(), "{program:?}");
        check_tree(&archive, &program.join(" "));
    }
}

fn open(archive: &Path) -> Reader<Inflate> {
    Reader::new(Inflate::new(File::open(archive).unwrap(), 2).unwrap())
}

fn check_tree(archive: &Path, program: &str) {
    let mut reader = open(archive);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let name = String::from_utf8(entry.path.clone()).unwrap();
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).unwrap();
        match name.as_str() {
            "tree/plain" | "tree/twin" if entry.size > 0 => assert_eq!(content, b"plain"),
            "tree/plain" | "tree/twin" => assert!(matches!(entry.kind, Kind::HardLink(_))),
            "tree/soft" => assert_eq!(entry.kind, Kind::Symlink(b"plain".to_vec())),
            "tree/holes" => check_holes(&entry, &content, program),
            name if name.ends_with('f') => assert_eq!(content, b"deep"),
            _ => assert_eq!(entry.kind, Kind::Directory, "{name} by {program}"),
        }
        names.push(name);
    }
    names.sort();
    assert_eq!(names.len(), 8, "{names:?} by {program}");
    assert!(names.iter().any(|name| name.len() > 180), "{program}");
}

fn check_holes(entry: &Entry, content: &[u8], program: &str) {
    assert_eq!(entry.size, 8 * HOLE_BYTES, "{program}");
    let Kind::File { extents } = &entry.kind else {
        unreachable!("{entry:?} by {program}")
    };
    let Some(extents) = extents else {
        assert_eq!(content.len() as u64, entry.size, "{program}");
        return;
    };
    let mut from = 0;
    let data: Vec<_> = extents.iter().filter(|extent| extent.length > 0).collect();
    assert_eq!(data.len(), 7, "{program}");
    for (piece, extent) in data.into_iter().enumerate() {
        assert_eq!(extent.offset, piece as u64 * HOLE_BYTES, "{program}");
        assert!(content[from..].starts_with(b"data"), "{program}");
        from += extent.length as usize;
    }
}

#[test]
fn an_archive_of_ours_cut_anywhere_is_no_archive() {
    let stream = own(&one_file());
    for length in 0..=stream.len() {
        assert!(
            error_of(&stream[..length]).contains("the archive is cut short"),
            "{length}"
        );
    }
    let member = Deflater::new(6).unwrap().member(&ended(stream)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.tar.gz");
    for length in 0..member.len() {
        std::fs::write(&archive, &member[..length]).unwrap();
        let all = || -> Result<()> {
            let mut reader = open(&archive);
            while reader.next_entry()?.is_some() {}
            Ok(())
        };
        assert!(all().is_err(), "{length}");
    }
}

#[test]
fn what_follows_the_end_of_one_of_ours_is_refused() {
    let mut stream = ended(own(&one_file()));
    stream.extend_from_slice(&ended(one_file()));
    assert_eq!(
        error_of(&stream),
        "at byte 3072 of the tar stream: something follows the end of the archive"
    );
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.tar.gz");
    let member = Deflater::new(6)
        .unwrap()
        .member(&ended(own(&one_file())))
        .unwrap();
    let mut file = File::create(&archive).unwrap();
    file.write_all(&[&member[..], b"junk"].concat()).unwrap();
    let mut reader = open(&archive);
    reader.next_entry().unwrap();
    let error = format!("{:#}", reader.next_entry().unwrap_err());
    let expected = "at byte 3072 of the tar stream: bytes that are no gzip member follow the last one (at byte";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn what_would_fill_the_memory_or_deceive_is_refused() {
    let with_records = |records: &[(&str, &str)]| {
        let mut all = Vec::new();
        for (keyword, value) in records {
            pax::push(&mut all, keyword, value.as_bytes());
        }
        let mut extended = tar::Header::new_ustar();
        extended.set_entry_type(tar::EntryType::XHeader);
        extended.set_size(all.len() as u64);
        extended.set_cksum();
        let mut stream = extended.as_bytes().to_vec();
        stream.extend_from_slice(&all);
        header::pad(&mut stream);
        stream.extend_from_slice(&one_file()[2 * header::BLOCK_BYTES..]);
        own(&ended(stream))
    };
    let long = "x".repeat(70_000);
    let huge = "x".repeat(1 << 20);
    for (records, error) in [
        (
            &[("path", long.as_str())][..],
            "its name is longer than 65536 bytes",
        ),
        (&[("path", "a\0b")], "its name contains a NUL"),
        (
            &[("comment", &huge)],
            "an extended header is longer than 1048576 bytes, and not read",
        ),
        (&[("size", "-1")], "a size is negative"),
        (&[("size", "9223372036854775807")], "a size is out of range"),
        (&[("mtime", "soon")], "the mtime of 'a' is out of range"),
        (&[("uid", "4294967296")], "the uid of 'a' is out of range"),
        (
            &[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,2,1,1")],
            "the extents of a sparse map overlap or leave the file",
        ),
        (
            &[("GNU.sparse.size", "9"), ("GNU.sparse.map", "8,3")],
            "the extents of a sparse map overlap or leave the file",
        ),
        (
            &[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,2")],
            "a sparse map has 2 bytes of data, the header 3",
        ),
        (
            &[("GNU.sparse.major", "2")],
            "the sparse format 2.? is unknown",
        ),
    ] {
        let told = error_of(&with_records(records));
        assert!(told.ends_with(error), "{told}");
    }
    let mut bad = ended(one_file());
    let at = bad.len() - 4 * header::BLOCK_BYTES;
    bad[at] ^= 1;
    assert!(error_of(&bad).ends_with("its checksum is wrong"));
}

proptest! {
    #[test]
    fn no_damage_panics(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut stream = Vec::new();
        header::push_global(&mut stream, "x");
        let extents = vec![Extent { offset: 0, length: 1 }, Extent { offset: 5, length: 2 }];
        header::push_entry(&mut stream, &entry("holes", Kind::File { extents: Some(extents) }, 9));
        stream.extend_from_slice(b"abc");
        header::pad(&mut stream);
        let mut stream = ended([stream, one_file()].concat());
        for (at, byte) in flips {
            *at.get_mut(&mut stream) = byte;
        }
        let _ = entries(&stream);
    }
}
