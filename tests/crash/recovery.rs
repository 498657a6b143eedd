//! What a dead program left is told from what a living one is doing, and tidied.

use crate::support::{KILLED, Sandbox, UNTIL_STOPPED, can_trace, has};

/// Status and failure of one backup.
fn fate(sandbox: &Sandbox, name: &str) -> (String, String) {
    let ran = sandbox.ok(&format!(
        "bk-ls --json | jq -r 'select(.backup_name == \"{name}\") | .status, .backup_metadata.failure'"
    ));
    let (status, failure) = ran.stdout.trim_end().split_once('\n').unwrap();
    (status.to_owned(), failure.to_owned())
}

/// A shell's lines that start a creation which takes seconds, and wait until it is in the
/// middle of its archive. With job control, as without it a shell's `&` turns SIGINT off.
const START_SLOW: &str = "set -m
    head -c 24M /dev/urandom >big
    bk-create --name slow --level 12 --jobs 1 big >slow.out 2>slow.err &
    until test -s home/archives/slow.tar.gz.partial || ! kill -0 $!; do sleep 0.01; done
    ";

#[test]
fn a_killed_creation_is_failed_by_the_next_writer() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    let ran = sandbox.run(&format!("{START_SLOW} kill -KILL $!; wait $!"));
    assert_eq!(ran.status, KILLED, "{ran:#?}");
    let left = sandbox.ok("cat slow.out slow.err; ls home/archives; bk-ls --json | jq -r .status");
    assert_eq!(left.stdout, "slow.tar.gz.partial\ncreating\n");

    sandbox.ok("bk-create --name next app");
    assert_eq!(sandbox.ok("ls home/archives").stdout, "next.tar.gz\n");
    let reason = "interrupted: its partial archive was removed";
    assert_eq!(
        fate(&sandbox, "slow"),
        ("failed".to_owned(), reason.to_owned())
    );
    let ledger = sandbox.ledger();
    assert_eq!(
        ledger,
        [
            format!("slow recover ok {reason}"),
            "next create ok".to_owned()
        ]
    );
}

#[test]
fn a_failed_creation_leaves_its_name_to_the_next() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.run(&format!("{START_SLOW} kill -KILL $!; wait $!"));
    let again = sandbox.ok("bk-create --name slow app");
    assert_eq!(again.stderr, "");
    assert_eq!(fate(&sandbox, "slow").0, "completed");
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn a_living_creation_is_left_alone_by_other_writers() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    let ran = sandbox.ok(&format!(
        "{START_SLOW} kill -STOP $!
         bk-create --name other app >other.out
         ls home/archives; bk-ls --json | jq -r '.backup_name + \" \" + .status'
         kill -CONT $!; wait -f $!"
    ));
    assert_eq!(
        ran.stdout,
        "other.tar.gz\nslow.tar.gz.partial\nslow creating\nother completed\n"
    );
    let checked = sandbox.ok(
        "cat slow.err; cat slow.out other.out | jq -r '.backup_hash + \"  \" + .backup_path' | sha256sum --check --quiet
         bk-ls --json | jq -r .status; ls home/archives",
    );
    let both = "completed\ncompleted\nother.tar.gz\nslow.tar.gz\n";
    assert_eq!(checked.stdout, both);
    assert!(
        !sandbox
            .ledger()
            .iter()
            .any(|event| event.contains("recover"))
    );
}

/// Between its row and its locked file a creation has nothing to be told alive by.
#[test]
fn a_creation_that_is_stopped_before_it_has_a_file_is_left_alone() {
    if !has("jq") {
        return;
    }
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name first app");
    let partial = sandbox.archive("slow").display().to_string() + ".partial";
    for call in ["openat", "flock"] {
        let ran = sandbox.run(&format!(
            "rm -f trace; strace -o trace -P {partial} -e trace={call} -e inject={call}:signal=SIGSTOP:when=1 \
                 bk-create --name slow app >slow.out 2>slow.err & strace=$!
             {UNTIL_STOPPED}
             bk-create --lock-timeout 300ms --name other-{call} app >/dev/null 2>other.err
             test $? = 0 -o $? = 75 || cat other.err
             kill -CONT $(cat /proc/$strace/task/$strace/children); wait $strace; cat slow.err
             jq -r '.backup_hash + \"  \" + .backup_path' slow.out | sha256sum --check --quiet"
        ));
        assert_eq!(
            (ran.status, &*ran.stdout, &*ran.stderr),
            (0, "", ""),
            "{ran:#?}"
        );
        assert_eq!(fate(&sandbox, "slow").0, "completed");
        sandbox.ok("mv home/archives/slow.tar.gz home/archives/slow.kept; rm -r home; bk-create --name first app");
    }
}

/// What came into the place of the archive while it was written is somebody's.
#[test]
fn no_archive_replaces_a_file() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name first app");
    let ran = sandbox.run(
        "{ until test -e home/archives/a.tar.gz.partial; do sleep 0.01; done; echo precious >home/archives/a.tar.gz; echo x; } |
         bk-create --name a --stdin-filename x",
    );
    let archive = sandbox.archive("a");
    ran.fails(
        1,
        &format!(
            "bk-create: cannot create 'a': cannot finish '{}': File exists\n",
            archive.display()
        ),
    );
    assert_eq!(
        sandbox
            .ok("cat home/archives/a.tar.gz; ls home/archives")
            .stdout,
        "precious\na.tar.gz\nfirst.tar.gz\n"
    );
    assert_eq!(sandbox.ok("bk-ls a").record()["status"], "failed");
}
