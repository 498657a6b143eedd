//! bk-push with public keys: what leaves the machine is encrypted, the program age opens it, and an upload that goes
//! on sends the same bytes.
//!
//! Kills and failing calls meanwhile are in push_crash.rs.

use std::fs;

use crate::support::disk::SmallDisk;
use crate::support::pushed::{PLACE, check_all_copied};
use crate::support::{Sandbox, has};
use serde_json::{Value, json};

/// A backup `a` of `app/`, made on the host `web`; a place to copy to, and a private key in `key`.
fn with_key() -> Option<(Sandbox, String)> {
    if !has("age") {
        return None;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("BK_HOST=web bk-create --name a app");
    sandbox.usb();
    let key = sandbox.age_key();
    Some((sandbox, key))
}

#[test]
fn what_is_copied_is_encrypted_and_age_opens_it() {
    let Some((sandbox, key)) = with_key() else {
        return;
    };
    sandbox.ok(&format!(
        "bk-push --set --recipient {key} usb file://$PWD/{PLACE}"
    ));
    let setting = sandbox.ok("bk-push --list --json").record();
    assert_eq!(setting["recipients"], json!([key]));
    let table = sandbox.ok("bk-push --list --table").stdout;
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[2..5], ["-", "-", "yes"], "{table}");
    let ran = sandbox.ok("bk-push usb a");
    assert_eq!(ran.stderr, "");
    let record = ran.record();
    let (copy, told) = (&record["copies"][0], &record["copy"]);
    assert_eq!(told["encrypted"], true);
    assert_eq!(copy["recipients"], json!([key]));
    assert_ne!(copy["hash"], record["backup_hash"]);
    assert!(told["key"].as_str().unwrap().ends_with(".tar.gz.age"));
    check_all_copied(&sandbox, "");
    let names: Vec<_> = sandbox.objects().into_iter().collect();
    assert_eq!(names.len(), 3, "{names:?}");
    // Nothing in the clear but the record, which names no file.
    for object in &names {
        let bytes = fs::read(object).unwrap();
        let is_encrypted = bytes.starts_with(b"age-encryption.org/v1\n");
        assert_eq!(!is_encrypted, object.extension().unwrap() == "json");
    }
    let beside = fs::read_to_string(&names[0]).unwrap();
    let beside: Value = serde_json::from_str(&beside).unwrap();
    assert_eq!(beside["copy"]["hash"], copy["hash"]);
    assert_eq!(beside["copy"]["recipients"], json!([key]));
    // As the man page says it.
    sandbox.ok(&format!(
        "mkdir out; age -d -i key {PLACE}/web/archives/a-*.tar.gz.age | tar xz -C out; diff -r app out/app"
    ));
    assert_eq!(
        sandbox
            .ok("bk-push --check --read 100% usb")
            .records()
            .len(),
        1
    );
    sandbox.ok("bk-push --remove usb a");
    assert!(sandbox.objects().is_empty());
}

#[test]
fn each_of_several_keys_opens_it_and_no_other_does() {
    let Some((sandbox, key)) = with_key() else {
        return;
    };
    sandbox.ok(&format!(
        "age-keygen -o other 2>/dev/null; ssh-keygen -q -t ed25519 -N '' -C me@host -f ssh
         bk-push --recipient {key} --recipient \"$(cat ssh.pub)\" usb a"
    ));
    sandbox.ok(&format!(
        "for key in key ssh; do age -d -i $key {PLACE}/web/archives/a-*.tar.gz.age | cmp - home/archives/a.tar.gz; done
         ! age -d -i other {PLACE}/web/archives/a-*.tar.gz.age 2>/dev/null"
    ));
    let copy = &sandbox.records()[0]["copies"][0];
    assert_eq!(copy["recipients"].as_array().unwrap().len(), 2);
    // For this run alone.
    let setting = sandbox.ok("bk-push --list --json").record();
    assert_eq!(setting["recipients"], Value::Null);
}

#[test]
fn an_upload_that_goes_on_sends_what_was_encrypted_before() {
    let Some((sandbox, key)) = with_key() else {
        return;
    };
    sandbox.ok(
        "bk-rm a; head -c 34M /dev/urandom >big; BK_HOST=web bk-create --level 1 --name big big",
    );
    sandbox.sql("UPDATE backup_records SET id = 1");
    sandbox.ok(&format!(
        "bk-push --set --recipient {key} usb file://$PWD/{PLACE}"
    ));
    sandbox.copy_until_a_part("", "usb", "KILL");
    let (there, _) = sandbox.parts_there("usb");
    sandbox.ok("cp home/uploads/usb.1.age spool; bk-push usb big >/dev/null");
    check_all_copied(&sandbox, &format!("{there} parts were there"));
    sandbox.ok(&format!("cmp spool {PLACE}/web/archives/big-*.tar.gz.age"));

    // What was encrypted is damaged, or for another key: it is encrypted anew.
    let other = sandbox.ok("age-keygen -y other 2>/dev/null || { age-keygen -o other; age-keygen -y other; } 2>/dev/null").stdout;
    for (is_damaged, recipient) in [(true, &*key), (false, other.trim())] {
        sandbox.ok("bk-push --remove usb big");
        sandbox.copy_until_a_part("", "usb", "TERM");
        if is_damaged {
            sandbox.flip("home/uploads/usb.1.age", 30_000_000);
            let spool = sandbox.path("home/uploads/usb.1.age").display().to_string();
            sandbox.run("bk-push usb big").fails(
                1,
                &format!("bk-push: cannot copy 'big' to 'usb': '{spool}' is not what was encrypted: run it again, which encrypts anew\n"),
            );
        }
        sandbox.ok(&format!(
            "bk-push --recipient {recipient} usb big >/dev/null; test -z \"$(ls home/uploads)\""
        ));
        let file = if is_damaged { "key" } else { "other" };
        sandbox.ok(&format!(
            "age -d -i {file} {PLACE}/web/archives/big-*.tar.gz.age | cmp - home/archives/big.tar.gz"
        ));
    }
}

#[test]
fn without_room_to_encrypt_it_says_so_and_leaves_nothing() {
    let Some(disk) = SmallDisk::new("30M").filter(|_| has("age")) else {
        return;
    };
    let key = disk.sandbox.age_key();
    disk.ok(&format!(
        "head -c 34M /dev/urandom >big; BK_HOST=web bk-create --level 1 --name big big >/dev/null
         bk-push --set --init --recipient {key} usb file://$PWD/{PLACE}
         rmdir home/uploads 2>/dev/null; mkdir disk/uploads; ln -s $PWD/disk/uploads home/uploads"
    ));
    let ran = disk.run("bk-push usb big");
    let uploads = disk.sandbox.path("home/uploads").display().to_string();
    let told = format!(
        "bk-push: cannot copy 'big' to 'usb': it is encrypted into '{uploads}' first, where 34.1 MiB are needed and 1.50 MiB to stay free, and 30.0 MiB are free: make room there, or make it a link to a directory that has room\n"
    );
    ran.fails(1, &told);
    assert_eq!(
        disk.ok("ls disk/uploads place").stdout,
        "disk/uploads:\n\nplace:\n"
    );
    disk.ok("rm home/uploads; bk-push usb big >/dev/null");
    check_all_copied(&disk.sandbox, "");
}

#[test]
fn keys_that_are_none_are_refused() {
    let Some((sandbox, key)) = with_key() else {
        return;
    };
    let private = sandbox.ok("tail -n 1 key").stdout;
    let private = private.trim();
    for (words, told) in [
        (
            format!("--recipient {private} usb a"),
            "--recipient: this is a private key: give the public one, which 'age-keygen -y FILE' prints",
        ),
        (
            "--recipient age1x usb a".to_owned(),
            "--recipient: invalid recipient 'age1x': use a public key: age1..., ssh-ed25519 ... or ssh-rsa ...",
        ),
        (
            format!("--set --recipient '' usb file://$PWD/{PLACE}"),
            "--recipient: invalid recipient '': use a public key: age1..., ssh-ed25519 ... or ssh-rsa ...",
        ),
        (
            format!("--check --recipient {key} usb"),
            "--check and --recipient exclude each other",
        ),
    ] {
        let told = format!("bk-push: {told}\n");
        sandbox.run(&format!("bk-push {words}")).fails(2, &told);
    }
    assert!(sandbox.objects().is_empty());
}
