//! Backups of several hosts in one catalog: those of another one are adopted, and never mixed up
//! with its own.

use std::collections::BTreeSet;

use crate::support::Sandbox;
use serde_json::Value;

/// A catalog of `web1` into which a backup of `web2` was adopted, of the same sources.
fn two_hosts() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for host in web1 web2; do BK_HOST=$host bk-create --home $host -t automatic --name $host -m job=j app >/dev/null; done");
    sandbox.ok("mkdir store; cp web?/archives/* store; BK_HOST=web1 bk-adopt -r store >/dev/null");
    sandbox
}

fn names(all: &[Value]) -> BTreeSet<String> {
    let name = |it: &Value| it["backup_name"].as_str().unwrap().to_owned();
    all.iter().map(name).collect()
}

fn setting(sandbox: &Sandbox, name: &str) -> Option<String> {
    let catalog = duckdb::Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
    let sql = "SELECT value FROM settings WHERE name = ?";
    catalog.query_row(sql, [name], |row| row.get(0)).ok()
}

fn host(record: &Value) -> &str {
    record["backup_metadata"]["host"].as_str().unwrap()
}

#[test]
fn the_hosts_are_groups_of_their_own() {
    let sandbox = two_hosts();
    assert_eq!(sandbox.ok("bk-prune -n --keep-last 1").stdout, "");
    let both = sandbox.ok("bk-prune -n --keep-last 1 --group-by sources,type");
    assert_eq!(both.records().len(), 1);
    let table = sandbox
        .ok("bk-prune --explain --keep-last 1 --table")
        .stdout;
    assert!(
        table.contains("app, automatic, web1") && table.contains("app, automatic, web2"),
        "{table}"
    );
    assert_eq!(
        names(&sandbox.ok("bk-ls --host web2").records()),
        ["web2".to_owned()].into()
    );
    // What the next one takes is foretold from those of the same host.
    sandbox.sql("UPDATE backup_records SET backup_size = 100000 WHERE backup_name = 'web2';
        UPDATE backup_records SET created_at = created_at + INTERVAL 1 SECOND WHERE backup_name = 'web1'");
    let (total, _) = sandbox.ok("bk-df").file_systems();
    assert_eq!(total["next_backup_bytes"], total["newest"]["backup_size"]);
}

#[test]
fn the_retention_of_a_job_leaves_other_hosts_alone() {
    let sandbox = two_hosts();
    sandbox.sql("UPDATE backup_records SET created_at = TIMESTAMP '2024-01-01'");
    sandbox.ok("bk-auto --set j -s @daily -r 7 -- app");
    sandbox.ok("bk-auto --now j");
    let left = names(&sandbox.records());
    assert!(
        left.contains("web2") && !left.contains("web1") && left.len() == 2,
        "{left:?}"
    );
}

#[test]
fn the_host_of_a_home_is_made_once() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --host db1 --name a app; bk-create --name b app");
    assert_eq!(setting(&sandbox, "host").as_deref(), Some("db1"));
    // Somebody says otherwise for one.
    sandbox.ok("BK_HOST=db2 bk-create --name c app; BK_HOST=db2 bk-create --host db3 --name d app; bk-create --name e app");
    let hosts: Vec<_> = sandbox
        .records()
        .iter()
        .map(|it| host(it).to_owned())
        .collect();
    assert_eq!(hosts, ["db1", "db1", "db2", "db3", "db1"]);
    assert_eq!(setting(&sandbox, "host").as_deref(), Some("db1"));
    for line in ["bk-create --host 'a b' app", "bk-create --host '' app"] {
        assert_eq!(sandbox.run(line).status, 2, "{line}");
    }
    sandbox.run("BK_HOST='a b' bk-ls").fails(
        2,
        "bk-ls: BK_HOST: invalid host name 'a b': use 1 to 255 bytes without blanks\n",
    );
    // bk-auto may be the first of all.
    sandbox.ok("BK_HOST=x bk-auto --home other --set -s @daily -- app; bk-auto --home other --now");
    let made = sandbox.ok("bk-ls --home other").record();
    assert_eq!(host(&made), "x");
}

#[test]
fn a_catalog_from_before_gets_its_host_and_knows_its_own() {
    let sandbox = two_hosts();
    sandbox
        .ok("bk-create --name c1 -t automatic -m job=j app; bk-create --name c2 -t automatic -m job=j app");
    // As containers, which have another name each time, would have left it.
    sandbox.sql("DELETE FROM settings WHERE name = 'host';
        UPDATE backup_records SET backup_metadata = regexp_replace(backup_metadata, '\"host\":\"[^\"]*\"', '\"host\":\"' || backup_name || '\"');
        UPDATE backup_records SET created_at = TIMESTAMP '2024-01-01' + to_days(id::INT)");
    sandbox.ok("BK_HOST=web1 bk-auto --set j -s @daily -r 7 -- app");
    assert_eq!(setting(&sandbox, "host").as_deref(), Some("web1"));
    assert_eq!(
        setting(&sandbox, "host_earlier").as_deref(),
        Some(r#"["c1","c2"]"#)
    );
    let kept = sandbox.ok("bk-prune -n --keep-last 1");
    assert_eq!(
        names(&kept.records()),
        ["c1", "web1"].map(str::to_owned).into()
    );
    assert_eq!(sandbox.ok("bk-ls --host web1").records().len(), 3);
    sandbox.ok("bk-auto --now j");
    let left = names(&sandbox.records());
    assert!(left.contains("web2") && left.len() == 2, "{left:?}");
    // Without a word, it is the name of the machine.
    let fresh = Sandbox::with_app();
    fresh.ok("bk-create app");
    assert_eq!(
        setting(&fresh, "host").unwrap() + "\n",
        fresh.ok("uname -n").stdout
    );
}
