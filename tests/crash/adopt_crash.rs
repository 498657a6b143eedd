//! bk-adopt after crashes of others, and through its own: kills and failing calls by strace.

use crate::support::{Sandbox, UNTIL_STOPPED, can_trace, has, stride};
use serde_json::json;

/// The archives of a catalog that is lost, to begin from again and again.
fn lost() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("app/config.toml", "port = 8080\n");
    sandbox.ok("for n in 1 2 3; do bk-create --name b$n app; done");
    sandbox.ok("mkdir start; rm home/catalog.*; cp -a home start/");
    sandbox
}

#[test]
fn a_creation_that_died_before_it_was_recorded_is_completed() {
    if !has("jq") {
        return;
    }
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    let kill = "strace -f -o /dev/null -e trace=renameat2,fsync -e inject=renameat2:signal=SIGKILL";
    sandbox.ok("bk-create --name first app");
    // Killed as the rename returns: the archive has its name, the record is `creating`.
    sandbox.run(&format!(
        "{kill} bk-create --name dead -d 'a note' -m x=1 --protect app"
    ));
    if sandbox.archive("dead.tar.gz.partial").exists() || !sandbox.archive("dead").exists() {
        // The signal comes before the call where strace does it so: do what the call would have.
        sandbox.ok("mv home/archives/dead.tar.gz.partial home/archives/dead.tar.gz");
    }
    assert_eq!(
        sandbox.ok("bk-ls dead --json").record()["status"],
        "creating"
    );
    let would = sandbox.ok("bk-adopt -n");
    assert_eq!(would.actions(), ["would complete dead"]);
    assert_eq!(
        sandbox.ok("bk-ls dead --json").record()["status"],
        "creating"
    );
    let made = sandbox.ok("BK_HOME=home/../home bk-adopt").record();
    assert_eq!(made["adopt"]["action"], "completed");
    let record = sandbox.ok("bk-ls dead --json").record();
    assert_eq!(record["id"], 2);
    assert_eq!(record["status"], "completed");
    assert_eq!(record["protected"], true);
    assert!(record["backup_metadata"]["failure"].is_null());
    assert_eq!(record["backup_metadata"]["x"], 1);
    let first = sandbox.ok("bk-ls first --json").record();
    for key in ["file_count", "backup_size"] {
        assert!(record[key].is_number() && first[key].is_number());
    }
    assert_eq!(
        record["backup_metadata"]["content_bytes"],
        first["backup_metadata"]["content_bytes"]
    );
    sandbox.ok("bk-ls dead --json | jq -r '.backup_hash + \"  \" + .backup_path' | sha256sum -c");
    assert_eq!(
        sandbox.ledger()[1..],
        [
            "dead recover ok interrupted before it was recorded: the archive is whole",
            "dead adopt ok",
        ]
    );
    assert_eq!(sandbox.ok("bk-adopt").stdout, "");

    // The same once another program has failed it, and by its path.
    sandbox.run(&format!("{kill} bk-create --name late app"));
    sandbox.ok("test -e home/archives/late.tar.gz || mv home/archives/late.tar.gz.partial home/archives/late.tar.gz");
    sandbox.ok("bk-create --name other app");
    assert_eq!(sandbox.ok("bk-ls late --json").record()["status"], "failed");
    assert_eq!(
        sandbox.ok("bk-adopt home/archives/late.tar.gz").actions(),
        ["completed late"]
    );
}

#[test]
fn the_archive_of_a_backup_that_could_not_be_recorded_is_taken_in_as_told() {
    if !has("flock") {
        return;
    }
    let sandbox = Sandbox::with_app();
    let ran = sandbox.run(
        "head -c 24M /dev/urandom >big
         bk-create --name slow --level 12 --jobs 1 --lock-timeout 200ms big 2>err & pid=$!
         until test -s home/archives/slow.tar.gz.partial || ! kill -0 $pid; do sleep 0.01; done
         flock home/catalog.lock sh -c 'while test -d /proc/'$pid' && ! grep -q State:.Z /proc/'$pid'/status; do sleep 0.05; done'
         wait $pid; echo $?; cat err",
    );
    assert!(ran.stdout.starts_with("75\nbk-create: "), "{ran:#?}");
    let told = format!(
        "cannot record 'slow': its archive '{}' is whole, bk-adopt takes it into the catalog",
        sandbox.archive("slow").display()
    );
    assert!(ran.stdout.contains(&told), "{ran:#?}");
    assert_eq!(sandbox.ok("bk-adopt").actions(), ["completed slow"]);
}

#[test]
fn another_archive_at_the_path_of_a_failed_attempt_takes_its_place() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.run("strace -f --seccomp-bpf -o /dev/null -e trace=renameat2 -e inject=renameat2:error=ENOSPC bk-create --name x app");
    assert_eq!(sandbox.ok("bk-ls x --json").record()["status"], "failed");
    sandbox.ok("tar czf home/archives/x.tar.gz app/log");
    assert_eq!(sandbox.ok("bk-adopt").actions(), ["adopted x"]);
    let records = sandbox.records();
    assert_eq!(records.len(), 1, "no two records of one path");
    assert_eq!(
        (&records[0]["id"], &records[0]["status"]),
        (&json!(2), &json!("completed"))
    );
    assert_eq!(
        sandbox.ledger()[1..],
        [
            "x remove ok a failed attempt, replaced by the archive at its path",
            "x adopt ok",
        ]
    );
}

#[test]
fn killed_at_any_call_it_adopts_each_once_at_the_next_try() {
    if !can_trace() {
        return;
    }
    let sandbox = lost();
    let home = sandbox.home().display().to_string();
    let files = [
        "",
        "/catalog.lock",
        "/catalog.duckdb",
        "/catalog.duckdb.wal",
        "/catalog.duckdb.new",
    ];
    let paths: String = files.map(|file| format!("-P {home}{file} ")).concat();
    let mut kills = 0;
    for call in [
        "openat",
        "pwrite64",
        "fsync",
        "fdatasync",
        "ftruncate",
        "rename",
        "unlink",
    ] {
        for at in (1..).step_by(stride(97)) {
            let ran = sandbox.run(&format!(
                "rm -rf home && cp -a start/home . &&
                 exec strace -f -o /dev/null {paths} -e trace={call} -e inject={call}:signal=SIGKILL:when={at} bk-adopt"
            ));
            if ran.status == 0 {
                break;
            }
            assert_eq!(ran.status, 137, "{ran:#?}");
            kills += 1;
            // What was printed, if anything was, is there; the rest comes at the next try.
            let before = ran.records();
            let again = sandbox.ok("bk-adopt");
            assert_eq!(again.stderr, "");
            let names: Vec<_> = sandbox
                .records()
                .iter()
                .map(|it| it["backup_name"].clone())
                .collect();
            assert_eq!(names, ["b1", "b2", "b3"], "{call} {at}");
            assert!(before.is_empty() || again.stdout.is_empty());
            assert_eq!(sandbox.ledger().len(), 3, "{call} {at}");
        }
    }
    assert!(kills * stride(97) > 30, "{kills}");
}

#[test]
fn a_call_that_fails_is_told_and_nothing_is_half_done() {
    if !can_trace() {
        return;
    }
    let sandbox = lost();
    let archive = sandbox.archive("b2").display().to_string();
    let ran = sandbox.run(&format!(
        "strace -f --seccomp-bpf -o /dev/null -P {archive} -e trace=read -e inject=read:error=EIO bk-adopt --damaged"
    ));
    ran.fails(
        1,
        &format!("bk-adopt: cannot adopt '{archive}': it cannot be read to its end\n"),
    );
    assert_eq!(ran.actions(), ["adopted b1", "adopted b3"]);

    let home = sandbox.home().display().to_string();
    for call in ["pwrite64:ENOSPC", "fsync:EIO", "rename:EIO"] {
        let (name, error) = call.split_once(':').unwrap();
        let ran = sandbox.run(&format!(
            "rm -rf home && cp -a start/home . &&
             strace -f --seccomp-bpf -o /dev/null -P {home}/catalog.duckdb.new -e trace={name} -e inject={name}:error={error} bk-adopt"
        ));
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
        assert!(
            ran.stderr
                .starts_with("bk-adopt: cannot make the catalog in "),
            "{ran:#?}"
        );
        assert_eq!(sandbox.ok("bk-adopt").actions().len(), 3);
    }
}

#[test]
fn an_archive_that_changes_while_it_is_read_is_not_adopted() {
    if !can_trace() {
        return;
    }
    let sandbox = lost();
    let archive = sandbox.archive("b2").display().to_string();
    for change in [
        format!("echo more >>{archive}"),
        format!("touch {archive}"),
        format!("cp {archive} other; mv other {archive}"),
    ] {
        let ran = sandbox.run(&format!(
            "rm -rf home && cp -a start/home . && rm -f trace
             strace -f -o trace -P {archive} -e trace=read -e inject=read:signal=SIGSTOP:when=1 bk-adopt & strace=$!
             {UNTIL_STOPPED}
             {change}
             kill -CONT $(cat /proc/$strace/task/$strace/children); wait $strace"
        ));
        ran.fails(
            1,
            &format!("bk-adopt: cannot adopt '{archive}': it changed while it was read\n"),
        );
        assert_eq!(ran.actions(), ["adopted b1", "adopted b3"], "{change}");
    }
}

#[test]
fn it_reads_archives_alone_and_connects_to_nothing() {
    if !can_trace() {
        return;
    }
    let sandbox = lost();
    sandbox.ok("strace -f --seccomp-bpf -o trace -e trace=network,openat,rename,renameat2,unlink,chmod,utimensat bk-adopt");
    sandbox.ok("test -s trace && ! grep -E 'socket|connect|sendto' trace");
    let opened = sandbox.ok("grep 'tar[.]gz' trace").stdout;
    assert!(opened.lines().count() >= 3, "{opened}");
    for line in opened.lines() {
        assert!(
            line.contains("openat(") && line.contains("O_RDONLY"),
            "{line}"
        );
    }
    // The catalog is closed while archives are open: none of its files is opened in between.
    let trace = sandbox
        .ok("grep -oE 'b[123][.]tar[.]gz|catalog[.]duckdb' trace | uniq")
        .stdout;
    assert_eq!(
        trace.lines().take(4).collect::<Vec<_>>(),
        ["b1.tar.gz", "b2.tar.gz", "b3.tar.gz", "catalog.duckdb"],
        "{trace}"
    );
}
