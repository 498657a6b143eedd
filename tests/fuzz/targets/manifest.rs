//! Bytes as the manifest of a parent: as changes of a Parquet file, as the values of its columns, and as changes of an honest
//! one. Nothing panics, and whatever is not the honest one makes an archive that holds what the tree
//! holds.
#![no_main]

use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

use bk_archive::format::codec::{Codec, Compression};
use bk_archive::format::entry::FileTime;
use bk_archive::read::inflate::Inflate;
use bk_archive::write::filter::Filter;
use bk_archive::write::observer::Observer;
use bk_archive::write::parent::{Parent, Rules};
use bk_archive::write::problem::Problem;
use bk_archive::write::walk::Source;
use bk_archive::write::writer::{self, Options, Tree};
use bk_schema::manifest::{EntryType, Segment};
use bk_store::home::Home;
use bk_store::manifest::reader;
use bk_store::manifest::writer::Writer;
use duckdb::Connection;
use libfuzzer_sys::fuzz_target;

/// A home, a tree, and an archive of it with its manifest.
struct Honest {
    home: Home,
    sources: Vec<Source>,
    archive: Vec<u8>,
    segments: Vec<Segment>,
    /// The manifest as a file.
    parquet: Vec<u8>,
}

struct Nobody;

impl Observer for Nobody {
    fn problem(&self, problem: Problem) {
        panic!("{problem:?}");
    }
    fn read_bytes(&self, _: u64) {}
    fn read_file(&self) {}
    fn parent_lost(&self, _: &str) {}
    fn is_stopped(&self) -> bool {
        false
    }
}

static HONEST: LazyLock<Honest> = LazyLock::new(|| {
    let dir = PathBuf::from(format!("/tmp/bk-fuzz-manifest-{}", std::process::id()));
    let tree = dir.join("tree");
    std::fs::create_dir_all(tree.join("some/dir")).expect("a directory");
    std::fs::create_dir_all(dir.join("manifests")).expect("a directory");
    for (number, name) in ["a", "b", "some/c", "some/dir/d", "z"].iter().enumerate() {
        let content = vec![number as u8; 1000 * (number + 1)];
        std::fs::write(tree.join(name), content).expect("a file");
    }
    let large: Vec<u8> = (0..2_200_000_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
    std::fs::write(tree.join("large"), large).expect("a file");
    std::fs::hard_link(tree.join("a"), tree.join("some/hard")).expect("a link");
    std::os::unix::fs::symlink("a", tree.join("some/link")).expect("a link");
    let sources = vec![Source {
        path: tree,
        name: "tree".into(),
    }];
    let (archive, segments) = write(&sources, None);
    let now = bk_schema::clock::now();
    let home = Home::new(dir, "fuzz", now, |_, _| {});
    let mut writer = Writer::begin(&home, "fuzz");
    segments.iter().for_each(|it| writer.add(it.clone()));
    let finished = writer.finish().expect("a manifest").expect("a manifest");
    finished.commit(&home, "a").expect("a manifest");
    Honest {
        parquet: std::fs::read(home.dir.join("manifests/a.parquet")).expect("a manifest"),
        home,
        sources,
        archive,
        segments,
    }
});

/// The archive of a tree, and its manifest.
fn write(sources: &[Source], parent: Option<Parent<'_>>) -> (Vec<u8>, Vec<Segment>) {
    let tree = Tree {
        sources,
        streams: &[],
        filter: &Filter::default(),
        parent,
    };
    let options = Options {
        comment: "{}",
        compression: Compression {
            codec: Codec::Gzip,
            level: 1,
        },
        jobs: 2,
        archive: &bk_fuzz::file(&[]),
        block_bytes: None,
    };
    let (mut archive, mut segments) = (Vec::new(), Vec::new());
    let add = &mut |segment| segments.push(segment);
    writer::write(tree, options, &mut archive, add, &Nobody).expect("it can be written");
    (archive, segments)
}

fn stream(archive: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let inflate = Inflate::strict(bk_fuzz::file(archive), 2);
    let mut inflate = inflate.expect("threads");
    inflate.read_to_end(&mut stream).expect("it is whole");
    stream
}

static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| stream(&HONEST.archive));

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let segments = match choice {
        0 => parquet(data),
        1 => rows(data),
        _ => changed(data),
    };
    let mut segments = segments.into_iter();
    let parent = Parent {
        file: bk_fuzz::file(&HONEST.archive),
        segments: Box::new(move || segments.next().transpose()),
        rules: Rules {
            unsure_from: FileTime {
                secs: i64::MAX,
                nanos: 0,
            },
            ignore_inode: choice & 4 != 0,
            ignore_ctime: choice & 8 != 0,
        },
    };
    let (archive, told) = write(&HONEST.sources, Some(parent));
    assert!(stream(&archive) == *STREAM, "another stream");
    let mut end = 0;
    for segment in told {
        assert!(segment.offset >= end && !segment.entries.is_empty());
        end = segment.offset + segment.bytes();
    }
    assert!(end <= archive.len() as u64);
});

type Segments = Vec<anyhow::Result<Segment>>;

/// What the reader makes of a file.
fn read() -> Segments {
    let mut segments = Vec::new();
    match reader::Reader::open(&HONEST.home, "a", None) {
        Ok(Some(mut reader)) => {
            while let Some(segment) = reader.next_segment().transpose() {
                let is_error = segment.is_err();
                segments.push(segment);
                if is_error {
                    break;
                }
            }
        }
        Ok(None) => {}
        Err(error) => segments.push(Err(error)),
    }
    segments
}

fn place() -> PathBuf {
    HONEST.home.dir.join("manifests/a.parquet")
}

/// The honest file, of which every three bytes change one, counted from its end, where the lengths are.
fn parquet(data: &[u8]) -> Segments {
    let mut bytes = HONEST.parquet.clone();
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        let at = bytes.len() - 1 - at;
        bytes[at] ^= change[2];
    }
    std::fs::write(place(), bytes).expect("a file");
    // It may tell what is not so: the hash of the file is what keeps that from being believed.
    read().into_iter().filter(Result::is_err).collect()
}

/// A row for each part of the bytes, which are parted by a byte that no text holds: a type, offset and
/// length of its segment, and what is packed as its members.
fn rows(data: &[u8]) -> Segments {
    thread_local! {
        static WRITER: Connection = Connection::open_in_memory().expect("memory");
    }
    let values = data.split(|byte| *byte == 0xff).take(20).map(|part| {
        let (head, packed) = part.split_at(part.len().min(4));
        let byte = |at: usize| head.get(at).copied().unwrap_or_default();
        let kinds = ["file", "hardlink", "directory", "symlink", "fifo", "char-device", "odd"];
        let hex: String = packed.iter().map(|it| format!("\\x{it:02x}")).collect();
        let members = match byte(3) & 1 {
            0 => format!("'{hex}'::BLOB"),
            _ => "NULL::BLOB".to_owned(),
        };
        let time = |at| i64::from(byte(at)) << (byte(3) & 60);
        format!(
            "('tree/a', NULL::BLOB, '{}', {}::UBIGINT, 10::UBIGINT, 420::UINTEGER, 0::UINTEGER, 0::UINTEGER, NULL, '',
              make_timestamp({}), {}::USMALLINT, make_timestamp({}), 0::USMALLINT, {}, {}, 'a', '{hex}'::BLOB,
              1::UINTEGER, NULL::UINTEGER, NULL::VARCHAR, {}::UBIGINT, {}::UBIGINT, {members})",
            kinds[usize::from(byte(0)) % kinds.len()],
            byte(1),
            time(0),
            u16::from(byte(3)) * 4,
            time(1),
            if byte(3) & 2 == 0 { "1::UBIGINT" } else { "NULL::UBIGINT" },
            if byte(3) & 4 == 0 { "1::UBIGINT" } else { "NULL::UBIGINT" },
            u64::from(byte(1)) << (byte(3) & 56),
            u64::from(byte(2)) << (byte(3) & 48),
        )
    });
    let values: Vec<_> = values.collect();
    let place = place();
    let _ = std::fs::remove_file(&place);
    let sql = format!(
        "COPY (FROM (VALUES {}) t(path, path_bytes, type, size, data_bytes, mode, uid, gid, uname, gname, mtime,
             mtime_nanos, ctime, ctime_nanos, inode, device, link_target, link_target_bytes, device_major,
             device_minor, problem, segment_offset, segment_bytes, segment_members))
         TO '{}' (FORMAT parquet, KV_METADATA {{manifest_version: '3'}})",
        values.join(","),
        place.display()
    );
    match WRITER.with(|writer| writer.execute_batch(&sql)) {
        Ok(()) => read(),
        // A time that DuckDB itself cannot hold.
        Err(_) => Vec::new(),
    }
}

/// The honest one, of which every three bytes change something. Which entries a member holds stays true:
/// of that, the hash of the manifest in the record is the proof.
fn changed(data: &[u8]) -> Segments {
    let mut segments = HONEST.segments.clone();
    for change in data.chunks_exact(3).take(100) {
        let [what, which, value] = change else {
            continue;
        };
        if segments.is_empty() {
            break;
        }
        let at = usize::from(*which) % segments.len();
        let number = u64::from(*value) << (which & 63);
        change_segment(&mut segments, at, *what, number);
    }
    segments.into_iter().map(Ok).collect()
}

fn change_segment(segments: &mut Vec<Segment>, at: usize, what: u8, number: u64) {
    let small = number as usize % 8;
    let other = small % segments.len();
    match what % 16 {
        0 => drop(segments.remove(at)),
        1 => segments.insert(at, segments[other].clone()),
        2 => segments.swap(at, other),
        3 => segments[at].offset = segments[at].offset.wrapping_add(number),
        4 => segments[at].members.clear(),
        5 => segments[at].entries.clear(),
        6 => segments[at].ends_itself ^= true,
        _ => {}
    }
    let Some(segment) = segments.get_mut(at) else {
        return;
    };
    let (members, entries) = (&mut segment.members, &mut segment.entries);
    if !members.is_empty() {
        let at = small % members.len();
        match what % 16 {
            7 => members[at].bytes = number as u32 & 0xff_ffff,
            8 => members[at].padding_bytes = number as u32,
            9 => members[at].hash[small] ^= 1,
            10 => members[at].content_hash = None,
            11 => members.push(members[at].clone()),
            _ => {}
        }
    }
    if !entries.is_empty() {
        let at = small % entries.len();
        let entry = &mut entries[at];
        match what % 16 {
            12 => entry.data_bytes = number,
            13 => entry.size = number,
            14 => entry.entry_type = [EntryType::File, EntryType::HardLink, EntryType::Directory][small % 3],
            15 => entry.problem = Some(String::new()),
            _ => {}
        }
    }
}

