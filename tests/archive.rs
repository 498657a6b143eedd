//! The archive: what went in comes out with plain tar, every attribute too, and the bytes are what the design says.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use bk_tests::{Ran, Sandbox, has};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

const MIB: usize = 1 << 20;
/// The extra field in the header of a member, before the member's length.
const MEMBER_BEGIN: &[u8] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x08\0BK\x04\0";

/// Everything that a file system can hold and a tar can lose.
const RICH: &str = r#"
set -e
mkdir rich; cd rich
touch -- '-rf' ' spaces ' $'two\nlines' $'no utf-8 \xff\xfe' 'quotes"'"'" '*' .hidden 'back\slash' é
long=$(printf 'n%.0s' {1..255})
mkdir -p deep/$long/$long empty
echo deep > deep/$long/$long/$long
echo deep > deep/$long/$'\xff'${long:1}
ln -s deep/$long/$long/$long far
ln -s $'no\nwhere \xff' dangling
mkdir links; echo one > links/b; ln links/b links/a; ln links/b deep/$long/again
ln -s b links/s; ln links/s links/t; mkfifo pipe; ln pipe pipe-again
mkdir sizes
for size in 0 1 511 512 513 1048575 1048576 1310721 5242880; do
    head -c $size /dev/urandom > sizes/$size
done
mkdir holes
holes() {
    truncate -s $2 "holes/$1"
    for at in ${@:3}; do printf data | dd of="holes/$1" bs=1 seek=$at conv=notrunc status=none; done
}
holes all 3000000
holes start 1048580 1048576
holes middle 3000000 0 2999996
holes end 3000000 0
holes many 20000000 $(seq 5 100000 20000000)
holes large 40000001 1000 20000000 30000000
head -c 3000000 /dev/urandom | dd of=holes/large bs=1M seek=12 conv=notrunc status=none
holes $'no utf-8 \xff' 3000000 1048576
holes ${long:1} 3000000 1048576
mkdir modes; cd modes
for mode in 400 4755 2755 6711 1644; do touch $mode; chmod $mode $mode; done
for mode in 1777 2770 500; do mkdir d$mode; touch d$mode/in; chmod $mode d$mode; done
cd ..; mkdir times; cd times
touch -d @-1.75 old; touch -d @1.000000001 nanos; touch -d @-86400 day; touch -d @9000000000.5 late
ln -s old link; touch -h -d @-0.25 link
mkdir dir; touch dir/in; touch -d @-3.141592653 dir
cd ..; touch -d @1000000000.123456789 empty pipe .
"#;

const XATTRS: &str = r#"
set -e
cd rich; mkdir xattrs xattrs/dir; cd xattrs; touch file
setfattr -n user.plain -v value file
setfattr -n user.lines -v $'a\nb=c\n12 path=x\n' file
setfattr -n user.zeros -v 0x00610000ff3d file
setfattr -n user.empty file
setfattr -n 'user.na=me%3D' -v x file
setfattr -n $'user.no utf-8 \xff' -v x file
setfattr -n user.dir -v d dir
"#;

const ACLS: &str = r#"
set -e
cd rich; mkdir acls acls/dir; cd acls; touch file
setfacl -m u:1234:rw,g:2345:r,m:rw file
setfacl -m u:1234:rwx -m d:u:1234:rwx,d:g:2345:rx,d:o:- dir
touch dir/heir; mkdir dir/heiress; setfacl -b dir/heiress
"#;

const ROOT: &str = r#"
set -e
cd rich; mkdir root; cd root
touch owned huge locked suid; chmod 0 locked
chown 1234:2345 owned suid; chown 3000000:4000000 huge; chmod 6755 suid
ln -s owned link; chown -h 1234:0 link
mknod null c 1 3; mknod disk b 259 70000
mkdir dir; chown 7:8 dir; chmod 2750 dir
"#;

const ROOT_XATTRS: &str = r#"
set -e
cd rich/root
setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 owned
for of in link dir null; do setfattr -h -n trusted.note -v "on $of" $of; done
"#;

/// Prints all that is to come back of a tree.
const FACTS: &str = r#"
export LC_ALL=C
facts() (
    cd "$1"
    find . ! -type s -printf '%p: %M %m %U:%G %T@ -> %l\n' | sort
    find . -type f -printf '%p: %s bytes\n' | sort
    find . -type f -print0 | sort -z | xargs -0 -r sha256sum
    find . \( -type b -o -type c \) -exec stat -c '%n: device %t %T' {} + | sort
    find . ! -type d -links +1 -printf '%i %p\0' | sort -z -k 2 | awk 'BEGIN { RS = "\0" }
        { inode = $1; sub(/^[0-9]+ /, ""); if (!(inode in first)) first[inode] = $0; print $0 ": link to " first[inode] }'
)
attributes() (
    cd "$1"
    all() { find . ! -type s "$@" -print0 | sort -z; }
    ! command -v getfattr >/dev/null || all | xargs -0 getfattr -h -d -m - -e hex
    ! command -v getfacl >/dev/null || all ! -type l | xargs -0 getfacl -n -p
)
"#;

/// A sandbox with `rich/` in it, and its backup `a`.
fn rich() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(RICH);
    if has("setfattr") {
        sandbox.ok(XATTRS);
    }
    if has("setfacl") {
        sandbox.ok(ACLS);
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: devices and owners, which take root");
    } else {
        sandbox.ok(ROOT);
        if has("setfattr") {
            sandbox.ok(ROOT_XATTRS);
        }
    }
    UnixListener::bind(sandbox.path("rich/socket")).unwrap();
    sandbox.run("bk-create -n a rich").fails(
        0,
        "bk-create: warning: 'rich/socket': a socket is not backed up\n",
    );
    sandbox
}

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

/// Asserts that `facts` or `attributes` of two trees are the same.
fn assert_same(sandbox: &Sandbox, what: &str, one: &str, other: &str) {
    let ran = sandbox.run(&format!(
        "{FACTS} diff -a <({what} {one} 2>&1) <({what} {other} 2>&1)"
    ));
    assert_eq!(ran.status, 0, "{what} differ:\n{}", ran.stdout);
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
    let line = "bk-create -n a -d 'a note' -e 30d -m ticket=7 --source-version 1.2 -t pre-upgrade --level 1 many";
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
    let average = sizes.iter().sum::<usize>() / sizes.len();
    assert!((MIB / 2..2 * MIB).contains(&average), "{sizes:?}");
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
    sandbox.ok("bk-create -n a --level 1 many; bk-create -n one -j 1 --level 1 many; bk-create -n eight -j 8 --level 1 many");
    let archives = ["a", "one", "eight"].map(|name| fs::read(sandbox.archive(name)).unwrap());
    let [a, one, eight] = archives.each_ref().map(|archive| members(archive));
    assert_eq!(a.len(), one.len());
    assert!(a[0] != one[0] && a[1..] == one[1..]);
    assert!(one[1..] == eight[1..]);
}

#[test]
fn an_added_file_changes_its_own_member_and_its_directorys() {
    let sandbox = many();
    sandbox.ok("bk-create -n a --level 1 many");
    sandbox.ok("echo small > many/c/100-and-a-half && bk-create -n b --level 1 many");
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
    sandbox.ok("bk-create -n a t");
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
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&vec(place, 0..40), |places| {
        sandbox.ok("rm -rf tree out home; mkdir out");
        plant(&sandbox.path("tree"), &places);
        let line = "bk-create -n a tree && tar -xzf home/archives/a.tar.gz -C out";
        prop_assert_eq!(complaints(&sandbox, line), [""; 0]);
        assert_same(&sandbox, "facts", "tree", "out/tree");
        Ok(())
    });
    run.unwrap();
}
