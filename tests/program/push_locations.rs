//! The locations that bk-push keeps by name, and what it refuses on its command line.

use std::fs;

use crate::support::{Sandbox, can_trace, has};
use serde_json::json;

fn with_backup() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("BK_HOST=web bk-create --name a app");
    sandbox
}

#[test]
fn locations_are_kept_listed_replaced_and_forgotten() {
    let sandbox = with_backup();
    assert_eq!(sandbox.ok("bk-push --list").stdout, "");
    for line in [
        "bk-push --set --init usb file://$PWD/place/",
        "bk-push --set --endpoint https://s3.example:9000/ --region eu-central-1 --storage-class STANDARD_IA \
             --limit-rate 10M --credentials keys offsite s3://bucket/a/b/",
        "bk-push --set old gs://bucket",
        "bk-push --set old az://container/x",
        "bk-push --set nas rclone:nas:backups",
    ] {
        let ran = sandbox.ok(line);
        assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""), "{line}");
    }
    let dir = sandbox.path("").display().to_string();
    let dir = dir.trim_end_matches('/');
    sandbox.ok("bk-push usb a");
    let size = sandbox.records()[0]["backup_size"].clone();
    let listed = sandbox.ok("bk-push --list").records();
    assert_eq!(
        listed,
        [
            json!({ "location": "nas", "url": "rclone:nas:backups", "copies": 0, "bytes": 0 }),
            json!({ "location": "offsite", "url": "s3://bucket/a/b", "endpoint": "https://s3.example:9000",
                "region": "eu-central-1", "credentials": format!("{dir}/keys"), "storage_class": "STANDARD_IA",
                "limit_rate": 10 << 20, "copies": 0, "bytes": 0 }),
            json!({ "location": "old", "url": "az://container/x", "copies": 0, "bytes": 0 }),
            json!({ "location": "usb", "url": format!("file://{dir}/place"), "id": listed[3]["id"], "copies": 1, "bytes": size }),
        ]
    );
    let table = sandbox.ok("bk-push --list --table").stdout;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "LOCATION",
            "URL",
            "ENDPOINT",
            "CREDENTIALS",
            "ENCRYPTED",
            "LOCK",
            "COPIES",
            "SIZE"
        ]
    );
    assert_eq!(
        rows[1],
        [
            "nas",
            "rclone:nas:backups",
            "-",
            "-",
            "no",
            "-",
            "0",
            "0",
            "B"
        ]
    );
    let url = format!("file://{dir}/place");
    assert_eq!(rows[4][..7], ["usb", &url, "-", "-", "no", "-", "1"]);
    let keys = format!("{dir}/keys");
    assert_eq!(rows[2][2..4], ["https://s3.example:9000", &keys]);
    sandbox.ok("bk-push --unset nas old");
    assert_eq!(sandbox.ok("bk-push --list | wc -l").stdout, "2\n");
}

/// Nothing would remove or bring back what is known there.
#[test]
fn a_location_with_copies_is_not_forgotten() {
    let sandbox = with_backup();
    sandbox.ok("bk-push --set --init usb file://$PWD/place; bk-push --set empty file://$PWD/none; bk-push usb a");
    let told = "bk-push: cannot forget 'usb': one copy is known there, and nothing would remove it or bring it back any more; to remove what is not locked: 'bk-push --remove usb 1'\n";
    sandbox.run("bk-push --unset empty usb").fails(1, told);
    // All or none.
    assert_eq!(sandbox.ok("bk-push --list | wc -l").stdout, "2\n");
    sandbox.ok("bk-create --name b app; bk-push usb b");
    let told = "bk-push: cannot forget 'usb': 2 copies are known there, and nothing would remove them or bring them back any more; to remove what is not locked: 'bk-push --remove usb 1 2'\n";
    sandbox.run("bk-push --unset usb").fails(1, told);
    sandbox.ok("cp -a home kept; bk-rm b");
    let both = "'bk-push --remove usb 1' and 'bk-push --remove --gone usb'\n";
    let told = told.replace("'bk-push --remove usb 1 2'\n", both);
    sandbox.run("bk-push --unset usb").fails(1, &told);
    sandbox.ok("rm -r home; mv kept home");
    // What failed is no copy.
    assert_eq!(sandbox.run("bk-push empty a").status, 1);
    assert_eq!(
        sandbox.copies(),
        ["a empty failed", "a usb complete", "b usb complete"]
    );
    sandbox.ok("bk-push --set empty file://$PWD/nowhere");
    assert_eq!(sandbox.copies(), ["a usb complete", "b usb complete"]);
    sandbox.ok("bk-push --unset empty");
}

/// All of a location is set anew.
#[test]
fn a_location_that_loses_its_lock_and_its_keys_is_told() {
    if !has("age") {
        return;
    }
    let sandbox = with_backup();
    let key = sandbox.age_key();
    let set = |flags: &str| {
        sandbox
            .ok(&format!("bk-push --set {flags} o s3://b/p"))
            .stderr
    };
    let both = format!("--lock 90d --recipient {key}");
    assert_eq!((set(&both), set(&both)), (String::new(), String::new()));
    let told = |flag: &str| {
        format!(
            "bk-push: warning: 'o' had --{flag}, and has none now: --set sets all of a location anew\n"
        )
    };
    assert_eq!(set("--lock 30d"), told("recipient"));
    assert_eq!(set(""), told("lock"));
}

/// What is recorded under the name would count as being at the other place.
#[test]
fn a_location_that_is_set_to_another_place_meanwhile_gets_nothing() {
    if !can_trace() {
        return;
    }
    let sandbox = with_backup();
    sandbox.ok("echo >keys; chmod 600 keys");
    for (change, told) in [
        (
            "--set nas rclone:other:place",
            "'nas' was set to another place meanwhile, rclone:other:place: run it again",
        ),
        (
            "--unset nas",
            "there is no location 'nas': 'bk-push --set nas URL' names one",
        ),
    ] {
        sandbox.ok("bk-push --set --credentials keys nas rclone:nas:place");
        let change = format!("bk-push {change}");
        let ran = sandbox.stopped_at("openat", "keys", 1, "bk-push nas a", &change);
        assert_eq!(ran.stderr, format!("bk-push: {told}\n"), "{ran:#?}");
        assert_eq!(sandbox.copies(), [""; 0]);
    }
}

/// The rows that it would forget are of copies at the other place.
#[test]
fn a_location_that_is_set_to_another_place_meanwhile_loses_nothing() {
    if !can_trace() {
        return;
    }
    let sandbox = with_backup();
    sandbox.usb();
    sandbox.ok("bk-push usb a; mkdir other");
    let change = "bk-push --remove usb a; bk-push --set usb file://$PWD/other; bk-push usb a";
    // It is read three times before it is written.
    let ran = sandbox.stopped_at(
        "openat",
        "home/catalog.lock",
        4,
        "bk-push --remove usb a",
        change,
    );
    let other = sandbox.path("other").display().to_string();
    let told = format!(
        "bk-push: 'usb' was set to another place meanwhile, file://{other}: run it again\n"
    );
    assert_eq!(ran.stderr, told, "{ran:#?}");
    assert_eq!(sandbox.copies(), ["a usb complete"]);
    sandbox.ok("bk-push --check usb");
}

#[test]
fn a_directory_is_made_only_when_that_is_asked_for() {
    let sandbox = with_backup();
    let ran = sandbox.ok("bk-push --set usb file://$PWD/deep/place");
    let place = sandbox.path("deep/place").display().to_string();
    let told =
        format!("bk-push: note: '{place}' is not there: mount its disk, or make it by --init\n");
    assert_eq!(ran.stderr, told);
    assert!(!sandbox.path("deep").exists());
    sandbox.ok("bk-push --set --init usb file://$PWD/deep/place");
    let made = sandbox.ok("ls -A deep/place").stdout;
    assert_eq!(made, ".bk-location\n");
    // What is there stays.
    sandbox.ok(
        "echo x >deep/place/x; bk-push --set --init usb file://$PWD/deep/place; cat deep/place/x",
    );
    let ran = sandbox.run("bk-push --set --init other file://$PWD/deep/place/x");
    let place = sandbox.path("deep/place/x").display().to_string();
    ran.fails(1, &format!("bk-push: file://{place}: it is no directory\n"));
    assert_eq!(sandbox.ok("bk-push --list | wc -l").stdout, "1\n");
}

#[test]
fn mistakes_on_the_command_line_do_nothing() {
    let sandbox = with_backup();
    sandbox.ok("bk-push --set usb file://$PWD/place; cp home/catalog.duckdb before");
    let forms = "use s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, file:///DIRECTORY or rclone:REMOTE:PATH";
    let long = "x".repeat(65);
    for (words, told) in [
        (
            "",
            "no location given: it is the first operand; 'bk-push --list' lists them",
        ),
        ("nobody a", "there is no location 'nobody': use usb"),
        ("a", "there is no location 'a': use usb"),
        (
            "usb a -",
            "'-' must be the only operand: it reads standard input",
        ),
        (
            "usb ../a",
            "invalid name '../a': use no slash and no control character",
        ),
        (
            "--set usb",
            "--set takes a name and a URL: bk-push --set offsite s3://bucket/prefix",
        ),
        (
            "--set usb file:///a b",
            "--set takes a name and a URL: bk-push --set offsite s3://bucket/prefix",
        ),
        (
            "--set -- -x file:///a",
            "invalid location '-x': use a letter or a digit as its first character",
        ),
        (
            "--set a/b file:///a",
            "invalid location 'a/b': use letters, digits, '.', '_' and '-'",
        ),
        (
            "--set 'a b' file:///a",
            "invalid location 'a b': use letters, digits, '.', '_' and '-'",
        ),
        (
            "--set \"a'b\" file:///a",
            "invalid location 'a\\'b': use letters, digits, '.', '_' and '-'",
        ),
        (
            "--set '' file:///a",
            "invalid location '': use a letter or a digit as its first character",
        ),
        (
            &format!("--set {long} file:///a"),
            &format!("invalid location '{long}': use at most 64 bytes"),
        ),
        (
            "--set new /mnt/nas",
            &format!("invalid location '/mnt/nas': {forms}"),
        ),
        (
            "--set new file://mnt",
            "invalid location 'file://mnt': use file:// and an absolute path without '.' and '..': file:///mnt/nas/bk",
        ),
        (
            "--set new s3://key:secret@bucket",
            "invalid location 's3://...': it must hold no user and no password: they stand in the environment or in a file",
        ),
        (
            "--set new s4://user:pass@host",
            &format!("invalid location 's4://...': {forms}"),
        ),
        (
            "--set new rclone:sftp,pass=x",
            "invalid location 'rclone:...': use rclone:REMOTE:PATH, with a remote of `rclone listremotes`",
        ),
        (
            "--set --storage-class COOL new az://c",
            "--storage-class has no meaning for Azure Blob Storage",
        ),
        (
            "--set --endpoint https://h gs new",
            &format!("invalid location 'new': {forms}"),
        ),
        (
            "--set --endpoint https://h new gs://b",
            "invalid location 'gs://b': the endpoint is for s3:// only",
        ),
        (
            "--set --endpoint h new s3://b",
            "invalid location 's3://b': the endpoint must begin with https:// or http://",
        ),
        (
            "--set --limit-rate 5x new s3://b",
            "--limit-rate: invalid size '5x': use a number with K, M, G, T or P, such as 500M",
        ),
        (
            "--limit-rate 0 usb a",
            "--limit-rate: invalid rate '0': use more than nothing",
        ),
        ("--endpoint https://h usb a", "--endpoint goes with --set"),
        ("--region r usb a", "--region goes with --set"),
        ("--init usb a", "--init goes with --set"),
        (
            "--storage-class X --list",
            "--storage-class goes with --set",
        ),
        ("--list usb", "--list takes no operands"),
        ("--unset", "--unset takes the names of locations"),
        (
            "--unset usb nobody",
            "there is no location 'nobody': use usb",
        ),
        (
            "--set --list usb file:///x",
            "--set and --list exclude each other",
        ),
        (
            "--nope usb",
            "invalid option '--nope'; try 'bk-push --help'",
        ),
    ] {
        let ran = sandbox.run(&format!("bk-push {words} </dev/null"));
        ran.fails(2, &format!("bk-push: {told}\n"));
        assert_eq!(ran.stdout, "", "{words}");
    }
    sandbox.ok("cmp home/catalog.duckdb before; ! test -e home/uploads");
}

#[test]
fn without_a_catalog_it_says_how_to_make_one() {
    let sandbox = Sandbox::new();
    let home = sandbox.home().display().to_string();
    let told = format!(
        "bk-push: there is no catalog in '{home}': bk-create makes one with the first backup, \
         bk-adopt one of archives that are there; --home names another place\n"
    );
    for line in ["bk-push --list", "bk-push --unset usb"] {
        sandbox.run(line).fails(1, &told);
    }
    let told = |program| {
        format!(
            "{program}: there is no catalog in '{home}' yet: 'bk-push --set usb URL' makes one that knows of the location\n"
        )
    };
    sandbox.run("bk-push usb a").fails(1, &told("bk-push"));
    sandbox.run("bk-pull --list usb").fails(1, &told("bk-pull"));
    assert!(!sandbox.home().exists());
    // A machine that begins anew names the location before it has a backup.
    sandbox.ok("bk-push --set usb file:///mnt/x; bk-push --list | grep -q usb");
}

#[test]
fn a_damaged_setting_is_told_and_replaced() {
    let sandbox = with_backup();
    sandbox.ok("bk-push --set good file://$PWD/place; bk-push --set usb file:///x");
    sandbox.sql("UPDATE settings SET value = '{}' WHERE name = 'location.usb'");
    let told = "bk-push: the setting of the location 'usb' is damaged; 'bk-push --set usb URL' replaces it: missing field `url` at line 1 column 2\n";
    let ran = sandbox.run("bk-push --list");
    ran.fails(1, told);
    assert_eq!(ran.record()["location"], "good");
    sandbox.run("bk-push usb a").fails(1, told);
    sandbox.ok("bk-push --set --init usb file://$PWD/usb; bk-push usb a");
}

/// Secrets are read where they are and told nowhere.
#[test]
fn credentials_are_private_and_never_in_the_home() {
    let sandbox = with_backup();
    let secret = "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY";
    let keys = sandbox.write(
        "keys",
        &format!("[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = {secret}\n"),
    );
    // Nobody listens there.
    let set =
        "bk-push --set --endpoint http://127.0.0.1:9 --credentials keys offsite s3://bucket/x";
    sandbox.ok(&format!("chmod 640 keys; {set}"));
    let ran = sandbox.run("bk-push offsite a");
    let told = format!(
        "bk-push: access to the credentials file '{}' is refused: others can read it (mode 0640); chmod 600 makes it private\n",
        keys.display()
    );
    ran.fails(1, &told);
    sandbox
        .run("bk-push --set plain s3://bucket/x; bk-push --credentials keys plain a")
        .fails(1, &told);
    sandbox.ok("rm keys; bk-push --list");
    let ran = sandbox.run("bk-push offsite a");
    let told = format!(
        "bk-push: access to the credentials file '{}' is refused: No such file or directory\n",
        keys.display()
    );
    ran.fails(1, &told);
    // A key by itself is no line that sets something, and is not told.
    sandbox.ok("echo c2VjcmV0== >only; chmod 600 only; bk-push --set --credentials only az az://c");
    let only = sandbox.path("only").display().to_string();
    let why = "it has a line that sets no variable of Azure, such as AZURE_STORAGE_ACCOUNT_KEY";
    let told = format!("bk-push: access to the credentials file '{only}' is refused: {why}\n");
    sandbox.run("bk-push az a").fails(1, &told);
    for file in walkdir(&sandbox) {
        let bytes = fs::read(&file).unwrap();
        for word in [secret, "AKIAEXAMPLE"] {
            let is_there = bytes.windows(word.len()).any(|it| it == word.as_bytes());
            assert!(!is_there, "{word} in {file:?}");
        }
    }
}

fn walkdir(sandbox: &Sandbox) -> Vec<std::path::PathBuf> {
    let listed = sandbox.ok("find home -type f").stdout;
    listed.lines().map(|it| sandbox.path(it)).collect()
}
