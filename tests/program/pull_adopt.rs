//! bk-pull --adopt: a catalog made from a location, whose archives were never here, and what the programs say of
//! such backups.
//!
//! What --list tells is in pull_list.rs.

use std::fs;

use crate::support::pushed::PLACE;
use crate::support::seaweed::{ADMIN, Seaweed};
use crate::support::{Ran, Sandbox, can_trace};
use serde_json::{Value, json};

/// A machine that was lost: its home is aside, and the place has its backups.
fn lost(names: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_app();
    let names = names.join(" ");
    sandbox.ok(&format!(
        "export BK_HOST=web
         for name in {names}; do bk-create --description \"of $name\" --name $name app >/dev/null; done"
    ));
    sandbox.usb();
    sandbox.ok(&format!("bk-push usb {names} >/dev/null; mv home lost"));
    sandbox
}

fn set(sandbox: &Sandbox) {
    sandbox.ok(&format!("bk-push --set usb file://$PWD/{PLACE}"));
}

/// A new machine, which knows what the place has.
fn adopted(names: &[&str]) -> Sandbox {
    let sandbox = lost(names);
    set(&sandbox);
    let ran = sandbox.ok("bk-pull --adopt --host web usb");
    assert_eq!((ran.records().len(), &*ran.stderr), (names.len(), ""));
    sandbox
}

fn names(records: &[Value]) -> Vec<&str> {
    records
        .iter()
        .map(|it| it["backup_name"].as_str().unwrap())
        .collect()
}

/// What a program says of `a`, and nothing else.
fn refuses(sandbox: &Sandbox, line: &str, what: &str) {
    let ran = sandbox.run(line);
    let program = line.split(' ').next().unwrap();
    ran.fails(
        1,
        &format!(
            "{program}: {what}: its archive is at 'usb' and not here: 'bk-pull usb a' brings it\n"
        ),
    );
    assert_eq!(ran.stdout, "", "{ran:#?}");
}

#[test]
fn a_new_machine_knows_the_backups_of_a_lost_one() {
    let sandbox = lost(&["b", "a"]);
    let before = sandbox.ok("bk-ls --home lost --json").records();
    set(&sandbox);
    let ran = sandbox.ok("bk-pull --adopt --host web usb");
    assert_eq!(
        (ran.actions(), &*ran.stderr),
        (vec!["adopted b".into(), "adopted a".into()], "")
    );
    let after = sandbox.records();
    assert_eq!(names(&after), ["b", "a"]);
    for ((at, old), new) in before.iter().enumerate().zip(&after) {
        let name = old["backup_name"].as_str().unwrap();
        let mut expected = old.clone();
        expected["id"] = (at + 1).into();
        expected["file_status"] = "remote".into();
        expected["backup_path"] = sandbox.archive(name).to_str().unwrap().into();
        expected["backup_metadata"]["remote"] = "usb".into();
        // It is known since it was written there, which is the clock of the place.
        let copied_at = new["copies"][0]["copied_at"].clone();
        assert!(copied_at.is_string());
        expected["copies"][0]["copied_at"] = copied_at;
        assert_eq!(*new, expected);
        let key = &new["copies"][0]["key"];
        let adopt = json!({"action": "adopted", "from": key, "location": "usb"});
        assert_eq!(ran.records()[at]["adopt"], adopt);
    }
    assert_eq!(sandbox.ledger(), ["b adopt ok", "a adopt ok"]);
    // What is known of the copies is as it was.
    let ran = sandbox.ok("bk-push --check --read 100% usb");
    assert_eq!((names(&ran.records()), &*ran.stderr), (vec!["b", "a"], ""));
    // Nothing was brought, and the lists are as good as they were.
    assert!(!sandbox.home().join("archives").exists());
    let ran = sandbox.ok("bk-pull --list --host web usb");
    assert_eq!((names(&ran.records()), &*ran.stderr), (vec!["b", "a"], ""));
}

#[test]
fn nothing_is_adopted_twice_nor_by_two_at_once() {
    let sandbox = lost(&["a", "b", "c"]);
    set(&sandbox);
    let ran = sandbox.ok(
        "bk-pull --adopt --host web usb >1 2>err1 & bk-pull --adopt --host web usb >2 2>err2; wait $!; cat 1 2; cat err? >&2",
    );
    assert_eq!((ran.records().len(), &*ran.stderr), (3, ""), "{ran:#?}");
    let before = sandbox.records();
    assert_eq!(names(&before), ["a", "b", "c"]);
    let ran = sandbox.ok("bk-pull --adopt --host web usb");
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
    let ran = sandbox.ok("bk-pull --adopt --table --host web usb");
    assert_eq!(
        (&*ran.stdout, &*ran.stderr),
        ("", "bk-pull: there is nothing to do\n")
    );
    assert_eq!(sandbox.records(), before);
    assert_eq!(sandbox.ledger().len(), 3);
}

#[test]
fn names_and_places_that_are_taken_stay_as_they_are() {
    let sandbox = lost(&["a", "b"]);
    sandbox.ok("bk-create --name a app/log >/dev/null; echo other >home/archives/b.tar.gz");
    set(&sandbox);
    sandbox.ok("bk-pull --adopt --host web usb");
    let records = sandbox.records();
    let path = |record: &Value| record["backup_path"].as_str().unwrap().to_owned();
    let name = |at: usize| records[at]["backup_name"].as_str().unwrap();
    let mut all: Vec<_> = (0..3).map(|at| (name(at), path(&records[at]))).collect();
    all.sort();
    let place = |name: &str| sandbox.archive(name).to_str().unwrap().to_owned();
    assert_eq!(
        all,
        [
            ("a", place("a")),
            ("a_2", place("a_2")),
            ("b", place("b_2"))
        ]
    );
    assert_eq!(fs::read_to_string(sandbox.archive("b")).unwrap(), "other\n");
}

/// It would be asked for as the newest one is.
#[test]
fn a_name_that_stands_for_the_newest_is_taken() {
    let sandbox = lost(&["a", "b"]);
    let rename = |from: &str, to: &str| {
        sandbox.ok(&format!(
            "sed -i 's/\"backup_name\":\"{from}\"/\"backup_name\":\"{to}\"/' {PLACE}/web/archives/{from}-*.json"
        ));
    };
    rename("a", "latest");
    rename("b", "latest:web");
    set(&sandbox);
    sandbox.ok("bk-pull --adopt --host web usb");
    assert_eq!(names(&sandbox.records()), ["latest_2", "latest_web"]);
}

/// What lies beside a bad archive is good.
#[test]
fn a_copy_that_was_found_bad_is_not_adopted_again() {
    let sandbox = adopted(&["a"]);
    let object = sandbox.object("a");
    let whole = fs::read(&object).unwrap();
    let mut bad = whole.clone();
    bad[whole.len() / 2] ^= 1;
    fs::write(&object, bad).unwrap();
    assert_eq!(sandbox.run("bk-push --check --read 100% usb").status, 1);
    assert_eq!(sandbox.ok("bk-pull --adopt --host web usb").stdout, "");
    let told = "bk-push: 'a' has no complete copy at 'usb'\n";
    let ran = sandbox.run("BK_HOST=web bk-push --check usb");
    assert_eq!((ran.status, &*ran.stderr), (1, told), "{ran:#?}");
    // It is tried all the same, and compared.
    assert_eq!(sandbox.run("bk-pull usb a").status, 1);
    fs::write(&object, whole).unwrap();
    sandbox.ok("bk-pull usb a && bk-verify a");
}

#[test]
fn a_dry_run_prints_what_would_be_done_and_does_nothing() {
    let sandbox = lost(&["a"]);
    set(&sandbox);
    let ran = sandbox.ok("bk-pull --adopt -n --host web usb");
    let record = ran.record();
    assert_eq!(
        (ran.actions(), &record["id"]),
        (vec!["would adopt a".into()], &Value::Null)
    );
    assert_eq!(record["file_status"], "remote");
    assert_eq!(sandbox.records(), [Value::Null; 0]);
    assert_eq!(sandbox.ledger(), [""; 0]);
    let table = sandbox
        .ok("bk-pull --adopt -n --table --host web usb")
        .stdout;
    assert!(
        table.contains("would adopt   -  ") && table.contains("web/archives/a-"),
        "{table}"
    );
}

/// What is recorded under the name would count as being at the other place.
#[test]
fn a_location_that_is_set_to_another_place_meanwhile_adopts_nothing() {
    if !can_trace() {
        return;
    }
    let sandbox = lost(&["a"]);
    set(&sandbox);
    let record = sandbox.ok(&format!("ls {PLACE}/web/archives/*.json"));
    let change = "mkdir other; bk-push --set usb file://$PWD/other";
    let adopt = "bk-pull --adopt --host web usb";
    let ran = sandbox.stopped_at("openat", record.stdout.trim(), 1, adopt, change);
    let other = sandbox.path("other").display().to_string();
    let told = format!(
        "bk-pull: 'usb' was set to another place meanwhile, file://{other}: run it again\n"
    );
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", &*told), "{ran:#?}");
    assert_eq!(sandbox.copies(), [""; 0]);
}

#[test]
fn what_is_needed_first_is_told() {
    let sandbox = lost(&["a"]);
    let home = sandbox.home();
    let home = home.display();
    let ran = sandbox.run("bk-pull --adopt usb");
    ran.fails(1, &format!("bk-pull: there is no catalog in '{home}' yet: 'bk-push --set usb URL' makes one that knows of the location\n"));
    assert!(!sandbox.home().exists());
    set(&sandbox);
    let ran = sandbox.run("BK_HOST=new bk-pull --adopt usb");
    ran.fails(
        1,
        "bk-pull: 'usb' has nothing of the host 'new', it has web: --host names one\n",
    );
    let ran = sandbox.run("bk-pull --adopt --host web usb a");
    assert_eq!(ran.status, 2, "{ran:#?}");
    assert!(
        ran.stderr
            .starts_with("bk-pull: --adopt takes a location and nothing else"),
        "{ran:#?}"
    );
    // A machine of the same name needs to say no more.
    let sandbox = lost(&["a"]);
    sandbox.ok(&format!(
        "export BK_HOST=web; bk-push --set usb file://$PWD/{PLACE}; bk-pull --adopt usb"
    ));
    assert_eq!(names(&sandbox.records()), ["a"]);
    fs::remove_dir_all(sandbox.path(PLACE).join("web")).unwrap();
    let ran = sandbox.run("bk-pull --adopt usb");
    ran.fails(
        1,
        "bk-pull: 'usb' has nothing of the host 'web', nor of any other\n",
    );
}

#[test]
fn a_record_that_is_damaged_keeps_no_other_from_being_adopted() {
    let sandbox = lost(&["a", "b"]);
    set(&sandbox);
    let list = sandbox.ok("bk-pull --list --host web usb").records();
    let key = list[0]["copy"]["key"]
        .as_str()
        .unwrap()
        .replace(".tar.gz", ".json");
    fs::write(sandbox.path(PLACE).join(&key), "torn").unwrap();
    let ran = sandbox.run("bk-pull --adopt --host web usb");
    ran.fails(1, &format!("bk-pull: 'usb': cannot use '{key}': it is no record of a copy: expected ident at line 1 column 2\n"));
    assert_eq!(ran.actions(), ["adopted b"]);
}

#[test]
fn an_archive_that_is_here_gets_its_copy() {
    let sandbox = lost(&["a", "b"]);
    sandbox
        .ok("mkdir -p home/archives; cp lost/archives/a.tar.gz home/archives; bk-adopt >/dev/null");
    set(&sandbox);
    let ran = sandbox.ok("bk-pull --adopt --host web usb");
    assert_eq!(ran.actions(), ["copy added a", "adopted b"]);
    let records = sandbox.records();
    let told = |at: usize| {
        (
            &records[at]["file_status"],
            &records[at]["copies"][0]["status"],
        )
    };
    assert_eq!(told(0), (&"available".into(), &"complete".into()));
    assert_eq!(told(1), (&"remote".into(), &"complete".into()));
    assert_eq!(records[0]["backup_metadata"].get("remote"), None);
    assert_eq!(sandbox.ok("bk-ls --without-copy usb --json").stdout, "");
}

#[test]
fn what_the_programs_say_of_one() {
    let sandbox = adopted(&["a", "b"]);
    let lists = |flags: &str| sandbox.ok(&format!("bk-ls --json {flags}")).records().len();
    assert_eq!(
        (
            lists("--remote"),
            lists("--missing"),
            lists("--available"),
            lists("--offline")
        ),
        (2, 0, 0, 0)
    );
    let table = sandbox.ok("bk-ls --table").stdout;
    assert_eq!(table.matches(" remote ").count(), 2, "{table}");

    refuses(&sandbox, "bk-verify --quick a", "cannot verify 'a'");
    refuses(&sandbox, "bk-restore -C out a", "cannot restore 'a'");
    refuses(&sandbox, "bk-mv a moved", "cannot move 'a'");
    refuses(&sandbox, "bk-ls --files a", "cannot list the files of 'a'");
    refuses(&sandbox, "bk-find --name a orders.db", "cannot read 'a'");
    sandbox.ok("mkdir nas; bk-push --set nas file://$PWD/nas");
    for flag in ["", "-n "] {
        refuses(
            &sandbox,
            &format!("bk-push {flag}nas a"),
            "cannot copy 'a' to 'nas'",
        );
    }
    // A round over all takes none of them.
    for line in [
        "bk-verify --all",
        "bk-verify --older-than-check 1d --limit 1",
    ] {
        let ran = sandbox.ok(line);
        assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""), "{line}");
    }
    let df = sandbox.ok("bk-df -f 'missing>0' -f 'offline>0'");
    let (total, _) = df.file_systems();
    assert_eq!(
        (
            &total["remote_count"],
            &total["missing_count"],
            &total["backup_bytes"]
        ),
        (&2.into(), &0.into(), &0.into())
    );
    let table = sandbox.ok("bk-df --table").stdout;
    assert!(
        table.lines().next().unwrap().contains("MISSING  REMOTE"),
        "{table}"
    );

    // A backup made here is as any other, though the directory was never there.
    sandbox.ok("bk-create --name c app >/dev/null");
    let record = sandbox.ok("bk-ls --json c").record();
    assert_eq!(record["file_status"], "available");
    let ran = sandbox.ok("bk-verify --all");
    assert_eq!((names(&ran.records()), &*ran.stderr), (vec!["c"], ""));
    // One that comes by other ways is here.
    sandbox.ok("cp lost/archives/a.tar.gz home/archives");
    assert_eq!((lists("--remote"), lists("--available")), (1, 2));
    sandbox.ok("bk-verify a");
}

#[test]
fn a_retention_removes_the_record_alone() {
    let sandbox = adopted(&["a", "b"]);
    let before = sandbox.objects();
    sandbox.sql("UPDATE backup_records SET expires_at = created_at WHERE backup_name = 'a'");
    let ran = sandbox.ok("bk-prune --all --expired");
    assert_eq!(names(&ran.records()), ["a"]);
    assert_eq!(names(&sandbox.records()), ["b"]);
    assert_eq!(sandbox.objects(), before);
}

#[test]
fn removing_the_record_leaves_the_copy_which_can_be_adopted_again() {
    let sandbox = adopted(&["a", "b"]);
    let before = sandbox.objects();
    let freed = |ran: &Ran| ran.record()["freed"].clone();
    assert_eq!(freed(&sandbox.ok("bk-rm a")), 0);
    assert_eq!(sandbox.objects(), before);
    assert_eq!(names(&sandbox.records()), ["b"]);
    let ran = sandbox.ok("bk-pull --adopt --host web usb");
    assert_eq!(ran.actions(), ["adopted a"]);
    let record = ran.record();
    assert_eq!(
        (&record["id"], record["copies"].as_array().unwrap().len()),
        (&3.into(), 1)
    );
    // There is one row of it: nothing of a record that is gone.
    let ran = sandbox.ok("bk-push --remove --gone usb");
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
    assert_eq!(sandbox.objects(), before);
    // Removing a copy that another catalog made takes it out of that one's list.
    sandbox.ok("bk-pull usb a && bk-push --remove usb a && rm home/archives/a.tar.gz");
    let ran = sandbox.ok("bk-pull --list --host web usb");
    assert_eq!((names(&ran.records()), &*ran.stderr), (vec!["b"], ""));
    // Without its copy it is nowhere.
    let state =
        |name: &str| sandbox.ok(&format!("bk-ls --json {name}")).record()["file_status"].clone();
    assert_eq!(
        (state("a"), state("b")),
        ("missing".into(), "remote".into())
    );
}

#[test]
fn a_storage_that_is_not_there_makes_no_difference() {
    let sandbox = adopted(&["a"]);
    sandbox.ok("bk-create --name c app >/dev/null; mv home/archives away; mkdir home/archives");
    let ran = sandbox.ok("bk-ls --json");
    let states: Vec<_> = ran
        .records()
        .iter()
        .map(|it| it["file_status"].clone())
        .collect();
    assert_eq!(states, ["remote", "offline"]);
    refuses(&sandbox, "bk-verify a", "cannot verify 'a'");
    let ran = sandbox.ok("bk-rm -n a");
    assert_eq!((names(&ran.records()), &*ran.stderr), (vec!["a"], ""));
    let ran = sandbox.ok("bk-rm a");
    assert_eq!((names(&ran.records()), &*ran.stderr), (vec!["a"], ""));
}

#[test]
fn from_an_s3_server() {
    let Some(server) = Seaweed::start() else {
        return;
    };
    server.make_bucket("bucket", false);
    let sandbox = Sandbox::with_app();
    let (keys, endpoint) = (ADMIN.environment(), server.endpoint());
    let set = format!("bk-push --set --endpoint {endpoint} s3 s3://bucket/prefix");
    sandbox.ok(&format!(
        "{keys} export BK_HOST=web; {set}; for name in a b; do bk-create --name $name app; done
         bk-ls | bk-push s3; mv home lost"
    ));
    let ran = sandbox.ok(&format!("{keys} {set}; bk-pull --adopt --host web s3"));
    assert_eq!(
        (ran.actions(), &*ran.stderr),
        (vec!["adopted a".into(), "adopted b".into()], "")
    );
    let ran = sandbox.ok(&format!("{keys} bk-push --check --read 100% s3"));
    assert_eq!((names(&ran.records()), &*ran.stderr), (vec!["a", "b"], ""));
    assert_eq!(sandbox.ok("bk-ls --remote --json").records().len(), 2);
}

#[test]
fn a_record_whose_archive_is_gone_or_another_is_told_and_not_adopted() {
    let sandbox = lost(&["a", "b", "c"]);
    set(&sandbox);
    sandbox.ok(&format!(
        "rm {PLACE}/web/archives/a-*.tar.gz; truncate -s 10 {PLACE}/web/archives/b-*.tar.gz"
    ));
    let ran = sandbox.run("bk-pull --adopt --host web usb");
    assert_eq!(
        (ran.status, ran.actions()),
        (1, vec!["adopted c".to_owned()])
    );
    // They are read side by side.
    let mut told: Vec<_> = ran.stderr.lines().collect();
    told.sort_unstable();
    let [a, b] = told[..] else { panic!("{ran:#?}") };
    let begins = |line: &str, name| {
        line.starts_with(&format!("bk-pull: 'usb': cannot use 'web/archives/{name}-"))
    };
    assert!(
        begins(a, "a") && a.ends_with(".json': its archive is not there"),
        "{a}"
    );
    assert!(
        begins(b, "b") && b.contains(".json': its archive has 10 bytes and should have "),
        "{b}"
    );
}

/// Also without the name of a location, as it lies beside the archive.
#[test]
fn the_record_beside_a_copy_selects_no_backup_of_another_host() {
    let sandbox = lost(&["a"]);
    sandbox.ok("BK_HOST=db bk-create --name a notes.txt >/dev/null 2>&1 || BK_HOST=db bk-create --name a app/config.toml >/dev/null");
    let ran = sandbox.run(&format!("cat {PLACE}/web/archives/a-*.json | bk-rm"));
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    assert_eq!(names(&sandbox.records()), ["a"]);
}
