//! bk-push against a poor S3 server, rclone's: conditions and locks are ignored there, and no SHA-256 is told.

use std::fs;

use crate::support::poor::Poor;
use crate::support::pushed::{PLACE, check_all_copied};
use crate::support::seaweed::ADMIN;
use crate::support::{Ran, Sandbox, can_trace, has};

/// A server whose bucket is the directory of the tests, and backups that are to go there: a large one in three
/// parts, and small ones.
struct Start {
    server: Poor,
    sandbox: Sandbox,
}

impl Start {
    fn new() -> Option<Self> {
        if !has("jq") {
            return None;
        }
        let sandbox = Sandbox::with_app();
        let server = Poor::start(&sandbox.path(""))?;
        sandbox.ok(&format!(
            "mkdir {PLACE}; head -c 34M /dev/urandom >big; export BK_HOST=web
             bk-create --level 1 --name big big; bk-create --name small app; bk-create --name 'ü %41+?#&=' app
             bk-push --set --endpoint {} poor s3://{PLACE}",
            server.endpoint()
        ));
        Some(Self { server, sandbox })
    }

    fn run(&self, line: &str) -> Ran {
        self.sandbox.run(&format!("{} {line}", ADMIN.environment()))
    }

    fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
        ran
    }
}

#[test]
fn archives_are_copied_checked_and_removed_at_a_poor_server() {
    let Some(start) = Start::new() else { return };
    let sandbox = &start.sandbox;
    let ran = start.ok("bk-ls | bk-push poor");
    assert_eq!(ran.records().len(), 3);
    check_all_copied(sandbox, "copied");
    assert_eq!(start.ok("bk-ls | bk-push poor").stdout, "");
    assert_eq!(
        start.ok("bk-push --check --read 100% poor").records().len(),
        3
    );
    // Over what is there already: nothing says that it is.
    sandbox.sql("DELETE FROM backup_copies");
    assert_eq!(start.ok("bk-ls | bk-push poor").records().len(), 3);
    check_all_copied(sandbox, "copied again");

    what_is_gone_or_differs_is_found_and_copied_again(&start);

    let kept = sandbox.object("small");
    let ran = start.ok("bk-push --remove poor big 'ü %41+?#&='");
    assert_eq!(ran.records().len(), 2);
    assert_eq!(sandbox.copies(), ["small poor complete"]);
    let objects = sandbox.objects();
    assert!(
        objects.len() == 3 && objects.contains(&kept),
        "{objects:#?}"
    );
    start.ok("bk-rm small; bk-push --remove --gone poor");
    assert_eq!(sandbox.objects(), Default::default());
    assert_eq!(sandbox.copies(), [""; 0]);
}

fn what_is_gone_or_differs_is_found_and_copied_again(start: &Start) {
    let sandbox = &start.sandbox;
    let [big, small, odd] = ["big", "small", "ü %41+?#&="].map(|name| sandbox.object(name));
    fs::remove_file(&small).unwrap();
    fs::write(&odd, "short").unwrap();
    // As many bytes as there should be: only who reads them sees it.
    sandbox.flip(&big, 20_000_000);
    let problems = |ran: &Ran| {
        let told = ran.records().into_iter();
        let told = told.map(|it| it["copy"]["problem"].as_str().map(str::to_owned));
        told.collect::<Vec<_>>()
    };
    let size = fs::metadata(sandbox.archive("ü %41+?#&=")).unwrap().len();
    let gone = Some("it is gone".to_owned());
    let short = Some(format!("it has 5 bytes and should have {size}"));
    let ran = start.run("bk-push --check poor");
    assert_eq!(
        (ran.status, problems(&ran)),
        (1, vec![None, gone, short]),
        "{ran:#?}"
    );
    let ran = start.run("bk-push --check --read 100% poor");
    let differs = "it has another SHA-256 than it should have".to_owned();
    assert_eq!(
        (ran.status, problems(&ran)),
        (1, vec![Some(differs)]),
        "{ran:#?}"
    );
    let ran = start.ok("bk-ls --without-copy poor | bk-push poor");
    assert_eq!(ran.records().len(), 3);
    check_all_copied(sandbox, "repaired");
}

#[test]
fn an_upload_to_a_poor_server_goes_on_after_a_kill() {
    if !can_trace() {
        return;
    }
    let Some(start) = Start::new() else { return };
    let sandbox = &start.sandbox;
    sandbox.copy_until_a_part(&ADMIN.environment(), "poor", "KILL");
    let (there, _) = sandbox.parts_there("poor");
    // A part that is sent is a line of the journal.
    let ran = start.ok(
        "strace -f --seccomp-bpf -qq -o trace -P $PWD/home/uploads/poor.1 -e trace=write bk-push poor big",
    );
    let sent = sandbox.ok("grep -c '{.\"part' trace").stdout;
    assert_eq!(sent, format!("{}\n", 3 - there), "{ran:#?}");
    start.ok("bk-ls | bk-push poor");
    check_all_copied(sandbox, "gone on");
}

#[test]
fn a_poor_server_gets_nothing_that_is_to_be_locked() {
    let Some(start) = Start::new() else { return };
    start.ok(&format!(
        "bk-push --set --lock 30d --endpoint {} poor s3://{PLACE}",
        start.server.endpoint()
    ));
    start.run("bk-ls | bk-push poor").fails(
        1,
        &format!(
            "bk-push: s3://{PLACE} cannot lock objects: make a bucket with object lock, or take the location without --lock\n"
        ),
    );
    assert_eq!(start.sandbox.objects(), Default::default());
    assert_eq!(start.sandbox.copies(), [""; 0]);
}
