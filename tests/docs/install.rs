//! `make install`: the installed set runs from where it was put, with no environment variable.

use std::fs;
use std::process::Command;

use crate::support::{Ran, Sandbox, checkout, has, make_in};

fn make(sandbox: &Sandbox, target: &str) -> Ran {
    make_in(
        target,
        "/opt/bk",
        &sandbox.path("root").display().to_string(),
    )
}

#[test]
fn the_installed_set_runs_without_an_environment() {
    let sandbox = Sandbox::with_app();
    make(&sandbox, "install");
    let installed = sandbox.ok("cd root/opt/bk && find . -type f | sort").stdout;
    for program in ["bk-create", "bk-ls"] {
        for file in [
            format!("./bin/{program}"),
            format!("./share/man/man1/{program}.1"),
            format!("./share/bash-completion/completions/{program}"),
            format!("./share/zsh/site-functions/_{program}"),
            format!("./share/fish/vendor_completions.d/{program}.fish"),
        ] {
            assert!(
                installed.lines().any(|line| line == file),
                "{file}: {installed}"
            );
        }
    }
    assert!(installed.contains("./share/man/man7/bk.7\n"), "{installed}");
    assert!(
        installed.contains("./share/man/man5/bk-record.5\n"),
        "{installed}"
    );
    let units = "cd root/opt/bk/lib/systemd/system && stat -c '%n %a' * && grep ^ExecStart *";
    assert_eq!(
        sandbox.ok(units).stdout,
        "bk-auto.service 644\nbk-auto.timer 644\n\
         bk-auto.service:ExecStart=/opt/bk/bin/bk-auto --syslog\n"
    );
    let made = sandbox.ok("env -i root/opt/bk/bin/bk-create --home here --name a app");
    assert_eq!(made.record()["status"], "completed");
    sandbox.ok("env -i root/opt/bk/bin/bk-ls --home here --latest | grep -q available");
    make(&sandbox, "uninstall");
    assert_eq!(sandbox.ok("find root -type f").stdout, "");
}

#[test]
fn the_packages_run_where_there_is_no_rust() {
    if !has("dpkg-deb") {
        return;
    }
    let sandbox = Sandbox::with_app();
    make(&sandbox, "package");
    let packages = checkout().join("target/package");
    let packages = packages.display();
    // As far as a machine with this C library has them, and nothing else.
    sandbox.ok(&format!(
        "dpkg-deb -x {packages}/bk_*.deb root; dpkg-deb -f {packages}/bk_*.deb Depends | grep -q libstdc++6
         tar xzf {packages}/bk-*-linux-*.tar.gz; test -x bk-*/bin/bk-create -a -e bk-*/lib/bk/libduckdb.so
         mkdir -p root/dev root/tmp root/etc; : >root/dev/null; cp -r app root/tmp/app
         ldd root/usr/bin/bk-create root/usr/lib/bk/libduckdb.so | grep -v ':$' | grep -o '/[^ ]*' | grep '^/lib\\|^/usr/lib' |
             sort -u | while read -r file; do mkdir -p root${{file%/*}}; cp -L $file root$file; done"
    ));
    // What speaks with a store comes on top: TLS, HTTP and the protocols of the stores.
    let size = |words: &str| -> u32 {
        let size = sandbox.ok(&format!("du -sm -c {words} | awk 'END {{ print $1 }}'"));
        size.stdout.trim().parse().unwrap()
    };
    let all = "root/usr/bin root/usr/lib/bk root/usr/share";
    let local_mib = size(&format!("--exclude=bk-push --exclude=bk-pull {all}"));
    assert!(local_mib <= 115, "{local_mib} MiB are installed");
    for (program, most_mib) in [("bk-push", 11), ("bk-pull", 12)] {
        let mib = size(&format!("root/usr/bin/{program}"));
        assert!(mib <= most_mib, "{mib} MiB are {program}");
    }
    let may_mount = Command::new("unshare").args(["-m", "true"]).status();
    if !may_mount.unwrap().success() {
        println!("skipped: /proc cannot be mounted for a chroot here");
        return;
    }
    // The loader finds the library beside a program by /proc.
    let chroot = "env -i PATH=/usr/sbin:/usr/bin:/bin chroot root /usr/bin/";
    sandbox.ok(&format!(
        "mkdir root/proc; unshare -m sh -ec 'mount --bind /proc root/proc
             {chroot}bk-create --home /tmp/home --name a /tmp/app >/dev/null
             {chroot}bk-verify --home /tmp/home --deep a >/dev/null'"
    ));
    sandbox
        .ok("mkdir out; tar xzf root/tmp/home/archives/a.tar.gz -C out; diff -r app out/tmp/app");
    // The tar.gz, wherever it is unpacked.
    sandbox.ok("bk-*/bin/bk-create --name b app >/dev/null; bk-*/bin/bk-verify b >/dev/null");
}

#[test]
fn the_demo_ends_with_the_same_tree() {
    let sandbox = Sandbox::new();
    // All is built: two programs alone would be built with other features, in the place of those that other
    // tests run.
    let ran = sandbox.ok(&format!(
        "make --no-print-directory -C {} demo CARGO=true",
        checkout().display()
    ));
    assert!(ran.stdout.ends_with("the same tree\n"), "{ran:#?}");
}

#[test]
fn systemd_takes_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let sandbox = Sandbox::new();
    let prefix = sandbox.path("bk").display().to_string();
    make_in("install", &prefix, "");
    // Where systemd does not run, it says so on stdout and stderr, and verifies all the same.
    let verify = "cd bk/lib/systemd/system && systemd-analyze verify --man=no ./bk-auto.service ./bk-auto.timer 2>&1";
    let ran = sandbox.ok(verify);
    assert!(!ran.stdout.contains("bk-auto"), "{ran:#?}");
    sandbox.ok(
        "sed -i 's/^ProtectSystem=.*/ProtectSystem=surely/' bk/lib/systemd/system/bk-auto.service",
    );
    let broken = sandbox.run(verify).stdout;
    assert!(broken.contains("bk-auto.service"), "{broken}");
    let schedule = "systemd-analyze calendar \"$(sed -n s/^OnCalendar=//p bk/lib/systemd/system/bk-auto.timer)\"";
    sandbox.ok(schedule);
}

#[test]
fn the_completions_are_taken_by_their_shells() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name nightly app; bk-create --name 'with space' app");
    for program in ["bk-create", "bk-ls"] {
        sandbox.ok(&format!("source <({program} --completions bash)"));
        for shell in ["zsh", "fish"] {
            if has(shell) {
                sandbox.ok(&format!(
                    "{program} --completions {shell} >script && {shell} -n script"
                ));
            }
        }
    }
    let complete = |words: &str| {
        let line = format!(
            "source <(bk-ls --completions bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _bk_ls; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        sandbox.ok(&line).stdout
    };
    assert_eq!(complete("bk-ls --prot"), "--protected\n");
    assert_eq!(complete("bk-ls --type pre"), "pre-upgrade\n");
    assert_eq!(complete("bk-ls night"), "nightly\n");
    sandbox.run("bk-ls --completions tcsh").fails(
        2,
        "bk-ls: --completions: invalid shell 'tcsh': use bash, zsh or fish\n",
    );
}

#[test]
fn a_missing_tool_is_one_line_that_says_what_to_install() {
    let sandbox = Sandbox::new();
    let tools = sandbox.path("tools");
    fs::create_dir(&tools).unwrap();
    let make_with = |there: &[&str]| {
        for tool in fs::read_dir(&tools).unwrap() {
            fs::remove_file(tool.unwrap().path()).unwrap();
        }
        for tool in there.iter().chain(&[
            "env", "sh", "uname", "make", "dirname", "mkdir", "ln", "sed",
        ]) {
            let from = Command::new("which").arg(tool).output().unwrap().stdout;
            let from = String::from_utf8(from).unwrap();
            std::os::unix::fs::symlink(from.trim_end(), tools.join(tool)).unwrap();
        }
        let copy = sandbox.path("copy");
        fs::create_dir_all(&copy).unwrap();
        fs::copy(checkout().join("Makefile"), copy.join("Makefile")).unwrap();
        let mut command = sandbox.command(tools.join("make"));
        command
            .arg("libduckdb")
            .current_dir(copy)
            .env("PATH", &tools);
        Ran::new("make libduckdb", command.output().unwrap())
    };
    for (there, error) in [
        (
            &["cc"][..],
            "bk: cargo is missing: install Rust from https://rustup.rs\n",
        ),
        (
            &["cargo"],
            "bk: a C compiler is missing: install gcc or clang\n",
        ),
        (
            &["cargo", "cc"],
            "bk: npm is missing: install Node.js, or say make DUCKDB_LIB_DIR=DIR with libduckdb.so in DIR\n",
        ),
    ] {
        let ran = make_with(there);
        assert_eq!(ran.status, 2, "{ran:#?}");
        assert!(ran.stderr.starts_with(error), "{ran:#?}");
    }
}
