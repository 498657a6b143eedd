//! bk-pull --list of a fleet: five hundred hosts with a hundred records each, at an S3 server.
//!
//! What it tells is in pull_list.rs.

use std::fs;
use std::time::Instant;

use crate::support::Sandbox;
use crate::support::proxy::Proxy;
use crate::support::pushed::PLACE;
use crate::support::seaweed::{ADMIN, Seaweed};
use serde_json::Value;

const HOSTS: usize = 500;
const RECORDS: usize = 100;

/// The lists of a fleet below a directory, as bk-push writes them: copied from one that it wrote.
fn lists(sandbox: &Sandbox) {
    sandbox.ok("BK_HOST=web bk-create --name a -m job=nightly app >/dev/null");
    sandbox.usb();
    sandbox.ok("bk-push usb a >/dev/null");
    let beside = sandbox
        .object("a")
        .to_str()
        .unwrap()
        .replace(".tar.gz", ".json");
    let beside: Value = serde_json::from_slice(&fs::read(beside).unwrap()).unwrap();
    let record = beside.to_string().replace('\'', "''");
    let dir = sandbox.path("fleet/records");
    fs::create_dir_all(&dir).unwrap();
    let duckdb = duckdb::Connection::open_in_memory().unwrap();
    duckdb
        .execute_batch(&format!("CREATE TABLE base AS SELECT '{record}' AS record"))
        .unwrap();
    for host in 0..HOSTS {
        let place = dir.join(format!("host{host}.c0ffee.parquet"));
        // Each of its own name, hash and key, so that nothing is compressed away.
        let sql = format!(
            "COPY (
                SELECT json_merge_patch(record::JSON, json_object(
                    'id', n, 'backup_name', 'b' || n, 'host', 'host{host}', 'catalog', 'c0ffee',
                    'backup_hash', sha256('{host} ' || n),
                    'created_at', strftime(TIMESTAMP '2026-01-01' + n * INTERVAL 1 DAY, '%Y-%m-%dT%H:%M:%SZ'),
                    'copy', json_object('key', 'host{host}/archives/b' || n || '-' || sha256('{host} ' || n)[:12] || '.tar.gz',
                                        'hash', sha256('{host} ' || n))))::VARCHAR AS record
                FROM base, range(1, {RECORDS} + 1) AS t(n) ORDER BY n
             ) TO '{}' (FORMAT parquet, COMPRESSION zstd)",
            place.display()
        );
        duckdb.execute_batch(&sql).unwrap();
    }
}

#[test]
#[ignore = "long"]
fn five_hundred_hosts_are_listed_for_what_their_lists_take() {
    let Some(server) = Seaweed::start() else {
        return;
    };
    let sandbox = Sandbox::with_app();
    lists(&sandbox);
    assert!(sandbox.path(PLACE).exists());
    server.make_bucket("bucket", false);
    let line = Proxy::to(&server.endpoint());
    let mut list_bytes = 0;
    for list in fs::read_dir(sandbox.path("fleet/records")).unwrap() {
        let list = list.unwrap();
        let (name, path) = (list.file_name(), list.path());
        list_bytes += list.metadata().unwrap().len();
        let key = format!("bucket/prefix/records/{}", name.to_str().unwrap());
        let host = name.to_str().unwrap().split('.').next().unwrap();
        // By the keys of the archives it is seen which hosts there are.
        let archive = format!("bucket/prefix/{host}/archives/b1.tar.gz");
        for (file, key) in [(path, key), (sandbox.path("app/config.toml"), archive)] {
            let words = ["-T", file.to_str().unwrap()];
            assert_eq!(server.status(ADMIN, &words, &key), 200);
        }
    }
    let (keys, endpoint) = (ADMIN.environment(), line.endpoint());
    sandbox.ok(&format!(
        "bk-push --set --endpoint {endpoint} s3 s3://bucket/prefix"
    ));
    // For each list a request and its answer; and the names of the hosts.
    let most_bytes = list_bytes + 2048 * HOSTS as u64;
    for (flags, count) in [("", HOSTS * RECORDS), ("--older-than 26h", HOSTS)] {
        let (before, begun) = (line.told_bytes(), Instant::now());
        let ran = sandbox.ok(&format!(
            "{keys} bk-pull --list --all-hosts {flags} s3 | wc -l"
        ));
        assert_eq!((ran.stdout.trim(), &*ran.stderr), (&*count.to_string(), ""));
        let (seconds, bytes) = (begun.elapsed().as_secs_f64(), line.told_bytes() - before);
        println!(
            "{HOSTS} hosts with {RECORDS} records each {flags}: {seconds:.2} s, {bytes} of {most_bytes} bytes"
        );
        assert!(bytes <= most_bytes, "{bytes} {most_bytes}");
    }
}
