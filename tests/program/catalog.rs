//! The catalog protocol from outside: many programs at once, locks, damaged and foreign catalogs.

use std::fs;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Ran, Sandbox, can_trace, has};
use duckdb::Connection;

/// DuckDB's own view of the catalog, as somebody's duckdb shell has it.
fn duckdb(sandbox: &Sandbox) -> Connection {
    Connection::open(sandbox.home().join("catalog.duckdb")).unwrap()
}

fn end(line: &str, child: Child) -> Ran {
    Ran::new(line, child.wait_with_output().unwrap())
}

#[test]
fn thirty_at_once_on_a_fresh_home_all_succeed_and_nothing_is_lost() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    // A reader that is the very first finds no catalog, which is its right answer.
    let line = |n: usize| match n % 2 {
        0 => format!("bk-create --name backup-{n} app"),
        _ => "until test -e home/catalog.duckdb; do sleep 0.01; done; bk-ls".to_owned(),
    };
    let children: Vec<_> = (0..30).map(|n| sandbox.start(&line(n))).collect();
    for (n, child) in children.into_iter().enumerate() {
        let ran = end(&line(n), child);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    }
    let records = sandbox.records();
    assert_eq!(records.len(), 15);
    assert!(records.iter().all(|record| record["status"] == "completed"));
    let mut ids: Vec<_> = records
        .iter()
        .map(|record| record["id"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 15, "ids are never shared");
    sandbox.ok("bk-ls | jq -r '\"\\(.backup_hash)  \\(.backup_path)\"' | sha256sum -c --quiet");
}

#[test]
fn default_names_that_collide_are_numbered() {
    let sandbox = Sandbox::with_app();
    let ran = sandbox.ok("printf '%s\\n' '{\"sources\":[\"app\"]}' '{\"sources\":[\"app\"]}' '{\"sources\":[\"app\"]}' | bk-create -");
    let names: Vec<_> = ran
        .records()
        .iter()
        .map(|record| record["backup_name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names[1], format!("{}_2", names[0]));
    assert_eq!(names[2], format!("{}_3", names[0]));
}

#[test]
fn a_held_lock_is_named_and_waited_for() {
    if !has("flock") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let note = format!("{} bk-create 2026-11-24T08:00:00Z\n", std::process::id());
    sandbox.write("note", &note);
    let held = "exec 9<>home/catalog.lock; flock -x 9; cat note >&9; ";
    let ran = sandbox.run(&format!("{held} bk-ls --lock-timeout 50ms"));
    ran.fails(
        75,
        &format!(
            "bk-ls: the catalog is locked by bk-create (pid {}, since 2026-11-24T08:00:00Z) and stayed so for 0 s; try again, or wait longer with --lock-timeout\n",
            std::process::id()
        ),
    );
    let ran = sandbox.run(&format!(
        "{held} bk-create --name b --lock-timeout 50ms app"
    ));
    assert_eq!((ran.status, ran.stdout.as_str()), (75, ""), "{ran:#?}");
    sandbox
        .ok("(flock -x 9; sleep 0.3) 9<>home/catalog.lock & sleep 0.1; bk-ls --lock-timeout 30s");
}

#[test]
fn a_duckdb_shell_that_has_it_open_is_named_and_waited_for() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let shell = duckdb(&sandbox);
    let ran = sandbox.run("bk-ls --lock-timeout 50ms");
    assert_eq!(ran.status, 75, "{ran:#?}");
    assert!(
        ran.stderr
            .contains(&format!("(PID {})", std::process::id())),
        "{ran:#?}"
    );
    let waiting = sandbox.start("bk-ls --lock-timeout 30s");
    sleep(Duration::from_millis(200));
    drop(shell);
    let ran = end("bk-ls", waiting);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
}

#[test]
fn a_stream_of_readers_does_not_starve_a_writer() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let readers = "until test -e stop; do bk-ls >/dev/null; done";
    let children: Vec<_> = (0..4).map(|_| sandbox.start(readers)).collect();
    let began = Instant::now();
    let ran = sandbox.run("bk-create --name b --lock-timeout 20s app");
    sandbox.write("stop", "");
    for child in children {
        end(readers, child);
    }
    assert_eq!(ran.status, 0, "after {:?}: {ran:#?}", began.elapsed());
}

#[test]
fn a_record_that_breaks_the_rules_is_named_and_does_not_hide_the_others() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("for n in a b c; do bk-create --name $n app; done");
    sandbox.sql("UPDATE backup_records SET backup_hash = 'x' WHERE id = 2");
    let ran = sandbox.run("bk-ls | jq .id");
    assert_eq!(ran.stdout, "1\n3\n");
    let damaged = "bk-ls: the record 2 'b' in the catalog is damaged: its hash is not 64 lower-case hex digits\n";
    sandbox.run("bk-ls >/dev/null").fails(1, damaged);
    sandbox.run("bk-ls b").fails(1, damaged);
    sandbox.ok("bk-create --name d app");
}

#[test]
fn a_catalog_of_another_version_is_refused_with_the_remedy() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    for (version, error) in [
        (
            "5",
            "the catalog is of version 5, newer than this program, which knows 4: install the newer bk",
        ),
        ("0", "the catalog is of version 0, which there never was"),
    ] {
        sandbox.sql(&format!(
            "UPDATE settings SET value = '{version}' WHERE name = 'schema_version'"
        ));
        sandbox.run("bk-ls").fails(1, &format!("bk-ls: {error}\n"));
        sandbox
            .run("bk-create --name b app")
            .fails(1, &format!("bk-create: {error}\n"));
    }
}

#[test]
fn a_damaged_catalog_names_the_remedy_and_is_left_as_it_is() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    sandbox.write("home/catalog.duckdb", "no catalog");
    for line in ["bk-ls", "bk-create --name b app"] {
        let ran = sandbox.run(line);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
        assert!(ran.stderr.contains("with bk-adopt"), "{ran:#?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    }
    let left = fs::read_to_string(sandbox.home().join("catalog.duckdb")).unwrap();
    assert_eq!(left, "no catalog");
}

#[test]
fn the_catalog_can_be_read_with_duckdb_and_has_a_ledger() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    sandbox.run("bk-create --name a app");
    let shell = duckdb(&sandbox);
    let mut statement = shell
        .prepare("SELECT program, backup_id, event, outcome FROM backup_events ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| {
        let id: Option<i64> = row.get(1)?;
        Ok((row.get(0)?, id, row.get(2)?, row.get(3)?))
    });
    let events: Vec<(String, Option<i64>, String, String)> =
        rows.unwrap().map(Result::unwrap).collect();
    let create = |id, outcome: &str| {
        (
            "bk-create".to_owned(),
            id,
            "create".to_owned(),
            outcome.to_owned(),
        )
    };
    assert_eq!(events[0], create(Some(1), "ok"));
    let columns: Vec<String> = shell
        .prepare("SELECT column_name FROM duckdb_columns() WHERE table_name = 'backup_records' ORDER BY column_index")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let keys: Vec<_> = sandbox_keys();
    assert_eq!(columns, keys);
}

/// The keys of a line are the columns in their order.
fn sandbox_keys() -> Vec<String> {
    let sandbox = Sandbox::with_app();
    let line = sandbox.ok("bk-create --name a app").stdout;
    let record: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
    let order = |key: &String| line.find(&format!("\"{key}\":")).unwrap();
    let mut keys: Vec<String> = record.keys().cloned().collect();
    keys.sort_by_key(order);
    let added = ["file_status", "file_name", "copies"];
    keys.retain(|key| !added.contains(&key.as_str()));
    keys
}

#[test]
fn nobody_else_can_look_into_the_home() {
    let sandbox = Sandbox::with_app();
    let ran = sandbox.ok("umask 0; bk-create --name a app >/dev/null; stat -c '%a %n' home home/archives home/archives/*");
    assert_eq!(
        ran.stdout,
        "700 home\n700 home/archives\n600 home/archives/a.tar.gz\n"
    );
}

#[test]
fn no_reader_overtakes_a_writer_that_waits() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    // Somebody reads until the file is there.
    let reading = "until test -e stop; do sleep 0.01; done";
    let reader = format!("flock -s home/catalog.lock sh -c 'touch begun; {reading}'");
    let reader = (reader.clone(), sandbox.start(&reader));
    sandbox.ok("until test -e begun; do sleep 0.01; done");
    sandbox.ok("bk-ls --lock-timeout 0s");
    let writer = "bk-set --description x a";
    let writer = (writer, sandbox.start(writer));
    let waits = sandbox
        .run("for n in $(seq 1000); do flock -n -s home true || exit 0; sleep 0.01; done; exit 1");
    let overtakes = sandbox.run("bk-ls --lock-timeout 0.2s");
    sandbox.write("stop", "");
    assert_eq!(end(&reader.0, reader.1).status, 0);
    assert_eq!(end(writer.0, writer.1).status, 0);
    assert_eq!((waits.status, overtakes.status), (0, 75), "{overtakes:#?}");
    sandbox.ok("bk-ls --lock-timeout 0s");
}

#[test]
fn the_lock_is_one_file_for_ever_and_its_users_alone() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; stat -c %i home/catalog.lock >before");
    for line in ["bk-ls", "bk-set --description x a", "bk-rm a"] {
        sandbox.ok(&format!(
            "{line} && stat -c %i home/catalog.lock | cmp before"
        ));
    }
    sandbox.ok("rm home/catalog.lock; umask 0; bk-ls");
    assert_eq!(sandbox.ok("stat -c %a home/catalog.lock").stdout, "600\n");
}

#[test]
fn a_link_in_the_place_of_the_lock_is_not_followed() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; echo precious >victim; ln -sf ../victim home/catalog.lock");
    for program in ["bk-ls", "bk-set --description x a"] {
        let name = program.split(' ').next().unwrap();
        let lock = sandbox.home().join("catalog.lock");
        let lock = lock.display();
        let error = format!("{name}: cannot lock '{lock}': Too many levels of symbolic links\n");
        sandbox.run(program).fails(1, &error);
    }
    assert_eq!(sandbox.ok("cat victim").stdout, "precious\n");
}

/// Closing a second descriptor would drop DuckDB's lock (fcntl(2)), and a second thread is one
/// more that the memory is shared by.
#[test]
fn duckdb_alone_opens_the_catalog_and_in_one_thread() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    for line in [
        "bk-ls",
        "bk-set --description x a",
        "bk-verify --quick a",
        "bk-mv a to",
        "bk-rm a",
    ] {
        sandbox.ok(&format!(
            "strace -f --seccomp-bpf -qq -o trace -e trace=openat,close,clone,clone3 {line}"
        ));
        let trace = fs::read_to_string(sandbox.path("trace")).unwrap();
        let (mut opened, mut session_count) = (None, 0);
        for call in trace.lines() {
            let result = || call.rsplit_once("= ").unwrap().1;
            if call.contains("/catalog.duckdb\"") {
                assert_eq!(opened, None, "{line}: {call} in\n{trace}");
                opened = Some(result());
                session_count += 1;
            } else if opened.is_some_and(|fd| call.contains(&format!("close({fd})"))) {
                opened = None;
            }
            assert!(
                opened.is_none() || !call.contains("clone"),
                "{line}: {call}"
            );
        }
        assert!(session_count > 0, "{line}:\n{trace}");
    }
}

#[test]
fn a_catalog_reads_no_other_file() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let secret = sandbox.write("secret", "/elsewhere");
    sandbox.sql(&format!(
        "CREATE TABLE old AS FROM settings; DROP TABLE settings; CREATE VIEW settings AS
         SELECT name, value FROM old UNION ALL SELECT 'storage_dir', content FROM read_text('{}')",
        secret.display()
    ));
    for line in ["bk-ls", "bk-df", "bk-set --description x a"] {
        let ran = sandbox.run(line);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
        assert!(ran.stderr.contains("disabled by configuration"), "{ran:#?}");
    }
}

#[test]
fn older_shells_of_duckdb_than_the_format_are_told_by_the_file() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let sql =
        "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'catalog'";
    let version: String = duckdb(&sandbox)
        .query_row(sql, [], |row| row.get(0))
        .unwrap();
    assert!(version.starts_with("v1.5.0"), "{version}");
}

#[test]
fn a_line_in_a_long_ledger_does_not_write_the_ledger_anew() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    // As they were written before the catalog had small row groups: 20 000 rows in one.
    sandbox.sql("INSERT INTO backup_events SELECT nextval('event_id'), now()::TIMESTAMP, 'bk-x', i, 'name-' || i, 'set', 'ok', '{\"n\":\"' || md5(i::VARCHAR) || '\"}' FROM range(20000) rows(i)");
    let size = || {
        fs::metadata(sandbox.home().join("catalog.duckdb"))
            .unwrap()
            .len()
    };
    let long = size();
    assert!(long > 1_000_000, "{long}");
    for n in 0..5 {
        sandbox.ok(&format!("bk-set --description {n} a"));
        assert!(size() < long + long / 4, "{} after {long}", size());
    }
    let events = sandbox.ok("bk-log --json | wc -l").stdout;
    assert_eq!(events.trim(), "20006");
}
