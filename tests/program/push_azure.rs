//! bk-push and bk-pull against Azure's own emulator.

use std::fs;

use crate::support::azurite::{Azurite, CONTAINER};
use crate::support::{Ran, Sandbox, has};
use serde_json::json;

/// A server, and backups that are to go there: a large one in three parts, and a small one.
struct Start {
    server: Azurite,
    sandbox: Sandbox,
}

impl Start {
    fn new() -> Option<Self> {
        if !has("jq") {
            return None;
        }
        let sandbox = Sandbox::with_app();
        let server = Azurite::start(&sandbox.path("azurite"))?;
        sandbox.ok(&format!(
            "mkdir tree; head -c 34M /dev/urandom >tree/big; cp -r app tree; export BK_HOST=web
             bk-create --level 1 --name big tree; bk-create --name 'ü %41+?#&=' app
             bk-push --set az az://{CONTAINER}/prefix; cp -a home/archives kept"
        ));
        Some(Self { server, sandbox })
    }

    fn run(&self, line: &str) -> Ran {
        let environment = self.server.environment();
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
        let there = self.server.rclone("cat", &format!("prefix/{key}"));
        let archive = fs::read(record["backup_path"].as_str().unwrap()).unwrap();
        assert!(there.stdout == archive, "{record}");
        let journals = self.sandbox.journals();
        assert!(journals.is_empty(), "{journals:?}");
    }
}

#[test]
fn archives_are_copied_to_azure_checked_brought_back_and_removed() {
    let Some(start) = Start::new() else { return };
    let sandbox = &start.sandbox;
    // One that is killed goes on, and what is there already is no other.
    sandbox.copy_until_a_part(&start.server.environment(), "az", "KILL");
    for _ in 0..2 {
        assert_eq!(start.ok("bk-ls | bk-push az").records().len(), 2);
        start.check("big");
        start.check("ü %41+?#&=");
        assert_eq!(start.ok("bk-ls | bk-push az").stdout, "");
        sandbox.sql("DELETE FROM backup_copies");
    }
    start.ok("bk-ls | bk-push az");
    for line in ["bk-push --check az", "bk-push --check --read 100% az"] {
        let checked = start.ok(line).records();
        let is_well = checked.iter().map(|it| it["copy"]["ok"].clone());
        assert_eq!(is_well.collect::<Vec<_>>(), [true, true], "{line}");
    }

    sandbox.ok("rm home/archives/*.tar.gz");
    assert_eq!(start.ok("bk-pull --list az").records().len(), 2);
    let ran = start.ok("bk-pull --path tree/app -C out az big && diff -r app out/tree/app");
    let read_bytes = ran.record()["pull"]["read_bytes"].as_u64().unwrap();
    assert!(read_bytes < 1 << 20, "{ran:#?}");
    start.ok("bk-ls --missing | bk-pull az; diff -r home/archives kept");

    // What is gone is found, and what is left is removed.
    let key = sandbox.ok("bk-ls --json big").record()["copies"][0]["key"].clone();
    let path = format!("prefix/{}", key.as_str().unwrap());
    assert!(start.server.rclone("deletefile", &path).status.success());
    let ran = start.run("bk-push --check az");
    let told = "bk-push: the copy of 'big' at 'az' is bad: it is gone\n";
    assert_eq!((ran.status, &*ran.stderr), (1, told), "{ran:#?}");
    let removed = start.ok("bk-push --remove az 'ü %41+?#&=' big");
    assert_eq!(removed.records().len(), 2);
    assert_eq!(sandbox.copies(), [""; 0]);
    let left = start.server.rclone("lsjson", "prefix/web").stdout;
    let left: serde_json::Value = serde_json::from_slice(&left).unwrap_or(json!([]));
    assert_eq!(left, json!([]));
    what_is_refused_is_told_in_a_line(&start);
}

/// The container is made by its owner, and a key that is none of it opens nothing.
fn what_is_refused_is_told_in_a_line(start: &Start) {
    start.ok("bk-push --set none az://nowhere/x");
    let ran = start.run("bk-push none big");
    let told = "bk-push: cannot copy 'big' to 'none': ";
    let is_told = ran.stderr.starts_with(told) && ran.stderr.lines().count() == 1;
    assert!(ran.status == 1 && is_told, "{ran:#?}");
    let ran = start.run("AZURE_STORAGE_ACCOUNT_KEY=d3Jvbmc= bk-push az big");
    let told = "bk-push: cannot copy 'big' to 'az': access to '";
    let is_told = ran.stderr.starts_with(told) && ran.stderr.lines().count() == 1;
    assert!(
        ran.status == 1 && is_told && !ran.stderr.contains("d3Jvbmc="),
        "{ran:#?}"
    );
    assert_eq!(start.sandbox.copies(), ["big az failed", "big none failed"]);
}
