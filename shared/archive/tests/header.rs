//! The headers as the real GNU tar and gzip read them.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use bk_archive::format::entry::{Entry, Extent, FileTime, Kind};
use bk_archive::format::header;
use bk_archive::format::member::Deflater;

fn entry(path: &str, kind: Kind, size: u64) -> Entry {
    Entry {
        path: path.into(),
        kind,
        size,
        mode: 0o644,
        uid: 0,
        gid: 0,
        uname: Vec::new(),
        gname: Vec::new(),
        mtime: FileTime {
            secs: -2,
            nanos: 750_000_000,
        },
        xattrs: Vec::new(),
        acl_texts: Vec::new(),
    }
}

#[test]
fn gnu_tar_unpacks_what_the_headers_tell() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let mut stream = Vec::new();
    header::push_global(&mut stream, r#"{"backup_name":"a"}"#);
    for (path, data) in [("plain", "hello"), (long.as_str(), "long")] {
        header::push_entry(
            &mut stream,
            &entry(path, Kind::File { extents: None }, data.len() as u64),
        );
        stream.extend_from_slice(data.as_bytes());
        header::pad(&mut stream);
    }
    let extents = vec![
        Extent {
            offset: 1 << 20,
            length: 3,
        },
        Extent {
            offset: 2 << 20,
            length: 0,
        },
    ];
    header::push_entry(
        &mut stream,
        &entry(
            "holes",
            Kind::File {
                extents: Some(extents),
            },
            2 << 20,
        ),
    );
    stream.extend_from_slice(b"abc");
    header::pad(&mut stream);
    header::push_entry(
        &mut stream,
        &entry("hard", Kind::HardLink(b"plain".to_vec()), 0),
    );
    header::push_entry(
        &mut stream,
        &entry("soft", Kind::Symlink(long.clone().into_bytes()), 0),
    );
    header::push_entry(&mut stream, &entry("pipe", Kind::Fifo, 0));
    stream.resize(stream.len() + 2 * header::BLOCK_BYTES, 0);
    let archive = dir.path().join("a.tar.gz");
    std::fs::write(&archive, Deflater::new(6).unwrap().member(&stream).unwrap()).unwrap();

    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(
        tar.status.success(),
        "{}",
        String::from_utf8_lossy(&tar.stderr)
    );
    let complaints: Vec<_> = str::from_utf8(&tar.stderr)
        .unwrap()
        .lines()
        .filter(|line| !line.contains("implausibly old"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("plain"), b"hello");
    assert_eq!(read(&long), b"long");
    let holes = read("holes");
    assert_eq!(holes.len(), 2 << 20);
    assert_eq!(&holes[1 << 20..(1 << 20) + 4], b"abc\0");
    assert!(holes[..1 << 20].iter().all(|byte| *byte == 0));
    let plain = std::fs::metadata(dir.path().join("plain")).unwrap();
    assert_eq!(
        (plain.mtime(), plain.mtime_nsec(), plain.nlink()),
        (-2, 750_000_000, 2)
    );
    assert_eq!(
        std::fs::read_link(dir.path().join("soft"))
            .unwrap()
            .to_str()
            .unwrap(),
        long
    );
    use std::os::unix::fs::FileTypeExt;
    assert!(
        std::fs::metadata(dir.path().join("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
}
