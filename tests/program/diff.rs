//! bk-diff: what changed between two backups, or between one and its sources.

use crate::support::{Ran, Sandbox, has};
use serde_json::{Value, json};

/// Two backups of `src/`, between which one thing of each kind changes.
fn two() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p src/a/b src/gone; cd src; echo same >same; echo 1 >a/b/big; echo x >mode; ln -s same link
         echo y >gone/file; echo z >turns; echo 1 >touched; cp -a touched twin; cd ..; sleep 2.1
         bk-create --name one src
         cd src; echo 22 >a/b/big; chmod 600 mode; ln -sfn mode link; rm -r gone; rm turns; mkdir turns
         echo new >a/new; touch touched; rm same; echo same >other; cp -p twin t2; mv t2 twin; cd ..; sleep 2.1
         bk-create --name two src");
    sandbox
}

/// Change and path of each line.
fn changes(ran: &Ran) -> Vec<String> {
    let text = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    let line = |it: &Value| format!("{} {}", text(it, "change"), text(it, "path"));
    ran.records().iter().map(line).collect()
}

const CHANGES: [&str; 12] = [
    "added src/a/new",
    "modified src/a/b/big",
    "removed src/gone",
    "removed src/gone/file",
    "modified src/link",
    "metadata src/mode",
    "added src/other",
    "removed src/same",
    "modified src/touched",
    "type src/turns",
    "metadata src/twin",
    "",
];

/// In the order of an archive.
fn expected() -> Vec<&'static str> {
    let mut all: Vec<_> = CHANGES.into_iter().filter(|it| !it.is_empty()).collect();
    all.sort_by_key(|it| it.split_once(' ').unwrap().1.split('/').collect::<Vec<_>>());
    all
}

#[test]
fn each_kind_of_change_is_told_in_the_order_of_an_archive() {
    let sandbox = two();
    for typed in ["one two", "two", "1 2", "--live one"] {
        let ran = sandbox.run(&format!("bk-diff {typed}"));
        assert_eq!((ran.status, &*ran.stderr), (1, ""), "{typed}");
        assert_eq!(changes(&ran), expected(), "{typed}");
    }
    let back = sandbox.run("bk-diff two one -- new gone/");
    assert_eq!(
        changes(&back),
        ["removed src/a/new", "added src/gone", "added src/gone/file"]
    );
    for typed in [
        "two two",
        "--live two",
        "one two -- nothing",
        "--stat two two >&2",
    ] {
        let ran = sandbox.run(&format!("bk-diff {typed}"));
        assert_eq!((ran.status, &*ran.stdout), (0, ""), "{typed}: {ran:#?}");
    }
}

#[test]
fn a_line_tells_what_differs_and_where_it_is() {
    let sandbox = two();
    let ran = sandbox.run("bk-diff one two");
    let line = |path: &str| {
        let all = ran.records();
        all.iter().find(|it| it["path"] == path).unwrap().clone()
    };
    let big = line("src/a/b/big");
    assert_eq!(
        (
            &big["id"],
            &big["backup_name"],
            &big["old"]["size"],
            &big["new"]["size"]
        ),
        (&json!(1), &json!("one"), &json!(2), &json!(3))
    );
    assert_eq!(big["old"].get("mode"), None, "{big}");
    assert_eq!(line("src/mode")["new"]["mode"], "0600");
    assert_eq!(line("src/link")["new"]["link"], "mode");
    assert_eq!(line("src/turns")["old"]["type"], "file");
    let twin = line("src/twin");
    assert_ne!(twin["old"]["inode"], twin["new"]["inode"]);
    assert_eq!(twin["old"].get("mtime"), None, "{twin}");
    let added = line("src/a/new");
    assert_eq!((&added["id"], added.get("old")), (&json!(2), None));
    assert_eq!(added["new"].get("inode"), None, "{added}");
    let live = sandbox.run("bk-diff --live one -- new");
    assert_eq!(live.records()[0].get("id"), None, "{live:#?}");

    let stat = sandbox.run("bk-diff --stat one two");
    assert_eq!(
        stat.records(),
        [
            json!({"added": 2, "removed": 3, "modified": 3, "metadata": 2, "type": 1,
                "added_bytes": 9, "removed_bytes": 9, "modified_bytes": 5})
        ]
    );
    let table = sandbox.run("bk-diff --table one two -- big mode");
    let lines: Vec<_> = table
        .stdout
        .lines()
        .map(|it| it.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(lines[0], ["CHANGE", "PATH", "OLD", "NEW"]);
    assert_eq!(lines[1][..4], ["modified", "src/a/b/big", "2", "B"]);
    assert_eq!(lines[2], ["metadata", "src/mode", "0644", "0600"]);
}

/// What differs by its time or inode alone is read, and is a change only if it holds something else.
#[test]
fn the_content_tells_where_time_and_inode_are_in_doubt() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir s; cd s; for f in touched twin sly holes real; do echo 12345678 >$f; done
         truncate -s 1M holes; head -c 300000 /dev/urandom >big; touch -d @1700000000 *; cd ..; sleep 2.1; bk-create --name one s
         cd s; touch touched; cp -p twin t; mv t twin; printf 87654321 | dd of=sly conv=notrunc status=none
         touch -r real sly; cp --sparse=never -p holes h; mv h holes; echo 87654321 >real
         cp -p big b; mv b big; cd ..; sleep 2.1; bk-create --name two s");
    let without = sandbox.run("bk-diff one two");
    assert_eq!(
        changes(&without),
        [
            "metadata s/big",
            "metadata s/holes",
            "modified s/real",
            "metadata s/sly",
            "modified s/touched",
            "metadata s/twin"
        ]
    );
    for typed in ["--content one two", "--content --live one"] {
        let ran = sandbox.run(&format!("bk-diff {typed}"));
        assert_eq!(
            changes(&ran),
            ["modified s/real", "modified s/sly", "metadata s/touched"],
            "{typed}"
        );
    }
    // Without what only a source tells, all files of a size are in doubt.
    sandbox.ok("rm home/manifests/*");
    let anew = sandbox.run("bk-diff one two");
    let unknown = |name: &str| {
        format!(
            "bk-diff: warning: nothing tells the inodes of '{name}': a file of the same size and time counts as the same; --content reads it\n"
        )
    };
    assert_eq!(anew.stderr, unknown("one") + &unknown("two"));
    assert_eq!(changes(&anew), ["modified s/real", "modified s/touched"]);
    let ran = sandbox.run("bk-diff --content one two");
    assert_eq!(
        changes(&ran),
        ["modified s/real", "modified s/sly", "metadata s/touched"]
    );
    sandbox.ok(
        "printf XXXX | dd of=home/archives/one.tar.gz bs=1 seek=150000 conv=notrunc status=none",
    );
    let damaged = sandbox.run("bk-diff --content one two");
    assert_eq!((damaged.status, &*damaged.stdout), (2, ""));
    assert!(
        damaged.stderr.starts_with("bk-diff: cannot read '"),
        "{damaged:#?}"
    );
}

/// As bk-create would leave them out; and its own files.
#[test]
fn the_sources_are_walked_as_the_backup_was_made() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("mkdir -p all/app; cp -a app all/; sleep 2.1
         BK_HOME=$PWD/all/home bk-create --name a --exclude '*.LOG' --ignore-case-excludes --exclude-caches \
             --exclude-if-present orders.db --exclude-larger 300K --one-file-system -C . all");
    let same = sandbox.run("BK_HOME=$PWD/all/home bk-diff --live a");
    assert_eq!((same.status, &*same.stdout, &*same.stderr), (0, "", ""));
    sandbox.ok("echo later >>all/app/log/app.log; echo later >all/app/cache/more; echo later >all/app/data/more; truncate -s 400K all/app/big all/app/data/orders.db; echo later >all/app/$'n\\xff'");
    let ran = sandbox.run("BK_HOME=$PWD/all/home bk-diff --live a");
    assert_eq!(
        changes(&ran),
        ["removed all/app/data/orders.db", "added all/app/n\u{fffd}"]
    );
    assert_eq!(ran.records()[1]["path_base64"], "YWxsL2FwcC9u/w==");
    sandbox.ok("BK_HOME=$PWD/all/home bk-create --name stored --storage $PWD/all/store all");
    let ran = sandbox.run("BK_HOME=$PWD/all/home bk-diff --live stored");
    assert_eq!((ran.status, &*ran.stdout), (0, ""), "{ran:#?}");
    let ran = sandbox.run("rm -r all/app; BK_HOME=$PWD/all/home bk-diff --live a -- app | wc -l");
    assert!(ran.stdout.trim().parse::<u64>().unwrap() > 3, "{ran:#?}");
}

/// The file did not change, though another of its names comes first; and a link that a backup followed.
#[test]
fn names_of_one_file_and_links_are_no_change() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir s; echo 1 >s/a; ln s/a s/b; ln s/a s/c; ln -s s link; sleep 2.1; bk-create --name one s; bk-create --name l link/
         rm s/a; sleep 2.1; bk-create --name two s");
    let ran = sandbox.run("bk-diff one two");
    assert_eq!(
        changes(&ran),
        ["removed s/a", "metadata s/b", "metadata s/c"]
    );
    let ran = sandbox.run("bk-diff --live l -- a");
    assert_eq!(changes(&ran), ["removed link/a"]);
    sandbox.ok("echo 22 >s/b; sleep 0.1");
    let ran = sandbox.run("bk-diff --live two");
    assert_eq!(changes(&ran), ["modified s/b", "modified s/c"]);
}

#[test]
fn what_cannot_be_looked_at_is_trouble_and_not_removed() {
    let sandbox = Sandbox::new();
    if !has("setpriv") {
        return;
    }
    sandbox.ok("chmod 755 .; mkdir -p s/closed/in s/open; echo 1 >s/closed/in/f; echo 2 >s/open/f; chmod -R a+rX s; sleep 2.1; bk-create --name a s
         rm s/open/f; chmod 700 s/closed; chmod -R a+rX home");
    let ran = sandbox.run("setpriv --reuid 12345 --regid 12345 --clear-groups bk-diff --live a");
    if ran.stderr.contains("closed") {
        assert_eq!(ran.status, 2, "{ran:#?}");
        assert_eq!(changes(&ran), ["metadata s/closed", "removed s/open/f"]);
    }
}

#[test]
fn mistakes_are_told_and_are_trouble() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; bk-create --name b app/data; echo x | bk-create --name c --stdin-filename x; bk-create --name f app >/dev/null");
    for (typed, told) in [
        ("", "no backup given to compare"),
        ("a b c", "more than two backups given"),
        ("--live a b", "--live takes one backup"),
        ("a -", "standard input is not read: give ids or names"),
        (
            "a",
            "there is no earlier backup of the same sources, host and names as 'a' to compare it with",
        ),
        ("a none", "there is no backup 'none'"),
        (
            "--live c",
            "cannot compare 'c' with its sources: it is of what came through a pipe, which is gone",
        ),
    ] {
        let ran = sandbox.run(&format!("bk-diff {typed}"));
        let told = format!("bk-diff: {told}\n");
        assert_eq!(
            (ran.status, &*ran.stdout, &*ran.stderr),
            (2, "", &*told),
            "{typed}"
        );
    }
}

/// What was removed between two backups comes back.
#[test]
fn what_was_removed_is_restored_from_the_lines() {
    let sandbox = two();
    if !has("jq") {
        return;
    }
    sandbox.ok("bk-diff one two | jq -c 'select(.change == \"removed\")' | bk-restore -C out");
    let ran = sandbox.ok("cat out/src/same out/src/gone/file; find out -type f | wc -l");
    assert_eq!(ran.stdout, "same\ny\n2\n");
}
