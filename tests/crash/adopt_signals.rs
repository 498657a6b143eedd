//! bk-adopt that is stopped: what was read by then is recorded and told. And what an archive tells
//! of itself that is not its to tell.

use std::fs;

use crate::support::{Sandbox, UNTIL_STOPPED, as_born, can_trace, has};
use serde_json::{Value, json};

/// The archives of a catalog that is lost.
fn lost(count: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("app/config.toml", "port = 8080\n");
    sandbox.ok(&format!(
        "for n in $(seq {count}); do bk-create --name b$n app; done; rm home/catalog.*"
    ));
    sandbox
}

#[test]
fn a_signal_ends_it_once_what_was_read_is_recorded() {
    if !can_trace() {
        return;
    }
    for flags in ["", "--relink home"] {
        let sandbox = lost(4);
        if !flags.is_empty() {
            sandbox.ok("bk-adopt >/dev/null; cd home/archives; for n in 1 2 3 4; do mv b$n.tar.gz new$n.tar.gz; done");
        }
        let third = fs::read_dir(sandbox.home().join("archives")).unwrap();
        let third = third.map(|it| it.unwrap().path());
        let third = third
            .into_iter()
            .find(|it| it.ends_with("b3.tar.gz") || it.ends_with("new3.tar.gz"));
        let third = third.unwrap().display().to_string();
        // One thread makes the call, and stops once.
        let call = if flags.is_empty() { "read" } else { "pread64" };
        let ran = sandbox.run(&format!(
            "strace -f -o trace -P {third} -e trace={call} -e inject={call}:signal=SIGSTOP:when=1 bk-adopt {flags} >out 2>err & strace=$!
             {UNTIL_STOPPED}
             bk=$(cat /proc/$strace/task/$strace/children); kill -TERM $bk; kill -CONT $bk; wait $strace; echo $?; cat err"
        ));
        assert_eq!(ran.stdout, "143\n", "{flags} {ran:#?}");
        let told = sandbox.ok("cat out").actions();
        let word = if flags.is_empty() {
            "adopted"
        } else {
            "relinked"
        };
        assert_eq!(
            told,
            [format!("{word} b1"), format!("{word} b2")],
            "{ran:#?}"
        );
        let there = sandbox.ok("bk-ls --available").records();
        assert_eq!(there.len(), 2, "{ran:#?}");
        // It goes on where it was.
        let ran = sandbox.ok(&format!("bk-adopt {flags}"));
        assert_eq!(ran.actions(), [format!("{word} b3"), format!("{word} b4")]);
        assert_eq!(sandbox.records().len(), 4);
    }
}

/// Each archive takes a while: what was read is not kept for the end.
#[test]
fn what_was_read_is_recorded_every_few_seconds() {
    if !can_trace() {
        return;
    }
    let sandbox = lost(5);
    let paths: String = (1..=5)
        .map(|n| format!("-P {} ", sandbox.archive(&format!("b{n}")).display()))
        .collect();
    let ran = sandbox.run(&format!(
        "strace -f --seccomp-bpf -o /dev/null {paths} -e trace=openat -e inject=openat:delay_enter=800000 bk-adopt >out & pid=$!
         until test -s out; do sleep 0.1; done; wc -l <out; wait $pid; wc -l <out"
    ));
    let counts: Vec<_> = ran.stdout.lines().collect();
    assert!(counts[0] < counts[1] && counts[1] == "5", "{ran:#?}");
}

/// An archive of another machine, with the metadata that somebody wanted it to have.
#[test]
fn an_adopted_archive_does_not_steer_bk() {
    if !has("python3") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.write("elsewhere/secret.tar.gz", "not yours\n");
    let there = sandbox
        .path("elsewhere/secret.tar.gz")
        .display()
        .to_string();
    let metadata = json!({
        "sources": ["/srv/app"], "source_entries": ["srv/app"], "host": "other", "excludes": [7],
        "sources_base64": "x", "job": {"a": 1}, "moving": {"to": there}, "failure": "x",
        "damaged": "x", "problems": [{"kind": 1}], "problem_count": 1, "content_bytes": 9,
        "last_verified": {"at": "2099-01-01T00:00:00Z", "level": "deep", "ok": true},
        "last_checks": {"deep": "2099-01-01T00:00:00Z"}, "last_restored_test": {"ok": true},
        "note": {"moving": true}
    });
    let comment = json!({
        "backup_name": "x", "backup_type": "manual", "source_version": null, "description": null,
        "backup_metadata": metadata, "protected": false, "created_at": "2026-01-01T00:00:00Z",
        "expires_at": null, "program": "x",
    });
    sandbox.write("comment", &comment.to_string());
    sandbox.ok("python3 -c \"
import tarfile
with tarfile.open('x.tar.gz', 'w:gz', pax_headers={'comment': open('comment').read()}) as t:
    t.addfile(tarfile.TarInfo('f'))\"; bk-adopt x.tar.gz; rm x.tar.gz");
    let record = as_born(sandbox.ok("bk-ls --json x").records()).remove(0);
    assert_eq!(
        record["backup_metadata"],
        json!({
            "sources": ["/srv/app"], "source_entries": ["srv/app"], "host": "other",
            "note": {"moving": true}, "content_bytes": 0
        })
    );
    // One that an earlier version took over has no meaning either.
    sandbox.sql(&format!(
        "UPDATE backup_records SET backup_metadata = '{{\"moving\":{{\"to\":\"{there}\"}}}}'"
    ));
    let ran = sandbox.run("bk-verify x");
    assert_eq!(ran.record()["verify"]["problems"][0]["code"], "missing");
    let ran = sandbox.run("bk-ls --files x");
    assert!(ran.stderr.contains("is missing"), "{ran:#?}");
    assert_eq!(
        sandbox.ok("bk-ls --json x").record()["file_status"],
        "missing"
    );
    sandbox.ok("bk-rm x");
    assert!(sandbox.path("elsewhere/secret.tar.gz").exists());
    assert_eq!(
        Value::Null,
        sandbox.records().first().cloned().unwrap_or_default()
    );
}
