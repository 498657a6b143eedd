//! What commands print, beside paths: dumps of databases.

use std::fs;
use std::thread::sleep;

use crate::program::parent::UNSURE;
use crate::support::changes::noise;
use crate::support::mounts::image;
use crate::support::postgres::Postgres;
use crate::support::{Sandbox, compared};
use serde_json::{Value, json};

/// One archive of a directory and two commands.
const BOTH: &str = "bk-create --name a --command db/z.sql='seq 300000' \
                    --command app/dump='PGPASSWORD=secret seq 3; echo told >&2' app";

#[test]
fn one_archive_holds_paths_and_what_commands_print() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("cp -r app before");
    let ran = sandbox.run(BOTH);
    ran.fails(0, "told\n");
    let record = ran.record();
    let metadata = &record["backup_metadata"];
    let app = sandbox.path("app");
    assert_eq!(
        metadata["sources"],
        json!([app, "stdin:app/dump", "stdin:db/z.sql"])
    );
    let entries = json!(["app", "app/dump", "db/z.sql"]);
    assert_eq!(metadata["source_entries"], entries);
    let commands = json!({ "app/dump": "sh", "db/z.sql": "seq" });
    assert_eq!(metadata["commands"], commands);
    assert_eq!(record["file_count"], 8);
    assert!(!record.to_string().contains("secret"));
    sandbox.ok(&format!(
        "set -o pipefail
         [ $(sha256sum <home/archives/a.tar.gz | cut -c -64) = {} ]
         mkdir tar; tar -xzf home/archives/a.tar.gz -C tar
         seq 3 | cmp - tar/app/dump && rm tar/app/dump && diff -r app tar/app
         bk-verify --deep a >/dev/null && bk-restore --test a >/dev/null
         bk-restore --stdout db/z.sql a | cmp - <(seq 300000)
         bk-ls --files a | jq -r .path | grep -qx db/z.sql
         bk-find z.sql | jq -e '.size == 1988895'",
        record["backup_hash"]
    ));
    // What came from commands has no place to go.
    let ran = sandbox.run("rm -r app/log; bk-restore --to-source a");
    let nowhere = |name: &str| {
        format!(
            "bk-restore: warning: '{name}' came from a command, from no place, and is not restored: \
             'bk-restore --stdout {name} a' prints it\n"
        )
    };
    let kept = format!(
        "bk-restore: what was there is kept as '{}.before-1'\n",
        app.display()
    );
    let told = [kept, nowhere("app/dump"), nowhere("db/z.sql")].concat();
    ran.fails(0, &told);
    sandbox.ok("diff -r app before && [ ! -e db ]");
    let ran = sandbox.run("echo >>app/config.toml; bk-diff --live a");
    let told = "bk-diff: 'app/dump', 'db/z.sql': not compared, as it came from a command\n";
    ran.fails(1, told);
    let changes = ran.records();
    let mut content = changes.iter().filter(|it| it["change"] != "metadata");
    assert_eq!(content.next().unwrap()["path"], "app/config.toml");
    assert_eq!(content.next(), None);
    // Its archive tells all of that.
    sandbox.ok("mv home/archives/a.tar.gz .; rm -r home; bk-adopt a.tar.gz");
    let adopted = sandbox.records().remove(0);
    assert_eq!(adopted["backup_metadata"]["commands"], commands);
    assert_eq!(adopted["backup_metadata"]["sources"], metadata["sources"]);
}

/// Pieces of a dump end anywhere, and what comes after it is on a border of blocks all the same.
#[test]
fn what_stands_after_a_long_dump_is_read_by_every_tar() {
    let sandbox = Sandbox::with_app();
    for (codec, ending, unpack) in [("gzip", "gz", "gzip -d"), ("zstd", "zst", "zstd -d")] {
        let line = format!(
            "bk-create --name {codec} --compression {codec} --command aa.sql='seq 300000' \
                 --command ab.sql='seq 200001' app
             {unpack} <home/archives/{codec}.tar.{ending} >{codec}.tar
             [ $(($(stat -c %s {codec}.tar) % 512)) = 0 ]
             mkdir {codec} && tar -xf {codec}.tar -C {codec}
             cmp {codec}/aa.sql <(seq 300000) && cmp {codec}/ab.sql <(seq 200001) && diff -r app {codec}/app
             python3 -c 'import tarfile, sys; assert len(tarfile.open(sys.argv[1]).getmembers()) == 12' {codec}.tar
             bk-verify --deep {codec} && bk-restore --test {codec}"
        );
        sandbox.ok(&format!("set -e; {line}"));
    }
    // A stream that is cut short of its blocks is damage, where nothing comes after it too.
    sandbox.ok("bk-create --name last --command z.sql='seq 300000'");
    sandbox.ok("gzip -d <home/archives/last.tar.gz >last.tar; gzip <last.tar >whole.tar.gz");
    sandbox.ok("head -c -100 last.tar | gzip >short.tar.gz");
    let ran = sandbox.run("bk-adopt --home other whole.tar.gz short.tar.gz");
    let told = "what the archive holds does not end on the border of a block";
    assert_eq!((ran.status, ran.records().len()), (1, 1), "{ran:#?}");
    assert!(
        ran.stderr.contains("short.tar.gz") && ran.stderr.contains(told),
        "{ran:#?}"
    );
}

#[test]
fn a_command_that_fails_fails_all_of_the_backup() {
    let sandbox = Sandbox::with_app();
    for (flags, passed, reason) in [
        (
            "--command a='touch ran; seq 9' --command b='seq 300000; echo bad >&2; exit 3'",
            "bad\n",
            "the command of 'b' ended with exit status 3: bad",
        ),
        (
            "--command b='seq 9; kill -9 $$'",
            "",
            "the command of 'b' was ended by signal 9",
        ),
        (
            "--command b='seq 9; exec 2>/dev/null nosuch -p secret'",
            "",
            "the command of 'b' ended with exit status 127",
        ),
        (
            "--command b='exit 1'",
            "",
            "the command of 'b' ended with exit status 1",
        ),
        (
            "--command b='sleep 60 & seq 9'",
            "",
            "the command of 'b' left a process running that holds its output",
        ),
        (
            "--command b='(while sleep 0.1; do seq 9; done) & seq 9'",
            "",
            "the command of 'b' left a process running that holds its output",
        ),
    ] {
        let ran = sandbox.run(&format!("bk-create --name a {flags} app"));
        let told = format!("{passed}bk-create: cannot create 'a': {reason}\n");
        ran.fails(1, &told);
        assert_eq!(ran.stdout, "");
        let record = sandbox.records().remove(0);
        assert_eq!(record["status"], "failed");
        assert_eq!(record["backup_metadata"]["failure"], reason);
        let failure = format!("a create failed {reason}");
        assert!(sandbox.ledger().contains(&failure));
        assert_eq!(sandbox.ok("ls home/archives").stdout, "");
        assert!(!record.to_string().contains("secret"));
    }
    assert!(sandbox.path("ran").exists());
}

#[test]
fn requests_have_commands_beside_sources_or_instead_of_them() {
    let sandbox = Sandbox::with_app();
    let line = r#"printf '%s\n' '{"backup_name":"a","sources":"app","commands":{"n":"seq 3","m/x":"seq 4"}}' \
        '{"backup_name":"b","commands":{"x":"true"}}' '{"backup_name":"c","sources":"app"}' |
        bk-create --command given='seq 5' --exclude '*.log' -"#;
    let ran = sandbox.run(line);
    let nothing = "the input was empty: it is an empty file in the archive";
    ran.fails(0, &format!("bk-create: warning: 'x': {nothing}\n"));
    let of = |key: &str| -> Vec<Value> {
        let records = ran.records();
        let values = records.iter().map(|it| it["backup_metadata"][key].clone());
        values.collect()
    };
    let commands = [
        json!({ "m/x": "seq", "n": "seq" }),
        json!({ "x": "true" }),
        json!({ "given": "seq" }),
    ];
    assert_eq!(of("commands"), commands);
    let excludes = json!(["*.log"]);
    assert_eq!(of("excludes"), [excludes.clone(), Value::Null, excludes]);
    assert_eq!(
        sandbox
            .ok("bk-restore --stdout given c")
            .stdout
            .lines()
            .count(),
        5
    );
    sandbox.ok("bk-verify --deep a b c");
}

#[test]
fn mistakes_are_told_and_nothing_is_made() {
    let sandbox = Sandbox::with_app();
    let two = "--command goes with neither --stdin-filename nor --stdin-from-command";
    for (line, status, reason) in [
        (
            "--command x app",
            2,
            "--command: invalid command: use NAME=CMD, where NAME is the file in the archive",
        ),
        (
            "--command =x app",
            2,
            "--command: the file name '' is empty: use one such as dump.sql",
        ),
        (
            "--command a/=x app",
            2,
            "--command: the file name 'a/' ends with a slash, as those of directories do",
        ),
        (
            "--command 'PGPASSWORD=secret pg_dump shop' app",
            2,
            "--command: 'PGPASSWORD' looks like a variable that is set for a command: use NAME=CMD, where NAME is the file in the archive, or ./PGPASSWORD=CMD for a file of that name",
        ),
        (
            "--command 'pg_dump --dbname=shop' app",
            2,
            "--command: 'pg_dump --dbname' looks like a command without a name before it: use NAME=CMD, where NAME is the file in the archive and has no blank",
        ),
        (
            "--command ../a=x app",
            2,
            "--command: the name '../a' contains '..'",
        ),
        (
            "--command 'a= ' app",
            2,
            "--command: the command of 'a' is empty",
        ),
        (
            "--command /a=x --command a=y",
            2,
            "--command: 'a' is the name of two commands",
        ),
        ("--command a=x --stdin-filename y", 2, two),
        (
            "--command a=x --exclude y",
            2,
            "--exclude is for a PATH, and there is none",
        ),
        (
            "--estimate --command a=x",
            2,
            "--estimate: the size of what commands print is not known before",
        ),
        (
            "--command a=x --command a/b=y",
            1,
            "cannot back up 'a' and 'a/b' together: one is stored as a file, the other below it",
        ),
        (
            "--command app/log=x app",
            1,
            "cannot back up 'APP' and the command of 'app/log' together: both hold what is stored as 'app/log'",
        ),
        (
            "--command app/config.toml/x=x app",
            1,
            "cannot back up 'APP' and the command of 'app/config.toml/x' together: both hold what is stored as 'app/config.toml/x'",
        ),
        (
            "--command app=x app/log",
            1,
            "cannot back up 'APP/log' and the command of 'app' together: both hold what is stored as 'app'",
        ),
    ] {
        let ran = sandbox.run(&format!("bk-create {line}"));
        let app = sandbox.path("app").display().to_string();
        let reason = reason.replace("APP", &app);
        ran.fails(status, &format!("bk-create: {reason}\n"));
    }
    for (request, reason) in [
        (
            r#"{"commands":["x"]}"#,
            "its commands: are no object with a command for each name",
        ),
        (r#"{"commands":{}}"#, "it has no sources"),
        (
            r#"{"commands":{"a":"x"},"command":["y"]}"#,
            "it has commands beside its command",
        ),
        (
            r#"{"commands":{"a":"x"},"excludes":"y"}"#,
            "its excludes: is for sources, and it has a command",
        ),
    ] {
        let ran = sandbox.run(&format!("echo '{request}' | bk-create -"));
        ran.fails(2, &format!("bk-create: bad input: line 1: {reason}\n"));
    }
    assert!(!sandbox.home().exists());
}

#[test]
fn what_is_only_asked_for_runs_no_command() {
    let sandbox = Sandbox::with_app();
    let told =
        "bk-create: the commands of 'x', 'y' are not run: what is told is of the paths alone\n";
    for (flag, key) in [("--estimate", "file_count"), ("-n", "file_count")] {
        let line = format!("bk-create {flag} --command y='touch ran' --command x='touch ran' app");
        let ran = sandbox.run(&line);
        ran.fails(0, told);
        assert_eq!(ran.record()[key], 6);
    }
    let ran = sandbox.ok("bk-create -n --command y='touch ran'");
    assert_eq!(ran.record()["backup_size"], Value::Null);
    assert!(!sandbox.path("ran").exists() && !sandbox.home().exists());
}

/// The headers of a stream tell the time of the backup: they are longer than nothing, and not than this.
const HEADERS_BYTES: usize = 2048;

/// Whether two archives have the same bytes, but for the headers of one stream.
fn are_same(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).enumerate();
    let mut differ = differ.filter(|(_, (one, other))| one != other);
    let first = differ.next().map_or(0, |(at, _)| at);
    let last = differ.next_back().map_or(first, |(at, _)| at);
    one.len() == other.len() && last - first < HEADERS_BYTES
}

/// Nightly dumps, between directories: a line more, and a line less.
#[test]
fn a_dump_costs_what_changed_and_is_the_one_that_is_made_without_a_parent() {
    let sandbox = Sandbox::new();
    let dump: Vec<String> = (0..5)
        .flat_map(|seed| {
            let words = noise(seed, 600_000);
            let line = |words: &[u8]| words.iter().map(|it| format!("{it:02x}")).collect();
            words.chunks(60).map(line).collect::<Vec<String>>()
        })
        .collect();
    for number in 0..200 {
        let dir = if number % 2 == 0 { "a" } else { "z" };
        let content = String::from_utf8_lossy(&noise(number, number * 50)).into_owned();
        sandbox.write(&format!("{dir}/f{number}"), &content);
    }
    sleep(UNSURE);
    let write = |lines: &[String]| fs::write(sandbox.path("dump"), lines.join("\n")).unwrap();
    let create = |name: &str, flags: &str| {
        let line = format!("bk-create --name {name} {flags} --command m.sql='cat dump' a z");
        sandbox.ok(&line).record()
    };
    let new_of = |record: &Value| record["backup_metadata"]["new_bytes"].as_u64().unwrap();
    let disk = image(&sandbox, "mkfs.xfs -q -m reflink=1", "400M", "disk");
    let gzip = match disk {
        Some(_) => ("--storage disk/store", "disk/store", "gz"),
        None => ("", "home/archives", "gz"),
    };
    let zstd = ("--compression zstd", "home/archives", "zst");
    for (number, (flags, storage, ending)) in [gzip, zstd].into_iter().enumerate() {
        write(&dump);
        let first = create(&format!("p{number}"), flags);
        let mut changed = dump.clone();
        changed.insert(10_000, "a line more".to_owned());
        changed.remove(12_000);
        write(&changed);
        let with = create(&format!("with{number}"), flags);
        assert_eq!(with["backup_metadata"]["parent"], first["backup_name"]);
        let size = first["backup_size"].as_u64().unwrap();
        assert!(new_of(&with) < size / 2, "{with}");
        println!("{} of {size} new", new_of(&with));
        let without = create(&format!("without{number}"), &format!("{flags} --no-parent"));
        assert!(new_of(&without) > size / 2);
        let rest_of = |name: &str| {
            let archive = format!("{storage}/{name}{number}.tar.{ending}");
            compared::rest_of(&sandbox.path(&archive))
        };
        assert!(are_same(&rest_of("with"), &rest_of("without")), "{flags}");
        sandbox.ok(&format!(
            "bk-verify --deep with{number} >/dev/null; bk-restore --stdout m.sql with{number} | cmp - dump"
        ));
    }
}

#[test]
fn a_database_is_dumped_and_restored_and_a_dump_that_breaks_off_is_no_backup() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let sandbox = Sandbox::new();
    let client = server.environment();
    let ok = |line: &str| sandbox.ok(&format!("set -e; {client} {line}"));
    ok("createdb shop; createdb zoo; psql -qX shop <<'END'
        create table orders (id serial primary key, at timestamptz default now(), what text, raw bytea);
        insert into orders (what, raw) select 'order ' || n || E' \\'\\n', decode(md5(n::text), 'hex')
            from generate_series(1, 20000) n;
END");
    ok("psql -qX zoo -c 'create table locked (id int)'");
    let create = "bk-create --command db/shop.dump='pg_dump -Fc -Z0 shop' \
                  --command db/roles.sql='pg_dumpall --globals-only'";
    ok(&format!("{create} --name a"));
    ok(
        "createdb shop2; bk-restore --stdout db/shop.dump a | pg_restore --exit-on-error -d shop2
        rows() { psql -qX $1 -c 'copy (select * from orders order by id) to stdout'; }
        rows shop >1; rows shop2 >2; [ $(wc -l <1) = 20000 ] && cmp 1 2
        bk-restore --stdout db/roles.sql a | grep -q 'CREATE ROLE bk'",
    );
    // It has dumped one database, and waits for another one.
    let holder = sandbox.start(&format!(
        "{client} exec psql -qX zoo -c 'begin; lock locked; select pg_sleep(60)'"
    ));
    let waiting = "psql -qAtX postgres -c 'select count(*) from pg_locks where not granted'";
    let held =
        "psql -qAtX zoo -c \"select count(*) from pg_locks where mode = 'AccessExclusiveLock'\"";
    let until = |query: &str| {
        ok(&format!(
            "for n in $(seq 500); do [ $({query}) = 0 ] || exit 0; sleep 0.02; done; exit 1"
        ))
    };
    until(held);
    let line = format!(
        "{client} bk-create --name half --command all.sql='pg_dumpall --exclude-database=postgres'"
    );
    let child = sandbox.start(&line);
    until(waiting);
    server.stop();
    // It loses its connection.
    holder.wait_with_output().unwrap();
    let ran = crate::support::Ran::new(&line, child.wait_with_output().unwrap());
    assert_eq!(ran.status, 1, "{ran:#?}");
    let record = sandbox.records().pop().unwrap();
    let reason = record["backup_metadata"]["failure"].as_str().unwrap();
    let begin = "the command of 'all.sql' ended with exit status 1: ";
    assert!(reason.starts_with(begin), "{reason}");
    let end = "pg_dumpall: error: pg_dump failed on database \"zoo\", exiting";
    assert!(reason.ends_with(end), "{reason}");
    assert_eq!(sandbox.ok("ls home/archives").stdout, "a.tar.gz\n");
}
