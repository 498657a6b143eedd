//! bk-adopt and what is no good archive: damage, hostile ones, locked ones; ten at once.

use crate::support::{Sandbox, as_born, has};
use serde_json::json;

#[test]
fn what_is_no_archive_is_refused_with_its_reason_and_the_rest_is_adopted() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("tar czf good.tar.gz app/log; cp good.tar.gz good.tar.gz.partial; ln -s good.tar.gz link.tar.gz");
    sandbox.ok("mkfifo pipe.tar.gz; : >empty.tar.gz; echo junk >junk.tar.gz; echo junk | gzip >text.tar.gz");
    sandbox.ok("cp good.tar.gz \"$(printf 'bad\\377.tar.gz')\"");
    let ran = sandbox.run(
        "bk-adopt nowhere.tar.gz '' app link.tar.gz pipe.tar.gz good.tar.gz.partial bad*.tar.gz good.tar.gz",
    );
    ran.fails(1, concat!(
        "bk-adopt: cannot adopt 'nowhere.tar.gz': No such file or directory\n",
        "bk-adopt: cannot adopt '': cannot make an empty path absolute\n",
        "bk-adopt: cannot adopt 'app': it is a directory: -r looks for archives in it\n",
        "bk-adopt: cannot adopt 'link.tar.gz': it is a symbolic link: name the file that it points to\n",
        "bk-adopt: cannot adopt 'pipe.tar.gz': it is not a regular file\n",
        "bk-adopt: cannot adopt 'good.tar.gz.partial': it is a partial archive, which is being written or was given up\n",
        "bk-adopt: cannot adopt 'bad\u{fffd}.tar.gz': its path is not UTF-8, as a record needs it: rename it\n",
    ));
    assert_eq!(ran.actions(), ["adopted good"]);
    let dir = sandbox.path("").display().to_string();
    for flag in ["", "--damaged"] {
        let ran = sandbox.run(&format!(
            "bk-adopt {flag} empty.tar.gz junk.tar.gz text.tar.gz"
        ));
        ran.fails(1, &format!(
            "bk-adopt: cannot adopt '{dir}empty.tar.gz': it is not an archive: at byte 0 of the tar stream: it is neither a gzip nor a zstd file (at byte 0 of the file)
bk-adopt: cannot adopt '{dir}junk.tar.gz': it is not an archive: at byte 0 of the tar stream: it is neither a gzip nor a zstd file (at byte 0 of the file)
bk-adopt: cannot adopt '{dir}text.tar.gz': it is not an archive: at byte 0 of the tar stream: the archive is cut short\n"
        ));
    }
    // A walk tells what it cannot take, and passes over links, pipes and partial archives.
    let ran = sandbox.run("rm empty.tar.gz junk.tar.gz text.tar.gz; bk-adopt -r .");
    ran.fails(1, &format!(
        "bk-adopt: cannot adopt '{dir}bad\u{fffd}.tar.gz': its path is not UTF-8, as a record needs it: rename it\n"
    ));
    assert_eq!(ran.stdout, "");
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn a_damaged_archive_is_adopted_only_where_that_is_asked_for() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("head -c 5M /dev/urandom >app/noise; bk-create --name own app; rm home/catalog.duckdb; tar czf foreign.tar.gz app");
    sandbox.ok("mv home/archives/own.tar.gz own; head -c -1 own >cut.tar.gz; (cat own; echo junk) >junk.tar.gz; head -c 3M foreign.tar.gz >half.tar.gz; rm foreign.tar.gz");
    sandbox.ok("cp own flip.tar.gz");
    sandbox.flip("flip.tar.gz", 2_500_000);
    let ran = sandbox.run("bk-adopt -r .");
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
    assert_eq!(ran.stderr.lines().count(), 4);
    for line in ran.stderr.lines() {
        assert!(line.contains(".tar.gz': it is damaged: "), "{line}");
        assert!(
            line.ends_with("; --damaged adopts it all the same"),
            "{line}"
        );
    }
    assert!(!sandbox.home().join("catalog.duckdb").exists());

    let ran = sandbox.ok("bk-adopt --damaged -r .");
    assert_eq!(
        ran.actions(),
        [
            "adopted own",
            "adopted own_2",
            "adopted own_3",
            "adopted half"
        ]
    );
    for record in ran.records() {
        assert_eq!(record["status"], "completed");
        let reason = record["backup_metadata"]["damaged"].as_str().unwrap();
        assert!(reason.contains("at byte "), "{reason}");
        let path = record["backup_path"].as_str().unwrap();
        let told = record["backup_hash"].as_str().unwrap();
        sandbox.ok(&format!("echo '{told}  {path}' | sha256sum -c"));
    }
    let cut = &ran.records()[0];
    assert_eq!(
        cut["file_count"], 7,
        "all was counted before its end was missed"
    );
    sandbox.run("bk-create -m damaged=no app").fails(
        2,
        "bk-create: --metadata: the metadata key 'damaged' is reserved: use another\n",
    );
}

#[test]
fn a_hostile_comment_is_no_record() {
    if !has("python3") {
        return;
    }
    let sandbox = Sandbox::new();
    let good = json!({
        "backup_name": "x", "backup_type": "manual", "source_version": null, "description": null,
        "backup_metadata": {"failure": "no", "content_bytes": "many", "problems": 7, "damaged": 1, "note": 1},
        "protected": false, "created_at": "9999-12-30T21:00:00.999999999Z", "expires_at": "-009999-01-02T01:59:59Z", "program": "x",
    });
    let mut bad = Vec::new();
    for (key, value) in [
        ("backup_name", json!("../../etc/passwd")),
        ("backup_name", json!("7")),
        ("backup_type", json!("weekly")),
        ("created_at", json!("+099999-01-01T00:00:00Z")),
        ("backup_metadata", json!([1])),
        ("protected", json!("yes")),
        // Too far to be kept in microseconds.
        ("expires_at", json!("9999-12-30T22:00:00.999Z")),
    ] {
        let mut changed = good.clone();
        changed[key] = value;
        bad.push(changed);
    }
    sandbox.write(
        "comments",
        &json!([vec![good.clone()], bad].concat()).to_string(),
    );
    sandbox.write(
        "make.py",
        "import io, json, tarfile
for n, comment in enumerate(json.load(open('comments'))):
    with tarfile.open(f'c{n}.tar.gz', 'w:gz', pax_headers={'comment': json.dumps(comment)}) as t:
        t.addfile(tarfile.TarInfo('f'), io.BytesIO())
",
    );
    sandbox.ok("python3 make.py");
    let record = as_born(sandbox.ok("bk-adopt c0.tar.gz").records()).remove(0);
    assert_eq!(record["backup_name"], "x");
    assert_eq!(
        record["backup_metadata"],
        json!({"note": 1, "content_bytes": 0})
    );
    let ran = sandbox.run("bk-adopt c?.tar.gz");
    let dir = sandbox.path("").display().to_string();
    ran.fails(1, &format!("bk-adopt: cannot adopt '{dir}c7.tar.gz': its time 9999-12-30T22:00:00.999Z is out of range\n"));
    let mut names = ran.actions();
    names.sort();
    assert_eq!(
        names,
        [
            "adopted c1",
            "adopted c2",
            "adopted c3",
            "adopted c4",
            "adopted c5",
            "adopted c6",
            "already known x"
        ]
    );
    // What was printed is what is kept.
    let listed = as_born(sandbox.ok("bk-ls x --json").records()).remove(0);
    for key in ["created_at", "expires_at", "backup_metadata"] {
        assert_eq!(record[key], listed[key]);
    }
}

#[test]
fn ten_at_once_adopt_each_archive_once() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for n in 1 2 3 4 5 6; do bk-create --name b$n app; mkdir d$n; tar czf d$n/same.tar.gz app/log --mtime=@$n; done; mv home/archives own; rm -r home");
    let ran = sandbox
        .ok("for n in 1 2 3 4 5 6 7 8 9 10; do bk-adopt -r own d? >out$n & done; wait; cat out*");
    let mut adopted: Vec<_> = ran.actions();
    adopted.retain(|it| it.starts_with("adopted"));
    adopted.sort();
    let each = [
        "adopted b1",
        "adopted b2",
        "adopted b3",
        "adopted b4",
        "adopted b5",
        "adopted b6",
        "adopted same",
        "adopted same_2",
        "adopted same_3",
        "adopted same_4",
        "adopted same_5",
        "adopted same_6",
    ];
    assert_eq!(adopted, each);
    assert_eq!(ran.stderr, "");
    let records = sandbox.records();
    assert_eq!(records.len(), 12);
    let mut paths: Vec<_> = records
        .iter()
        .map(|it| it["backup_path"].as_str())
        .collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 12);
    assert_eq!(sandbox.ledger().len(), 12);
}

#[test]
fn an_archive_that_somebody_is_at_work_on_is_left_alone() {
    if !has("flock") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("tar czf a.tar.gz app/log; tar czf b.tar.gz app/log");
    let ran = sandbox.run("flock a.tar.gz bk-adopt -r .");
    let path = sandbox.path("a.tar.gz").display().to_string();
    ran.fails(
        1,
        &format!("bk-adopt: cannot adopt '{path}': another program is at work on it\n"),
    );
    assert_eq!(ran.actions(), ["adopted b"]);
    let ran = sandbox.ok("flock -s a.tar.gz bk-adopt -r .");
    assert_eq!(ran.actions(), ["adopted a"], "a reader is no work");
}

#[test]
fn a_reader_that_goes_away_or_a_lock_changes_nothing_of_what_is_promised() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for n in 1 2 3; do bk-create --name b$n app; done; rm home/catalog.duckdb");
    if has("flock") {
        let ran = sandbox.run("flock home/catalog.lock bk-adopt --lock-timeout 100ms");
        assert_eq!((ran.status, ran.stdout.as_str()), (75, ""), "{ran:#?}");
    }
    let ran = sandbox.run("set -o pipefail; bk-adopt | true");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(sandbox.records().len(), 3);
    let ran = sandbox.run("rm home/catalog.duckdb; bk-adopt >/dev/full");
    ran.fails(
        1,
        "bk-adopt: cannot write to standard output: No space left on device\n",
    );
    assert_eq!(sandbox.records().len(), 3);
}
