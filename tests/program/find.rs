//! bk-find: files are found in all backups, by name and more; what was found is restored.

use crate::support::{Ran, Sandbox};
use serde_json::Value;

/// Two backups of `src/`, between which a file is changed, one added, and one removed.
fn two() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p src/etc src/Log; echo a >src/etc/nginx.conf; echo b >src/etc/old.conf
         head -c 9000 /dev/zero >src/Log/big.LOG; ln -s etc src/link; touch -d 2020-01-01 src/etc/old.conf
         sleep 2.1; bk-create --name one src
         echo changed >src/etc/nginx.conf; rm src/etc/old.conf; echo c >src/etc/new.conf
         sleep 2.1; bk-create --name two src");
    sandbox
}

/// Backup and path of each line.
fn found(ran: &Ran) -> Vec<String> {
    let text = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    let line = |it: &Value| format!("{} {}", text(it, "backup_name"), text(it, "path"));
    ran.records().iter().map(line).collect()
}

#[test]
fn names_are_found_backup_by_backup_as_excludes_match_them() {
    let sandbox = two();
    for (typed, expected) in [
        (
            "nginx.conf",
            "one src/etc/nginx.conf|two src/etc/nginx.conf",
        ),
        (
            "'*.conf'",
            "one src/etc/nginx.conf|one src/etc/old.conf|two src/etc/new.conf|two src/etc/nginx.conf",
        ),
        ("src/etc/old.conf", "one src/etc/old.conf"),
        ("etc/old.conf", ""),
        ("'**/old.conf'", "one src/etc/old.conf"),
        (
            "'{old,new}.conf'",
            "one src/etc/old.conf|two src/etc/new.conf",
        ),
        (
            "old.conf new.conf",
            "one src/etc/old.conf|two src/etc/new.conf",
        ),
        ("etc/", "one src/etc|two src/etc"),
        ("--latest '*/etc/'", "two src/etc"),
        ("big.log", ""),
        ("-i big.log", "one src/Log/big.LOG|two src/Log/big.LOG"),
        ("-i 'LOG'", "one src/Log|two src/Log"),
        ("--regex '^src/.*ew\\.c'", "two src/etc/new.conf"),
        ("--regex -i '^SRC/E.*EW'", "two src/etc/new.conf"),
        ("--type l,d 'l*' --name one", "one src/link"),
        (
            "--type d --until 0s --name two '*'",
            "two src|two src/Log|two src/etc",
        ),
        ("--larger 5K --latest", "two src/Log/big.LOG"),
        (
            "--smaller 5K --type f --name one",
            "one src/etc/nginx.conf|one src/etc/old.conf",
        ),
        ("--older 2021-01-01", "one src/etc/old.conf"),
        (
            "--newer 1h --type f --latest '*.conf'",
            "two src/etc/new.conf|two src/etc/nginx.conf",
        ),
        ("--owner 12345 '*'", ""),
        ("--owner \"$(id -un)\" old.conf", "one src/etc/old.conf"),
        ("--owner \"$(id -u)\" old.conf", "one src/etc/old.conf"),
    ] {
        let ran = sandbox.ok(&format!("bk-find {typed}"));
        assert_eq!(found(&ran).join("|"), expected, "{typed}");
        assert_eq!(ran.stderr, "", "{typed}");
    }
    let by_line = sandbox.ok("bk-ls two | bk-find - nginx.conf");
    assert_eq!(found(&by_line), ["two src/etc/nginx.conf"]);
}

#[test]
fn a_line_tells_what_bk_ls_tells_of_the_file() {
    let sandbox = two();
    sandbox.ok("printf x >src/etc/$'\\xff'.conf; bk-create --name three src");
    let name = "$'src/etc/\\xff.conf'";
    let find = sandbox.ok("bk-find --latest '?.conf'").record();
    let listed = sandbox.ok("bk-ls --files three").records();
    let listed = listed.iter().find(|it| it.get("path_base64").is_some());
    let Value::Object(find) = &find else {
        panic!("{find}")
    };
    for (key, value) in find.iter().filter(|(key, _)| *key != "created_at") {
        assert_eq!(Some(value), listed.and_then(|it| it.get(key)), "{key}");
    }
    sandbox.ok("bk-find --latest '?.conf' | bk-restore -C out");
    sandbox.ok(&format!(
        "cmp {name} out/{name}; [ $(find out -type f | wc -l) = 1 ]"
    ));
}

#[test]
fn versions_and_what_is_gone() {
    let sandbox = two();
    sandbox.ok("bk-create --name three src");
    let versions = sandbox.ok("bk-find --versions 'n*.conf'").records();
    let told = |it: &Value| {
        let text = |key: &str| it[key].as_str().unwrap().to_owned();
        let (path, first, last) = (text("path"), text("first_backup_name"), text("backup_name"));
        format!("{path} {first} {last} {}", it["backup_count"])
    };
    let told: Vec<_> = versions.iter().map(told).collect();
    assert_eq!(
        told,
        [
            "src/etc/new.conf two three 2",
            "src/etc/nginx.conf one one 1",
            "src/etc/nginx.conf two three 2",
        ]
    );
    let gone = sandbox.ok("bk-find --gone '*.conf'");
    assert_eq!(found(&gone), ["one src/etc/old.conf"]);
    // What is smaller now is not gone, and the newest need not be among those looked through.
    sandbox
        .ok("echo >src/Log/big.LOG; bk-create --name four src; mkdir other; bk-create --name other other");
    assert_eq!(
        sandbox.ok("bk-find --gone --larger 5K --name one").stdout,
        ""
    );
    assert_eq!(
        found(&sandbox.ok("bk-find --gone --name one '*'")),
        ["one src/etc/old.conf"]
    );
}

#[test]
fn missing_manifests_are_made_or_their_backups_left_out() {
    let sandbox = two();
    sandbox.ok("rm home/manifests/*");
    let without = sandbox.ok("bk-find --no-index nginx.conf");
    assert_eq!(without.stdout, "");
    let told = "bk-find: 2 backups are left out: the archive would have to be read\n";
    assert_eq!(without.stderr, told);
    let expected = ["one src/etc/nginx.conf", "two src/etc/nginx.conf"];
    assert_eq!(found(&sandbox.ok("bk-find nginx.conf")), expected);
    assert_eq!(
        found(&sandbox.ok("bk-find --no-index nginx.conf")),
        expected
    );
    // One that was made so and cannot be read to its end is told, and made again.
    sandbox.ok("for f in home/manifests/*; do printf XXXXXXXX | dd of=$f bs=1 seek=40 conv=notrunc status=none; done");
    let ran = sandbox.run("bk-find --name one nginx.conf");
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    assert!(
        ran.stderr
            .starts_with("bk-find: cannot read the manifest of 'one': "),
        "{ran:#?}"
    );
    assert_eq!(
        found(&sandbox.ok("bk-find --name one nginx.conf")),
        expected[..1]
    );
    // One that is damaged is none, and an archive that is gone is told.
    sandbox.ok("for f in home/manifests/*; do echo >$f; done; mv home/archives/one.tar.gz away");
    let ran = sandbox.run("bk-find nginx.conf");
    assert_eq!(
        (ran.status, found(&ran).join("|").as_str()),
        (1, expected[1]),
        "{ran:#?}"
    );
    let archive = sandbox.archive("one");
    let told = format!(
        "bk-find: cannot read '{}': No such file or directory\n",
        archive.display()
    );
    assert_eq!(ran.stderr, told);
}

/// What cannot be looked through is not taken for empty.
#[test]
fn what_is_gone_is_told_only_where_the_newest_is_known() {
    let sandbox = two();
    sandbox.ok("mv home/archives/two.tar.gz away; rm home/manifests/*; bk-find --name one x");
    for (typed, status) in [("--gone", 1), ("--gone --no-index", 0)] {
        let ran = sandbox.run(&format!("bk-find {typed} --name one '*'"));
        assert_eq!((ran.status, &*ran.stdout), (status, ""), "{ran:#?}");
        let told = "bk-find: cannot tell what 'two' no longer has\n";
        assert!(ran.stderr.ends_with(told), "{ran:#?}");
    }
    // Archives of others do not tell their sources: none is the newest of another's.
    sandbox.ok("tar czf a.tgz src/etc; tar czf b.tgz src/Log; bk-adopt a.tgz b.tgz");
    let ran = sandbox.run("bk-find --gone --name a '*'");
    assert_eq!((ran.status, &*ran.stdout), (0, ""), "{ran:#?}");
    sandbox.run("bk-diff b").fails(
        2,
        "bk-diff: there is no earlier backup of the same sources, host and names as 'b' to compare it with\n",
    );
}

/// A name below the source `.` begins with `./`.
#[test]
fn names_below_a_dot_are_found_as_others_are() {
    let sandbox = two();
    sandbox.ok("bk-create --name dot -C src . ; mkdir 'why?' && cp -r home 'why?/'");
    for pattern in [
        "etc/new.conf",
        "./etc/new.conf",
        "/etc/new.conf",
        "'*/new.conf'",
    ] {
        let ran = sandbox.ok(&format!("bk-find --name dot {pattern}"));
        assert_eq!(found(&ran), ["dot ./etc/new.conf"], "{pattern}");
    }
    sandbox.ok("bk-find --name dot etc/new.conf | bk-restore -C out && cmp src/etc/new.conf out/etc/new.conf");
    let ran = sandbox.run("BK_HOME=$PWD/'why?/home' bk-find x");
    let home = sandbox.path("why?/home");
    let told = format!(
        "bk-find: cannot read manifests where the path of the home holds a '?' or is not UTF-8: move '{}' to another path\n",
        home.display()
    );
    ran.fails(1, &told);
}

/// Lines that are piped in and not read would be taken for read; and lines of files name no backup to
/// be removed.
#[test]
fn lines_are_not_taken_for_what_they_are_not() {
    let sandbox = two();
    sandbox.run("bk-ls --latest | bk-find nginx.conf").fails(
        2,
        "bk-find: there are lines on standard input, which are not read: use 'bk-find - PATTERN' to read them, or </dev/null to ignore them\n",
    );
    let told = "its line tells a file in it, as bk-find does, and all of it would go: give its name or its id";
    sandbox
        .run("bk-find --latest nginx.conf | bk-rm")
        .fails(1, &format!("bk-rm: cannot remove 'two': {told}\n"));
}

/// A backup that is removed while it is looked through is told, and keeps no other from being told.
#[test]
fn a_backup_that_is_removed_meanwhile_is_told() {
    if !crate::support::can_trace() {
        return;
    }
    let sandbox = two();
    let ran = sandbox.run(
        "manifest=home/manifests/$(bk-ls two | jq -r .backup_hash).parquet
         strace -f -o trace -P $PWD/$manifest -e trace=openat -e inject=openat:delay_enter=1000000:when=2+ bk-find nginx.conf & finding=$!
         until grep -qs openat trace || ! kill -0 $finding; do sleep 0.01; done
         bk-rm two >/dev/null; wait $finding",
    );
    assert_eq!(found(&ran), ["one src/etc/nginx.conf"], "{ran:#?}");
    assert!(
        ran.status == 1 && ran.stderr.starts_with("bk-find: cannot read "),
        "{ran:#?}"
    );
}

/// What lies where a manifest belongs is none, and holds nobody up.
#[test]
fn a_fifo_is_no_manifest() {
    let sandbox = two();
    sandbox.ok(
        "for m in home/manifests/*; do rm $m; mkfifo $m; done; timeout 20 bk-create --name three src",
    );
    let ran = sandbox.run("timeout 20 bk-find --name two nginx.conf; timeout 20 bk-diff two three");
    assert_eq!(found(&ran), ["two src/etc/nginx.conf"], "{ran:#?}");
    assert!(!sandbox.ok("bk-ls --files two").stdout.is_empty());
}

/// A line of a directory is the directory: what is in it has lines of its own.
#[test]
fn a_directory_that_was_found_is_restored_without_what_is_in_it() {
    let sandbox = two();
    sandbox.ok("bk-find --latest --type d etc src | bk-restore -C out");
    assert_eq!(
        sandbox.ok("cd out; find . | sort").stdout,
        ".\n./src\n./src/etc\n"
    );
    sandbox.ok(
        "echo '{\"id\":2,\"path\":\"src/etc\"}' | bk-restore -C all; diff -r src/etc all/src/etc",
    );
}

#[test]
fn what_was_found_is_restored_and_no_more() {
    let sandbox = two();
    sandbox.ok("bk-find --latest '*.conf' | bk-restore -C out; diff -r src/etc out/src/etc");
    assert_eq!(sandbox.ok("find out -type f | wc -l").stdout, "2\n");
    let line = sandbox.ok("bk-find --latest nginx.conf").stdout;
    let line = line.trim();
    // A path that is not there is an error of its line alone.
    let ran = sandbox.run(&format!(
        "rm -r out; printf '%s\\n' '{line}' '{{\"backup_name\":\"two\",\"id\":2,\"path\":\"src/nope\"}}' | bk-restore -C out"
    ));
    ran.fails(1, "bk-restore: 'two' holds no 'src/nope'\n");
    sandbox.ok("cmp src/etc/nginx.conf out/src/etc/nginx.conf");
    let ran = sandbox.run(
        "echo '{\"id\":2,\"path\":\"src/nope\"}' | bk-restore -C out2; ! [ -e out2 ] || exit 9",
    );
    assert_eq!(
        ran.stderr,
        "bk-restore: cannot restore 'two': the backup holds no 'src/nope': 'bk-ls --files' lists what it holds\n"
    );
    for (line, told) in [
        (
            "{\"id\":2,\"path\":7}",
            "bad input: 'path' is not as bk-find prints it",
        ),
        (
            "{\"id\":2,\"path\":\"\"}",
            "bad input: 'path' is not as bk-find prints it",
        ),
        (
            "{\"id\":2,\"path_base64\":\"*\"}",
            "bad input: 'path_base64' is not as bk-find prints it",
        ),
        ("{\"id\":2,\"path\":\"a/../b\"}", "bad input: "),
    ] {
        let ran = sandbox.run(&format!("echo '{line}' | bk-restore -C out3"));
        assert!(ran.status == 2 && ran.stderr.contains(told), "{ran:#?}");
    }
    let ran = sandbox.run("bk-find nginx.conf | bk-restore -C out4 --path x");
    ran.fails(
        2,
        "bk-restore: the lines tell which paths to restore: give no others\n",
    );
}

/// Lines may name one backup in several ways.
#[test]
fn lines_of_one_backup_are_one_restoration_however_they_name_it() {
    let sandbox = two();
    sandbox.ok(
        r#"printf '%s\n' '{"id":1,"path":"src/etc/nginx.conf"}' '{"backup_name":"one","path":"src/link"}' | bk-restore -C both | wc -l | grep -qx 1
           cd both; ls src/etc/nginx.conf; test -L src/link"#,
    );
}

#[test]
fn a_wrong_regular_expression_is_a_usage_error() {
    let sandbox = Sandbox::with_app();
    sandbox
        .run("bk-find --regex x")
        .fails(1, &format!("bk-find: there is no catalog in '{}': bk-create makes one with the first backup, bk-adopt one of archives that are there; --home names another place\n", sandbox.home().display()));
    sandbox.ok("bk-create app");
    sandbox
        .run("bk-find --regex '^a' 'a('")
        .fails(2, "bk-find: --regex: missing ): a(\n");
}

#[test]
fn a_mistake_is_told_before_the_catalog_is_opened() {
    let sandbox = Sandbox::new();
    for (typed, told) in [
        ("", "no pattern given: '*' finds everything"),
        ("'a[b'", "invalid glob 'a[b'"),
        ("--type x '*'", "--type: invalid type 'x'"),
        ("--larger x '*'", "--larger: "),
        ("--each-type '*'", "--each-type needs --latest"),
    ] {
        let ran = sandbox.run(&format!("bk-find {typed}"));
        assert_eq!(ran.status, 2, "{ran:#?}");
        assert!(
            ran.stderr.starts_with(&format!("bk-find: {told}")),
            "{ran:#?}"
        );
    }
}
