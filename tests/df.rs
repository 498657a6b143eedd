//! bk-df: the lines, the thresholds, the metrics, the table; on file systems in memory, whose
//! space is exact.

use std::time::{Duration, Instant};

use bk_tests::disk::SmallDisk;
use bk_tests::{Ran, Sandbox, can_trace, has};
use serde_json::{Value, json};

/// The line of all, and those of the file systems before it.
fn told(ran: &Ran) -> (Value, Vec<Value>) {
    let mut all = ran.records();
    let total = all.pop().unwrap();
    assert_eq!(total["total"], true, "{ran:#?}");
    assert!(all.iter().all(|it| it["total"] == false), "{ran:#?}");
    (total, all)
}

/// Moves what happened into the past, as if the programs had run then.
fn age(sandbox: &Sandbox, name: &str, days: i64) {
    sandbox.sql(&format!(
        "UPDATE backup_records SET created_at = created_at - INTERVAL {days} DAY WHERE backup_name = '{name}';
         UPDATE backup_events SET happened_at = happened_at - INTERVAL {days} DAY WHERE backup_name = '{name}'"
    ));
}

fn size_of(sandbox: &Sandbox, name: &str) -> u64 {
    sandbox.archive(name).metadata().unwrap().len()
}

#[test]
fn a_line_tells_what_the_backups_take() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app; bk-create -n b -t pre-upgrade -e 1h app/data; bk-create -n c -e 1h --protect app");
    sandbox.ok("bk-create -n lost app && rm home/archives/lost.tar.gz");
    sandbox.sql(
        "UPDATE backup_records SET expires_at = TIMESTAMP '2020-01-01' WHERE expires_at IS NOT NULL",
    );
    let failed = sandbox.run("ulimit -f 8; trap '' XFSZ; bk-create -n failed app");
    assert_eq!(failed.status, 1, "{failed:#?}");
    let sizes = ["a", "b", "c"].map(|name| size_of(&sandbox, name));
    let all: u64 = sizes.iter().sum();

    let ran = sandbox.ok("bk-df");
    assert_eq!(ran.stderr, "");
    let (total, each) = told(&ran);
    assert_eq!(each.len(), 1);
    let directories = json!([sandbox.home().join("archives")]);
    for line in [&total, &each[0]] {
        assert_eq!(line["directories"], directories);
        assert_eq!(line["backup_count"], 5);
        assert_eq!(line["backup_bytes"], all);
        assert_eq!(line["missing_count"], 1);
        assert_eq!(
            line["by_status"],
            json!({
                "creating": {"count": 0, "bytes": 0}, "completed": {"count": 4, "bytes": all},
                "failed": {"count": 1, "bytes": 0}, "moving": {"count": 0, "bytes": 0},
                "deleting": {"count": 0, "bytes": 0}
            })
        );
        assert_eq!(
            line["by_type"],
            json!({
                "manual": {"count": 4, "bytes": sizes[0] + sizes[2]},
                "pre-upgrade": {"count": 1, "bytes": sizes[1]}, "automatic": {"count": 0, "bytes": 0}
            })
        );
        // A protected one stays.
        assert_eq!(
            [&line["expired_count"], &line["expired_bytes"]],
            [&json!(1), &json!(sizes[1])]
        );
        let names = ["oldest", "newest"].map(|key| line[key]["backup_name"].clone());
        assert_eq!(names, ["a", "c"]);
        assert_eq!(line["largest"]["backup_size"], *sizes.iter().max().unwrap());
        assert_eq!(line["reserve_bytes"], 1 << 30);
        assert_eq!(
            line["growth_bytes_per_day"],
            json!({"7d": null, "30d": null, "90d": null})
        );
        assert_eq!(
            [&line["days_left"], &line["alerts"]],
            [&json!(null), &json!([])]
        );
    }
    // What is told is what a removal frees.
    let freed = sandbox
        .ok("bk-ls --expired | bk-rm 2>/dev/null; true")
        .records();
    assert_eq!(freed[0]["freed"], sizes[1]);
    assert_eq!(
        sandbox.ok("bk-df --reserve 5G").records()[0]["reserve_bytes"],
        5_u64 << 30
    );
}

#[test]
fn an_empty_catalog_has_its_storage_directory() {
    let sandbox = Sandbox::with_app();
    sandbox.run("bk-df").fails(1, &format!(
        "bk-df: there is no catalog in '{}': bk-create makes one with the first backup, bk-adopt one of archives that are there; --home names another place\n",
        sandbox.home().display()
    ));
    sandbox.ok("bk-create -n a app && bk-rm a && rmdir home/archives");
    let ran = sandbox.run("bk-df --fail 'age>1000000h' --warn 'unverified>1h' --warn 'missing>0'");
    ran.fails(4, "bk-df: failure: age>1000000h: there is no backup\n");
    let (total, each) = told(&ran);
    assert_eq!(each.len(), 1, "{ran:#?}");
    assert!(each[0]["size_bytes"].as_u64() > each[0]["free_bytes"].as_u64());
    for key in [
        "largest",
        "oldest",
        "newest",
        "next_backup_bytes",
        "unverified_since",
    ] {
        assert_eq!(total[key], Value::Null, "{key}");
    }
}

#[test]
fn thresholds_of_space_hold_exactly() {
    let Some(disk) = SmallDisk::new("40M") else {
        return;
    };
    disk.ok("bk-create --storage $PWD/disk/s -n a app");
    let (_, each) = told(&disk.ok("bk-df"));
    let of_disk = |each: &[Value]| {
        let is_it = |it: &&Value| it["mountpoint"] == json!(disk.sandbox.path("disk"));
        each.iter().find(is_it).cloned().unwrap()
    };
    let line = of_disk(&each);
    let (size, free) = (40 << 20, line["free_bytes"].as_u64().unwrap());
    assert_eq!(line["size_bytes"], size);
    assert_eq!(line["reserve_bytes"], size / 20);
    assert_eq!(line["backup_bytes"], line["newest"]["backup_size"]);
    // The other one is far larger.
    disk.ok(&format!("bk-df --fail 'free<{free}'"));
    let ran = disk.run(&format!("bk-df --warn 'free<{}'", free + 1));
    let name = disk.sandbox.path("disk").display().to_string();
    let human = format!("{:.1} MiB", free as f64 / f64::from(1 << 20));
    ran.fails(
        1,
        &format!(
            "bk-df: warning: free<{}: '{name}' has {human} free\n",
            free + 1
        ),
    );
    let (total, each) = told(&ran);
    let alert = json!([{
        "level": "warning", "spec": format!("free<{}", free + 1),
        "text": format!("'{name}' has {human} free")
    }]);
    assert_eq!(
        (&of_disk(&each)["alerts"], &total["alerts"]),
        (&alert, &alert)
    );

    // A quarter, to the byte, and one page less.
    disk.ok("bk-df >before; head -c $((30 * 1024 * 1024 - $(jq 'select(.mountpoint | . and endswith(\"/disk\")) | .size_bytes - .free_bytes' before))) /dev/zero >disk/fill");
    let (_, each) = told(&disk.ok("bk-df"));
    assert_eq!(of_disk(&each)["free_bytes"], size / 4);
    let stderr = |it: Ran| it.stderr.matches("/disk'").count();
    assert_eq!(stderr(disk.run("bk-df --fail 'free<25%'")), 0);
    assert_eq!(stderr(disk.run("bk-df --fail 'free<26%'")), 1);
    disk.ok("printf x >>disk/fill");
    assert_eq!(stderr(disk.run("bk-df --fail 'free<25%'")), 1);
}

#[test]
fn growth_tells_the_days_until_the_reserve_is_reached() {
    let Some(disk) = SmallDisk::new("40M") else {
        return;
    };
    let sandbox = &disk.sandbox;
    disk.ok("mkdir noise; bk-mv --all $PWD/disk/s 2>/dev/null; true");
    for n in 1..=3 {
        disk.ok(&format!("head -c {n}000000 /dev/urandom >noise/it; bk-create --storage $PWD/disk/s -n n{n} noise"));
    }
    disk.ok("bk-create --storage $PWD/disk/s -n gone noise && bk-rm gone");
    let sizes: Vec<i64> = sandbox
        .records()
        .iter()
        .map(|it| it["backup_size"].as_i64().unwrap())
        .collect();
    // 40, 20 and 3 days ago.
    for (name, days) in [("n1", 40), ("n2", 20), ("n3", 3), ("gone", 1)] {
        age(sandbox, name, days);
    }
    let of_disk = || {
        let (total, each) = told(&disk.ok("bk-df"));
        let line = each.into_iter().find(|it| it["backup_count"] != 0).unwrap();
        (line, total)
    };
    let (line, total) = of_disk();
    let month = (sizes[1] + sizes[2]) / 30;
    let growth = json!({"7d": sizes[2] / 7, "30d": month, "90d": null});
    assert_eq!(line["growth_bytes_per_day"], growth);
    assert_eq!(total["growth_bytes_per_day"], growth);
    assert_eq!(
        line["next_backup_bytes"],
        sizes[2] + (sizes[2] - sizes[0]) / 2
    );
    let spare = line["free_bytes"].as_i64().unwrap() - line["reserve_bytes"].as_i64().unwrap();
    let days = (spare * 10 / month) as f64 / 10.0;
    assert_eq!(line["days_left"], days);
    let whole = days.floor() as i64;
    disk.ok(&format!("bk-df --fail 'days<{whole}'"));
    disk.run(&format!("bk-df --fail 'days<{}' >/dev/null", whole + 1))
        .fails(
            4,
            &format!(
                "bk-df: failure: days<{}: '{}' reaches its reserve in {days:.1} days\n",
                whole + 1,
                sandbox.path("disk").display()
            ),
        );
    // More went than came.
    disk.ok("bk-rm n1 n2 n3");
    let (line, _) = (told(&disk.ok("bk-df")).1, ());
    assert!(line.iter().all(|it| it["days_left"].is_null()), "{line:?}");
    disk.ok(
        "bk-df --fail 'days<1000000' | jq -e 'select(.total) | .growth_bytes_per_day[\"30d\"] < 0'",
    );
}

#[test]
fn thresholds_of_backups_hold_exactly() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app; bk-create -n b app");
    age(&sandbox, "a", 10);
    age(&sandbox, "b", 2);
    let a = sandbox.records()[0]["created_at"]
        .as_str()
        .unwrap()
        .to_owned();
    let b = sandbox.records()[1]["created_at"]
        .as_str()
        .unwrap()
        .to_owned();
    let quiet = |flags: &str| assert_eq!(sandbox.ok(&format!("bk-df {flags}")).stderr, "");
    quiet(
        "--fail 'age>49h' --fail 'age>3d' --fail 'unverified>11d' --fail 'failed>0' --fail 'missing>0'",
    );
    sandbox.run("bk-df --warn 'age>47h' --warn 'unverified>9d' >/dev/null").fails(1, &format!(
        "bk-df: warning: age>47h: the newest backup 'b' is of {b}\nbk-df: warning: unverified>9d: 'a' was not verified since it was made at {a}\n"
    ));
    sandbox.ok("bk-verify a");
    quiet("--fail 'unverified>3d'");
    assert!(
        sandbox
            .run("bk-df --fail 'unverified>1d'")
            .stderr
            .contains(": 'b' was not")
    );
    // A verification that found damage proves nothing.
    sandbox.ok("bk-verify --all; printf x >>home/archives/a.tar.gz");
    quiet("--fail 'unverified>1d'");
    assert_eq!(sandbox.run("bk-verify a").status, 1);
    assert!(
        sandbox
            .run("bk-df --fail 'unverified>1d'")
            .stderr
            .contains(": 'a' was not")
    );

    sandbox.ok("rm home/archives/b.tar.gz");
    quiet("--fail 'missing>1'");
    // The newest that is there is older; the failure goes before the warning, whatever is first.
    let ran = sandbox.run("bk-df --fail 'missing>0' --warn 'age>9d'");
    ran.fails(4, &format!(
        "bk-df: warning: age>9d: the newest backup 'a' is of {a}\nbk-df: failure: missing>0: 1 missing\n"
    ));
    let levels: Vec<_> = told(&ran).0["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["level"].clone())
        .collect();
    assert_eq!(levels, ["warning", "failure"]);
    assert_eq!(told(&ran).1[0]["alerts"], json!([]));
    sandbox.run("ulimit -f 8; trap '' XFSZ; bk-create -n failed app");
    quiet("--fail 'failed>1'");
    sandbox
        .run("bk-df -w 'failed>0' -w 'failed>0' >/dev/null")
        .fails(1, "bk-df: warning: failed>0: 1 failed\n");
}

#[test]
fn a_mistake_is_told_before_the_catalog_is_opened() {
    let sandbox = Sandbox::new();
    let known = "write free<SIZE, free<N%, days<N, age>SPAN, unverified>SPAN, failed>N, missing>N";
    for (flags, said) in [
        (
            "--warn 'free>20G'",
            format!("--warn: 'free>20G' is no threshold: {known}"),
        ),
        (
            "--fail 'age<26h'",
            format!("--fail: 'age<26h' is no threshold: {known}"),
        ),
        (
            "--fail 'free < 20G'",
            format!("--fail: 'free < 20G' is no threshold: {known}"),
        ),
        (
            "-w 'days<=14'",
            format!("--warn: 'days<=14' is no threshold: {known}"),
        ),
        (
            "--reserve much",
            "--reserve: 'much' is no size: write it as 500M, 20G or 1.5TiB".into(),
        ),
        (
            "--prometheus --json",
            "--prometheus excludes --json and --table".into(),
        ),
        (
            "--prometheus --table",
            "--prometheus excludes --json and --table".into(),
        ),
        ("7", "unexpected argument \"7\"; try 'bk-df --help'".into()),
        (
            "-- -",
            "unexpected argument \"-\"; try 'bk-df --help'".into(),
        ),
    ] {
        let ran = sandbox.run(&format!("bk-df {flags}"));
        ran.fails(2, &format!("bk-df: {said}\n"));
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_directory_that_is_gone_has_a_line_without_sizes() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app; bk-create --storage $PWD/there -n b app; bk-create --storage $PWD/there -n c app; mv there away");
    let there = sandbox.path("there").display().to_string();
    let gone = format!(
        "bk-df: warning: cannot look at '{there}': No such file or directory: its archives count as missing (2)\n"
    );
    let ran = sandbox.run("bk-df --fail 'missing>1' --warn 'free<1'");
    ran.fails(4, &format!(
        "{gone}bk-df: warning: free<1: '{there}' cannot be looked at\nbk-df: failure: missing>1: 2 missing\n"
    ));
    let (total, each) = told(&ran);
    assert_eq!((each.len(), &total["missing_count"]), (2, &json!(2)));
    assert_eq!(total["size_bytes"], each[0]["size_bytes"]);
    let lost = &each[1];
    for key in [
        "mountpoint",
        "size_bytes",
        "free_bytes",
        "reserve_bytes",
        "days_left",
        "newest",
    ] {
        assert_eq!(lost[key], Value::Null, "{key}");
    }
    assert_eq!(lost["directories"], json!([there]));
    assert_eq!([&lost["missing_count"], &lost["backup_bytes"]], [2, 0]);
    // Nothing is wrong with what was not asked for.
    assert_eq!(sandbox.ok("bk-df").stderr, gone);
    assert!(sandbox.ok("bk-df --prometheus").stdout.contains(&format!(
        "bk_filesystem_reachable{{mountpoint=\"{there}\"}} 0\n"
    )));
    assert!(
        sandbox
            .ok("bk-df --table")
            .stdout
            .ends_with(&format!("\n\n{there}\ncannot be looked at\n"))
    );
    sandbox.ok("mv away there; bk-df | jq -se 'length == 2 and .[0].backup_count == 3'");
}

#[test]
fn metrics_are_as_promtool_wants_them() {
    let Some(disk) = SmallDisk::new("20M") else {
        return;
    };
    // A mount point with all that a label has to escape.
    disk.ok(r#"odd=$'disk/a\\b"c\nd e'; mkdir "$odd" && mount -t tmpfs -o size=20M tmpfs "$odd"; mkdir "$odd/s"; ln -s "$PWD/$odd/s" disk/link; bk-create -n a -t pre-upgrade --storage $PWD/disk/link app"#);
    let flags = "--warn 'free<100%' --fail 'age>26h' --warn 'unverified>30d'";
    let ran = disk.run(&format!("bk-df --prometheus {flags} >metrics"));
    assert_eq!(ran.status, 1, "{ran:#?}");
    let text = disk.ok("cat metrics").stdout;
    let odd = format!(
        "{}/disk/a\\\\b\\\"c\\nd e",
        disk.sandbox
            .path("")
            .display()
            .to_string()
            .trim_end_matches('/')
    );
    let size = disk.ok("bk-df | jq -s '.[-1].backup_bytes'").stdout;
    for line in [
        format!("bk_backups{{mountpoint=\"{odd}\",status=\"completed\",type=\"pre-upgrade\"}} 1"),
        format!(
            "bk_backup_bytes{{mountpoint=\"{odd}\",status=\"completed\",type=\"pre-upgrade\"}} {}",
            size.trim()
        ),
        format!("bk_backups{{mountpoint=\"{odd}\",status=\"failed\",type=\"manual\"}} 0"),
        format!(
            "bk_filesystem_size_bytes{{mountpoint=\"{odd}\"}} {}",
            20 << 20
        ),
        format!("bk_alert{{spec=\"free<100%\",level=\"warning\",mountpoint=\"{odd}\"}} 1"),
        "bk_alert{spec=\"age>26h\",level=\"failure\"} 0".to_owned(),
        "# TYPE bk_last_backup_timestamp_seconds gauge".to_owned(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    let created = disk
        .ok(&format!(
            "bk-ls a | jq -r .created_at | xargs -I{{}} date -d {{}} +%s"
        ))
        .stdout;
    assert!(
        text.contains(&format!(
            "bk_last_backup_timestamp_seconds{{mountpoint=\"{odd}\"}} {}",
            created.trim()
        )),
        "{text}"
    );
    let samples: Vec<_> = text
        .lines()
        .filter(|it| !it.starts_with('#'))
        .map(|it| it.rsplit_once(' ').unwrap())
        .collect();
    let mut names: Vec<_> = samples.iter().map(|it| it.0).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), samples.len(), "a metric repeats: {text}");
    if has("promtool") {
        let ran = disk.ok("promtool check metrics <metrics");
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
        let torn = disk.run("sed 's/\"}/}/' metrics | promtool check metrics");
        assert_ne!(torn.status, 0, "promtool takes anything: {torn:#?}");
    }
}

#[test]
fn people_get_a_table_and_bars() {
    let Some(disk) = SmallDisk::new("40M") else {
        return;
    };
    disk.ok("head -c 10M /dev/urandom >app/noise; bk-create -n a --storage $PWD/disk/s app; head -c 10M /dev/zero >disk/other");
    let text = disk.ok("bk-df --table").stdout;
    assert!(text.starts_with("MOUNT "), "{text}");
    let name = disk.sandbox.path("disk").display().to_string();
    let (_, picture) = text.split_once(&format!("\n\n{name}\n")).unwrap();
    let bar = picture.lines().next().unwrap();
    assert_eq!(bar.len(), 80, "{text}");
    let count = |part| bar.matches(part).count();
    // 10 of 40 MiB each; the reserve is a twentieth.
    assert!(
        (20..=21).contains(&count('#')) && (19..=20).contains(&count('+')),
        "{text}"
    );
    assert_eq!((count('!'), count('[') + count(']')), (4, 2), "{text}");
    assert!(
        picture.contains(
            "# backups 10.1 MiB  + others 10.0 MiB  . free 17.9 MiB  ! reserve 2.00 MiB\n"
        ),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'));

    if !has("script") {
        return;
    }
    disk.sandbox.write(
        "typed",
        "stty rows 24 cols 63; bk-df; NO_COLOR=1 bk-df; bk-df --json",
    );
    let screen = disk
        .ok("script -qec 'bash typed' /dev/null </dev/null | tr -d '\\r'")
        .stdout;
    let bars: Vec<_> = screen
        .lines()
        .filter(|it| it.contains("[") && it.contains("]") && it.contains("##"))
        .collect();
    let colour = regex::Regex::new("\u{1b}\\[[0-9]*m").unwrap();
    let plain = colour.replace_all(bars[0], "");
    assert_eq!((plain.len(), &*plain), (63, bars[1]), "{screen}");
    for colour in ["\u{1b}[1m#", "\u{1b}[32m.", "\u{1b}[33m!"] {
        assert!(bars[0].contains(colour), "{screen}");
    }
    assert!(
        screen
            .lines()
            .last()
            .unwrap()
            .starts_with("{\"mountpoint\":null"),
        "{screen}"
    );
}

#[test]
fn a_bad_row_is_told_and_the_rest_is_counted() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app; bk-create -n b app");
    sandbox.sql("UPDATE backup_records SET backup_size = -1 WHERE backup_name = 'b'");
    let ran = sandbox.run("bk-df");
    ran.fails(
        1,
        "bk-df: cannot count a backup: the record 2 'b' is damaged: its size is negative\n",
    );
    assert_eq!(told(&ran).0["backup_count"], 1);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app");
    for flags in ["--json", "--table", "--prometheus"] {
        let ran = sandbox.ok(&format!("bk-df {flags} | true; echo ${{PIPESTATUS[0]}}"));
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("0\n", ""));
    }
    sandbox.run("bk-df --json >/dev/full").fails(
        1,
        "bk-df: cannot write to standard output: No space left on device\n",
    );
}

/// The catalog is closed before an archive or its directory is looked at.
#[test]
fn nothing_is_looked_at_while_the_catalog_is_held() {
    let sandbox = Sandbox::with_app();
    if !can_trace() {
        return;
    }
    sandbox.ok("bk-create -n a --storage $PWD/s app");
    sandbox.ok("strace -f -e trace=file,flock,close,statfs -o trace bk-df");
    let trace = sandbox.ok("cat trace").stdout;
    let lines: Vec<_> = trace.lines().collect();
    let last = |word: &str| lines.iter().rposition(|it| it.contains(word)).unwrap();
    let first = |word: &str| lines.iter().position(|it| it.contains(word)).unwrap();
    assert!(last("catalog.duckdb") < first("/s\""), "{trace}");
    assert!(first("LOCK_SH") < first("/s\""), "{trace}");
}

/// Records and their events; the archives are all lost but that of the first.
fn fill(sandbox: &Sandbox, count: usize) {
    sandbox.ok("bk-create -n seed app");
    sandbox.sql(&format!(
        "CREATE TEMP TABLE fresh AS SELECT nextval('backup_id') AS id, i FROM range({count}) t(i);
         INSERT INTO backup_records SELECT id, 'b' || id, 'automatic', 'completed', NULL,
             '{}/b' || id || '.tar.gz', 5, 1, 'gzip', sha256(id::VARCHAR), NULL, '{{\"sources\":[\"/srv/data\"]}}', false,
             now()::TIMESTAMP - (i + 1) * INTERVAL 1 MINUTE, NULL FROM fresh;
         INSERT INTO backup_events SELECT nextval('event_id'), now()::TIMESTAMP - (i + 1) * INTERVAL 1 MINUTE, 'bk-create',
             id, 'b' || id, 'create', 'ok', '{{\"bytes\":5,\"seconds\":1.5}}' FROM fresh",
        sandbox.home().join("archives").display()
    ));
}

#[test]
fn a_hundred_thousand_records_take_a_few_seconds() {
    let sandbox = Sandbox::with_app();
    fill(&sandbox, 100_000);
    let begin = Instant::now();
    let (total, _) = told(&sandbox.ok("bk-df"));
    let took = begin.elapsed();
    println!("{took:?}");
    assert_eq!(
        (&total["backup_count"], &total["missing_count"]),
        (&json!(100_001), &json!(100_000))
    );
    // 10 080 minutes, but for the one that passes while this runs.
    let week = total["growth_bytes_per_day"]["7d"].as_u64().unwrap();
    let seed = size_of(&sandbox, "seed");
    assert!(
        week >= (10_070 * 5 + seed) / 7 && week <= (10_080 * 5 + seed) / 7 + 1,
        "{week}"
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
}
