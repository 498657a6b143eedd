//! bk-push and bk-pull against Azure's own emulator, and in the words of Google Cloud Storage.

use std::fs;

use crate::support::azurite::{Azurite, CONTAINER};
use crate::support::google::Google;
use crate::support::seaweed::ADMIN;
use crate::support::{Ran, Sandbox, has};

/// A server, asked by a client that is not ours.
trait Cloud {
    /// A line that goes before commands of a shell.
    fn environment(&self) -> String;
    /// Flags and URL of a location there.
    fn location(&self, sandbox: &Sandbox) -> String;
    fn get(&self, path: &str) -> Vec<u8>;
    fn remove(&self, path: &str);
    fn list(&self, prefix: &str) -> String;
}

impl Cloud for Azurite {
    fn environment(&self) -> String {
        self.environment()
    }

    fn location(&self, _: &Sandbox) -> String {
        format!("az://{CONTAINER}/prefix")
    }

    fn get(&self, path: &str) -> Vec<u8> {
        self.rclone("cat", path).stdout
    }

    fn remove(&self, path: &str) {
        assert!(self.rclone("deletefile", path).status.success());
    }

    fn list(&self, prefix: &str) -> String {
        String::from_utf8(self.rclone("lsf", prefix).stdout).unwrap()
    }
}

impl Cloud for Google {
    fn environment(&self) -> String {
        ":;".to_owned()
    }

    fn location(&self, sandbox: &Sandbox) -> String {
        self.server.make_bucket("bucket", false);
        sandbox.write("account.json", &self.credentials());
        sandbox.ok("chmod 600 account.json");
        "--storage-class STANDARD --credentials $PWD/account.json gs://bucket/prefix".to_owned()
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let path = format!("bucket/{}", encoded(path));
        self.server.curl(ADMIN, &["--fail"], &path).stdout
    }

    fn remove(&self, path: &str) {
        let path = format!("bucket/{}", encoded(path));
        assert_eq!(self.server.status(ADMIN, &["-X", "DELETE"], &path), 204);
    }

    fn list(&self, prefix: &str) -> String {
        let told = self.server.curl(ADMIN, &[], "bucket?list-type=2").stdout;
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains("<Name>bucket</Name>"), "{told}");
        let keys = told.split("<Key>").skip(1);
        keys.filter_map(|it| it.split_once("</Key>"))
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, _)| format!("{key}\n"))
            .collect()
    }
}

/// A key in a URL.
fn encoded(key: &str) -> String {
    let plain = |it: &u8| it.is_ascii_alphanumeric() || b"/-._".contains(it);
    let bytes = key.as_bytes().iter();
    bytes
        .map(|it| match plain(it) {
            true => char::from(*it).to_string(),
            false => format!("%{it:02X}"),
        })
        .collect()
}

/// A server, and backups that are to go there: a large one in three parts, and a small one.
struct Start<C> {
    cloud: C,
    sandbox: Sandbox,
}

impl<C: Cloud> Start<C> {
    fn new(cloud: C, sandbox: Sandbox) -> Self {
        sandbox.ok(&format!(
            "mkdir tree; head -c 34M /dev/urandom >tree/big; cp -r app tree; export BK_HOST=web
             bk-create --level 1 --name big tree; bk-create --name 'ü %41+?#&=' app
             bk-push --set cloud {}; cp -a home/archives kept",
            cloud.location(&sandbox)
        ));
        Self { cloud, sandbox }
    }

    fn run(&self, line: &str) -> Ran {
        let environment = self.cloud.environment();
        self.sandbox.run(&format!("{environment} {line}"))
    }

    fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
        ran
    }

    /// What the server holds of a backup is its archive.
    fn check(&self, backup: &str) {
        let record = self.sandbox.ok(&format!("bk-ls --json '{backup}'"));
        let record = record.record();
        assert_eq!(record["copies"][0]["status"], "complete", "{record}");
        let key = record["copies"][0]["key"].as_str().unwrap();
        let archive = fs::read(record["backup_path"].as_str().unwrap()).unwrap();
        let there = self.cloud.get(&format!("prefix/{key}"));
        assert!(there == archive, "{record}");
        let journals = self.sandbox.journals();
        assert!(journals.is_empty(), "{journals:?}");
    }

    fn archives_are_copied_checked_brought_back_and_removed(&self) {
        let sandbox = &self.sandbox;
        // One that is killed goes on, and what is there already is no other.
        sandbox.copy_until_a_part(&self.cloud.environment(), "cloud", "KILL");
        for _ in 0..2 {
            assert_eq!(self.ok("bk-ls | bk-push cloud").records().len(), 2);
            self.check("big");
            self.check("ü %41+?#&=");
            assert_eq!(self.ok("bk-ls | bk-push cloud").stdout, "");
            sandbox.sql("DELETE FROM backup_copies");
        }
        self.ok("bk-ls | bk-push cloud");
        for line in ["bk-push --check cloud", "bk-push --check --read 100% cloud"] {
            let checked = self.ok(line).records();
            let is_well = checked.iter().map(|it| it["copy"]["ok"].clone());
            assert_eq!(is_well.collect::<Vec<_>>(), [true, true], "{line}");
        }

        sandbox.ok("rm home/archives/*.tar.gz");
        assert_eq!(self.ok("bk-pull --list cloud").records().len(), 2);
        let ran = self.ok("bk-pull --path tree/app -C out cloud big && diff -r app out/tree/app");
        let read_bytes = ran.record()["pull"]["read_bytes"].as_u64().unwrap();
        assert!(read_bytes < 1 << 20, "{ran:#?}");
        self.ok("bk-ls --missing | bk-pull cloud; diff -r home/archives kept");

        // What is gone is found, and what is left is removed.
        let key = sandbox.ok("bk-ls --json big").record()["copies"][0]["key"].clone();
        self.cloud
            .remove(&format!("prefix/{}", key.as_str().unwrap()));
        let ran = self.run("bk-push --check cloud");
        let told = "bk-push: the copy of 'big' at 'cloud' is bad: it is gone\n";
        assert_eq!((ran.status, &*ran.stderr), (1, told), "{ran:#?}");
        assert_ne!(self.cloud.list("prefix/web"), "");
        let removed = self.ok("bk-push --remove cloud 'ü %41+?#&=' big");
        assert_eq!(removed.records().len(), 2);
        assert_eq!(sandbox.copies(), [""; 0]);
        assert_eq!(self.cloud.list("prefix/web"), "");
    }
}

#[test]
fn archives_go_to_azure_and_come_back() {
    let sandbox = Sandbox::with_app();
    let Some(server) = Azurite::start(&sandbox.path("azurite")).filter(|_| has("jq")) else {
        return;
    };
    let start = Start::new(server, sandbox);
    start.archives_are_copied_checked_brought_back_and_removed();
    what_azure_refuses_is_told_in_a_line(&start);
}

/// The container is made by its owner, and a key that is none of it opens nothing.
fn what_azure_refuses_is_told_in_a_line(start: &Start<Azurite>) {
    start.ok("bk-push --set none az://nowhere/x");
    let ran = start.run("bk-push none big");
    let told = "bk-push: cannot copy 'big' to 'none': ";
    let is_told = ran.stderr.starts_with(told) && ran.stderr.lines().count() == 1;
    assert!(ran.status == 1 && is_told, "{ran:#?}");
    let ran = start.run("AZURE_STORAGE_ACCOUNT_KEY=d3Jvbmc= bk-push cloud big");
    let told = "bk-push: cannot copy 'big' to 'cloud': access to '";
    let is_told = ran.stderr.starts_with(told) && ran.stderr.lines().count() == 1;
    assert!(
        ran.status == 1 && is_told && !ran.stderr.contains("d3Jvbmc="),
        "{ran:#?}"
    );
    assert_eq!(
        start.sandbox.copies(),
        ["big cloud failed", "big none failed"]
    );
}

#[test]
#[ignore = "half a minute: make test-long"]
fn archives_go_to_google_and_come_back() {
    let Some(server) = Google::start().filter(|_| has("jq")) else {
        return;
    };
    let start = Start::new(server, Sandbox::with_app());
    start.archives_are_copied_checked_brought_back_and_removed();
    // The small one, each time that the catalog knew of no copy.
    assert_eq!(start.cloud.creates(), 3);
}
