//! The archive: what went in comes out with plain tar, every attribute too, and the bytes are what the design says.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use bk_tests::{Ran, Sandbox, has};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

const MIB: usize = 1 << 20;
/// The extra field in the header of a member, before the member's length.
const MEMBER_BEGIN: &[u8] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x08\0BK\x04\0";
/// As root would unpack a backup of a whole system.
const UNPACK: &str = "mkdir out && tar --xattrs --xattrs-include='*' --acls --same-owner --numeric-owner -xpzf \
                      home/archives/a.tar.gz -C out";

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
mkdir links; echo one > links/b; ln links/b links/a; ln links/b deep/$long/again; ln -s b links/s; ln links/s links/t
mkfifo pipe; ln pipe pipe-again
mkdir sizes
for size in 0 1 511 512 513 1048575 1048576 1310721 5242880; do head -c $size /dev/urandom > sizes/$size; done
mkdir holes
holes() { truncate -s $2 "holes/$1"; for at in ${@:3}; do printf data | dd of="holes/$1" bs=1 seek=$at conv=notrunc status=none; done; }
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
for mode in 0 400 4755 2755 6711 1644; do touch $mode; chmod $mode $mode; done
for mode in 1777 2770 500; do mkdir d$mode; touch d$mode/in; chmod $mode d$mode; done
cd ..; mkdir times; cd times
touch -d @-1.75 old; touch -d @1.000000001 nanos; touch -d @-86400 day; touch -d @9000000000.5 late
ln -s old link; touch -h -d @-0.25 link
mkdir dir; touch dir/in; touch -d @-3.141592653 dir
cd ..; touch -d @1000000000.123456789 empty pipe .
"#;

/// Attributes on files, directories and links.
const XATTRS: &str = r#"
set -e
cd rich; mkdir xattrs xattrs/dir; cd xattrs; touch file other
setfattr -n user.plain -v value file
setfattr -n user.lines -v $'a\nb=c\n12 path=x\n' file
setfattr -n user.zeros -v 0x00610000ff3d file
setfattr -n user.empty file
setfattr -n 'user.na=me%3D' -v x file
setfattr -n user.dir -v d dir
"#;

const ACLS: &str = r#"
set -e
cd rich; mkdir acls acls/dir; cd acls; touch file
setfacl -m u:1234:rw,g:2345:r,m:rw file
setfacl -m u:1234:rwx -m d:u:1234:rwx,d:g:2345:rx,d:o:- dir
touch dir/heir; mkdir dir/heiress
setfacl -b dir/heiress; setfacl -k dir/heiress
"#;

const ROOT: &str = r#"
set -e
cd rich; mkdir root; cd root
touch owned huge; chown 1234:2345 owned; chown 3000000:4000000 huge; ln -s owned link; chown -h 1234:0 link
mknod null c 1 3; mknod disk b 259 70000; mkdir dir; chown 7:8 dir; chmod 2750 dir
cp -p owned suid; chown 1234:2345 suid; chmod 6755 suid
"#;

const ROOT_XATTRS: &str = r#"
set -e
cd rich/root
setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 owned
for of in link dir null; do setfattr -h -n trusted.note -v "on $of" $of; done
"#;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

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
    if is_root() {
        sandbox.ok(ROOT);
    } else {
        println!("skipped: devices and owners, which take root");
    }
    if is_root() && has("setfattr") {
        sandbox.ok(ROOT_XATTRS);
    }
    UnixListener::bind(sandbox.path("rich/socket")).unwrap();
    sandbox.run("bk-create -n a rich").fails(
        0,
        "bk-create: warning: 'rich/socket': a socket is not backed up\n",
    );
    sandbox
}

/// What tar is to bring back of one place.
#[derive(Debug, PartialEq)]
struct Facts {
    /// Type and permissions.
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    device: u64,
    /// Of a file.
    size: u64,
    /// Of a file's content, or the target of a link.
    content: u64,
    /// The first name of the same inode.
    first_name: PathBuf,
    /// ACLs among them.
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All places below `dir` by name, sockets aside, with the blocks that each takes.
fn facts(dir: &Path) -> BTreeMap<PathBuf, (Facts, u64)> {
    let mut all = BTreeMap::new();
    let mut names = vec![PathBuf::new()];
    let mut inodes = BTreeMap::new();
    while let Some(name) = names.pop() {
        let path = if name.as_os_str().is_empty() {
            dir.to_owned()
        } else {
            dir.join(&name)
        };
        let metadata = path.symlink_metadata().unwrap();
        let mut below = Vec::new();
        if metadata.is_dir() {
            below.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()));
        }
        names.extend(below.iter().map(|below| name.join(below)));
        if metadata.mode() & 0o170_000 == 0o140_000 {
            continue;
        }
        let first_name = inodes.entry(metadata.ino()).or_insert(name.clone());
        *first_name = name.clone().min(first_name.clone());
        let found = (facts_of(&path, &metadata), metadata.blocks());
        all.insert(name, found);
    }
    for (name, (facts, _)) in &mut all {
        let metadata = dir.join(name).symlink_metadata().unwrap();
        facts.first_name = inodes[&metadata.ino()].clone();
    }
    all
}

fn facts_of(path: &Path, metadata: &fs::Metadata) -> Facts {
    let content = match metadata {
        link if link.is_symlink() => fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec(),
        file if file.is_file() => fs::read(path).unwrap(),
        _ => Vec::new(),
    };
    let mut hash = DefaultHasher::new();
    content.hash(&mut hash);
    let value = |name: &OsStr| xattr::get(path, name).unwrap().unwrap();
    let xattrs = xattr::list(path).unwrap();
    Facts {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        device: metadata.rdev(),
        size: content.len() as u64,
        content: hash.finish(),
        first_name: PathBuf::new(),
        xattrs: xattrs.map(|name| (name.as_bytes().to_vec(), value(&name))).collect(),
    }
}

/// What differs between two trees, for people.
fn differences(of: &Path, to: &Path) -> Vec<String> {
    let (mut all, mut other) = (Vec::new(), facts(to));
    for (name, (facts, blocks)) in facts(of) {
        match other.remove(&name) {
            None => all.push(format!("{name:?} is missing")),
            Some((it, _)) if it != facts => all.push(format!("{name:?} was {facts:?} is {it:?}")),
            // A file system may round a hole to its own blocks.
            Some((_, its)) if its > blocks + 256 => {
                all.push(format!("{name:?} took {blocks} blocks, takes {its}"));
            }
            Some(_) => {}
        }
    }
    all.extend(other.into_keys().map(|name| format!("{name:?} is new")));
    all
}

/// What a tar complained of, beside times that it finds odd.
fn complaints(ran: &Ran) -> Vec<&str> {
    assert_eq!(ran.status, 0, "{ran:#?}");
    let is_odd_time = |line: &&str| {
        line.contains("implausibly old time stamp") || line.contains("s in the future")
    };
    ran.stderr.lines().filter(|line| !is_odd_time(line)).collect()
}

#[test]
fn gnu_tar_brings_back_every_attribute() {
    let sandbox = rich();
    let unpacked = sandbox.run(UNPACK);
    assert_eq!(complaints(&unpacked), [""; 0]);
    let differences = differences(&sandbox.path("rich"), &sandbox.path("out/rich"));
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn gnu_tar_finds_no_difference_to_the_source() {
    let sandbox = rich();
    sandbox.ok("gzip -t home/archives/a.tar.gz");
    let compared = sandbox.run("tar --compare --xattrs --acls -zf home/archives/a.tar.gz");
    assert_eq!(complaints(&compared), [""; 0]);
    assert_eq!(compared.stdout, "");
    let listed = sandbox.run("tar -tvzf home/archives/a.tar.gz");
    assert_eq!(complaints(&listed), [""; 0]);
}

/// The bytes that a command line prints.
fn bytes_of(sandbox: &Sandbox, line: &str) -> Vec<u8> {
    let output = sandbox.command("bash").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{:#?}", Ran::new(line, output));
    output.stdout
}

fn decoded(base64: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for byte in base64.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | digits.iter().position(|digit| *digit == byte).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// The names that bk-ls tells, as tar prints them.
fn names(sandbox: &Sandbox) -> Vec<u8> {
    let lines = sandbox.ok("bk-ls --files a").records();
    assert!(!lines.is_empty());
    let mut all = Vec::new();
    for line in lines {
        match &line["path_base64"] {
            Value::Null => all.extend(line["path"].as_str().unwrap().bytes()),
            base64 => all.extend(decoded(base64.as_str().unwrap())),
        }
        let is_directory = line["type"] == "directory";
        all.extend(if is_directory { "/\n" } else { "\n" }.bytes());
    }
    all
}

#[test]
fn every_reader_lists_the_same_names() {
    let sandbox = rich();
    let names = names(&sandbox);
    let by_tar = "tar --quoting-style=literal -tzf home/archives/a.tar.gz 2>/dev/null";
    assert_eq!(bytes_of(&sandbox, by_tar), names);
    if has("bsdtar") {
        let listed = sandbox.run("bsdtar -tf home/archives/a.tar.gz");
        assert_eq!((listed.status, listed.stderr.as_str()), (0, ""), "{listed:#?}");
        let escaped = "bsdtar -tf home/archives/a.tar.gz | grep -c .";
        let count = String::from_utf8(bytes_of(&sandbox, escaped)).unwrap();
        let entries = sandbox.ok("bk-ls --files a").stdout.lines().count();
        assert_eq!(count.trim(), entries.to_string());
    }
    if has("python3") {
        assert_eq!(bytes_of(&sandbox, &format!("python3 -c '{BY_PYTHON}'")), names);
    }
}

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
fn bsdtar_brings_back_the_same_content() {
    if !has("bsdtar") {
        return;
    }
    let sandbox = rich();
    let unpacked = sandbox.run("mkdir out && bsdtar -xpf home/archives/a.tar.gz -C out");
    assert_eq!(complaints(&unpacked), [""; 0]);
    let known = |of: &str| {
        let all = facts(&sandbox.path(of)).into_iter();
        // What libarchive takes of the attributes differs from version to version.
        let known = all.map(|(name, (facts, _))| {
            (name, (facts.mode, facts.owner, facts.mtime, facts.device, facts.content, facts.first_name))
        });
        known.collect::<BTreeMap<_, _>>()
    };
    let (source, out) = (known("rich"), known("out/rich"));
    let differ: Vec<_> = source.iter().filter(|(name, facts)| out.get(*name) != Some(*facts)).collect();
    assert!(differ.is_empty() && out.len() == source.len(), "{differ:#?}");
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

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A sandbox with `many/` in it: 1500 files of 16 KiB, and one of 5 MiB.
fn many() -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..1500 {
        let file = sandbox.write(&format!("many/{}/{number:05}", number % 7), "");
        fs::write(file, noise(number, 16 << 10)).unwrap();
    }
    fs::write(sandbox.path("many/3/large"), noise(0, 5 * MIB)).unwrap();
    sandbox
}

#[test]
fn the_archive_is_a_series_of_members_that_tell_their_length() {
    let sandbox = many();
    let line = "bk-create -n a -d 'a note' -e 30d -m ticket=7 --source-version 1.2 -t pre-upgrade --level 1 many";
    let record = sandbox.ok(line).record();
    let archive = fs::read(sandbox.archive("a")).unwrap();
    let members = members(&archive);
    let (first, last) = (content(&sandbox, members[0]), content(&sandbox, members.last().unwrap()));
    assert_eq!(last, [0; 1024]);
    check_birth_facts(&first, &record);

    let inner = &members[1..members.len() - 1];
    let sizes: Vec<_> = inner.iter().map(|member| content_bytes(member)).collect();
    let average = sizes.iter().sum::<usize>() / sizes.len();
    assert!((MIB / 2..2 * MIB).contains(&average), "{sizes:?}");
    assert!(sizes.iter().all(|size| *size < 5 * MIB), "{sizes:?}");

    let mode = fs::metadata(sandbox.archive("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let told = sandbox.ok("cd home/archives; sha256sum a.tar.gz | cut -d' ' -f1; stat -c %s a.tar.gz; tar -tzf a.tar.gz | grep -cv '/$'");
    let of_record = ["backup_hash", "backup_size", "file_count"].map(|key| record[key].to_string());
    assert_eq!(told.stdout, of_record.join("\n").replace('"', "") + "\n");
}

fn check_birth_facts(first: &[u8], record: &Value) {
    assert_eq!((&first[..17], first[156]), (&b"pax_global_header"[..], b'g'));
    let pax = str::from_utf8(&first[512..]).unwrap().trim_end_matches('\0');
    let (length, comment) = pax.split_once(" comment=").unwrap();
    assert_eq!(length.parse(), Ok(pax.len()));
    let json = comment.strip_suffix('\n').unwrap();
    assert!(!json.contains('\n'));
    let facts: Value = serde_json::from_str(json).unwrap();
    for key in [
        "backup_name", "backup_type", "source_version", "description", "protected", "created_at", "expires_at",
    ] {
        assert_eq!(facts[key], record[key], "{key}");
    }
    for key in ["sources", "source_entries", "host", "ticket"] {
        assert!(!facts["backup_metadata"][key].is_null(), "{key}");
        assert_eq!(facts["backup_metadata"][key], record["backup_metadata"][key], "{key}");
    }
    assert!(facts["program"].as_str().unwrap().starts_with("bk-create "), "{facts}");
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
    sandbox.ok("echo small > many/3/00500-and-a-half && bk-create -n b --level 1 many");
    let archives = ["a", "b"].map(|name| fs::read(sandbox.archive(name)).unwrap());
    let [a, b] = archives.each_ref().map(|archive| members(archive));
    let old: HashSet<_> = a[1..].iter().collect();
    let new = b[1..].iter().filter(|member| !old.contains(member)).count();
    assert!(a.len() > 15 && (1..=2).contains(&new), "{new} of {}", a.len());
}

#[test]
fn entries_come_by_name_with_parents_first() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p t/{b,a,B,'b ','b-',é}/{z,a} && touch t/{b.c,b0,c} && bk-create -n a t");
    let listed = String::from_utf8(names(&sandbox)).unwrap();
    let listed: Vec<_> = listed.lines().map(|name| name.trim_end_matches('/')).collect();
    let mut sorted = listed.clone();
    sorted.sort_by_key(|name| Path::new(name).to_owned());
    assert_eq!((listed.len(), listed), (22, sorted));
}
