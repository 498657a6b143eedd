//! `-n` of bk-create and bk-restore: it changes nothing, and tells what the run then does.

use crate::support::rich::rich;
use crate::support::{Sandbox, can_trace};
use serde_json::Value;

/// Every name, size and time below the sandbox, but of what a reader of the catalog may touch.
fn state(sandbox: &Sandbox) -> String {
    let listed =
        sandbox.ok("find . -path ./home/catalog.lock -prune -o -printf '%p %s %T@ %m\\n' | sort");
    format!("{}{:#?}", listed.stdout, sandbox.ledger())
}

/// Without what only one of both tells.
fn told(mut record: Value) -> Value {
    let mut restore = record["restore"].take();
    for key in ["seconds", "dry_run"] {
        restore.as_object_mut().unwrap().remove(key);
    }
    restore
}

#[test]
fn a_restoration_is_told_as_it_then_is() {
    let sandbox = rich();
    sandbox.ok("mkdir -p app/etc there/app; echo new >app/etc/new.conf; ln app/etc/new.conf app/etc/link; ln -s new.conf app/etc/soft
        bk-create --name b app; cp -r app kept; touch there/app/mine");
    for flags in [
        "-C out a",
        "-C out b -- app/etc",
        "-C out --path '*.conf' b",
        "-C out --strip-components 1 b",
        "-C there --into-existing b",
        "-C there --swap b",
        "--to-source b",
    ] {
        let before = state(&sandbox);
        let would = sandbox.run(&format!("bk-restore -n {flags}"));
        assert_eq!(state(&sandbox), before, "{flags}");
        let done = sandbox.run(&format!("bk-restore {flags}"));
        assert_eq!(
            (would.status, done.status),
            (0, 0),
            "{flags}: {would:#?} {done:#?}"
        );
        assert_eq!(told(would.record()), told(done.record()), "{flags}");
        sandbox.ok(
            "rm -rf out app app.before-* there there.before-*; cp -r kept app; mkdir -p there/app",
        );
    }
}

#[test]
fn a_restoration_that_would_fail_is_refused() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name lost app; rm home/archives/lost.tar.gz
        mkdir -p full there/app/config.toml over/app; touch full/x over/app/config.toml; echo file >plain");
    for flags in [
        "-C full a",
        "-C plain a",
        "-C there --into-existing a",
        "-C there --into-existing --overwrite a",
        "-C over --into-existing a",
        "-C out --max-size 1 a",
        "-C out a -- nosuch",
        "-C out lost",
        "-C nosuch/out a",
    ] {
        let would = sandbox.run(&format!("bk-restore -n {flags}"));
        let done = sandbox.run(&format!("bk-restore {flags}"));
        assert_eq!(
            (would.status, &*would.stdout),
            (1, ""),
            "{flags}: {would:#?}"
        );
        assert_eq!(would.stderr, done.stderr, "{flags}");
    }
    let nothing = sandbox.ok("bk-restore -n --strip-components 9 -C out a");
    let warning = "bk-restore: warning: --strip-components 9 leaves nothing of any name\n";
    assert_eq!(nothing.stderr, warning);
    sandbox.run("bk-restore -n --test a").fails(
        2,
        "bk-restore: --dry-run is for -C DIR and --to-source: --test and --stdout change no target\n",
    );
}

#[test]
fn a_backup_is_told_as_it_then_is() {
    let sandbox = Sandbox::with_app();
    // Not even a home.
    let first = sandbox.ok("bk-create -n app").record();
    assert_eq!(
        (&first["id"], &first["status"]),
        (&Value::Null, &"creating".into())
    );
    assert_eq!(first["dry_run"], true);
    sandbox.ok("! ls home");
    sandbox.ok("bk-create --name a app");
    let before = state(&sandbox);
    let lines = r#"printf '{"sources":["app"],"backup_name":"%s"}\n' x x a | bk-create -n - | jq -r .backup_name"#;
    let ran = sandbox.run(lines);
    assert_eq!(ran.stdout, "x\n");
    let taken = |name: &str| {
        let dir = sandbox.path("home/archives");
        let dir = dir.display();
        format!(
            "bk-create: cannot create '{name}': the name is taken, by a backup or by a file in '{dir}'\n"
        )
    };
    assert_eq!(ran.stderr, taken("x") + &taken("a"));
    for flags in [
        "--parent nosuch app",
        "--reserve 1000P app",
        "nowhere",
        "--storage app/config.toml/x app",
    ] {
        let would = sandbox.run(&format!("bk-create -n {flags}"));
        assert_eq!(
            (would.status, &*would.stdout),
            (1, ""),
            "{flags}: {would:#?}"
        );
    }
    let would = sandbox
        .ok("bk-create -n -t pre-upgrade -m k=1 -e 2099-01-01 --exclude '*.log' app")
        .record();
    assert_eq!(state(&sandbox), before);
    let done = sandbox
        .ok("bk-create -t pre-upgrade -m k=1 -e 2099-01-01 --exclude '*.log' app")
        .record();
    for key in [
        "backup_type",
        "source_version",
        "file_count",
        "compression_type",
        "expires_at",
        "protected",
    ] {
        assert_eq!(would[key], done[key], "{key}");
    }
    for key in ["sources", "host", "excludes", "k", "parent"] {
        assert_eq!(
            would["backup_metadata"][key], done["backup_metadata"][key],
            "{key}"
        );
    }
    if can_trace() {
        let line = "strace -f -qq -o trace -e trace=%file bk-create -n app >/dev/null; grep -c 'O_CREAT\\|unlink\\|rename\\|mkdir' trace; true";
        assert_eq!(
            sandbox.ok(line).stdout,
            "0\n",
            "{}",
            sandbox
                .ok("grep 'O_CREAT\\|unlink\\|rename\\|mkdir' trace; true")
                .stdout
        );
    }
}
