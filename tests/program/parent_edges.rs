//! What a backup takes over from its parent where segments end, and who could not see or open all.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;

use serde_json::Value;

use crate::program::parent::{FILES, UNSURE, both, new_bytes, rest_of, with_parent};
use crate::support::changes::noise;
use crate::support::{Sandbox, compared, has, stride};

/// A tree of one file of 10 kB before a large one, which both are segments of their own: only what
/// comes next ends the first.
fn before_large() -> Sandbox {
    let sandbox = Sandbox::new();
    // Where a member ends is told by the name: few names end one of 10 kB.
    sandbox.ok("chmod 755 .; mkdir -p tree/a tree/b");
    fs::write(sandbox.path("tree/a/large"), noise(1, 1_100_000)).unwrap();
    for (number, name) in ["b/f1", "b/f2", "b/f3", "b/g1", "b/g2"].iter().enumerate() {
        fs::write(sandbox.path("tree").join(name), noise(number, 10_000)).unwrap();
    }
    fs::write(sandbox.path("tree/b/f9"), noise(9, 1_200_000)).unwrap();
    sleep(UNSURE);
    sandbox
}

#[test]
fn a_hard_link_to_a_large_file_ends_no_segment() {
    let sandbox = before_large();
    // The directory stays the same, so that what comes before can be taken over.
    sandbox.ok("touch -r tree/b time; bk-create --name p tree; ln -f tree/a/large tree/b/f9; touch -r time tree/b");
    both(&sandbox, "tree", "a", "--ignore-ctime");
    let flags = "--ignore-ctime --compression zstd";
    sandbox.ok("bk-rm p a; rm tree/b/f9; head -c 2000000 /dev/urandom >tree/b/f9; touch -d 2001-01-01 tree/b/f9; touch -r time tree/b");
    sandbox.ok("bk-create --compression zstd --name p tree; ln -f tree/a/large tree/b/f9; touch -r time tree/b");
    sandbox.ok(&format!(
        "bk-create {flags} --name a tree; bk-create --no-parent {flags} --name b tree"
    ));
    let rest =
        |name: &str| compared::rest_of(&sandbox.home().join(format!("archives/{name}.tar.zst")));
    assert!(rest("a") == rest("b"));
}

#[test]
fn a_large_file_that_cannot_be_read_ends_no_segment() {
    if !has("setpriv") {
        return;
    }
    let sandbox = before_large();
    let unprivileged = "setpriv --bounding-set -dac_override,-dac_read_search";
    sandbox.ok(&format!(
        "{unprivileged} bk-create --name p tree; chmod 0 tree/b/f9"
    ));
    for (name, flag) in [("a", "--parent p"), ("b", "--no-parent")] {
        let ran = sandbox.run(&format!(
            "{unprivileged} bk-create --shrink-warn 0 {flag} --name {name} tree"
        ));
        ran.fails(3, "bk-create: cannot read 'tree/b/f9': Permission denied\n");
    }
    assert!(rest_of(&sandbox, "a") == rest_of(&sandbox, "b"));
}

#[test]
fn damage_in_the_last_piece_is_told_too() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir tree");
    fs::write(sandbox.path("tree/large"), noise(1, 2_500_000)).unwrap();
    sleep(UNSURE);
    sandbox.ok("bk-create --name p tree; touch tree/large");
    let archive = sandbox.archive("p");
    let mut bytes = fs::read(&archive).unwrap();
    let at = bytes.len() - 10_000;
    bytes[at] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let ran = sandbox.ok("bk-create --name a tree");
    assert!(
        ran.stderr.contains("'p' is no parent any more: a member"),
        "{ran:#?}"
    );
    let events = sandbox.ok("bk-log a").records();
    assert!(
        events[0]["details"]["parent_lost"].is_string(),
        "{events:?}"
    );
    sandbox.ok("bk-create --no-parent --name b tree");
    assert!(rest_of(&sandbox, "a") == rest_of(&sandbox, "b"));
}

/// Its members are those of a file with holes, which has as many as one without.
#[test]
fn a_file_whose_holes_were_filled_is_read_again() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir tree; truncate -s 3000000 tree/large");
    for (at, bytes) in [(0, 1_400_000), (1_433_600, 1_450_000)] {
        fs::write(sandbox.path("part"), noise(at, bytes)).unwrap();
        sandbox.ok(&format!(
            "dd if=part of=tree/large bs=50k seek={} conv=notrunc status=none",
            at / 51_200
        ));
    }
    sandbox.ok("touch -d 2020-01-01 tree/large tree; bk-create --name p tree");
    sandbox.ok("cp --sparse=never --preserve=all tree/large filled; mv filled tree/large; touch -d 2020-01-01 tree");
    let archive = sandbox.archive("p");
    let mut bytes = fs::read(&archive).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&archive, bytes).unwrap();
    sandbox
        .ok("bk-create --ignore-ctime --ignore-inode --name a tree; bk-create --no-parent --name b tree");
    sandbox.ok("bk-restore -C out a; cmp tree/large out/tree/large");
    assert!(rest_of(&sandbox, "a") == rest_of(&sandbox, "b"));
}

#[test]
fn what_another_user_did_not_see_is_read_again() {
    let sandbox = with_parent();
    let tried = sandbox.run("setfattr -n trusted.note -v x tree/d0/e0/f0");
    if tried.status != 0 || !has("setpriv") {
        println!("skipped: no attributes of the name space 'trusted' here");
        return;
    }
    sandbox.ok("touch -r tree/d1 tree/d0; chmod -R a+rX .");
    sleep(UNSURE);
    let everybody = "setpriv --reuid 65534 --clear-groups env BK_HOME=$PWD/other/home";
    sandbox.ok(&format!(
        "mkdir -m 777 other; {everybody} bk-create --name p tree"
    ));
    sandbox.ok("chown -R 0:0 other");
    let record = sandbox
        .ok("BK_HOME=$PWD/other/home bk-create --name a tree")
        .record();
    sandbox.ok("BK_HOME=$PWD/other/home bk-create --no-parent --name b tree");
    let rest = |name: &str| {
        compared::rest_of(&sandbox.path(&format!("other/home/archives/{name}.tar.gz")))
    };
    assert!(rest("a") == rest("b"), "{record}");
}

/// A small file in each of many directories: they are held without being open.
#[test]
fn many_directories_are_taken_over_with_few_files_open() {
    let sandbox = Sandbox::new();
    sandbox.ok("for n in {1..1500}; do echo tree/p$((n % 40))/d$n; done | xargs mkdir -p; for n in {1..1500}; do echo $n >tree/p$((n % 40))/d$n/f; done");
    let gone = [
        ["tree/p9/d9/f", "tree/p3/d3", "tree/p30"],
        ["tree/p8/d8/f", "tree/p4/d4", "tree/p31"],
    ];
    for (compression, gone) in ["gzip", "zstd"].iter().zip(gone).step_by(stride(2)) {
        let flags = format!("--compression {compression}");
        let create = |name: &str, flags: &str| {
            let line = format!("ulimit -n 100; bk-create {flags} --name {name} tree");
            let ran = sandbox.ok(&line);
            assert_eq!(ran.stderr, "");
            ran.record()
        };
        let path = |record: &Value| PathBuf::from(record["backup_path"].as_str().unwrap());
        sleep(UNSURE);
        create("p", &flags);
        let record = create("a", &flags);
        // The end of the archive and its begin, and the seek table.
        let size = record["backup_size"].as_u64().unwrap();
        assert!(new_bytes(&record) < size / 20, "{record}");
        // What is held is read after all.
        for gone in gone {
            sandbox.ok(&format!("rm -r {gone}"));
            let with = create("b", &format!("{flags} --parent p"));
            let without = create("c", &format!("{flags} --no-parent"));
            let same = compared::rest_of(&path(&with)) == compared::rest_of(&path(&without));
            assert!(same, "{gone}: {with}");
            sandbox.ok("bk-rm b c");
        }
        sandbox.ok("bk-rm p a");
    }
}

/// It is no entry, so it parts nothing.
#[test]
fn what_stands_beside_a_socket_is_taken_over() {
    let sandbox = with_parent();
    for number in (0..FILES).step_by(9) {
        let dir = format!("tree/d{}/e{}", number % 5, number / 5 % 7);
        let path = sandbox.path(&dir).join(format!("f{number}s"));
        drop(std::os::unix::net::UnixListener::bind(path));
    }
    sleep(UNSURE);
    let create = |name: &str, flags: &str| {
        let ran = sandbox.run(&format!("bk-create {flags} --name {name} tree 2>/dev/null"));
        assert_eq!(ran.status, 0);
        ran.record()
    };
    create("q", "");
    let record = create("a", "");
    assert!(
        new_bytes(&record) < record["backup_size"].as_u64().unwrap() / 20,
        "{record}"
    );
    create("b", "--no-parent");
    assert!(rest_of(&sandbox, "a") == rest_of(&sandbox, "b"));
}

#[test]
fn the_table_of_what_was_made_tells_what_is_new() {
    let sandbox = with_parent();
    let table = sandbox.ok("bk-create --table --name a tree").stdout;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    let head = [
        "ID", "TYPE", "CREATED", "VERSION", "SIZE", "NEW", "PARENT", "SOURCE",
    ];
    assert_eq!(rows[0], head);
    // Sizes have units, and times are dates too.
    assert_eq!(rows[1][9], "p", "{table}");
    assert!(rows[1][10].ends_with("/tree"), "{table}");
    let detail = sandbox.ok("bk-ls -l --table a").stdout;
    let record = sandbox.ok("bk-ls --json a").record();
    let line = format!("new bytes         {} (", new_bytes(&record));
    assert!(
        detail.contains(&line) && detail.contains("\nparent            p\n"),
        "{detail}"
    );
    let statistics = sandbox.ok("bk-log --stats --event create --json").record();
    let size = |name: &str| {
        sandbox.ok(&format!("bk-ls --json {name}")).record()["backup_size"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(statistics["new_bytes"], size("p") + new_bytes(&record));
    assert_eq!(statistics["total_bytes"], size("p") + size("a"));
}
