//! bk-df by location: its lines, its thresholds, its metrics.

use crate::support::{Ran, Sandbox, has};
use serde_json::{Value, json};

/// Four backups, one of them gone; copies at two of three locations.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for it in a b c d; do bk-create --name $it app; done >/dev/null");
    sandbox.sql("UPDATE backup_records SET created_at = created_at - INTERVAL 30 HOUR");
    sandbox.location("nas");
    sandbox.location("tape");
    for (backup, location, status) in [
        ("a", "nas", "complete"),
        ("b", "nas", "complete"),
        ("b", "offsite", "complete"),
        ("c", "nas", "failed"),
        ("d", "nas", "complete"),
    ] {
        sandbox.copy(backup, location, status);
    }
    sandbox.ok("bk-rm a");
    sandbox
}

fn of_location(ran: &Ran, name: &str) -> Value {
    let found = ran.records().into_iter().find(|it| it["location"] == name);
    found.unwrap_or_else(|| panic!("no location {name}: {ran:#?}"))
}

#[test]
fn each_location_has_a_line_between_the_jobs_and_the_total() {
    let sandbox = sandbox();
    sandbox.ok("bk-auto --set -s @daily -- app");
    let ran = sandbox.ok("bk-df --json");
    let first = |it: &Value| it.as_object().unwrap().keys().next().unwrap().clone();
    let order: Vec<_> = ran.records().iter().map(first).collect();
    assert_eq!(
        order,
        [
            "mountpoint",
            "job",
            "location",
            "location",
            "location",
            "mountpoint"
        ]
    );
    let records = sandbox.records();
    let d = records.iter().find(|it| it["backup_name"] == "d").unwrap();
    let size = d["backup_size"].as_u64().unwrap();
    let nas = of_location(&ran, "nas");
    assert_eq!(
        nas,
        json!({
            "location": "nas", "copy_count": 3, "copy_bytes": nas["copy_bytes"], "gone_count": 1,
            "uncopied_count": 1,
            "newest": {
                "id": d["id"], "backup_name": "d", "size": size,
                "copied_at": d["copies"][0]["copied_at"]
            },
            "alerts": []
        })
    );
    // The bytes are those of three like backups.
    let bytes =
        sandbox.ok("bk-df --json | jq -s 'map(select(.location == \"offsite\"))[0].copy_bytes'");
    let b: u64 = bytes.stdout.trim().parse().unwrap();
    assert!(
        nas["copy_bytes"].as_u64().unwrap() > 2 * b.min(size),
        "{nas}"
    );
    let offsite = of_location(&ran, "offsite");
    assert_eq!(
        (&offsite["copy_count"], &offsite["uncopied_count"]),
        (&json!(1), &json!(2))
    );
    let tape = of_location(&ran, "tape");
    assert_eq!(
        (&tape["newest"], &tape["uncopied_count"]),
        (&json!(null), &json!(3))
    );
    let (total, each) = ran.file_systems();
    assert_eq!(
        (&total["uncopied_count"], &each[0]["uncopied_count"]),
        (&json!(1), &json!(1))
    );
    // One whose copy was made in the future has no age.
    sandbox.sql(
        "UPDATE backup_copies SET copied_at = copied_at + INTERVAL 9 YEAR WHERE backup_name = 'd'",
    );
    let nas = of_location(&sandbox.ok("bk-df --json"), "nas");
    assert_eq!(
        (&nas["newest"]["backup_name"], &nas["copy_count"]),
        (&json!("b"), &json!(3))
    );

    let table = sandbox.ok("bk-df --table").stdout;
    let lines: Vec<_> = table
        .lines()
        .skip_while(|it| !it.starts_with("LOCATION"))
        .collect();
    let cells = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        cells(lines[0]),
        ["LOCATION", "COPIES", "SIZE", "UNCOPIED", "NEWEST", "COPIED"]
    );
    let nas = cells(lines[1]);
    assert_eq!(
        [&nas[0], &nas[1], &nas[4], &nas[5]],
        ["nas", "3", "1", "b"],
        "{table}"
    );
    assert_eq!(
        cells(lines[3]),
        ["tape", "0", "0", "B", "3", "-", "-"],
        "{table}"
    );
}

#[test]
fn without_locations_nothing_is_told_of_them() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let all = sandbox.ok("bk-df --json").records();
    assert!(all.iter().all(|it| it.get("location").is_none()));
    assert_eq!(all[0]["uncopied_count"], 1);
    let text = sandbox.ok("bk-df --table; bk-df --prometheus").stdout;
    assert!(
        !text.contains("LOCATION") && !text.contains("bk_location"),
        "{text}"
    );
}

#[test]
fn thresholds_of_copies_hold_exactly() {
    let sandbox = sandbox();
    for quiet in [
        "uncopied>1",
        "uncopied:nas>1",
        "uncopied:offsite>2",
        "copy-age:nas>30h",
        "copy-age:offsite>30h",
    ] {
        assert_eq!(sandbox.ok(&format!("bk-df --fail '{quiet}'")).stderr, "");
    }
    let copied = sandbox.ok("bk-ls d | jq -r .copies[0].copied_at").stdout;
    let copied = copied.trim();
    for (spec, about, text) in [
        (
            "uncopied>0",
            None,
            "1 without a copy at any location".to_owned(),
        ),
        (
            "uncopied:nas>0",
            Some("nas"),
            "1 without a copy at 'nas'".to_owned(),
        ),
        (
            "uncopied:tape>2",
            Some("tape"),
            "3 without a copy at 'tape'".to_owned(),
        ),
        (
            "copy-age:nas>28h",
            Some("nas"),
            format!("the newest copy at 'nas', of 'd', was made at {copied}"),
        ),
        (
            "copy-age:tape>9y",
            Some("tape"),
            "there is no copy at 'tape'".to_owned(),
        ),
        (
            "copy-age:nass>9y",
            None,
            "there is no location 'nass'".to_owned(),
        ),
        (
            "uncopied:nass>99",
            None,
            "there is no location 'nass'".to_owned(),
        ),
    ] {
        let ran = sandbox.run(&format!("bk-df --json --fail '{spec}'"));
        ran.fails(4, &format!("bk-df: failure: {spec}: {text}\n"));
        let alert = json!([{ "level": "failure", "spec": spec, "text": text }]);
        assert_eq!(ran.file_systems().0["alerts"], alert);
        for location in ["nas", "offsite", "tape"] {
            let expected = if about == Some(location) {
                &alert
            } else {
                &json!([])
            };
            assert_eq!(&of_location(&ran, location)["alerts"], expected, "{spec}");
        }
        let warned = sandbox.run(&format!("bk-df --warn '{spec}' >/dev/null"));
        warned.fails(1, &format!("bk-df: warning: {spec}: {text}\n"));
    }
    let m = sandbox.run("bk-df --fail 'copy-age:nas>2m'");
    assert_eq!(m.status, 2, "{m:#?}");
}

#[test]
fn a_damaged_row_is_told_and_the_others_are_counted() {
    let sandbox = sandbox();
    sandbox.sql("UPDATE backup_copies SET size = -1 WHERE backup_name = 'a'");
    let ran = sandbox.run("bk-df --json");
    ran.fails(1, "bk-df: cannot count a copy: the copy of 1 'a' at 'nas' in the catalog is damaged: its size is negative\n");
    assert_eq!(of_location(&ran, "nas")["copy_count"], 2);
}

#[test]
fn metrics_of_locations_are_as_promtool_wants_them() {
    let sandbox = sandbox();
    let flags = "--warn 'uncopied:nas>0' --fail 'copy-age:nas>40h' --warn 'uncopied>0'";
    let ran = sandbox.run(&format!("bk-df --prometheus {flags} >metrics"));
    assert_eq!(ran.status, 1, "{ran:#?}");
    let text = sandbox.ok("cat metrics").stdout;
    for line in [
        "bk_location_copies{location=\"nas\"} 3",
        "bk_location_gone_copies{location=\"nas\"} 1",
        "bk_location_uncopied_backups{location=\"nas\"} 1",
        "bk_location_uncopied_backups{location=\"tape\"} 3",
        "bk_location_copy_bytes{location=\"tape\"} 0",
        "bk_alert{spec=\"uncopied:nas>0\",level=\"warning\",location=\"nas\"} 1",
        "bk_alert{spec=\"copy-age:nas>40h\",level=\"failure\",location=\"nas\"} 0",
        "bk_alert{spec=\"uncopied>0\",level=\"warning\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    assert!(text.contains("\nbk_uncopied_backups{mountpoint="), "{text}");
    let copied = sandbox
        .ok("bk-ls d | jq -r .copies[0].copied_at | xargs -I{} date -d {} +%s")
        .stdout;
    let newest = format!(
        "bk_location_newest_copy_timestamp_seconds{{location=\"nas\"}} {}",
        copied.trim()
    );
    assert!(text.contains(&newest), "{newest}\n{text}");
    assert!(!text.contains("bk_location_newest_copy_timestamp_seconds{location=\"tape\"}"));
    if has("promtool") {
        let ran = sandbox.ok("promtool check metrics <metrics");
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    }
}
