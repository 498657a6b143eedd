//! The rules beside those of restic: the same backups at the same times, judged by both.
//!
//! restic takes months that are too short otherwise than we do: so spans here are of hours, days
//! and years.

use crate::support::{Sandbox, has, stride};
use serde_json::Value;

/// The first restic whose oldest backup counts towards rules within spans too.
const NEW: (u32, u32) = (0, 17);

const ENVIRONMENT: &str = "export TZ=Europe/Berlin RESTIC_REPOSITORY=$PWD/repo RESTIC_PASSWORD=x \
     RESTIC_CACHE_DIR=$PWD/cache;";

/// Local times in Berlin: hours around the changes to and from summer time, week 53, a leap day,
/// days, weeks, gaps of months, some twice.
fn times() -> Vec<String> {
    let corners = [
        "2019-07-01 12:00:00",
        "2020-02-28 23:30:00",
        "2020-02-29 00:10:00",
        "2020-02-29 23:50:00",
        "2020-03-01 00:05:00",
        "2020-12-31 12:00:00",
        "2021-01-03 23:59:59",
        "2021-01-04 00:00:00",
        "2024-12-30 09:00:00",
        "2025-01-01 09:00:00",
        "2025-01-01 09:00:00",
        "2025-03-30 01:59:59",
        "2025-03-30 03:00:00",
        "2025-03-30 03:59:59",
        "2025-10-25 23:59:59",
        "2025-10-26 00:00:00",
        "2025-10-26 01:30:00",
        // In winter time; those in summer time are made in a zone of their own.
        "2025-10-26 02:15:00",
        "2025-10-26 02:45:00",
        "2025-10-26 03:30:00",
        "2025-10-26 23:59:59",
        "2025-10-27 00:00:00",
    ];
    let mut times = corners.map(str::to_owned).to_vec();
    times.extend((1..=12).map(|month| format!("2025-{month:02}-15 04:00:00")));
    times.extend((1..=14).map(|day| format!("2026-03-{:02} 03:00:00", day + 14)));
    times.extend((0..12).map(|n| format!("2026-03-29 {:02}:{:02}:00", n / 2 + 4, n * 4)));
    times
}

const COUNTS: [&str; 13] = [
    "--keep-last 5",
    "--keep-hourly 7",
    "--keep-hourly 40",
    "--keep-daily 4",
    "--keep-daily 60",
    "--keep-weekly 6",
    "--keep-weekly 40",
    "--keep-monthly 9",
    "--keep-monthly 60",
    "--keep-yearly 3",
    "--keep-yearly 30",
    "--keep-daily 7 --keep-weekly 5 --keep-monthly 12 --keep-yearly 75",
    "--keep-last 3 --keep-hourly 24",
];

const SPANS: [&str; 6] = [
    "--keep-within 10d",
    "--keep-within 24h",
    "--keep-within-hourly 1d --keep-within-daily 7d --keep-within-weekly 60d",
    "--keep-within-monthly 2y --keep-within-yearly 30y",
    "--keep-within-daily 30y --keep-last 1",
    "--keep-within-hourly 30y",
];

/// The times that a list of restic's snapshots has, in its order.
fn times_of(snapshots: &Value) -> Vec<String> {
    let time = |it: &Value| it["time"].as_str().unwrap().to_owned();
    snapshots.as_array().unwrap().iter().map(time).collect()
}

/// A repository, and a catalog with the same times; what restic calls each of them.
fn prepare(sandbox: &Sandbox) -> Vec<String> {
    sandbox.write("app/a", "a\n");
    sandbox.write("times", &times().join("\n"));
    sandbox.ok(&format!(
        "{ENVIRONMENT} restic -q init && xargs -d '\n' -P 4 -I@ restic -q backup --time @ app <times &&
         for time in 02:15:00 02:45:00; do
             TZ=Etc/GMT-2 restic -q backup --time \"2025-10-26 $time\" app || exit
         done"
    ));
    let listed = sandbox.ok(&format!("{ENVIRONMENT} restic snapshots --json"));
    let times = times_of(&serde_json::from_str(&listed.stdout).unwrap());
    sandbox.write("told", &times.join("\n"));
    let utc = sandbox.ok("date -u -f told '+%F %T'").stdout;
    sandbox.ok("bk-create --name b0 app");
    // All with the one archive, as only who has none is judged otherwise.
    let rows = utc.lines().enumerate().map(|(n, time)| {
        format!(
            "INSERT INTO backup_records SELECT nextval('backup_id'), 'c{n}', columns(c -> c NOT IN
                 ('id', 'backup_name', 'created_at', 'expires_at')), TIMESTAMP '{time}', NULL
             FROM backup_records WHERE id = 1;"
        )
    });
    let rows: String = rows.collect();
    sandbox.sql(&format!("{rows} DELETE FROM backup_records WHERE id = 1;"));
    times
}

#[test]
fn the_rules_keep_what_those_of_restic_keep() {
    let sandbox = Sandbox::new();
    if !has("restic") {
        return;
    }
    let told = sandbox.ok("restic version").stdout;
    let version = told.split(' ').nth(1).unwrap();
    let mut numbers = version.split('.').map(|it| it.parse().unwrap_or(0));
    let is_new = (numbers.next().unwrap(), numbers.next().unwrap()) >= NEW;
    if !is_new {
        println!("skipped: rules within spans, as restic {version} is older than 0.17");
    }
    let times = prepare(&sandbox);
    assert_eq!(times.len(), 62);
    let spans = SPANS.iter().filter(|_| is_new);
    for policy in COUNTS.iter().chain(spans).step_by(stride(16)) {
        let forget = format!("{ENVIRONMENT} restic forget --dry-run --json --group-by '' {policy}");
        let groups: Value = serde_json::from_str(&sandbox.ok(&forget).stdout).unwrap();
        let mut by_restic = times_of(&groups[0]["keep"]);
        let explain = format!("{ENVIRONMENT} bk-prune --explain --group-by none {policy}");
        let mut by_us: Vec<_> = sandbox
            .ok(&explain)
            .records()
            .iter()
            .filter(|it| it["decision"]["action"] == "keep")
            .map(|it| {
                let number = it["backup_name"].as_str().unwrap().trim_start_matches('c');
                times[number.parse::<usize>().unwrap()].clone()
            })
            .collect();
        by_restic.sort();
        by_us.sort();
        assert!(!by_us.is_empty());
        assert_eq!(by_us, by_restic, "{policy}");
    }
}
