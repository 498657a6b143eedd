//! bk-log: the ledger is printed as it is asked for, counted, and followed.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Ran, Sandbox, checkout};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// A ledger with a bit of everything: `a` is renamed to `x`, `b` removed, one creation refused.
fn lived() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "bk-create --name a app; bk-create --name b app; bk-verify a b; bk-set --name x a; bk-rm b",
    );
    sandbox.ok("! bk-create --name c nowhere 2>/dev/null");
    sandbox
}

/// An empty catalog, but for its ledger.
fn with_ledger(rows: &str) -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    sandbox.sql(&format!(
        "DELETE FROM backup_records; DELETE FROM backup_events; INSERT INTO backup_events {rows}"
    ));
    sandbox
}

/// Event, backup and outcome of each line.
fn told(ran: &Ran) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |it: &Value| {
        let words = ["event", "backup_name", "outcome"].map(|key| word(&it[key]));
        words.join(" ")
    };
    ran.records().iter().map(line).collect()
}

const ALL: [&str; 7] = [
    "create a ok",
    "create b ok",
    "verify a ok",
    "verify b ok",
    "set a ok",
    "remove b ok",
    "create - failed",
];

#[test]
fn a_line_has_the_columns_of_the_ledger_and_a_table_tells_people() {
    let sandbox = lived();
    let ran = sandbox.ok("bk-log");
    assert_eq!(told(&ran), ALL);
    let first = &ran.records()[0];
    let keys: Vec<_> = first.as_object().unwrap().keys().cloned().collect();
    let columns = "id happened_at program backup_id backup_name event outcome details";
    assert_eq!(keys.join(" "), columns);
    assert_eq!(first["details"]["file_count"], 6);
    // It is recorded after it was begun.
    let made = sandbox.records()[0]["created_at"].clone();
    let time = |value: &Value| value.as_str().unwrap().trim_end_matches('Z').to_owned();
    assert!(time(&first["happened_at"]) > time(&made), "{first} {made}");

    let table = sandbox.ok("bk-log --table").stdout;
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines[0]
            .starts_with("TIME                 PROGRAM    EVENT   OUTCOME  BACKUP  JOB  DETAILS"),
        "{table}"
    );
    for (line, end) in [
        (1, " s"),
        (5, "set     ok       a       -    backup_name"),
        (6, "KiB freed"),
        (
            7,
            "failed   -       -    cannot back up 'nowhere': No such file or directory",
        ),
    ] {
        assert!(lines[line].ends_with(end), "{table}");
    }
    // Local times.
    let there = sandbox.ok("TZ=Asia/Tokyo bk-log --table").stdout;
    assert_ne!(there, table);
    sandbox
        .run("bk-log --table --event auto")
        .fails(0, "bk-log: no matching events\n");
    // Nobody's terminal is played tricks on.
    sandbox
        .sql("UPDATE backup_events SET details = '{\"reason\":\"a\\u001b[31m\\nb\"}' WHERE id = 1");
    let hostile = sandbox.ok("bk-log --table --limit 7").stdout;
    assert!(hostile.contains(r"a\u{1b}[31m\nb"), "{hostile}");
}

#[test]
fn each_flag_asks_for_its_rows() {
    let sandbox = lived();
    sandbox.sql(
        "UPDATE backup_events SET happened_at = TIMESTAMP '2026-11-01 12:00' + to_days(id::INT)",
    );
    for (flags, lines) in [
        ("--event create", &[0, 1, 6][..]),
        ("-e verify,set -e 'remove, set'", &[2, 3, 4, 5]),
        ("--outcome failed", &[6]),
        ("-o ok", &[0, 1, 2, 3, 4, 5]),
        ("-o ok,failed", &[0, 1, 2, 3, 4, 5, 6]),
        ("--since 2026-11-06T12:00:00Z", &[4, 5, 6]),
        ("--since 2026-11-07", &[5, 6]),
        ("--until 2026-11-03T12:00:00Z", &[0]),
        ("--since 2026-11-03 --until 2026-11-05", &[1, 2]),
        ("--since 2026-11-05 --until 2026-11-03", &[]),
        ("--limit 2", &[5, 6]),
        ("--limit 0", &[]),
        ("--limit 99", &[0, 1, 2, 3, 4, 5, 6]),
        ("--limit 2 -e create", &[1, 6]),
        ("--limit 1 -o ok --until 2026-11-07 b", &[3]),
        ("--event auto", &[]),
    ] {
        let expected: Vec<_> = lines.iter().map(|at| ALL[*at]).collect();
        let ran = sandbox.ok(&format!("bk-log {flags}"));
        assert_eq!(told(&ran), expected, "{flags}");
        assert_eq!(ran.stderr, "", "{flags}");
    }
    // A date is that of the local zone.
    let ran = sandbox.ok("TZ=Pacific/Kiritimati bk-log --since 2026-11-07 --until 2026-11-08");
    assert_eq!(told(&ran), [ALL[4]]);
}

#[test]
fn backups_are_named_as_they_are_or_were_also_when_they_are_gone() {
    let sandbox = lived();
    let (a, b) = (
        ["create a ok", "verify a ok", "set a ok"],
        ["create b ok", "verify b ok", "remove b ok"],
    );
    for (line, expected) in [
        ("bk-log b", &b),
        ("bk-log 2", &b),
        ("bk-log 1", &a),
        // By the name that it has, and by the one that it had.
        ("bk-log x", &a),
        ("bk-log a", &a),
        ("bk-log a x 1", &a),
        ("bk-ls | bk-log -", &a),
        ("echo '{\"id\":1,\"backup_name\":\"a\"}' | bk-log -", &a),
        // A row of the ledger means its backup: row 4 is one of backup 2.
        ("bk-log --event verify b | bk-log -", &b),
    ] {
        let ran = sandbox.ok(line);
        assert_eq!(told(&ran), expected, "{line}");
    }
    // One that the catalog alone knows.
    sandbox.sql("UPDATE backup_records SET id = 9, backup_name = 'new'");
    let none = sandbox.ok("bk-log 9 new");
    assert_eq!(none.stdout, "");
    let empty = sandbox.ok("bk-log - </dev/null; bk-log --follow - </dev/null");
    assert_eq!((empty.stdout.as_str(), empty.stderr.as_str()), ("", ""));
}

#[test]
fn what_nobody_knows_is_told_and_the_rest_is_printed() {
    let sandbox = lived();
    let ran = sandbox.run("bk-log nobody b 77");
    ran.fails(
        1,
        "bk-log: there is no backup 'nobody', nor was there one\nbk-log: there is no backup 77, nor was there one\n",
    );
    assert_eq!(told(&ran).len(), 3);
    let ran = sandbox.run("bk-log nobody");
    ran.fails(
        1,
        "bk-log: there is no backup 'nobody', nor was there one\n",
    );
    assert_eq!(ran.stdout, "");
    sandbox.run("bk-log --stats nobody").fails(
        1,
        "bk-log: there is no backup 'nobody', nor was there one\n",
    );
    sandbox
        .run("echo '{\"id\":1,\"backup_name\":\"b\"}' | bk-log -")
        .fails(
            1,
            "bk-log: the backup 1 is named 'x', not 'b': the line is from another catalog\n",
        );
}

#[test]
fn a_row_of_the_ledger_leads_other_programs_to_its_backup() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for n in 1 2 3 4; do bk-create --name n$n app; done; bk-verify n3 n4");
    // Rows 5 and 6 are of backups 3 and 4; to no program they are backups 5 and 6, or 1 and 2.
    let gone = sandbox.ok("bk-log --event verify | bk-rm").records();
    let names: Vec<_> = gone.iter().map(|it| it["backup_name"].clone()).collect();
    assert_eq!(names, ["n3", "n4"]);
    // The row of no backup has an id too, and that is no backup's.
    sandbox.ok("bk-mv --all other");
    sandbox.sql(
        "UPDATE backup_events SET id = 1000 WHERE event = 'storage';
         UPDATE backup_records SET id = 1000 WHERE backup_name = 'n1'",
    );
    let ran = sandbox.run("bk-log --event storage | bk-rm");
    ran.fails(
        2,
        "bk-rm: bad input: line 1: it has neither an id nor a backup_name\n",
    );
    assert_eq!(sandbox.records().len(), 2);
}

#[test]
fn a_mistake_prints_nothing() {
    let sandbox = lived();
    let known = "create, verify, restore, remove, move, set, adopt, prune, auto, recover, storage, upgrade, notify, push, pull, copy-check or copy-remove";
    for (flags, reason) in [
        (
            "--event create,nope",
            format!("--event: invalid event 'nope': use {known}"),
        ),
        (
            "--event ''",
            format!("--event: invalid event '': use {known}"),
        ),
        (
            "--outcome good",
            "--outcome: invalid outcome 'good': use ok or failed".into(),
        ),
        (
            "--stats=year",
            "--stats: invalid period 'year': use day, week or month".into(),
        ),
        (
            "--follow --stats",
            "--follow and --stats exclude each other".into(),
        ),
        (
            "--limit -1",
            "--limit: invalid number '-1': use a whole number".into(),
        ),
        (
            "--since soon",
            "--since: invalid time 'soon': use 2026-11-24, 2026-11-24T08:00:00Z, 30d, 6mo or 12h"
                .into(),
        ),
        (
            "a -",
            "'-' must be the only operand: it reads standard input".into(),
        ),
        (
            "a/b",
            "invalid name 'a/b': use no slash and no control character".into(),
        ),
    ] {
        let ran = sandbox.run(&format!("bk-log {flags}"));
        ran.fails(2, &format!("bk-log: {reason}\n"));
        assert_eq!(ran.stdout, "");
    }
    let home = sandbox.path("none").display().to_string();
    sandbox.run("bk-log --home none; bk-log --follow --home none").fails(
        1,
        &format!("bk-log: there is no catalog in '{home}': bk-create makes one with the first backup, bk-adopt one of archives that are there; --home names another place\n").repeat(2),
    );
}

#[test]
fn counts_are_by_period_of_the_local_zone_and_event() {
    let sandbox = with_ledger(
        "SELECT n, t, 'bk-create', n, 'n' || n, e, o, d FROM (VALUES
            (1, TIMESTAMP '2026-12-31 12:00', 'create', 'ok', '{\"seconds\":1.5,\"bytes\":100}'),
            (2, TIMESTAMP '2027-01-01 12:00', 'create', 'failed', '{\"reason\":\"x\"}'),
            (3, TIMESTAMP '2027-01-03 20:00', 'create', 'ok', '{\"seconds\":2.5,\"bytes\":201,\"new_bytes\":40}'),
            (4, TIMESTAMP '2027-01-04 12:00', 'prune', 'ok', '{\"freed\":7}')) AS v(n, t, e, o, d)",
    );
    let count = |period: &str, event: &str, counts: [u64; 2], rate: f64, rest: [Value; 3]| {
        json!({"period": period, "event": event, "ok": counts[0], "failed": counts[1], "success_rate": rate,
               "median_seconds": rest[0], "median_bytes": rest[1], "total_bytes": rest[2],
               "new_bytes": if event == "create" && !period.starts_with("2026-12") { json!(40) } else { Value::Null }})
    };
    let pruned = |period| {
        count(
            period,
            "prune",
            [1, 0],
            100.0,
            [json!(null), json!(7), json!(7)],
        )
    };
    let weeks = [
        count(
            "2026-W53",
            "create",
            [2, 1],
            66.67,
            [json!(2.0), json!(150), json!(301)],
        ),
        pruned("2027-W01"),
    ];
    let months = [
        count(
            "2026-12",
            "create",
            [1, 0],
            100.0,
            [json!(1.5), json!(100), json!(100)],
        ),
        count(
            "2027-01",
            "create",
            [1, 1],
            50.0,
            [json!(2.5), json!(201), json!(201)],
        ),
        pruned("2027-01"),
    ];
    for flags in [
        "--stats=week",
        "--stats week",
        "--stats week --event create,prune",
    ] {
        assert_eq!(sandbox.ok(&format!("bk-log {flags}")).records(), weeks);
    }
    assert_eq!(sandbox.ok("bk-log --stats=month").records(), months);
    assert_eq!(
        sandbox.ok("bk-log --stats --limit 1").records(),
        [pruned("2027-01-04")]
    );
    assert_eq!(
        sandbox.ok("bk-log --stats=week n4").records(),
        [pruned("2027-W01")]
    );
    let days = sandbox
        .ok("bk-log --stats --event create | jq -r .period")
        .stdout;
    assert_eq!(days, "2026-12-31\n2027-01-01\n2027-01-03\n");
    let there = sandbox
        .ok("TZ=Asia/Tokyo bk-log --stats -e create | jq -r .period")
        .stdout;
    assert_eq!(there, "2026-12-31\n2027-01-01\n2027-01-04\n");
    assert_eq!(
        sandbox.ok("bk-log --stats=month --table").stdout,
        "PERIOD   EVENT   OK  FAILED     RATE   TIME   SIZE  TOTAL   NEW
2026-12  create   1       0  100.0 %  1.5 s  100 B  100 B     -
2027-01  create   1       1   50.0 %  2.5 s  201 B  201 B  40 B
2027-01  prune    1       0  100.0 %      -    7 B    7 B     -\n"
    );
    sandbox
        .run("bk-log --stats --table -e set")
        .fails(0, "bk-log: no matching events\n");
    assert_eq!(sandbox.ok("bk-log --stats -e set").stdout, "");
}

#[test]
fn a_damaged_row_is_told_and_hides_no_other() {
    let sandbox = lived();
    sandbox.sql("UPDATE backup_events SET details = 'no' WHERE id = 3; UPDATE backup_events SET details = '[]' WHERE id = 7");
    let damaged =
        |id| format!("bk-log: row {id} of the ledger is damaged: its details are no JSON object\n");
    for (flags, count) in [("", 5), ("--stats=month", 4), ("--table", 6)] {
        let ran = sandbox.run(&format!("bk-log {flags}"));
        ran.fails(1, &(damaged(3) + &damaged(7)));
        assert_eq!(ran.stdout.lines().count(), count, "{ran:#?}");
    }
    sandbox.sql(
        "UPDATE backup_events SET happened_at = 'infinity', details = '{}' WHERE id IN (3, 7)",
    );
    let ran = sandbox.run("bk-log --limit 3");
    ran.fails(
        1,
        "bk-log: row 7 of the ledger is damaged: its time is out of range\n",
    );
    assert_eq!(told(&ran), ALL[4..6]);
}

/// The flags against a filter of all the lines.
#[test]
fn any_flags_print_what_a_filter_would() {
    let sandbox = with_ledger(
        "SELECT n, TIMESTAMP '2026-11-01' + to_hours((n * 7919 % 400)::INT), 'bk-x',
             CASE WHEN n % 7 = 0 THEN NULL ELSE n % 9 + 1 END,
             CASE WHEN n % 7 = 0 THEN NULL ELSE 'n' || (n % 9 + 1) END,
             list_extract(['create', 'verify', 'prune'], (n * 31 % 3 + 1)::INT),
             CASE WHEN n * 17 % 5 = 0 THEN 'failed' ELSE 'ok' END, '{}' FROM range(400) AS t(n)",
    );
    let all = sandbox.ok("bk-log").records();
    assert_eq!(all.len(), 400);
    let time = |hour: u64| format!("2026-11-{:02}T{:02}:00:00Z", 1 + hour / 24, hour % 24);
    let hour = prop::option::of(0..400u64);
    let event = prop::option::of(prop::sample::subsequence(
        vec!["create", "verify", "prune"],
        1..3,
    ));
    let outcome = prop::option::of(prop::sample::select(vec!["ok", "failed"]));
    let backups = prop::collection::vec(1..10u64, 0..3);
    let limit = prop::option::of(0..100usize);
    let flags = (hour.clone(), hour, event, outcome, backups, limit);
    let mut runner = TestRunner::new(Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let checked = runner.run(&flags, |(since, until, event, outcome, backups, limit)| {
        let (since, until) = (since.map(time), until.map(time));
        let mut line = "bk-log".to_owned();
        let mut add = |flag: &str, value: Option<String>| {
            line.extend(value.map(|value| format!(" {flag} {value}")));
        };
        add("--since", since.clone());
        add("--until", until.clone());
        add("--event", event.as_ref().map(|all| all.join(",")));
        add("--outcome", outcome.map(str::to_owned));
        add("--limit", limit.map(|it| it.to_string()));
        for id in &backups {
            add(
                "",
                Some(if id % 2 == 0 {
                    id.to_string()
                } else {
                    format!("n{id}")
                }),
            );
        }
        let text = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
        let is_meant = |it: &&Value| {
            since
                .as_ref()
                .is_none_or(|time| text(it, "happened_at") >= *time)
                && until
                    .as_ref()
                    .is_none_or(|time| text(it, "happened_at") < *time)
                && event
                    .as_ref()
                    .is_none_or(|all| all.contains(&text(it, "event").as_str()))
                && outcome.is_none_or(|outcome| text(it, "outcome") == outcome)
                && (backups.is_empty()
                    || it["backup_id"]
                        .as_u64()
                        .is_some_and(|id| backups.contains(&id)))
        };
        let mut expected: Vec<_> = all.iter().filter(is_meant).cloned().collect();
        expected.drain(..expected.len().saturating_sub(limit.unwrap_or(usize::MAX)));
        prop_assert_eq!(sandbox.ok(&line).records(), expected, "{}", line);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn programs_log_only_events_that_are_known() {
    let ledger = checkout().join("shared/schema/src/event.rs");
    let ledger = fs::read_to_string(ledger).unwrap();
    let list = ledger
        .split("pub const EVENTS")
        .nth(1)
        .unwrap()
        .split(';')
        .nth(1)
        .unwrap();
    let word = regex::Regex::new("\"([a-z-]+)\"").unwrap();
    let known: BTreeSet<_> = word
        .captures_iter(list)
        .map(|it| it[1].to_owned())
        .collect();
    assert!(known.len() > 9, "{known:?}");
    let logged = r#"\b(?:event: |EVENT: &str = |Event::of\([^,]*, )"([^"]*)""#;
    let logged = regex::Regex::new(logged).unwrap();
    let mut found = BTreeSet::new();
    let mut folders = vec![checkout().join("bins"), checkout().join("shared")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let product = text.split("#[cfg(test)]").next().unwrap();
                found.extend(logged.captures_iter(product).map(|it| it[1].to_owned()));
            }
        }
    }
    assert!(found.len() > 8 && found.is_subset(&known), "{found:?}");
}
