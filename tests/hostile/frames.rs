//! Frames of zstd as no honest program writes them, and seek tables that lie: errors, within bounded
//! memory.

use std::fs;

use super::foreign_zstd::{frames, table};
use crate::support::{Sandbox, has, stride};

/// Enough for the programs, the library and a window; not for what a frame may ask for.
const MEMORY_KIB: u32 = 1_500_000;

/// The entries of a seek table.
type Pairs = Vec<(u32, u32)>;

fn frame(descriptor: u8, rest: &[u8]) -> Vec<u8> {
    [&0xfd2f_b528_u32.to_le_bytes()[..], &[descriptor], rest].concat()
}

/// A last block of one byte that comes so many times.
fn repeated(count: u32) -> Vec<u8> {
    let header = count << 3 | 1 << 1 | 1;
    [&header.to_le_bytes()[..3], b"\0"].concat()
}

/// What adopting the archive tells, and a deep check of it.
fn told(sandbox: &Sandbox, bytes: &[u8]) -> (String, String) {
    sandbox.ok("rm -rf home");
    fs::write(sandbox.path("a.tar.zst"), bytes).unwrap();
    let limit = format!("ulimit -v {MEMORY_KIB}; timeout 60");
    let refused = sandbox.run(&format!("{limit} bk-adopt a.tar.zst"));
    assert_eq!((refused.status, &*refused.stdout), (1, ""), "{refused:#?}");
    // The record of another archive, whose place this one takes.
    sandbox.ok("bk-create --name a app && cp a.tar.zst home/archives/a.tar.gz");
    let checked = sandbox.run(&format!("{limit} bk-verify --deep a"));
    assert_eq!(checked.status, 1, "{checked:#?}");
    let restored = sandbox.run(&format!("{limit} bk-restore -C out a"));
    assert_eq!(restored.status, 1, "{restored:#?}");
    sandbox.ok("rm -rf out");
    (refused.stderr, checked.stderr)
}

#[test]
fn hostile_frames_are_errors() {
    let sandbox = Sandbox::with_app();
    let window = "a member needs a window of more than 128 MiB";
    let broken = "a member cannot be decompressed";
    let short = "the file ends within a member";
    let large = |descriptor: u8, rest: &[u8]| [frame(descriptor, rest), repeated(100_000)].concat();
    for (bytes, expected) in [
        // 2 GiB, without and with a small content; and as much content in one segment.
        (large(0, &[21 << 3]), window),
        (large(0x80, &[21 << 3, 0xa0, 0x86, 1, 0]), window),
        (large(0x80, &[0xff, 0xa0, 0x86, 1, 0]), window),
        (large(0xe0, &[0, 0, 0, 128, 0, 0, 0, 0]), window),
        (large(0xe0, &[0xff; 8]), window),
        (large(0x21, &[7, 100]), "a member needs a dictionary"),
        (
            large(0x03, &[0x50, 1, 0, 0, 0]),
            "a member needs a dictionary",
        ),
        // More, less than there is.
        (large(0xa0, &[0xa1, 0x86, 1, 0]), broken),
        (large(0xa0, &[0x9f, 0x86, 1, 0]), broken),
        // A block of the reserved type.
        ([frame(0x20, &[5]), vec![7, 0, 0]].concat(), broken),
        (frame(0x20, &[5]), short),
        (frame(0xa0, &[5]), short),
        (b"\x28\xb5\x2f\xfd".to_vec(), short),
        (b"\x5e\x2a\x4d\x18\xff\xff\xff\xff".to_vec(), short),
    ] {
        let (refused, checked) = told(&sandbox, &bytes);
        let told = format!("{expected} (at byte 0 of the file)");
        assert!(refused.contains(&told), "{expected}: {refused}");
        assert!(checked.contains(expected), "{expected}: {checked}");
    }
}

#[test]
fn endless_frames_take_no_memory() {
    let sandbox = Sandbox::with_app();
    // Zeros, of which a tar stream may have any number after its end: 1 GiB, in 35 KB.
    let part = stride(16);
    let block = |is_last: u32| {
        [
            &((128 << 10) << 3 | 1 << 1 | is_last).to_le_bytes()[..3],
            b"\0",
        ]
        .concat()
    };
    let many = [
        frame(0, &[0x38]),
        block(0).repeat((32 << 10) / part - 1),
        block(1),
    ]
    .concat();
    sandbox.ok("tar -cf tar app");
    fs::write(sandbox.path("zeros"), &many).unwrap();
    if !has("zstd") {
        return;
    }
    sandbox.ok("zstd -q -c tar >a.tar.zst; cat zeros >>a.tar.zst");
    let limit = format!("ulimit -v {MEMORY_KIB}; timeout 100");
    sandbox.ok(&format!("{limit} bk-adopt a.tar.zst"));
    // Frames without content, by the hundred thousand.
    let nothing = b"\x50\x2a\x4d\x18\0\0\0\0".repeat(200_000 / part);
    let empty = [frame(0x20, &[0]), vec![1, 0, 0]]
        .concat()
        .repeat(200_000 / part);
    fs::write(sandbox.path("more"), [nothing, empty].concat()).unwrap();
    sandbox.ok("{ cat more; zstd -q -c tar; cat more; } >b.tar.zst");
    sandbox.ok(&format!(
        "{limit} bk-adopt b.tar.zst && {limit} bk-verify --deep b"
    ));
}

#[test]
fn a_table_that_lies_is_an_error_and_one_that_does_not_fit_is_none() {
    if !has("zstd") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("seq 400000 >app/large; tar -cf tar app");
    let frames = frames(&sandbox, "", 500_000);
    let bytes: Vec<u8> = frames.iter().flat_map(|it| it.0.clone()).collect();
    let honest: Vec<_> = frames.iter().map(|it| (it.0.len() as u32, it.1)).collect();
    assert!(honest.len() > 4);
    let lying = |change: &dyn Fn(&mut Pairs)| {
        let mut pairs = honest.clone();
        change(&mut pairs);
        [&bytes[..], &table(&pairs, false)].concat()
    };
    let not_listed = "the seek table does not list a member as it is";
    for (change, expected) in [
        (
            &(|it: &mut Pairs| it[1].1 += 1) as &dyn Fn(&mut Pairs),
            not_listed,
        ),
        (&|it: &mut Pairs| it[1].1 = u32::MAX, not_listed),
        (&|it: &mut Pairs| it[1].1 = 0, not_listed),
        (
            &|it: &mut Pairs| (it[1].0, it[2].0) = (it[1].0 + 1, it[2].0 - 1),
            "a member has bytes after its end",
        ),
        (
            &|it: &mut Pairs| (it[1].0, it[2].0) = (it[1].0 - 1, it[2].0 + 1),
            "a member cannot be decompressed",
        ),
        // Two as one.
        (
            &|it: &mut Pairs| {
                let next = it.remove(2);
                it[1].0 += next.0;
            },
            "a member has bytes after its end",
        ),
        (&|it: &mut Pairs| it.insert(1, (0, 0)), not_listed),
    ] {
        let (refused, checked) = told(&sandbox, &lying(change));
        assert!(refused.contains(expected), "{expected}: {refused}");
        assert!(checked.contains(expected), "{expected}: {checked}");
    }
    // Of these the frames are found without it.
    for (change, at) in [
        (&(|it: &mut Pairs| it[1].0 += 1) as &dyn Fn(&mut Pairs), 0),
        (&|it: &mut Pairs| it.truncate(it.len() - 1), 0),
        (&|it: &mut Pairs| it.clear(), 0),
        (&|_: &mut Pairs| {}, 4),
    ] {
        let mut made = lying(change);
        if at > 0 {
            let at = made.len() - 5 - at;
            made[at] ^= 0x40;
        }
        sandbox.ok("rm -rf home out");
        fs::write(sandbox.path("a.tar.zst"), made).unwrap();
        sandbox.ok("bk-adopt a.tar.zst && bk-verify --deep a && bk-restore -C out a && diff -r app out/app");
    }
}

#[test]
fn damage_of_one_frame_does_not_hide_those_after_it() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("seq 400000 >app/large; head -c 3000000 /dev/urandom >app/random; bk-create --compression zstd --name a app");
    let path = sandbox.home().join("archives/a.tar.zst");
    let whole = fs::read(&path).unwrap();
    let number = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
    let count = number(whole.len() - 9);
    let first_bytes = number(whole.len() - 9 - 8 * count);
    // The magic number, the descriptor, the header of the first block, the data: of the second frame.
    for at in [0, 4, 9, 11, 100] {
        let mut bytes = whole.clone();
        bytes[first_bytes + at] ^= 0x0f;
        fs::write(&path, &bytes).unwrap();
        let verdict = sandbox.run("bk-verify --deep a").record()["verify"].clone();
        let problems = verdict["problems"].as_array().unwrap();
        let corrupt: Vec<_> = problems
            .iter()
            .filter(|it| it["code"] == "corrupt-member")
            .collect();
        assert_eq!(corrupt.len(), 1, "{at}: {verdict:#}");
        assert_eq!(corrupt[0]["offset"], first_bytes, "{at}: {verdict:#}");
    }
}
