//! Closed to others: what bk makes is its user's alone, whatever the umask; and a home or a storage
//! that others may write to is told of.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Sandbox, can_trace, has};

/// Everything below with a mode that lets others in.
fn open_to_others(sandbox: &Sandbox, dirs: &str) -> String {
    sandbox
        .ok(&format!(
            "find {dirs} -mindepth 1 -perm /077 -printf '%p %m\\n'"
        ))
        .stdout
}

#[test]
fn all_that_is_made_is_closed_whatever_the_umask() {
    for mask in ["000", "022", "077"] {
        let sandbox = Sandbox::with_app();
        sandbox.ok(&format!(
            "umask {mask}; mkdir -m 755 home; bk-create --name a app >/dev/null; bk-create --storage new/store --name b app >/dev/null; bk-mv a moved/here >/dev/null
             bk-auto --set j -s '0 3 * * *' --enable -- $PWD/app >/dev/null; bk-auto --now j >/dev/null; bk-verify --all >/dev/null; bk-rm b >/dev/null; bk-adopt >/dev/null"
        ));
        assert_eq!(open_to_others(&sandbox, "home new moved"), "", "{mask}");
        assert_eq!(sandbox.ok("stat -c %a new moved").stdout, "700\n700\n");
    }
}

/// Also the WAL, while it is there.
#[test]
fn the_wal_of_a_killed_program_is_closed() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    let wal = sandbox.home().join("catalog.duckdb.wal");
    sandbox.ok("umask 0; bk-create --name a app >/dev/null");
    let ran = sandbox.run(&format!(
        "umask 0; exec strace -f -qq -o /dev/null -P {0} -e trace=unlink,unlinkat -e inject=unlink,unlinkat:signal=SIGKILL bk-set --description x a",
        wal.display()
    ));
    if ran.status == 0 {
        println!("skipped: DuckDB removes its WAL otherwise");
        return;
    }
    sandbox.ok("test -e home/catalog.duckdb.wal");
    assert_eq!(open_to_others(&sandbox, "home"), "");
}

#[test]
fn what_was_open_is_closed_at_the_next_write() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; chmod 644 home/catalog.duckdb; bk-set --description x a");
    assert_eq!(open_to_others(&sandbox, "home"), "");
}

/// What is restored, and what hooks make, is as the user's umask has it.
#[test]
fn the_umask_of_the_user_is_for_the_users_own() {
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "umask 022; chmod 755 app; bk-create --name a app >/dev/null; bk-restore -C out a >/dev/null",
    );
    assert_eq!(sandbox.ok("stat -c %a out/app").stdout, "755\n");
    sandbox.ok("umask 027; bk-auto --set j -s '0 3 * * *' --before 'umask >before' --after 'umask >after' --enable -- $PWD/app >/dev/null; bk-auto --now j >/dev/null");
    assert_eq!(sandbox.ok("cat before after").stdout, "0027\n0027\n");
}

/// A program that writes; what is asked of it is done all the same.
const WRITERS: [(&str, &str); 8] = [
    ("bk-create", "bk-create --name b app"),
    ("bk-set", "bk-set --description x a"),
    ("bk-verify", "bk-verify a"),
    ("bk-restore", "bk-restore --test a"),
    ("bk-mv", "bk-mv a elsewhere"),
    ("bk-adopt", "bk-adopt own.tar.gz"),
    ("bk-prune", "bk-prune --expired"),
    ("bk-rm", "bk-rm b"),
];

#[test]
fn a_home_that_others_may_write_to_is_told_by_every_program_that_writes() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("tar czf own.tar.gz app/log; bk-create --name a app >/dev/null; chmod 777 home");
    sandbox.sql("UPDATE backup_records SET expires_at = TIMESTAMP '2020-01-01' WHERE id = 1");
    let home = sandbox.home();
    let home = home.display();
    for (program, line) in WRITERS {
        let ran = sandbox.run(line);
        let told = format!(
            "{program}: warning: the home '{home}' may be written to by others (mode 777): chmod go-w closes it\n"
        );
        assert_eq!(
            (ran.status, ran.stderr.matches(told.as_str()).count()),
            (0, 1),
            "{ran:#?}"
        );
    }
    let jobs = "bk-auto --set j -s '0 3 * * *' --enable -- $PWD/app";
    assert_eq!(sandbox.ok(jobs).stderr.lines().count(), 1);
    for line in ["bk-auto", "bk-auto --now j", "timeout 5 bk-auto --wait"] {
        sandbox.run(line).fails(1, &format!(
            "bk-auto: cannot run jobs, whose commands stand in the home: '{home}' may be written to by others (mode 777): chmod go-w closes it\n"
        ));
    }
    sandbox.ok("chmod 770 home");
    let ran = sandbox.ok("bk-create --name last app");
    assert!(
        ran.stderr
            .contains("may be written to by its group (mode 770)"),
        "{ran:#?}"
    );
    // Where only the owner of a file may replace it.
    sandbox.ok("chmod 1777 home");
    assert_eq!(
        sandbox
            .ok("bk-create --name sticky app; bk-auto --now j")
            .stderr,
        ""
    );
}

#[test]
fn a_storage_that_others_may_write_to_is_told() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("mkdir -m 777 store; bk-create --name first app >/dev/null");
    let store = sandbox.path("store");
    let told = |program: &str| {
        format!(
            "{program}: warning: the storage '{}' may be written to by others (mode 777): chmod go-w closes it\n",
            store.display()
        )
    };
    for (program, line) in [
        ("bk-create", "bk-create --storage $PWD/store --name a app"),
        ("bk-mv", "bk-mv first store"),
        ("bk-verify", "bk-verify a"),
        ("bk-rm", "bk-rm a"),
    ] {
        let ran = sandbox.ok(line);
        assert_eq!(ran.stderr, told(program), "{line}");
    }
    // A reader changes nothing that others could have changed before.
    assert_eq!(sandbox.ok("bk-ls").stderr, "");
}

#[test]
fn root_is_told_of_a_home_that_is_another_users() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app >/dev/null");
    if !has("chown") || sandbox.run("chown 65534 home").status != 0 {
        println!("skipped: only root gives files to others");
        return;
    }
    let home = sandbox.home();
    let exposed = format!(
        "'{}' belongs to the user 65534, who may change what root relies on: give it to root with chown\n",
        home.display()
    );
    let ran = sandbox.ok("bk-set --description x a");
    assert_eq!(ran.stderr, format!("bk-set: warning: the home {exposed}"));
    sandbox.run("bk-auto").fails(
        1,
        &format!("bk-auto: cannot run jobs, whose commands stand in the home: {exposed}"),
    );
    let mode = fs::metadata(sandbox.home()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn no_job_runs_whose_storage_others_may_write_to() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("mkdir -m 777 open; mkdir -m 700 shut
                for n in a b c; do bk-auto --set $n -s '0 3 * * *' --before 'touch ran-$BK_JOB' --enable -- $PWD/app; done >/dev/null
                bk-auto --set b --create-flag=--storage=$PWD/open >/dev/null
                bk-auto --set c --create-flag=--storage=$PWD/open --create-flag=--storage=$PWD/shut >/dev/null");
    let open = sandbox.path("open");
    let exposed = |dir: &std::path::Path, how: &str| {
        format!(
            "its storage '{}' may be written to by {how}: chmod go-w closes it",
            dir.display()
        )
    };
    let told = exposed(&open, "others (mode 777)");
    let ran = sandbox.run("bk-auto --now a b c");
    assert_eq!((ran.status, ran.records().len()), (1, 2), "{ran:#?}");
    assert_eq!(ran.stderr, format!("bk-auto: the job 'b' failed: {told}\n"));
    sandbox.ok("test -e ran-a; test ! -e ran-b; test -e ran-c; test -z \"$(ls -A open)\"");
    assert!(
        sandbox.ledger().contains(&format!("auto failed {told}")),
        "{:#?}",
        sandbox.ledger()
    );
    let archives = sandbox.home().join("archives");
    sandbox.ok("chmod 770 home/archives; chmod 1777 open");
    let ran = sandbox.run("bk-auto --now a b c");
    assert_eq!((ran.status, ran.records().len()), (1, 2), "{ran:#?}");
    let told = exposed(&archives, "its group (mode 770)");
    assert_eq!(ran.stderr, format!("bk-auto: the job 'a' failed: {told}\n"));
    sandbox.ok("chmod go-w home/archives; bk-auto --now a");
    if sandbox.run("chown 65534 home/archives").status == 0 {
        let ran = sandbox.run("bk-auto --now a");
        ran.fails(1, &format!(
            "bk-auto: the job 'a' failed: its storage '{}' belongs to the user 65534, who may change what root relies on: give it to root with chown\n",
            archives.display()
        ));
    }
}
