//! bk-df: thresholds, growth and metrics, on file systems in memory, whose space is exact.

use crate::support::disk::SmallDisk;
use crate::support::{Ran, Sandbox, has};
use serde_json::{Value, json};

/// Moves what happened into the past, as if the programs had run then.
fn age(sandbox: &Sandbox, name: &str, days: i64) {
    sandbox.sql(&format!(
        "UPDATE backup_records SET created_at = created_at - INTERVAL {days} DAY WHERE backup_name = '{name}';
         UPDATE backup_events SET happened_at = happened_at - INTERVAL {days} DAY WHERE backup_name = '{name}'"
    ));
}

#[test]
fn thresholds_of_space_hold_exactly() {
    let Some(disk) = SmallDisk::new("40M") else {
        return;
    };
    disk.ok("bk-create --storage $PWD/disk/s --name a app");
    let (_, each) = disk.ok("bk-df").file_systems();
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
    let (total, each) = ran.file_systems();
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
    let (_, each) = disk.ok("bk-df").file_systems();
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
    disk.ok("mkdir noise");
    for n in 1..=3 {
        disk.ok(&format!("head -c {n}000000 /dev/urandom >noise/it; bk-create --storage $PWD/disk/s --name n{n} noise"));
    }
    disk.ok("bk-create --storage $PWD/disk/s --name gone noise && bk-rm gone");
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
        let (total, each) = disk.ok("bk-df").file_systems();
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
    let (_, each) = disk.ok("bk-df").file_systems();
    assert!(each.iter().all(|it| it["days_left"].is_null()), "{each:?}");
    disk.ok(
        "bk-df --fail 'days<1000000' | jq -e 'select(.total) | .growth_bytes_per_day[\"30d\"] < 0'",
    );
}

#[test]
fn thresholds_of_backups_hold_exactly() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b app");
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
        "bk-df: warning: age>47h: the newest backup 'b' was made at {b}\nbk-df: warning: unverified>9d: 'a' has not been verified since it was made at {a}\n"
    ));
    sandbox.ok("bk-verify a");
    quiet("--fail 'unverified>3d'");
    assert!(
        sandbox
            .run("bk-df --fail 'unverified>1d'")
            .stderr
            .contains(": 'b' has not")
    );
    // A verification that found damage proves nothing.
    sandbox.ok("bk-verify --all; printf x >>home/archives/a.tar.gz");
    quiet("--fail 'unverified>1d'");
    assert_eq!(sandbox.run("bk-verify a").status, 1);
    assert!(
        sandbox
            .run("bk-df --fail 'unverified>1d'")
            .stderr
            .contains(": 'a' has not")
    );

    sandbox.ok("rm home/archives/b.tar.gz");
    quiet("--fail 'missing>1'");
    // The newest that is there is older; the failure goes before the warning, whatever is first.
    let ran = sandbox.run("bk-df --fail 'missing>0' --warn 'age>9d'");
    ran.fails(4, &format!(
        "bk-df: warning: age>9d: the newest backup 'a' was made at {a}\nbk-df: failure: missing>0: 1 missing\n"
    ));
    let levels: Vec<_> = ran.file_systems().0["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["level"].clone())
        .collect();
    assert_eq!(levels, ["warning", "failure"]);
    assert_eq!(ran.file_systems().1[0]["alerts"], json!([]));
    sandbox.run("ulimit -f 8; trap '' XFSZ; bk-create --name failed app");
    quiet("--fail 'failed>1'");
    sandbox
        .run("bk-df -w 'failed>0' -w 'failed>0' >/dev/null")
        .fails(1, "bk-df: warning: failed>0: 1 failed\n");
}

#[test]
fn metrics_are_as_promtool_wants_them() {
    let Some(disk) = SmallDisk::new("20M") else {
        return;
    };
    // A mount point with all that a label has to escape.
    disk.ok(r#"odd=$'disk/a\\b"c\nd e'; mkdir "$odd" && mount -t tmpfs -o size=20M tmpfs "$odd"; mkdir "$odd/s"; ln -s "$PWD/$odd/s" disk/link; bk-create --name a -t pre-upgrade --storage $PWD/disk/link app"#);
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
        .ok("bk-ls a | jq -r .created_at | xargs -I{} date -d {} +%s")
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
