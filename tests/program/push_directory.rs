//! Locations that are directories: another disk may be mounted there, and what lies in them may lead elsewhere; and
//! what is known of objects there that are no copies.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use crate::support::pushed::{PLACE, check_all_copied};
use crate::support::{KILLED, Sandbox, can_trace};
use serde_json::{Value, json};

const MARKER: &str = ".bk-location";

/// A copy of `a`, and `b` without one.
fn copied() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("export BK_HOST=web; bk-create --name a app; bk-create --name b app/log");
    sandbox.usb();
    sandbox.ok("bk-push usb a");
    sandbox
}

fn url(sandbox: &Sandbox) -> String {
    format!("file://{}", sandbox.path(PLACE).display())
}

fn marker(sandbox: &Sandbox) -> Value {
    let text = fs::read(sandbox.path(PLACE).join(MARKER)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn another_disk_that_is_mounted_there_is_not_the_location() {
    let sandbox = copied();
    let (url, id) = (url(&sandbox), marker(&sandbox));
    assert_eq!(sandbox.ok("bk-push --list --json").record()["id"], id["id"]);
    // The other one is a location too, of the same name and at the same path.
    sandbox.ok(&format!(
        "mv {PLACE} first; export BK_HOME=$PWD/other
         bk-create --name c app; bk-push --set --init usb {url}; bk-push usb c"
    ));
    assert_ne!(marker(&sandbox), id);
    let before = sandbox.objects();
    let told = format!(
        "{url} is another location: its '{MARKER}' is not the one that was there: mount the right disk\n"
    );
    for line in [
        "bk-push --check usb",
        "bk-push --remove usb a",
        "bk-push usb b",
        "bk-pull --list usb",
        "bk-pull -C elsewhere usb a",
        "bk-pull --adopt usb",
    ] {
        let program = line.split(' ').next().unwrap();
        sandbox.run(line).fails(1, &format!("{program}: {told}"));
    }
    sandbox.run(&format!("bk-push --set usb {url}")).fails(
        1,
        &format!(
            "bk-push: cannot set 'usb' to another place: copies are known at {url}; \
             'bk-push --remove' removes them, and another name keeps them\n"
        ),
    );
    assert_eq!(sandbox.objects(), before);
    assert_eq!(sandbox.copies(), ["a usb complete"]);
    sandbox.ok(&format!(
        "mv {PLACE} second; mv first {PLACE}; bk-push --check usb"
    ));
}

#[test]
fn an_empty_directory_is_not_the_location_and_a_marker_that_was_lost_is_left_anew() {
    let sandbox = copied();
    let (url, id) = (url(&sandbox), marker(&sandbox));
    let told = format!(
        "bk-push: {url} has no '{MARKER}', which tells that it is the location: mount its disk; \
         where only that file is lost, 'bk-push --set' leaves it anew\n"
    );
    sandbox.ok(&format!("mv {PLACE} away; mkdir {PLACE}"));
    for line in ["bk-push --check usb", "bk-push usb b"] {
        sandbox.run(line).fails(1, &told);
    }
    assert_eq!(sandbox.copies(), ["a usb complete"]);
    // What is repeated by habit makes an empty directory no location.
    let none = format!(
        "bk-push: none of the copies that are known at {url} is there: mount its disk; \
         where they are lost, 'bk-push --unset --lost' forgets them\n"
    );
    sandbox
        .run(&format!("bk-push --set --init usb {url}"))
        .fails(1, &none);
    sandbox.ok(&format!(
        "rmdir {PLACE}; mv away {PLACE}; rm {PLACE}/{MARKER}"
    ));
    sandbox.run("bk-push --check usb").fails(1, &told);
    sandbox.ok(&format!("bk-push --set usb {url}; bk-push --check usb"));
    assert_eq!(marker(&sandbox), id);
}

#[test]
fn a_directory_that_was_not_there_when_it_was_named_is_known_from_the_first_copy_on() {
    let sandbox = copied();
    let ran = sandbox.ok("bk-push --set later file://$PWD/later; mkdir later");
    assert!(ran.stderr.starts_with("bk-push: note: "), "{ran:#?}");
    sandbox.ok("bk-push -n later a");
    assert!(!sandbox.path("later").join(MARKER).exists());
    sandbox.ok("bk-push later a; mv later away; mkdir later");
    assert_eq!(sandbox.run("bk-push --check later").status, 1);
    assert_eq!(sandbox.copies(), ["a later complete", "a usb complete"]);
}

/// The first copy is not what tells which directory it is.
#[test]
fn a_location_without_an_id_gets_none_where_nothing_of_it_is() {
    let sandbox = copied();
    let url = url(&sandbox);
    sandbox.ok(&format!(
        "mv {PLACE} away; rm -r home; bk-push --set usb {url}"
    ));
    sandbox.ok(&format!("mv away {PLACE}; bk-pull --adopt --host web usb"));
    let id = sandbox.ok("bk-push --list").record()["id"].clone();
    assert_eq!(id, marker(&sandbox)["id"]);
    // As a catalog has it that is older than markers.
    sandbox.sql("UPDATE settings SET value = regexp_replace(value, ',\"id\":\"[^\"]*\"', '') WHERE name LIKE 'location.%'");
    assert_eq!(sandbox.ok("bk-push --list").record()["id"], Value::Null);
    sandbox.ok(&format!("mv {PLACE} away; mkdir {PLACE}"));
    for line in ["bk-push --check usb", "bk-push --remove usb a"] {
        let ran = sandbox.run(line);
        assert!(
            ran.stderr.starts_with("bk-push: none of the copies"),
            "{ran:#?}"
        );
    }
    assert_eq!(sandbox.copies(), ["a usb complete"]);
    sandbox.ok(&format!(
        "rmdir {PLACE}; mv away {PLACE}; bk-push --check usb"
    ));
    assert_eq!(sandbox.ok("bk-push --list").record()["id"], id);
}

/// One copy would count as two.
#[test]
fn a_directory_has_one_name_and_may_be_moved() {
    let sandbox = copied();
    let url = url(&sandbox);
    sandbox.ok(&format!("ln -s {PLACE} link"));
    for again in [url.clone(), url.replace(PLACE, "link")] {
        sandbox.run(&format!("bk-push --set other {again}")).fails(
            1,
            &format!("bk-push: {again} is the location 'usb' already; where it is a copy of that one, remove its '{MARKER}'\n"),
        );
    }
    let moved = url.replace(PLACE, "moved");
    sandbox.ok(&format!(
        "mv {PLACE} moved; bk-push --set usb {moved}; bk-push --check usb; BK_HOST=web bk-push usb b"
    ));
    assert_eq!(sandbox.copies(), ["a usb complete", "b usb complete"]);
}

#[test]
fn what_is_lost_with_its_disk_can_be_forgotten() {
    let sandbox = copied();
    sandbox.ok(&format!("rm -r {PLACE}"));
    assert_eq!(sandbox.run("bk-push --unset usb").status, 1);
    assert_eq!(sandbox.run("bk-push --list --lost").status, 2);
    // An upload that was begun goes with it, and what was encrypted for that.
    let plan = json!({"archive_hash": "", "object_hash": "", "key": "k", "url": url(&sandbox), "size_bytes": 1, "part_bytes": 1, "upload_id": "0"});
    sandbox.write("home/uploads/usb.2", &format!("{plan}\n"));
    sandbox.write("home/uploads/usb.2.age", "x");
    if can_trace() {
        let killed = sandbox.run(
            "exec strace -f -qqq -o trace -P $PWD/home/uploads/usb.2.age -e trace=unlink \
             -e inject=unlink:signal=SIGKILL bk-push --unset --lost usb",
        );
        assert_eq!(killed.status, KILLED, "{killed:#?}");
    }
    sandbox.ok("bk-push --unset --lost usb");
    assert_eq!(sandbox.copies(), [""; 0]);
    assert_eq!(sandbox.journals().len(), 0);
    assert_eq!(sandbox.ok("bk-push --list").stdout, "");
}

/// Whoever may write there could have root remove what it likes.
#[test]
fn what_a_link_leads_to_is_neither_removed_nor_read() {
    let sandbox = copied();
    let archives = sandbox.path(PLACE).join("web/archives");
    fs::rename(&archives, sandbox.path("victim")).unwrap();
    symlink(sandbox.path("victim"), &archives).unwrap();
    let count = || fs::read_dir(sandbox.path("victim")).unwrap().count();
    assert_eq!(count(), 3);
    let lists = sandbox.lists();
    for line in [
        "bk-push --check usb",
        "bk-pull -C elsewhere usb a",
        "BK_HOST=web bk-push usb b",
        "BK_HOST=web bk-pull --list --rebuild usb",
        "bk-pull --adopt --host web usb",
        "bk-push --remove usb a",
    ] {
        let ran = sandbox.run(line);
        assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
        assert!(ran.stderr.contains("a link is not followed"), "{ran:#?}");
        assert_eq!(count(), 3, "{ran:#?}");
        assert_eq!(sandbox.lists(), lists, "{ran:#?}");
    }
}

/// Names that nobody gave an archive hide no other.
#[test]
fn odd_directories_beside_the_hosts_are_none() {
    let sandbox = copied();
    let list = "BK_HOST=web bk-pull --list --all-hosts usb";
    let before = sandbox.ok(list).stdout;
    sandbox.ok(&format!(
        "mkdir -p {PLACE}/$'a\\nb'/archives {PLACE}/x.partial/archives"
    ));
    let ran = sandbox.ok(list);
    assert_eq!((&*ran.stdout, &*ran.stderr), (&*before, ""));
}

#[test]
fn all_that_is_known_of_a_backup_is_not_removed() {
    let sandbox = copied();
    fs::remove_file(sandbox.archive("a")).unwrap();
    let before = sandbox.objects();
    let told = "bk-push: cannot remove the copy of 'a' at 'usb': it is all that is known of the backup, whose archive \
                is not here: 'bk-rm 1' and then 'bk-push --remove --gone usb' give it up\n";
    for flags in ["-n ", ""] {
        sandbox
            .run(&format!("bk-push --remove {flags}usb a"))
            .fails(1, told);
    }
    assert_eq!(sandbox.objects(), before);
    assert_eq!(sandbox.copies(), ["a usb complete"]);
    sandbox.ok("bk-rm 1; bk-push --remove --gone usb");
    assert_eq!(sandbox.objects().len(), 0);
    // A disk that is away has the archive, perhaps.
    sandbox
        .ok("mkdir disk; bk-create --storage disk/store --name c app; bk-push usb c; mv disk away");
    let ran = sandbox.run("bk-push --remove usb c");
    assert!(ran.stderr.contains("it is all that is known"), "{ran:#?}");
    assert_eq!(sandbox.objects().len(), 3);
}

#[test]
fn two_that_remove_at_once_leave_one_copy() {
    let sandbox = copied();
    sandbox.ok("bk-push --set --init nas file://$PWD/nas; bk-push nas a b; bk-push usb b; rm home/archives/*.gz; mkdir start; cp -a home place nas start");
    for _ in 0..5 {
        sandbox.run(
            "rm -r home place nas; cp -a start/. .
             bk-push --remove usb a b & bk-push --remove nas a b; wait",
        );
        let left = sandbox.ok(
            "ls place/*/archives/*.gz nas/*/archives/*.gz | sed 's/.*archives.//; s/-.*//' | sort",
        );
        assert_eq!(left.stdout, "a\nb\n", "{left:#?}");
    }
}

/// Until it is replaced, the object is what it was.
#[test]
fn a_bad_copy_whose_replacement_is_killed_stays_bad() {
    if !can_trace() {
        return;
    }
    let sandbox = copied();
    let object = sandbox.object("a");
    let whole = fs::read(&object).unwrap();
    fs::write(&object, &whole[1..]).unwrap();
    assert_eq!(sandbox.run("bk-push --check usb a").status, 1);
    let killed = sandbox.run(
        "exec strace -f -qqq -o /dev/null -e trace=renameat2 -e inject=renameat2:signal=SIGKILL:when=1 bk-push usb a",
    );
    assert_eq!(killed.status, KILLED, "{killed:#?}");
    assert_eq!(sandbox.copies(), ["a usb copying"]);
    let told = "bk-push: 'a' has no complete copy at 'usb'\n";
    let ran = sandbox.run("BK_HOST=web bk-push --check usb");
    assert_eq!((ran.status, &*ran.stderr), (1, told), "{ran:#?}");
    assert_eq!(sandbox.run("bk-push --unset usb").status, 1);
    fs::write(&object, whole).unwrap();
    assert_eq!(sandbox.ok("bk-pull --adopt --host web usb").stdout, "");
    sandbox.ok("rm home/archives/a.tar.gz; bk-pull usb a && bk-push usb a");
    sandbox.ok("bk-push --check --read 100% usb a");
}

/// It may be locked for years, and costs.
#[test]
fn an_object_whose_record_could_not_be_written_beside_it_is_known() {
    let sandbox = copied();
    let hash = sandbox.ok("bk-ls --json b").record()["backup_hash"].clone();
    let record = format!(
        "{PLACE}/web/archives/b-{}.json",
        &hash.as_str().unwrap()[..12]
    );
    fs::create_dir(sandbox.path(&record)).unwrap();
    let ran = sandbox.run("BK_HOST=web bk-push usb b");
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    assert_eq!(sandbox.copies(), ["a usb complete", "b usb failed"]);
    let ran = sandbox.run("bk-push --unset usb");
    assert!(ran.stderr.contains("2 copies are known there"), "{ran:#?}");
    let ran = sandbox.run("BK_HOST=web bk-push --check usb");
    let told = "bk-push: 'b' has no complete copy at 'usb'\n";
    assert_eq!((ran.status, &*ran.stderr), (1, told));
    fs::remove_dir(sandbox.path(&record)).unwrap();
    sandbox.ok("BK_HOST=web bk-push usb b");
    check_all_copied(&sandbox, "b");
}

/// An upload that was killed before its end was recorded. What is there need not be sent again, unless it was to be kept
/// otherwise.
#[test]
fn a_location_that_does_not_answer_makes_no_journal_forget() {
    let sandbox = copied();
    let push = "BK_HOST=web bk-push usb c";
    sandbox.ok(&format!(
        "head -c 34M /dev/urandom >big; BK_HOST=web bk-create --level 1 --name c big; {push}"
    ));
    let object = sandbox.object("c");
    let journal = sandbox.home().join("uploads/usb.3");
    let hash = sandbox.ok("bk-ls --json c").record()["backup_hash"].clone();
    let told = fs::metadata(&object).unwrap();
    let key = object.strip_prefix(sandbox.path(PLACE)).unwrap();
    let mut plan = json!({"archive_hash": hash, "object_hash": hash, "key": key, "url": url(&sandbox), "size_bytes": told.len(), "part_bytes": 16 << 20, "upload_id": "0"});
    let kill = |plan: &Value| {
        sandbox.sql("DELETE FROM backup_copies WHERE backup_name = 'c'");
        let text = format!("{plan}\n{{\"stored\":null}}\n");
        fs::write(&journal, &text).unwrap();
        text
    };
    let text = kill(&plan);
    sandbox.ok(&format!("mv {PLACE} away"));
    assert_eq!(sandbox.run(push).status, 1);
    assert_eq!(fs::read_to_string(&journal).unwrap(), text);
    sandbox.ok(&format!("mv away {PLACE}; {push}"));
    assert_eq!(fs::metadata(&object).unwrap().ino(), told.ino());
    plan["storage_class"] = "GLACIER".into();
    kill(&plan);
    sandbox.ok(push);
    assert_ne!(fs::metadata(&object).unwrap().ino(), told.ino());
    sandbox.ok("bk-push --check --read 100% usb c");
}

/// It hides no other.
#[test]
fn a_host_that_has_closed_its_directory_is_told() {
    if !can_trace() {
        return;
    }
    let sandbox = copied();
    sandbox.ok(&format!("mkdir -p {PLACE}/db/archives"));
    let ran = sandbox.run(&format!(
        "BK_HOST=web strace -f -qqq -o trace -P $PWD/{PLACE}/db -e trace=openat -e inject=openat:error=EACCES \
         bk-pull --list --all-hosts usb"
    ));
    assert_eq!((ran.status, ran.records().len()), (1, 1), "{ran:#?}");
    let told = format!("bk-pull: access to 'db' at {} is refused", url(&sandbox));
    assert!(ran.stderr.starts_with(&told), "{ran:#?}");
}

/// It may tell of what cannot be read now.
#[test]
fn the_list_of_a_host_whose_records_cannot_all_be_read_stays() {
    if !can_trace() {
        return;
    }
    let sandbox = copied();
    let list = sandbox.lists().into_iter().next().unwrap();
    let before = fs::read(&list).unwrap();
    let record = sandbox
        .ok(&format!("ls $PWD/{PLACE}/web/archives/*.json"))
        .stdout;
    let ran = sandbox.run(&format!(
        "BK_HOST=web strace -f -qqq -o trace -P {} -e trace=openat -e inject=openat:error=EIO \
         bk-pull --list --rebuild usb",
        record.trim()
    ));
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    assert_eq!(fs::read(&list).unwrap(), before);
}
