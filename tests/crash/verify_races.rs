//! bk-verify while others are at work on the same records and archives, and how much memory it takes.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{Ran, Sandbox, has};
use duckdb::Connection;
use rustix::process::{Pid, Signal, kill_process};

/// Whatever takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Members as bk writes them, of 8 MiB of zeros each, and one that tells to hold 1 GiB.
const OWN_BOMB: &str = r#"
import struct, sys, zlib
def member(content_bytes):
    deflate, crc, left = zlib.compressobj(1, zlib.DEFLATED, -15), 0, content_bytes
    data = []
    while left:
        chunk = bytes(min(left, 1 << 20))
        data.append(deflate.compress(chunk))
        crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    data = b''.join(data) + deflate.flush()
    head = b'\x1f\x8b\x08\x04\0\0\0\0\0\xff\x08\0BK\x04\0' + struct.pack('<I', len(data) + 28)
    return head + data + struct.pack('<II', crc, content_bytes)
sys.stdout.buffer.write(member(8 << 20) * 256 + member(1 << 30))
"#;

/// A sandbox with the backup `big`, whose check takes a while, and the backup `a`.
fn two() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "head -c 80000000 /dev/urandom >noise; bk-create --name big noise; bk-create --name a app",
    );
    sandbox
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Starts a command line and stops it where it has opened the archive `big`.
fn stopped_at_big(sandbox: &Sandbox, line: &str) -> Child {
    let child = sandbox.start(line);
    let fds = format!("/proc/{}/fd", child.id());
    let began = Instant::now();
    let has_opened = || {
        let links = fs::read_dir(&fds).into_iter().flatten().flatten();
        let mut open = links.filter_map(|fd| fs::read_link(fd.path()).ok());
        open.any(|path| path.ends_with("big.tar.gz"))
    };
    while !has_opened() {
        assert!(began.elapsed() < PATIENCE, "it never opens the archive");
    }
    signal(&child, Signal::STOP);
    let stat = format!("/proc/{}/stat", child.id());
    while !fs::read_to_string(&stat).unwrap().contains(") T ") {
        assert!(began.elapsed() < PATIENCE, "it does not stop");
    }
    child
}

/// Runs bk-verify and does `meanwhile` while it checks the archive `big`.
fn verify_while(sandbox: &Sandbox, arguments: &str, meanwhile: impl FnOnce(&Child)) -> Ran {
    let line = format!("exec bk-verify {arguments}");
    let child = stopped_at_big(sandbox, &line);
    meanwhile(&child);
    signal(&child, Signal::CONT);
    Ran::new(&line, child.wait_with_output().unwrap())
}

#[test]
fn an_archive_that_is_unlinked_meanwhile_is_checked_to_its_end() {
    let sandbox = two();
    for flags in ["", "--deep"] {
        let big = sandbox.archive("big");
        let ran = verify_while(&sandbox, &format!("{flags} big"), |_| {
            fs::rename(&big, sandbox.path("kept")).unwrap();
        });
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
        let record = ran.record();
        assert_eq!(record["verify"]["ok"], true);
        assert_eq!(record["file_status"], "missing");
        fs::rename(sandbox.path("kept"), &big).unwrap();
    }
}

/// What was found is its own, whatever it is called by then.
#[test]
fn a_record_that_is_renamed_meanwhile_keeps_the_verdict() {
    let sandbox = two();
    let ran = verify_while(&sandbox, "big a", |_| {
        sandbox.ok("bk-set big --name renamed; bk-create --name big --storage other app");
    });
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert_eq!(ran.records()[0]["backup_name"], "renamed");
    for (name, is_verified) in [("renamed", true), ("big", false)] {
        let record = sandbox.ok(&format!("bk-ls --json {name}")).record();
        let last = &record["backup_metadata"]["last_verified"];
        assert_eq!(last["ok"] == true, is_verified, "{record}");
    }
    let ledger = sandbox.ledger();
    assert!(
        ledger.contains(&"renamed verify ok".to_owned()),
        "{ledger:?}"
    );
}

#[test]
fn a_record_that_is_removed_meanwhile_is_no_error_of_its_archive() {
    let sandbox = two();
    let ran = verify_while(&sandbox, "big a", |_| {
        sandbox.sql("DELETE FROM backup_records");
        for name in ["big", "a"] {
            fs::remove_file(sandbox.archive(name)).unwrap();
        }
    });
    ran.fails(
        0,
        "bk-verify: warning: 'big' was removed while it was verified\n\
         bk-verify: warning: 'a' was removed while it was verified\n",
    );
    // What was proved is told, that something is missing is not.
    let record = ran.record();
    assert_eq!(record["backup_name"], "big");
    assert_eq!(record["verify"]["ok"], true);
    assert_eq!(
        sandbox.ledger(),
        ["big create ok", "a create ok", "big verify ok"]
    );
}

#[test]
fn a_record_that_moves_meanwhile_is_checked_again_where_it_is() {
    let sandbox = two();
    let ran = verify_while(&sandbox, "big a", |_| {
        fs::rename(sandbox.archive("a"), sandbox.archive("b")).unwrap();
        sandbox.sql("UPDATE backup_records SET backup_path = replace(backup_path, '/a.', '/b.') WHERE id = 2",
        );
    });
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let records = ran.records();
    assert_eq!(records[1]["file_name"], "b.tar.gz");
    assert_eq!(records[1]["verify"]["ok"], true);
    assert_eq!(sandbox.ledger().len(), 4);
}

#[test]
fn a_signal_ends_the_check_and_keeps_what_was_found() {
    let sandbox = two();
    let ran = verify_while(&sandbox, "--deep a big", |child| {
        signal(child, Signal::TERM);
    });
    assert_eq!((ran.status, ran.stderr.as_str()), (143, ""), "{ran:#?}");
    assert_eq!(ran.record()["backup_name"], "a");
    assert_eq!(sandbox.ledger()[2..], ["a verify ok"]);
}

#[test]
fn ten_at_once_each_keep_their_result() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b app");
    let line = "for n in $(seq 10); do bk-verify --deep a b & done | jq -c .verify.ok | sort | uniq -c; wait";
    if !has("jq") {
        return;
    }
    let ran = sandbox.ok(line);
    assert_eq!(
        (ran.stdout.trim(), ran.stderr.as_str()),
        ("20 true", ""),
        "{ran:#?}"
    );
    assert_eq!(sandbox.ledger().len(), 22);
}

#[test]
fn a_catalog_that_stays_locked_loses_no_verdict() {
    let sandbox = two();
    let catalog = std::cell::RefCell::new(None);
    let ran = verify_while(&sandbox, "--lock-timeout 200ms big a", |_| {
        let opened = Connection::open(sandbox.home().join("catalog.duckdb")).unwrap();
        *catalog.borrow_mut() = Some(opened);
    });
    assert_eq!(ran.status, 75, "{ran:#?}");
    assert!(
        ran.stderr
            .starts_with("bk-verify: cannot record what was found: "),
        "{ran:#?}"
    );
    assert_eq!(ran.records()[0]["verify"]["ok"], true);
}

/// The most memory that a command line took, and how it went.
fn measured(sandbox: &Sandbox, line: &str) -> (u64, Ran) {
    let child = sandbox.start(&format!("exec {line}"));
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    loop {
        let told = fs::read_to_string(&status).unwrap_or_default();
        let Some(peak) = told.lines().find_map(|line| line.strip_prefix("VmHWM:")) else {
            break;
        };
        let peak = peak.trim().trim_end_matches(" kB").parse().unwrap();
        peak_kib = peak_kib.max(peak);
        std::thread::sleep(Duration::from_millis(1));
    }
    (
        peak_kib >> 10,
        Ran::new(line, child.wait_with_output().unwrap()),
    )
}

#[test]
fn a_bomb_takes_little_memory_and_the_check_ends() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    if !has("python3") {
        return;
    }
    sandbox.write("bomb", OWN_BOMB);
    for make in [
        // 1.5 GiB of zeros in one file, and after the end of an archive.
        "truncate -s 64M zeros; gzip -1 <zeros >z.gz; truncate -s 1536M huge; tar -cf - huge | head -c 512 | gzip >A;
         for n in $(seq 24); do cat z.gz; done >>A; head -c 1024 /dev/zero | gzip >>A; rm huge",
        "tar -cf - app | gzip >A; for n in $(seq 24); do cat z.gz; done >>A",
        // 2 GiB in members as bk writes them, then one of 1 GiB.
        "python3 bomb >A",
    ] {
        sandbox.ok(&make.replace('A', "home/archives/a.tar.gz"));
        assert!(fs::metadata(sandbox.archive("a")).unwrap().len() < 30 << 20);
        let (peak_mib, ran) = measured(&sandbox, "bk-verify --deep a");
        assert!(ran.status == 1 && peak_mib < 200, "{peak_mib} MiB: {ran:#?}");
        println!("{peak_mib} MiB");
        assert!(peak_mib > 5, "{peak_mib} MiB");
    }
}
