//! Nights in which something of the sources cannot be read: it is in the ledger, bk-df tells it,
//! and the last backup that has it stays.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Ran, Sandbox};
use serde_json::json;

/// As somebody without rights, who may read all but what is closed; `None` where we are nobody.
fn nobody(sandbox: &Sandbox) -> Option<impl Fn(&str) -> Ran> {
    if !sandbox
        .run("setpriv --reuid 65534 --regid 65534 --clear-groups true")
        .stderr
        .is_empty()
    {
        println!("skipped: needs root and setpriv");
        return None;
    }
    sandbox.ok("mkdir home; chown -R 65534 home app; chmod -R go+rX app");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(sandbox.path(""), mode).unwrap();
    Some(move |line: &str| {
        sandbox.run(&format!(
            "setpriv --reuid 65534 --regid 65534 --clear-groups bash -c '{line}'"
        ))
    })
}

#[test]
fn the_last_backup_that_lacks_nothing_stays() {
    let sandbox = Sandbox::with_app();
    let Some(nobody) = nobody(&sandbox) else {
        return;
    };
    let ok = |line: &str| {
        let ran = nobody(line);
        assert_eq!(ran.status, 0, "{ran:#?}");
        ran
    };
    ok("bk-auto --set a -s @daily -r 2 --shrink-warn 0 -- app; bk-auto --now a");
    let age = "UPDATE backup_records SET created_at = created_at - INTERVAL 5 DAY";
    sandbox.sql(age);
    sandbox.ok("chown 0 app/data; chmod 700 app/data");
    for _ in 0..3 {
        let ran = ok("bk-auto --now a");
        assert!(
            ran.stderr.starts_with("bk-create: cannot read '"),
            "{ran:#?}"
        );
        sandbox.sql(age);
    }
    let last = sandbox.ok("bk-log --event auto").records().pop().unwrap();
    assert_eq!(
        last["details"]["warning"],
        "1 place of the sources could not be read"
    );
    let created = sandbox.ok("bk-log --event create").records().pop().unwrap();
    let unread = &created["details"]["unread"];
    assert_eq!(unread[0]["path"], json!(sandbox.path("app/data")));
    assert_eq!(unread.as_array().unwrap().len(), 1);
    // The first one, and the newest; all are older than two days.
    let ids = |ran: Ran| {
        ran.records()
            .iter()
            .map(|it| it["id"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(ok("bk-ls")), [1, 4]);
    for rules in [
        "--keep-last 1",
        "--keep-daily 1",
        "--older-than 1d",
        "--max-count 1",
    ] {
        assert_eq!(
            ids(ok(&format!("bk-prune -n {rules} 2>/dev/null"))),
            [0; 0],
            "{rules}"
        );
    }
    let told = ok("bk-prune --explain --keep-last 1").records();
    assert_eq!(
        told[0]["decision"]["reasons"],
        json!(["newest that lacks nothing"])
    );
    assert_eq!(ids(ok("bk-prune -n --keep-last 1 --allow-empty")), [1]);

    let alarm = "failure: problems>0: incomplete source paths in the newest backups: 1\n";
    let ran = nobody("bk-df --fail problems\\>0 --warn problems\\>1");
    assert_eq!((ran.status, ran.stderr), (4, format!("bk-df: {alarm}")));
    // As soon as all is read again, it is over.
    sandbox.ok("chown 65534 app/data");
    ok("bk-auto --now a");
    assert_eq!(ids(ok("bk-ls")), [5]);
    assert_eq!(ok("bk-df --fail problems\\>0").stderr, "");
}

/// As where what is backed up is not mounted.
#[test]
fn the_last_backup_that_has_files_stays() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s @daily -r 2 --shrink-warn 0 -- app; bk-auto --now a; mv app full; mkdir app");
    sandbox.sql("UPDATE backup_records SET created_at = created_at - INTERVAL 5 DAY");
    sandbox.ok("bk-auto --now a a");
    let counts: Vec<_> = sandbox
        .records()
        .iter()
        .map(|it| it["file_count"].clone())
        .collect();
    assert_eq!(counts, [6, 0, 0]);
    let told = sandbox.ok("bk-prune --explain --keep-last 1").records();
    let actions: Vec<_> = told
        .iter()
        .map(|it| it["decision"]["action"].clone())
        .collect();
    assert_eq!(actions, ["keep", "remove", "keep"]);
}

#[test]
fn sockets_and_files_that_change_are_no_losses() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"app/s\")'");
    let made = sandbox.ok("bk-create app").record();
    assert_eq!(made["backup_metadata"]["problem_count"], 1);
    let (total, _) = sandbox.ok("bk-df --fail 'problems>0'").file_systems();
    assert_eq!(total["problem_count"], 0);
}
