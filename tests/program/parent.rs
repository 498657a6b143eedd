//! Backups that take over from their parent what is unchanged: the archive is the one that is made
//! without, whatever happened to the tree between them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::support::changes::{apply, change, noise};
use crate::support::{Sandbox, compared, stride};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;

/// Small files in a tree.
pub(crate) const FILES: usize = 240;
/// What changed so shortly before a backup is read again by the next.
pub(crate) const UNSURE: Duration = Duration::from_millis(2100);

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

pub(crate) fn rest_of(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    compared::rest_of(&sandbox.archive(name))
}

/// Makes a backup with the parent and one without; they are the same. Its record.
pub(crate) fn both(sandbox: &Sandbox, tree: &str, name: &str, flags: &str) -> Value {
    let with = sandbox.ok(&format!(
        "bk-create --shrink-warn 0 {flags} --name {name} {tree}"
    ));
    assert_eq!(with.stderr, "");
    sandbox.ok(&format!("bk-create --no-parent --name {name}-all {tree}; rm -f home/manifests/$(bk-ls --json {name}-all | jq -r .backup_hash).parquet"));
    let all = format!("{name}-all");
    assert!(rest_of(sandbox, name) == rest_of(sandbox, &all), "{name}");
    sandbox.ok(&format!("bk-rm {all}"));
    with.record()
}

#[test]
fn whatever_happened_the_archive_is_that_which_is_made_without_a_parent() {
    let sandbox = Sandbox::new();
    let trees = 12 / stride(12);
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
pub(crate) fn with_parent() -> Sandbox {
    let sandbox = Sandbox::new();
    plant(&sandbox, "tree", 1);
    sleep(UNSURE);
    sandbox.ok("bk-create --name p tree");
    sandbox
}

fn manifest_of(sandbox: &Sandbox, name: &str) -> PathBuf {
    let hash = sandbox.ok(&format!("bk-ls --json {name}")).record()["backup_hash"].clone();
    sandbox
        .home()
        .join(format!("manifests/{}.parquet", hash.as_str().unwrap()))
}

pub(crate) fn new_bytes(record: &Value) -> u64 {
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
        .ok("strace -f --seccomp-bpf -qqq -o trace -e trace=openat bk-create --name a tree")
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

/// What was left out of the parent is in the next one, and the other way round.
#[test]
fn other_excludes_than_those_of_the_parent_change_nothing() {
    let sandbox = with_parent();
    sandbox.ok("mkdir tree/d1/e1/.no; touch tree/d1/e1/.no/in tree/d3/e4/.no; ln tree/d2/e1/f7 tree/d3/e4/link");
    let mut parent = "p".to_owned();
    for (number, tree) in [
        "--exclude-if-present .no tree",
        "tree",
        "--exclude-larger 10K --exclude 'D2' --ignore-case-excludes tree",
        "--exclude-larger 20K --exclude-if-present f42 tree",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("a{number}");
        let record = both(&sandbox, tree, &name, "");
        assert_eq!(record["backup_metadata"]["parent"], parent, "{tree}");
        let size = record["backup_size"].as_u64().unwrap();
        assert!(number > 1 || new_bytes(&record) < size / 2, "{record}");
        parent = name;
    }
}

#[test]
fn a_large_file_that_changed_in_part_is_compressed_in_part() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("tree")).unwrap();
    fs::write(sandbox.path("tree/large"), noise(1, 9_000_000)).unwrap();
    sleep(UNSURE);
    sandbox.ok("bk-create --name p tree");
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
    sandbox.ok("bk-create --parent p --ignore-ctime --name b tree; rm -r out; mkdir out; tar -xzf home/archives/b.tar.gz -C out; cmp out/tree/d0/e0/f0 old");
}

#[test]
fn what_changed_just_before_the_parent_is_read_again() {
    let sandbox = Sandbox::new();
    plant(&sandbox, "tree", 1);
    sandbox.ok("bk-create --name p tree");
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
    let ran = sandbox.ok("bk-create --name a tree");
    let reason =
        format!("'p' is no parent any more: a member (at byte {first} of the file) is damaged");
    ran.fails(
        0,
        &format!("bk-create: warning: {reason}; the sources are read instead\n"),
    );
    let events = sandbox.ok("bk-log a").records();
    assert_eq!(events[0]["details"]["parent_lost"], reason);
    sandbox.ok("bk-create --no-parent --name b tree");
    assert!(rest_of(&sandbox, "a") == rest_of(&sandbox, "b"));
}

#[test]
fn a_manifest_that_is_not_as_it_was_written_is_not_used() {
    let sandbox = with_parent();
    let manifest = manifest_of(&sandbox, "p");
    let honest = fs::read(&manifest).unwrap();
    let place = manifest.display();
    fs::write(sandbox.path("tree/d0/e0/f0"), "other").unwrap();
    sandbox.ok("bk-create --no-parent --name other tree");
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
        let ran = sandbox.ok(&format!("bk-create --name {name} tree"));
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
    // Of many archives that are missing, no manifest is opened: that would take long.
    let archive = sandbox.path("home/archives/p.tar.gz");
    fs::rename(&archive, sandbox.path("away")).unwrap();
    assert_eq!(
        sandbox.ok("bk-create --name none tree; bk-rm none").stderr,
        ""
    );
    fs::rename(sandbox.path("away"), &archive).unwrap();
    fs::remove_file(&manifest).unwrap();
    let ran = sandbox.ok("bk-create --name none tree");
    assert_eq!(
        (
            ran.stderr.as_str(),
            &ran.record()["backup_metadata"]["parent"]
        ),
        ("", &Value::Null)
    );
}

#[test]
fn a_fifo_in_the_place_of_an_archive_is_no_parent() {
    let sandbox = with_parent();
    let ran = sandbox.ok(
        "cd home/archives; rm p.tar.gz; mkfifo p.tar.gz; cd ../..; timeout -s KILL 20 bk-create --name a tree",
    );
    let archive = sandbox.path("home/archives/p.tar.gz");
    ran.fails(
        0,
        &format!(
            "bk-create: warning: 'p' cannot be the parent: '{}' has 0 bytes, which is not its size\n",
            archive.display()
        ),
    );
}

#[test]
fn who_may_be_the_parent() {
    let sandbox = with_parent();
    let parent = |flags: &str| {
        let record = sandbox
            .ok(&format!("bk-create {flags} --name a tree"))
            .record();
        sandbox.ok("bk-rm a");
        record["backup_metadata"]["parent"].clone()
    };
    assert_eq!(parent(""), "p");
    assert_eq!(parent("--parent 1"), "p");
    for flags in ["--no-parent", "--level 1", "--level 1 --parent p"] {
        assert_eq!(parent(flags), Value::Null, "{flags}");
    }
    let ran = sandbox.run("bk-create --level 1 --parent p --name a tree; bk-rm a");
    assert!(
        ran.stderr.starts_with(
            "bk-create: warning: 'p' cannot be the parent: it has another compression, or its archive or its manifest is missing\n"
        ),
        "{ran:#?}"
    );
    let ran = sandbox.run("bk-create --estimate --name p tree");
    let taken = "bk-create: cannot create 'p': the name is taken, ";
    assert!(ran.status == 1 && ran.stderr.starts_with(taken), "{ran:#?}");
    // Of other sources, or of a time to come.
    assert_eq!(
        sandbox.ok("bk-create --name x tree/d0").record()["backup_metadata"]["parent"],
        Value::Null
    );
    sandbox.run("bk-create --parent x --name y tree").fails(
        1,
        "bk-create: cannot create 'y': 'x' cannot be the parent: it is no completed backup of the same sources under the same names\n",
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
    sandbox.ok("bk-rm p; bk-create --name q tree; bk-set -d x q");
    let left: Vec<_> = fs::read_dir(manifest.parent().unwrap())
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    assert_eq!(left, [manifest_of(&sandbox, "q")]);
}

/// The end of one segment and the begin of the next are removed: what is left of both is held by
/// nobody for the whole of either.
#[test]
fn what_is_removed_across_two_segments_takes_nothing_else_away() {
    let sandbox = Sandbox::new();
    for number in 0..60 {
        let name = format!("tree/f{number:02}");
        fs::create_dir_all(sandbox.path("tree")).unwrap();
        fs::write(sandbox.path(&name), noise(number, 25_000)).unwrap();
    }
    sleep(UNSURE);
    sandbox.ok("bk-create --name p tree");
    let duckdb = duckdb::Connection::open_in_memory().unwrap();
    let manifest = manifest_of(&sandbox, "p");
    let sql = format!(
        "SELECT string_agg(path, ' ' ORDER BY path) FROM '{}' GROUP BY segment_offset ORDER BY segment_offset",
        manifest.display()
    );
    let mut statement = duckdb.prepare(&sql).unwrap();
    let segments = statement.query_map([], |row| row.get(0)).unwrap();
    let segments: Vec<String> = segments.map(Result::unwrap).collect();
    // The first one has the directory, which changes.
    let segments: Vec<Vec<&str>> = segments[1..]
        .iter()
        .map(|it| it.split(' ').collect())
        .collect();
    let pairs = segments.windows(2);
    let pairs: Vec<_> = pairs
        .filter(|it| it[0].len() > 1 && it[1].len() > 1)
        .collect();
    assert!(!pairs.is_empty(), "{segments:?}");
    sandbox.ok("cp -a tree kept");
    for pair in pairs {
        let [first, second] = pair else {
            unreachable!()
        };
        // As many go from the second as stay of the first.
        for stay in (1..first.len().min(second.len())).step_by(stride(4)) {
            let gone = [&first[stay..], &second[..stay]].concat().join(" ");
            sandbox.ok(&format!("rm {gone}"));
            both(&sandbox, "tree", "a", "--parent p");
            sandbox.ok("mkdir out; tar -xzf home/archives/a.tar.gz -C out; diff -r tree out/tree; rm -r out; bk-rm a");
            sandbox.ok(&format!(
                "for f in {gone}; do cp -p kept/${{f#tree/}} tree; done"
            ));
        }
    }
}

/// Names are in the headers: under others there is nothing to take over.
#[test]
fn a_backup_under_other_names_is_no_parent() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b $PWD/app");
    let parent = |typed: &str| sandbox.ok(typed).record()["backup_metadata"]["parent"].clone();
    assert_eq!(parent("bk-create --name c app"), "a");
    assert_eq!(parent("bk-create --name d $PWD/app"), "b");
}
