//! What bk-push puts into a location, prints and records, and what it refuses.
//!
//! The locations themselves are in push_locations.rs, an S3 server in push_s3.rs, kills and failing calls in
//! push_crash.rs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use crate::support::pushed::{PLACE, check_all_copied, check_complete};
use crate::support::{Ran, Sandbox};
use serde_json::{Value, json};

/// Backups of `app/`, made on the host `web`, and a place to copy them to.
fn with_backups(names: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_app();
    let request = |name: &&str| format!("{}\n", json!({ "sources": ["app"], "backup_name": name }));
    let requests: String = names.iter().map(request).collect();
    sandbox.write("requests", &requests);
    sandbox.ok("BK_HOST=web bk-create - <requests >/dev/null");
    sandbox.usb();
    sandbox
}

fn names(ran: &Ran) -> Vec<String> {
    let name = |it: &Value| it["backup_name"].as_str().unwrap().to_owned();
    ran.records().iter().map(name).collect()
}

/// What is in the place, below its root.
fn keys(sandbox: &Sandbox) -> Vec<String> {
    let root = sandbox.path(PLACE);
    let key = |path: std::path::PathBuf| {
        let key = path.strip_prefix(&root).unwrap();
        key.to_str().unwrap().to_owned()
    };
    sandbox.objects().into_iter().map(key).collect()
}

#[test]
fn the_archive_its_record_and_its_manifest_lie_in_the_location() {
    let sandbox = with_backups(&["a"]);
    let before = sandbox.records().remove(0);
    let ran = sandbox.ok("bk-push usb a");
    assert_eq!(ran.stderr, "");
    let stem = format!(
        "web/archives/a-{}",
        &before["backup_hash"].as_str().unwrap()[..12]
    );
    let all = ["json", "parquet", "tar.gz"].map(|ending| format!("{stem}.{ending}"));
    assert_eq!(keys(&sandbox), all);
    check_all_copied(&sandbox, "");
    let line = fs::read_to_string(sandbox.path(PLACE).join(&all[0])).unwrap();
    let mut expected = before.clone();
    expected["host"] = json!("web");
    expected["copy"] = json!({
        "key": all[2],
        "version_id": null,
        "size": before["backup_size"],
        "hash": before["backup_hash"],
        "recipients": [],
        "storage_class": null,
        "locked_until": null,
    });
    for of_bk_ls in ["file_status", "file_name", "copies"] {
        expected.as_object_mut().unwrap().remove(of_bk_ls);
    }
    let mut beside: Value = serde_json::from_str(&line).unwrap();
    let catalog = beside["catalog"].take();
    assert!(catalog.is_string(), "{line}");
    expected["catalog"] = Value::Null;
    assert_eq!(beside, expected);
    assert!(line.ends_with("}\n") && line.lines().count() == 1);
    for (path, mode) in [
        ("", 0o700),
        ("web", 0o700),
        ("web/archives", 0o700),
        (&*all[2], 0o600),
    ] {
        let told = fs::metadata(sandbox.path(PLACE).join(path)).unwrap();
        let is_ours = path.is_empty() || told.permissions().mode() & 0o7777 == mode;
        assert!(is_ours, "{path}: {told:?}");
    }
    // Without bk.
    sandbox.ok(&format!(
        "mkdir out; tar xzf {PLACE}/{} -C out; diff -r app out/app",
        all[2]
    ));
}

#[test]
fn the_record_is_printed_with_its_copy_and_the_ledger_has_it() {
    let sandbox = with_backups(&["a"]);
    let before = sandbox.records().remove(0);
    let ran = sandbox
        .ok(r#"echo '{"z":[1],"id":1,"copy":"no","backup_path":"/etc/passwd"}' | bk-push usb"#);
    let record = ran.record();
    let key = record["copies"][0]["key"].clone();
    assert_eq!(record["z"], json!([1]));
    assert_eq!(record["backup_path"], before["backup_path"]);
    assert!(record["copy"]["seconds"].as_f64().unwrap() > 0.0);
    let mut told = record["copy"].clone();
    told.as_object_mut().unwrap().remove("seconds");
    let bytes = &before["backup_size"];
    let expected = json!({ "location": "usb", "key": key, "bytes": bytes, "encrypted": false, "locked_until": null });
    assert_eq!(told, expected);
    // As bk-ls has it from now on.
    let after = sandbox.records().remove(0);
    assert_eq!(record["copies"], after["copies"]);
    let copy = &after["copies"][0];
    let at = copy["copied_at"].as_str().unwrap();
    assert!(at.starts_with("20") && at.ends_with('Z'), "{copy}");
    let expected = json!([{
        "location": "usb", "key": key, "version_id": null, "size": bytes, "hash": before["backup_hash"],
        "recipients": [], "storage_class": null, "locked_until": null, "status": "complete", "copied_at": at,
        "checked_at": null
    }]);
    assert_eq!(after["copies"], expected);
    let row = sandbox.ok("bk-log --json --event push").record();
    assert_eq!(
        (&row["outcome"], &row["backup_name"]),
        (&json!("ok"), &json!("a"))
    );
    assert_eq!(row["details"], record["copy"]);
}

#[test]
fn what_is_there_is_not_copied_again() {
    let sandbox = with_backups(&["a", "b"]);
    sandbox.ok("bk-push usb a");
    let object = sandbox.object("a");
    let written = || fs::metadata(&object).unwrap().modified().unwrap();
    let before = written();
    let ran = sandbox.ok("bk-push usb a b 1 a");
    assert_eq!((names(&ran), &*ran.stderr), (vec!["b".to_owned()], ""));
    assert_eq!(written(), before);
    let again = sandbox.ok("bk-ls | bk-push usb");
    assert_eq!((&*again.stdout, &*again.stderr), ("", ""));
    let pushes = sandbox.ledger();
    let pushes: Vec<_> = pushes.iter().filter(|it| it.contains(" push ")).collect();
    assert_eq!(pushes, ["a push ok", "b push ok"]);
    check_all_copied(&sandbox, "");
}

#[test]
fn what_lacks_a_copy_is_piped_in() {
    let sandbox = with_backups(&["a", "b", "c"]);
    sandbox.ok("bk-push usb b");
    let line = "bk-ls --without-copy usb | bk-push usb -";
    assert_eq!(names(&sandbox.ok(line)), ["a", "c"]);
    assert_eq!(sandbox.ok(line).stdout, "");
    check_all_copied(&sandbox, "");
}

/// What was copied stays known, and in its place, when the backup is removed.
#[test]
fn a_copy_outlives_its_backup() {
    let sandbox = with_backups(&["a"]);
    sandbox.ok("bk-push usb a");
    let object = sandbox.object("a");
    sandbox.ok("bk-rm a");
    assert!(object.exists());
    assert_eq!(sandbox.copies(), ["a usb complete"]);
    // Another one of that name is another object.
    sandbox.write("app/more", "more\n");
    sandbox.ok("BK_HOST=web bk-create --name a app; bk-push usb a");
    assert_eq!(sandbox.copies(), ["a usb complete", "a usb complete"]);
    assert_ne!(sandbox.object("a"), object);
}

#[test]
fn a_backup_of_another_host_and_one_that_is_zstd_have_their_own_keys() {
    let sandbox = with_backups(&["a"]);
    sandbox.ok("mkdir other; export BK_HOST=db/1 BK_HOME=$PWD/other; bk-create --compression zstd --name z app");
    sandbox.ok("bk-adopt other/archives/z.tar.zst; bk-push usb a z");
    let keys = keys(&sandbox);
    assert!(keys[0].starts_with("db_1/archives/z-"), "{keys:?}");
    assert!(keys.iter().any(|key| key.ends_with(".tar.zst")), "{keys:?}");
    assert!(
        keys.iter().any(|key| key.starts_with("web/archives/a-")),
        "{keys:?}"
    );
}

#[test]
fn names_of_any_letters_and_length_are_copied() {
    let long = "n".repeat(200);
    let sandbox = with_backups(&[
        "two words",
        "x$(touch PWNED)",
        "ü%41?#+",
        "back\\slash",
        &long,
    ]);
    let ran = sandbox.ok("bk-ls | bk-push usb");
    assert_eq!(ran.records().len(), 5);
    check_all_copied(&sandbox, "");
}

#[test]
fn a_dry_run_tells_what_would_be_copied_and_does_nothing() {
    let sandbox = with_backups(&["a", "b"]);
    sandbox.ok("bk-push usb a; cp home/catalog.duckdb before");
    sandbox.run("ulimit -f 8; trap '' XFSZ; bk-create --name failed app");
    let ran = sandbox.run("bk-push -n usb a b failed nobody");
    let told = "bk-push: there is no backup 'nobody'\n\
                bk-push: cannot copy 'failed' to 'usb': it failed and has no archive\n";
    ran.fails(1, told);
    let size = &sandbox.ok("bk-ls --json b").record()["backup_size"];
    let expected = json!({ "location": "usb", "bytes": size, "dry_run": true });
    assert_eq!(ran.record()["copy"], expected);
    assert_eq!(sandbox.copies(), ["a usb complete"]);
    assert!(keys(&sandbox).len() == 3 && sandbox.journals().is_empty());
}

/// One that is damaged, cut, missing or no backup at all does not keep the others from it.
#[test]
fn what_cannot_be_copied_is_told_and_recorded_and_the_rest_is_copied() {
    let sandbox = with_backups(&["damaged", "cut", "gone", "fine"]);
    sandbox.run("ulimit -f 8; trap '' XFSZ; bk-create --name failed app");
    sandbox.ok("cd home/archives; rm gone.tar.gz; truncate -s 100 cut.tar.gz");
    sandbox.flip("home/archives/damaged.tar.gz", 500);
    let ran = sandbox.run("bk-push usb damaged cut gone failed fine");
    let path = |name: &str| sandbox.archive(name).display().to_string();
    let size = &sandbox.ok("bk-ls --json cut").record()["backup_size"];
    let damaged = format!(
        "'{}' has another hash than its record: 'bk-verify' tells and records that",
        path("damaged")
    );
    let cut = format!(
        "'{}' has 100 bytes, and its record says {size}: 'bk-verify 2' records that",
        path("cut")
    );
    let gone = format!("cannot read '{}': No such file or directory", path("gone"));
    ran.fails(
        1,
        &format!(
            "bk-push: cannot copy 'damaged' to 'usb': {damaged}\n\
         bk-push: cannot copy 'cut' to 'usb': {cut}\n\
         bk-push: cannot copy 'gone' to 'usb': {gone}\n\
         bk-push: cannot copy 'failed' to 'usb': it failed and has no archive\n"
        ),
    );
    assert_eq!(names(&ran), ["fine"]);
    assert_eq!(
        sandbox.copies(),
        [
            "cut usb failed",
            "damaged usb failed",
            "fine usb complete",
            "gone usb failed"
        ]
    );
    let files = check_complete(&sandbox, &sandbox.records(), "");
    assert_eq!((sandbox.objects(), sandbox.journals().len()), (files, 0));
    let ledger = sandbox.ledger();
    for told in [
        format!("damaged push failed {damaged}"),
        format!("cut push failed {cut}"),
        "fine push ok".to_owned(),
    ] {
        assert!(ledger.contains(&told), "{told} in {ledger:#?}");
    }
    assert!(
        ledger.iter().any(|it| it.starts_with("gone push failed ")),
        "{ledger:#?}"
    );
}

/// A disk that is not mounted is no empty one.
#[test]
fn a_place_that_is_not_there_is_told_once_and_not_made() {
    let sandbox = with_backups(&["a", "b", "c"]);
    sandbox.ok("mv place away");
    let place = sandbox.path(PLACE).display().to_string();
    let ran = sandbox.run("bk-push usb a b c");
    ran.fails(1, &format!(
        "bk-push: cannot copy 'a' to 'usb': file://{place} is not there; mount it, or make the directory if this is a new place\n\
         bk-push: 2 more backups are not copied to 'usb': mend that, and run it again\n"
    ));
    assert_eq!(ran.stdout, "");
    assert!(!sandbox.path(PLACE).exists());
    assert_eq!(sandbox.copies(), ["a usb failed"]);
    assert!(sandbox.journals().is_empty());
    sandbox.ok("mv away place; bk-push usb a b c");
    check_all_copied(&sandbox, "");
}

#[test]
fn a_place_that_is_no_directory_is_told() {
    let sandbox = with_backups(&["a"]);
    sandbox.ok("rm -r place; echo x >place");
    let place = sandbox.path(PLACE).display().to_string();
    let told = format!("bk-push: file://{place}: it is no directory\n");
    sandbox.run("bk-push usb a").fails(1, &told);
    assert_eq!(fs::read_to_string(place).unwrap(), "x\n");
}

#[test]
fn two_at_once_copy_each_once() {
    let sandbox = with_backups(&["a", "b", "c"]);
    let started: Vec<_> = (0..4).map(|_| sandbox.start("bk-push usb a b c")).collect();
    let end = |child: std::process::Child| Ran::new("", child.wait_with_output().unwrap());
    let ran: Vec<_> = started.into_iter().map(end).collect();
    let mut all: Vec<_> = ran.iter().flat_map(names).collect();
    all.sort();
    assert_eq!(all, ["a", "b", "c"], "{ran:#?}");
    for it in &ran {
        for line in it.stderr.lines() {
            assert!(
                line.ends_with("another bk-push is at work on it"),
                "{ran:#?}"
            );
        }
        assert_eq!(it.status == 0, it.stderr.is_empty(), "{ran:#?}");
    }
    check_all_copied(&sandbox, "");
}

#[test]
fn one_that_another_is_at_work_on_is_left_to_it() {
    let sandbox = with_backups(&["a", "b"]);
    let ran =
        sandbox.run("mkdir home/uploads; exec 9>home/uploads/usb.1; flock -n 9; bk-push usb a b");
    ran.fails(
        1,
        "bk-push: cannot copy 'a' to 'usb': another bk-push is at work on it\n",
    );
    assert_eq!(names(&ran), ["b"]);
    assert_eq!(sandbox.copies(), ["b usb complete"]);
    // And the next one takes what that left.
    sandbox.ok("bk-push usb a b");
    check_all_copied(&sandbox, "");
}

#[test]
fn a_rate_is_kept_to() {
    let sandbox = Sandbox::new();
    sandbox.ok("head -c 3000000 /dev/urandom >big; bk-create --name big big");
    sandbox.usb();
    let began = Instant::now();
    let ran = sandbox.ok("bk-push --limit-rate 1M usb big");
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds > 2.0, "{seconds}");
    assert!(ran.record()["copy"]["seconds"].as_f64().unwrap() > 2.0);
    check_all_copied(&sandbox, "");
}

#[test]
fn a_table_tells_where_each_is() {
    let sandbox = with_backups(&["a", "b"]);
    let table = sandbox.ok("bk-push --table usb a b").stdout;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["ID", "SIZE", "SECONDS", "LOCATION", "SOURCE", "KEY"]
    );
    for (row, name) in rows[1..].iter().zip(["a", "b"]) {
        let key = row.last().unwrap();
        assert!(key.starts_with(&format!("web/archives/{name}-")), "{table}");
        assert_eq!((row[2], row[4]), ("KiB", "usb"), "{table}");
    }
}

#[test]
fn a_full_standard_output_stops_nothing_and_is_told() {
    if !fs::exists("/dev/full").unwrap() {
        return;
    }
    let sandbox = with_backups(&["a", "b"]);
    sandbox.run("bk-push usb a b >/dev/full").fails(
        1,
        "bk-push: cannot write to standard output: No space left on device\n",
    );
    check_all_copied(&sandbox, "");
}
