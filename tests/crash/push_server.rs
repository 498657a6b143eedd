//! What kills, and a bad line, make of copies to a server: nothing wrong is ever recorded, and all is copied in the
//! end.

use std::fs;

use crate::support::proxy::{Fault, Proxy};
use crate::support::seaweed::{ADMIN, Seaweed};
use crate::support::{KILLED, Ran, Sandbox, can_trace, has, stride};
use serde_json::Value;

/// A connection that passes so much before it is lost: some small archives, or one part of a large one.
const SOME: Fault = Fault::CutRequest(60_000);
const PART: Fault = Fault::CutRequest(18_000_000);
const SMALL: &str = "a b c d";
/// The calls between which a copy to a server has other states: what is sent, what comes, the journal, the catalog.
const CALLS: [&str; 6] = [
    "writev",
    "recvfrom",
    "fdatasync",
    "write",
    "fsync",
    "unlink",
];

/// A server behind a line, and backups that are to go there: a large one in three parts, and small ones.
struct Start {
    server: Seaweed,
    line: Proxy,
    sandbox: Sandbox,
}

impl Start {
    fn new() -> Option<Self> {
        if !has("jq") {
            return None;
        }
        let server = Seaweed::start()?;
        server.make_bucket("bucket", false);
        let line = Proxy::to(&server.endpoint());
        let sandbox = Sandbox::with_app();
        sandbox.ok(&format!(
            "head -c 34M /dev/urandom >big; export BK_HOST=web; bk-create --level 1 --name big big
             for name in {SMALL}; do bk-create --name $name app; done
             bk-push --set --endpoint {} s3 s3://bucket/prefix",
            line.endpoint()
        ));
        Some(Self {
            server,
            line,
            sandbox,
        })
    }

    fn run(&self, line: &str) -> Ran {
        self.sandbox
            .run(&format!("{} exec {line}", ADMIN.environment()))
    }

    fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
        ran
    }

    /// What the server holds, asked without the line.
    fn object(&self, key: &str) -> Vec<u8> {
        let path = format!("bucket/prefix/{key}");
        self.server.curl(ADMIN, &["--fail"], &path).stdout
    }

    /// What is recorded as a copy is one, and so is all that was printed.
    fn check(&self, ran: &Ran) {
        let records = self.sandbox.records();
        for record in &records {
            let copies = record["copies"].as_array().unwrap();
            for copy in copies.iter().filter(|it| it["status"] == "complete") {
                let key = copy["key"].as_str().unwrap();
                let archive = fs::read(record["backup_path"].as_str().unwrap()).unwrap();
                assert!(self.object(key) == archive, "{key}: {ran:#?}");
                let beside = self.object(&key.replace(".tar.gz", ".json"));
                let beside: Value = serde_json::from_slice(&beside).unwrap();
                assert_eq!(beside["backup_hash"], record["backup_hash"], "{ran:#?}");
            }
        }
        for printed in ran.records() {
            let now = records.iter().find(|it| it["id"] == printed["id"]).unwrap();
            assert_eq!(now["copies"], printed["copies"], "{ran:#?}");
            assert_eq!(now["copies"][0]["status"], "complete", "{ran:#?}");
        }
    }

    /// Copies the backups: killed in the middle some times, and then to the end.
    fn copy(&self, backups: &str, kills_after_millis: &[u32]) {
        for after in kills_after_millis {
            let ran = self.run(&format!(
                "timeout -s KILL {}.{:03} bk-push s3 {backups}",
                after / 1000,
                after % 1000
            ));
            assert!([0, KILLED].contains(&ran.status), "{ran:#?}");
            self.check(&ran);
        }
        self.check(&self.ok(&format!("bk-push s3 {backups}")));
    }
}

/// Else nobody knows why nothing goes on.
#[test]
#[ignore = "half a minute: make test-long"]
fn what_fails_for_long_is_told_once_while_it_is_tried_again() {
    let Some(start) = Start::new() else { return };
    start.line.strike([Fault::Status(503); 9]);
    let ran = start.run("bk-push s3 a");
    assert_eq!(start.line.met_count(), 9);
    assert_eq!((ran.status, ran.records().len()), (0, 1), "{ran:#?}");
    let lines: Vec<_> = ran.stderr.lines().collect();
    let is_told = lines.len() == 1
        && lines[0].starts_with("bk-push: note: ")
        && lines[0].contains(" cannot be reached: ")
        && lines[0].ends_with("; it is tried again for some minutes");
    assert!(is_told, "{ran:#?}");
    start.check(&ran);
}

/// Every other connection has a fault of its own, the others the same one.
fn turns(other: Fault) -> Vec<Fault> {
    use Fault::{CutAnswer, CutRequest, Stall, Status};
    let mut faults = vec![
        CutRequest(300),
        CutAnswer(0),
        Status(503),
        CutRequest(30_000),
        CutAnswer(20),
        Status(500),
    ];
    // Each keeps one of the senders for as long as nothing passes.
    let is_long = stride(2) == 1;
    faults.extend(is_long.then_some(Stall));
    faults.into_iter().flat_map(|it| [it, other]).collect()
}

#[test]
fn over_a_bad_line_nothing_wrong_is_recorded_and_all_is_copied_in_the_end() {
    let Some(start) = Start::new() else { return };
    let kills = [150, 400, 1000, 3000, 8000, 700, 1500, 2500];
    let kills = &kills[..kills.len() / stride(4)];
    for (backups, other) in [(SMALL, SOME), ("big", PART)] {
        start.line.strike(turns(other).into_iter().cycle());
        start.copy(backups, kills);
    }
    assert_eq!(start.sandbox.copies().len(), 5);
    assert_eq!(start.sandbox.journals(), Default::default());

    let ran = start.ok("bk-push --check --read 100% s3");
    let read = |it: &Value| it["copy"]["read"] == true && it["copy"]["ok"] == true;
    assert_eq!(ran.records().iter().filter(|it| read(it)).count(), 5);
    start.ok(&format!("bk-push --remove s3 big {SMALL}"));
    assert_eq!(start.sandbox.copies(), [""; 0]);
    let left = start.server.curl(ADMIN, &[], "bucket?list-type=2").stdout;
    let left = String::from_utf8(left).unwrap();
    // The list of records, which is empty by now, stays.
    assert!(
        left.contains("<Name>bucket<") && !left.contains("<Key>prefix/web/"),
        "{left}"
    );
    let lost = start.line.met_count();
    println!("{lost} connections were lost");
    assert!(lost > 10, "{lost}");
}

#[test]
fn a_kill_at_any_step_of_a_copy_to_a_server_is_made_up_for_by_the_next() {
    if !can_trace() {
        return;
    }
    let Some(start) = Start::new() else { return };
    let mut kills = 0;
    for call in CALLS.into_iter().step_by(stride(2)) {
        // There is a call for each piece that is sent.
        let step = if call.starts_with("write") { 5 } else { 1 };
        for when in (1..).step_by(step * stride(9)) {
            let ran = start.run(&format!(
                "strace -f --quiet=all -o /dev/null -e trace={call} -e inject={call}:signal=SIGKILL:when={when} bk-push s3 big a"
            ));
            start.check(&ran);
            if ran.status != KILLED {
                assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
            }
            let next = start.ok("bk-push s3 big a");
            start.check(&next);
            assert_eq!(
                start.sandbox.copies(),
                ["a s3 complete", "big s3 complete"],
                "{ran:#?}"
            );
            assert_eq!(start.sandbox.journals(), Default::default(), "{ran:#?}");
            start.ok("bk-push --remove s3 big a");
            if ran.status != KILLED {
                break;
            }
            kills += 1;
        }
    }
    println!("killed {kills} times");
    assert!(kills > 4, "{kills}");
}
