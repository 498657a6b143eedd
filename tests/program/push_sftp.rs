//! bk-push over SFTP: by rclone, to OpenSSH on loopback.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::pushed::{PLACE, check_all_copied, check_complete};
use crate::support::sshd::Sshd;
use crate::support::{Ran, Sandbox, has};

/// A server, whose directory is at the place of the tests too, and a backup that is to go there.
struct Start {
    server: Sshd,
    sandbox: Sandbox,
}

impl Start {
    fn new() -> Option<Self> {
        if !has("rclone") {
            return None;
        }
        let server = Sshd::start()?;
        let sandbox = Sandbox::with_app();
        symlink(server.files(), sandbox.path(PLACE)).unwrap();
        let config = sandbox.write("rclone.conf", &server.rclone_config("nas"));
        fs::set_permissions(config, PermissionsExt::from_mode(0o600)).unwrap();
        sandbox.ok(&format!(
            "BK_HOST=web bk-create --name 'ü %41+?#&=' app
             bk-push --set --init --credentials rclone.conf nas rclone:nas:{}",
            server.files().display()
        ));
        Some(Self { server, sandbox })
    }

    /// With a second one, which is large.
    fn with_big() -> Option<Self> {
        let start = Self::new()?;
        start.ok(
            "head -c 34M /dev/urandom >big; BK_HOST=web bk-create --level 1 --name big big >/dev/null",
        );
        Some(start)
    }

    fn ok(&self, line: &str) -> Ran {
        let ran = self.sandbox.ok(line);
        assert_eq!(ran.stderr, "", "{ran:#?}");
        ran
    }
}

#[test]
fn an_archive_is_copied_checked_and_removed_over_sftp() {
    let Some(start) = Start::new() else { return };
    let sandbox = &start.sandbox;
    assert_eq!(start.ok("bk-ls | bk-push nas").records().len(), 1);
    check_all_copied(sandbox, "copied");
    assert_eq!(start.ok("bk-ls | bk-push nas").stdout, "");
    let told = start.ok("bk-push --check --read 100% nas").record();
    assert_eq!(
        (&told["copy"]["ok"], &told["copy"]["read"]),
        (&true.into(), &true.into())
    );
    start.ok("bk-ls | bk-push --remove nas");
    assert_eq!(sandbox.copies(), [""; 0]);
    assert_eq!(sandbox.objects(), Default::default());
}

#[test]
#[ignore = "a minute: make test-long"]
fn what_is_gone_or_differs_or_cannot_be_reached_over_sftp_is_told() {
    let Some(mut start) = Start::with_big() else {
        return;
    };
    let sandbox = &start.sandbox;
    start.ok("bk-ls | bk-push nas");
    let big = sandbox.object("big");
    sandbox.flip(&big, 20_000_000);
    start.ok("bk-push --check nas");
    sandbox.run("bk-push --check --read 100% nas >/dev/null").fails(
        1,
        "bk-push: the copy of 'big' at 'nas' is bad: it has another SHA-256 than it should have\n",
    );
    fs::remove_file(sandbox.object("ü %41+?#&=")).unwrap();
    sandbox.run("bk-push --check nas >/dev/null").fails(
        1,
        "bk-push: 'big' has no complete copy at 'nas'\n\
         bk-push: the copy of 'ü %41+?#&=' at 'nas' is bad: it is gone\n",
    );
    let ran = start.ok("bk-ls --without-copy nas | bk-push nas");
    assert_eq!(ran.records().len(), 2);
    check_all_copied(sandbox, "repaired");
    start.ok("bk-push --remove nas big");
    assert_eq!(sandbox.objects().len(), 3);

    // What cannot be reached is not gone.
    start.server.stop();
    for line in ["bk-push --check nas", "bk-push nas big"] {
        let ran = start.sandbox.run(line);
        assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
        assert!(ran.stderr.contains("cannot be reached"), "{ran:#?}");
    }
    assert_eq!(
        start.sandbox.copies(),
        ["big nas failed", "ü %41+?#&= nas complete"]
    );
}

/// What has no parts begins anew.
#[test]
#[ignore = "fifteen seconds: make test-long"]
fn a_copy_over_sftp_that_was_killed_is_made_anew() {
    let Some(start) = Start::with_big() else {
        return;
    };
    let sandbox = &start.sandbox;
    let ran = sandbox.run(
        "set -m; exec 2>/dev/null
         bk-push --limit-rate 12M nas big &
         for n in $(seq 3000); do ls place/web/archives 2>/dev/null | grep -q . && break; sleep 0.01; done
         kill -KILL $!; wait $!",
    );
    assert_eq!((ran.status, &*ran.stdout), (137, ""), "{ran:#?}");
    assert_eq!(sandbox.copies(), ["big nas copying"]);
    check_complete(sandbox, &sandbox.records(), "killed");
    assert_eq!(start.ok("bk-ls | bk-push nas").records().len(), 2);
    let records = sandbox.records();
    assert_eq!(check_complete(sandbox, &records, "made anew").len(), 6);
}
