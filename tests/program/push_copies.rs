//! `bk-push --check` and `--remove`: what is found of copies that are gone or differ, what goes and what stays.

use std::fs;

use crate::support::pushed::{PLACE, check_all_copied};
use crate::support::seaweed::{ADMIN, Seaweed};
use crate::support::{Ran, Sandbox, can_trace, has};
use serde_json::{Value, json};

/// Copies of `a`, `b` and `c`, the last in parts.
fn copied() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "export BK_HOST=web; bk-create --name a app; bk-create --name b app/log
        head -c 34M /dev/urandom >big; bk-create --level 1 --name c big",
    );
    sandbox.usb();
    sandbox.ok("bk-ls | bk-push usb");
    sandbox.sql("DELETE FROM backup_events");
    sandbox
}

fn told(ran: &Ran, keys: &[&str]) -> Vec<Value> {
    let records = ran.records();
    let value = |it: &Value| {
        let copy = keys.iter().map(|key| it["copy"][key].clone());
        let name = [it["backup_name"].clone()];
        Value::Array(name.into_iter().chain(copy).collect())
    };
    records.iter().map(value).collect()
}

#[test]
fn copies_that_are_as_they_should_be_are_found_so_and_the_catalog_knows_when() {
    let sandbox = copied();
    let before = sandbox.objects();
    let ran = sandbox.ok("BK_HOST=web bk-push --check usb");
    assert_eq!(ran.stderr, "");
    let ok = |name: &str| json!([name, true, false, null]);
    assert_eq!(
        told(&ran, &["ok", "read", "problem"]),
        [ok("a"), ok("b"), ok("c")]
    );
    assert_eq!(sandbox.objects(), before);
    let checked = |name: &str| {
        sandbox.ok(&format!("bk-ls {name}")).record()["copies"][0]["checked_at"].clone()
    };
    assert!(["a", "b", "c"].iter().all(|name| checked(name).is_string()));
    let ledger = sandbox.ledger();
    assert_eq!(
        ledger,
        ["a copy-check ok", "b copy-check ok", "c copy-check ok"]
    );
    // A share is one at least, and others each time.
    let read = || {
        let ran = sandbox.ok("bk-push --check --read 5% usb a b c");
        let read: Vec<_> = told(&ran, &["read"]);
        assert_eq!(read.iter().filter(|it| it[1] == true).count(), 1);
        read
    };
    let first = read();
    assert!((0..30).any(|_| read() != first));
    let table = sandbox.ok("bk-push --check --table usb a").stdout;
    assert!(
        table.contains("RESULT") && table.contains(" ok "),
        "{table}"
    );
}

#[test]
fn what_is_gone_or_differs_is_told_and_is_no_copy_any_more() {
    let sandbox = copied();
    let key = |name: &str| sandbox.object(name);
    let (a, b, c) = (key("a"), key("b"), key("c"));
    // What is no file is no object, and nobody waits for it.
    sandbox.ok(&format!("rm {0}; mkfifo {0}", a.display()));
    let bytes = fs::read(&b).unwrap();
    fs::write(&b, &bytes[..bytes.len() - 1]).unwrap();
    sandbox.flip(&c, 17_000_000);
    let ran = sandbox.run("BK_HOST=web bk-push --check usb");
    let size = fs::metadata(sandbox.archive("b")).unwrap().len();
    let short = format!("it has {} bytes and should have {size}", size - 1);
    ran.fails(
        1,
        &format!(
            "bk-push: the copy of 'a' at 'usb' is bad: it is gone\n\
             bk-push: the copy of 'b' at 'usb' is bad: {short}\n"
        ),
    );
    // A directory tells no checksum: that is read.
    let differs = "it has another SHA-256 than it should have";
    sandbox.run("bk-push --check --read 100% usb c").fails(
        1,
        &format!("bk-push: the copy of 'c' at 'usb' is bad: {differs}\n"),
    );
    assert_eq!(
        sandbox.ledger(),
        [
            "a copy-check failed it is gone".to_owned(),
            format!("b copy-check failed {short}"),
            "c copy-check ok".into(),
            format!("c copy-check failed {differs}"),
        ]
    );
    let missing = "bk-ls --without-copy usb";
    assert_eq!(sandbox.ok(missing).records().len(), 3);
    fs::remove_file(&a).unwrap();
    // Copied again, they are whole.
    let ran = sandbox.ok(&format!("{missing} | bk-push usb"));
    assert_eq!((ran.records().len(), ran.stderr.as_str()), (3, ""));
    check_all_copied(&sandbox, "copied again");
    sandbox.ok("bk-push --check --read 100% usb");
}

#[test]
fn what_the_catalog_does_not_know_of_is_noted() {
    let sandbox = copied();
    sandbox.sql("DELETE FROM backup_copies WHERE backup_name = 'a'");
    sandbox.ok(&format!(
        "mkdir -p {PLACE}/other/archives; echo x >{PLACE}/other/archives/x"
    ));
    let ran = sandbox.ok("BK_HOST=web bk-push --check usb");
    let hash = sandbox.ok("bk-ls a").record()["backup_hash"]
        .as_str()
        .unwrap()[..12]
        .to_owned();
    let note = |ending: &str| {
        format!(
            "bk-push: note: 'web/archives/a-{hash}.{ending}' is at 'usb', and the catalog does not know of it\n"
        )
    };
    assert_eq!(ran.stderr, ["json", "parquet", "tar.gz"].map(note).concat());
    sandbox
        .run("bk-push --check usb a")
        .fails(1, "bk-push: 'a' has no copy at 'usb'\n");
}

/// What may not be listed.
#[test]
fn a_directory_that_is_closed_is_told_as_such() {
    if !can_trace() {
        return;
    }
    let sandbox = copied();
    // Root may read each.
    let ran = sandbox.run(&format!(
        "BK_HOST=web strace -f -qqq -o trace -P $PWD/{PLACE}/web/archives -e trace=openat \
         -e inject=openat:error=EACCES bk-push --check usb"
    ));
    let root = sandbox.path(PLACE).display().to_string();
    let told = format!("bk-push: access to 'web/archives' at file://{root} is refused: ");
    assert_eq!((ran.status, ran.records().len()), (1, 3), "{ran:#?}");
    assert!(ran.stderr.starts_with(&told), "{ran:#?}");
}

#[test]
fn copies_are_removed_with_what_lies_beside_them() {
    let sandbox = copied();
    let before = sandbox.objects();
    let size = sandbox.ok("bk-ls a").record()["backup_size"].clone();
    let line = json!(["a", size, true]);
    let ran = sandbox.ok("bk-push --remove -n usb a");
    assert_eq!(told(&ran, &["freed", "dry_run"]), [line]);
    assert_eq!(sandbox.objects(), before);
    let ran = sandbox.ok("bk-ls a | bk-push --remove usb -");
    assert_eq!(told(&ran, &["freed"]), [json!(["a", size])]);
    assert_eq!(sandbox.objects().len(), before.len() - 3);
    assert_eq!(sandbox.ledger(), ["a copy-remove ok"]);
    assert_eq!(sandbox.ok("bk-ls a").record()["copies"], json!([]));
    // Those whose backup is gone, and no others.
    sandbox.ok("bk-rm b");
    let ran = sandbox.ok("bk-push --remove --gone usb");
    assert_eq!(told(&ran, &[]), [json!(["b"])]);
    assert_eq!(sandbox.ok("bk-push --remove --gone usb").stdout, "");
    assert_eq!(sandbox.objects().len(), 3);
    sandbox.ok("bk-push --check --read 100% usb c");
}

#[test]
fn what_cannot_be_removed_stays_a_copy() {
    let sandbox = copied();
    sandbox.ok(&format!("mv {PLACE} away"));
    let root = sandbox.path(PLACE).display().to_string();
    let hint = "mount it, or make the directory if this is a new place";
    // What cannot be reached is not gone.
    let ran = sandbox.run("bk-push --check usb");
    let told = format!(
        "bk-push: cannot check the copy of 'a' at 'usb': file://{root} is not there; {hint}\n\
         bk-push: 2 more copies are not checked at 'usb': mend that, and run it again\n"
    );
    assert_eq!((ran.status, &*ran.stderr), (1, &*told), "{ran:#?}");
    let ran = sandbox.run("bk-push --remove usb a");
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
    let told = format!(
        "bk-push: cannot remove the copy of 'a' at 'usb': file://{root} is not there; {hint}\n"
    );
    assert_eq!(ran.stderr, told);
    sandbox.ok(&format!("mv away {PLACE}"));
    assert_eq!(
        sandbox.ok("bk-ls a").record()["copies"][0]["status"],
        "complete"
    );
    sandbox.ok("bk-push --check --read 100% usb a");
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    let sandbox = copied();
    for (line, told) in [
        ("bk-push --read 5% usb", "--read goes with --check"),
        ("bk-push --gone usb", "--gone goes with --remove"),
        (
            "bk-push --remove --gone usb a",
            "--gone takes no backups: it is those that are gone",
        ),
        (
            "bk-push --check --read 0% usb",
            "--read: invalid share '0%': use a percentage, such as 5%",
        ),
        ("bk-push --lock 3d usb a", "--lock goes with --set"),
        (
            "bk-push --set --lock-mode governance x file:///x",
            "--lock-mode goes with --lock",
        ),
        (
            "bk-push --set --lock soon x s3://x",
            "--lock: invalid lock 'soon': use expires, or a span such as 30d or 6mo",
        ),
        (
            "bk-push --set --lock 3d --lock-mode none x s3://x",
            "--lock-mode: invalid lock mode 'none': use compliance or governance",
        ),
    ] {
        let ran = sandbox.run(line);
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (2, ""),
            "{line}: {ran:#?}"
        );
        let first = ran.stderr.lines().next().unwrap();
        assert!(
            first.starts_with(&format!("bk-push: {told}")),
            "{line}: {first}"
        );
    }
}

#[test]
fn a_locked_copy_stays_until_its_time() {
    let Some(server) = Seaweed::start() else {
        return;
    };
    server.make_bucket("locked", true);
    server.make_bucket("plain", false);
    let sandbox = Sandbox::with_app();
    let endpoint = format!("--endpoint {} --region us-east-1", server.endpoint());
    let run = |line: &str| sandbox.run(&format!("{} {line}", ADMIN.environment()));
    let ok = |line: &str| {
        let ran = run(line);
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
        ran
    };
    ok(&format!(
        "bk-create --name a --expires 40d app; bk-create --name b app
         head -c 20M /dev/urandom >big; bk-create --level 1 --name c --expires 50d big
         bk-push --set {endpoint} --lock expires off s3://locked/x
         bk-push --set {endpoint} --lock 2d plain s3://plain"
    ));
    // Before anything is sent.
    run("bk-push plain a").fails(
        1,
        "bk-push: s3://plain cannot lock objects: make a bucket with object lock, or take the location without --lock\n",
    );
    assert_eq!(
        server
            .curl(ADMIN, &[], "plain?list-type=2")
            .stdout
            .windows(5)
            .filter(|it| it == b"<Key>")
            .count(),
        0
    );
    let ran = run("bk-push off a b c");
    ran.fails(
        1,
        "bk-push: cannot copy 'b' to 'off': it is to be locked until it expires, and never does: \
         'bk-set --expires SPAN 2' sets that\n",
    );
    for copied in ran.records() {
        let expires = copied["expires_at"].as_str().unwrap();
        let locked = copied["copy"]["locked_until"].as_str().unwrap();
        // A store takes whole seconds.
        let secs = |time: &str| -> i64 {
            let told = sandbox.ok(&format!("date -d '{time}' +%s")).stdout;
            told.trim().parse().unwrap()
        };
        assert_eq!(secs(locked) - secs(expires), 1, "{copied}");
        let name = copied["backup_name"].as_str().unwrap();
        let told = format!(
            "bk-push: cannot remove the copy of '{name}' at 'off': it is locked until {locked}\n"
        );
        run(&format!("bk-push --remove off {name}")).fails(1, &told);
        // The store itself refuses it, whatever the catalog says.
        sandbox.sql(&format!(
            "UPDATE backup_copies SET locked_until = NULL WHERE backup_name = '{name}'"
        ));
        let ran = run(&format!("bk-push --remove off {name}"));
        assert_eq!(ran.status, 1, "{ran:#?}");
        assert!(ran.stderr.contains("is locked"), "{ran:#?}");
    }
    ok("bk-push --check --read 100% off a c");
}

/// Two backups may have one object: an archive that was given up and adopted again.
#[test]
fn a_copy_that_another_backup_has_too_is_not_removed_with_the_first() {
    let sandbox = copied();
    sandbox.ok("bk-rm --keep-file b && bk-adopt home/archives/b.tar.gz && bk-push usb b");
    let before = sandbox.objects();
    let ran = sandbox.ok("bk-push --remove --gone usb");
    assert_eq!(ran.records().len(), 1);
    assert_eq!(sandbox.objects(), before);
    sandbox.ok("bk-push --check --read 100% usb b");
    assert_eq!(sandbox.ok("bk-push --remove --gone usb").stdout, "");
}

#[test]
fn an_object_of_two_backups_goes_with_the_last() {
    let sandbox = copied();
    sandbox.ok("bk-rm --keep-file b && bk-adopt home/archives/b.tar.gz && bk-push usb b");
    let object = sandbox.object("b");
    let size = fs::metadata(&object).unwrap().len();
    sandbox.ok("bk-rm b");
    let ran = sandbox.ok("bk-push --remove --gone usb");
    let freed = told(&ran, &["freed"]);
    assert_eq!(freed, [json!(["b", 0]), json!(["b", size])]);
    assert!(!object.exists());
}

/// It lies beside a plain copy and an encrypted one under the same name.
#[test]
fn a_record_of_two_copies_goes_with_the_last() {
    if !has("age") {
        return;
    }
    let sandbox = copied();
    let key = sandbox.age_key();
    sandbox.ok(&format!(
        "bk-rm --keep-file b && bk-adopt home/archives/b.tar.gz
         bk-push --set --recipient {key} usb file://$PWD/{PLACE} && bk-push usb b; mkdir kept; cp -a home place kept"
    ));
    let remove = || {
        let removed = sandbox.ok("bk-push --remove --gone usb");
        let left = sandbox.ok(&format!(
            "cd {PLACE}/web/archives; ls | grep ^b- | sed 's/^[^.]*//'"
        ));
        (removed.records().len(), left.stdout)
    };
    let encrypted = ".json\n.parquet.age\n.tar.gz.age\n".to_owned();
    assert_eq!(remove(), (1, encrypted));
    sandbox.ok("bk-rm b");
    assert_eq!(remove(), (1, String::new()));
    // Both at once.
    sandbox.ok("rm -r home place; mv kept/* .; bk-rm --keep-file b");
    assert_eq!(remove(), (2, String::new()));
}

/// A record that cannot be read is not one that is gone.
#[test]
fn a_damaged_record_keeps_its_copy() {
    let sandbox = copied();
    let before = sandbox.objects();
    sandbox.sql("UPDATE backup_records SET backup_metadata = '[]' WHERE backup_name = 'b'");
    let ran = sandbox.run("bk-push --remove --gone usb");
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
    assert!(ran.stderr.contains("'b'"), "{ran:#?}");
    assert_eq!(sandbox.objects(), before);
}

/// The journal of an upload whose end was not recorded is not believed when the object is gone.
#[test]
fn what_the_journal_says_is_there_is_asked_for() {
    let sandbox = copied();
    let object = sandbox.object("c");
    let journal = sandbox.home().join("uploads/usb.3");
    let url = format!("file://{}", sandbox.path(PLACE).display());
    let hash = sandbox.ok("bk-ls c").record()["backup_hash"].clone();
    let size = fs::metadata(&object).unwrap().len();
    let key = object.strip_prefix(sandbox.path(PLACE)).unwrap();
    let plan = json!({"archive_hash": hash, "key": key, "url": url, "size_bytes": size, "part_bytes": 16 << 20, "upload_id": "0"});
    sandbox.sql("DELETE FROM backup_copies WHERE backup_name = 'c'");
    fs::write(&journal, format!("{plan}\n{{\"stored\":null}}\n")).unwrap();
    fs::remove_file(&object).unwrap();
    sandbox.ok("bk-push usb c");
    check_all_copied(&sandbox, "sent again");
}

/// Copies would count as being where they are not.
#[test]
fn a_name_stays_with_its_place_while_copies_are_known_there() {
    let sandbox = copied();
    let root = sandbox.path(PLACE).display().to_string();
    sandbox.run("bk-push --set usb file:///elsewhere").fails(
        1,
        &format!(
            "bk-push: cannot set 'usb' to another place: copies are known at file://{root}; \
             'bk-push --remove' removes them, and another name keeps them\n"
        ),
    );
    sandbox.ok(&format!(
        "bk-push --set --limit-rate 900M usb file://{root}"
    ));
    let ran = sandbox.run("bk-push --set proc file:///proc");
    let told =
        "bk-push: '/proc' is there when nothing is mounted on it, too: name a directory below it";
    assert!(ran.status == 2 && ran.stderr.starts_with(told), "{ran:#?}");
}

#[test]
fn what_was_found_is_told_though_the_catalog_stays_locked() {
    if !can_trace() || !has("flock") {
        return;
    }
    let sandbox = copied();
    let object = sandbox.object("a").display().to_string();
    // It is stopped between its two sessions.
    let ran = sandbox.run(&format!(
        "strace -f -o trace -P {object} -e trace=openat -e inject=openat:signal=SIGSTOP:when=1 \
             bk-push --check --lock-timeout 1s usb a &
         until grep -qs 'stopped by SIGSTOP' trace; do sleep 0.05; done
         exec 9>home/catalog.lock; flock 9
         kill -CONT $(awk '/stopped by/ {{ print $1; exit }}' trace); wait $!"
    ));
    assert_eq!(ran.status, 75, "{ran:#?}");
    let cannot = "bk-push: cannot record what was found: the catalog is locked";
    assert!(ran.stderr.starts_with(cannot), "{ran:#?}");
    assert_eq!(told(&ran, &["ok"]), [json!(["a", true])]);
}

#[test]
fn a_check_that_checks_nothing_is_no_success() {
    let sandbox = copied();
    sandbox.ok("bk-push --set --init new file://$PWD/other");
    let told =
        "bk-push: no copies are known at 'new': 'bk-pull --adopt new' records what is there\n";
    sandbox.run("bk-push --check new").fails(1, told);
    fs::remove_file(sandbox.object("a")).unwrap();
    assert_eq!(sandbox.run("bk-push --check usb").status, 1);
    let told = "bk-push: 'a' has no complete copy at 'usb'\n";
    sandbox.run("bk-push --check usb a").fails(1, told);
}
