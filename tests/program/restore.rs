//! bk-restore: what went in comes back, where it is asked to and nowhere else.

use crate::support::rich::{assert_same, rich};
use crate::support::{Sandbox, has};
use serde_json::Value;

/// A sandbox with `app/` and its backup `a`, made with `-C` where it is.
fn with_backup() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    sandbox
}

/// All names below a directory.
fn names(sandbox: &Sandbox, dir: &str) -> String {
    sandbox.ok(&format!("cd {dir} && find . | sort")).stdout
}

/// Nothing is left of any stage.
fn assert_tidy(sandbox: &Sandbox) {
    let left = sandbox.ok("find . -name '.bk-restore-*'").stdout;
    assert_eq!(left, "");
}

fn sandbox_dir(sandbox: &Sandbox) -> String {
    let dir = sandbox.path("").canonicalize().unwrap();
    dir.to_str().unwrap().to_owned()
}

#[test]
fn a_difficult_tree_comes_back_in_everything() {
    let sandbox = rich();
    let is_root = rustix::process::geteuid().is_root();
    let devices = if is_root { "--devices" } else { "" };
    let ran = sandbox.ok(&format!("bk-restore {devices} -C out a"));
    assert_eq!(ran.stderr, "");
    assert_same(&sandbox, "facts", "rich", "out/rich");
    assert_same(&sandbox, "attributes", "rich", "out/rich");
    let kib = sandbox.ok("du -sk rich out/rich | cut -f 1").stdout;
    let kib: Vec<u64> = kib.lines().map(|line| line.parse().unwrap()).collect();
    assert!(kib[1] < kib[0] + 1024, "holes are filled: {kib:?} KiB");
    let restore = &ran.record()["restore"];
    let listed = sandbox.ok("bk-ls --files a").records();
    assert_eq!(restore["entries"], listed.len());
    assert_eq!(restore["skipped"], 0);
    assert_tidy(&sandbox);
}

#[test]
fn a_difficult_tree_passes_its_own_test() {
    let sandbox = rich();
    sandbox.ok("mkdir scratch");
    let ran = sandbox.run("bk-restore --test -C scratch a");
    assert_eq!(ran.status, 0, "{ran:#?}");
    let record = ran.record();
    assert_eq!(record["backup_metadata"]["last_restored_test"]["ok"], true);
    assert_eq!(record["restore"]["test"], true);
    assert_eq!(names(&sandbox, "scratch"), ".\n");
}

/// As a user who is not root, of a tree that root made.
#[test]
fn a_user_gets_the_content_and_what_is_his_to_have() {
    if !has("setpriv") || !rustix::process::geteuid().is_root() {
        println!("skipped: this takes root and setpriv");
        return;
    }
    let sandbox = rich();
    let dir = sandbox_dir(&sandbox);
    sandbox.ok(&format!(
        "chown -R 65534:65534 home && chmod 755 {dir} && mkdir mine && chown 65534:65534 mine"
    ));
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let ran = sandbox.run(&format!("{user} bk-restore -C mine/out a"));
    assert_eq!(ran.status, 0, "{ran:#?}");
    let skipped = ran.record()["restore"]["skipped_entries"].clone();
    let has = |path: &str, reason: &str| {
        let is_it =
            |it: &Value| it["path"] == path && it["reason"].as_str().unwrap().contains(reason);
        assert!(
            skipped.as_array().unwrap().iter().any(is_it),
            "{path}: {skipped:#}"
        );
    };
    has("rich/root/null", "--devices");
    has("rich/root/suid", "setuid");
    has("rich/root/owned", "'security.capability'");
    let content = "content() (cd $1; find . -path ./root/null -o -path ./root/disk -o -type s -o -printf '%p %y %T@ %l\\n' | sort
        find . -type f -print0 | sort -z | xargs -0 sha256sum)
        diff -a <(content rich) <(content mine/out/rich)";
    let ran = sandbox.run(content);
    assert_eq!((ran.status, &*ran.stdout), (0, ""), "{ran:#?}");
    let odd = sandbox
        .ok("find mine/out -perm /6000; find mine/out ! -user 65534")
        .stdout;
    assert_eq!(odd, "");
    let tested = sandbox.run(&format!("{user} bk-restore --test -C mine a"));
    assert_eq!(tested.status, 0, "{tested:#?}");
    sandbox.ok(&format!("{user} bk-restore --swap -C mine/out a"));
    assert_tidy(&sandbox);
}

#[test]
fn archives_of_gnu_tar_come_back_in_every_format() {
    let sandbox = rich();
    for format in ["pax", "gnu"] {
        let xattrs = if format == "pax" {
            "--xattrs --xattrs-include='*'"
        } else {
            ""
        };
        sandbox.run(&format!(
            "rm home/archives/a.tar.gz; rm -f rich/pipe-again; touch -d @1000000000 rich; tar --format={format} --sparse {xattrs} -czf home/archives/a.tar.gz rich"
        ));
        sandbox.accept_archive();
        let devices = if rustix::process::geteuid().is_root() {
            "--devices"
        } else {
            ""
        };
        let ran = sandbox.ok(&format!("rm -rf out; bk-restore {devices} -C out a"));
        assert_eq!(ran.stderr, "");
        if format == "pax" {
            assert_same(&sandbox, "facts", "rich", "out/rich");
            assert_same(&sandbox, "attributes", "rich", "out/rich");
        } else {
            let content = "content() (cd $1; find . ! -type s -printf '%p %M %U:%G %l\\n' | sort
                find . -type f -print0 | sort -z | xargs -0 sha256sum)
                diff -a <(content rich) <(content out/rich)";
            // Without extended attributes ACLs are lost, and they show in the mode.
            let ran = sandbox.run(content);
            assert_eq!((ran.status, &*ran.stdout), (0, ""), "{ran:#?}");
        }
    }
}

#[test]
fn some_paths_come_back_by_name_by_glob_and_without_their_first_parts() {
    if !has("jq") {
        return;
    }
    let sandbox = with_backup();
    for (flags, expected) in [
        (
            "-C out a -- app/config.toml",
            ".\n./app\n./app/config.toml\n",
        ),
        (
            "-C out a -- /app/log/",
            ".\n./app\n./app/log\n./app/log/app.log\n",
        ),
        (
            "-C out --path '*.log' a",
            ".\n./app\n./app/data\n./app/data/old.log\n./app/log\n./app/log/app.log\n",
        ),
        (
            "-C out --path 'app/*/*.db' a",
            ".\n./app\n./app/data\n./app/data/orders.db\n",
        ),
        (
            "-C out --strip-components 2 a -- app/log app/cache",
            ".\n./CACHEDIR.TAG\n./app.log\n./page\n",
        ),
    ] {
        sandbox.ok(&format!("rm -rf out; bk-restore {flags}"));
        assert_eq!(names(&sandbox, "out"), expected, "{flags}");
    }
    sandbox.ok(
        "rm -rf out; echo '{\"id\":1,\"note\":7}' | bk-restore -C out - -- app/log | jq -e .note",
    );
    let ran = sandbox.run("rm -rf out; bk-restore -C out a -- app/log app/nothing");
    ran.fails(
        1,
        "bk-restore: cannot restore 'a': the backup holds no 'app/nothing': 'bk-ls --files' lists what it holds\n",
    );
    let ran = sandbox.run("bk-restore -C out a --path '*.x'");
    ran.fails(
        1,
        "bk-restore: cannot restore 'a': the backup holds nothing that is selected: 'bk-ls --files' lists what it holds\n",
    );
    assert!(!sandbox.path("out").exists());
    assert_tidy(&sandbox);
}

/// A file whose first name is not asked for has its content under that one.
#[test]
fn a_hard_link_comes_back_with_its_content_though_its_first_name_does_not() {
    let sandbox = Sandbox::new();
    sandbox.write("app/a", "content\n");
    sandbox.ok("mkdir app/d; ln app/a app/d/b; ln app/a app/d/c; ln -s x app/l; ln app/l app/d/m; bk-create --name a app");
    sandbox.ok("bk-restore -C out a -- app/d");
    let told = sandbox
        .ok("cat out/app/d/b; stat -c '%h %F' out/app/d/b out/app/d/m; readlink out/app/d/m");
    assert_eq!(told.stdout, "content\n2 regular file\n1 symbolic link\nx\n");
    assert_eq!(
        sandbox.ok("bk-restore --stdout app/d/c a").stdout,
        "content\n"
    );
}

#[test]
fn one_file_is_printed_and_nothing_else() {
    let sandbox = with_backup();
    let ran = sandbox.ok("bk-restore --stdout /app/config.toml a");
    assert_eq!((&*ran.stdout, &*ran.stderr), ("port = 8080\n", ""));
    sandbox.ok("truncate -s 3M app/hole; printf data >>app/hole; truncate -s 5M app/hole; bk-create --name b app
        bk-restore --stdout app/hole b | cmp - app/hole; bk-restore --stdout app/hole b | head -c 1 >/dev/null");
    for (path, reason) in [
        ("app/nothing", "the backup holds no 'app/nothing'"),
        ("app", "it is a directory"),
        ("../x", "the name '../x' contains '..'"),
    ] {
        let ran = sandbox.run(&format!("bk-restore --stdout {path} a"));
        ran.fails(1, &format!("bk-restore: cannot restore 'a': {reason}\n"));
    }
}

#[test]
fn a_target_is_made_or_empty_or_meant() {
    let sandbox = with_backup();
    let dir = sandbox_dir(&sandbox);
    sandbox.ok("mkdir -m 710 empty; bk-restore -C empty a; diff -r app empty/app");
    assert_eq!(sandbox.ok("stat -c %a empty").stdout, "710\n");
    let ran = sandbox.run("bk-restore -C empty a");
    ran.fails(1, &format!("bk-restore: cannot restore 'a': '{dir}/empty' is not empty: name an empty or a new directory, or give --into-existing or --swap\n"));
    let ran = sandbox.run("bk-restore -C no/where a");
    ran.fails(1, &format!("bk-restore: cannot restore 'a': cannot restore to 'no/where': '{dir}/no': No such file or directory\n"));
    let ran = sandbox.run("bk-restore -C app/config.toml a");
    ran.fails(
        1,
        &format!("bk-restore: cannot restore 'a': '{dir}/app/config.toml' is not a directory\n"),
    );
    sandbox.ok("mkdir here; cd here; i=$(stat -c %i .); bk-restore -C . a; test $i = $(stat -c %i .); diff -r ../app app");
    sandbox.ok("rm here/app/config.toml; echo mine >here/app/mine; rm -r here/app/log");
    let ran = sandbox.run("bk-restore -C here --into-existing a");
    assert!(
        ran.stderr
            .ends_with("is there already: --overwrite replaces it\n"),
        "{ran:#?}"
    );
    sandbox.ok("test ! -e here/app/log; bk-restore -C here --into-existing --overwrite a");
    sandbox.ok("cat here/app/mine; rm here/app/mine; diff -r app here/app");
    assert_tidy(&sandbox);
}

#[test]
fn an_exchange_keeps_what_was_there() {
    let sandbox = with_backup();
    let dir = sandbox_dir(&sandbox);
    sandbox.ok("cp -a app new; echo changed >app/config.toml; chmod 700 app");
    let ran = sandbox.ok("bk-restore --swap -C app --strip-components 1 a");
    assert_eq!(
        ran.stderr,
        format!("bk-restore: what was there is kept as '{dir}/app.before-1'\n")
    );
    assert_eq!(
        sandbox
            .ok("diff -r new app; cat app.before-1/config.toml")
            .stdout,
        "changed\n"
    );
    let restore = &ran.record()["restore"];
    assert_eq!(restore["places"][0]["kept"], format!("{dir}/app.before-1"));
    let ran = sandbox.run("bk-restore --swap -C app --strip-components 1 a");
    ran.fails(1, &format!("bk-restore: cannot restore 'a': '{dir}/app.before-1' is there already, from an earlier exchange: remove or rename it\n"));
    let ran = sandbox.run("bk-restore --swap -C home a");
    assert!(
        ran.stderr.contains("cannot be exchanged: bk's own home is"),
        "{ran:#?}"
    );
    let ran = sandbox.run("bk-restore --swap -C . a");
    assert!(
        ran.stderr.contains("cannot be exchanged: bk's own home is"),
        "{ran:#?}"
    );
    assert_tidy(&sandbox);
}

#[test]
fn a_backup_goes_back_to_its_sources_all_or_none() {
    let sandbox = Sandbox::with_app();
    let dir = sandbox_dir(&sandbox);
    sandbox.write("one", "file\n");
    sandbox.ok("mkdir -p other/d start; echo d >other/d/x; bk-create --name a app one $PWD/other app/data && cp -a app other one start");
    sandbox.ok("rm -r app/data other; echo changed >one");
    let ran = sandbox.ok("bk-restore --to-source a");
    sandbox.ok("for it in app other one; do diff -r $it start/$it || exit 1; done; grep changed one.before-1");
    assert_eq!(
        ran.record()["restore"]["places"].as_array().unwrap().len(),
        3
    );
    assert_eq!(ran.record()["restore"]["target"], Value::Null);
    // The last exchange cannot be: the first is undone.
    sandbox.ok("rm -rf *.before-1; echo again >app/config.toml; echo again >one");
    if crate::support::can_trace() {
        let fault = "strace -f --seccomp-bpf -o /dev/null -e trace=renameat2 -e inject=renameat2:error=EIO:when=4";
        let ran = sandbox.run(&format!("{fault} bk-restore --to-source a"));
        assert_eq!(ran.status, 1, "{ran:#?}");
        sandbox.ok("grep again app/config.toml one && ! ls -d *.before-1");
    }
    sandbox.ok("mkdir app.before-1");
    let ran = sandbox.run("bk-restore --to-source a");
    ran.fails(1, &format!("bk-restore: cannot restore 'a': '{dir}/app.before-1' is there already, from an earlier exchange: remove or rename it\n"));
    sandbox.ok("grep again one");
    assert_tidy(&sandbox);
}

#[test]
fn a_test_that_fails_is_told_and_kept() {
    let sandbox = with_backup();
    sandbox.ok("mkdir scratch; bk-restore --test -C scratch a");
    let ledger = sandbox.ledger();
    assert_eq!(ledger.last().unwrap(), "a restore ok");
    if crate::support::can_trace() {
        // The disk does not keep what it is given.
        let fault =
            "strace -f --seccomp-bpf -o /dev/null -e trace=fchmod -e inject=fchmod:retval=0";
        let ran = sandbox.run(&format!("{fault} bk-restore --test -C scratch a"));
        assert_eq!(ran.status, 1, "{ran:#?}");
        assert!(
            ran.stderr.contains("its mode is 0600, not 0644"),
            "{ran:#?}"
        );
        assert!(
            ran.stderr
                .contains("entries are not as the archive has them"),
            "{ran:#?}"
        );
        let told = sandbox.ok("bk-ls a").record()["backup_metadata"]["last_restored_test"].clone();
        assert_eq!(told["ok"], false);
        assert!(
            sandbox
                .ledger()
                .last()
                .unwrap()
                .starts_with("a restore failed ")
        );
    }
    assert_eq!(names(&sandbox, "scratch"), ".\n");
}

#[test]
fn mistakes_on_the_command_line_do_nothing() {
    let sandbox = with_backup();
    for (flags, reason) in [
        (
            "a",
            "where to? Give -C DIR, --to-source, --test or --stdout PATH",
        ),
        (
            "-C out --to-source a",
            "-C DIR, --to-source, --test and --stdout exclude each other, but -C and --test",
        ),
        ("-C out --overwrite a", "--overwrite needs --into-existing"),
        (
            "--swap a",
            "--swap and --into-existing need -C DIR, and exclude --test",
        ),
        (
            "--to-source a -- app/log",
            "--to-source restores all: for some paths, name a directory with -C",
        ),
        (
            "-C out a 2",
            "several backups cannot be restored to one place: give one, or --into-existing; paths inside a backup stand after '--'",
        ),
        (
            "-C out --strip-components x a",
            "--strip-components: invalid number 'x': use a whole number",
        ),
        (
            "-C out --path 'a[' a",
            "--path: invalid glob 'a[': a '[' has no ']'",
        ),
    ] {
        let ran = sandbox.run(&format!("bk-restore {flags}"));
        ran.fails(2, &format!("bk-restore: {reason}\n"));
    }
    assert!(!sandbox.path("out").exists());
    assert_eq!(sandbox.ok("bk-restore -C out </dev/null").stdout, "");
    let ran = sandbox.run("bk-restore -C out 7");
    ran.fails(1, "bk-restore: there is no backup 7\n");
}

/// A part that can be restored proves nothing of the rest.
#[test]
fn a_test_of_a_part_is_no_test_of_the_backup() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let tested = || sandbox.ok("bk-ls a").record()["backup_metadata"]["last_restored_test"].clone();
    sandbox.ok("bk-restore --test a -- app/config.toml");
    assert!(tested().is_null());
    sandbox.ok("bk-restore --test a");
    assert_eq!(tested()["ok"], true);
}
