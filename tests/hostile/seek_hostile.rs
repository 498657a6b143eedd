//! Archives whose members tell their lengths, and lie: of themselves, of what they hold, and in
//! the headers that they begin with. Some paths out of them are right or an error.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::attack::{SURROUNDINGS, sandbox};
use crate::support::tarball::{Header, Tarball};
use crate::support::{Sandbox, stride};

const BEGIN: &[u8] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x08\0BK\x04\0";

/// A member that tells its length, as bk writes it.
fn member(sandbox: &Sandbox, content: &[u8]) -> Vec<u8> {
    let mut gzip = sandbox.command("gzip");
    let gzip = gzip.arg("-nc").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut gzip = gzip.spawn().unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    let content = content.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(&content).unwrap());
    let made = gzip.wait_with_output().unwrap().stdout;
    writing.join().unwrap();
    // Without its own header of ten bytes.
    let length = u32::try_from(BEGIN.len() + 4 + made.len() - 10).unwrap();
    [BEGIN, &length.to_le_bytes(), &made[10..]].concat()
}

/// The headers and contents of a tar stream without its end.
fn stream(tar: Tarball) -> Vec<u8> {
    let mut bytes = tar.finish();
    bytes.truncate(bytes.len() - 1024);
    bytes
}

fn global() -> Vec<u8> {
    let body = b"13 comment=x\n";
    stream(Tarball::new().add(&Header::new(b'g', b"global", body.len() as u64), body))
}

/// Ten files, two a member, one of them in three members, with a directory first.
fn honest() -> Vec<Vec<u8>> {
    let file = |name: &str| Tarball::new().file(name, &format!("content of {name}\n").repeat(90));
    let pair = |one: &str, two: &str| [stream(file(one)), stream(file(two))].concat();
    let large = stream(Tarball::new().file("d/e", &"large\n".repeat(5000)));
    vec![
        global(),
        [stream(Tarball::new().dir("d")), pair("d/a", "d/b")].concat(),
        pair("d/c", "d/d"),
        large[..12_000].to_vec(),
        large[12_000..20_000].to_vec(),
        large[20_000..].to_vec(),
        pair("d/f", "d/g"),
        pair("d/h", "d/i"),
        vec![0; 1024],
    ]
}

/// Puts an archive in the place of the backup `a`, with a record that tells of one source.
fn put(sandbox: &Sandbox, members: &[Vec<u8>]) {
    let archive = sandbox.archive("a");
    fs::write(&archive, members.concat()).unwrap();
}

fn honest_members(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    honest()
        .iter()
        .map(|content| member(sandbox, content))
        .collect()
}

/// Restores a path, within some seconds; whether it is right or an error.
fn restore(sandbox: &Sandbox, path: &str, what: &str) -> bool {
    let line = format!("rm -rf out; timeout 20 bk-restore --no-verify -C out a -- {path}");
    let ran = sandbox.run(&line);
    assert!(matches!(ran.status, 0 | 1), "{what}, {path}: {ran:#?}");
    assert!(!ran.stderr.contains("panic"), "{what}, {path}: {ran:#?}");
    if ran.status == 0 {
        let content = fs::read_to_string(sandbox.path("out").join(path)).unwrap();
        let expected = match path {
            "d/e" => "large\n".repeat(5000),
            path => format!("content of {path}\n").repeat(90),
        };
        assert!(content == expected, "{what}, {path}: {content}");
    }
    ran.status == 0
}

#[test]
fn an_archive_made_by_hand_is_sought_in() {
    let sandbox = sandbox();
    let mut members = honest_members(&sandbox);
    put(&sandbox, &members);
    for path in ["d/a", "d/d", "d/e", "d/g", "d/i"] {
        assert!(restore(&sandbox, path, "honest"), "{path}");
    }
    // The checksum of a member that is not needed: it is told only where all is read.
    let at = members[2].len() - 8;
    members[2][at] ^= 1;
    put(&sandbox, &members);
    assert!(restore(&sandbox, "d/i", "another member is damaged"));
    assert!(!restore(&sandbox, "d/c", "its member is damaged"));
    // Not in order: it is read whole.
    members.swap(2, 6);
    put(&sandbox, &members);
    assert!(!restore(&sandbox, "d/i", "out of order"));
}

#[test]
fn lying_lengths_are_an_error_or_do_no_harm() {
    let sandbox = sandbox();
    let members = honest_members(&sandbox);
    let lengths: Vec<u32> = members.iter().map(|it| it.len() as u32).collect();
    let contents: Vec<u32> = honest().iter().map(|it| it.len() as u32).collect();
    // The global header, small files, the begin of a large one, its middle, the end.
    for number in [0, 2, 3, 4, 8] {
        let next = lengths.get(number + 1).copied().unwrap_or(0);
        let length = lengths[number];
        for told in [
            0,
            28,
            29,
            length - 1,
            length + 1,
            length + next,
            length + next / 2,
            u32::MAX,
        ]
        .into_iter()
        .skip(number % stride(4))
        .step_by(stride(4))
        {
            let mut lying = members.clone();
            lying[number][16..20].copy_from_slice(&told.to_le_bytes());
            put(&sandbox, &lying);
            let what = format!("member {number} tells a length of {told}, not {length}");
            for path in ["d/e", "d/h"] {
                restore(&sandbox, path, &what);
            }
        }
        let next = contents.get(number + 1).copied().unwrap_or(0);
        let content = contents[number];
        for told in [
            0,
            1,
            content - 512,
            content + 512,
            content + next,
            8 << 20,
            u32::MAX,
        ]
        .into_iter()
        .skip(number % stride(4))
        .step_by(stride(4))
        {
            let mut lying = members.clone();
            let at = lying[number].len() - 4;
            lying[number][at..].copy_from_slice(&told.to_le_bytes());
            put(&sandbox, &lying);
            let what = format!("member {number} tells that it holds {told}, not {content}");
            for path in ["d/e", "d/h"] {
                restore(&sandbox, path, &what);
            }
        }
    }
}

/// Members whose first header is not what it seems; each stands in the place of `d/c`, `d/d`.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let sized = |size: u64| {
        let mut header = Header::new(b'0', b"d/c", 0);
        header.octal(124, 12, size);
        stream(Tarball::new().add(&header, b"x"))
    };
    let records = |records: &[(&str, &[u8])]| stream(Tarball::new().pax(records).file("d/c", "x"));
    let map: String = (0..200_000u64).map(|n| format!("{},1,", 2 * n)).collect();
    let honest = honest();
    let swallowed = honest[3..6].iter().map(Vec::len).sum::<usize>() as u64;
    vec![
        ("a size of 8 GiB", sized(0o77_777_777_777)),
        (
            "a size that swallows those after it",
            sized(512 + swallowed),
        ),
        (
            "a size that ends within another",
            sized(512 + swallowed + 700),
        ),
        (
            "a size of half the world",
            records(&[("size", b"9223372036854775807")]),
        ),
        ("a negative size", records(&[("size", b"-5")])),
        (
            "a name that leads up",
            stream(Tarball::new().file("../victim", "x")),
        ),
        ("an absolute name", stream(Tarball::new().file("/d/c", "x"))),
        ("a name out of order", stream(Tarball::new().file("a", "x"))),
        ("a name too far on", stream(Tarball::new().file("z", "x"))),
        (
            "a name that comes again",
            stream(Tarball::new().file("d/h", "x")),
        ),
        (
            "a name without end",
            records(&[("path", &b"d/".repeat(40_000))]),
        ),
        (
            "a great many parts",
            records(&[("path", &b"d/".repeat(5_000))]),
        ),
        (
            "a header too long",
            stream(Tarball::new().raw_pax(&vec![b'x'; 2 << 20])),
        ),
        (
            "a header that ends with the member",
            stream(Tarball::new().pax(&[("path", b"d/c")])),
        ),
        ("a global header with a name", {
            let body = b"12 path=d/h\n";
            let header = Header::new(b'g', b"global", body.len() as u64);
            stream(Tarball::new().add(&header, body).file("d/c", "x"))
        }),
        (
            "a map",
            records(&[
                ("GNU.sparse.map", map.trim_end_matches(',').as_bytes()),
                ("GNU.sparse.size", b"500000"),
            ]),
        ),
        ("zeros", vec![0; 1024]),
        ("many zeros", vec![0; 64 << 20]),
        ("no header", b"no header at all ".repeat(100)),
        ("half a header", honest[2][..300].to_vec()),
        ("one and a half", honest[2][..2700].to_vec()),
        ("nothing", Vec::new()),
    ]
}

#[test]
fn lying_headers_are_an_error_or_do_no_harm() {
    let sandbox = sandbox();
    let before = sandbox.ok(SURROUNDINGS).stdout;
    let honest = honest_members(&sandbox);
    for (number, (what, content)) in lies().into_iter().enumerate() {
        let mut lying = honest.clone();
        lying[2] = member(&sandbox, &content);
        put(&sandbox, &lying);
        let paths = ["d/a", "d/e", "d/h", "d"].into_iter();
        for path in paths.skip(number % stride(4)).step_by(stride(4)) {
            let line = format!("rm -rf out; timeout 20 bk-restore --no-verify -C out a -- {path}");
            let ran = sandbox.run(&line);
            assert!(matches!(ran.status, 0 | 1), "{what}, {path}: {ran:#?}");
            assert!(!ran.stderr.contains("panic"), "{what}, {path}: {ran:#?}");
            let printed = sandbox.run(&format!(
                "timeout 20 bk-restore --no-verify --stdout {path} a"
            ));
            assert!(
                matches!(printed.status, 0 | 1),
                "{what}, {path}: {printed:#?}"
            );
            assert!(
                !printed.stderr.contains("panic"),
                "{what}, {path}: {printed:#?}"
            );
        }
        assert_eq!(sandbox.ok(SURROUNDINGS).stdout, before, "{what}");
    }
    let last = sandbox.ok("rm -rf out; find . -name victim").stdout;
    assert_eq!(last, "./outside/victim\n");
}
