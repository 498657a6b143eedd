//! bk-prune from outside: what it says that it would remove is what it removes.

use crate::support::store::{ids, left, six, store};
use crate::support::{Ran, Sandbox, checkout, stride};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use regex::Regex;
use serde_json::{Value, json};

/// `ID: REASONS` of each line.
fn reasons(ran: &Ran) -> Vec<String> {
    let one = |it: &Value| {
        let reasons = it["decision"]["reasons"].as_array().unwrap();
        let reasons: Vec<_> = reasons.iter().map(|it| it.as_str().unwrap()).collect();
        format!("{}: {}", it["id"], reasons.join(", "))
    };
    ran.records().iter().map(one).collect()
}

#[test]
fn what_a_dry_run_prints_is_what_a_run_removes() {
    let sandbox = six();
    let dry = sandbox.ok("bk-prune -n --keep-last 1 --keep-daily 2 --keep-monthly 2");
    assert_eq!(
        reasons(&dry),
        [
            "1: kept by no rule",
            "2: kept by no rule",
            "3: kept by no rule"
        ]
    );
    assert_eq!((left(&sandbox).len(), dry.stderr.as_str()), (6, ""));
    assert!(
        dry.records()
            .iter()
            .all(|it| it["decision"]["action"] == "remove")
    );

    let run = sandbox.ok("bk-prune --keep-last 1 --keep-daily 2 --keep-monthly 2");
    assert_eq!(reasons(&run), reasons(&dry));
    assert_eq!(left(&sandbox), [4, 5, 6]);
    for (would, was) in dry.records().iter().zip(run.records()) {
        assert_eq!(was["freed"], would["backup_size"]);
        assert_eq!(was["decision"], would["decision"]);
    }
    let freed: i64 = run
        .records()
        .iter()
        .map(|it| it["freed"].as_i64().unwrap())
        .sum();
    let summary = format!("bk-prune: removed 3 of 6, freed {}\n", human(freed));
    assert_eq!(run.stderr, summary);
    let events = sandbox.ledger();
    let pruned: Vec<_> = events.iter().filter(|it| it.contains(" prune ")).collect();
    assert_eq!(pruned, ["b1 prune ok", "b2 prune ok", "b3 prune ok"]);
    // In a year the ledger still tells why, rule by rule.
    let rules = [
        "keep-last 1: number 5 of 6",
        "keep-daily 2: 2024-02-27 is before the last 2",
        "keep-monthly 2: not the newest of 2024-02",
    ];
    assert_eq!(run.records()[1]["decision"]["rules"], json!(rules));
    for (was, told) in run
        .records()
        .iter()
        .zip(sandbox.ok("bk-log -e prune").records())
    {
        for key in ["reasons", "rules", "group"] {
            assert_eq!(told["details"][key], was["decision"][key], "{told}");
        }
    }

    let again = sandbox.ok("bk-prune --keep-last 1 --keep-daily 2 --keep-monthly 2");
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("", ""));
}

/// As the program writes sizes between 1 KiB and 10 KiB.
fn human(bytes: i64) -> String {
    assert!((1024..10_000).contains(&bytes), "{bytes}");
    format!("{:.2} KiB", bytes as f64 / 1024.0)
}

/// Random stores and policies, each also with bk-rm.
#[test]
fn a_dry_run_into_bk_rm_does_what_a_run_does() {
    let rule = prop_oneof![
        (1..4_u8).prop_map(|n| format!("--keep-last {n} ")),
        (1..4_u8).prop_map(|n| format!("--keep-daily {n} ")),
        (1..3_u8).prop_map(|n| format!("--keep-weekly {n} ")),
        (1..9_u8).prop_map(|n| format!("--keep-within-hourly {n}h ")),
        (1..9_u8).prop_map(|n| format!("--max-count {n} ")),
    ];
    let policy = proptest::collection::vec(rule, 1..3);
    let hours = proptest::collection::vec(0..400_u16, 1..9);
    let mut runner = TestRunner::new(Config::with_cases(6 / stride(3) as u32));
    let tried = runner.run(&(hours, policy), |(hours, mut policy)| {
        policy.sort();
        policy.dedup_by_key(|it| it.split(' ').next().map(str::to_owned));
        let policy = policy.concat();
        let times: Vec<_> = hours
            .iter()
            .map(|hour| format!("2024-02-{:02} {:02}:30", 12 + hour / 24, hour % 24))
            .collect();
        let times: Vec<_> = times.iter().map(String::as_str).collect();
        let (piped, alone) = (store(&times), store(&times));
        let dry = ids(&piped.ok(&format!("bk-prune -n {policy}")).records());
        let by_rm = ids(&piped.ok(&format!("bk-prune -n {policy} | bk-rm")).records());
        let by_run = ids(&alone.ok(&format!("bk-prune {policy}")).records());
        assert_eq!((&dry, &dry), (&by_rm, &by_run), "{policy}");
        assert_eq!(left(&piped), left(&alone));
        assert_eq!(left(&piped).len() + dry.len(), times.len());
        assert_eq!(piped.ok(&format!("bk-prune -n {policy}")).stdout, "");
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn an_explanation_has_every_candidate_and_removes_nothing() {
    let sandbox = six();
    let told = sandbox.ok("bk-prune --explain --keep-daily 2 --time-zone UTC");
    let expected = [
        "1: kept by no rule",
        "2: kept by no rule",
        "3: kept by no rule",
        "4: kept by no rule",
        "5: daily 2024-03-01",
        "6: daily 2024-03-02, newest in group",
    ];
    assert_eq!(reasons(&told), expected);
    assert_eq!(told.records()[5]["decision"]["action"], "keep");
    assert_eq!(
        sandbox.ok("bk-prune -n --explain --keep-daily 2").stdout,
        told.stdout
    );
    assert_eq!(left(&sandbox).len(), 6);
}

#[test]
fn backups_are_grouped_by_any_of_what_they_share() {
    let sandbox = six();
    sandbox.ok("bk-set -m job=a 1 3 >/dev/null; bk-set -m job=b 2 4 >/dev/null");
    sandbox.sql("UPDATE backup_records SET backup_type = 'automatic' WHERE id = 1");
    for (keys, kept) in [
        ("sources,host", &[6][..]),
        ("none", &[6]),
        // What was made for no job is a group too.
        ("job", &[3, 4, 6]),
        ("job,source", &[3, 4, 6]),
        ("type,job,host", &[1, 3, 4, 6]),
        ("source,type", &[1, 6]),
    ] {
        let dry = sandbox.ok(&format!("bk-prune -n --keep-last 1 --group-by {keys}"));
        let goes = ids(&dry.records());
        let kept_now: Vec<_> = (1..=6).filter(|id| !goes.contains(id)).collect();
        assert_eq!(kept_now, kept, "{keys}");
    }
    let table = sandbox.ok("bk-prune --explain --keep-last 1 --group-by job --wide");
    assert!(
        table.stdout.contains("  -  ") && table.stdout.contains("  keep-last 1: number 2 of 2  "),
        "{}",
        table.stdout
    );
    sandbox.ok("bk-prune --keep-last 1 --group-by job");
    let table = sandbox.ok("bk-log -e prune --table").stdout;
    let why = "  kept by no rule, keep-last 1: number 2 of 2, ";
    assert_eq!(table.matches(why).count(), 3, "{table}");
    let told = sandbox.ok("bk-log -e prune").records();
    let told: Vec<_> = told
        .iter()
        .map(|it| (&it["details"]["job"], &it["details"]["group"]))
        .collect();
    let (a, b, none, null) = (json!("a"), json!("b"), json!("-"), Value::Null);
    assert_eq!(told, [(&a, &a), (&b, &b), (&null, &none)]);
}

#[test]
fn a_line_that_is_to_be_kept_is_refused_by_bk_rm() {
    let sandbox = six();
    let ran = sandbox.run("bk-prune --explain --keep-daily 2 | bk-rm");
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert_eq!(left(&sandbox), [5, 6]);
}

#[test]
fn what_is_not_among_the_given_is_neither_counted_nor_touched() {
    let sandbox = six();
    let flags = "--keep-last 2 -";
    let ran = sandbox.ok(&format!("bk-ls 1 2 3 4 | bk-prune -n {flags}"));
    assert_eq!(ids(&ran.records()), [1, 2].into());
    let line = r#"{"id":1,"who":"me","decision":{"action":"keep"},"freed":7}"#;
    let ran = sandbox.run(&format!(
        "printf '%s\\n' '{line}' 99 '\"b2\"' 3 3 4 '{{\"id\":5,\"backup_name\":\"b6\"}}' | bk-prune {flags}"
    ));
    let freed: i64 = ran
        .records()
        .iter()
        .map(|it| it["freed"].as_i64().unwrap())
        .sum();
    let unknown = ran.stderr.lines().next().unwrap();
    assert!(
        unknown.starts_with("bk-prune: there is no backup 99"),
        "{unknown}"
    );
    let rest: Vec<_> = ran.stderr.lines().skip(1).collect();
    let other = "bk-prune: the backup 5 is named 'b5', not 'b6': the line is from another catalog";
    let summary = format!("bk-prune: removed 2 of 4, freed {}", human(freed));
    assert_eq!(rest, [other, summary.as_str()]);
    assert_eq!(ran.status, 1);
    assert_eq!(ran.records()[0]["who"], "me");
    assert_eq!(ran.records()[0]["decision"]["action"], "remove");
    assert_eq!(left(&sandbox), [3, 4, 5, 6]);
    // Named as operands, too; and none at all.
    assert_eq!(
        ids(&sandbox.ok("bk-prune -n --keep-last 1 3 5").records()),
        [3].into()
    );
    assert_eq!(sandbox.ok("bk-prune --keep-last 1 - </dev/null").stderr, "");
}

#[test]
fn a_mistake_opens_no_catalog() {
    let sandbox = Sandbox::new();
    for (flags, says) in [
        (
            "",
            "there is no rule: give one, such as --keep-daily 7, or --expired to apply the expiry of the backups alone",
        ),
        (
            "--failed-after 1d",
            "there is no rule: give one, such as --keep-daily 7, or --expired to apply the expiry of the backups alone",
        ),
        (
            "--keep-last 0",
            "--keep-last: invalid number '0': use a number from 1 on, or all",
        ),
        (
            "--keep-daily -1",
            "--keep-daily: invalid number '-1': use a number from 1 on, or all",
        ),
        (
            "--max-count all",
            "--max-count: invalid number 'all': use a number from 1 on",
        ),
        (
            "--keep-within 6m",
            "--keep-within: invalid span '6m': use min for minutes or mo for months",
        ),
        (
            "--older-than soon",
            "--older-than: invalid span 'soon': use 12h, 30d, 2w, 6mo or 1y",
        ),
        (
            "--keep-free 1X",
            "--keep-free: invalid size '1X': use a number with K, M, G, T or P, such as 500M",
        ),
        (
            "--expired --group-by jobs",
            "--group-by: invalid key 'jobs': use job, host, sources, type or version",
        ),
        (
            "--expired --group-by type,none",
            "--group-by: 'none' stands alone",
        ),
        (
            "--expired --time-zone Mars",
            "--time-zone: invalid time zone 'Mars': use a name such as Europe/Berlin or UTC",
        ),
    ] {
        sandbox
            .run(&format!("bk-prune {flags}"))
            .fails(2, &format!("bk-prune: {says}\n"));
    }
    let ran = sandbox.run("echo '{\"id\":' | bk-prune --expired -");
    ran.fails(
        2,
        "bk-prune: bad input: line 1: it is not JSON (column 6)\n",
    );
    assert!(!sandbox.home().exists());
}

#[test]
fn days_are_those_of_the_zone_that_is_asked_for() {
    let sandbox = store(&["2024-07-01 21:30", "2024-07-01 22:30", "2024-07-02 10:00"]);
    let flags = "bk-prune --explain --keep-daily 2";
    let kept = |ran: Ran| -> Vec<String> {
        let keeps = |it: &String| !it.contains("no rule");
        reasons(&ran).into_iter().filter(keeps).collect()
    };
    let utc = [
        "2: daily 2024-07-01",
        "3: daily 2024-07-02, newest in group",
    ];
    let berlin = [
        "1: daily 2024-07-01",
        "3: daily 2024-07-02, newest in group",
    ];
    assert_eq!(kept(sandbox.ok(flags)), utc);
    assert_eq!(
        kept(sandbox.ok(&format!("TZ=Europe/Berlin {flags}"))),
        berlin
    );
    let both = format!("TZ=Asia/Tokyo {flags} --time-zone Europe/Berlin");
    assert_eq!(kept(sandbox.ok(&both)), berlin);
    let table = sandbox.ok(&format!("{flags} --time-zone Europe/Berlin --table"));
    assert!(
        table.stdout.contains("1  Mon 2024-07-01 23:30:00  "),
        "{}",
        table.stdout
    );
    assert!(
        table.stderr.starts_with("bk-prune: would remove 1 of 3, "),
        "{}",
        table.stderr
    );
}

/// The table of the man page, made from its own times.
#[test]
fn the_calendar_of_the_man_page_is_what_is_printed() {
    let page = std::fs::read_to_string(checkout().join("man/bk-prune.1")).unwrap();
    let table = page.split("ID  CREATED").nth(1).unwrap();
    let table = table.split(".Ed").next().unwrap();
    // Without its head, and with the lines joined that are broken.
    let rows = table.split_once('\n').unwrap().1.replace(",\n", ",");
    let words = |row: &str| row.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows: Vec<_> = rows.lines().map(words).collect();
    assert_eq!(rows.len(), 10);
    let times: Vec<_> = rows
        .iter()
        .map(|row| row.split(' ').collect::<Vec<_>>()[2..4].join(" "))
        .collect();
    let sandbox = store(&times.iter().map(String::as_str).collect::<Vec<_>>());
    let command = page
        .split(".Ql ")
        .find(|it| it.starts_with("bk-prune --explain"))
        .unwrap();
    let command = command.lines().next().unwrap();
    let printed = sandbox
        .ok(&format!("{command} --table --group-by none"))
        .stdout;
    let without = |row: &str| {
        let all = Regex::new(r"^( *\d+  \w+ \S+ \S+)  all +\d+ B  (.*)  \S+$").unwrap();
        words(&all.replace(row, "$1 $2"))
    };
    let printed: Vec<_> = printed.lines().skip(1).map(without).collect();
    assert_eq!(printed, rows);
}

#[test]
fn only_completed_and_failed_backups_are_candidates() {
    let sandbox = six();
    // A living process would hold the archive; here nobody writes to the catalog before the look.
    sandbox.sql(
        "UPDATE backup_records SET status = 'failed' WHERE id IN (1, 2);
         UPDATE backup_records SET created_at = TIMESTAMP '2100-01-01' WHERE id = 2;
         UPDATE backup_records SET status = 'moving' WHERE id = 6;
         UPDATE backup_records SET status = 'creating' WHERE id = 5;",
    );
    let told = sandbox.ok("bk-prune --explain --keep-last 1 --time-zone UTC");
    let mut told = reasons(&told);
    told.sort();
    let expected = [
        "1: failed, older than 7d",
        "2: failed, not older than 7d",
        "3: kept by no rule",
        "4: last 1, newest in group",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_damaged_record_is_told_and_hides_no_other() {
    let sandbox = six();
    sandbox.sql("UPDATE backup_records SET backup_hash = 'x' WHERE id = 2");
    let ran = sandbox.run("bk-prune --keep-last 3");
    assert_eq!(ran.status, 1);
    let first = ran.stderr.lines().next().unwrap();
    assert_eq!(
        first,
        "bk-prune: the record 2 'b2' in the catalog is damaged: its hash is not 64 lower-case hex digits"
    );
    assert_eq!(ids(&ran.records()), [1, 3].into());
}

#[test]
fn a_missing_archive_fills_no_rule() {
    let sandbox = six();
    sandbox.ok("rm home/archives/b5.tar.gz home/archives/b6.tar.gz");
    let told = sandbox.ok("bk-prune --explain --keep-last 1");
    let kept = reasons(&told).split_off(3);
    let expected = [
        "4: last 1, newest in group",
        "5: kept by no rule",
        "6: last 1, newest in group",
    ];
    assert_eq!(kept, expected);
    let ran = sandbox.ok("bk-prune --keep-last 1");
    let missing = "; the archives of 1 were missing\n";
    assert!(ran.stderr.ends_with(missing), "{}", ran.stderr);
    assert_eq!(ran.records()[3]["freed"], 0);
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let sandbox = six();
    sandbox.ok("bk-prune --keep-last 1 2>/dev/null | true");
    assert_eq!(left(&sandbox), [6]);
}

/// A process may hold so few files that it removes a few at a time.
const FEW_FILES: &str = "ulimit -n 70;";

#[test]
fn parts_remove_what_the_whole_would() {
    let times: Vec<_> = (1..=24)
        .map(|day| format!("2024-03-{day:02} 03:00"))
        .collect();
    let sandbox = store(&times.iter().map(String::as_str).collect::<Vec<_>>());
    let flags = "--keep-within-weekly 30d --max-count 3";
    let dry = sandbox.ok(&format!("bk-prune -n {flags}"));
    let run = sandbox.ok(&format!("{FEW_FILES} bk-prune {flags}"));
    assert_eq!(reasons(&dry), reasons(&run));
    assert_eq!(left(&sandbox).len(), 3);
}
