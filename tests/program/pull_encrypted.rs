//! What was encrypted comes back decrypted, or not at all. The program age encrypts here, as bk-push does.

use std::fs;

use crate::support::pulled::{check_all_there, encrypt, names, there, with_copies};
use crate::support::{Sandbox, has};
use serde_json::json;

#[test]
fn what_was_encrypted_by_age_is_decrypted() {
    if !has("age") || !has("age-keygen") {
        return;
    }
    let sandbox = with_copies(&["a", "b", "plain"]);
    sandbox.ok("age-keygen -o key 2>&1; age-keygen -o other 2>&1");
    encrypt(&sandbox, "a", "key");
    encrypt(&sandbox, "b", "other");
    sandbox.ok("rm home/archives/*.tar.gz");
    let without = "its copy is encrypted: give the key with --identity FILE";
    let told =
        ["a", "b"].map(|name| format!("bk-pull: cannot bring '{name}' from 'usb': {without}\n"));
    sandbox.run("bk-pull -n usb a b").fails(1, &told.concat());
    let ran = sandbox.run("bk-pull usb a b plain");
    ran.fails(1, &told.concat());
    assert_eq!(names(&ran), ["plain"]);

    let ran = sandbox.run("bk-pull --identity key usb a b plain");
    let key = sandbox.records()[1]["copies"][0]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = format!(
        "bk-pull: cannot bring 'b' from 'usb': cannot decrypt '{key}' at 'usb' with the keys in 'key': no key of these opens it\n"
    );
    ran.fails(1, &told);
    let pull = &ran.records()[0]["pull"];
    let size = fs::metadata(sandbox.object("a")).unwrap().len();
    assert_eq!(
        (&pull["encrypted"], &pull["bytes"]),
        (&json!(true), &json!(size))
    );
    assert_eq!(there(&sandbox), ["a.tar.gz", "plain.tar.gz"]);
    sandbox.ok("bk-pull --identity other usb b");
    check_all_there(&sandbox, &ran);
    let told = "bk-pull: cannot read the keys in 'nokey': No such file or directory\n";
    sandbox.run("bk-pull --identity nokey usb a").fails(1, told);
}

/// Each flip and each cut, also where the catalog tells the hash of what is there.
#[test]
fn no_damage_of_what_was_encrypted_passes() {
    if !has("age") || !has("age-keygen") {
        return;
    }
    let sandbox = with_copies(&["a"]);
    sandbox.ok("age-keygen -o key 2>&1; rm home/archives/a.tar.gz");
    encrypt(&sandbox, "a", "key");
    let object = sandbox.object("a");
    let whole = fs::read(&object).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..whole.len())
        .step_by(whole.len() / 7)
        .map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    damaged
        .extend([0, 20, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec()));
    damaged.push([&whole[..], b"x"].concat());
    for bytes in damaged {
        fs::write(&object, &bytes).unwrap();
        for is_believed in [false, true] {
            if is_believed {
                let hash = sandbox.ok(&format!("sha256sum <{} | cut -d' ' -f1", object.display()));
                sandbox.sql(&format!(
                    "UPDATE backup_copies SET hash = '{}'",
                    hash.stdout.trim()
                ));
            }
            let ran = sandbox.run("bk-pull --identity key usb a");
            assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
            let told = "bk-pull: cannot bring 'a' from 'usb': ";
            assert!(
                ran.stderr.starts_with(told) && ran.stderr.lines().count() == 1,
                "{ran:#?}"
            );
            assert!(there(&sandbox).is_empty(), "{ran:#?}");
        }
    }
}

/// To a key of age and one of OpenSSH: each of them opens it.
#[test]
fn what_bk_push_encrypted_comes_back_by_each_of_its_keys() {
    if !has("age-keygen") || !has("ssh-keygen") {
        return;
    }
    let sandbox = Sandbox::with_app();
    let to = sandbox.age_key();
    sandbox.usb();
    sandbox.ok(&format!(
        "ssh-keygen -q -t ed25519 -N '' -f ssh
         bk-push --set --recipient {to} --recipient \"$(cut -d' ' -f1,2 ssh.pub)\" usb file://$PWD/place
         head -c 3M /dev/urandom >app/big; export BK_HOST=web; bk-create --name a app; bk-create --compression zstd --name z app
         bk-push usb a z >/dev/null; cp -a home/archives kept"
    ));
    for key in ["key", "ssh"] {
        let ran = sandbox.ok(&format!(
            "rm home/archives/*.tar.*; bk-ls --missing | bk-pull --identity {key} usb"
        ));
        assert_eq!(
            (names(&ran), &*ran.stderr),
            (vec!["a".into(), "z".into()], "")
        );
        check_all_there(&sandbox, &ran);
        for backup in ["a", "z"] {
            sandbox.ok(&format!(
                "rm -rf out home/manifests; bk-pull --identity {key} --path app/log -C out usb {backup}; diff -r app/log out/app/log
                 bk-pull --identity {key} --path app/big --stdout usb {backup} | cmp - app/big"
            ));
        }
    }
}
