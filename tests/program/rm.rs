//! What bk-rm removes, refuses and prints.
//!
//! Full disks, signals, crashes and places that cannot be written are in rm_faults.rs, many
//! backups and few open files in rm_scale.rs, pipelines as they are typed in
//! transcripts/13-removal.txt.

use std::fs;

use crate::support::{Ran, Sandbox, has};
use serde_json::Value;

/// A sandbox with backups of `app/`.
fn with_backups(names: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_app();
    for name in names {
        sandbox.ok(&format!("bk-create --name {name} app"));
    }
    sandbox
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let name = |it: &Value| it["backup_name"].as_str().unwrap().to_owned();
    sandbox.records().iter().map(name).collect()
}

/// Waits for all that were started, and returns how they ended.
fn ends(started: Vec<std::process::Child>) -> Vec<Ran> {
    let end = |child: std::process::Child| Ran::new("", child.wait_with_output().unwrap());
    started.into_iter().map(end).collect()
}

#[test]
fn the_archive_goes_and_the_record_and_the_ledger_keeps_it() {
    let sandbox = with_backups(&["a", "b"]);
    let size = fs::metadata(sandbox.archive("a")).unwrap().len();
    let before = sandbox.records().into_iter().next().unwrap();
    let ran = sandbox.ok("bk-rm a");
    assert_eq!(ran.stderr, "");
    let mut expected = before;
    expected["file_status"] = "missing".into();
    expected["freed"] = size.into();
    assert_eq!(ran.record(), expected);
    assert!(ran.stdout.ends_with(&format!("\"freed\":{size}}}\n")));
    assert_eq!(names(&sandbox), ["b"]);
    assert_eq!(sandbox.ok("ls home/archives").stdout, "b.tar.gz\n");
    assert_eq!(sandbox.ledger()[2], "a remove ok");
    sandbox.sql(&format!(
        "SELECT CASE WHEN details = '{{\"path\":\"{}\",\"freed\":{size}}}' THEN 1 ELSE error(details) END
         FROM backup_events WHERE event = 'remove'",
        sandbox.archive("a").display()
    ));
}

#[test]
fn keys_of_the_line_pass_through_and_those_of_the_record_do_not() {
    let sandbox = with_backups(&["a"]);
    let other = sandbox.write("other", "not to be removed\n");
    let line = format!(
        r#"{{"z":[1],"id":1,"backup_path":"{}","freed":"no","backup_size":7}}"#,
        other.display()
    );
    let record = sandbox.ok(&format!("echo '{line}' | bk-rm")).record();
    assert_eq!(record["z"][0], 1);
    assert!(record["freed"].as_u64().unwrap() > 100);
    assert_eq!(record["freed"], record["backup_size"]);
    assert!(other.exists());
}

#[test]
fn nothing_is_removed_for_bad_input() {
    let sandbox = with_backups(&["a", "b"]);
    for (input, told) in [
        (
            "1\n{\"id\":2",
            "bad input: line 2: it is not JSON (column 7)",
        ),
        (
            "1\n2",
            "bad input: line 2: it ends without a newline, so the number may be cut short",
        ),
        (
            "1\n{}\n",
            "bad input: line 2: it has neither an id nor a backup_name",
        ),
        (
            "\"a\"\n[]\n",
            "bad input: line 2: it is neither an object nor an id nor a name",
        ),
    ] {
        let ran = sandbox.run(&format!("printf '%s' '{input}' | bk-rm"));
        ran.fails(2, &format!("bk-rm: {told}\n"));
        assert_eq!(ran.stdout, "");
    }
    sandbox.run("bk-rm a ../b").fails(
        2,
        "bk-rm: invalid name '../b': use no slash and no control character\n",
    );
    sandbox.run("bk-rm a -").fails(
        2,
        "bk-rm: '-' must be the only operand: it reads standard input\n",
    );
    assert_eq!(names(&sandbox), ["a", "b"]);
    // Not even a session was begun.
    assert_eq!(sandbox.ledger().len(), 2);
}

#[test]
fn empty_input_is_success_with_a_catalog_and_without() {
    let sandbox = Sandbox::new();
    for line in ["bk-rm", "bk-rm -", "bk-rm -n"] {
        let ran = sandbox.ok(line);
        assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
    }
    let told = sandbox.ok("bk-rm --table").stderr;
    assert_eq!(told, "bk-rm: there is nothing to remove\n");
    let home = sandbox.home().display().to_string();
    let told = format!(
        "bk-rm: there is no catalog in '{home}': bk-create makes one with the first backup, \
         bk-adopt one of archives that are there; --home names another place\n"
    );
    sandbox.run("bk-rm a").fails(1, &told);
    sandbox.run("bk-rm -n a").fails(1, &told);
    assert!(!sandbox.home().exists());
}

#[test]
fn what_is_refused_does_not_stop_the_others() {
    let sandbox = with_backups(&["a", "b", "c", "d"]);
    sandbox.sql(
        "UPDATE backup_records SET protected = true WHERE id = 1;
         UPDATE backup_records SET status = 'moving',
             backup_metadata = '{\"moving\":{\"to\":\"/nowhere/b.tar.gz\"}}' WHERE id = 2;",
    );
    // The mover is alive: it holds the archive.
    let ran = sandbox.run(
        "exec 9<home/archives/b.tar.gz; flock -n 9
         bk-rm a b c nobody 77 d >out; code=$?; wc -l <out; exit $code",
    );
    ran.fails(
        1,
        "bk-rm: cannot remove 'a': it is protected; --force-protected removes it all the same\n\
         bk-rm: cannot remove 'b': another program is moving it\n\
         bk-rm: there is no backup 'nobody'\n\
         bk-rm: there is no backup 77\n",
    );
    assert_eq!(ran.stdout, "2\n");
    assert_eq!(
        sandbox.ok("ls home/archives").stdout,
        "a.tar.gz\nb.tar.gz\n"
    );
    sandbox.ok("bk-rm --force-protected a b");
    assert_eq!(sandbox.ok("ls home/archives").stdout, "");
}

#[test]
fn one_that_is_being_made_is_refused() {
    let sandbox = with_backups(&["a"]);
    sandbox.sql("UPDATE backup_records SET status = 'creating', backup_hash = NULL, backup_size = NULL, file_count = NULL");
    let ran = sandbox.run(
        "mv home/archives/a.tar.gz home/archives/a.tar.gz.partial
        exec 9<home/archives/a.tar.gz.partial; flock -n 9; bk-rm a",
    );
    ran.fails(
        1,
        "bk-rm: cannot remove 'a': another program is creating it\n",
    );
    assert_eq!(sandbox.ok("ls home/archives").stdout, "a.tar.gz.partial\n");
}

#[test]
fn a_failed_attempt_goes_with_its_partial() {
    let sandbox = with_backups(&["a"]);
    sandbox.sql("UPDATE backup_records SET status = 'failed', backup_hash = NULL, backup_size = NULL, file_count = NULL");
    sandbox.ok(
        "mv home/archives/a.tar.gz home/archives/a.tar.gz.partial; truncate -s 100 home/archives/*",
    );
    assert_eq!(sandbox.ok("bk-rm a").record()["freed"], 100);
    assert_eq!(sandbox.ok("ls home/archives; bk-ls --json").stdout, "");
}

#[test]
fn a_line_that_says_keep_is_refused() {
    let sandbox = with_backups(&["a", "b"]);
    let ran = sandbox.run(
        r#"printf '{"id":1,"decision":{"action":"keep"}}\n{"id":2,"decision":{"action":"remove","reasons":[]}}\n' | bk-rm"#,
    );
    ran.fails(
        1,
        "bk-rm: cannot remove 'a': its line says that it is to be kept\n",
    );
    let record = ran.record();
    assert_eq!(record["decision"]["action"], "remove");
    assert_eq!(names(&sandbox), ["a"]);
}

#[test]
fn a_line_of_another_catalog_is_refused() {
    let sandbox = with_backups(&["a", "b"]);
    sandbox
        .run(r#"echo '{"id":1,"backup_name":"b"}' | bk-rm"#)
        .fails(
            1,
            "bk-rm: the backup 1 is named 'a', not 'b': the line is from another catalog\n",
        );
    assert_eq!(names(&sandbox), ["a", "b"]);
}

/// Replaced under the same name since it was listed: the id says which was meant.
#[test]
fn one_that_was_replaced_since_it_was_listed_stays() {
    let sandbox = with_backups(&["a"]);
    sandbox.ok("bk-ls --json >listed; bk-rm a; bk-create --name a app");
    let ran = sandbox.run("bk-rm <listed");
    assert_eq!((ran.status, &*ran.stdout), (1, ""));
    let told = ran
        .stderr
        .strip_prefix("bk-rm: backup 1 'a' is gone: bk-rm removed it at 20");
    assert!(told.is_some_and(|it| it.ends_with("Z\n")), "{ran:#?}");
    sandbox.ok("gzip -t home/archives/a.tar.gz");
    // A name alone means the one that has it now.
    sandbox.ok("bk-rm a");
}

#[test]
fn one_that_was_protected_since_it_was_listed_stays() {
    let sandbox = with_backups(&["a"]);
    sandbox.ok("bk-ls --json >listed");
    sandbox.sql("UPDATE backup_records SET protected = true");
    sandbox.run("bk-rm <listed").fails(
        1,
        "bk-rm: cannot remove 'a': it is protected; --force-protected removes it all the same\n",
    );
    sandbox.ok("bk-rm --force-protected <listed");
}

#[test]
fn one_that_is_given_twice_is_removed_once() {
    let sandbox = with_backups(&["a", "b"]);
    sandbox.sql("UPDATE backup_records SET protected = true WHERE id = 2");
    // With few open files each is in a part of its own.
    let ran = sandbox.run("ulimit -n 24; bk-rm 1 a 1 b 2 a");
    ran.fails(
        1,
        "bk-rm: cannot remove 'b': it is protected; --force-protected removes it all the same\n",
    );
    assert_eq!(ran.record()["id"], 1);
    let removed = sandbox
        .ledger()
        .iter()
        .filter(|it| it.contains("remove"))
        .count();
    assert_eq!(removed, 1);
}

#[test]
fn a_missing_archive_is_no_error() {
    let sandbox = with_backups(&["a"]);
    sandbox.ok("rm home/archives/*");
    let ran = sandbox.ok("bk-rm a");
    assert_eq!((&ran.record()["freed"], &*ran.stderr), (&0.into(), ""));
}

#[test]
fn a_dry_run_tells_what_would_be_and_removes_nothing() {
    let sandbox = with_backups(&["a", "b", "c", "d"]);
    sandbox.sql("UPDATE backup_records SET protected = true WHERE id = 2");
    sandbox.ok("rm home/archives/c.tar.gz; mv home/archives/d.tar.gz x; ln -s $PWD/x home/archives/d.tar.gz");
    sandbox.ok("cp home/catalog.duckdb before");
    let dry = sandbox.run("bk-rm -n a b c d nobody");
    let told = format!(
        "bk-rm: cannot remove 'b': it is protected; --force-protected removes it all the same\n\
         bk-rm: there is no backup 'nobody'\n\
         bk-rm: cannot remove 'd': '{}': it is a symbolic link; --keep-file removes only the record\n",
        sandbox.archive("d").display()
    );
    dry.fails(1, &told);
    sandbox.ok("cmp home/catalog.duckdb before; ls home/archives/a.tar.gz");
    let wet = sandbox.run("bk-rm a b c d nobody");
    wet.fails(1, &told);
    let comparable = |ran: &Ran| {
        let status = ("available", "missing");
        ran.stdout.replace(status.0, status.1)
    };
    assert_eq!(comparable(&dry), comparable(&wet));
    assert_eq!(dry.records()[0]["file_status"], "available");
    assert_eq!(names(&sandbox), ["b", "d"]);
}

#[test]
fn keep_file_removes_the_record_alone() {
    let sandbox = with_backups(&["a"]);
    let record = sandbox.ok("bk-rm --keep-file a").record();
    assert_eq!(
        (&record["freed"], &record["file_status"]),
        (&0.into(), &"available".into())
    );
    assert!(sandbox.records().is_empty());
    sandbox.ok("bk-adopt home/archives/a.tar.gz");
    assert_eq!(names(&sandbox), ["a"]);
}

#[test]
fn what_is_no_archive_is_refused_and_its_record_can_go_alone() {
    let sandbox = with_backups(&["link", "dir", "fifo"]);
    sandbox.ok("cd home/archives; mkdir ../../keep; mv *.gz ../../keep
        ln -s ../../keep/link.tar.gz .; mkdir dir.tar.gz; mkfifo fifo.tar.gz");
    let before = sandbox.records();
    let ran = sandbox.run("bk-rm link dir fifo");
    let told = |name: &str, what: &str| {
        let path = sandbox.archive(name).display().to_string();
        format!(
            "bk-rm: cannot remove '{name}': '{path}': it is {what}; --keep-file removes only the record\n"
        )
    };
    ran.fails(
        1,
        &[
            told("link", "a symbolic link"),
            told("dir", "no regular file"),
            told("fifo", "no regular file"),
        ]
        .concat(),
    );
    assert_eq!(sandbox.records(), before);
    sandbox.ok("bk-rm --keep-file link dir fifo; ls keep/link.tar.gz home/archives/link.tar.gz");
    assert!(sandbox.records().is_empty());
}

#[test]
fn ten_at_once_remove_one_once() {
    let sandbox = with_backups(&["a", "b"]);
    let started = (0..10).map(|_| sandbox.start("bk-rm 1")).collect();
    let ran = ends(started);
    let done: Vec<_> = ran.iter().filter(|it| it.status == 0).collect();
    assert_eq!(done.len(), 1, "{ran:#?}");
    assert!(done[0].record()["freed"].as_u64().unwrap() > 0);
    for it in ran.iter().filter(|it| it.status != 0) {
        assert_eq!((it.status, &*it.stdout), (1, ""), "{ran:#?}");
        let is_told = it
            .stderr
            .starts_with("bk-rm: backup 1 'a' is gone: bk-rm removed it at 20")
            || it.stderr == "bk-rm: cannot remove 'a': another program is removing it\n";
        assert!(is_told && it.stderr.lines().count() == 1, "{ran:#?}");
    }
    assert_eq!(names(&sandbox), ["b"]);
}

/// All of them remove all: each is removed by one.
#[test]
fn many_at_once_remove_each_once() {
    let sandbox = with_backups(&["a", "b", "c", "d", "e", "f"]);
    let started = (0..6).map(|_| sandbox.start("bk-ls | bk-rm")).collect();
    let mut ids: Vec<_> = ends(started)
        .iter()
        .flat_map(Ran::records)
        .map(|it| it["id"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
    assert_eq!(sandbox.ok("ls home/archives; bk-ls --json").stdout, "");
}

#[test]
fn a_reader_that_goes_away_stops_nothing() {
    let sandbox = with_backups(&["a", "b", "c"]);
    let ran = sandbox.ok("set -o pipefail; bk-rm a b c | true");
    assert_eq!(ran.stderr, "");
    assert!(sandbox.records().is_empty());
}

#[test]
fn a_full_standard_output_stops_nothing_and_is_told() {
    if !fs::exists("/dev/full").unwrap() {
        return;
    }
    let sandbox = with_backups(&["a", "b", "c"]);
    for flags in ["a", "--table b c"] {
        sandbox.run(&format!("bk-rm {flags} >/dev/full")).fails(
            1,
            "bk-rm: cannot write to standard output: No space left on device\n",
        );
    }
    assert!(sandbox.records().is_empty());
}

#[test]
fn a_terminal_gets_a_table() {
    if !has("script") {
        return;
    }
    let sandbox = with_backups(&["a", "b"]);
    sandbox.ok("truncate -s 1000 home/archives/*");
    let ran = sandbox
        .ok("script -qec 'stty cols 120; bk-rm a b' /dev/null </dev/null | sed 's/\\x1b[^m]*m//g'");
    let rows: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["ID", "TYPE", "CREATED", "FREED", "SOURCE", "NAME"],
        "{ran:#?}"
    );
    for (row, name) in rows[1..].iter().zip(["a", "b"]) {
        assert_eq!((row[4], row[5], row[7]), ("1000", "B", name), "{ran:#?}");
    }
}

#[test]
fn one_that_a_living_program_is_removing_is_gone() {
    let sandbox = with_backups(&["a"]);
    sandbox.sql("UPDATE backup_records SET status = 'deleting'");
    let told = "bk-rm: cannot remove 'a': another program is removing it\n";
    for line in ["bk-rm a", "bk-rm -n a"] {
        let ran = sandbox.run(&format!(
            "exec 9<home/archives/a.tar.gz; flock -n 9; {line}"
        ));
        ran.fails(1, told);
    }
    sandbox.ok("gzip -t home/archives/a.tar.gz");
}
