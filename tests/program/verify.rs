//! bk-verify: each problem by its code, what is kept of a verification, which backups a round takes.

use std::fs;

use crate::support::{Ran, Sandbox};

/// A sandbox with the backup `a` of `app/`.
fn one() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    sandbox
}

/// Makes the record of `a` agree with its archive, as far as size and hash go.
fn agree(sandbox: &Sandbox) {
    let path = sandbox.archive("a");
    sandbox.sql(&format!(
        "UPDATE backup_records SET backup_size = told.size, backup_hash = told.hash
             FROM (SELECT size, sha256(content) AS hash FROM read_blob('{}')) told",
        path.display()
    ));
}

fn codes(ran: &Ran) -> Vec<String> {
    let problems = ran.record()["verify"]["problems"].clone();
    let problems = problems.as_array().unwrap().iter();
    problems
        .map(|it| it["code"].as_str().unwrap().to_owned())
        .collect()
}

/// Asserts what is found at a level, on stderr to the letter.
fn finds(sandbox: &Sandbox, flags: &str, found: &[&str], reasons: &[&str]) {
    let ran = sandbox.run(&format!("bk-verify {flags} a"));
    assert_eq!(ran.status, i32::from(!found.is_empty()), "{ran:#?}");
    assert_eq!(codes(&ran), found, "{ran:#?}");
    let dir = sandbox.archive("a");
    let dir = dir.parent().unwrap().display().to_string();
    let lines: Vec<_> = reasons
        .iter()
        .map(|it| format!("bk-verify: 'a' is bad: {it}\n"))
        .collect();
    let hash = regex::Regex::new("[0-9a-f]{64}").unwrap();
    let told = hash.replace_all(&ran.stderr, "HASH").replace(&dir, "DIR");
    assert_eq!(told, lines.concat(), "{ran:#?}");
    let verify = &ran.record()["verify"];
    assert_eq!(verify["ok"], found.is_empty());
    let reasons = verify["problems"].as_array().unwrap().iter();
    for reason in reasons {
        let reason = reason["reason"].as_str().unwrap();
        assert!(ran.stderr.contains(reason), "{ran:#?}");
    }
}

#[test]
fn a_whole_archive_is_ok_at_every_level() {
    let sandbox = one();
    let size = fs::metadata(sandbox.archive("a")).unwrap().len();
    for (flags, level) in [("--quick", "quick"), ("", "sha256"), ("--deep", "deep")] {
        let ran = sandbox.ok(&format!("bk-verify {flags} a"));
        let record = ran.record();
        let verify = &record["verify"];
        let keys: Vec<_> = verify.as_object().unwrap().keys().collect();
        let expected = ["level", "ok", "checked_at", "seconds", "bytes", "problems"];
        assert_eq!(keys, expected);
        assert_eq!(verify["level"], level);
        assert_eq!(verify["bytes"], size);
        assert_eq!(ran.stderr, "");
        let last = &record["backup_metadata"]["last_verified"];
        let kept = serde_json::json!({"at": verify["checked_at"], "level": level, "ok": true});
        assert_eq!(*last, kept);
        let listed = sandbox.records().remove(0);
        assert_eq!(listed["backup_metadata"]["last_verified"], kept);
    }
    assert_eq!(
        sandbox.ledger()[1..],
        ["a verify ok", "a verify ok", "a verify ok"]
    );
    finds(&sandbox, "", &[], &[]);
}

#[test]
fn missing() {
    let sandbox = one();
    fs::remove_file(sandbox.archive("a")).unwrap();
    for flags in ["--quick", "", "--deep"] {
        let reason = "its archive 'DIR/a.tar.gz' is missing";
        finds(&sandbox, flags, &["missing"], &[reason]);
    }
    let last = &sandbox.records()[0]["backup_metadata"]["last_verified"];
    assert_eq!(last["ok"], false, "{last}");
    assert_eq!(sandbox.ledger()[1], "a verify failed");
}

#[test]
fn unreadable() {
    let sandbox = one();
    fs::remove_file(sandbox.archive("a")).unwrap();
    std::os::unix::fs::symlink("a.tar.gz", sandbox.archive("a")).unwrap();
    for flags in ["--quick", "", "--deep"] {
        let reason = "its archive 'DIR/a.tar.gz' cannot be read: Too many levels of symbolic links";
        finds(&sandbox, flags, &["unreadable"], &[reason]);
    }
}

#[test]
fn size_and_hash_mismatch_and_trailing_bytes() {
    let sandbox = one();
    let size = fs::metadata(sandbox.archive("a")).unwrap().len();
    sandbox.ok("printf junk >>home/archives/a.tar.gz");
    let wrong_size = format!("its archive has {} bytes, the record says {size}", size + 4);
    let wrong_hash = "the SHA-256 of its archive is HASH, the record says HASH";
    let trailing =
        format!("bytes that are no gzip member follow the last one (at byte {size} of the file)");
    finds(&sandbox, "--quick", &["size-mismatch"], &[&wrong_size]);
    let both = ["size-mismatch", "hash-mismatch"];
    finds(&sandbox, "", &both, &[&wrong_size, wrong_hash]);
    let all = ["size-mismatch", "hash-mismatch", "trailing-bytes"];
    finds(
        &sandbox,
        "--deep",
        &all,
        &[&wrong_size, wrong_hash, &trailing],
    );
    agree(&sandbox);
    finds(&sandbox, "--deep", &["trailing-bytes"], &[&trailing]);
    sandbox.ok("cd home/archives; truncate -s -4 a.tar.gz; cat a.tar.gz >>b; cat b >>a.tar.gz");
    agree(&sandbox);
    let follows = format!("something follows the end of the archive (at byte {size} of the file)");
    finds(&sandbox, "--deep", &["trailing-bytes"], &[&follows]);
}

#[test]
fn truncated() {
    let sandbox = one();
    sandbox.ok("truncate -s -5 home/archives/a.tar.gz");
    agree(&sandbox);
    let ran = sandbox.run("bk-verify --deep a");
    assert_eq!(codes(&ran), ["truncated"]);
    assert!(
        ran.stderr
            .starts_with("bk-verify: 'a' is bad: the file ends within a member (at byte "),
        "{ran:#?}"
    );
    // Without its last member, which holds the end of the archive.
    let bytes = fs::read(sandbox.archive("a")).unwrap();
    let begins = bytes.windows(2).rposition(|it| it == b"\x1f\x8b").unwrap();
    fs::write(sandbox.archive("a"), &bytes[..begins]).unwrap();
    agree(&sandbox);
    let ran = sandbox.run("bk-verify --deep a");
    assert_eq!(codes(&ran), ["truncated"], "{ran:#?}");
    assert!(
        ran.stderr.contains("it ends before the end of the archive"),
        "{ran:#?}"
    );
}

#[test]
fn corrupt_member() {
    let sandbox = one();
    let mut bytes = fs::read(sandbox.archive("a")).unwrap();
    let first = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    let at = bytes.len() - 60;
    bytes[at] ^= 1;
    fs::write(sandbox.archive("a"), &bytes).unwrap();
    agree(&sandbox);
    let ran = sandbox.run("bk-verify --deep a");
    let record = ran.record();
    let problem = &record["verify"]["problems"][0];
    assert_eq!(problem["code"], "corrupt-member", "{ran:#?}");
    assert!(
        problem["offset"].as_u64().unwrap() >= first as u64,
        "{ran:#?}"
    );
    assert!(problem["entry_count"].as_u64().unwrap() >= 1, "{ran:#?}");
    assert!(problem["entries"][0].as_str().unwrap().starts_with("app"));
    assert!(ran.stderr.contains("; it hits 'app"), "{ran:#?}");
}

#[test]
fn bad_header() {
    let sandbox = one();
    // A sum that is wrong in an archive whose members are whole.
    sandbox.ok(
        "mkdir x; touch x/first x/other; tar -cf tar x; sed -i 's/x.other/x\\/0ther/' tar; gzip -c tar >home/archives/a.tar.gz",
    );
    agree(&sandbox);
    let reason = "at byte 1024 of the tar stream: it is not a tar header: its checksum is wrong (at byte 0 of the file)";
    finds(&sandbox, "--deep", &["bad-header"], &[reason]);
}

#[test]
fn count_mismatch() {
    let sandbox = one();
    sandbox.sql("UPDATE backup_records SET file_count = 9");
    let reason = "its archive holds 6 files, the record says 9";
    finds(&sandbox, "--deep", &["count-mismatch"], &[reason]);
    finds(&sandbox, "", &[], &[]);
}

#[test]
fn not_an_archive() {
    let sandbox = one();
    for (line, reason) in [
        ("echo text >A", "it is neither a gzip nor a zstd file"),
        (": >A", "it is neither a gzip nor a zstd file"),
        ("seq 10000 | gzip >A", "it contains no tar archive"),
        ("gzip </dev/null >A", "it contains no tar archive"),
    ] {
        sandbox.ok(&line.replace('A', "home/archives/a.tar.gz"));
        agree(&sandbox);
        finds(&sandbox, "--deep", &["not-an-archive"], &[reason]);
    }
    for make in ["mkfifo", "mkdir"] {
        sandbox.ok(&format!(
            "cd home/archives; rm -f a.tar.gz; {make} a.tar.gz"
        ));
        for flags in ["--quick", "", "--deep"] {
            let reason = "its archive 'DIR/a.tar.gz' is no regular file";
            finds(&sandbox, flags, &["not-an-archive"], &[reason]);
        }
    }
}

#[test]
fn only_completed_backups_are_verified() {
    let sandbox = one();
    sandbox.ok("bk-create --name b app; bk-create --name c app");
    for (id, status) in [(2, "failed"), (3, "creating")] {
        let set = format!("UPDATE backup_records SET status = '{status}' WHERE id = {id}");
        sandbox.sql(&set);
    }
    let ran = sandbox.run("bk-verify a b c");
    ran.fails(
        1,
        "bk-verify: cannot verify 'b': it failed and has no archive\nbk-verify: cannot verify 'c': another program is creating it\n",
    );
    assert_eq!(ran.record()["backup_name"], "a");
    let ran = sandbox.ok("bk-verify --all");
    assert_eq!(
        (ran.record()["id"].clone(), ran.stderr.as_str()),
        (1.into(), "")
    );
    sandbox
        .run("bk-verify nobody a")
        .fails(1, "bk-verify: there is no backup 'nobody'\n");
}

#[test]
fn a_bad_archive_does_not_stop_the_others() {
    let sandbox = one();
    sandbox.ok("bk-create --name b app; bk-create --name c app; rm home/archives/b.tar.gz");
    let ran = sandbox.run("bk-ls | bk-verify");
    let ok: Vec<_> = ran
        .records()
        .iter()
        .map(|it| it["verify"]["ok"].clone())
        .collect();
    assert_eq!(
        (ran.status, ok),
        (1, vec![true.into(), false.into(), true.into()])
    );
    assert_eq!(
        sandbox.ledger()[3..],
        ["a verify ok", "b verify failed", "c verify ok"]
    );
}

#[test]
fn a_round_takes_what_was_verified_longest_ago() {
    let sandbox = one();
    sandbox.ok("for name in b c d; do bk-create --name $name app; done");
    let names = |line: &str| {
        let ran = sandbox.ok(line);
        let records = ran.records().into_iter();
        let names = records.map(|it| it["backup_name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names("bk-verify --older-than-check 30d --limit 2"),
        ["a", "b"]
    );
    assert_eq!(
        names("bk-verify --older-than-check 30d --limit 3"),
        ["c", "d"]
    );
    assert_eq!(names("bk-verify --older-than-check 30d"), [""; 0]);
    for (name, days) in [("c", 40), ("a", 50), ("b", 20)] {
        let at = format!("(now() AT TIME ZONE 'UTC') - INTERVAL {days} DAY");
        sandbox.sql(&format!(
            "UPDATE backup_records SET backup_metadata = json_object('last_verified', json_object(
                 'at', strftime({at}, '%Y-%m-%dT%H:%M:%SZ'), 'level', 'sha256', 'ok', true))
                 WHERE backup_name = '{name}'"
        ));
    }
    assert_eq!(names("bk-ls --unverified-for 30d"), ["a", "c"]);
    assert_eq!(names("bk-verify --older-than-check 30d"), ["a", "c"]);
    assert_eq!(names("bk-ls --unverified-for 30d"), [""; 0]);
    assert_eq!(names("bk-ls --unverified-for 10d"), ["b"]);
    // A less thorough verification is none.
    assert_eq!(
        names("bk-verify --deep --older-than-check 30d --limit 1"),
        ["a"]
    );
    let left = ["b", "c", "d"];
    assert_eq!(names("bk-verify --deep --older-than-check 30d"), left);
    assert_eq!(names("bk-verify --deep --older-than-check 30d"), [""; 0]);
    // And it does not hide the more thorough one, nor prove anything.
    assert_eq!(names("bk-verify -q --all --limit 2"), ["a", "b"]);
    assert_eq!(names("bk-verify --deep --older-than-check 30d"), [""; 0]);
    assert_eq!(names("bk-verify --deep --all --limit 1"), ["a"]);
    sandbox.ok("rm home/archives/d.tar.gz");
    sandbox.run("bk-verify -q d");
    assert_eq!(names("bk-ls --unverified-for 30d"), ["d"]);
    // It is not taken again and again, in the place of others.
    assert_eq!(names("bk-verify -q --older-than-check 30d"), [""; 0]);
}

/// What was found bad stays so until a check that is as thorough finds it good.
#[test]
fn a_verdict_is_taken_back_by_a_check_as_thorough() {
    let sandbox = one();
    let verdict = |flags: &str| {
        sandbox.run(&format!("bk-verify {flags} a"));
        let record = sandbox.records().remove(0);
        let last = &record["backup_metadata"]["last_verified"];
        let word = if last["ok"] == true { "ok" } else { "BAD" };
        let unproved = !sandbox.ok("bk-ls --unverified-for 1h").stdout.is_empty();
        let df = sandbox.ok("bk-df --json").file_systems().0;
        if record["file_status"] == "available" {
            let since_made = df["unverified_since"] == record["created_at"];
            assert_eq!(since_made, unproved, "{df}");
        }
        let level = last["level"].as_str().unwrap();
        format!("{word} {level}{}", if unproved { "" } else { " proved" })
    };
    assert_eq!(verdict("--quick"), "ok quick");
    assert_eq!(verdict(""), "ok sha256 proved");
    assert_eq!(verdict("--quick"), "ok sha256 proved");
    assert_eq!(verdict("--deep"), "ok deep proved");
    sandbox.ok("cd home/archives; cp a.tar.gz whole");
    sandbox.flip("home/archives/a.tar.gz", 500);
    assert_eq!(verdict("--quick"), "ok deep proved");
    assert_eq!(verdict(""), "BAD sha256");
    assert_eq!(verdict("--quick"), "BAD sha256");
    assert_eq!(verdict("--deep"), "BAD deep");
    sandbox.ok("cd home/archives; cp whole a.tar.gz");
    assert_eq!(verdict("--quick"), "BAD deep");
    assert_eq!(verdict(""), "BAD deep");
    assert_eq!(verdict("--deep"), "ok deep proved");
    sandbox.ok("rm home/archives/a.tar.gz");
    assert_eq!(verdict("--quick"), "BAD quick");
    sandbox.ok("cd home/archives; mv whole a.tar.gz");
    assert_eq!(verdict("--quick"), "BAD quick");
    assert_eq!(verdict(""), "ok sha256 proved");
}

/// Recorded in parts, not row by row.
#[test]
fn four_hundred_quick_checks_take_no_longer_than_a_few() {
    let sandbox = one();
    sandbox.sql(
        "INSERT INTO backup_records SELECT nextval('backup_id'), 'many' || n, backup_type, status, source_version,
            backup_path, backup_size, file_count, compression_type, backup_hash, description,
            backup_metadata, protected, created_at, expires_at
         FROM backup_records, range(1, 400) AS r(n) WHERE backup_name = 'a'",
    );
    let ran = sandbox.ok("bk-verify --quick --all");
    assert_eq!(ran.records().len(), 400);
    assert_eq!(sandbox.ledger().len(), 401);
}

#[test]
fn keys_of_a_line_pass_through_and_an_old_verdict_does_not() {
    let sandbox = one();
    let other = sandbox.write("other", "not ours\n");
    let line = format!(
        r#"{{"id":1,"ticket":7,"verify":{{"ok":false}},"backup_path":"{}"}}"#,
        other.display()
    );
    let ran = sandbox.ok(&format!("echo '{line}' | bk-verify"));
    let record = ran.record();
    assert_eq!(
        (&record["ticket"], &record["verify"]["ok"]),
        (&7.into(), &true.into())
    );
    let keys: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
    let added = ["file_status", "file_name", "copies", "verify", "ticket"];
    assert_eq!(keys[15..], added);
    sandbox.run("printf '1\\n{' | bk-verify").fails(
        2,
        "bk-verify: bad input: line 2: it is not JSON (column 1)\n",
    );
    assert_eq!(sandbox.ok("bk-verify </dev/null").stdout, "");
    sandbox.ok("set -o pipefail; bk-verify a a | true");
    assert_eq!(sandbox.ledger().len(), 4);
}

/// Metadata that others keep stays.
#[test]
fn other_metadata_stays() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a -m ticket=7 app");
    let before = sandbox.records().remove(0);
    sandbox.ok("bk-verify a");
    let mut after = sandbox.records().remove(0);
    let metadata = after["backup_metadata"].as_object_mut().unwrap();
    assert!(metadata.shift_remove("last_checks").is_some());
    assert!(
        metadata
            .shift_remove("last_verified")
            .is_some_and(|it| it.is_object())
    );
    assert_eq!(before, after);
}

/// Nobody can tell how long ago it was.
#[test]
fn a_verification_from_the_future_makes_none_superfluous() {
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "bk-create --name a app >/dev/null; bk-create --name b app >/dev/null; bk-verify a b >/dev/null",
    );
    sandbox.sql(
        r#"UPDATE backup_records SET backup_metadata = json_merge_patch(backup_metadata,
             '{"last_verified":{"at":"2199-01-01T00:00:00Z","level":"sha256","ok":true},"last_checks":{"sha256":"2199-01-01T00:00:00Z"}}')
           WHERE backup_name = 'b'"#,
    );
    let due = sandbox.ok("bk-verify --older-than-check 30d");
    assert_eq!(due.record()["backup_name"], "b");
    // Its time is known again.
    assert_eq!(sandbox.ok("bk-verify --older-than-check 30d").stdout, "");
}
