//! A store of backups whose times are known, and what is left of it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Sandbox, files_in};

/// A store of backups b1, b2, ... of `app`, created at these times, in UTC.
pub fn store(times: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("app/a", "a\n");
    let requests: String = (1..=times.len())
        .map(|n| format!("{{\"sources\":[\"app\"],\"backup_name\":\"b{n}\"}}\n"))
        .collect();
    sandbox.write("requests", &requests);
    sandbox.ok("bk-create - <requests >/dev/null");
    let dates: String = (1..)
        .zip(times)
        .map(|(id, time)| {
            format!("UPDATE backup_records SET created_at = TIMESTAMP '{time}' WHERE id = {id};")
        })
        .collect();
    sandbox.sql(&dates);
    sandbox
}

/// Six, a day apart, some years ago.
pub fn six() -> Sandbox {
    store(&[
        "2024-02-26 03:00",
        "2024-02-27 03:00",
        "2024-02-28 03:00",
        "2024-02-29 03:00",
        "2024-03-01 03:00",
        "2024-03-02 03:00",
    ])
}

pub fn ids(records: &[Value]) -> BTreeSet<i64> {
    records
        .iter()
        .map(|it| it["id"].as_i64().unwrap())
        .collect()
}

/// The ids of the records, after it is certain that these and no others have their archives.
pub fn left(sandbox: &Sandbox) -> Vec<i64> {
    let records = sandbox.records();
    assert!(
        records.iter().all(|it| it["file_status"] == "available"),
        "{records:#?}"
    );
    assert!(
        records.iter().all(|it| it["status"] == "completed"),
        "{records:#?}"
    );
    let files = files_in(&sandbox.home().join("archives"));
    assert_eq!(files.len(), records.len());
    ids(&records).into_iter().collect()
}
