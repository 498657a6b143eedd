//! bk-adopt --relink: records whose archives were moved by hand point to them again.

use crate::support::{Sandbox, UNTIL_STOPPED, can_trace, has};

/// Three backups whose archives were moved to `new/`, each to another depth.
fn moved() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for name in a b c; do echo $name >app/name; bk-create --name $name app; done");
    sandbox.ok("mkdir -p new/deep/er; cd home/archives; mv a.tar.gz ../../new/renamed.tar.gz; mv b.tar.gz ../../new/deep; mv c.tar.gz ../../new/deep/er");
    sandbox
}

fn paths(sandbox: &Sandbox) -> Vec<String> {
    let dir = sandbox.path("").display().to_string();
    let path = |it: serde_json::Value| it["backup_path"].as_str().unwrap().replace(&dir, "");
    sandbox.records().into_iter().map(path).collect()
}

#[test]
fn missing_archives_are_found_by_size_and_hash() {
    if !has("jq") {
        return;
    }
    let sandbox = moved();
    // Of the same size, and of another: neither is one.
    sandbox.ok(
        "head -c $(stat -c %s new/deep/b.tar.gz) /dev/zero >new/0.tar.gz; echo x >new/1.tar.gz",
    );
    let before = sandbox
        .ok("bk-ls --json | jq -c 'del(.backup_path, .file_status, .file_name)'")
        .stdout;
    let dry = sandbox.ok("bk-adopt -n --relink new");
    assert!(
        dry.records()
            .iter()
            .all(|it| it["adopt"]["action"] == "would relink")
    );
    assert_eq!(paths(&sandbox)[0], "home/archives/a.tar.gz");

    let ran = sandbox.ok("bk-adopt --relink ./app/../new");
    assert_eq!(ran.stderr, "");
    assert_eq!(
        paths(&sandbox),
        [
            "new/renamed.tar.gz",
            "new/deep/b.tar.gz",
            "new/deep/er/c.tar.gz"
        ]
    );
    let record = &ran.records()[0];
    assert_eq!(record["adopt"]["action"], "relinked");
    assert_eq!(record["adopt"]["from"], record["backup_path"]);
    assert_eq!(
        record["adopt"]["was"],
        sandbox.archive("a").to_str().unwrap()
    );
    assert_eq!(record["file_status"], "available");
    let after = sandbox
        .ok("bk-ls --json | jq -c 'del(.backup_path, .file_status, .file_name)'")
        .stdout;
    assert_eq!(before, after, "nothing else changed");
    assert_eq!(
        sandbox.ledger()[3..],
        ["a adopt ok", "b adopt ok", "c adopt ok"]
    );
    let again = sandbox.ok("bk-adopt --relink new");
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("", ""));
}

#[test]
fn what_stays_missing_is_told_and_the_rest_is_done() {
    let sandbox = moved();
    sandbox.ok("rm new/renamed.tar.gz; printf x >>new/deep/b.tar.gz");
    let new = sandbox.path("new").display().to_string();
    let ran = sandbox.run("bk-adopt --relink new");
    ran.fails(
        1,
        &format!(
            "bk-adopt: cannot relink 'a': '{new}' has no archive of its size and hash
bk-adopt: cannot relink 'b': '{new}' has no archive of its size and hash\n"
        ),
    );
    assert_eq!(ran.record()["backup_name"], "c");
    let nowhere = sandbox.path("nowhere").display().to_string();
    let ran = sandbox.run("bk-adopt --relink nowhere");
    assert_eq!(ran.status, 1);
    assert!(
        ran.stderr.starts_with(&format!(
            "bk-adopt: cannot read '{nowhere}': No such file or directory\n"
        )),
        "{ran:#?}"
    );
}

#[test]
fn of_two_copies_the_first_by_path_is_taken_and_no_file_twice() {
    let sandbox = moved();
    sandbox.ok("cp new/deep/b.tar.gz new/deep/a.tar.gz; bk-adopt --relink new");
    assert_eq!(paths(&sandbox)[1], "new/deep/a.tar.gz");

    // Two records of the same bytes: each gets a file of its own, and none that another has.
    let sandbox = Sandbox::with_app();
    sandbox.ok("mkdir 1 2 3; tar czf 1/x.tar.gz app; cp 1/x.tar.gz 2/y.tar.gz; cp 1/x.tar.gz 3/z.tar.gz; bk-adopt -r 1 2 3");
    sandbox.ok("mkdir new; mv 1/x.tar.gz new/1.tar.gz; rm 2/y.tar.gz");
    let ran = sandbox.run("bk-adopt --relink .");
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(ran.stderr.contains("has no archive of its size and hash"));
    let mut paths = paths(&sandbox);
    paths.sort();
    assert_eq!(paths.len(), 3);
    assert!(
        paths.contains(&"new/1.tar.gz".to_owned()) && paths.contains(&"3/z.tar.gz".to_owned()),
        "{paths:?}"
    );
}

#[test]
fn what_somebody_is_at_work_on_is_left_alone() {
    if !has("flock") {
        return;
    }
    let sandbox = moved();
    let path = sandbox.path("new/renamed.tar.gz").display().to_string();
    let new = sandbox.path("new").display().to_string();
    let ran = sandbox.run("flock new/renamed.tar.gz bk-adopt --relink new");
    ran.fails(
        1,
        &format!(
            "bk-adopt: cannot read '{path}': another program is at work on it
bk-adopt: cannot relink 'a': '{new}' has no archive of its size and hash\n"
        ),
    );
    assert_eq!(ran.records().len(), 2);
}

#[test]
fn ten_at_once_relink_each_record_once() {
    let sandbox = moved();
    sandbox.ok(
        "for n in 1 2 3 4 5 6 7 8 9 10; do bk-adopt --relink new >/dev/null 2>err$n & done; wait",
    );
    assert_eq!(
        paths(&sandbox),
        [
            "new/renamed.tar.gz",
            "new/deep/b.tar.gz",
            "new/deep/er/c.tar.gz"
        ]
    );
    assert_eq!(sandbox.ledger().len(), 6, "{:?}", sandbox.ledger());
}

#[test]
fn what_changes_while_files_are_hashed_is_seen() {
    if !can_trace() {
        return;
    }
    let sandbox = moved();
    let archive = sandbox.path("new/renamed.tar.gz").display().to_string();
    sandbox.ok("mkdir start && cp -a home new start/");
    let relink_while = |sql: &str| {
        sandbox.ok("rm -rf home new trace && cp -a start/. .");
        let stopped = sandbox.start(&format!(
            "exec strace -f -o trace -P {archive} -e trace=read,pread64 -e inject=read,pread64:signal=SIGSTOP:when=1 bk-adopt --relink new"
        ));
        let pid = stopped.id();
        sandbox.ok(UNTIL_STOPPED);
        let catalog = duckdb::Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
        catalog.execute_batch(sql).unwrap();
        drop(catalog);
        sandbox.ok(&format!(
            "kill -CONT $(cat /proc/{pid}/task/{pid}/children)"
        ));
        crate::support::Ran::new(sql, stopped.wait_with_output().unwrap())
    };
    let ran = relink_while("UPDATE backup_records SET description = 'new' WHERE id = 1");
    assert_eq!((ran.status, ran.records().len()), (0, 3), "{ran:#?}");
    let record = sandbox.ok("bk-ls 1 --json").record();
    assert_eq!(record["description"], "new", "no change of others is lost");
    assert_eq!(record["backup_path"], archive);

    let ran = relink_while(
        "DELETE FROM backup_records WHERE id = 1; UPDATE backup_records SET backup_path = '/x' WHERE id = 2",
    );
    ran.fails(
        1,
        "bk-adopt: cannot relink 'a': there is no backup 1 'a'
bk-adopt: cannot relink 'b': it was changed in the meantime; try again\n",
    );
    assert_eq!(ran.record()["backup_name"], "c");
    let ran = relink_while(&format!(
        "UPDATE backup_records SET backup_path = '{archive}' WHERE id = 3"
    ));
    assert!(
        ran.stderr.starts_with(&format!(
            "bk-adopt: cannot relink 'a': '{archive}' was adopted in the meantime\n"
        )),
        "{ran:#?}"
    );
}
