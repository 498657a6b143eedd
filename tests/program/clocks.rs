//! Clocks that are wrong: what lies in the future is of unknown age, and after a jump nothing is
//! removed for a day. The clock of the machine is left alone: what was done is moved instead.

use crate::support::store::{ids, store};
use crate::support::{Ran, Sandbox, has};
use serde_json::{Value, json};

/// Moves all that is remembered so many days into the past, as if the clock had jumped ahead.
fn jump(sandbox: &Sandbox, days: i64) {
    sandbox.sql(&format!(
        "UPDATE backup_events SET happened_at = happened_at - to_days({days});
         UPDATE backup_records SET created_at = created_at - to_days({days});
         UPDATE settings SET value = regexp_replace(value, '\"believed\":\"[^\"]*\"', '\"believed\":\"' ||
             strftime(make_timestamp(epoch_us(now())) - to_days({days}), '%Y-%m-%dT%H:%M:%SZ') || '\"')
             WHERE name = 'auto_rounds';
         UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name LIKE 'auto_backup_since%'"
    ));
}

/// A backup as it would be if it had been made in a year.
fn to_the_future(sandbox: &Sandbox, name: &str) {
    sandbox.sql(&format!(
        "UPDATE backup_records SET created_at = created_at + INTERVAL 365 DAY WHERE backup_name = '{name}'"
    ));
}

/// Times before now, in days, each with an hour more, so that none is on a border.
fn days_ago(days: &[u32]) -> Sandbox {
    let sandbox = store(&vec!["2024-01-01 00:00"; days.len()]);
    for (id, days) in (1..).zip(days) {
        sandbox.sql(&format!(
            "UPDATE backup_records SET created_at = make_timestamp(epoch_us(now())) - to_days({days}) - INTERVAL 1 HOUR WHERE id = {id}"
        ));
    }
    sandbox
}

fn told(ran: &Ran) -> Vec<String> {
    let one = |it: &Value| {
        let decision = &it["decision"];
        let reasons = decision["reasons"].as_array().unwrap();
        let reasons: Vec<_> = reasons.iter().map(|it| it.as_str().unwrap()).collect();
        format!(
            "{} {}: {}",
            it["id"],
            decision["action"].as_str().unwrap(),
            reasons.join(", ")
        )
    };
    ran.records().iter().map(one).collect()
}

#[test]
fn a_backup_from_the_future_is_kept_and_stands_in_for_no_other() {
    let sandbox = days_ago(&[9, 2, 1, 0]);
    to_the_future(&sandbox, "b4");
    let time = sandbox.records()[3]["created_at"]
        .as_str()
        .unwrap()
        .to_owned();
    let second = &time[..19];
    let warning = format!(
        "bk-prune: warning: backup 'b4' was made in the future ({second}Z): its age counts as unknown\n"
    );
    let kept = |rules: &str| -> Vec<String> {
        let ran = sandbox.ok(&format!("bk-prune --explain {rules}"));
        assert!(ran.stderr.starts_with(&warning), "{ran:#?}");
        let all = told(&ran).into_iter();
        let kept = all.filter(|it| it.contains(" keep: "));
        kept.map(|it| it.split(' ').next().unwrap().to_owned())
            .collect()
    };
    for (rules, expected) in [
        ("--keep-last 1", ["3", "4"].as_slice()),
        ("--keep-daily 2", &["2", "3", "4"]),
        ("--keep-yearly 1", &["3", "4"]),
        ("--keep-within 3d", &["2", "3", "4"]),
        ("--keep-within-daily 3d", &["2", "3", "4"]),
        ("--older-than 3d", &["2", "3", "4"]),
        ("--max-count 2", &["2", "3", "4"]),
        ("--max-total-size 1", &["3", "4"]),
        ("--keep-last 1 --allow-empty --max-count 1", &["3", "4"]),
        ("--older-than 1h --allow-empty", &["4"]),
    ] {
        assert_eq!(kept(rules), expected, "{rules}");
    }
    let all = told(&sandbox.ok("bk-prune --explain --keep-last 1"));
    assert_eq!(all[3], "4 keep: from the future");
    // Protection and expiry are what they were.
    sandbox.ok("bk-set -e 2020-01-01 4");
    assert_eq!(
        ids(&sandbox.ok("bk-prune -n --expired").records()),
        [4].into()
    );
    sandbox.ok("bk-set -e never --protect 4");
    assert_eq!(
        told(&sandbox.ok("bk-prune --explain --keep-last 1"))[3],
        "4 keep: protected"
    );
    // Some minutes are no future: clocks of machines differ.
    sandbox.sql("UPDATE backup_records SET created_at = make_timestamp(epoch_us(now())) + INTERVAL 4 MINUTE, protected = false WHERE id = 4");
    let ran = sandbox.ok("bk-prune --explain --keep-last 1");
    assert_eq!(
        (ran.stderr.as_str(), told(&ran)[3].as_str()),
        ("", "4 keep: last 1, newest in group")
    );
}

#[test]
fn a_backup_from_the_future_is_not_the_newest() {
    let sandbox = days_ago(&[9, 3, 0]);
    to_the_future(&sandbox, "b3");
    let named = |line: &str| -> Vec<String> {
        let ran = sandbox.ok(line);
        assert!(
            ran.stderr.contains("'b3' was made in the future"),
            "{ran:#?}"
        );
        ran.records()
            .iter()
            .map(|it| it["backup_name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(named("bk-ls --latest"), ["b2"]);
    assert_eq!(named("bk-ls --latest --each-type"), ["b2"]);
    assert_eq!(named("bk-ls --since 4d"), ["b2"]);
    // Who asks for the future gets it, and so does who has nothing else.
    assert_eq!(named("bk-ls --since 0s"), ["b3"]);
    assert_eq!(named("bk-ls b3 --latest"), ["b3"]);
    let ran = sandbox.run("bk-df --fail 'age>2d' --fail 'age>4d'");
    let (total, _) = ran.file_systems();
    assert_eq!(
        (&total["newest"]["backup_name"], &total["future_count"]),
        (&json!("b2"), &json!(1))
    );
    assert_eq!((ran.status, ran.stderr.lines().count()), (4, 2), "{ran:#?}");
    assert!(
        ran.stderr
            .contains("failure: age>2d: the newest backup 'b2' was made at "),
        "{ran:#?}"
    );
    // Nor does a check from the future prove anything.
    sandbox.ok("bk-verify --all");
    sandbox.ok("bk-df --fail 'unverified>1h'");
    sandbox.sql("UPDATE backup_records SET backup_metadata = regexp_replace(backup_metadata, '\"at\":\"20', '\"at\":\"21') WHERE id = 1");
    let ran = sandbox.run("bk-df --fail 'unverified>1h' >/dev/null");
    assert!(
        ran.stderr
            .contains("'b1' has not been verified since it was made"),
        "{ran:#?}"
    );
    assert_eq!(
        ids(&sandbox.ok("bk-ls --unverified-for 1h").records()),
        [1].into()
    );
    // Two are one line.
    to_the_future(&sandbox, "b2");
    let ran = sandbox.ok("bk-df");
    assert_eq!(ran.stderr.lines().count(), 1);
    assert!(
        ran.stderr
            .starts_with("bk-df: warning: 2 backups were made in the future, first 'b2' ("),
        "{ran:#?}"
    );
}

#[test]
fn growth_is_not_told_of_what_a_wrong_clock_wrote() {
    let sandbox = days_ago(&[1, 1]);
    sandbox.sql(
        "UPDATE backup_events SET happened_at = happened_at - INTERVAL 10 DAY WHERE backup_name = 'b1';
         UPDATE backup_events SET happened_at = happened_at + INTERVAL 300 DAY WHERE backup_name = 'b2'",
    );
    let (total, _) = sandbox.ok("bk-df").file_systems();
    assert_eq!(total["growth_bytes_per_day"]["7d"], 0);
}

#[test]
fn after_a_jump_of_the_clock_nothing_is_removed_by_its_age() {
    let sandbox = days_ago(&[5, 4, 3]);
    jump(&sandbox, 40);
    let prune = "bk-prune --older-than 7d";
    for line in [
        prune,
        "bk-prune -n --older-than 7d",
        "bk-prune --explain --older-than 7d",
    ] {
        let ran = sandbox.run(line);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
        let error = &ran.stderr;
        assert!(
            error.starts_with("bk-prune: cannot prune: the clock went from "),
            "{ran:#?}"
        );
        let end = ", 40 days ahead: if the clock is right, wait a day or use --force-clock; nothing is removed\n";
        assert!(error.ends_with(end), "{ran:#?}");
    }
    assert_eq!(sandbox.records().len(), 3);
    // Nothing that would go, nothing to doubt.
    assert_eq!(sandbox.ok("bk-prune --older-than 90d").stderr, "");
    // What else is written meanwhile does not make the clock any better.
    sandbox.ok("bk-create --name new app");
    assert_eq!(sandbox.run(prune).status, 1);
    sandbox.sql("UPDATE backup_records SET expires_at = created_at + INTERVAL 6 DAY");
    for line in ["bk-ls --expired", "bk-ls --until 7d"] {
        let ran = sandbox.run(line);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
        assert!(
            ran.stderr
                .starts_with("bk-ls: cannot tell what is expired or old: the clock went "),
            "{ran:#?}"
        );
        assert_eq!(sandbox.run(&format!("{line} | bk-rm")).stdout, "");
        assert_eq!(
            sandbox.ok(&format!("{line} --force-clock")).records().len(),
            3
        );
    }
    sandbox.ok("bk-ls --until 2026-01-01; bk-ls --expires-within 30d");
    // A day later it is believed; so it is at once by who knows.
    sandbox.sql("UPDATE backup_events SET happened_at = happened_at - INTERVAL 23 HOUR WHERE backup_name = 'new'");
    assert_eq!(
        ids(&sandbox.ok("bk-ls --expired").records()),
        [1, 2, 3].into()
    );
    assert_eq!(sandbox.ok("bk-prune -n --older-than 7d").records().len(), 3);
    sandbox.sql("UPDATE backup_events SET happened_at = make_timestamp(epoch_us(now())) WHERE backup_name = 'new'");
    assert_eq!(sandbox.run(prune).status, 1);
    let ran = sandbox.ok("bk-prune --force-clock --older-than 7d");
    assert_eq!(ids(&ran.records()), [1, 2, 3].into());
}

#[test]
fn a_clock_that_was_wrong_once_is_forgotten() {
    let sandbox = days_ago(&[50, 40, 1]);
    // A row of the ledger from the future, as from a time when the clock was wrong.
    sandbox.sql("UPDATE backup_events SET happened_at = happened_at + INTERVAL 999 DAY WHERE backup_name = 'b3'");
    assert_eq!(
        ids(&sandbox.ok("bk-prune -n --older-than 7d").records()),
        [1, 2].into()
    );
    // And it says nothing of a jump that comes then.
    sandbox.sql("UPDATE backup_events SET happened_at = happened_at - INTERVAL 60 DAY WHERE backup_name <> 'b3'");
    assert_eq!(sandbox.run("bk-prune -n --older-than 7d").status, 1);
    // How long is too long, is a setting.
    sandbox.ok("bk-auto --clock-gap 70");
    assert_eq!(
        ids(&sandbox.ok("bk-prune -n --older-than 7d").records()),
        [1, 2].into()
    );
    sandbox.run("bk-auto --clock-gap 0").fails(
        2,
        "bk-auto: --clock-gap: invalid number '0': use a number from 1 to 36500\n",
    );
}

#[test]
fn the_retention_of_a_job_waits_until_rounds_have_come_for_a_day() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s '* * * * *' -r 7 --enable -- app; bk-auto --now a a");
    jump(&sandbox, 40);
    let due = "UPDATE backup_events SET details = replace(details, '\"began\":\"20', '\"began\":\"19') WHERE event = 'auto'";
    sandbox.sql(due);
    let ran = sandbox.ok("bk-auto");
    let warning = "bk-auto: warning: the job 'a': no retention: the clock went from ";
    let end = ", 40 days ahead: if it is right, the retention goes on in a day\n";
    assert!(
        ran.stderr.starts_with(warning) && ran.stderr.ends_with(end),
        "{ran:#?}"
    );
    assert_eq!(sandbox.records().len(), 3);
    let events = sandbox.ok("bk-log --event auto").records();
    let last = &events.last().unwrap()["details"];
    assert!(
        last["warning"]
            .as_str()
            .unwrap()
            .starts_with("no retention: the clock went from "),
        "{last}"
    );
    assert_eq!(
        (&events.last().unwrap()["outcome"], &last["pruned"]),
        (&json!("ok"), &json!(0))
    );
    // Also by hand, and in the rounds of the day to come.
    let ran = sandbox.ok("bk-auto --now a");
    assert!(ran.stderr.starts_with(warning), "{ran:#?}");
    assert_eq!(sandbox.records().len(), 4);
    let since = |hours: u32| {
        sandbox.sql(&format!(
            "UPDATE settings SET value = regexp_replace(value, '\"since\":\"[^\"]*\"', '\"since\":\"' ||
                strftime(make_timestamp(epoch_us(now())) - to_hours({hours}), '%Y-%m-%dT%H:%M:%SZ') || '\"')
                WHERE name = 'auto_rounds'"
        ));
    };
    since(22);
    assert!(sandbox.ok("bk-auto --now a").stderr.starts_with(warning));
    since(23);
    assert_eq!(sandbox.ok("bk-auto --now a").stderr, "");
    // Those before the jump are gone, the four since are there.
    assert_eq!(sandbox.records().len(), 4);
}

#[test]
fn rounds_are_remembered_though_nothing_is_due() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s '0 0 1 1 *' -r 7 --enable -- app; bk-auto");
    let rounds = || {
        let catalog = duckdb::Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
        let sql = "SELECT value FROM settings WHERE name = 'auto_rounds'";
        let text: String = catalog.query_row(sql, [], |row| row.get(0)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let first = rounds();
    assert!(
        first["believed"].is_string() && first["doubted"].is_null(),
        "{first}"
    );
    // Not each is written down.
    sandbox.ok("bk-auto");
    assert_eq!(rounds(), first);
    jump(&sandbox, 1);
    sandbox.ok("bk-auto");
    let second = |rounds: &Value| rounds["believed"].as_str().unwrap()[..19].to_owned();
    assert!(second(&rounds()) >= second(&first));
    // A job that runs once a year has its retention, as rounds came in between.
    sandbox.ok("bk-auto --now a");
    sandbox.sql(
        "UPDATE backup_events SET happened_at = happened_at - INTERVAL 360 DAY;
        UPDATE backup_records SET created_at = created_at - INTERVAL 360 DAY",
    );
    assert_eq!(sandbox.ok("bk-auto --now a").stderr, "");
    assert_eq!(ids(&sandbox.records()), [3].into());
}

#[test]
fn the_ledger_and_the_lock_tell_when_it_was() {
    if !has("flock") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    // It waits for its lines for a second, and for the catalog for another.
    let line = "(sleep 1; echo '\"a\"') | bk-set -d x - >/dev/null & date +%s.%N; flock home/catalog.lock sleep 2; wait; date +%s.%N; bk-log --event set | jq -r '.happened_at[0:19]+\"Z\" | fromdate'";
    if !has("jq") {
        return;
    }
    let ran = sandbox.ok(line);
    let times: Vec<f64> = ran.stdout.lines().map(|it| it.parse().unwrap()).collect();
    assert!(
        times[2] >= times[0] + 1.0 && times[2] <= times[1],
        "{ran:#?}"
    );
    // The job began when it began, however long it took.
    sandbox.ok("bk-auto --set j -s @hourly --before 'sleep 1' -- app; bk-auto --now j >/dev/null");
    let event = sandbox.ok("bk-log --event auto").record();
    let began = event["details"]["began"].as_str().unwrap();
    assert!(
        began[..19] < event["happened_at"].as_str().unwrap()[..19],
        "{event}"
    );
    assert_eq!(sandbox.ok("bk-auto --list").record()["last_run"], began);
}

#[test]
fn six_m_are_neither_minutes_nor_months() {
    let sandbox = Sandbox::with_app();
    let said = "invalid span '6m': use min for minutes or mo for months";
    sandbox
        .run("bk-create -e 6m app")
        .fails(2, &format!("bk-create: --expires: {said}\n"));
    sandbox
        .run("echo '{\"sources\":[\"app\"],\"expires_at\":\"6m\"}' | bk-create -")
        .fails(
            2,
            &format!("bk-create: bad input: line 1: its expires_at: {said}\n"),
        );
    sandbox
        .run("bk-auto --set -s @daily --request '{\"expires_at\":\"6m\"}' -- app")
        .fails(2, &format!("bk-auto: --request: {said}\n"));
    sandbox
        .run("bk-set -e 6m 1")
        .fails(2, &format!("bk-set: --expires: {said}\n"));
    sandbox
        .run("bk-ls --since 6m")
        .fails(2, &format!("bk-ls: --since: {said}\n"));
    sandbox
        .run("bk-log --until 6m")
        .fails(2, &format!("bk-log: --until: {said}\n"));
    sandbox
        .run("bk-df --fail 'age>6m'")
        .fails(2, &format!("bk-df: --fail: {said}\n"));
    sandbox
        .run("bk-verify --older-than-check 6m")
        .fails(2, &format!("bk-verify: --older-than-check: {said}\n"));
    assert!(!sandbox.home().exists());
    sandbox.ok("bk-create -e 6mo app; bk-create -e 90min app; bk-create --lock-timeout 1m app");
}
