//! Backups that take over from their parent what is unchanged: the archive is the one that is made
//! without, whatever happened to the tree between them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::support::{Sandbox, stride};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;

/// Small files in a tree.
const FILES: usize = 240;
/// What changed so shortly before a backup is read again by the next.
const UNSURE: Duration = Duration::from_millis(2100);

/// Something that is done to a tree, at a path that is chosen by number.
#[derive(Debug, Clone)]
enum Change {
    Add(usize, usize),
    Remove(usize),
    Rename(usize, usize),
    Touch(usize),
    /// With the same size and time of the content.
    RewriteAsOld(usize),
    Grow(usize, usize),
    Chmod(usize),
    Chown(usize),
    Xattr(usize),
    HardLink(usize, usize),
    Symlink(usize, usize),
    Hole(usize),
    DirectoryByFile(usize),
    LargeByPart(usize),
}

fn change() -> impl Strategy<Value = Change> {
    use Change::*;
    let n = any::<usize>;
    let size = || prop_oneof![0usize..3000, 0usize..300_000, Just(1_400_000)];
    prop_oneof![
        (n(), size()).prop_map(|(at, size)| Add(at, size)),
        n().prop_map(Remove),
        (n(), n()).prop_map(|(at, to)| Rename(at, to)),
        n().prop_map(Touch),
        n().prop_map(RewriteAsOld),
        (n(), size()).prop_map(|(at, size)| Grow(at, size)),
        n().prop_map(Chmod),
        n().prop_map(Chown),
        n().prop_map(Xattr),
        (n(), n()).prop_map(|(at, to)| HardLink(at, to)),
        (n(), n()).prop_map(|(at, to)| Symlink(at, to)),
        n().prop_map(Hole),
        n().prop_map(DirectoryByFile),
        n().prop_map(LargeByPart),
    ]
}

/// Files and directories below a directory.
fn below(dir: &Path, wants_dirs: bool) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let is_dir = path.symlink_metadata().unwrap().is_dir();
        if is_dir == wants_dirs {
            all.push(path.clone());
        }
        if is_dir {
            all.extend(below(&path, wants_dirs));
        }
    }
    all.sort();
    all
}

fn noise(seed: usize, bytes: usize) -> Vec<u8> {
    let mut state = seed as u64 | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn apply(sandbox: &Sandbox, tree: &Path, change: &Change) {
    let pick = |wants_dirs, number: usize| {
        let all = below(tree, wants_dirs);
        (!all.is_empty()).then(|| all[number % all.len()].clone())
    };
    let run = |line: &str, path: &Path| {
        sandbox.ok(&format!("{line} '{}'", path.display()));
    };
    let dir = |number| pick(true, number).unwrap_or_else(|| tree.to_owned());
    let file =
        |number| pick(false, number).filter(|path| path.symlink_metadata().unwrap().is_file());
    match change {
        Change::Add(at, size) => {
            fs::write(
                dir(*at).join(format!("new{}", at % 1000)),
                noise(*at, *size),
            )
            .unwrap();
        }
        Change::Remove(at) => pick(false, *at)
            .into_iter()
            .for_each(|it| fs::remove_file(it).unwrap()),
        Change::Rename(at, to) => {
            if let Some(path) = pick(false, *at) {
                fs::rename(path, dir(*to).join(format!("moved{}", to % 1000))).unwrap();
            }
        }
        Change::Touch(at) => file(*at).iter().for_each(|it| run("touch", it)),
        Change::RewriteAsOld(at) => {
            if let Some(path) = file(*at) {
                let size = path.metadata().unwrap().len() as usize;
                let time = path.metadata().unwrap().modified().unwrap();
                fs::write(&path, noise(at + 7, size)).unwrap();
                fs::File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
            }
        }
        Change::Grow(at, size) => {
            if let Some(path) = file(*at) {
                let more = [fs::read(&path).unwrap(), noise(*at, *size)].concat();
                fs::write(path, more).unwrap();
            }
        }
        Change::Chmod(at) => file(*at).iter().for_each(|it| run("chmod 640", it)),
        Change::Chown(at) => file(*at).iter().for_each(|it| run("chown 1:1", it)),
        Change::Xattr(at) => file(*at)
            .iter()
            .for_each(|it| run("setfattr -n user.note -v x", it)),
        Change::HardLink(at, to) => {
            if let Some(path) = file(*at) {
                let _ = fs::hard_link(path, dir(*to).join(format!("link{}", to % 1000)));
            }
        }
        Change::Symlink(at, to) => {
            let _ = symlink(
                format!("to{at}"),
                dir(*to).join(format!("sym{}", to % 1000)),
            );
        }
        Change::Hole(at) => file(*at).iter().for_each(|it| run("truncate -s +200K", it)),
        Change::DirectoryByFile(at) => {
            if let Some(path) = pick(true, *at) {
                fs::remove_dir_all(&path).unwrap();
                fs::write(path, "a file now").unwrap();
            }
        }
        Change::LargeByPart(at) => {
            let path = tree.join("large");
            if let Ok(mut content) = fs::read(&path) {
                let at = at % content.len();
                content[at] ^= 1;
                fs::write(path, content).unwrap();
            }
        }
    }
}

/// Small files in directories, a large one and one with holes.
fn plant(sandbox: &Sandbox, name: &str, seed: usize) -> PathBuf {
    let tree = sandbox.path(name);
    for number in 0..FILES {
        let dir = tree.join(format!("d{}/e{}", number % 5, number / 5 % 7));
        fs::create_dir_all(&dir).unwrap();
        let size = (seed * 31 + number * 7919) % 30_000;
        fs::write(dir.join(format!("f{number}")), noise(number + seed, size)).unwrap();
    }
    fs::write(tree.join("large"), noise(seed, 3_500_000)).unwrap();
    sandbox.ok(&format!(
        "cd {name}; truncate -s 3M holes; echo x >>holes; ln d0/e0/f0 zlink; mkfifo fifo"
    ));
    tree
}

/// The archive without its first member, which tells the name of the backup.
fn rest_of(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    let bytes = fs::read(sandbox.archive(name)).unwrap();
    let first = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
    bytes[first as usize..].to_vec()
}

/// Makes a backup with the parent and one without; they are the same. Its record.
fn both(sandbox: &Sandbox, tree: &str, name: &str, flags: &str) -> Value {
    let with = sandbox.ok(&format!("bk-create {flags} -n {name} {tree}"));
    assert_eq!(with.stderr, "");
    sandbox.ok(&format!("bk-create --no-parent -n {name}-all {tree}; rm -f home/manifests/$(bk-ls --json {name}-all | jq -r .backup_hash).parquet"));
    let all = format!("{name}-all");
    assert!(rest_of(sandbox, name) == rest_of(sandbox, &all), "{name}");
    sandbox.ok(&format!("bk-rm {all}"));
    with.record()
}

#[test]
fn whatever_happened_the_archive_is_that_which_is_made_without_a_parent() {
    let sandbox = Sandbox::new();
    let trees = 12 / stride(3);
    let mut runner = TestRunner::deterministic();
    for seed in 0..trees {
        plant(&sandbox, &format!("tree{seed}"), seed);
    }
    for round in 0..3 {
        sleep(UNSURE);
        for seed in 0..trees {
            let tree = format!("tree{seed}");
            let changes = prop::collection::vec(change(), 0..6);
            let changes = changes.new_tree(&mut runner).unwrap().current();
            let record = both(&sandbox, &tree, &format!("{tree}-{round}"), "");
            if round > 0 {
                assert_eq!(
                    record["backup_metadata"]["parent"],
                    format!("{tree}-{}x", round - 1)
                );
            }
            for change in &changes {
                apply(&sandbox, &sandbox.path(&tree), change);
            }
            let record = both(
                &sandbox,
                &tree,
                &format!("{tree}-{round}x"),
                &format!("--parent {tree}-{round}"),
            );
            println!(
                "{tree}: {changes:?}: {} of {} new",
                record["backup_metadata"]["new_bytes"], record["backup_size"]
            );
        }
    }
}

/// A sandbox with a backup `p` of a tree that is old enough to be taken over.
fn with_parent() -> Sandbox {
    let sandbox = Sandbox::new();
    plant(&sandbox, "tree", 1);
    sleep(UNSURE);
    sandbox.ok("bk-create -n p tree");
    sandbox
}

fn manifest_of(sandbox: &Sandbox, name: &str) -> PathBuf {
    let hash = sandbox.ok(&format!("bk-ls --json {name}")).record()["backup_hash"].clone();
    sandbox
        .home()
        .join(format!("manifests/{}.parquet", hash.as_str().unwrap()))
}

fn new_bytes(record: &Value) -> u64 {
    record["backup_metadata"]["new_bytes"].as_u64().unwrap()
}

#[test]
fn what_is_unchanged_is_neither_read_nor_compressed() {
    let sandbox = with_parent();
    if !crate::support::can_trace() {
        return;
    }
    fs::write(sandbox.path("tree/d4/e6/new"), "new").unwrap();
    let record = sandbox
        .ok("strace -f -qqq -o trace -e trace=openat bk-create -n a tree")
        .record();
    assert_eq!(record["backup_metadata"]["parent"], "p");
    let size = record["backup_size"].as_u64().unwrap();
    assert!(new_bytes(&record) < size / 2, "{record}");
    let trace = fs::read_to_string(sandbox.path("trace")).unwrap();
    let opened = (0..FILES)
        .filter(|n| trace.contains(&format!("\"f{n}\"")))
        .count();
    assert!(opened < FILES * 3 / 4, "{opened} were read");
    // The large one and that with holes are opened, and not read.
    let whole = both(&sandbox, "tree", "b", "");
    assert!(new_bytes(&whole) < size / 3, "{whole}");
}

#[test]
fn a_large_file_that_changed_in_part_is_compressed_in_part() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("tree")).unwrap();
    fs::write(sandbox.path("tree/large"), noise(1, 9_000_000)).unwrap();
    sleep(UNSURE);
    sandbox.ok("bk-create -n p tree");
    let mut content = noise(1, 9_000_000);
    content[5_000_000] ^= 1;
    fs::write(sandbox.path("tree/large"), content).unwrap();
    let record = both(&sandbox, "tree", "a", "");
    // Its first piece, which has the header, and the one that changed.
    assert!(new_bytes(&record) < 2_200_000, "{record}");
}

#[test]
fn what_was_written_to_with_its_old_time_and_size_is_read_again() {
    let sandbox = with_parent();
    sandbox.ok("cp -p tree/d0/e0/f0 old; head -c $(stat -c %s old) /dev/urandom >new; cat new >tree/d0/e0/f0; touch -r old tree/d0/e0/f0");
    both(&sandbox, "tree", "a", "");
    sandbox.ok("mkdir out; tar -xzf home/archives/a.tar.gz -C out; cmp out/tree/d0/e0/f0 new");
    // Who says that the time of change means nothing gets the old content.
    sandbox.ok("bk-create --parent p --ignore-ctime -n b tree; rm -r out; mkdir out; tar -xzf home/archives/b.tar.gz -C out; cmp out/tree/d0/e0/f0 old");
}

#[test]
fn what_changed_just_before_the_parent_is_read_again() {
    let sandbox = Sandbox::new();
    plant(&sandbox, "tree", 1);
    sandbox.ok("bk-create -n p tree");
    let record = both(&sandbox, "tree", "a", "");
    assert_eq!(record["backup_metadata"]["parent"], "p");
    // Pieces of a large file are read, and known by what they hold.
    let without_large = record["backup_size"].as_u64().unwrap() - 3_600_000;
    assert!(new_bytes(&record) >= without_large, "{record}");
}

#[test]
fn a_copy_of_the_tree_is_the_same_for_who_ignores_inodes() {
    let sandbox = with_parent();
    sandbox.ok("cp -a tree copy; rm -r tree; mv copy tree");
    let size = |record: &Value| record["backup_size"].as_u64().unwrap();
    let record = both(&sandbox, "tree", "a", "");
    assert!(new_bytes(&record) > size(&record) / 4, "{record}");
    let record = both(
        &sandbox,
        "tree",
        "b",
        "--parent p --ignore-inode --ignore-ctime",
    );
    assert!(new_bytes(&record) < size(&record) / 10, "{record}");
}

#[test]
fn a_damaged_parent_is_named_and_the_sources_are_read() {
    let sandbox = with_parent();
    let archive = sandbox.archive("p");
    let mut bytes = fs::read(&archive).unwrap();
    let first = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    bytes[first + 1000] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let ran = sandbox.ok("bk-create -n a tree");
    let reason =
        format!("'p' is no parent any more: a member (at byte {first} of the file) is damaged");
    ran.fails(
        0,
        &format!("bk-create: warning: {reason}; the sources are read instead\n"),
    );
    let events = sandbox.ok("bk-log a").records();
    assert_eq!(events[0]["details"]["parent_lost"], reason);
    sandbox.ok("bk-create --no-parent -n b tree");
    assert!(rest_of(&sandbox, "a") == rest_of(&sandbox, "b"));
}

#[test]
fn a_manifest_that_is_not_as_it_was_written_is_not_used() {
    let sandbox = with_parent();
    let manifest = manifest_of(&sandbox, "p");
    let honest = fs::read(&manifest).unwrap();
    let place = manifest.display();
    fs::write(sandbox.path("tree/d0/e0/f0"), "other").unwrap();
    sandbox.ok("bk-create --no-parent -n other tree");
    let other = fs::read(manifest_of(&sandbox, "other")).unwrap();
    sandbox.ok("bk-rm other");
    let mut flipped = honest.clone();
    flipped[honest.len() / 2] ^= 1;
    let cases = [
        ("cut", honest[..honest.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("flipped", flipped),
        ("another", other),
    ];
    for (name, bytes) in cases {
        fs::write(&manifest, bytes).unwrap();
        let ran = sandbox.ok(&format!("bk-create -n {name} tree"));
        ran.fails(
            0,
            &format!("bk-create: warning: 'p' cannot be the parent: cannot read '{place}': it is not as it was written\n"),
        );
        let record = ran.record();
        assert_eq!(record["backup_metadata"]["parent"], Value::Null);
        assert_eq!(
            record["backup_metadata"]["new_bytes"],
            record["backup_size"]
        );
        sandbox.ok(&format!("bk-rm {name}"));
    }
    fs::remove_file(&manifest).unwrap();
    let ran = sandbox.ok("bk-create -n none tree");
    assert_eq!(
        (
            ran.stderr.as_str(),
            &ran.record()["backup_metadata"]["parent"]
        ),
        ("", &Value::Null)
    );
}

#[test]
fn who_may_be_the_parent() {
    let sandbox = with_parent();
    let parent = |flags: &str| {
        let record = sandbox.ok(&format!("bk-create {flags} -n a tree")).record();
        sandbox.ok("bk-rm a");
        record["backup_metadata"]["parent"].clone()
    };
    assert_eq!(parent(""), "p");
    assert_eq!(parent("--parent 1"), "p");
    for flags in ["--no-parent", "--level 1", "--level 1 --parent p"] {
        assert_eq!(parent(flags), Value::Null, "{flags}");
    }
    // Of other sources, or of a time to come.
    assert_eq!(
        sandbox.ok("bk-create -n x tree/d0").record()["backup_metadata"]["parent"],
        Value::Null
    );
    sandbox.run("bk-create --parent x -n y tree").fails(
        1,
        "bk-create: cannot create 'y': 'x' cannot be the parent: it is no completed backup of the same sources\n",
    );
    sandbox.run("bk-create --parent x --no-parent tree").fails(
        2,
        "bk-create: --parent and --no-parent exclude each other\n",
    );
    sandbox.sql("UPDATE backup_records SET created_at = created_at + INTERVAL 1 DAY WHERE backup_name = 'p'");
    assert_eq!(parent(""), Value::Null);
}

#[test]
fn a_manifest_is_a_table_for_people_and_goes_with_its_backup() {
    let sandbox = with_parent();
    let manifest = manifest_of(&sandbox, "p");
    let text = manifest.display();
    let duckdb = duckdb::Connection::open_in_memory().unwrap();
    let sql = format!("SELECT path, size, type FROM '{text}' ORDER BY size DESC, path LIMIT 1");
    let row: (String, u64, String) = duckdb
        .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!(row, ("tree/large".into(), 3_500_000, "file".into()));
    let mode = fs::metadata(&manifest).unwrap().mode() & 0o7777;
    let dir_mode = fs::metadata(manifest.parent().unwrap()).unwrap().mode() & 0o7777;
    assert_eq!((mode, dir_mode), (0o600, 0o700));
    let hash = sandbox.ok(&format!("sha256sum <'{text}'")).stdout;
    let record = sandbox.ok("bk-ls --json p").record();
    assert_eq!(record["backup_metadata"]["manifest_hash"], hash[..64]);
    // What dead processes left goes too.
    fs::write(manifest.with_file_name("1-0.partial"), "x").unwrap();
    fs::create_dir(manifest.with_file_name("1-0.spill")).unwrap();
    sandbox.ok("bk-rm p; bk-create -n q tree; bk-set -d x q");
    let left: Vec<_> = fs::read_dir(manifest.parent().unwrap())
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    assert_eq!(left, [manifest_of(&sandbox, "q")]);
}
