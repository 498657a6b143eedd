//! The archive: what went in comes out with plain tar, every attribute too, and the bytes are what the design says.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use crate::support::rich::{assert_same, rich};
use crate::support::{Ran, Sandbox, has, stride};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

const MIB: usize = 1 << 20;
/// The extra field in the header of a member, before the member's length.
const MEMBER_BEGIN: &[u8] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x08\0BK\x04\0";

/// Runs a tar; returns what it complained of, beside times that it finds odd.
fn complaints(sandbox: &Sandbox, line: &str) -> Vec<String> {
    let ran = sandbox.run(line);
    let is_odd_time = |line: &&str| {
        line.contains("implausibly old time stamp") || line.contains("s in the future")
    };
    let lines = ran.stderr.lines().filter(|line| !is_odd_time(line));
    let mut all: Vec<_> = lines.map(str::to_owned).collect();
    if ran.status != 0 {
        all.push(format!("exit status {}", ran.status));
    }
    all
}

/// The bytes that a command line prints.
fn bytes_of(sandbox: &Sandbox, line: &str) -> Vec<u8> {
    let output = sandbox.command("bash").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{:#?}", Ran::new(line, output));
    output.stdout
}

#[test]
fn gnu_tar_brings_back_every_attribute() {
    let sandbox = rich();
    for (out, flags) in [("whole", "--acls"), ("bare", "")] {
        let unpack = format!(
            "mkdir {out} && tar --xattrs --xattrs-include='*' {flags} --same-owner --numeric-owner \
             -xpzf home/archives/a.tar.gz -C {out}"
        );
        assert_eq!(complaints(&sandbox, &unpack), [""; 0]);
        let unpacked = format!("{out}/rich");
        assert_same(&sandbox, "facts", "rich", &unpacked);
        assert_same(&sandbox, "attributes", "rich", &unpacked);
    }
    let kib = sandbox.ok("du -sk rich whole/rich | cut -f 1").stdout;
    let kib: Vec<u64> = kib.lines().map(|line| line.parse().unwrap()).collect();
    assert!(kib[1] < kib[0] + 1024, "holes are filled: {kib:?} KiB");
}

#[test]
fn gnu_tar_finds_no_difference_to_the_source() {
    if !has("jq") {
        return;
    }
    let sandbox = rich();
    sandbox.ok("gzip -t home/archives/a.tar.gz");
    for line in [
        "tar --compare --xattrs --acls -zf home/archives/a.tar.gz >&2",
        "tar -tvzf home/archives/a.tar.gz",
    ] {
        assert_eq!(complaints(&sandbox, line), [""; 0]);
    }
}

/// The names that bk-ls tells, as tar prints them.
const BY_BK: &str = r#"
bk-ls --files a | jq -r '(.path_base64 // (.path | @base64)) + " " + .type' | while read -r name type; do
    base64 -d <<<"$name"
    [ "$type" != directory ] || printf /
    echo
done"#;

/// Lists the names and compares each entry with the source.
const BY_PYTHON: &str = r#"
import gzip, os, stat, sys, tarfile
archive = "home/archives/a.tar.gz"
with gzip.open(archive) as stream:
    while stream.read(1 << 20):
        pass
with tarfile.open(archive) as entries:
    for entry in entries:
        name = os.fsencode(entry.name) + (b"/" if entry.isdir() else b"")
        sys.stdout.buffer.write(name + b"\n")
        there = os.lstat(name)
        told = (entry.mode, entry.uid, entry.gid)
        assert told == (stat.S_IMODE(there.st_mode), there.st_uid, there.st_gid), name
        assert abs(entry.mtime - there.st_mtime) < 1e-5, name
        if entry.isreg():
            assert entry.size == there.st_size, name
            assert entries.extractfile(entry).read() == open(name, "rb").read(), name
        elif entry.issym():
            assert os.fsencode(entry.linkname) == os.readlink(name), name
        elif entry.islnk():
            assert os.path.samestat(there, os.lstat(os.fsencode(entry.linkname))), name
"#;

#[test]
fn every_reader_lists_the_same_names() {
    if !has("jq") {
        return;
    }
    let sandbox = rich();
    let by_tar = "tar --quoting-style=literal -tzf home/archives/a.tar.gz 2>/dev/null";
    let names = bytes_of(&sandbox, by_tar);
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("\\n", "\n");
    assert_eq!(shown(&bytes_of(&sandbox, BY_BK)), shown(&names));
    if has("python3") {
        let by_python = format!("python3 -c '{BY_PYTHON}'");
        assert_eq!(shown(&bytes_of(&sandbox, &by_python)), shown(&names));
    }
}

#[test]
fn bsdtar_brings_back_the_same_content() {
    if !has("bsdtar") {
        return;
    }
    let sandbox = rich();
    let unpack = "mkdir out && bsdtar -xpf home/archives/a.tar.gz -C out";
    // Names that are no UTF-8 and longer than an old header has room for, as with an archive of
    // GNU tar; they come out right all the same.
    let not_utf8 = "bsdtar: Pathname can't be converted from UTF-8 to current locale.";
    let delayed = "bsdtar: Error exit delayed from previous errors.";
    let known = [not_utf8, not_utf8, delayed, "exit status 1"];
    assert_eq!(complaints(&sandbox, unpack), known);
    // libarchive adds the fraction of a time before 1970 instead of taking it off.
    sandbox.ok("rm -r {.,out}/rich/times; touch -d @7 {.,out}/rich");
    assert_same(&sandbox, "facts", "rich", "out/rich");
    assert_same(&sandbox, "attributes", "rich/acls", "out/rich/acls");
}

/// The members, found by the lengths that they tell.
fn members(archive: &[u8]) -> Vec<&[u8]> {
    let (mut all, mut rest) = (Vec::new(), archive);
    while !rest.is_empty() {
        assert!(rest.starts_with(MEMBER_BEGIN), "member {}", all.len());
        let length = u32::from_le_bytes(rest[16..20].try_into().unwrap());
        let (member, behind) = rest.split_at(length as usize);
        all.push(member);
        rest = behind;
    }
    all
}

/// How many bytes a member holds, by its trailer.
fn content_bytes(member: &[u8]) -> usize {
    let length = member.last_chunk().unwrap();
    u32::from_le_bytes(*length) as usize
}

/// What a member holds, by gzip.
fn content(sandbox: &Sandbox, member: &[u8]) -> Vec<u8> {
    fs::write(sandbox.path("member.gz"), member).unwrap();
    bytes_of(sandbox, "gzip -dc member.gz")
}

/// A sandbox with `many/` in it: 1600 files of 16 KiB, and one of 5 MiB.
fn many() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok("for dir in a b c d; do
        mkdir -p many/$dir; head -c 6400K /dev/urandom | split -b 16K -a 3 -d - many/$dir/
    done; head -c 5M /dev/urandom > many/c/200-large");
    sandbox
}

#[test]
fn the_archive_is_a_series_of_members_that_tell_their_length() {
    let sandbox = many();
    let line = "bk-create --name a -d 'a note' -e 30d -m ticket=7 --source-version 1.2 -t pre-upgrade --level 1 many";
    let record = sandbox.ok(line).record();
    let archive = fs::read(sandbox.archive("a")).unwrap();
    let members = members(&archive);
    let (first, last) = (
        content(&sandbox, members[0]),
        content(&sandbox, members.last().unwrap()),
    );
    assert_eq!(last, [0; 1024]);
    check_birth_facts(&first, &record);

    let inner = &members[1..members.len() - 1];
    let sizes: Vec<_> = inner.iter().map(|member| content_bytes(member)).collect();
    // The five of the large file have 1 MiB each.
    let (large, small): (Vec<usize>, Vec<_>) = sizes.iter().partition(|size| **size >= MIB);
    assert_eq!(large.len(), 5, "{sizes:?}");
    let average = small.iter().sum::<usize>() / small.len();
    assert!((MIB / 16..MIB / 4).contains(&average), "{sizes:?}");
    assert!(sizes.iter().all(|size| *size < 5 * MIB), "{sizes:?}");

    let told = sandbox.ok(
        "cd home/archives; sha256sum a.tar.gz | cut -d' ' -f1; stat -c '%s %a' a.tar.gz; \
         tar -tzf a.tar.gz | grep -cv '/$'",
    );
    let text = |key: &str| record[key].to_string().replace('"', "");
    let [hash, size, files] = ["backup_hash", "backup_size", "file_count"].map(text);
    assert_eq!(told.stdout, format!("{hash}\n{size} 600\n{files}\n"));
}

fn check_birth_facts(first: &[u8], record: &Value) {
    assert_eq!(
        (&first[..17], first[156]),
        (&b"pax_global_header"[..], b'g')
    );
    let pax = str::from_utf8(&first[512..])
        .unwrap()
        .trim_end_matches('\0');
    let (length, comment) = pax.split_once(" comment=").unwrap();
    assert_eq!(length.parse(), Ok(pax.len()));
    let json = comment.strip_suffix('\n').unwrap();
    assert!(!json.contains('\n'));
    let facts: Value = serde_json::from_str(json).unwrap();
    for key in [
        "backup_name",
        "backup_type",
        "source_version",
        "description",
        "protected",
        "created_at",
        "expires_at",
    ] {
        assert_eq!(facts[key], record[key], "{key}");
    }
    for key in ["sources", "source_entries", "host", "ticket"] {
        assert!(!facts["backup_metadata"][key].is_null(), "{key}");
        assert_eq!(
            facts["backup_metadata"][key], record["backup_metadata"][key],
            "{key}"
        );
    }
    assert!(
        facts["program"].as_str().unwrap().starts_with("bk-create "),
        "{facts}"
    );
}

#[test]
fn the_same_tree_makes_the_same_bytes_whatever_the_threads() {
    let sandbox = many();
    sandbox.ok("bk-create --name a --level 1 many; bk-create --name one -j 1 --level 1 many; bk-create --name eight -j 8 --level 1 many");
    let archives = ["a", "one", "eight"].map(|name| fs::read(sandbox.archive(name)).unwrap());
    let [a, one, eight] = archives.each_ref().map(|archive| members(archive));
    assert_eq!(a.len(), one.len());
    assert!(a[0] != one[0] && a[1..] == one[1..]);
    assert!(one[1..] == eight[1..]);
}

#[test]
fn an_added_file_changes_its_own_member_and_its_directorys() {
    let sandbox = many();
    sandbox.ok("bk-create --name a --level 1 many");
    sandbox.ok("echo small > many/c/100-and-a-half && bk-create --name b --level 1 many");
    let archives = ["a", "b"].map(|name| fs::read(sandbox.archive(name)).unwrap());
    let [a, b] = archives.each_ref().map(|archive| members(archive));
    let old: HashSet<_> = a[1..].iter().collect();
    let new = b[1..].iter().filter(|member| !old.contains(member)).count();
    assert!(
        a.len() > 15 && (1..=2).contains(&new),
        "{new} of {}",
        a.len()
    );
}

#[test]
fn entries_come_by_name_with_parents_first() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p t/{b,a,B,'b ','b-','b.d'}/{z,a} && touch t/{b.c,b0,c}");
    sandbox.ok("bk-create --name a t");
    let listed = sandbox.ok("tar -tzf home/archives/a.tar.gz").stdout;
    let names: Vec<_> = listed
        .lines()
        .map(|name| name.trim_end_matches('/'))
        .collect();
    let mut sorted = names.clone();
    sorted.sort_by_key(|name| Path::new(name).to_owned());
    assert_eq!((names.len(), names), (22, sorted));
}

/// One place of a random tree: in which directory of those made so far, its name, what it is.
type Place = (usize, Vec<u8>, Node);

#[derive(Debug, Clone)]
enum Node {
    Directory,
    /// Pieces of data, each behind a hole of so many bytes, and a hole at the end.
    File(Vec<(usize, Vec<u8>)>, usize),
    Symlink(Vec<u8>),
    /// To one of the places made so far.
    HardLink(usize),
}

fn name(length: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u8>> {
    let is_name = |name: &Vec<u8>| name != b"." && name != b"..";
    vec(
        (1..=255u8).prop_filter("a slash", |byte| *byte != b'/'),
        length,
    )
    .prop_filter("dots", is_name)
}

fn node() -> impl Strategy<Value = Node> {
    let hole = || prop_oneof![2 => Just(0), 1 => 0..300_000usize];
    let data = vec(any::<u8>(), 0..3000);
    prop_oneof![
        3 => Just(Node::Directory),
        5 => (vec((hole(), data), 0..4), hole()).prop_map(|(pieces, end)| Node::File(pieces, end)),
        2 => name(1..=200).prop_map(Node::Symlink),
        2 => any::<usize>().prop_map(Node::HardLink),
    ]
}

/// Makes the tree; what cannot be, such as a name that is taken, is left out.
fn plant(dir: &Path, places: &[Place]) {
    fs::create_dir(dir).unwrap();
    let (mut dirs, mut leaves) = (vec![dir.to_owned()], Vec::new());
    for (within, name, node) in places {
        let path = dirs[within % dirs.len()].join(OsStr::from_bytes(name));
        if path.as_os_str().len() > 3000 || path.symlink_metadata().is_ok() {
            continue;
        }
        match node {
            Node::Directory => {
                fs::create_dir(&path).unwrap();
                dirs.push(path);
                continue;
            }
            Node::File(pieces, end) => {
                let file = fs::File::create(&path).unwrap();
                let mut at = 0;
                for (hole, data) in pieces {
                    file.write_all_at(data, (at + hole) as u64).unwrap();
                    at += hole + data.len();
                }
                file.set_len((at + end) as u64).unwrap();
            }
            Node::Symlink(to) => symlink(OsStr::from_bytes(to), &path).unwrap(),
            Node::HardLink(_) if leaves.is_empty() => {}
            Node::HardLink(to) => fs::hard_link(&leaves[to % leaves.len()], &path).unwrap(),
        }
        leaves.extend(path.symlink_metadata().is_ok().then_some(path));
    }
}

#[test]
fn any_tree_comes_back() {
    let sandbox = Sandbox::new();
    let place = (
        any::<usize>(),
        prop_oneof![9 => name(1..=12), 1 => name(90..=255)],
        node(),
    );
    let config = Config {
        cases: 24 / stride(3) as u32,
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&vec(place, 0..40), |places| {
        sandbox.ok("rm -rf tree out home; mkdir out");
        plant(&sandbox.path("tree"), &places);
        let line = "bk-create --name a tree && tar -xzf home/archives/a.tar.gz -C out";
        prop_assert_eq!(complaints(&sandbox, line), [""; 0]);
        assert_same(&sandbox, "facts", "tree", "out/tree");
        Ok(())
    });
    run.unwrap();
}
