//! bk-auto: jobs are set, copied, listed and taken away; what is due is run once, and its
//! retention removes the job's own backups alone.

use std::fs;

use crate::support::{Ran, Sandbox, has};
use serde_json::{Value, json};

/// A job that is always due: it was last looked at long ago.
const LONG_AGO: &str =
    "UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name LIKE 'auto_backup_since%'";

fn job(sandbox: &Sandbox, name: &str) -> Value {
    let jobs = sandbox.ok("bk-auto --list --json").records();
    let job = jobs.into_iter().find(|it| it["job"] == name);
    job.unwrap_or_else(|| panic!("no job {name}"))
}

/// The settings of all jobs, by name.
fn settings(sandbox: &Sandbox) -> Vec<(String, String)> {
    let catalog = duckdb::Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
    let sql = "SELECT name, value FROM settings WHERE name LIKE 'auto_backup%' ORDER BY name";
    let mut rows = catalog.prepare(sql).unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_settings_are_those_of_the_design() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set --schedule '0 3 * * *' --retention-days 30 --enable -- app/data app");
    let sources = |names: &[&str]| {
        let paths = names.iter().map(|name| sandbox.path(name));
        let paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
        json!({ "sources": paths }).to_string()
    };
    let all = settings(&sandbox);
    let get = |name: &str| {
        let found = all.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(get("auto_backup_enabled"), Some("true"));
    assert_eq!(get("auto_backup_schedule"), Some("0 3 * * *"));
    assert_eq!(get("auto_backup_retention_days"), Some("30"));
    assert_eq!(
        get("auto_backup_request"),
        Some(&*sources(&["app/data", "app"]))
    );
    assert_eq!(all.len(), 5, "{all:?}");
    // Another job beside it, and only what is given changes.
    sandbox.ok("bk-auto --set v1.2 -s @daily -- app; bk-auto --set v1.2 --before true --enable");
    sandbox.ok("bk-auto --set v1.2 -r 7; bk-auto --set v1.2 --before ''");
    let all = settings(&sandbox);
    let named: Vec<_> = all.iter().filter(|(it, _)| it.ends_with(".v1.2")).collect();
    assert_eq!(named.len(), 5, "{named:?}");
    let v = job(&sandbox, "v1.2");
    assert_eq!(
        (&v["enabled"], &v["schedule"]),
        (&json!(true), &json!("@daily"))
    );
    assert_eq!(
        (&v["retention_days"], &v["before"]),
        (&json!(7), &json!(null))
    );
    sandbox.ok("bk-auto --set v1.2 -r all; bk-auto --disable v1.2 default");
    assert_eq!(job(&sandbox, "v1.2")["retention_days"], json!(null));
    assert_eq!(job(&sandbox, "default")["enabled"], json!(false));
    sandbox.ok("bk-auto --remove v1.2");
    assert_eq!(settings(&sandbox).len(), 5);
}

#[test]
fn the_lines_of_a_list_make_the_same_jobs_elsewhere() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s '5 4 * * sun' -r 9 --enable --before 'true; \"x\"' --after 'true' \
        --create-flag '--exclude=*.log' --create-flag --one-file-system \
        --request '{\"description\":\"d\",\"backup_metadata\":{\"k\":[1]},\"expires_at\":\"90d\"}' -- app");
    sandbox.ok("bk-auto --set -s @weekly -- app/log");
    sandbox.ok("bk-auto --list | bk-auto --home other --set -");
    let keys = "del(.next_due)";
    if has("jq") {
        let here = sandbox
            .ok(&format!("bk-auto --list | jq -c '{keys}'"))
            .stdout;
        let there = sandbox
            .ok(&format!("bk-auto --home other --list | jq -c '{keys}'"))
            .stdout;
        assert_eq!(here, there);
    }
    let lines = sandbox.ok("bk-auto --list").records();
    let names: Vec<_> = lines.iter().map(|it| it["job"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "default"]);
    assert_eq!(
        lines[0]["create_flags"],
        json!(["--exclude=*.log", "--one-file-system"])
    );
    // null takes away, a missing key leaves, and all lines are done or none.
    sandbox.ok(r#"echo '{"job":"a","after":null,"request":{}}' | bk-auto --set -"#);
    let a = job(&sandbox, "a");
    assert_eq!(
        (&a["after"], &a["request"], &a["before"]),
        (&json!(null), &json!({}), &json!("true; \"x\""))
    );
    assert_eq!(a["sources"], lines[0]["sources"]);
    let before = settings(&sandbox);
    sandbox
        .run(r#"printf '%s\n' '{"job":"a","schedule":"@daily"}' '{"job":"new"}' | bk-auto --set -"#)
        .fails(2, "bk-auto: there is no job 'new' yet: a new one needs a --schedule, and what it backs up after --, or with --files-from or --command\n");
    sandbox
        .run(r#"printf '%s\n' '{"job":"a","schedule":"@daily"}' '{"job":"a","retention_days":0}' | bk-auto --set -"#)
        .fails(2, "bk-auto: bad input: line 2: its retention_days: is neither a number of days from 1 on nor null\n");
    assert_eq!(settings(&sandbox), before);
}

/// Each flag takes the place of those of its name, and what is listed needs no path beside it.
#[test]
fn a_job_leaves_out_what_its_flags_say() {
    let sandbox = Sandbox::with_app();
    let list = sandbox.path("list").display().to_string();
    sandbox.write("list", &format!("{}\n", sandbox.path("app").display()));
    sandbox.ok("bk-auto --set a -s @daily --exclude OLD.LOG --exclude none --exclude-if-present page --exclude-larger 1M \
        --create-flag --jobs=1 --files-from list");
    sandbox.ok("bk-auto --set a --exclude-larger 100K --ignore-case-excludes; bk-auto --set a --exclude-if-present ''");
    let flags = json!([
        "--jobs=1",
        "--exclude=OLD.LOG",
        "--exclude=none",
        format!("--files-from={list}"),
        "--ignore-case-excludes",
        "--exclude-larger=100K"
    ]);
    let made = sandbox.ok("bk-auto --now a").record();
    assert_eq!(
        (&made["file_count"], &job(&sandbox, "a")["create_flags"]),
        (&json!(4), &flags)
    );
    // The lines of a list make it elsewhere.
    let there = sandbox
        .ok("bk-auto --list | bk-auto --home other --set -")
        .record();
    assert_eq!(
        (&there["sources"], &there["create_flags"]),
        (&json!([]), &flags)
    );
    sandbox
        .run(r#"echo '{"job":"new","sources":[],"schedule":"@daily"}' | bk-auto --set -"#)
        .fails(
            2,
            "bk-auto: there is no job 'new' yet: a new one needs a --schedule, and what it backs up after --, or with --files-from or --command\n",
        );
    sandbox
        .run(r#"echo '{"job":"a","sources":[],"create_flags":[]}' | bk-auto --set -"#)
        .fails(
            2,
            "bk-auto: the job 'a' would do nothing: name a path after --, a list with --files-from, a --command, or --verify, --test-restore or --prune\n",
        );
}

#[test]
fn what_is_due_is_run_once_and_told() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s '0 3 * * *' --enable --request '{\"description\":\"d\",\"backup_metadata\":{\"k\":1,\"job\":\"x\"}}' --create-flag --exclude=log -- app");
    sandbox.ok("bk-auto --set off -s '0 3 * * *' -- app");
    // Nothing has come since they were made.
    assert_eq!(sandbox.ok("bk-auto").stdout, "");
    sandbox.sql(LONG_AGO);
    let due = job(&sandbox, "a");
    let ran = sandbox.ok("bk-auto");
    let made = ran.record();
    assert_eq!(
        (&made["job"], &made["backup_type"]),
        (&json!("a"), &json!("automatic"))
    );
    assert_eq!(made["description"], "d");
    assert_eq!(
        (
            &made["backup_metadata"]["k"],
            &made["backup_metadata"]["job"]
        ),
        (&json!(1), &json!("a"))
    );
    assert_eq!(made["backup_metadata"]["excludes"], json!(["log"]));
    assert_eq!(sandbox.ok("bk-auto").stdout, "");
    let listed = job(&sandbox, "a");
    assert_eq!(
        (&due["last_outcome"], &listed["last_outcome"]),
        (&json!(null), &json!("ok"))
    );
    assert!(due["next_due"].as_str() < listed["last_run"].as_str());
    assert!(listed["next_due"].as_str() > listed["last_run"].as_str());
    assert_eq!(job(&sandbox, "off")["next_due"], json!(null));
    let details = details(&sandbox);
    assert_eq!(details.len(), 1);
    assert_eq!(
        (&details[0]["job"], &details[0]["scheduled"]),
        (&json!("a"), &due["next_due"])
    );
    assert_eq!(
        (&details[0]["pruned"], &details[0]["freed"]),
        (&json!(0), &json!(0))
    );
    let name = made["backup_name"].as_str().unwrap();
    assert_eq!(sandbox.ledger().last().unwrap(), &format!("{name} auto ok"));
}

/// What the ledger tells of the runs.
fn details(sandbox: &Sandbox) -> Vec<Value> {
    let catalog = duckdb::Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
    let sql = "SELECT details FROM backup_events WHERE event = 'auto' ORDER BY id";
    let mut rows = catalog.prepare(sql).unwrap();
    let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|row| serde_json::from_str(&row.unwrap()).unwrap())
        .collect()
}

#[test]
fn ten_at_once_run_a_job_once() {
    let sandbox = Sandbox::with_app();
    for name in ["a", "b"] {
        sandbox.ok(&format!(
            "bk-auto --set {name} -s @hourly --enable --before 'sleep 0.3' -- app"
        ));
    }
    sandbox.sql(LONG_AGO);
    let children: Vec<_> = (0..10).map(|_| sandbox.start("bk-auto")).collect();
    let mut jobs = Vec::new();
    for child in children {
        let ran = Ran::new("bk-auto", child.wait_with_output().unwrap());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
        jobs.extend(ran.records().into_iter().map(|it| it["job"].clone()));
    }
    jobs.sort_by_key(Value::to_string);
    assert_eq!(jobs, ["a", "b"]);
    assert_eq!(details(&sandbox).len(), 2);
    use std::os::unix::fs::PermissionsExt;
    let lock = fs::metadata(sandbox.home().join("auto.a.lock")).unwrap();
    assert_eq!(lock.permissions().mode() & 0o777, 0o600);
}

#[test]
fn at_once_is_an_error_while_it_runs() {
    if !has("flock") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s @hourly --enable -- app");
    sandbox.sql(LONG_AGO);
    sandbox.ok("touch home/auto.a.lock; flock home/auto.a.lock bk-auto");
    sandbox.run("flock home/auto.a.lock bk-auto --now a").fails(
        1,
        "bk-auto: cannot run the job 'a': another bk-auto runs it\n",
    );
    assert!(sandbox.records().is_empty());
    // A link in its place is not followed.
    sandbox.ok("rm home/auto.a.lock; ln -s ../elsewhere home/auto.a.lock");
    let ran = sandbox.run("bk-auto --now a");
    assert!(
        ran.status == 1 && ran.stderr.contains("cannot lock"),
        "{ran:#?}"
    );
    assert!(!sandbox.path("elsewhere").exists());
}

#[test]
fn retention_removes_the_old_ones_of_the_job_alone() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s @daily -r 30 -- app; bk-auto --set b -s @daily -- app");
    sandbox.ok("bk-auto --now a a a b b; bk-create --name hand app; bk-create -t automatic --name other -m job=c app");
    sandbox.ok("bk-create --name manual -m job=a app; bk-set --protect 1");
    sandbox.sql(
        "UPDATE backup_records SET created_at = TIMESTAMP '2024-01-01 00:00:00' + to_days(id::INT)",
    );
    // The sources change; the older ones are still the job's.
    sandbox.ok("bk-auto --set a -- app/data");
    let ran = sandbox.ok("bk-auto --now a");
    assert_eq!(ran.stderr, "");
    let left: Vec<_> = sandbox
        .records()
        .iter()
        .map(|it| it["id"].as_i64().unwrap())
        .collect();
    assert_eq!(left, [1, 4, 5, 6, 7, 8, 9]);
    let last = details(&sandbox).pop().unwrap();
    assert_eq!(last["pruned"], 2);
    assert!(last["freed"].as_u64().unwrap() > 100);
    assert_eq!(last["scheduled"], json!(null));
    // A failed create prunes nothing.
    sandbox.sql("UPDATE backup_records SET created_at = TIMESTAMP '2024-01-01 00:00:00' + to_days(id::INT), protected = false");
    sandbox.ok("mv app away");
    let ran = sandbox.run("bk-auto --now a");
    let path = sandbox.path("app/data");
    let reason = format!(
        "cannot back up '{}': No such file or directory",
        path.display()
    );
    ran.fails(
        1,
        &format!("bk-create: {reason}\nbk-auto: the job 'a' failed: {reason}\n"),
    );
    assert_eq!(sandbox.records().len(), 7);
    let listed = job(&sandbox, "a");
    assert_eq!(
        (&listed["last_outcome"], &listed["last_reason"]),
        (&json!("failed"), &json!(reason))
    );
}

#[test]
fn a_failed_job_does_not_stop_the_others() {
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "bk-auto --set a -s @daily --enable -- gone; bk-auto --set b -s @daily --enable -- app",
    );
    sandbox.ok("bk-auto --set c -s @daily --enable -- app");
    sandbox.sql(LONG_AGO);
    sandbox.sql("UPDATE settings SET value = '0 0 30 2 *' WHERE name = 'auto_backup_schedule.c'");
    let ran = sandbox.run("bk-auto");
    assert_eq!((ran.status, ran.records().len()), (1, 1), "{ran:#?}");
    let wrong = "bk-auto: cannot use the job 'c': its setting auto_backup_schedule: invalid schedule '0 0 30 2 *': it never comes: no month has that day";
    assert_eq!(ran.stderr.lines().next(), Some(wrong));
    let listed = sandbox.run("bk-auto --list");
    assert_eq!(
        (listed.status, listed.records().len()),
        (1, 2),
        "{listed:#?}"
    );
    // It can be set anew, or removed.
    sandbox.ok("bk-auto --set c -s @daily -- app; bk-auto --list; bk-auto --remove c");
    // One whose run failed is run again at its next time, not at once.
    assert_eq!(sandbox.ok("bk-auto").stderr, "");
}
