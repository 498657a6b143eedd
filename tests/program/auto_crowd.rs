//! Many jobs due at once, and several bk-auto: none runs twice, none is left out.

use std::collections::BTreeMap;

use crate::support::{Ran, Sandbox, stride};
use serde_json::json;

#[test]
fn two_at_once_run_each_of_many_jobs_once() {
    let count = if stride(2) == 1 { 200 } else { 20 };
    let sandbox = Sandbox::with_app();
    let source = sandbox.path("app/log").display().to_string();
    let line = |number: usize| {
        let name = format!("job-{number:03}");
        json!({"job": name, "enabled": true, "schedule": "@hourly", "sources": [source]})
            .to_string()
    };
    let lines: Vec<_> = (0..count).map(line).collect();
    sandbox.write("jobs", &(lines.join("\n") + "\n"));
    sandbox.ok("bk-auto --set - <jobs");
    sandbox.sql("UPDATE settings SET value = '2020-01-01T00:00:00Z' WHERE name LIKE '%_since.%'");
    let children: Vec<_> = (0..2).map(|_| sandbox.start("bk-auto")).collect();
    for child in children {
        let ran = Ran::new("bk-auto", child.wait_with_output().unwrap());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    }
    let mut runs = BTreeMap::new();
    for row in sandbox.ok("bk-log --event auto").records() {
        let job = row["details"]["job"].as_str().unwrap().to_owned();
        *runs.entry(job).or_insert(0) += 1;
    }
    assert_eq!(runs.len(), count);
    assert!(runs.values().all(|times| *times == 1), "{runs:?}");
    assert_eq!(sandbox.records().len(), count);
}
