//! bk-push by rclone: to a remote that tells no checksums and times, and while rclone itself hangs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::Sandbox;
use crate::support::poor::Poor;
use crate::support::pushed::{PLACE, check_all_copied};

/// An rclone that does what it is asked, and finds nothing; at some of that it hangs, once bk-push has a signal.
const HANGING: &str = "#!/bin/sh
case $1 in
$HANGS) echo $$ >>hung; kill -TERM $PPID; exec sleep 600 ;;
lsjson) exit 3 ;;
esac
";

/// By its size and its times, a damaged object would pass for the one that is to replace it.
#[test]
fn a_damaged_object_is_replaced_where_there_are_no_times() {
    let sandbox = Sandbox::with_app();
    fs::create_dir(sandbox.path(PLACE)).unwrap();
    let Some(server) = Poor::webdav(&sandbox.path(PLACE)) else {
        return;
    };
    let url = server.endpoint();
    let config = format!("[dav]\ntype = webdav\nurl = {url}\nvendor = other\n");
    let config = sandbox.write("rclone.conf", &config);
    fs::set_permissions(config, PermissionsExt::from_mode(0o600)).unwrap();
    sandbox.ok("BK_HOST=web bk-create --name a app
         bk-push --set --init --credentials rclone.conf dav rclone:dav:; bk-push dav a");
    check_all_copied(&sandbox, "copied");
    let object = sandbox.object("a");
    sandbox.flip(&object, 2000);
    sandbox.run("bk-push --check --read 100% dav >/dev/null").fails(
        1,
        "bk-push: the copy of 'a' at 'dav' is bad: it has another SHA-256 than it should have\n",
    );
    let ran = sandbox.ok("bk-push dav a");
    assert_eq!((ran.records().len(), &*ran.stderr), (1, ""), "{ran:#?}");
    check_all_copied(&sandbox, "repaired");
}

/// Also one that takes no more of what it is sent, one that has yet to tell what it found, and one that is to remove
/// what the first has left.
#[test]
fn a_signal_ends_bk_push_and_an_rclone_that_hangs() {
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "head -c 1M /dev/urandom >big; bk-create --name small app/log; bk-create --name big big
         bk-push --set nas rclone:nas:x; mkdir bin",
    );
    for (hangs, backup) in [
        ("rcat | deletefile", "small"),
        ("rcat", "big"),
        ("lsjson", "small"),
    ] {
        let rclone = sandbox.write("bin/rclone", &HANGING.replace("$HANGS", hangs));
        fs::set_permissions(rclone, PermissionsExt::from_mode(0o700)).unwrap();
        let ran = sandbox.run(&format!(
            "PATH=$PWD/bin:$PATH timeout --foreground -s KILL 20 bk-push nas {backup}"
        ));
        assert_eq!((ran.status, &*ran.stdout), (143, ""), "{hangs}: {ran:#?}");
        sandbox.ok("for id in $(cat hung); do ! kill -0 $id || exit; done; rm hung");
    }
}
