//! Full disks, low space, signals, places that cannot be written: bk-create stops in good order.
//!
//! Each failure is one line on stderr with its reason, leaves no partial archive, and a failed
//! record or a line of the ledger. Disks are small file systems in memory, in a mount namespace
//! of their own. What a crash leaves is in crash.rs.

use crate::support::disk::SmallDisk;
use crate::support::{Sandbox, can_trace, has, stride};
use regex::Regex;

/// A disk of 8 MiB of which 3 are free, and a source of 4 that nobody expects to be so
/// large: it compressed well when it was backed up before.
fn disk_that_runs_low() -> Option<SmallDisk> {
    let disk = SmallDisk::new("8M")?;
    disk.ok("mkdir data; head -c 4M /dev/zero >data/table
        bk-create --storage disk --name easy data
        head -c 4M /dev/urandom >data/table
        head -c 5M /dev/zero >disk/filler");
    Some(disk)
}

/// Text with the sizes that depend on the machine as `[SIZE]`.
fn sizes_redacted(text: &str) -> String {
    let size = Regex::new(r"\d+(\.\d+)? ([KMGTP]i)?B").unwrap();
    size.replace_all(text, "[SIZE]").into_owned()
}

/// Name, status and failure of each record, a line each.
fn fates(sandbox: &Sandbox) -> String {
    let query = r#".backup_name + ": " + .status + ", " + (.backup_metadata.failure // "-")"#;
    let listed = sandbox.ok(&format!("bk-ls --json | jq -r '{query}'"));
    listed.stdout
}

/// Asserts that `name` failed for `reason`: by its record, by the ledger, and by its absence.
fn assert_failed(sandbox: &Sandbox, name: &str, reason: &str) {
    let (fates, ledger) = (fates(sandbox), sandbox.ledger());
    let fate = format!("{name}: failed, {reason}\n");
    assert!(fates.contains(&fate), "{fate} is not in {fates}");
    let events: Vec<_> = ledger.iter().filter(|it| it.starts_with(name)).collect();
    assert_eq!(events, [&format!("{name} create failed {reason}")]);
    let left = sandbox.ok("find . -name '*.partial*'").stdout;
    assert_eq!(left, "");
}

/// The lines of a shell that start a creation which takes seconds, and wait until it is in the
/// middle of its archive. With job control, as without it a shell's `&` turns SIGINT off.
const START_SLOW: &str = "set -m
    head -c 24M /dev/urandom >big
    bk-create --name slow --level 12 --jobs 1 big 2>err &
    until test -s home/archives/slow.tar.gz.partial || ! kill -0 $!; do sleep 0.01; done
    ";
/// The same for one that will pause.
const START_LOW: &str = "set -m
    bk-create --storage disk --reserve 1M --name hard data >out 2>err &
    until grep -qs paused err || ! kill -0 $!; do sleep 0.01; done
    ";

#[test]
fn a_disk_full_in_the_middle_of_the_archive_fails_the_backup() {
    if !has("jq") {
        return;
    }
    if !has("strace") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("head -c 3M /dev/urandom >app/data/more");
    let archive = sandbox.archive("x").display().to_string();
    let ran = sandbox.run(&format!(
        "strace -f --seccomp-bpf -o /dev/null -P {archive}.partial \
             -e trace=write -e inject=write:error=ENOSPC:when=3+ bk-create --name x app"
    ));
    let reason = format!("cannot write '{archive}': No space left on device");
    ran.fails(1, &format!("bk-create: cannot create 'x': {reason}\n"));
    assert_eq!(ran.stdout, "");
    assert_failed(&sandbox, "x", &reason);

    // Once there is space again, nothing is in the way.
    sandbox.ok("bk-create --name x app && gzip -t home/archives/x.tar.gz");
}

/// Linux tells such an error once: the sync at the end would be fine.
#[test]
fn a_sync_that_fails_while_the_archive_grows_fails_the_backup() {
    if !has("jq") || !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("head -c 40M /dev/urandom >app/data/more");
    let archive = sandbox.archive("x").display().to_string();
    let ran = sandbox.run(&format!(
        "strace -f --seccomp-bpf -o /dev/null -P {archive}.partial \
             -e trace=fdatasync -e inject=fdatasync:error=EIO bk-create --name x app"
    ));
    let reason = format!("cannot write '{archive}': Input/output error");
    ran.fails(1, &format!("bk-create: cannot create 'x': {reason}\n"));
    assert_failed(&sandbox, "x", &reason);
}

#[test]
fn a_limit_on_the_size_of_files_fails_the_backup() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("head -c 9M /dev/urandom >app/data/more");
    let archive = sandbox.archive("x").display().to_string();
    let ran = sandbox.run("trap '' XFSZ; ulimit -f 8192; bk-create --name x app");
    let reason = format!("cannot write '{archive}': File too large");
    ran.fails(1, &format!("bk-create: cannot create 'x': {reason}\n"));
    assert_failed(&sandbox, "x", &reason);

    // Without the trap the kernel kills it, and the next one tidies.
    let killed = sandbox.run("ulimit -c 0; ulimit -f 8192; exec bk-create --name y app");
    assert_eq!((killed.status, &*killed.stdout), (128 + 25, ""));
    sandbox.ok("bk-create --name z app");
    assert_eq!(sandbox.ok("ls home/archives").stdout, "z.tar.gz\n");
    let reason = "interrupted: its partial archive was removed";
    assert!(fates(&sandbox).contains(&format!("y: failed, {reason}\n")));
}

/// The home is on a disk with so many KiB left, the archives are elsewhere: the first commit
/// fails, or the last, or the checkpoint after either. The record is larger than a page, so
/// that what the first commit leaves does not do for the last.
#[test]
fn a_disk_full_under_the_home_loses_nothing() {
    let Some(disk) = SmallDisk::new("12M") else {
        return;
    };
    let home = "export BK_HOME=$PWD/disk/home; set -o pipefail; cp -a start/store .;";
    disk.ok(&format!(
        "mkdir -p start/store; {home} bk-create --storage store --name first app
         cp -a disk/home store start"
    ));
    let mut told = Vec::new();
    let room = [
        0, 4, 8, 12, 16, 20, 24, 28, 64, 256, 528, 784, 1300, 1560, 1900,
    ];
    for left in room.into_iter().step_by(stride(2)) {
        let full = disk.ok(&format!(
            "rm -rf store disk/*; {home} cp -a start/home disk
             free=$(df --output=avail --block-size=1K disk | tail -n 1)
             head -c $((free - {left}))K /dev/zero >disk/filler
             bk-create --storage store -m note=$(printf %06000d 1) --name x app >out 2>all
             status=$?; grep -v \"warning: 'x' has no manifest: \" all >err
             echo $status $(wc -l <out) $(grep -vc '^bk-create: cannot ' err)
             bk-ls first | jq -r .status; cat err"
        ));
        let (ended, rest) = full.stdout.split_once("\ncompleted\n").unwrap();
        assert!(["0 1 0", "1 0 0"].contains(&ended), "{left}: {full:#?}");
        let next = disk.ok(&format!(
            "rm disk/filler; {home} bk-create --storage store app >/dev/null
             bk-ls --json | jq -r 'select(.status == \"completed\")
                 | .backup_hash + \"  \" + .backup_path' | sha256sum --check --quiet
             bk-ls x 2>/dev/null | jq -r '.status'; ls store | grep -v 'gz$'; true"
        ));
        let fates = match ended {
            "0 1 0" => ["completed\n"; 2],
            _ => ["failed\n", ""],
        };
        assert!(fates.contains(&&*next.stdout), "{left}: {next:#?}{full:#?}");
        told.push(rest.to_owned());
    }
    let has = |text| told.iter().any(|it: &String| it.starts_with(text));
    assert!(has("bk-create: cannot write the catalog"), "{told:#?}");
    assert!(has("bk-create: cannot record 'x'"), "{told:#?}");
    assert!(told.iter().any(String::is_empty), "{told:#?}");
}

#[test]
fn low_space_pauses_until_there_is_space() {
    let Some(disk) = disk_that_runs_low() else {
        return;
    };
    let ran = disk.ok(&format!(
        "{START_LOW}
         df --output=avail --block-size=1 disk | tail -n 1
         bk-ls --json | jq -r '.backup_name + \" \" + .status'
         rm disk/filler; wait $!"
    ));
    let (free, listed) = ran.stdout.split_once('\n').unwrap();
    // The reserve was never touched, and the catalog is open to others meanwhile.
    assert!(free.trim().parse::<u64>().unwrap() >= 1 << 20, "{ran:#?}");
    assert_eq!(listed, "easy completed\nhard creating\n");

    let dir = disk.sandbox.path("disk").display().to_string();
    let told = disk.ok("cat err").stdout;
    let figures = Regex::new(r"has (\d\.\d\d MiB) free, and 1\.00 MiB are to stay so").unwrap();
    assert!(figures.is_match(&told), "{told}");
    assert_eq!(
        sizes_redacted(&told),
        format!(
            "bk-create: paused: '{dir}' has [SIZE] free, and [SIZE] are to stay so; make space, or stop this with Ctrl-C\n\
             bk-create: there is space again: going on\n"
        )
    );
    disk.ok(
        "test $(jq -r .status out) = completed && gzip -t disk/hard.tar.gz
         jq -r '.backup_hash + \"  \" + .backup_path' out | sha256sum --check --quiet",
    );
}

#[test]
fn low_space_fails_at_once_where_that_is_asked_for() {
    let Some(disk) = disk_that_runs_low() else {
        return;
    };
    let ran =
        disk.run("bk-create --storage disk --reserve 1M --on-low-space fail --name hard data");
    let dir = disk.sandbox.path("disk").display().to_string();
    let reason = format!(
        "cannot write '{dir}/hard.tar.gz': '{dir}' has [SIZE] free, and [SIZE] are to stay so"
    );
    assert_eq!((ran.status, &*ran.stdout), (1, ""));
    assert_eq!(
        sizes_redacted(&ran.stderr),
        format!("bk-create: cannot create 'hard': {reason}\n")
    );
    assert!(ran.stderr.contains(" free, and 1.00 MiB are to stay so"));
    assert_eq!(disk.ok("ls disk").stdout, "easy.tar.gz\nfiller\n");
    assert_eq!(
        sizes_redacted(&fates(&disk.sandbox)),
        format!("easy: completed, -\nhard: failed, {reason}\n")
    );
    let ledger = disk.sandbox.ledger();
    assert_eq!(
        sizes_redacted(&ledger[1]),
        format!("hard create failed {reason}")
    );
}

#[test]
fn low_space_that_lasts_fails_after_its_timeout() {
    let Some(disk) = disk_that_runs_low() else {
        return;
    };
    let ran = disk.run(
        "time -p bk-create --storage disk --reserve 1M --low-space-timeout 1s --name hard data",
    );
    let dir = disk.sandbox.path("disk").display().to_string();
    let figures = format!("'{dir}' has [SIZE] free, and [SIZE] are to stay so");
    let told = sizes_redacted(&ran.stderr);
    let (told, times) = told.split_once("real ").unwrap();
    assert_eq!(
        told,
        format!(
            "bk-create: paused: {figures}; make space, or stop this with Ctrl-C\n\
             bk-create: cannot create 'hard': cannot write '{dir}/hard.tar.gz': {figures}, after 1 s of waiting\n"
        )
    );
    let seconds: f64 = times.lines().next().unwrap().parse().unwrap();
    assert!((1.0..10.0).contains(&seconds), "{seconds}");
    assert_eq!((ran.status, &*ran.stdout), (1, ""));
    assert_eq!(disk.ok("ls disk").stdout, "easy.tar.gz\nfiller\n");
    assert!(fates(&disk.sandbox).contains("hard: failed, cannot write"));
}

#[test]
fn a_pause_ends_with_a_signal() {
    let Some(disk) = disk_that_runs_low() else {
        return;
    };
    let ran = disk.run(&format!(
        "{START_LOW} kill -TERM $!; wait $!; echo $?; cat out; tail -n 1 err"
    ));
    let told = "143\nbk-create: cannot create 'hard': interrupted by signal 15\n";
    assert_eq!(ran.stdout, told);
    assert_eq!(disk.ok("ls disk").stdout, "easy.tar.gz\nfiller\n");
    assert_failed(&disk.sandbox, "hard", "interrupted by signal 15");
}

#[test]
fn what_does_not_fit_is_refused_with_both_figures() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    let archives = sandbox.home().join("archives").display().to_string();
    let refusal = format!(
        "cannot back up: the archive needs about [SIZE] and [SIZE] are to stay free, \
         but '{archives}' has [SIZE] free; make space, or name another --storage"
    );
    let line = "bk-create --reserve 7P --on-low-space fail --name x app";

    let ran = sandbox.run(line);
    assert_eq!((ran.status, &*ran.stdout), (1, ""));
    let told = sizes_redacted(&ran.stderr);
    assert_eq!(told, format!("bk-create: {refusal}\n"));
    assert!(ran.stderr.contains(" and 7.00 PiB are to stay free"));
    // Nothing was made, not even a home.
    assert_eq!(sandbox.ok("ls").stdout, "app\n");

    // Where there is a catalog, the ledger keeps the refusal.
    sandbox.ok("bk-create --name first app");
    assert_eq!(sandbox.run(line).status, 1);
    assert_eq!(fates(&sandbox), "first: completed, -\n");
    let event = sizes_redacted(&sandbox.ledger()[1]);
    assert_eq!(event, format!("create failed {refusal}"));
    assert_eq!(sandbox.ok("ls home/archives").stdout, "first.tar.gz\n");
}

/// Beside what fits by itself, the reserve must fit too.
#[test]
fn the_estimate_is_compared_with_what_is_free() {
    let Some(disk) = SmallDisk::new("8M") else {
        return;
    };
    disk.ok("mkdir data; head -c 4M /dev/urandom >data/table");
    let create = |reserve: &str| {
        disk.run(&format!(
            "bk-create --storage disk --reserve {reserve} --on-low-space fail data"
        ))
    };
    let dir = disk.sandbox.path("disk").display().to_string();
    create("5M").fails(
        1,
        &format!(
            "bk-create: cannot back up: the archive needs about 4.00 MiB and 5.00 MiB are to stay free, \
             but '{dir}' has 8.00 MiB free; make space, or name another --storage\n"
        ),
    );
    assert_eq!(
        disk.ok("ls -A . disk").stdout,
        ".:\napp\ndata\ndisk\n\ndisk:\n"
    );
    assert_eq!(create("3M").status, 0);
}

#[test]
fn a_signal_stops_a_backup_in_good_order() {
    if !has("jq") {
        return;
    }
    for (signal, number) in [("INT", 2), ("TERM", 15)] {
        let sandbox = Sandbox::with_app();
        let ran = sandbox.run(&format!("{START_SLOW} kill -{signal} $!; wait $!"));
        assert_eq!((ran.status, &*ran.stdout), (128 + number, ""), "{ran:#?}");
        let reason = format!("interrupted by signal {number}");
        let told = sandbox.ok("cat err").stdout;
        assert_eq!(told, format!("bk-create: cannot create 'slow': {reason}\n"));
        assert_failed(&sandbox, "slow", &reason);
        assert_eq!(sandbox.ok("ls home/archives").stdout, "");
    }
}

/// Those after it are not begun, and those before it are told.
#[test]
fn a_signal_ends_a_series_of_requests() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    let ran = sandbox.run(
        r#"set -m; head -c 24M /dev/urandom >big
        printf '{"backup_name":"%s","sources":["%s"]}\n' first app slow big third app >requests
        bk-create --level 12 --jobs 1 - <requests 2>err &
        until test -s home/archives/slow.tar.gz.partial || ! kill -0 $!; do sleep 0.01; done
        kill -TERM $!; wait $!"#,
    );
    assert_eq!(ran.status, 143, "{ran:#?}");
    assert_eq!(ran.record()["backup_name"], "first");
    let failed = "slow: failed, interrupted by signal 15\n";
    assert_eq!(fates(&sandbox), format!("first: completed, -\n{failed}"));
}

#[test]
fn a_signal_ends_the_wait_for_the_catalog() {
    if !has("jq") {
        return;
    }
    if !has("flock") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name first app");
    let ran = sandbox.run(
        "set -m; exec 9<>home/catalog.lock; flock 9
         bk-create --name second app 9>&- 2>err &
         until readlink /proc/$!/fd/* | grep -q catalog.lock || ! kill -0 $!; do sleep 0.01; done
         time -p { kill -TERM $!; wait $!; }; code=$?; flock -u 9; exit $code",
    );
    assert_eq!((ran.status, &*ran.stdout), (143, ""), "{ran:#?}");
    let seconds = ran
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("real "));
    assert!(seconds.unwrap().parse::<f64>().unwrap() < 5.0, "{ran:#?}");
    assert_eq!(fates(&sandbox), "first: completed, -\n");
}

#[test]
fn a_home_that_cannot_be_made_is_told() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    let file = sandbox.path("app/config.toml").display().to_string();
    let ran = sandbox.run("bk-create --home app/config.toml --name x app");
    let why = format!("cannot make the storage directory '{file}/archives': Not a directory");
    ran.fails(1, &format!("bk-create: {why}\n"));

    sandbox
        .run("bk-create --home app/config.toml --storage store --name x app")
        .fails(
            1,
            &format!("bk-create: cannot make the home '{file}': Not a directory\n"),
        );
    assert_eq!(sandbox.ok("ls store").stdout, "");
}

#[test]
fn a_storage_directory_that_cannot_be_made_is_told_and_in_the_ledger() {
    if !has("jq") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name first app");
    let dir = sandbox.path("app/config.toml/store").display().to_string();
    let reason = format!("cannot make the storage directory '{dir}': Not a directory");
    sandbox
        .run("bk-create --storage app/config.toml/store --name x app")
        .fails(1, &format!("bk-create: {reason}\n"));
    assert_eq!(sandbox.ledger()[1], format!("create failed {reason}"));
    assert_eq!(fates(&sandbox), "first: completed, -\n");
}

#[test]
fn a_home_on_a_read_only_disk_can_be_listed_and_not_written() {
    let Some(disk) = SmallDisk::new("16M") else {
        return;
    };
    disk.ok("bk-create --home disk/home --name first app; mount -o remount,bind,ro disk");
    let dir = disk.sandbox.path("disk/home").display().to_string();
    let why = "Read-only file system";
    disk.run("bk-create --home disk/home --name x app").fails(
        1,
        &format!("bk-create: cannot write to the storage directory '{dir}/archives': {why}\n"),
    );
    disk.run("bk-create --home disk/new --name x app").fails(
        1,
        &format!(
            "bk-create: cannot make the storage directory '{}': {why}\n",
            disk.sandbox.path("disk/new/archives").display()
        ),
    );
    let listed = disk.ok("bk-ls --home disk/home --json | jq -r .backup_name");
    assert_eq!((&*listed.stdout, &*listed.stderr), ("first\n", ""));
}
