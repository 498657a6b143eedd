//! Catalogs of older versions: upgraded by whatever program comes first, with a copy beside them,
//! and whole at any instant. `fixtures/v1/` is what the first version made.

use std::fs;

use crate::support::disk::SmallDisk;
use crate::support::{Sandbox, can_trace, checkout, has, strace, stride};
use duckdb::Connection;

/// What the first version made: two backups, a job, a ledger of six rows.
fn old(sandbox: &Sandbox) {
    put_old(sandbox, "home");
}

fn put_old(sandbox: &Sandbox, home: &str) {
    let fixtures = checkout().join("tests/fixtures/v1");
    let fixtures = fixtures.display();
    sandbox.ok(&format!(
        "mkdir -p -m 700 {home}/archives && cp {fixtures}/*.tar.gz {home}/archives/ && chmod 600 {home}/archives/*
         gzip -dc {fixtures}/catalog.duckdb.gz >{home}/catalog.duckdb; chmod 644 {home}/catalog.duckdb; mkdir -p app; echo one >app/a"
    ));
    // Wherever it is put: `home` is where it is used.
    let dir = sandbox.home();
    sandbox.sql_at(
        home,
        &format!(
            "UPDATE backup_records SET backup_path = replace(backup_path, '/tmp/bk-v1/home', '{}')",
            dir.display()
        ),
    );
}

fn version(sandbox: &Sandbox, catalog: &str) -> String {
    let catalog = Connection::open(sandbox.path(catalog)).unwrap();
    let sql = "SELECT value FROM settings WHERE name = 'schema_version'";
    catalog.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Command lines, each of which may be the first one after the new version is installed.
const FIRST: [&str; 13] = [
    "bk-ls",
    "bk-ls --files first",
    "bk-log",
    "bk-df",
    "bk-verify first second",
    "bk-restore -C out first",
    "bk-create --name third app",
    "bk-rm first",
    "bk-prune --keep-last 1 -n </dev/null",
    "bk-set --description new first",
    "bk-mv first elsewhere",
    "bk-adopt",
    "bk-auto --list",
];

#[test]
fn whatever_program_comes_first_upgrades_the_catalog_and_does_its_work() {
    for line in FIRST {
        let sandbox = Sandbox::new();
        old(&sandbox);
        let before = fs::read(sandbox.path("home/catalog.duckdb")).unwrap();
        let ran = sandbox.run(line);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
        let copy = fs::read(sandbox.path("home/catalog.duckdb.v1")).unwrap();
        assert!(copy == before, "{line}");
        let modes = sandbox.ok("stat -c '%a %n' home/catalog.duckdb*");
        assert_eq!(
            modes.stdout, "600 home/catalog.duckdb\n600 home/catalog.duckdb.v1\n",
            "{line}"
        );
        assert_eq!(version(&sandbox, "home/catalog.duckdb"), "4", "{line}");
        assert_eq!(version(&sandbox, "home/catalog.duckdb.v1"), "1", "{line}");
        let log = sandbox.ok("bk-log --json --event upgrade").records();
        assert_eq!(log.len(), 1, "{line}");
        assert_eq!(log[0]["details"]["from"], 1);
        assert_eq!(log[0]["details"]["to"], 4);
        let kept = sandbox.ok("bk-ls --json second").record();
        assert_eq!(kept["protected"], true, "{line}");
        assert_eq!(kept["file_status"], "available", "{line}");
        let jobs = sandbox.ok("bk-auto --list --json").record();
        assert_eq!(jobs["job"], "nightly", "{line}");
    }
}

/// What the second version made had storages, and knew of no copies.
#[test]
fn a_catalog_of_the_second_version_gains_what_it_lacks_and_keeps_the_rest() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app && bk-auto --set -s @daily -- app >/dev/null");
    let of_all = "bk-ls --json; bk-auto --list --json; bk-log --json";
    let before = sandbox.ok(of_all).stdout;
    sandbox.sql(
        "DROP TABLE backup_copies;
         UPDATE settings SET value = '2' WHERE name = 'schema_version'",
    );
    let storages = |catalog: &str| -> Vec<String> {
        let catalog = Connection::open(sandbox.path(catalog)).unwrap();
        let mut rows = catalog.prepare("SELECT path || id FROM storages").unwrap();
        let rows = rows.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let kept = storages("home/catalog.duckdb");
    assert_eq!(kept.len(), 1);
    let ran = sandbox.ok(of_all);
    assert_eq!(ran.stderr, "");
    let lines: Vec<_> = ran.stdout.lines().collect();
    let (upgrade, others) = lines.split_last().unwrap();
    assert!(
        upgrade.contains(r#""details":{"from":2,"to":4}"#),
        "{upgrade}"
    );
    assert_eq!(others, before.lines().collect::<Vec<_>>());
    assert_eq!(version(&sandbox, "home/catalog.duckdb"), "4");
    assert_eq!(version(&sandbox, "home/catalog.duckdb.v2"), "2");
    assert_eq!(storages("home/catalog.duckdb"), kept);
}

/// What the third version knew of copies had the column of an upload, always empty.
#[test]
fn a_catalog_of_the_third_version_keeps_its_copies() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-push --set --init offsite file://$PWD/offsite");
    sandbox.ok("bk-create --name a app | bk-push offsite >/dev/null");
    let before = sandbox.ok("bk-ls --json").stdout;
    sandbox.sql(
        "ALTER TABLE backup_copies RENAME COLUMN parts_hash TO upload_id;
         UPDATE settings SET value = '3' WHERE name = 'schema_version'",
    );
    assert_eq!(sandbox.ok("bk-ls --json").stdout, before);
    sandbox.ok("bk-push --check offsite && test -f home/catalog.duckdb.v3");
    assert_eq!(version(&sandbox, "home/catalog.duckdb"), "4");
}

#[test]
fn what_is_only_in_the_wal_is_upgraded_too() {
    let sandbox = Sandbox::new();
    put_old(&sandbox, "made");
    let shell = Connection::open(sandbox.path("made/catalog.duckdb")).unwrap();
    shell
        .execute_batch("UPDATE backup_records SET description = 'in the wal' WHERE id = 1")
        .unwrap();
    // As it was when the machine lost its power.
    sandbox.ok("test -s made/catalog.duckdb.wal && cp -a made home");
    drop(shell);
    assert_eq!(
        sandbox.ok("bk-ls --json first").record()["description"],
        "in the wal"
    );
    let copy = Connection::open(sandbox.path("home/catalog.duckdb.v1")).unwrap();
    let sql = "SELECT description FROM backup_records WHERE id = 1";
    let told: String = copy.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(told, "in the wal");
    sandbox.ok("test ! -e home/catalog.duckdb.wal");
}

#[test]
fn twenty_that_come_first_at_once_upgrade_it_once() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    let line = |n: usize| match n % 2 {
        0 => format!("bk-create --name b{n} app"),
        _ => "bk-ls".to_owned(),
    };
    let children: Vec<_> = (0..20)
        .map(|n| (line(n), sandbox.start(&line(n))))
        .collect();
    for (line, child) in children {
        let ran = crate::support::Ran::new(&line, child.wait_with_output().unwrap());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    }
    let log = sandbox.ok("bk-log --json --event upgrade").records();
    assert_eq!(log.len(), 1);
    assert_eq!(sandbox.records().len(), 12);
}

/// Killed, or failing, at one call after the other: the catalog is then wholly the old one or
/// wholly the new one, and the next program goes on.
#[test]
fn a_crash_at_any_instant_leaves_a_whole_catalog() {
    if !can_trace() {
        return;
    }
    let calls = "openat write pwrite64 copy_file_range fsync fdatasync rename unlink ftruncate";
    let sandbox = Sandbox::new();
    put_old(&sandbox, "start");
    let home = sandbox.path("home");
    let paths: String = [
        "catalog.duckdb",
        "catalog.duckdb.wal",
        "catalog.duckdb.new",
        "catalog.duckdb.new.wal",
        "catalog.duckdb.v1",
        "catalog.duckdb.v1.new",
        ".",
    ]
    .iter()
    .map(|file| format!("-P {} ", home.join(file).display()))
    .collect();
    for call in calls.split(' ') {
        for fault in ["signal=SIGKILL", "error=ENOSPC"] {
            if fault == "error=ENOSPC" && ["unlink", "rename"].contains(&call) {
                continue;
            }
            let mut number = 1;
            loop {
                let ran = sandbox.run(&format!(
                    "rm -rf home && cp -a start home && exec {} -qq -o /dev/null {paths} -e trace={call} -e inject={call}:{fault}:when={number} bk-ls --json",
                    strace(fault)
                ));
                if ran.status == 0 {
                    break;
                }
                assert!(
                    ran.status == 137 || ran.stderr.contains("bk-ls: cannot "),
                    "{ran:#?}"
                );
                let after = sandbox.run("bk-ls --json");
                assert_eq!(
                    (after.status, after.records().len()),
                    (0, 2),
                    "{call} {fault} {number}: {after:#?}"
                );
                sandbox.ok("bk-create --name next app; bk-verify first next; test ! -e home/catalog.duckdb.new -a ! -e home/catalog.duckdb.v1.new");
                assert_eq!(version(&sandbox, "home/catalog.duckdb.v1"), "1");
                number += stride(19);
                assert!(number < 200);
            }
        }
    }
}

#[test]
fn a_full_disk_is_an_error_that_leaves_the_old_catalog_as_it_was() {
    let Some(disk) = SmallDisk::new("24M") else {
        return;
    };
    put_old(&disk.sandbox, "old");
    disk.ok("cp -a old disk/home; dd if=/dev/zero of=disk/filler bs=1M 2>/dev/null; true");
    let ran = disk.run("BK_HOME=$PWD/disk/home bk-ls --json");
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
    assert!(
        ran.stderr
            .starts_with("bk-ls: cannot upgrade the catalog '")
            && ran
                .stderr
                .contains("from version 1 to 4; it stays as it was: ")
            && ran.stderr.contains("No space left"),
        "{ran:#?}"
    );
    disk.ok("cmp old/catalog.duckdb disk/home/catalog.duckdb; test ! -e disk/home/catalog.duckdb.new; rm disk/filler");
    disk.ok("export BK_HOME=$PWD/disk/home; test $(bk-ls --json | wc -l) = 2");
}

#[test]
fn a_reader_where_nothing_may_be_written_says_what_to_do() {
    let Some(disk) = SmallDisk::new("32M") else {
        return;
    };
    put_old(&disk.sandbox, "old");
    disk.ok("cp -a old disk/home; >disk/home/catalog.lock; mount -o remount,ro disk");
    let ran = disk.run("BK_HOME=$PWD/disk/home bk-ls --json");
    let home = disk.sandbox.path("disk/home");
    let home = home.display();
    ran.fails(1, &format!(
        "bk-ls: the catalog is older than this program and cannot be upgraded from here: run any program of bk once where '{home}' may be written to: cannot lock '{home}/catalog.lock': Read-only file system\n"
    ));
}

#[test]
fn the_owner_of_the_catalog_keeps_it_when_root_comes_first() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    if !has("setpriv") || sandbox.run("chown -R 65534:65534 home").status != 0 {
        println!("skipped: only root gives files to others");
        return;
    }
    sandbox.ok("bk-ls --json >/dev/null");
    let owners = sandbox.ok("stat -c '%u:%g %n' home/catalog.duckdb*").stdout;
    assert_eq!(
        owners,
        "65534:65534 home/catalog.duckdb\n65534:65534 home/catalog.duckdb.v1\n"
    );
}

/// After a loss of power only what was synced is there: neither catalog gets its name before its
/// content is, and each name is before the next step.
#[test]
fn catalogs_are_synced_before_they_get_their_name_and_after() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::new();
    old(&sandbox);
    for (line, files) in [
        ("bk-ls", &["catalog.duckdb.v1", "catalog.duckdb"][..]),
        ("bk-create --home fresh --name a app", &["catalog.duckdb"]),
    ] {
        sandbox.ok(&format!(
            "strace -y -qq -o trace -e trace=fsync,rename,renameat,renameat2 {line}"
        ));
        let trace = fs::read_to_string(sandbox.path("trace")).unwrap();
        let mut calls = trace.lines();
        for file in files {
            let renamed = format!("/{file}\"");
            for words in [
                ["fsync(", &format!("/{file}.new>")],
                ["rename", &renamed],
                ["fsync(", "/home>"],
            ] {
                let is_it = |call: &str| {
                    words
                        .iter()
                        .all(|word| call.replace("/fresh>", "/home>").contains(word))
                };
                assert!(
                    calls.any(is_it),
                    "{line}: no {words:?} in its order in\n{trace}"
                );
            }
        }
    }
}
