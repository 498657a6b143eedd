//! bk-df by job: its lines, its thresholds, its metrics, and the alert rules of the page.

use crate::support::{Sandbox, checkout, has};
use serde_json::{Value, json};

const REASON: &str =
    "the command before failed, so there is no backup: it ended with exit status 7";

/// Job `a` fails each time, and job `b` has a young backup.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s @yearly --enable --before 'exit 7' -- app; bk-auto --set b -s @yearly --enable -- app/data");
    sandbox.ok("! bk-auto --now a 2>/dev/null; bk-auto --now b >/dev/null");
    sandbox
}

/// What is said where these thresholds are crossed.
fn said(sandbox: &Sandbox, flags: &str) -> (i32, String) {
    let ran = sandbox.run(&format!("bk-df {flags} >/dev/null"));
    (ran.status, ran.stderr)
}

#[test]
fn no_job_hides_behind_another() {
    let sandbox = sandbox();
    // All backups together are well.
    assert_eq!(said(&sandbox, "-f 'age>26h' -f 'failed>0'"), (0, "".into()));
    let failed = format!("job-failed>0: the job 'a' failed: {REASON}");
    for (flags, status, text) in [
        (
            "-f 'age:*>26h'",
            4,
            "failure: age:*>26h: the job 'a' has no backup",
        ),
        (
            "-w 'age:a>26h'",
            1,
            "warning: age:a>26h: the job 'a' has no backup",
        ),
        ("-f 'job-failed>0'", 4, &*format!("failure: {failed}")),
        ("-w 'job-failed>0'", 1, &format!("warning: {failed}")),
        (
            "-f 'age:c d>1h'",
            4,
            "failure: age:c d>1h: there is no job 'c d'",
        ),
    ] {
        let expected = (status, format!("bk-df: {text}\n"));
        assert_eq!(said(&sandbox, flags), expected, "{flags}");
    }
    let quiet = "-f 'age:b>26h' -f 'job-failed>1' -f 'overdue>1h' -f 'shrunk>0%' -f 'grown>0%'";
    assert_eq!(said(&sandbox, quiet), (0, "".into()));
    // Who disables a job asks for no alerts, and one that proves makes no backups.
    sandbox.ok("bk-auto --disable a; bk-auto --set proof -s @yearly --enable --verify deep");
    let flags = "-f 'age:*>26h' -f 'job-failed>0'";
    assert_eq!(said(&sandbox, flags), (0, "".into()));
    let never = "bk-df: failure: age:proof>8d: the job 'proof' has never succeeded\n";
    assert_eq!(said(&sandbox, "-f 'age:proof>8d'"), (4, never.into()));
    sandbox.ok("bk-auto --now proof");
    assert_eq!(said(&sandbox, "-f 'age:proof>8d'"), (0, "".into()));
    // The ledger still has the runs of one that is gone.
    sandbox.ok("bk-auto --remove a");
    let names = sandbox.ok("bk-df | jq -r '.job // empty'").stdout;
    assert_eq!(names, "b\nproof\n");
}

#[test]
fn a_job_has_a_line_between_the_file_systems_and_the_total() {
    let sandbox = sandbox();
    let ran = sandbox.run("bk-df --fail 'age:*>26h' --fail 'job-failed>0'");
    let lines = ran.records();
    let first = |line: &Value| line.as_object().unwrap().keys().next().unwrap().clone();
    let firsts: Vec<_> = lines.iter().map(first).collect();
    assert_eq!(firsts, ["mountpoint", "job", "job", "mountpoint"]);
    let old = json!({"level": "failure", "spec": "age:*>26h", "text": "the job 'a' has no backup"});
    let (total, each) = ran.file_systems();
    assert_eq!(
        (&total["alerts"][0], &each[0]["alerts"]),
        (&old, &json!([]))
    );
    assert_eq!(total["alerts"].as_array().unwrap().len(), 2);

    let (a, b) = (ran.job("a"), ran.job("b"));
    assert_eq!((a.get("total"), &a["alerts"]), (None, &json!([old])));
    let what = [
        "enabled",
        "last_outcome",
        "last_reason",
        "last_success",
        "newest",
    ];
    assert_eq!(
        what.map(|key| a[key].clone()),
        [
            json!(true),
            json!("failed"),
            json!(REASON),
            json!(null),
            json!(null)
        ]
    );
    let listed = sandbox.ok("bk-auto --list").job("b");
    for key in [
        "job",
        "enabled",
        "last_run",
        "last_outcome",
        "last_reason",
        "last_warning",
        "next_due",
    ] {
        assert_eq!(b[key], listed[key], "{key}");
    }
    let made = &sandbox.records()[0];
    assert_eq!(b["newest"]["backup_name"], made["backup_name"]);
    assert_eq!(b["content_bytes"], made["backup_metadata"]["content_bytes"]);
    assert_eq!(
        (&b["last_success"], &b["overdue_seconds"]),
        (&b["last_run"], &json!(0))
    );

    let table = sandbox.ok("bk-df --table").stdout;
    let jobs = table.split("\n\n").nth(1).unwrap();
    let words: Vec<Vec<_>> = jobs
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        words[0].join(" "),
        "JOB ENABLED SUCCESS OUTCOME REASON NEWEST SIZE CHANGE DUE"
    );
    assert_eq!(words[1][..5], ["a", "yes", "-", "failed", "the"]);
    assert!(jobs.contains(&format!("failed   {REASON}  -")), "{table}");
    assert_eq!((words[2][0], words.len()), ("b", 3), "{table}");
}

#[test]
fn what_is_wrong_with_a_job_is_told_of_it() {
    let sandbox = sandbox();
    sandbox.ok(": >app/data/orders.db; bk-auto --now b >/dev/null; bk-auto --set c -s @yearly --enable -- app");
    sandbox.sql(
        "UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name = 'auto_backup_since.c';
         UPDATE settings SET value = 'never' WHERE name = 'auto_backup_schedule.a'",
    );
    let ran = sandbox.run("bk-df -f 'shrunk>50%' -w 'overdue>1h' -w 'grown>0%' -w 'job-failed>0'");
    assert_eq!(ran.status, 4);
    let (a, b, c) = (ran.job("a"), ran.job("b"), ran.job("c"));
    let wrong = a["settings_error"].as_str().unwrap();
    assert!(
        wrong.starts_with("its setting auto_backup_schedule: invalid schedule 'never'"),
        "{wrong}"
    );
    let newest = b["newest"]["backup_name"].as_str().unwrap();
    let change = b["content_change_percent"].as_f64().unwrap();
    assert!(change < -99.0, "{b}");
    let since = c["due_since"].as_str().unwrap();
    assert_eq!(since, "2021-01-01T00:00:00Z");
    let usual = sandbox
        .ok("bk-ls --json | jq -s '.[0].backup_metadata.content_bytes'")
        .stdout;
    assert_eq!(b["content_median_bytes"].to_string(), usual.trim());
    for text in [
        format!("warning: overdue>1h: the job 'a' cannot run: {wrong}\n"),
        format!("warning: overdue>1h: the job 'c' is due since {since} and has not run\n"),
        format!("warning: job-failed>0: the job 'a' failed: {wrong}\n"),
        format!(
            "failure: shrunk>50%: the job 'b': the content of its newest backup '{newest}' is 9 B, the median of those before it 200 KiB\n"
        ),
    ] {
        assert!(ran.stderr.contains(&text), "{text}{}", ran.stderr);
    }
    assert_eq!(ran.stderr.lines().count(), 4, "{}", ran.stderr);
    sandbox.ok(&format!("bk-set --accept {newest} 2>/dev/null"));
    assert_eq!(said(&sandbox, "-f 'shrunk>50%'"), (0, "".into()));
}

/// The file that stands in the page.
fn rules() -> String {
    let page = std::fs::read_to_string(checkout().join("man/bk-df.1")).unwrap();
    let rules = page.split(".Bd -literal -offset indent\ngroups:").nth(1);
    let rules = rules.unwrap().split(".Ed").next().unwrap();
    format!("groups:{rules}").replace(r"\e", r"\")
}

/// As node exporter and Prometheus make of them: samples of a target that is a job itself.
fn series(metrics: &str) -> String {
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name
            .replace("{job=", "{exported_job=")
            .replace(",job=", ",exported_job=");
        let name = name.replacen('{', "{job=\"node\",instance=\"h\",", 1);
        format!("  - series: '{name}'\n    values: '{value}x40'\n")
    };
    let samples = metrics.lines().filter(|line| line.starts_with("bk_job_"));
    samples.map(sample).collect()
}

#[test]
fn metrics_and_rules_of_jobs_are_as_promtool_wants_them() {
    let sandbox = sandbox();
    // A name with all that a label has to escape.
    sandbox.ok(r#"bk-auto --set 'o"d\d' -s @yearly --enable -- app"#);
    let flags = "--fail 'age:*>26h' --warn 'age:b>1h' --warn 'age:none>1h' --warn 'job-failed>0'";
    let ran = sandbox.run(&format!("bk-df --prometheus {flags}"));
    let text = &ran.stdout;
    for line in [
        r#"bk_job_failed{job="a"} 1"#,
        r#"bk_job_failed{job="b"} 0"#,
        r#"bk_job_enabled{job="o\"d\\d"} 1"#,
        r#"bk_job_makes_backups{job="b"} 1"#,
        r#"bk_job_overdue_seconds{job="a"} 0"#,
        r#"bk_alert{spec="age:*>26h",level="failure",job="a"} 1"#,
        r#"bk_alert{spec="age:*>26h",level="failure",job="b"} 0"#,
        r#"bk_alert{spec="age:b>1h",level="warning",job="b"} 0"#,
        r#"bk_alert{spec="age:none>1h",level="warning",job="none"} 1"#,
        r#"bk_alert{spec="job-failed>0",level="warning"} 1"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    let line = sandbox.ok("bk-df").job("b");
    for (metric, time) in [
        ("last_run", &line["last_run"]),
        ("last_success", &line["last_success"]),
        ("newest_backup", &line["newest"]["created_at"]),
        ("next_due", &line["next_due"]),
    ] {
        let time = time.as_str().unwrap();
        let seconds = sandbox.ok(&format!("date -d {time} +%s")).stdout;
        let sample = format!(
            "bk_job_{metric}_timestamp_seconds{{job=\"b\"}} {}",
            seconds.trim()
        );
        assert!(text.contains(&sample), "{sample}\n{text}");
    }
    if !has("promtool") {
        return;
    }
    sandbox.write("metrics", text);
    let ran = sandbox.ok("promtool check metrics <metrics");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    sandbox.write("rules.yml", &rules());
    sandbox.ok("promtool check rules rules.yml");
    let more = r#"  - series: 'bk_job_overdue_seconds{job="node",instance="h",exported_job="late"}'
    values: '30000x40'
  - series: 'bk_job_last_success_timestamp_seconds{job="node",instance="h",exported_job="old"}'
    values: '0x40'
  - series: 'bk_job_enabled{job="node",instance="h",exported_job="old"}'
    values: '1x40'
  - series: 'bk_job_makes_backups{job="node",instance="h",exported_job="old"}'
    values: '1x40'
  - series: 'bk_job_last_success_timestamp_seconds{job="node",instance="h",exported_job="proof"}'
    values: '-700000x40'
  - series: 'bk_job_enabled{job="node",instance="h",exported_job="proof"}'
    values: '1x40'
  - series: 'bk_job_makes_backups{job="node",instance="h",exported_job="proof"}'
    values: '0x40'
  - series: 'bk_job_last_success_timestamp_seconds{job="node",instance="h",exported_job="weekly"}'
    values: '-400000x40'
  - series: 'bk_job_enabled{job="node",instance="h",exported_job="weekly"}'
    values: '1x40'
  - series: 'bk_job_makes_backups{job="node",instance="h",exported_job="weekly"}'
    values: '0x40'
  - series: 'bk_job_content_bytes{job="node",instance="h",exported_job="less"}'
    values: '590x40'
  - series: 'bk_job_content_median_bytes{job="node",instance="h",exported_job="less"}'
    values: '4000000x40'
  - series: 'node_textfile_mtime_seconds{instance="h",file="/var/lib/textfile/bk.prom"}'
    values: '0x40'
"#;
    let alert = |name: &str, labels: &str, summary: &str| {
        format!(
            "  - eval_time: 30h\n    alertname: {name}\n    exp_alerts:\n    - exp_labels: {{instance: h{labels}}}\n      exp_annotations: {{summary: '{summary}'}}\n"
        )
    };
    let of = |job: &str| format!(", job: node, exported_job: {job}");
    let alerts = [
        alert("BackupJobFailed", &of("a"), "a failed on h"),
        alert("BackupJobOverdue", &of("late"), "late does not run"),
        alert("BackupJobWithoutSuccess", &of("old"), "old: 1d 6h 0m 0s"),
        alert("BackupProofOld", &of("proof"), "proof: 9d 8h 26m 40s"),
        alert("BackupShrunk", &of("less"), "less has 590B"),
        alert(
            "BackupMetricsOld",
            ", file: /var/lib/textfile/bk.prom",
            "nobody runs bk-df on h",
        ),
    ];
    let test = format!(
        "rule_files: [rules.yml]\nevaluation_interval: 1h\ntests:\n- interval: 1h\n  input_series:\n{}{more}  alert_rule_test:\n{}",
        series(text),
        alerts.concat()
    );
    sandbox.write("test.yml", &test);
    sandbox.ok("promtool test rules test.yml");
}
