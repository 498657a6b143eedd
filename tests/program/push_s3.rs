//! bk-push against a real S3 server: SeaweedFS on loopback.

use std::fs;

use crate::support::seaweed::{ADMIN, Keys, PUT_ONLY, Seaweed};
use crate::support::{Ran, Sandbox, can_trace, has};

/// A server with a bucket, and backups that are to go there: a large one in three parts, and small ones.
struct Start {
    server: Seaweed,
    sandbox: Sandbox,
}

impl Start {
    fn new() -> Option<Self> {
        if !has("jq") {
            return None;
        }
        let server = Seaweed::start()?;
        server.make_bucket("bucket", false);
        let sandbox = Sandbox::with_app();
        sandbox.ok(&format!(
            "head -c 34M /dev/urandom >big; export BK_HOST=web; bk-create --level 1 --name big big
             bk-create --name small app; bk-create --name 'ü %41+?#&=' app
             bk-push --set --endpoint {} s3 s3://bucket/prefix",
            server.endpoint()
        ));
        Some(Self { server, sandbox })
    }

    fn run(&self, keys: Keys, line: &str) -> Ran {
        self.sandbox.run(&format!("{} {line}", keys.environment()))
    }

    fn ok(&self, line: &str) -> Ran {
        let ran = self.run(ADMIN, line);
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
        ran
    }

    /// What the server holds under the key of a copy, by a client that is not ours.
    fn object(&self, prefix: &str, backup: &str) -> Vec<u8> {
        let record = self
            .sandbox
            .ok(&format!("bk-ls --json '{backup}'"))
            .record();
        assert_eq!(record["copies"][0]["status"], "complete", "{record}");
        let key = record["copies"][0]["key"].as_str().unwrap();
        let path = format!("bucket/prefix{prefix}/{key}");
        self.server.curl(ADMIN, &["--fail"], &path).stdout
    }

    fn check(&self, backup: &str, told: &Ran) {
        self.check_at("", backup, told);
    }

    fn check_at(&self, prefix: &str, backup: &str, told: &Ran) {
        let archive = fs::read(self.sandbox.archive(backup)).unwrap();
        assert!(self.object(prefix, backup) == archive, "{told:#?}");
        let journals = self.sandbox.journals();
        assert!(journals.is_empty(), "{journals:?} {told:#?}");
    }

    /// Forgets the copies, so that all is to be copied again, to another prefix.
    fn again(&self, prefix: &str) {
        self.sandbox.sql("DELETE FROM backup_copies");
        let endpoint = self.server.endpoint();
        self.ok(&format!(
            "bk-push --set --endpoint {endpoint} s3 s3://bucket/prefix{prefix}"
        ));
    }
}

#[test]
fn archives_are_copied_to_a_server_by_whoever_may_write() {
    let Some(start) = Start::new() else { return };
    let ran = start.ok("bk-ls | bk-push s3");
    assert_eq!(ran.records().len(), 3);
    for backup in ["big", "small"] {
        start.check(backup, &ran);
    }
    assert_eq!(start.ok("bk-ls | bk-push s3").stdout, "");
    // No secret is left anywhere.
    let found = start.sandbox.run("grep -rl 'ADMINSECRET\\|ADMINKEY' home");
    assert_eq!((found.status, &*found.stdout), (1, ""));

    // Also over what is there already, which such a one cannot look at.
    for prefix in ["", "/other"] {
        start.again(prefix);
        let ran = start.run(PUT_ONLY, "bk-push s3 big small");
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
        assert_eq!(ran.records().len(), 2);
        start.check_at(prefix, "big", &ran);
    }

    what_came_in_parts_is_asked_for_by_the_checksum_of_its_parts(&start);
    what_is_refused_is_told_once_and_the_rest_is_left(&start);
    an_upload_goes_on_after_a_kill(&start);
    an_upload_that_the_server_forgot_begins_anew(&start);
    parts_that_the_server_lost_are_sent_anew(&start);
}

/// Also by a machine that has adopted it.
fn what_came_in_parts_is_asked_for_by_the_checksum_of_its_parts(start: &Start) {
    start.again("/parts");
    start.ok("bk-push s3 big");
    let check = || start.run(ADMIN, "bk-push --check s3");
    let whole = check();
    assert_eq!((whole.status, &*whole.stderr), (0, ""), "{whole:#?}");
    let endpoint = start.server.endpoint();
    let other = format!("00{}-3", "0".repeat(62));
    let damage = format!("UPDATE backup_copies SET parts_hash = '{other}'");
    start.sandbox.sql(&damage);
    let told =
        "bk-push: the copy of 'big' at 's3' is bad: it has another SHA-256 than it should have\n";
    check().fails(1, told);
    // One that the store has put together anew, in another number of parts, tells nothing.
    start.sandbox.sql(&format!(
        "UPDATE backup_copies SET parts_hash = '00{}-2', status = 'complete'",
        "0".repeat(62)
    ));
    assert_eq!(check().status, 0);
    start.ok(&format!(
        "mv home first; export BK_HOST=web
         bk-push --set --endpoint {endpoint} s3 s3://bucket/prefix/parts; bk-pull --adopt s3 >/dev/null"
    ));
    assert_eq!(check().status, 0);
    start.sandbox.sql(&damage);
    check().fails(1, told);
    start.sandbox.ok("rm -r home; mv first home");
}

fn what_is_refused_is_told_once_and_the_rest_is_left(start: &Start) {
    start.again("/refused");
    let nobody = Keys {
        id: "NOBODY",
        secret: "NOSECRET",
    };
    let ran = start.run(nobody, "bk-push s3 big small");
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    let lines: Vec<_> = ran.stderr.lines().collect();
    let is_told = lines[0].starts_with("bk-push: cannot copy 'big' to 's3': access to '");
    assert!(is_told && lines.len() == 2, "{ran:#?}");
    assert_eq!(
        lines[1],
        "bk-push: 1 more backup is not copied to 's3': mend that, and run it again"
    );
    assert_eq!(start.sandbox.copies(), ["big s3 failed"]);
}

fn an_upload_goes_on_after_a_kill(start: &Start) {
    if !can_trace() {
        return;
    }
    start.again("/killed");
    start
        .sandbox
        .copy_until_a_part(&ADMIN.environment(), "s3", "KILL");
    let (there, _) = start.sandbox.parts_there("s3");
    // A part that is sent is a line of the journal.
    let ran = start.ok(
        "strace -f --seccomp-bpf -qq -o trace -P $PWD/home/uploads/s3.1 -e trace=write bk-push s3 big",
    );
    let sent = start.sandbox.ok("grep -c '{.\"part' trace").stdout;
    assert_eq!(sent, format!("{}\n", 3 - there), "{ran:#?}");
    start.check_at("/killed", "big", &ran);
}

/// As a rule of the bucket for uploads that were not finished makes it forget.
fn an_upload_that_the_server_forgot_begins_anew(start: &Start) {
    start.again("/forgotten");
    start
        .sandbox
        .copy_until_a_part(&ADMIN.environment(), "s3", "KILL");
    let plan = start.sandbox.ok("head -n 1 home/uploads/s3.1").record();
    let key = plan["key"].as_str().unwrap();
    let id = plan["upload_id"].as_str().unwrap();
    let path = format!("bucket/prefix/forgotten/{key}?uploadId={id}");
    assert_eq!(start.server.status(ADMIN, &["-X", "DELETE"], &path), 204);
    let ran = start.ok("bk-push s3 big");
    start.check_at("/forgotten", "big", &ran);
}

/// It has another part there than the one that the journal tells of.
fn parts_that_the_server_lost_are_sent_anew(start: &Start) {
    start.again("/lost");
    let (sandbox, admin) = (&start.sandbox, ADMIN.environment());
    sandbox.copy_until_a_part(&admin, "s3", "KILL");
    sandbox.parts_there("s3");
    sandbox.ok(
        r#"jq -c 'if .part then .part.id = "\"0\"" else . end' home/uploads/s3.1 >journal
           cp journal home/uploads/s3.1"#,
    );
    let ran = start.ok("bk-push s3 big");
    start.check_at("/lost", "big", &ran);
}

/// It goes away and comes back: the same bk-push goes on.
#[test]
#[ignore = "ten seconds: make test-long"]
fn a_server_that_is_killed_in_the_middle_is_waited_for() {
    let Some(mut start) = Start::new() else {
        return;
    };
    let push = format!("{} bk-push --limit-rate 12M s3 big", ADMIN.environment());
    let child = start.sandbox.start(&push);
    start.sandbox.ok(
        "for n in $(seq 3000); do grep -qs '\"part\"' home/uploads/s3.1 && break; sleep 0.01; done",
    );
    start.server.restart();
    let ran = Ran::new(&push, child.wait_with_output().unwrap());
    assert_eq!(ran.status, 0, "{ran:#?}");
    // A machine that is slow to start it again.
    let mut lines = ran.stderr.lines();
    let is_note = |line: &str| line.ends_with("; it is tried again for some minutes");
    assert!(lines.next().is_none_or(is_note), "{ran:#?}");
    assert_eq!(lines.next(), None, "{ran:#?}");
    start.check("big", &ran);
}

/// Its end was not recorded: it is neither kept twice, nor taken for locked where it is not.
#[test]
fn what_is_there_already_is_kept_once_and_is_locked_as_it_is_to_be() {
    let Some(server) = Seaweed::start() else {
        return;
    };
    server.make_bucket("locked", true);
    let sandbox = Sandbox::with_app();
    let set = format!("bk-push --set --endpoint {} s3", server.endpoint());
    sandbox.ok(&format!(
        "head -c 20M /dev/urandom >big; export BK_HOST=web
         bk-create --level 1 --name big --expires 50d big; bk-create --name small --expires 40d app
         {set} s3://locked/x"
    ));
    let copy = || {
        let line = "bk-push s3 big small | jq -c '[.copies[0].key, .copies[0].version_id]'";
        let ran = sandbox.ok(&format!("{} {line}", ADMIN.environment()));
        assert_eq!(ran.stderr, "", "{ran:#?}");
        sandbox.sql("DELETE FROM backup_copies");
        ran.records()
    };
    let versions = |key: &str| {
        // As curl signs it: encoded, and in order.
        let path = format!("locked?prefix=x%2F{}&versions=", key.replace('/', "%2F"));
        let told = server.curl(ADMIN, &[], &path).stdout;
        String::from_utf8(told)
            .unwrap()
            .matches("<Version>")
            .count()
    };
    let bare = copy();
    assert_eq!(copy(), bare, "what is the same is not kept twice");
    sandbox.ok(&format!("{set} --lock expires s3://locked/x"));
    let locked = copy();
    assert_eq!(copy(), locked, "nor is what is locked for as long");
    for (bare, locked) in bare.iter().zip(&locked) {
        assert_ne!(bare[1], locked[1]);
        let (key, version) = (locked[0].as_str().unwrap(), locked[1].as_str().unwrap());
        assert_eq!(versions(key), 2, "{key}");
        let path = format!("locked/x/{key}?versionId={version}");
        assert_eq!(server.status(ADMIN, &["-X", "DELETE"], &path), 403, "{key}");
    }
    sandbox.ok(&format!("{set} s3://locked/y"));
    a_removal_takes_every_version(&server, &sandbox, "y", false);
    sandbox.ok(&format!("{set} s3://locked/x"));
    a_removal_takes_every_version(&server, &sandbox, "x", true);
}

/// Of the archive, its record and its manifest; where an older one is locked, that is told, and what is left is no
/// copy.
fn a_removal_takes_every_version(
    server: &Seaweed,
    sandbox: &Sandbox,
    prefix: &str,
    is_locked: bool,
) {
    // Who may not look puts it again.
    let [admin, put_only] = [ADMIN, PUT_ONLY].map(Keys::environment);
    let push = "bk-push s3 small";
    sandbox.ok(&format!("{admin} {push}"));
    sandbox.sql("DELETE FROM backup_copies");
    let copied = sandbox.ok(&format!("{put_only} {push}")).record();
    let removed = sandbox.run(&format!("{admin} bk-push --remove s3 small"));
    let key = copied["copies"][0]["key"].as_str().unwrap();
    if is_locked {
        let told = format!("bk-push: cannot remove the copy of 'small' at 's3': '{key}' at s3://");
        assert_eq!((removed.status, &*removed.stdout), (1, ""), "{removed:#?}");
        let is_told =
            removed.stderr.starts_with(&told) && removed.stderr.contains("is locked until ");
        assert!(is_told, "{removed:#?}");
        assert_eq!(sandbox.copies(), ["small s3 failed"]);
        return;
    }
    assert_eq!((removed.status, &*removed.stderr), (0, ""), "{removed:#?}");
    for ending in ["tar.gz", "json", "parquet"] {
        let path = format!("locked/{prefix}/{}", key.replace("tar.gz", ending));
        assert_eq!(server.status(ADMIN, &["-I"], &path), 404, "{path}");
    }
}

/// What the tests of copies count on.
#[test]
fn the_server_has_locks_and_conditions_and_checksums_and_rights() {
    let Some(server) = Seaweed::start() else {
        return;
    };
    server.make_bucket("plain", false);
    server.make_bucket("locked", true);
    fs::write(server.dir().join("hello"), "hello").unwrap();
    let put = |keys, more: &[&str], path: &str| {
        let mut words = vec!["-T", "hello"];
        words.extend(more);
        server.status(keys, &words, path)
    };
    let is_new = ["-H", "If-None-Match: *"];
    assert_eq!(put(ADMIN, &is_new, "plain/a"), 200);
    assert_eq!(put(ADMIN, &is_new, "plain/a"), 412);
    // printf other | openssl dgst -sha256 -binary | base64
    let other = "x-amz-checksum-sha256: 2SmKENGwc1g33EvYXaxkGw887yekfl1TpU8vP1svz/o=";
    assert_eq!(put(ADMIN, &["-H", other], "plain/b"), 400);
    assert_eq!(put(PUT_ONLY, &[], "plain/c"), 200);
    assert_eq!(server.status(PUT_ONLY, &[], "plain/c"), 403);
    let nobody = Keys {
        id: "X",
        secret: "Y",
    };
    assert_eq!(put(nobody, &[], "plain/d"), 403);
    let lock = [
        "-H",
        "x-amz-object-lock-mode: COMPLIANCE",
        "-H",
        "x-amz-object-lock-retain-until-date: 2100-01-01T00:00:00Z",
    ];
    assert_eq!(put(ADMIN, &lock, "locked/a"), 200);
    let head = server.curl(ADMIN, &["-I"], "locked/a").stdout;
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let version = head.split("x-amz-version-id: ").nth(1).unwrap();
    let version = version.lines().next().unwrap().trim();
    let path = format!("locked/a?versionId={version}");
    assert_eq!(server.status(ADMIN, &["-X", "DELETE"], &path), 403);
    assert_eq!(server.curl(ADMIN, &[], &path).stdout, b"hello");
}

/// What a machine that has lost all reads first need not be thawed.
#[test]
fn archives_alone_get_the_storage_class() {
    let Some(start) = Start::new() else {
        return;
    };
    let endpoint = start.server.endpoint();
    start.ok(&format!(
        "bk-push --set --endpoint {endpoint} --storage-class STANDARD_IA s3 s3://bucket/prefix"
    ));
    let copied = start.ok("bk-push s3 small big").records();
    let headers = start.sandbox.path("headers");
    let is_of_class = |key: &str| {
        let words = ["-I", "-D", headers.to_str().unwrap()];
        let path = format!("bucket/prefix/{key}");
        assert_eq!(start.server.status(ADMIN, &words, &path), 200, "{key}");
        fs::read_to_string(&headers)
            .unwrap()
            .contains("STANDARD_IA")
    };
    for record in copied {
        let key = record["copies"][0]["key"].as_str().unwrap();
        assert!(is_of_class(key), "{key}");
        for beside in [".json", ".parquet"] {
            let key = key.replace(".tar.gz", beside);
            assert!(!is_of_class(&key), "{key}");
        }
    }
}
