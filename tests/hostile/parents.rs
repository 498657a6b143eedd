//! Parents whose manifest somebody made for the purpose, with the hash of it in the record too, and
//! parents that go or break while they are used: the archive is the one that is made without.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::support::changes::noise;
use crate::support::compared::rest_of;
use crate::support::{Ran, Sandbox, can_trace, stride};
use duckdb::Connection;
use serde_json::Value;

/// What changed so shortly before a backup is read again by the next.
const UNSURE: Duration = Duration::from_millis(2100);

/// A sandbox with a backup `p` of a tree that is old enough to be taken over, and `plain`, made without a
/// parent from a tree in which one file is gone since.
fn with_parent() -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..120 {
        let dir = sandbox.path(&format!("tree/d{}", number % 5));
        fs::create_dir_all(&dir).unwrap();
        let bytes = noise(number, number * 7919 % 30_000);
        fs::write(dir.join(format!("f{number}")), bytes).unwrap();
    }
    fs::write(sandbox.path("tree/d2/large"), noise(1, 3_500_000)).unwrap();
    sleep(UNSURE);
    sandbox.ok("bk-create --name p tree; rm tree/d4/f4; printf x >>tree/d2/large; bk-create --no-parent --name plain tree");
    sandbox
}

fn manifest_of(sandbox: &Sandbox, name: &str) -> PathBuf {
    let record = sandbox.ok(&format!("bk-ls --json {name}")).record();
    let hash = record["backup_hash"].as_str().unwrap().to_owned();
    sandbox.home().join(format!("manifests/{hash}.parquet"))
}

/// Makes a backup with the parent `p`, which is the one that is made without.
fn check(sandbox: &Sandbox, what: &str) -> Ran {
    // A manifest is not to cost more memory than it is worth, nor time.
    let ran = sandbox.run("ulimit -v 3000000; timeout 60 bk-create --parent p --name a tree");
    assert_eq!(ran.status, 0, "{what}: {ran:#?}");
    let rest = |name: &str| rest_of(&sandbox.archive(name));
    assert!(rest("a") == rest("plain"), "{what}: {ran:#?}");
    sandbox.ok("bk-verify --deep a && bk-rm a");
    ran
}

/// Puts a manifest in the place of that of `p`, and its hash into the record.
fn replace(sandbox: &Sandbox, manifest: &str) {
    let place = manifest_of(sandbox, "p");
    fs::copy(sandbox.path(manifest), &place).unwrap();
    let hash = sandbox
        .ok(&format!("sha256sum <'{}'", place.display()))
        .stdout;
    sandbox.sql(&format!(
        "UPDATE backup_records SET backup_metadata = json_merge_patch(backup_metadata, '{{\"manifest_hash\":\"{}\"}}') WHERE backup_name = 'p'",
        &hash[..64]
    ));
}

#[test]
fn a_manifest_of_somebody_else_s_making_makes_no_other_archive() {
    let sandbox = with_parent();
    let place = manifest_of(&sandbox, "p");
    sandbox.ok(&format!("cp '{}' honest", place.display()));
    let honest = sandbox.path("honest").display().to_string();
    let duckdb = Connection::open_in_memory().unwrap();
    let sql = format!(
        "SELECT decode(value) FROM parquet_kv_metadata('{honest}') WHERE decode(key) = 'archive_format'"
    );
    let format: String = duckdb.query_row(&sql, [], |row| row.get(0)).unwrap();
    let version = format!(
        "SELECT decode(value) FROM parquet_kv_metadata('{honest}') WHERE decode(key) = 'manifest_version'"
    );
    let version: String = duckdb.query_row(&version, [], |row| row.get(0)).unwrap();
    let make = |select: &str, version: &str| {
        let made = sandbox.path("made").display().to_string();
        let select = select.replace("MANIFEST", &format!("read_parquet('{honest}')"));
        let sql = format!(
            "COPY ({select}) TO '{made}' (FORMAT parquet, COMPRESSION zstd, KV_METADATA {{manifest_version: '{version}', archive_format: '{format}'}})"
        );
        duckdb
            .execute_batch(&sql)
            .unwrap_or_else(|error| panic!("{select}: {error}"));
        replace(&sandbox, "made");
    };
    let offsets = |to: &str| format!("SELECT * REPLACE ({to} AS segment_offset) FROM MANIFEST");
    let members = |to: &str| {
        format!(
            "SELECT * REPLACE (CASE WHEN segment_members IS NULL THEN NULL ELSE {to} END AS segment_members) FROM MANIFEST"
        )
    };
    let cases = [
        ("as it was", "SELECT * FROM MANIFEST".to_owned()),
        ("beyond the file", offsets("segment_offset + 1000000000000")),
        ("far beyond it", offsets("segment_offset + 9223372036854775807")),
        ("at the end of all numbers", offsets("18446744073709551615")),
        ("beside it", offsets("segment_offset + 1")),
        ("overlapping", offsets("7")),
        ("backwards", "SELECT * FROM MANIFEST ORDER BY segment_offset DESC".into()),
        ("shuffled", "SELECT * FROM MANIFEST ORDER BY hash(path)".into()),
        ("members cut short", members("from_hex(left(hex(segment_members), 40))")),
        ("no members", members("from_hex('00')")),
        ("nothing at all of them", members("''::BLOB")),
        ("no first member", "SELECT * REPLACE (NULL::BLOB AS segment_members) FROM MANIFEST".into()),
        ("none", "SELECT * FROM MANIFEST WHERE false".into()),
        ("without its begin", "SELECT * FROM MANIFEST OFFSET 40".into()),
        ("each twice", "SELECT * FROM MANIFEST UNION ALL SELECT * FROM MANIFEST".into()),
        ("another type", "SELECT * REPLACE ('file' AS type) FROM MANIFEST".into()),
        ("an unknown type", "SELECT * REPLACE ('socket' AS type) FROM MANIFEST".into()),
        ("no type", "SELECT * REPLACE (NULL AS type) FROM MANIFEST".into()),
        ("a column of another type", "SELECT * REPLACE ('x' AS size) FROM MANIFEST".into()),
        ("a column less", "SELECT * EXCLUDE (inode) FROM MANIFEST".into()),
        ("no paths", "SELECT * REPLACE (NULL::VARCHAR AS path, NULL::BLOB AS path_bytes) FROM MANIFEST".into()),
        ("one path", "SELECT * REPLACE ('tree/d1' AS path) FROM MANIFEST".into()),
        ("all is large", "SELECT * REPLACE (5000000::UBIGINT AS data_bytes, 5000000::UBIGINT AS size) FROM MANIFEST".into()),
        ("nothing is large", "SELECT * REPLACE (0::UBIGINT AS data_bytes) FROM MANIFEST".into()),
        ("times without end", "SELECT * REPLACE ('infinity'::TIMESTAMP AS ctime) FROM MANIFEST".into()),
        ("nanoseconds", "SELECT * REPLACE (65535::USMALLINT AS mtime_nanos) FROM MANIFEST".into()),
        ("many rows", "SELECT m.* REPLACE (CASE WHEN n = 1 THEN segment_members END AS segment_members) FROM (SELECT * FROM MANIFEST LIMIT 1) m, range(1, 2000000) r(n)".into()),
        ("many segments", "SELECT m.* REPLACE (n * segment_bytes AS segment_offset, 'a/' || n AS path) FROM (SELECT * FROM MANIFEST LIMIT 1) m, range(1, 600000) r(n)".into()),
    ];
    let trusts_nothing = ["all is large", "nothing is large", "another type"];
    for (what, select) in cases.iter().step_by(stride(4)) {
        let is_long = what.starts_with("many");
        if is_long && stride(2) > 1 {
            continue;
        }
        make(select, &version);
        let ran = check(&sandbox, what);
        println!("{what}: {}", ran.stderr.trim());
        let is_quiet = ["as it was", "none", "without its begin", "one path"].contains(what)
            || trusts_nothing.contains(what);
        assert!(
            is_quiet
                || is_long
                || !ran.stderr.is_empty()
                || ran.record()["backup_metadata"]["new_bytes"] == ran.record()["backup_size"]
                || *what == "far beyond it"
                || *what == "shuffled"
                || *what == "times without end",
            "{what}: {ran:#?}"
        );
    }
    make("SELECT * FROM MANIFEST", "1");
    let ran = check(&sandbox, "an older version");
    assert!(
        ran.stderr.ends_with("it is of another version of bk\n"),
        "{ran:#?}"
    );
    // No manifest at all, though its hash is the one.
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("text", b"PAR1 x"),
        ("ends", b"PAR1\xff\xff\xff\xffPAR1"),
    ] {
        sandbox.ok("rm -f made");
        fs::write(sandbox.path("made"), bytes).unwrap();
        replace(&sandbox, "made");
        let ran = check(&sandbox, what);
        assert!(
            ran.stderr
                .contains("'p' cannot be the parent: cannot read "),
            "{ran:#?}"
        );
    }
    // That of another archive, whose members are elsewhere.
    sandbox.ok("bk-create --no-parent --name another tree/d1 tree/d2");
    sandbox.ok(&format!(
        "cp '{}' made",
        manifest_of(&sandbox, "another").display()
    ));
    replace(&sandbox, "made");
    check(&sandbox, "another's");
}

#[test]
fn damage_at_any_member_of_the_parent_is_named() {
    let sandbox = with_parent();
    let archive = sandbox.archive("p");
    let honest = fs::read(&archive).unwrap();
    let mut at = u32::from_le_bytes(honest[16..20].try_into().unwrap()) as usize;
    let mut number = 0;
    while at < honest.len() {
        let length = u32::from_le_bytes(honest[at + 16..at + 20].try_into().unwrap()) as usize;
        number += 1;
        if number % stride(19) == 0 || at + length == honest.len() {
            let mut bytes = honest.clone();
            bytes[at + length / 2] ^= 0x10;
            fs::write(&archive, bytes).unwrap();
            let ran = sandbox.ok("bk-create --parent p --name a tree");
            let name = format!(
                "'p' is no parent any more: a member (at byte {at} of the file) is damaged"
            );
            let is_named = ran.stderr.contains(&name);
            // What is not taken over is not looked at.
            assert!(is_named || ran.stderr.is_empty(), "{ran:#?}");
            let events = sandbox.ok("bk-log a --event create").records();
            let told = events.last().unwrap()["details"]["parent_lost"] == Value::String(name);
            assert_eq!(told, is_named);
            println!("member {number}: {is_named}");
            assert!(rest_of(&sandbox.archive("a")) == rest_of(&sandbox.archive("plain")));
            sandbox.ok("bk-rm a");
        }
        at += length;
    }
    fs::write(&archive, &honest[..honest.len() / 2]).unwrap();
    let ran = check(&sandbox, "cut");
    assert!(ran.stderr.contains("which is not its size"), "{ran:#?}");
}

#[test]
fn a_parent_that_is_removed_or_moved_meanwhile_is_no_matter() {
    if !can_trace() {
        return;
    }
    for change in [
        "bk-rm p",
        "mkdir m; bk-mv p -- m",
        "rm home/archives/p.tar.gz; head -c 999999 /dev/zero >home/archives/p.tar.gz",
    ] {
        let sandbox = with_parent();
        // Each thread waits before it reads of it for the first time.
        let ran = sandbox.run(&format!(
            "strace -f --seccomp-bpf -qqq -o trace -P $PWD/home/archives/p.tar.gz -e trace=pread64 -e inject=pread64:delay_enter=2000000:when=1 bk-create --parent p --name a tree &
             for n in $(seq 3000); do [ -e home/archives/a.tar.gz.partial ] && break; sleep 0.02; done
             sleep 0.5; {change} >&2; wait $!"
        ));
        assert_eq!(ran.status, 0, "{ran:#?}");
        let is_gone = !sandbox.archive("p").exists() || change.contains("head");
        assert!(is_gone, "{ran:#?}");
        let rest = |name: &str| rest_of(&sandbox.archive(name));
        assert!(rest("a") == rest("plain"), "{change}: {ran:#?}");
    }
}

#[test]
fn no_clock_makes_another_archive() {
    let sandbox = with_parent();
    for span in ["INTERVAL 1 DAY", "INTERVAL 9 YEAR", "INTERVAL (-90) YEAR"] {
        sandbox.sql(&format!(
            "UPDATE backup_records SET created_at = created_at + {span} WHERE backup_name = 'p'"
        ));
        check(&sandbox, span);
    }
    // What is of a time to come is read again, each time.
    sandbox.ok(
        "touch -d '+1 year' tree/d1/f1 tree/d3; bk-rm plain; bk-create --no-parent --name plain tree",
    );
    check(&sandbox, "files of a time to come");
}
