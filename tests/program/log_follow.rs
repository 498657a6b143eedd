//! bk-log --follow: what comes is told, and nobody is held up; and a ledger of a million rows.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::{Ran, Sandbox, has, stride};
use serde_json::Value;

/// A `bk-log --follow` whose lines are read as they come.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(sandbox: &Sandbox, line: &str) -> Self {
        let mut child = sandbox.start(&format!("exec {line}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if send.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// Event and backup of the next line.
    fn event(&self) -> String {
        let line: Value = serde_json::from_str(&self.next()).unwrap();
        format!(
            "{} {}",
            line["event"].as_str().unwrap(),
            line["backup_name"].as_str().unwrap()
        )
    }

    /// Sends a signal, and returns how it ended; there were no lines left.
    fn end(self, signal: &str) -> Ran {
        let pid = self.child.id().to_string();
        let kill = std::process::Command::new("kill")
            .args([signal, &pid])
            .status();
        assert!(kill.unwrap().success());
        let ran = Ran::new("bk-log --follow", self.child.wait_with_output().unwrap());
        assert_eq!(self.lines.iter().collect::<Vec<_>>(), [""; 0]);
        ran
    }
}

#[test]
fn a_follower_prints_what_there_is_then_what_comes_until_it_is_ended() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-verify a; bk-create --name b app");
    let all = Follower::start(&sandbox, "bk-log -f --limit 2");
    let some = Follower::start(&sandbox, "bk-log --follow --event verify,remove a");
    let table = Follower::start(&sandbox, "bk-log -f --table --limit 0");
    assert_eq!([all.event(), all.event()], ["verify a", "create b"]);
    assert_eq!(some.event(), "verify a");
    // Writers come through at once, and all of them are told, in their order.
    sandbox.ok(
        "for n in 1 2 3; do bk-create --lock-timeout 30s --name n$n app; done; bk-verify b a; bk-rm a",
    );
    let expected = [
        "create n1",
        "create n2",
        "create n3",
        "verify b",
        "verify a",
        "remove a",
    ];
    assert_eq!(expected.map(|_| all.event()), expected);
    assert_eq!([some.event(), some.event()], ["verify a", "remove a"]);
    assert!(table.next().starts_with("TIME   "), "one head");
    for _ in expected {
        let row = table.next();
        assert!(row.starts_with("20") && row.contains(" ok "), "{row}");
    }
    all.end("-TERM").fails(143, "");
    some.end("-INT").fails(130, "");
    table.end("-TERM").fails(143, "");
}

#[test]
fn a_follower_notices_that_its_reader_is_gone_though_nothing_is_written() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let began = Instant::now();
    sandbox
        .run("set -o pipefail; bk-log --follow | head -n 1 >/dev/null")
        .fails(0, "");
    sandbox
        .run("set -o pipefail; bk-log --follow --event auto | true")
        .fails(0, "");
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    sandbox
        .run("set -o pipefail; bk-log | true; bk-log | head -n 1 >/dev/null; bk-log --stats | true")
        .fails(0, "");
}

#[test]
fn a_follower_outlives_a_locked_catalog_and_holds_it_from_nobody() {
    if !has("flock") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let line = "bk-log --follow --limit 0 --lock-timeout 100ms";
    let follower = Follower::start(&sandbox, line);
    std::thread::sleep(Duration::from_secs(2));
    // Somebody writes, and keeps the lock for longer than the follower waits.
    sandbox.sql("UPDATE backup_events SET details = '{}' WHERE id = 1");
    sandbox.ok("flock home/catalog.lock sleep 3");
    sandbox.ok("bk-create --name later app");
    assert_eq!(follower.event(), "create later");
    follower.end("-TERM").fails(143, "");
    // Before it follows, a locked catalog is an error like any other.
    let ran = sandbox.run(&format!("flock home/catalog.lock {line}"));
    assert_eq!((ran.status, ran.stdout.as_str()), (75, ""), "{ran:#?}");

    // A reader that stands still holds up no writer.
    sandbox.sql("INSERT INTO backup_events SELECT nextval('event_id'), now()::TIMESTAMP, 'bk-x', NULL, NULL, 'set', 'ok', '{}' FROM range(20000)");
    let mut stalled = sandbox.start("bk-log --follow | sleep 20");
    std::thread::sleep(Duration::from_secs(2));
    sandbox.ok("bk-create --lock-timeout 10s --name through app");
    stalled.kill().unwrap();
    stalled.wait().unwrap();
}

#[test]
fn a_ledger_of_many_rows_is_read_in_pages() {
    // A hundred thousand, or a million.
    let count = 1_000_000 / stride(10);
    if !has("python3") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    sandbox.sql(&format!(
        "DELETE FROM backup_records; DELETE FROM backup_events; INSERT INTO backup_events SELECT n, TIMESTAMP '2020-01-01' + to_minutes(n::INT), 'bk-create', n % 5000 + 1, 'n' || (n % 5000 + 1),
             CASE WHEN n % 3 = 0 THEN 'verify' ELSE 'create' END, CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'ok' END,
             '{{\"seconds\":' || n % 100 || ',\"bytes\":' || n || ',\"content_bytes\":123456,\"file_count\":1234,\"problem_count\":0}}'
         FROM range(1, {count} + 1) AS t(n)",
    ));
    // In MiB of the largest process.
    let cost = |line: &str, most_mib: u64| {
        let measured = format!(
            "{line} >out; python3 -c 'import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=open(\"out\", \"w\"), check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' {line}"
        );
        let mib: u64 = sandbox.ok(&measured).stdout.trim().parse().unwrap();
        assert!(mib < most_mib, "{line}: {mib} MiB");
        fs::read_to_string(sandbox.path("out")).unwrap()
    };
    let newest = cost("bk-log --limit 20", 300);
    let ids: Vec<_> = newest
        .lines()
        .map(|line| line[6..].split(',').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        ids,
        (count - 19..=count)
            .map(|id| id.to_string())
            .collect::<Vec<_>>()
    );
    assert_eq!(cost("bk-log n77", 300).lines().count(), count / 5000);
    let counts = cost("bk-log --stats=month", 400);
    let sum = |key: &str| -> u64 {
        let lines = counts
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|row| row[key].as_u64().unwrap()).sum()
    };
    assert_eq!(
        (sum("ok"), sum("failed")),
        (count as u64 / 50 * 49, count as u64 / 50)
    );
    let all = cost("bk-log", 400);
    let is_next = |(at, line): (usize, &str)| line.starts_with(&format!("{{\"id\":{},", at + 1));
    assert!(all.lines().enumerate().all(is_next) && all.lines().count() == count);
}
