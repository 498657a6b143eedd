//! bk-mv: files and records move together, within a file system and to another one.
//!
//! What crashes and failures leave is in mv_faults.rs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::{Ran, Sandbox, files_in, has};
use serde_json::Value;

/// A directory in another file system than the sandbox, removed when it is dropped; `None`, and
/// a word of it, where there is no such file system.
fn elsewhere(sandbox: &Sandbox) -> Option<tempfile::TempDir> {
    let shm = tempfile::Builder::new()
        .prefix("bk-test-")
        .tempdir_in("/dev/shm");
    let device = |path: &Path| path.metadata().unwrap().dev();
    let other = shm
        .ok()
        .filter(|dir| device(dir.path()) != device(&sandbox.path("")));
    if other.is_none() {
        println!("skipped: /dev/shm is no other file system");
    }
    other
}

/// A sandbox with the backups `a` and `b`.
fn two() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b app");
    sandbox
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Asserts that every record is completed, its archive where it says and whole, and no other
/// file in `dirs`.
fn assert_whole(sandbox: &Sandbox, dirs: &[&str]) {
    let ran = sandbox.run("bk-verify --all");
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
    let mut known: Vec<_> = sandbox.records().iter().map(path_of).collect();
    for record in sandbox.records() {
        assert_eq!(record["status"], "completed", "{record}");
        assert_eq!(record["backup_metadata"]["moving"], Value::Null, "{record}");
    }
    let mut files: Vec<_> = dirs
        .iter()
        .flat_map(|dir| files_in(&sandbox.path(dir)))
        .map(|file| text(&file))
        .collect();
    known.sort();
    files.sort();
    assert_eq!(files, known);
}

fn path_of(record: &Value) -> String {
    record["backup_path"].as_str().unwrap().to_owned()
}

fn assert_moved(ran: &Ran, count: usize, how: &str) {
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
    let records = ran.records();
    assert_eq!(records.len(), count, "{ran:#?}");
    for record in records {
        assert_eq!(record["move"]["how"], how, "{record}");
        assert_eq!(record["move"]["to"], record["backup_path"], "{record}");
        assert_eq!(record["file_status"], "available", "{record}");
    }
}

#[test]
fn an_archive_is_renamed_and_its_record_follows() {
    let sandbox = two();
    let inode = sandbox.archive("a").metadata().unwrap().ino();
    let ran = sandbox.run("bk-mv a new/deep");
    assert_moved(&ran, 1, "rename");
    let moved = sandbox.path("new/deep/a.tar.gz");
    assert_eq!(path_of(&ran.record()), text(&moved));
    assert_eq!(ran.record()["move"]["from"], text(&sandbox.archive("a")));
    assert_eq!(moved.metadata().unwrap().ino(), inode);
    for dir in ["new", "new/deep"] {
        let mode = sandbox.path(dir).metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o700, "{dir}");
    }
    assert_whole(&sandbox, &["home/archives", "new/deep"]);
    let events = sandbox.ledger();
    assert!(events.contains(&"a move ok".to_owned()), "{events:?}");
    sandbox.ok("bk-restore -C out a");
}

#[test]
fn lines_name_the_backups_and_their_keys_pass_through() {
    let sandbox = two();
    let other = sandbox.write("other", "not ours\n");
    let line = format!(
        r#"{{"id":1,"note":7,"move":1,"backup_path":"{}"}}"#,
        other.display()
    );
    let ran = sandbox.run(&format!(
        r#"printf '%s\n' '{line}' '"b"' | bk-mv new && test -s other"#
    ));
    assert_moved(&ran, 2, "rename");
    assert_eq!(ran.records()[0]["note"], 7);
    let ran = sandbox.run("bk-ls | bk-mv - old");
    assert_moved(&ran, 2, "rename");
    let ran = sandbox.run("echo '{\"id\":1}{' | bk-mv new");
    ran.fails(2, "bk-mv: bad input: line 1: it is not JSON (column 9)\n");
    let ran = sandbox.ok("bk-mv nowhere </dev/null");
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
    assert!(!sandbox.path("nowhere").exists() && !sandbox.path("new/a.tar.gz").exists());
    assert_whole(&sandbox, &["home/archives", "new", "old"]);
}

#[test]
fn mistakes_do_nothing() {
    let sandbox = two();
    for (typed, stderr) in [
        ("bk-mv", "no directory given: it is the last operand"),
        ("bk-mv --all", "--all takes one operand, the directory"),
        (
            "bk-mv --all a new",
            "--all takes one operand, the directory",
        ),
        (
            "bk-mv a - new",
            "'-' must be the only operand: it reads standard input",
        ),
        (
            "bk-mv a b",
            "'b' is a backup, and there is no such directory: name the directory last; './b' makes it",
        ),
        (
            "bk-mv a",
            "'a' is a backup, and there is no such directory: name the directory last; './a' makes it",
        ),
        (
            "bk-mv 1 2",
            "'2' is a backup, and there is no such directory: name the directory last; './2' makes it",
        ),
        (
            "bk-mv a no/../new",
            "no directory: 'no/../new': No such file or directory",
        ),
        (
            "bk-mv --reserve x a new",
            "--reserve: invalid size 'x': use a number with K, M, G, T or P, such as 500M",
        ),
    ] {
        let ran = sandbox.run(typed);
        assert_eq!(ran.status, 2, "{ran:#?}");
        if !typed.contains("--reserve") {
            ran.fails(2, &format!("bk-mv: {stderr}\n"));
        }
    }
    let ran = sandbox.run("bk-mv a $'new\\xff'");
    assert_eq!(ran.status, 2);
    assert!(
        ran.stderr
            .ends_with("is not UTF-8: the paths in the catalog are text\n")
    );
    let dir = text(&sandbox.path("app/config.toml"));
    sandbox.run("bk-mv a app/config.toml").fails(
        1,
        &format!("bk-mv: cannot make the storage directory '{dir}': Not a directory\n"),
    );
    assert_eq!(sandbox.ok("ls").stdout, "app\nhome\n");
    assert_whole(&sandbox, &["home/archives"]);
    let empty = Sandbox::new();
    let ran = empty.run("bk-mv a new");
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("there is no catalog"), "{ran:#?}");
    assert_eq!(empty.ok("ls").stdout, "");
}

#[test]
fn what_cannot_move_is_told_and_the_rest_moves() {
    let sandbox = two();
    sandbox.ok(
        "bk-create --name c app; bk-create --name d app; bk-create --name e app; rm home/archives/c.tar.gz",
    );
    sandbox.sql("UPDATE backup_records SET status = 'failed' WHERE backup_name = 'd'");
    sandbox.ok("mkdir new; head -c $(stat -c %s home/archives/e.tar.gz) /dev/zero >new/e.tar.gz");
    let dir = text(&sandbox.path(""));
    let ran = sandbox.run("bk-mv nobody a c d e b a new");
    ran.fails(
        1,
        &format!(
            "bk-mv: there is no backup 'nobody'
bk-mv: cannot move 'e': '{dir}new/e.tar.gz' is there already, and bk-mv takes no file for the archive: where it is a copy, 'bk-adopt --relink {dir}new' finds it once '{dir}home/archives/e.tar.gz' is moved aside
bk-mv: cannot move 'c': its archive '{dir}home/archives/c.tar.gz' is missing
bk-mv: cannot move 'd': it failed and has no archive\n"
        ),
    );
    let names: Vec<_> = ran
        .records()
        .iter()
        .map(|it| it["backup_name"].clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert!(
        fs::read(sandbox.path("new/e.tar.gz"))
            .unwrap()
            .iter()
            .all(|it| *it == 0)
    );
    let reason = format!("its archive '{dir}home/archives/c.tar.gz' is missing");
    assert!(
        sandbox
            .ledger()
            .contains(&format!("c move failed {reason}"))
    );
}

#[test]
fn where_it_already_is_nothing_changes() {
    let sandbox = two();
    assert_moved(&sandbox.run("bk-mv a b home/archives/"), 2, "none");
    assert_moved(
        &sandbox.run("cd app; bk-mv a ../home/../home/archives"),
        1,
        "none",
    );
    assert!(!sandbox.ledger().iter().any(|it| it.contains("move")));
    // By another spelling the record is told, and the one file stays.
    let ran = sandbox.run("ln -s home/archives link; bk-mv a link");
    assert_moved(&ran, 1, "none");
    assert_eq!(path_of(&ran.record()), text(&sandbox.path("link/a.tar.gz")));
    sandbox.ok("bk-verify a b && bk-mv a home/archives");
    assert_whole(&sandbox, &["home/archives"]);
}

#[test]
fn two_backups_do_not_go_to_one_place() {
    let sandbox = two();
    sandbox.ok("bk-mv a one; mkdir two; bk-mv b two; mv two/b.tar.gz two/a.tar.gz");
    sandbox.sql("UPDATE backup_records SET backup_path = replace(backup_path, 'two/b', 'two/a')");
    let place = text(&sandbox.path("new/a.tar.gz"));
    let belongs = format!("bk-mv: cannot move 'b': '{place}' belongs to the backup 1 'a'\n");
    sandbox.run("bk-mv -n a b new").fails(1, &belongs);
    sandbox.run("bk-mv a b new").fails(1, &belongs);
    // Nor to that of one whose archive is missing.
    sandbox.ok("rm new/a.tar.gz");
    sandbox.run("bk-mv b new").fails(1, &belongs);
    assert_eq!(
        sandbox.ok("ls one two new").stdout,
        "new:\n\none:\n\ntwo:\na.tar.gz\n"
    );
}

#[test]
fn across_file_systems_the_copy_is_as_the_archive_was() {
    let sandbox = two();
    let Some(other) = elsewhere(&sandbox) else {
        return;
    };
    let old = sandbox.archive("a");
    sandbox.ok("chmod 640 home/archives/a.tar.gz; touch -d '2001-02-03 04:05:06.789' home/archives/a.tar.gz");
    let was = old.metadata().unwrap();
    let dir = text(other.path());
    let dry = sandbox.ok(&format!("bk-mv -n a {dir}"));
    assert_eq!(dry.record()["move"]["how"], "copy");
    assert_eq!(path_of(&dry.record()), text(&old));
    assert_moved(&sandbox.run(&format!("bk-mv a b {dir}")), 2, "copy");
    let is = other.path().join("a.tar.gz").metadata().unwrap();
    let facts = |it: &fs::Metadata| (it.mode(), it.uid(), it.mtime(), it.mtime_nsec(), it.len());
    assert_eq!(facts(&is), facts(&was));
    assert_whole(&sandbox, &["home/archives", &dir]);
    assert_moved(&sandbox.run("bk-mv b home/archives"), 1, "copy");
    assert_whole(&sandbox, &["home/archives", &dir]);
}

#[test]
fn all_moves_every_archive_and_later_backups_go_there_too() {
    let sandbox = two();
    sandbox.ok(
        "bk-create --name c --storage apart app; bk-create --name gone app; rm home/archives/gone.tar.gz",
    );
    let dry = sandbox.run("bk-mv -n --all new");
    assert_eq!((dry.status, dry.records().len()), (1, 3), "{dry:#?}");
    assert!(!sandbox.path("new").exists());
    let ran = sandbox.run("bk-mv --all new");
    let gone = text(&sandbox.archive("gone"));
    ran.fails(
        1,
        &format!("bk-mv: cannot move 'gone': its archive '{gone}' is missing\n"),
    );
    assert_eq!(ran.records().len(), 3);
    let new = sandbox.ok("bk-create --name later app").record();
    assert_eq!(path_of(&new), text(&sandbox.path("new/later.tar.gz")));
    // Once it is found again, the next run moves it too.
    sandbox.ok("cp new/c.tar.gz home/archives/gone.tar.gz");
    let ran = sandbox.ok("bk-mv --all new");
    assert_eq!(ran.records().len(), 5, "{ran:#?}");
    let events = sandbox.ledger();
    assert_eq!(
        events.iter().filter(|it| *it == "storage ok").count(),
        1,
        "{events:?}"
    );
}

/// The whole of it in a few sessions, not three a record.
#[test]
#[ignore = "half a minute: make test-long"]
fn a_thousand_small_archives_take_seconds() {
    let sandbox = two();
    sandbox.ok("cd home/archives; for n in $(seq 1000); do cp a.tar.gz many$n.tar.gz; done");
    sandbox.sql(
        "INSERT INTO backup_records SELECT nextval('backup_id'), 'many' || n, backup_type, status, source_version,
            replace(backup_path, '/a.tar', '/many' || n || '.tar'), backup_size, file_count, compression_type,
            backup_hash, description, backup_metadata, protected, created_at, expires_at
         FROM backup_records, range(1, 1001) AS r(n) WHERE backup_name = 'a'",
    );
    let began = std::time::Instant::now();
    let ran = sandbox.run("bk-ls | bk-mv new");
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    assert_moved(&ran, 1002, "rename");
    assert_whole(&sandbox, &["home/archives", "new"]);
    // With few open files the parts are smaller.
    assert_moved(
        &sandbox.run("ulimit -n 128; bk-ls | bk-mv old"),
        1002,
        "rename",
    );
    assert_whole(&sandbox, &["new", "old"]);
}

#[test]
fn a_table_is_for_people() {
    let sandbox = two();
    let ran = sandbox.ok("bk-mv --table a b new");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("ID"), "{ran:#?}");
    assert_eq!(lines.len(), 3);
    assert!(lines[1].contains(" rename  "), "{ran:#?}");
}

/// One of them moves it, and the others find it there or say who is at work on it.
#[test]
fn many_at_once_leave_each_archive_in_one_place() {
    if !has("jq") {
        return;
    }
    let sandbox = two();
    sandbox
        .ok("for n in $(seq 10); do echo '{\"sources\":[\"app\"]}'; done | bk-create - >/dev/null");
    let other = elsewhere(&sandbox);
    let there = other
        .as_ref()
        .map_or("away".to_owned(), |dir| text(dir.path()));
    let ran = sandbox.ok(&format!(
        "for round in 1 2 3; do
             bk-ls | bk-mv new >/dev/null 2>>err & bk-ls | bk-mv {there} >/dev/null 2>>err &
             bk-ls | bk-mv new >/dev/null 2>>err & bk-ls | bk-verify >/dev/null 2>>verify.err &
             wait
         done; sort err | sed \"s/'[^']*'/X/g\" | uniq; cat verify.err >&2"
    ));
    for line in ran.stdout.lines() {
        let known = [
            "another program is",
            "is missing",
            "belongs to",
            "is there already",
            "File exists",
        ];
        assert!(known.iter().any(|it| line.contains(it)), "{ran:#?}");
    }
    assert_eq!(ran.stderr, "", "{ran:#?}");
    sandbox.ok("bk-create --name last app");
    assert_whole(&sandbox, &["home/archives", "new", &there]);
}
