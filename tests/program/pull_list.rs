//! What bk-pull --list tells of a location: by the lists that bk-push leaves there, and without them.
//!
//! How fast that is for many hosts is in fleet_scale.rs; what becomes of a record in a new catalog in
//! pull_adopt.rs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::support::pushed::PLACE;
use crate::support::seaweed::{ADMIN, Seaweed};
use crate::support::{Ran, Sandbox, has};
use serde_json::Value;

/// The host that has its home in `home`.
const WEB: &str = "export BK_HOST=web;";
/// Another one, with a home of its own.
const DB: &str = "export BK_HOST=db BK_HOME=$PWD/db;";

/// Backups of `app/` on the host `web`, copied to the place.
fn pushed(names: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_app();
    let names = names.join(" ");
    sandbox.ok(&format!(
        "{WEB} for name in {names}; do bk-create --name $name app >/dev/null; done"
    ));
    sandbox.usb();
    sandbox.ok(&format!("{WEB} bk-push usb {names} >/dev/null"));
    sandbox
}

/// The same on another host, with the same names and ids.
fn add_db(sandbox: &Sandbox, names: &[&str]) {
    let names = names.join(" ");
    sandbox.ok(&format!(
        "{DB} for name in {names}; do bk-create --name $name app >/dev/null; done
         bk-push --set usb file://$PWD/{PLACE}; bk-push usb {names} >/dev/null"
    ));
}

/// Lists in silence.
fn list(sandbox: &Sandbox, flags: &str) -> Vec<Value> {
    let ran = sandbox.ok(&format!("{WEB} bk-pull --list {flags} usb"));
    assert_eq!(ran.stderr, "");
    ran.records()
}

/// `HOST NAME` of each.
fn named(records: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let name = |it: &Value| format!("{} {}", text(&it["host"]), text(&it["backup_name"]));
    records.iter().map(name).collect()
}

fn the_list(sandbox: &Sandbox) -> PathBuf {
    let lists = sandbox.lists();
    assert_eq!(lists.len(), 1, "{lists:?}");
    lists.into_iter().next().unwrap()
}

#[test]
fn a_line_is_the_record_with_its_host_its_location_and_its_copy() {
    let sandbox = pushed(&["a", "b"]);
    let records = sandbox.records();
    let listed = list(&sandbox, "");
    assert_eq!(named(&listed), ["web a", "web b"]);
    for (line, record) in listed.iter().zip(&records) {
        let (of_line, of_record) = (line.as_object().unwrap(), record.as_object().unwrap());
        let keys: Vec<_> = of_line.keys().collect();
        assert_eq!(keys[15..], ["host", "catalog", "copy", "location"]);
        for key in &keys[..15] {
            assert_eq!(of_line[*key], of_record[*key], "{key}");
        }
        assert_eq!(line["location"], "usb");
        for key in ["key", "size", "hash", "recipients", "locked_until"] {
            assert_eq!(line["copy"][key], record["copies"][0][key], "{key}");
        }
        // As it lies beside the archive.
        let key = line["copy"]["key"].as_str().unwrap();
        let beside = key.replace(".tar.gz", ".json");
        let beside = fs::read_to_string(sandbox.path(PLACE).join(beside)).unwrap();
        let mut beside: Value = serde_json::from_str(&beside).unwrap();
        beside["location"] = "usb".into();
        assert_eq!(*line, beside);
    }
}

#[test]
fn the_list_is_enough_and_a_run_that_changes_something_writes_it_anew() {
    let sandbox = pushed(&["a", "b"]);
    let before = list(&sandbox, "");
    let archives = sandbox.path(PLACE).join("web/archives");
    for file in fs::read_dir(&archives).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|it| it == "json") {
            fs::remove_file(file).unwrap();
        }
    }
    assert_eq!(list(&sandbox, ""), before);

    // What was removed here is there, and what was removed there is not.
    sandbox.ok(&format!(
        "{WEB} bk-rm a >/dev/null; bk-create --name c app; bk-push usb c"
    ));
    assert_eq!(named(&list(&sandbox, "")), ["web a", "web b", "web c"]);
    sandbox.ok("bk-push --remove usb b");
    assert_eq!(named(&list(&sandbox, "")), ["web a", "web c"]);
    sandbox.ok("bk-push --remove --gone usb");
    assert_eq!(named(&list(&sandbox, "")), ["web c"]);
    sandbox.ok("bk-push --remove usb c");
    assert_eq!(list(&sandbox, ""), [Value::Null; 0]);
}

#[test]
fn what_a_killed_run_left_behind_the_next_one_writes_though_it_has_nothing_to_copy() {
    let sandbox = pushed(&["a"]);
    let before = fs::read(the_list(&sandbox)).unwrap();
    sandbox.ok("bk-create --name b app");
    // It is killed as it opens the list: the copy is there, and the catalog knows.
    let lists = sandbox.path(PLACE).join("records");
    fs::rename(&lists, sandbox.path("aside")).unwrap();
    fs::write(&lists, "in the way").unwrap();
    let ran = sandbox.ok(&format!("{WEB} bk-push usb b"));
    let list = sandbox
        .path("aside")
        .read_dir()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    let list = list.to_str().unwrap();
    let expected = format!(
        "bk-push: warning: cannot write 'records/{list}' at 'usb', by which 'bk-pull --list' knows what is there: "
    );
    assert!(ran.stderr.starts_with(&expected), "{ran:#?}");
    assert!(
        ran.stderr.ends_with("; the next bk-push tries it again\n"),
        "{ran:#?}"
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    assert_eq!(ran.record()["copies"][0]["status"], "complete");
    fs::remove_file(&lists).unwrap();
    fs::rename(sandbox.path("aside"), &lists).unwrap();
    assert_eq!(fs::read(the_list(&sandbox)).unwrap(), before);

    let ran = sandbox.ok(&format!("{WEB} bk-push usb </dev/null"));
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
    assert_eq!(named(&self::list(&sandbox, "")), ["web a", "web b"]);
}

#[test]
fn without_a_list_that_can_be_read_the_records_are_read_one_by_one() {
    let sandbox = pushed(&["a", "b"]);
    let before = list(&sandbox, "");
    let place = the_list(&sandbox);
    let whole = fs::read(&place).unwrap();
    let told = |ran: &Ran| {
        assert_eq!((ran.status, ran.records()), (0, before.clone()), "{ran:#?}");
        let rest = ran
            .stderr
            .strip_prefix("bk-pull: warning: cannot read the list of 'web' at 'usb': ");
        let end = "; its records are read one by one: 'bk-pull --list --rebuild' writes it anew\n";
        let why = rest.and_then(|it| it.strip_suffix(end));
        why.unwrap_or_else(|| panic!("{ran:#?}")).to_owned()
    };
    let run = || sandbox.run(&format!("{WEB} bk-pull --list usb"));
    for torn in [&whole[..whole.len() - 7], b"", b"x"] {
        fs::write(&place, torn).unwrap();
        assert!(
            told(&run()).starts_with("it is no list of records: "),
            "{:#?}",
            run()
        );
    }
    fs::remove_file(&place).unwrap();
    assert_eq!(told(&run()), "it is not there");
    // That of another host, under this one's name.
    add_db(&sandbox, &["a"]);
    let of_db = the_list(&sandbox);
    assert_ne!(of_db, place);
    fs::rename(&of_db, &place).unwrap();
    assert_eq!(told(&run()), "it holds a record of another host");

    let ran = sandbox.ok(&format!("{WEB} bk-pull --list --rebuild usb"));
    assert_eq!((ran.records(), &*ran.stderr), (before.clone(), ""));
    assert_eq!(list(&sandbox, ""), before);
    // Of all hosts; a list that tells of nothing goes.
    fs::write(place.with_file_name("web.0000.parquet"), "x").unwrap();
    let ran = sandbox.ok(&format!("{WEB} bk-pull --list --rebuild --all-hosts usb"));
    assert_eq!(named(&ran.records()), ["db a", "web a", "web b"]);
    assert_eq!(sandbox.lists(), BTreeSet::from([of_db, place]));
    assert_eq!(list(&sandbox, "--all-hosts"), ran.records());
}

#[test]
fn a_damaged_record_is_told_and_hides_no_other() {
    let sandbox = pushed(&["a", "b"]);
    let key = |name: &str| {
        let object = sandbox.object(name);
        let object = object.strip_prefix(sandbox.path(PLACE)).unwrap();
        object.to_str().unwrap().replace(".tar.gz", ".json")
    };
    let (a, b) = (key("a"), key("b"));
    let run = || sandbox.run(&format!("{WEB} bk-pull --list --rebuild usb"));
    let of_b = fs::read(sandbox.path(PLACE).join(&b)).unwrap();
    for (text, why) in [
        (
            &b"{}"[..],
            "it is no record of a copy: missing field `id` at line 1 column 2",
        ),
        (&of_b, "it tells of another object than the one beside it"),
    ] {
        fs::write(sandbox.path(PLACE).join(&a), text).unwrap();
        let ran = run();
        ran.fails(1, &format!("bk-pull: 'usb': cannot use '{a}': {why}\n"));
        assert_eq!(named(&ran.records()), ["web b"]);
    }
    assert_eq!(named(&list(&sandbox, "")), ["web b"]);
}

#[test]
fn two_catalogs_of_a_host_do_not_replace_the_list_of_each_other() {
    let sandbox = pushed(&["a"]);
    let own = the_list(&sandbox);
    sandbox.ok(&format!(
        "{WEB} export BK_HOME=$PWD/second; bk-create --name b app; bk-push --set usb file://$PWD/{PLACE}
         bk-push usb b"
    ));
    assert_eq!(sandbox.lists().len(), 2);
    assert_eq!(named(&list(&sandbox, "")), ["web a", "web b"]);
    sandbox.ok(&format!("{WEB} bk-create --name c app; bk-push usb c"));
    assert_eq!(named(&list(&sandbox, "")), ["web a", "web b", "web c"]);
    let before = list(&sandbox, "");
    assert_eq!(list(&sandbox, "--rebuild"), before);
    let lists = sandbox.lists();
    assert_eq!(lists.len(), 2);
    // Where one of them cannot be read, the other one is not believed either.
    let object = sandbox.object("a");
    fs::remove_file(object.to_str().unwrap().replace(".tar.gz", ".json")).unwrap();
    assert_eq!(list(&sandbox, ""), before);
    let other = lists.into_iter().find(|it| *it != own).unwrap();
    fs::write(other, "torn").unwrap();
    let ran = sandbox.ok(&format!("{WEB} bk-pull --list usb"));
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    assert_eq!(named(&ran.records()), ["web b", "web c"]);
}

#[test]
fn of_this_host_of_another_and_of_all() {
    let sandbox = pushed(&["a"]);
    add_db(&sandbox, &["a", "b"]);
    // Of no host.
    sandbox.ok(&format!(
        "mkdir -p {PLACE}/other/dir; echo x >{PLACE}/other/dir/x"
    ));
    assert_eq!(named(&list(&sandbox, "")), ["web a"]);
    assert_eq!(named(&list(&sandbox, "--host db")), ["db a", "db b"]);
    let all = ["db a", "db b", "web a"];
    assert_eq!(named(&list(&sandbox, "--all-hosts")), all);
    let table = sandbox.ok("bk-pull --list --all-hosts --table usb").stdout;
    let table = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let table: Vec<_> = table.collect();
    assert_eq!(table[0][0], "CREATED");
    assert_eq!(
        (&table[1][..], &table[4][..]),
        (&["db"][..], &["web"][..]),
        "{table:?}"
    );
    assert_eq!(table.len(), 6);

    let ran = sandbox.ok("bk-pull --list --host dbb usb");
    assert_eq!(ran.stdout, "");
    assert_eq!(
        ran.stderr,
        "bk-pull: warning: 'usb' has nothing of the host 'dbb', it has db, other, web: --host names one\n"
    );
    for (flags, why) in [
        (
            "--host db --all-hosts",
            "--host and --all-hosts exclude each other",
        ),
        (
            "--host 'a b'",
            "invalid host name 'a b': use 1 to 255 bytes without blanks",
        ),
        ("--older-than 5m", "invalid span '5m'"),
    ] {
        let ran = sandbox.run(&format!("bk-pull --list {flags} usb"));
        assert_eq!(ran.status, 2, "{ran:#?}");
        assert!(ran.stderr.contains(why), "{ran:#?}");
    }
    let ran = sandbox.run("bk-pull --list usb a");
    assert_eq!(ran.status, 2, "{ran:#?}");
    assert!(
        ran.stderr
            .starts_with("bk-pull: --list takes a location and nothing else"),
        "{ran:#?}"
    );
}

#[test]
fn what_is_late_is_the_newest_of_its_host_and_source_where_that_is_old() {
    let sandbox = Sandbox::with_app();
    sandbox.ok(&format!(
        "{WEB} for name in old older new; do bk-create --name $name app; done
         bk-create --name lone app/log; bk-create --name job -m job=nightly app
         bk-create --name tomorrow app/data; bk-create --name today app/data"
    ));
    sandbox.sql(
        "UPDATE backup_records SET created_at = now()::TIMESTAMP - INTERVAL 2 DAY WHERE backup_name IN ('old', 'lone');
         UPDATE backup_records SET created_at = now()::TIMESTAMP - INTERVAL 3 DAY WHERE backup_name IN ('older', 'job');
         UPDATE backup_records SET created_at = now()::TIMESTAMP + INTERVAL 2 DAY WHERE backup_name = 'tomorrow';
         UPDATE backup_records SET created_at = now()::TIMESTAMP - INTERVAL 4 DAY WHERE backup_name = 'today'",
    );
    sandbox.usb();
    sandbox.ok(&format!("{WEB} bk-ls | bk-push usb"));
    add_db(&sandbox, &["fresh"]);
    assert_eq!(list(&sandbox, "--all-hosts").len(), 8);
    let late = list(&sandbox, "--all-hosts --older-than 26h");
    assert_eq!(named(&late), ["web today", "web job", "web lone"]);
    assert_eq!(
        named(&list(&sandbox, "--older-than 60h")),
        ["web today", "web job"]
    );
    assert_eq!(
        list(&sandbox, "--host db --older-than 26h"),
        [Value::Null; 0]
    );
}

#[test]
fn lines_of_another_host_select_no_backup_of_ours() {
    let sandbox = pushed(&["a"]);
    add_db(&sandbox, &["a"]);
    let before = sandbox.records();
    let ids = |record: &Value| (record["id"].clone(), record["backup_name"].clone());
    assert_eq!(ids(&list(&sandbox, "--host db")[0]), ids(&before[0]));
    let none = |program: &str| format!("{program}: there is no backup 'a' of the host 'db'\n");
    for command in [
        "bk-rm",
        "bk-set --protect -",
        "bk-push usb",
        "bk-verify",
        "bk-restore -C out",
        "bk-ls -",
    ] {
        let ran = sandbox.run(&format!("{WEB} bk-pull --list --host db usb | {command}"));
        let program = command.split(' ').next().unwrap();
        assert_eq!(
            (&*ran.stdout, ran.status, &*ran.stderr),
            ("", 1, &*none(program)),
            "{ran:#?}"
        );
        assert_eq!(sandbox.records(), before, "{command}");
    }
    assert!(!sandbox.path("out").exists());
    let ran = sandbox.run(&format!("{WEB} bk-pull --list --host db usb | bk-log -"));
    assert_eq!(ran.stdout, "", "{ran:#?}");
    // Our own among them is ours all the same.
    let ran = sandbox.run(&format!("{WEB} bk-pull --list --all-hosts usb | bk-rm"));
    assert_eq!((ran.status, &*ran.stderr), (1, &*none("bk-rm")), "{ran:#?}");
    assert_eq!(ran.record()["backup_hash"], before[0]["backup_hash"]);
    // It is gone: nothing is said of whose it was.
    let ran = sandbox.run(&format!("{WEB} bk-pull --list usb | bk-rm"));
    ran.fails(1, "bk-rm: there is no backup 'a' of the host 'web'\n");
}

/// An archive of another program tells no host.
#[test]
fn the_same_archive_on_two_hosts_is_two_backups() {
    let sandbox = Sandbox::with_app();
    sandbox.usb();
    sandbox.ok(&format!(
        "mkdir w d; tar czf w/same.tar.gz app; cp w/same.tar.gz d
         ({WEB} bk-adopt w/same.tar.gz; bk-ls | bk-push usb)
         ({DB} bk-push --set usb file://$PWD/{PLACE}; bk-adopt d/same.tar.gz; bk-ls | bk-push usb)"
    ));
    let listed = list(&sandbox, "--all-hosts");
    assert_eq!(named(&listed), ["db same", "web same"]);
    assert_eq!(listed[0]["backup_hash"], listed[1]["backup_hash"]);
    let ran = sandbox.run(&format!("{WEB} bk-pull --list --host db usb | bk-rm"));
    ran.fails(1, "bk-rm: there is no backup 'same' of the host 'db'\n");
    assert_eq!(sandbox.records().len(), 1);
    sandbox.ok(&format!("{WEB} bk-pull --list usb | bk-rm"));
    assert_eq!(sandbox.records(), [Value::Null; 0]);
}

#[test]
fn lines_of_this_host_name_the_archive_whatever_it_is_called_by_now() {
    let sandbox = pushed(&["a", "b"]);
    sandbox.ok("bk-set --name c a; bk-rm b; bk-create --name b app >/dev/null");
    let ran = sandbox.run(&format!("{WEB} bk-pull --list usb | bk-ls -"));
    ran.fails(1, "bk-ls: there is no backup 'b' of the host 'web'\n");
    let record = ran.record();
    assert_eq!(
        (&record["backup_name"], &record["host"]),
        (&"c".into(), &"web".into())
    );
    // Another catalog of the same host, with the same ids and names.
    let line = format!(
        "{WEB} export BK_HOME=$PWD/second; bk-create --name a app >/dev/null; bk-create --name b app >/dev/null
         bk-push --set usb file://$PWD/{PLACE}; bk-pull --list usb | bk-rm"
    );
    let ran = sandbox.run(&line);
    ran.fails(
        1,
        "bk-rm: there is no backup 'a' of the host 'web'\nbk-rm: there is no backup 'b' of the host 'web'\n",
    );
    assert_eq!(ran.stdout, "");
    let ran = sandbox.run("bk-pull --list usb | jq -c 'del(.backup_hash)' | bk-rm");
    if has("jq") {
        assert_eq!(ran.status, 2, "{ran:#?}");
        assert!(
            ran.stderr
                .contains("line 1: it tells what a location holds, and has no backup_hash"),
            "{ran:#?}"
        );
    }
}

#[test]
fn from_an_s3_server() {
    let Some(server) = Seaweed::start() else {
        return;
    };
    server.make_bucket("bucket", false);
    let sandbox = Sandbox::with_app();
    let (keys, endpoint) = (ADMIN.environment(), server.endpoint());
    let set = format!("bk-push --set --endpoint {endpoint} usb s3://bucket/prefix");
    for host in [WEB, DB] {
        sandbox.ok(&format!(
            "{keys} {host} {set}; for name in a b; do bk-create --name $name app; done; bk-ls | bk-push usb"
        ));
    }
    let list = |flags: &str| {
        let ran = sandbox.ok(&format!("{keys} {WEB} bk-pull --list {flags} usb"));
        assert_eq!(ran.stderr, "");
        ran.records()
    };
    let before = list("--all-hosts");
    assert_eq!(named(&before), ["db a", "db b", "web a", "web b"]);
    assert_eq!(list("--all-hosts --rebuild"), before);
    assert_eq!(list(""), &before[2..]);
    sandbox.ok(&format!("{keys} {WEB} bk-push --remove usb a"));
    assert_eq!(named(&list("--all-hosts")), ["db a", "db b", "web b"]);
}

#[test]
fn a_host_may_be_named_as_the_directory_of_the_lists_is() {
    let sandbox = pushed(&["a"]);
    sandbox.ok(&format!(
        "export BK_HOST=records BK_HOME=$PWD/other; bk-create --name b app >/dev/null
         bk-push --set usb file://$PWD/{PLACE}; bk-push usb b >/dev/null"
    ));
    for flags in ["", "--rebuild"] {
        let all = list(&sandbox, &format!("--all-hosts {flags}"));
        assert_eq!(named(&all), ["records b", "web a"]);
    }
}

/// It knows not all that the other does.
#[test]
fn a_catalog_that_adopted_takes_out_of_the_list_of_another_what_it_removes_alone() {
    let sandbox = pushed(&["a", "b"]);
    let new = "export BK_HOST=new BK_HOME=$PWD/new;";
    sandbox.ok(&format!(
        "{new} bk-create --name own app >/dev/null; bk-push --set usb file://$PWD/{PLACE}; bk-pull --adopt --host web usb"
    ));
    sandbox.ok(&format!(
        "{WEB} bk-create --name c app >/dev/null; bk-push usb c"
    ));
    sandbox.ok(&format!("{new} bk-rm a; bk-push --remove --gone usb"));
    assert_eq!(named(&list(&sandbox, "")), ["web b", "web c"]);
}
