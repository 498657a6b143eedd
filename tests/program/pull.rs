//! What bk-pull brings back, prints and records, and what it refuses.
//!
//! What was encrypted is in pull_encrypted.rs, some files of a backup in pull_paths.rs, an S3 server in pull_s3.rs,
//! kills and failing calls in pull_crash.rs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::support::Ran;
use crate::support::pulled::{check_all_there, names, there, with_copies};
use crate::support::pushed::PLACE;
use serde_json::{Value, json};

#[test]
fn what_is_lost_is_brought_back_and_restored() {
    let sandbox = with_copies(&["a", "b", "c"]);
    sandbox.ok("rm home/archives/a.tar.gz home/archives/c.tar.gz; cp -a app app.kept");
    let line = "bk-ls --missing | bk-pull usb";
    let ran = sandbox.ok(line);
    assert_eq!(
        (names(&ran), &*ran.stderr),
        (vec!["a".into(), "c".into()], "")
    );
    check_all_there(&sandbox, &ran);
    let again = sandbox.ok(line);
    assert_eq!((&*again.stdout, &*again.stderr), ("", ""));
    sandbox.ok("bk-verify --deep a b c");
    // The whole pipe.
    sandbox.ok("rm home/archives/c.tar.gz app/config.toml");
    let ran = sandbox.ok(&format!("{line} | bk-restore --to-source"));
    assert_eq!(ran.record()["backup_name"], "c");
    sandbox.ok("diff -r app app.kept");
}

#[test]
fn the_record_is_printed_with_where_it_came_from_and_the_ledger_has_it() {
    let sandbox = with_copies(&["a"]);
    sandbox.ok("rm home/archives/a.tar.gz");
    let before = sandbox.records().remove(0);
    let ran =
        sandbox.ok(r#"echo '{"z":[1],"id":1,"pull":"no","backup_path":"/etc/x"}' | bk-pull usb"#);
    let record = ran.record();
    assert_eq!(
        (&before["file_status"], &record["file_status"]),
        (&json!("missing"), &json!("available"))
    );
    assert_eq!(record["z"], json!([1]));
    assert!(record["pull"]["seconds"].as_f64().unwrap() > 0.0);
    let mut told = record["pull"].clone();
    told.as_object_mut().unwrap().remove("seconds");
    let expected = json!({
        "location": "usb", "key": before["copies"][0]["key"], "path": before["backup_path"],
        "bytes": before["backup_size"], "encrypted": false
    });
    assert_eq!(told, expected);
    let row = sandbox.ok("bk-log --json --event pull").record();
    assert_eq!(
        (&row["outcome"], &row["backup_name"]),
        (&json!("ok"), &json!("a"))
    );
    assert_eq!(row["details"], record["pull"]);
    // Nothing but the file has changed.
    let mut after = sandbox.records().remove(0);
    after["file_status"] = "missing".into();
    assert_eq!(after, before);
    check_all_there(&sandbox, &ran);
}

#[test]
fn what_is_there_is_passed_on_as_it_is() {
    let sandbox = with_copies(&["a", "b"]);
    sandbox.ok("rm home/archives/b.tar.gz; rm -r place/web/archives/a-*");
    let written = || fs::metadata(sandbox.archive("a")).unwrap().mtime_nsec();
    let before = written();
    let ran = sandbox.ok("bk-pull usb a b 1 a");
    assert_eq!(
        (names(&ran), &*ran.stderr),
        (vec!["a".into(), "b".into()], "")
    );
    let pull = &ran.records()[0]["pull"];
    assert_eq!((&pull["bytes"], &pull["key"]), (&json!(0), &Value::Null));
    assert_eq!(written(), before);
    let rows = sandbox.ledger();
    let rows: Vec<_> = rows.iter().filter(|it| it.contains(" pull ")).collect();
    assert_eq!(rows, ["b pull ok"]);
    check_all_there(&sandbox, &ran);
    assert_eq!(sandbox.ok("bk-pull usb </dev/null").stdout, "");
}

#[test]
fn archives_come_to_another_directory_and_the_records_stay() {
    let sandbox = with_copies(&["a"]);
    sandbox.ok("BK_HOST=web bk-create --compression zstd --name z app; bk-push usb z; cp home/archives/z.tar.zst kept");
    let before = sandbox.records();
    let ran = sandbox.ok("bk-pull -C some/where usb a z");
    assert_eq!(ran.stderr, "");
    let path = sandbox.path("some/where/a.tar.gz");
    let records = ran.records();
    assert_eq!(records[0]["pull"]["path"], path.to_str().unwrap());
    assert_eq!(records[0]["backup_path"], before[0]["backup_path"]);
    sandbox.ok("diff -r -x .bk-storage some/where kept");
    assert_eq!(sandbox.records(), before);
    // Nothing is replaced, nor taken for what it is not.
    let again = sandbox.ok("bk-pull -C some/where usb a z");
    assert_eq!(again.records()[0]["pull"]["bytes"], 0);
    sandbox.ok("echo x >some/where/a.tar.gz");
    let size = &before[0]["backup_size"];
    let told = format!(
        "bk-pull: cannot bring 'a' from 'usb': '{}' is in the way: it has 2 bytes, and the archive {size}\n",
        path.display()
    );
    sandbox.run("bk-pull -C some/where usb a").fails(1, &told);
    assert_eq!(fs::read_to_string(path).unwrap(), "x\n");
}

#[test]
fn what_has_no_copy_there_is_told_with_who_has_one() {
    let sandbox = with_copies(&["a", "b", "c"]);
    sandbox.run("ulimit -f 8; trap '' XFSZ; bk-create --name failed app");
    sandbox.ok("bk-push --set --init empty file://$PWD/empty; bk-push --remove usb b c; rm home/archives/[abc].tar.gz");
    for name in ["nas", "s3"] {
        sandbox.location(name);
        sandbox.copy("c", name, "complete");
    }
    sandbox.copy("b", "nas", "complete");
    sandbox.copy("a", "empty", "failed");
    let ran = sandbox.run("bk-pull usb b c failed nobody a");
    ran.fails(
        1,
        "bk-pull: there is no backup 'nobody'\n\
         bk-pull: cannot bring 'b' from 'usb': it has no complete copy there, but 'nas' has one\n\
         bk-pull: cannot bring 'c' from 'usb': it has no complete copy there, but 'nas', 's3' have one\n\
         bk-pull: cannot bring 'failed' from 'usb': it failed and has no archive\n",
    );
    assert_eq!(names(&ran), ["a"]);
    sandbox.ok("bk-push --remove usb a; rm home/archives/a.tar.gz");
    let told = "bk-pull: cannot bring 'a' from 'empty': it has no complete copy there, and no other location has one\n";
    sandbox.run("bk-pull empty a").fails(1, told);
    let told = "bk-pull: there is no location 'offsite': use empty, nas, s3 or usb\n";
    sandbox.run("bk-pull offsite a").fails(2, told);
}

#[test]
fn what_is_in_the_way_stays() {
    let sandbox = with_copies(&["other", "link", "directory", "fine"]);
    sandbox.ok("rm home/archives/*.tar.gz; mkdir home/archives/directory.tar.gz; echo x >home/archives/other.tar.gz");
    symlink("/etc/passwd", sandbox.archive("link")).unwrap();
    let ran = sandbox.run("bk-pull usb other link directory fine");
    let size = sandbox.ok("bk-ls --json other").record()["backup_size"].clone();
    let told = |name: &str, why: &str| {
        let path = sandbox.archive(name).display().to_string();
        format!("bk-pull: cannot bring '{name}' from 'usb': '{path}' is in the way: {why}\n")
    };
    let told = [
        told("other", &format!("it has 2 bytes, and the archive {size}")),
        told("link", "it is a symbolic link"),
        told("directory", "it is no regular file"),
    ];
    ran.fails(1, &told.concat());
    assert_eq!(names(&ran), ["fine"]);
    assert_eq!(
        there(&sandbox),
        [
            "directory.tar.gz",
            "fine.tar.gz",
            "link.tar.gz",
            "other.tar.gz"
        ]
    );
}

#[test]
fn a_copy_that_is_damaged_leaves_nothing_and_keeps_no_other_from_coming() {
    let sandbox = with_copies(&["flipped", "cut", "longer", "gone", "fine"]);
    sandbox.ok("rm home/archives/*.tar.gz; cd place/web/archives
         truncate -s -1 cut-*.gz; echo >>$(ls longer-*.gz); rm gone-*.gz");
    sandbox.flip(sandbox.object("flipped"), 500);
    let ran = sandbox.run("bk-pull usb flipped cut longer gone fine");
    let key = |id: usize| {
        sandbox.records()[id - 1]["copies"][0]["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let remedy =
        |id: usize| format!("'bk-push --check --read 100% usb {id}' tells and records that");
    let place = sandbox.path(PLACE).display().to_string();
    let reasons = [
        (
            "flipped",
            format!(
                "'{}' at 'usb' has another SHA-256 than it should have: {}",
                key(1),
                remedy(1)
            ),
        ),
        (
            "cut",
            format!(
                "'{}' at 'usb' has another SHA-256 than it should have: {}",
                key(2),
                remedy(2)
            ),
        ),
        (
            "longer",
            format!(
                "'{}' at 'usb' is larger than it should be: {}",
                key(3),
                remedy(3)
            ),
        ),
        (
            "gone",
            format!(
                "'{}' at file://{place} is not there: 'bk-push --check usb' records that",
                key(4)
            ),
        ),
    ];
    let told = reasons
        .each_ref()
        .map(|(name, why)| format!("bk-pull: cannot bring '{name}' from 'usb': {why}\n"));
    ran.fails(1, &told.concat());
    assert_eq!(
        (names(&ran), there(&sandbox)),
        (vec!["fine".into()], vec!["fine.tar.gz".into()])
    );
    let ledger = sandbox.ledger();
    for (name, why) in reasons {
        let told = format!("{name} pull failed {why}");
        assert!(ledger.contains(&told), "{told} in {ledger:#?}");
    }
    // What is told to be done, is done.
    let ran = sandbox.run("bk-push --check --read 100% usb");
    assert_eq!(
        ran.stderr
            .lines()
            .filter(|it| it.contains(" is bad: "))
            .count(),
        4,
        "{ran:#?}"
    );
}

/// As the object is what was copied, and the record of another archive.
#[test]
fn a_copy_of_another_archive_is_not_taken_for_it() {
    let sandbox = with_copies(&["a"]);
    let other = "0".repeat(64);
    sandbox.ok("rm home/archives/a.tar.gz");
    sandbox.sql(&format!(
        "UPDATE backup_records SET backup_hash = '{other}'"
    ));
    let key = sandbox.records()[0]["copies"][0]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = format!(
        "bk-pull: cannot bring 'a' from 'usb': '{key}' at 'usb' is as it was copied, and not the archive of the record: its SHA-256 differs\n"
    );
    sandbox.run("bk-pull usb a").fails(1, &told);
    assert!(there(&sandbox).is_empty());
}

#[test]
fn a_place_that_is_not_there_is_told_once() {
    let sandbox = with_copies(&["a", "b", "c"]);
    sandbox.ok("rm home/archives/*.tar.gz; mv place elsewhere");
    let place = sandbox.path(PLACE).display().to_string();
    let ran = sandbox.run("bk-ls --missing | bk-pull usb");
    ran.fails(1, &format!(
        "bk-pull: cannot bring 'a' from 'usb': file://{place} is not there; mount it, or make the directory if this is a new place\n\
         bk-pull: 2 more backups are not brought from 'usb': mend that, and run it again\n"
    ));
    assert_eq!((&*ran.stdout, there(&sandbox).len()), ("", 0));
    sandbox.ok("mv elsewhere place; bk-ls --missing | bk-pull usb");
    check_all_there(&sandbox, &ran);
}

#[test]
fn a_dry_run_tells_what_would_come_and_brings_nothing() {
    let sandbox = with_copies(&["a", "b", "c"]);
    sandbox.ok("bk-push --remove usb c; rm home/archives/a.tar.gz home/archives/c.tar.gz");
    let ran = sandbox.run("bk-pull -n usb a b c");
    ran.fails(1, "bk-pull: cannot bring 'c' from 'usb': it has no complete copy there, and no other location has one\n");
    let told: Vec<_> = ran.records().iter().map(|it| it["pull"].clone()).collect();
    let records = sandbox.records();
    let expected = |at: usize, key: Value, bytes: Value| {
        let path = &records[at]["backup_path"];
        json!({ "location": "usb", "key": key, "path": path, "bytes": bytes, "dry_run": true })
    };
    let (key, size) = (
        records[0]["copies"][0]["key"].clone(),
        records[0]["backup_size"].clone(),
    );
    assert_eq!(
        told,
        [expected(0, key, size), expected(1, Value::Null, json!(0))]
    );
    assert_eq!(there(&sandbox), ["b.tar.gz"]);
    sandbox.ok("bk-pull -n -C some/where usb a; test ! -e some");
}

/// What cannot be reached is not gone, and gets no file.
#[test]
fn a_storage_that_is_not_mounted_is_told_once_and_gets_nothing() {
    let sandbox = with_copies(&["a", "b"]);
    sandbox.ok("mv home/archives away; mkdir home/archives");
    let dir = sandbox.path("home/archives").display().to_string();
    for line in ["bk-pull usb a b", "bk-pull -n usb a b"] {
        let ran = sandbox.run(line);
        let told = format!("bk-pull: the storage '{dir}' is not there: it has no '.bk-storage'; ");
        assert!(ran.status == 1 && ran.stderr.starts_with(&told), "{ran:#?}");
        assert_eq!(
            (ran.stderr.lines().count(), &*ran.stdout),
            (1, ""),
            "{ran:#?}"
        );
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    // Elsewhere it may go.
    sandbox.ok("bk-pull -C out usb a; cmp out/a.tar.gz kept/a.tar.gz");
}

/// As on a new machine: what is recorded is at a location alone.
#[test]
fn what_is_at_a_location_alone_comes_to_a_directory_that_is_made() {
    let sandbox = with_copies(&["a", "b"]);
    sandbox.ok("rm -r home/archives");
    sandbox.sql(
        "DELETE FROM storages;
         UPDATE backup_records SET backup_metadata = json_merge_patch(backup_metadata, '{\"remote\":\"usb\"}')",
    );
    let ran = sandbox.ok("bk-pull usb a");
    assert_eq!(ran.stderr, "");
    assert_eq!(ran.record()["backup_metadata"]["remote"], Value::Null);
    let mode = fs::metadata(sandbox.path("home/archives"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    let remote = |at: usize| sandbox.records()[at]["backup_metadata"]["remote"].clone();
    assert_eq!((remote(0), remote(1)), (Value::Null, json!("usb")));
    // It is a storage from now on.
    let id = fs::read_to_string(sandbox.path("home/archives/.bk-storage")).unwrap();
    sandbox.ok("mv home/archives away; mkdir home/archives");
    assert_eq!(sandbox.run("bk-pull usb b").status, 1);
    sandbox.ok("rmdir home/archives; mv away home/archives; bk-pull usb b");
    assert_eq!(
        fs::read_to_string(sandbox.path("home/archives/.bk-storage")).unwrap(),
        id
    );
    // One that somebody else has put there is no longer at a location alone.
    sandbox.sql("UPDATE backup_records SET backup_metadata = json_merge_patch(backup_metadata, '{\"remote\":\"usb\"}')");
    sandbox.ok("bk-pull usb a b");
    assert_eq!((remote(0), remote(1)), (Value::Null, Value::Null));
    assert_eq!(there(&sandbox), ["a.tar.gz", "b.tar.gz"]);
}

#[test]
fn two_at_once_bring_each_once() {
    let sandbox = with_copies(&["a", "b", "c"]);
    sandbox.ok("rm home/archives/*.tar.gz");
    let started: Vec<_> = (0..4).map(|_| sandbox.start("bk-pull usb a b c")).collect();
    let end = |child: std::process::Child| Ran::new("", child.wait_with_output().unwrap());
    let ran: Vec<_> = started.into_iter().map(end).collect();
    for it in &ran {
        for line in it.stderr.lines() {
            assert!(
                line.ends_with("another program is at work on it"),
                "{ran:#?}"
            );
        }
    }
    let rows = sandbox.ledger();
    let mut rows: Vec<_> = rows.iter().filter(|it| it.contains(" pull ok")).collect();
    rows.sort();
    assert_eq!(rows, ["a pull ok", "b pull ok", "c pull ok"]);
    check_all_there(&sandbox, &ran[0]);
}

#[test]
fn a_disk_that_is_too_small_is_told_before_anything_comes() {
    let Some(disk) = crate::support::disk::SmallDisk::new("40M") else {
        return;
    };
    disk.ok(
        "head -c 34M /dev/urandom >big; BK_HOST=web bk-create --level 1 --storage $PWD/disk/store --name big big >/dev/null
         bk-push --set --init usb file://$PWD/place; bk-push usb big >/dev/null
         mv disk/store/big.tar.gz kept; head -c 10M /dev/zero >disk/filler",
    );
    let ran = disk.run("bk-pull usb big");
    let store = disk.sandbox.path("disk/store").display().to_string();
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    let is_told = ran.stderr.starts_with("bk-pull: cannot bring 'big' from 'usb': 34.0 MiB are to be brought and 2.00 MiB to stay free there")
        && ran.stderr.contains(&format!("but '{store}' has "))
        && ran.stderr.ends_with(" free: make space, or bring it elsewhere with -C\n");
    assert!(is_told && ran.stderr.lines().count() == 1, "{ran:#?}");
    disk.ok("rm disk/filler; bk-pull usb big; cmp kept disk/store/big.tar.gz; test $(ls disk/store | wc -l) = 1");
}

#[test]
fn mistakes_are_told_before_anything_is_done() {
    let sandbox = with_copies(&["a"]);
    for (line, told) in [
        (
            "bk-pull",
            "no location given: it is the first operand; 'bk-push --list' lists them",
        ),
        (
            "bk-pull --stdout usb a",
            "--stdout goes with --path, or with lines that tell paths",
        ),
        (
            "bk-pull usb a -",
            "'-' must be the only operand: it reads standard input",
        ),
        (
            "echo x | bk-pull usb",
            "bad input: line 1: it is not JSON (column 1): a name alone stands in double quotes",
        ),
    ] {
        let told = format!("bk-pull: {told}\n");
        let ran = sandbox.run(line);
        assert!(
            ran.status == 2 && ran.stderr.starts_with(told.trim_end()),
            "{ran:#?}"
        );
    }
}
