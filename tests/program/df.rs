//! bk-df: the lines, the table, and what goes wrong. The thresholds are in df_alerts.rs.

use crate::support::disk::SmallDisk;
use crate::support::{Sandbox, can_trace, has};
use serde_json::{Value, json};

fn size_of(sandbox: &Sandbox, name: &str) -> u64 {
    sandbox.archive(name).metadata().unwrap().len()
}

#[test]
fn a_line_tells_what_the_backups_take() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b -t pre-upgrade -e 1h app/data; bk-create --name c -e 1h --protect app");
    sandbox.ok("bk-create --name lost app && rm home/archives/lost.tar.gz");
    sandbox.sql(
        "UPDATE backup_records SET expires_at = TIMESTAMP '2020-01-01' WHERE expires_at IS NOT NULL",
    );
    let failed = sandbox.run("ulimit -f 8; trap '' XFSZ; bk-create --name failed app");
    assert_eq!(failed.status, 1, "{failed:#?}");
    let sizes = ["a", "b", "c"].map(|name| size_of(&sandbox, name));
    let all: u64 = sizes.iter().sum();

    let ran = sandbox.ok("bk-df");
    assert_eq!(ran.stderr, "");
    let (total, each) = ran.file_systems();
    assert_eq!(each.len(), 1);
    let directories = json!([sandbox.home().join("archives")]);
    for line in [&total, &each[0]] {
        assert_eq!(line["directories"], directories);
        assert_eq!(line["backup_count"], 5);
        assert_eq!(line["backup_bytes"], all);
        assert_eq!(line["missing_count"], 1);
        assert_eq!(
            line["by_status"],
            json!({
                "creating": {"count": 0, "bytes": 0}, "completed": {"count": 4, "bytes": all},
                "failed": {"count": 1, "bytes": 0}, "moving": {"count": 0, "bytes": 0},
                "deleting": {"count": 0, "bytes": 0}
            })
        );
        assert_eq!(
            line["by_type"],
            json!({
                "manual": {"count": 4, "bytes": sizes[0] + sizes[2]},
                "pre-upgrade": {"count": 1, "bytes": sizes[1]}, "automatic": {"count": 0, "bytes": 0}
            })
        );
        // A protected one stays.
        assert_eq!(
            [&line["expired_count"], &line["expired_bytes"]],
            [&json!(1), &json!(sizes[1])]
        );
        let names = ["oldest", "newest"].map(|key| line[key]["backup_name"].clone());
        assert_eq!(names, ["a", "c"]);
        assert_eq!(line["largest"]["backup_size"], *sizes.iter().max().unwrap());
        assert_eq!(line["reserve_bytes"], 1 << 30);
        assert_eq!(
            line["growth_bytes_per_day"],
            json!({"7d": null, "30d": null, "90d": null})
        );
        assert_eq!(
            [&line["days_left"], &line["alerts"]],
            [&json!(null), &json!([])]
        );
    }
    // What is told is what a removal frees.
    let freed = sandbox
        .ok("bk-ls --expired | bk-rm 2>/dev/null; true")
        .records();
    assert_eq!(freed[0]["freed"], sizes[1]);
    assert_eq!(
        sandbox.ok("bk-df --reserve 5G").records()[0]["reserve_bytes"],
        5_u64 << 30
    );
}

#[test]
fn an_empty_catalog_has_its_storage_directory() {
    let sandbox = Sandbox::with_app();
    sandbox.run("bk-df").fails(1, &format!(
        "bk-df: there is no catalog in '{}': bk-create makes one with the first backup, bk-adopt one of archives that are there; --home names another place\n",
        sandbox.home().display()
    ));
    sandbox.ok("bk-create --name a app && bk-rm a && rm -r home/archives");
    let ran = sandbox.run("bk-df --fail 'age>1000000h' --warn 'unverified>1h' --warn 'missing>0'");
    ran.fails(4, "bk-df: failure: age>1000000h: there is no backup\n");
    let (total, each) = ran.file_systems();
    assert_eq!(each.len(), 1, "{ran:#?}");
    assert!(each[0]["size_bytes"].as_u64() > each[0]["free_bytes"].as_u64());
    for key in [
        "largest",
        "oldest",
        "newest",
        "next_backup_bytes",
        "unverified_since",
    ] {
        assert_eq!(total[key], Value::Null, "{key}");
    }
}

#[test]
fn a_mistake_is_told_before_the_catalog_is_opened() {
    let sandbox = Sandbox::new();
    let known = "use free<SIZE, free<N%, days<N, age>SPAN, unverified>SPAN, failed>N, missing>N, offline>N, problems>N, age:JOB>SPAN, age:*>SPAN, job-failed>N, shrunk>N%, grown>N%, overdue>SPAN, uncopied>N, uncopied:LOCATION>N, copy-age:LOCATION>SPAN";
    for (flags, said) in [
        (
            "--warn 'free>20G'",
            format!("--warn: invalid threshold 'free>20G': {known}"),
        ),
        (
            "--fail 'age<26h'",
            format!("--fail: invalid threshold 'age<26h': {known}"),
        ),
        (
            "--fail 'free < 20G'",
            format!("--fail: invalid threshold 'free < 20G': {known}"),
        ),
        (
            "-w 'days<=14'",
            format!("--warn: invalid threshold 'days<=14': {known}"),
        ),
        (
            "--reserve much",
            "--reserve: invalid size 'much': use a number with K, M, G, T or P, such as 500M"
                .into(),
        ),
        (
            "--prometheus --json",
            "--prometheus excludes --json, --table and --wide".into(),
        ),
        (
            "--prometheus --table",
            "--prometheus excludes --json, --table and --wide".into(),
        ),
        ("7", "unexpected argument \"7\"; try 'bk-df --help'".into()),
        (
            "-- -",
            "unexpected argument \"-\"; try 'bk-df --help'".into(),
        ),
    ] {
        let ran = sandbox.run(&format!("bk-df {flags}"));
        ran.fails(2, &format!("bk-df: {said}\n"));
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_directory_that_is_gone_has_a_line_without_sizes() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --storage $PWD/there --name b app; bk-create --storage $PWD/there --name c app; mv there away");
    let there = sandbox.path("there").display().to_string();
    let gone = format!(
        "bk-df: warning: the storage '{there}' is not there: there is no such directory; its backups are offline and left alone: mount it; where its marker alone is lost, or a new disk takes its place, begin it anew with bk-create --init-storage; only where they are gone for good, give them up with bk-rm --offline (2)\n"
    );
    let ran = sandbox.run("bk-df --fail 'missing>1' --warn 'free<1'");
    ran.fails(4, &format!(
        "{gone}bk-df: warning: free<1: '{there}' cannot be accessed\nbk-df: failure: missing>1: 0 missing, 2 offline\n"
    ));
    let away = sandbox.run("bk-df --warn 'offline>2' --fail 'offline>1'");
    away.fails(4, &format!("{gone}bk-df: failure: offline>1: 2 offline\n"));
    let (total, each) = ran.file_systems();
    assert_eq!((each.len(), &total["missing_count"]), (2, &json!(0)));
    assert_eq!(total["offline_count"], 2);
    assert_eq!(total["size_bytes"], each[0]["size_bytes"]);
    let lost = &each[1];
    for key in [
        "mountpoint",
        "size_bytes",
        "free_bytes",
        "reserve_bytes",
        "days_left",
        "newest",
    ] {
        assert_eq!(lost[key], Value::Null, "{key}");
    }
    assert_eq!(lost["directories"], json!([there]));
    assert_eq!([&lost["offline_count"], &lost["backup_bytes"]], [2, 0]);
    // Nothing is wrong with what was not asked for.
    assert_eq!(sandbox.ok("bk-df").stderr, gone);
    assert!(sandbox.ok("bk-df --prometheus").stdout.contains(&format!(
        "bk_filesystem_reachable{{mountpoint=\"{there}\"}} 0\n"
    )));
    assert!(
        sandbox
            .ok("bk-df --table")
            .stdout
            .ends_with(&format!("\n\n{there}\ncannot be accessed\n"))
    );
    sandbox.ok("mv away there; bk-df | jq -se 'length == 2 and .[0].backup_count == 3'");
}

#[test]
fn people_get_a_table_and_bars() {
    let Some(disk) = SmallDisk::new("40M") else {
        return;
    };
    disk.ok("head -c 10M /dev/urandom >app/noise; bk-create --name a --storage $PWD/disk/s app; head -c 10M /dev/zero >disk/other");
    let text = disk.ok("bk-df --table").stdout;
    assert!(text.starts_with("MOUNT "), "{text}");
    let name = disk.sandbox.path("disk").display().to_string();
    let (_, picture) = text.split_once(&format!("\n\n{name}\n")).unwrap();
    let bar = picture.lines().next().unwrap();
    assert_eq!(bar.len(), 80, "{text}");
    let count = |part| bar.matches(part).count();
    // 10 of 40 MiB each; the reserve is a twentieth.
    assert!(
        (20..=21).contains(&count('#')) && (19..=20).contains(&count('+')),
        "{text}"
    );
    assert_eq!((count('!'), count('[') + count(']')), (4, 2), "{text}");
    assert!(
        picture.contains(
            "# backups 10.0 MiB  + others 10.0 MiB  . free 18.0 MiB  ! reserve 2.00 MiB\n"
        ),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'));

    if !has("script") {
        return;
    }
    disk.sandbox.write(
        "typed",
        "stty rows 24 cols 63; bk-df; NO_COLOR=1 bk-df; bk-df --json",
    );
    let screen = disk
        .ok("script -qec 'bash typed' /dev/null </dev/null | tr -d '\\r'")
        .stdout;
    let bars: Vec<_> = screen
        .lines()
        .filter(|it| it.contains("[") && it.contains("]") && it.contains("##"))
        .collect();
    let colour = regex::Regex::new("\u{1b}\\[[0-9]*m").unwrap();
    let plain = colour.replace_all(bars[0], "");
    assert_eq!((plain.len(), &*plain), (63, bars[1]), "{screen}");
    for colour in ["\u{1b}[1m#", "\u{1b}[32m.", "\u{1b}[33m!"] {
        assert!(bars[0].contains(colour), "{screen}");
    }
    assert!(
        screen
            .lines()
            .last()
            .unwrap()
            .starts_with("{\"mountpoint\":null"),
        "{screen}"
    );
}

#[test]
fn a_bad_row_is_told_and_the_rest_is_counted() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b app");
    sandbox.sql("UPDATE backup_records SET backup_size = -1 WHERE backup_name = 'b'");
    let ran = sandbox.run("bk-df");
    ran.fails(
        1,
        "bk-df: cannot count a backup: the record 2 'b' in the catalog is damaged: its size is negative\n",
    );
    assert_eq!(ran.file_systems().0["backup_count"], 1);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    for flags in ["--json", "--table", "--prometheus"] {
        let ran = sandbox.ok(&format!("bk-df {flags} | true; echo ${{PIPESTATUS[0]}}"));
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("0\n", ""));
    }
    sandbox.run("bk-df --json >/dev/full").fails(
        1,
        "bk-df: cannot write to standard output: No space left on device\n",
    );
}

#[test]
fn shells_are_taught_that_there_are_no_operands() {
    let sandbox = Sandbox::with_app();
    let line = "source <(bk-df --completions bash); COMP_WORDS=(bk-df a); COMP_CWORD=1; _bk_df; echo ${#COMPREPLY[@]}; COMP_WORDS=(bk-df --prom); _bk_df; echo ${COMPREPLY[@]}";
    assert_eq!(sandbox.ok(line).stdout, "0\n--prometheus\n");
    for (shell, check) in [
        ("zsh", "zsh -n <(bk-df --completions zsh)"),
        (
            "fish",
            "fish -c 'bk-df --completions fish | source; complete -C \"bk-df a\"'",
        ),
    ] {
        if has(shell) {
            let ran = sandbox.ok(check);
            assert_eq!(
                (ran.stdout.as_str(), ran.stderr.as_str()),
                ("", ""),
                "{shell}"
            );
        }
    }
}

/// The catalog is closed before an archive or its directory is looked at.
#[test]
fn nothing_is_looked_at_while_the_catalog_is_held() {
    let sandbox = Sandbox::with_app();
    if !can_trace() {
        return;
    }
    sandbox.ok("bk-create --name a --storage $PWD/s app");
    sandbox.ok("strace -f --seccomp-bpf -y -e trace=file,flock,close,statfs -o trace bk-df");
    let trace = sandbox.ok("cat trace").stdout;
    let lines: Vec<_> = trace.lines().collect();
    let first = |word: &str| lines.iter().position(|it| it.contains(word)).unwrap();
    let dir = sandbox.path("s").display().to_string();
    // The lock and the file end with their descriptors, which -y tells by their paths.
    let closed = |name: &str| {
        let is_it = |it: &str| it.contains(" close(") && it.contains(name);
        lines.iter().rposition(|it| is_it(it)).unwrap()
    };
    assert!(closed("catalog.lock>") < first(&dir), "{trace}");
    assert!(closed("catalog.duckdb>") < first(&dir), "{trace}");
}

/// Records and their events; the archives are all lost but that of the first.
fn fill(sandbox: &Sandbox, count: usize) {
    sandbox.ok("bk-create --name seed app");
    sandbox.sql(&format!(
        "CREATE TEMP TABLE fresh AS SELECT nextval('backup_id') AS id, i FROM range({count}) t(i);
         INSERT INTO backup_records SELECT id, 'b' || id, 'automatic', 'completed', NULL,
             '{}/b' || id || '.tar.gz', 5, 1, 'gzip', sha256(id::VARCHAR), NULL, '{{\"sources\":[\"/srv/data\"]}}', false,
             now()::TIMESTAMP - (i + 1) * INTERVAL 1 MINUTE, NULL FROM fresh;
         INSERT INTO backup_events SELECT nextval('event_id'), now()::TIMESTAMP - (i + 1) * INTERVAL 1 MINUTE, 'bk-create',
             id, 'b' || id, 'create', 'ok', '{{\"bytes\":5,\"seconds\":1.5}}' FROM fresh",
        sandbox.home().join("archives").display()
    ));
}

#[test]
fn a_hundred_thousand_records_are_counted() {
    let sandbox = Sandbox::with_app();
    fill(&sandbox, 100_000);
    let (total, _) = sandbox.ok("bk-df").file_systems();
    assert_eq!(
        (&total["backup_count"], &total["missing_count"]),
        (&json!(100_001), &json!(100_000))
    );
    // 10 080 minutes, but for the one that passes while this runs.
    let week = total["growth_bytes_per_day"]["7d"].as_u64().unwrap();
    let seed = size_of(&sandbox, "seed");
    assert!(
        week >= (10_070 * 5 + seed) / 7 && week <= (10_080 * 5 + seed) / 7 + 1,
        "{week}"
    );
}

#[test]
fn a_mount_point_is_a_label_whatever_it_holds() {
    let sandbox = Sandbox::with_app();
    let name = "mo\"un\\t\n}\u{1b}[2J";
    let Some(mount) = crate::support::mounts::tmpfs(&sandbox, name, "size=20M") else {
        return;
    };
    sandbox.write("name", name);
    sandbox.ok("bk-create --storage \"$(cat name)\" --name a app");
    let told = sandbox.ok("bk-df --prometheus").stdout;
    let shown = mount.path.display().to_string();
    let escaped = shown
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    let label = format!("mountpoint=\"{escaped}\"");
    assert!(told.contains(&label), "{told}");
    for line in told.lines() {
        assert!(line.starts_with("# ") || line.starts_with("bk_"), "{line}");
    }
}
