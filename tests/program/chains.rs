//! Backups, each the parent of the next, between which much happens to their sources: each archive is
//! the one that is made without a parent, and holds what the sources hold.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use crate::support::changes::{Change, apply, noise, wide_change};
use crate::support::compared::rest_of;
use crate::support::{Sandbox, has, mounts, stride};

/// So many backups one after the other.
const LENGTH: usize = 6;

/// What stays the same in a chain, and what may be another in each of its backups.
#[derive(Debug, Clone)]
struct Style {
    compression: &'static str,
    ignores: &'static str,
}

#[derive(Debug, Clone)]
struct Step {
    changes: Vec<Change>,
    sources: &'static str,
    /// By which archives differ that have the same entries.
    level: &'static str,
    filter: &'static str,
}

fn style() -> impl Strategy<Value = Style> {
    let compression = prop_oneof![Just("gzip"), Just("zstd")];
    let ignores = prop_oneof![
        2 => Just(""),
        1 => Just("--ignore-inode"),
        1 => Just("--ignore-ctime"),
        1 => Just("--ignore-inode --ignore-ctime"),
    ];
    (compression, ignores).prop_map(|(compression, ignores)| Style {
        compression,
        ignores,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let sources = prop_oneof![
        6 => Just("tree"),
        1 => Just("tree other"),
        1 => Just("other tree"),
        1 => Just("other tree/d1 tree"),
        1 => Just("tree/d1 tree/d2"),
    ];
    let level = prop_oneof![9 => Just(""), 1 => Just("1")];
    let filter = prop_oneof![
        6 => Just(""),
        1 => Just("--exclude 'f1*'"),
        1 => Just("--exclude tree/d1/e1 --exclude large"),
        1 => Just("--one-file-system"),
    ];
    let changes = prop::collection::vec(wide_change(), 0..8);
    (changes, sources, level, filter).prop_map(|(changes, sources, level, filter)| Step {
        changes,
        sources,
        level,
        filter,
    })
}

fn plant(sandbox: &Sandbox, seed: usize) -> PathBuf {
    let tree = sandbox.path("tree");
    for number in 0..160 {
        let dir = tree.join(format!("d{}/e{}", number % 4, number / 4 % 5));
        fs::create_dir_all(&dir).unwrap();
        let size = (seed * 31 + number * 7919) % [1000, 30_000, 60_000][number % 3];
        fs::write(dir.join(format!("f{number}")), noise(number + seed, size)).unwrap();
    }
    fs::write(tree.join("large"), noise(seed, 3_500_000)).unwrap();
    fs::write(tree.join("d1/large"), noise(seed + 1, 1_200_000)).unwrap();
    sandbox.ok("cp -a tree/d0 other; cd tree; truncate -s 3M holes; echo x >>holes; ln d0/e0/f0 zlink; ln d0/e1/f4 d2/f4; mkfifo fifo");
    tree
}

/// Makes a backup with a parent and one without, which are the same. The first one's record.
fn both(sandbox: &Sandbox, name: &str, parent: Option<&str>, line: &str) -> Value {
    let parent = parent.map(|it| format!("--parent {it}"));
    let parent = parent.unwrap_or_default();
    // Nobody is warned of globs that match nothing.
    let make = |name: &str, parent: &str| {
        sandbox.ok(&format!(
            "bk-create --shrink-warn 0 -t automatic --name {name} {parent} {line}"
        ))
    };
    let (with, without) = (make(name, &parent), make("all", "--no-parent"));
    // That another compression makes no parent is told.
    let told = with.stderr.lines();
    let told: Vec<_> = told
        .filter(|it| !it.contains(" cannot be the parent: "))
        .collect();
    assert_eq!(told, without.stderr.lines().collect::<Vec<_>>());
    let (record, all) = (with.record(), without.record());
    let path = |record: &Value| PathBuf::from(record["backup_path"].as_str().unwrap());
    let is_same = rest_of(&path(&record)) == rest_of(&path(&all));
    assert!(is_same, "{name}: {line}");
    sandbox.ok("bk-rm all");
    record
}

/// What find(1) tells of all below a directory, and what the files hold.
fn facts(sandbox: &Sandbox, dir: &Path) -> String {
    let facts = r"find . ! -type s \( -type d -printf '%P %y %m %U:%G %T@\n' -o -printf '%P %y %m %U:%G %s %T@ %l %n\n' \)";
    let line = format!(
        "cd '{}' && {{ {facts}; find . -type f -print0 | xargs -0 sha256sum; }} | sort",
        dir.display()
    );
    sandbox.ok(&line).stdout
}

fn check_restored(sandbox: &Sandbox, record: &Value) {
    let path = record["backup_path"].as_str().unwrap();
    // Links from outside count.
    sandbox.ok(&format!("mkdir out; tar -xpf {path} -C out"));
    assert!(facts(sandbox, &sandbox.path("tree")) == facts(sandbox, &sandbox.path("out/tree")));
    sandbox.ok("rm -rf out");
}

fn run_chain(seed: usize) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(seed as u64).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let style = style().new_tree(&mut runner).unwrap().current();
    let sandbox = Sandbox::new();
    let tree = plant(&sandbox, seed);
    println!("chain {seed}: {style:?}");
    let mut newest: HashMap<&str, String> = HashMap::new();
    for number in 0..LENGTH {
        let step = step().new_tree(&mut runner).unwrap().current();
        println!("{number}: {step:?}");
        for change in &step.changes {
            if style.ignores.is_empty() || !change.is_hidden() {
                apply(&sandbox, &tree, change);
            }
        }
        let paths = step.sources.split(' ').map(|it| sandbox.path(it));
        if !paths.into_iter().all(|it| it.is_dir()) {
            continue;
        }
        let compression = match (style.compression, step.level) {
            ("zstd", "") => "--compression zstd".to_owned(),
            ("zstd", level) => format!("--compression zstd:{level}"),
            (_, "") => String::new(),
            (_, level) => format!("--level {level}"),
        };
        let (filter, sources) = (step.filter, step.sources);
        let line = format!("{compression} {} {filter} {sources}", style.ignores);
        let name = format!("b{number}");
        let same = sources.replace("other tree", "tree other");
        let parent = newest.get(&*same).cloned();
        let record = both(&sandbox, &name, parent.as_deref(), &line);
        let metadata = &record["backup_metadata"];
        println!("{} of {}", metadata["new_bytes"], record["backup_size"]);
        if filter.is_empty() && sources == "tree" {
            check_restored(&sandbox, &record);
        }
        // Nothing waits here until its changes are old enough. They are done before it is begun.
        sandbox.sql(&format!("UPDATE backup_records SET created_at = created_at + INTERVAL 3 SECOND WHERE backup_name = '{name}'"));
        newest.insert(
            match sources {
                "other tree" => "tree other",
                sources => sources,
            },
            name,
        );
    }
}

/// A seed of one's own finds what these do not: `BK_TESTS_SEED=5000 make test-long`.
fn run_chains(part: usize) {
    if !has("setfacl") || !has("fallocate") {
        return;
    }
    let first = std::env::var("BK_TESTS_SEED").ok();
    let first: usize = first.map_or(0, |it| it.parse().unwrap());
    for seed in (0..40).step_by(stride(40)) {
        run_chain(first + part * 40 + seed);
    }
}

#[test]
fn in_a_chain_each_archive_is_that_which_is_made_without_a_parent() {
    run_chains(0);
}

#[test]
fn in_another_chain_too() {
    run_chains(1);
}

#[test]
fn what_is_mounted_meanwhile_is_no_part_of_it_or_all_of_it() {
    let sandbox = Sandbox::new();
    plant(&sandbox, 1);
    let later = |name: &str| {
        sandbox.sql(&format!("UPDATE backup_records SET created_at = created_at + INTERVAL 3 SECOND WHERE backup_name = '{name}'"));
    };
    both(&sandbox, "a", None, "tree");
    later("a");
    let Some(mount) = mounts::tmpfs(&sandbox, "tree/d1", "size=4M") else {
        return;
    };
    sandbox.ok("cp -a other/. tree/d1");
    both(&sandbox, "b", Some("a"), "--one-file-system tree");
    both(&sandbox, "c", Some("a"), "tree");
    later("c");
    drop(mount);
    both(&sandbox, "d", Some("c"), "--ignore-inode tree");
    both(&sandbox, "e", Some("a"), "tree");
}
