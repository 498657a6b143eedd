//! What goes into a backup and what does not: operands, globs, caches, file systems, bk's own.

use serde_json::json;

use crate::support::{Sandbox, has};

/// What goes into the backup that a command line makes, names with a blank between them.
fn listed(sandbox: &Sandbox, line: &str) -> String {
    let archive = sandbox.ok(line).record()["backup_path"].clone();
    let names = sandbox.ok(&format!("tar -tzf {archive}")).stdout;
    names.lines().collect::<Vec<_>>().join(" ")
}

/// What goes into a backup of the app: what is typed, and what of `app/` goes in, or what does
/// not after a minus.
const CHOICES: &str = r"
app                                         -
app/                                        -
--exclude *.log app                         - app/data/old.log app/log/app.log
--exclude *.log --exclude cache app/        - app/data/old.log app/log/app.log app/cache/ app/cache/CACHEDIR.TAG app/cache/page
--exclude log/ app                          - app/log/ app/log/app.log
--exclude {old,app}.l?g app                 - app/data/old.log app/log/app.log
--exclude [b-z]*.log app                    - app/data/old.log
--exclude-from globs app                    - app/data/old.log app/log/app.log app/cache/ app/cache/CACHEDIR.TAG app/cache/page
--ignore-case-excludes --exclude APP/*/O*.Log --exclude [C]ACHE app    - app/data/old.log app/cache/ app/cache/CACHEDIR.TAG app/cache/page
# The mark itself stays; of one that is a directory, nothing that is in it.
--exclude-caches app                        - app/cache/page
--exclude-if-present page app               - app/cache/CACHEDIR.TAG
--exclude-if-present orders.db --exclude-if-present app.log app    - app/data/old.log
--exclude-if-present log app app/data/old.log    app/ app/log/ app/data/old.log
# Larger than that, not as large.
--exclude-larger 204890 app                 -
--exclude-larger 204889 app                 - app/data/orders.db
--exclude-larger 9 app app/config.toml      - app/data/orders.db app/cache/CACHEDIR.TAG
# With a slash it is the whole name, and a star stops at a slash.
--exclude app/log app                       - app/log/ app/log/app.log
--exclude /app/log/ app                     - app/log/ app/log/app.log
--exclude log/app.log app                   -
--exclude */app.log app                     -
--exclude **/app.log app                    - app/log/app.log
--exclude app/*/*.log app                   - app/data/old.log app/log/app.log
--exclude ./app/log app                     - app/log/ app/log/app.log
--exclude ./log app                         -
# A slash at the end is for directories alone.
--exclude app.log/ app                      -
--exclude app/*.toml/ app                   -
--exclude ??? app                           - app/log/ app/log/app.log
# What is asked for by name is taken, whatever matches it.
--exclude app app                           -
--exclude * app app/log/app.log             app/ app/log/app.log
--exclude log app app/log                   -
# Names as with tar.
-C app log config.toml                      log/ log/app.log config.toml
-C app .                                    ./ ./cache/ ./cache/CACHEDIR.TAG ./cache/page ./config.toml ./data/ ./data/old.log ./data/orders.db ./log/ ./log/app.log
-C app --exclude ./log .                    ./ ./cache/ ./cache/CACHEDIR.TAG ./cache/page ./config.toml ./data/ ./data/old.log ./data/orders.db
-C app --exclude /cache --exclude data/* .  ./ ./config.toml ./data/ ./log/ ./log/app.log
-C app ../app/log                           app/log/ app/log/app.log
app/cache/../../app/log                     app/log/ app/log/app.log
PWD/app/log                                 PWD/app/log/ PWD/app/log/app.log
-C app PWD/app/log cache/page               PWD/app/log/ PWD/app/log/app.log cache/page
# What is within another source comes with that one, once.
app app/log ./app/data/ app                 -
app/log app                                 -
app/log app/./log/app.log ./app/log/        app/log/ app/log/app.log
";

#[test]
fn what_is_asked_for_goes_in_and_what_is_excluded_does_not() {
    let sandbox = Sandbox::with_app();
    sandbox.write(
        "globs",
        "# what is not worth it\n\n*.log\n  /app/cache/  \n",
    );
    let pwd = sandbox
        .path("")
        .to_str()
        .unwrap()
        .trim_matches('/')
        .to_owned();
    let app = listed(
        &sandbox,
        "tar -czf x.tar.gz app; echo '{\"backup_path\":\"x.tar.gz\"}'",
    );
    for choice in CHOICES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (typed, names) = choice
            .split_once("  ")
            .unwrap_or_else(|| panic!("{choice}"));
        let line = format!(
            "set -f +B; bk-create {}",
            typed.replace("PWD", &format!("/{pwd}"))
        );
        let listed = listed(&sandbox, &line).replace(&pwd, "PWD");
        let mut listed: Vec<_> = listed.split(' ').collect();
        listed.sort_unstable();
        let mut expected: Vec<_> = match names.trim_start().strip_prefix('-') {
            Some(lost) => app
                .split(' ')
                .filter(|name| !lost.split(' ').any(|lost| lost == *name))
                .collect(),
            None => names.split_whitespace().collect(),
        };
        expected.sort_unstable();
        assert_eq!(listed, expected, "bk-create {typed}");
    }
}

#[test]
fn other_file_systems_are_left_out_unless_they_are_asked_for() {
    let sandbox = Sandbox::new();
    if !has("unshare") || sandbox.run("unshare -m true").status != 0 {
        return println!("skipped: no file system can be mounted here");
    }
    let mounted = "mkdir -p app/mnt; exec unshare -m bash -c '
        mount -t tmpfs none app/mnt && mkdir app/mnt/d && touch app/mnt/d/in && \"$@\"' -";
    for (line, expected) in [
        ("app", "app/ app/mnt/ app/mnt/d/ app/mnt/d/in"),
        ("--one-file-system app", "app/ app/mnt/"),
        (
            "--one-file-system app app/mnt",
            "app/ app/mnt/ app/mnt/d/ app/mnt/d/in",
        ),
        (
            "--one-file-system app app/mnt/d",
            "app/ app/mnt/ app/mnt/d/ app/mnt/d/in",
        ),
    ] {
        let line = format!("{mounted} bk-create {line}");
        assert_eq!(listed(&sandbox, &line), expected, "{line}");
    }
}

#[test]
fn what_bk_keeps_is_left_out_at_the_first_backup_and_later() {
    for (flags, expected) in [
        ("", "./ ./a ./z"),
        ("--storage in/storage", "./ ./a ./in/ ./z"),
        ("--home in/home --storage storage", "./ ./a ./in/ ./z"),
        ("--home in/home --storage in", "./ ./a ./z"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.ok("touch a z");
        for _ in 0..2 {
            let line = format!("bk-create {flags} .");
            assert_eq!(listed(&sandbox, &line), expected, "{line}");
        }
    }
}

#[test]
fn a_glob_that_meets_nothing_is_told_and_one_that_means_something_elsewhere_is_refused() {
    let sandbox = Sandbox::with_app();
    let line = "bk-create --name a --exclude 'app.log/' --exclude '*.log' --exclude none \
         --exclude-if-present page --exclude-if-present no --exclude-larger 9G app";
    let ran = sandbox.run(line);
    ran.fails(
        0,
        "bk-create: warning: --exclude 'app.log/', 'none' matched nothing\n\
         bk-create: warning: --exclude-if-present 'no' matched nothing\n",
    );
    let unmatched = &ran.record()["backup_metadata"]["unmatched_excludes"];
    assert_eq!(*unmatched, json!(["app.log/", "none", "no"]));
    // One that matched something for one of the lines is right.
    let lines = r#"printf '%s\n' '{"sources":"app","excludes":["*.log","gone"]}' '{"sources":"app/cache","excludes":"*.log"}'"#;
    sandbox
        .run(&format!("{lines} | bk-create -"))
        .fails(0, "bk-create: warning: --exclude 'gone' matched nothing\n");
    // Nobody is there to read it every night.
    let ran = sandbox.run("bk-create --name b -t automatic --exclude none app");
    ran.fails(0, "");
    assert_eq!(
        ran.record()["backup_metadata"]["unmatched_excludes"][0],
        "none"
    );
    for (glob, why) in [
        (
            "!keep",
            "negation is not supported: use '\\!' for a name that begins with '!'",
        ),
        ("./", "it can match nothing"),
        ("a[", "a '[' has no ']'"),
    ] {
        let ran = sandbox.run(&format!("bk-create --exclude '{glob}' app"));
        ran.fails(
            2,
            &format!("bk-create: --exclude: invalid glob '{glob}': {why}\n"),
        );
    }
}

/// A request may say all that the flags say, and the estimate sees what is stored.
#[test]
fn a_line_leaves_out_what_the_flags_leave_out() {
    let sandbox = Sandbox::with_app();
    let flags = "--exclude OLD.log --ignore-case-excludes --exclude-caches --exclude-if-present app.log \
         --exclude-larger 100K --one-file-system";
    sandbox.write("app/log/more", "x");
    sandbox.write(
        "line",
        r#"{"sources":"app","excludes":"OLD.log","ignore_case_excludes":true,"exclude_caches":true,"exclude_if_present":["app.log"],"exclude_larger":"100K","one_file_system":true}"#,
    );
    let one = sandbox.ok(&format!("bk-create {flags} app"));
    // The line takes the place of the flags.
    let other = sandbox.ok("bk-create --exclude config.toml --exclude-larger 1 - <line");
    let estimate = sandbox.ok("bk-create --estimate - <line").record();
    let (one, other) = (one.record(), other.record());
    let said = json!({
        "excludes": ["OLD.log"], "ignore_case_excludes": true, "exclude_caches": true,
        "exclude_if_present": ["app.log"], "exclude_larger": 102_400, "one_file_system": true,
    });
    for (key, value) in said.as_object().unwrap() {
        let of = |record: &serde_json::Value| record["backup_metadata"][key].clone();
        assert_eq!(
            (of(&one), of(&other)),
            (value.clone(), value.clone()),
            "{key}"
        );
    }
    let counts = [&one, &other, &estimate].map(|it| it["file_count"].clone());
    assert_eq!(counts, [3, 3, 3]);
    for (key, value, reason) in [
        ("excludes", "[1]", "is not a string"),
        ("excludes", "\"a[\"", "invalid glob 'a[': a '[' has no ']'"),
        (
            "exclude_if_present",
            "\"a/b\"",
            "invalid name 'a/b': use one without a slash",
        ),
        (
            "exclude_larger",
            "-1",
            "is neither a number of bytes nor a size such as \"500M\"",
        ),
        (
            "exclude_larger",
            "\"x\"",
            "invalid size 'x': use a number with K, M, G, T or P, such as 500M",
        ),
        ("exclude_caches", "1", "is neither true nor false"),
        ("files_from", "\"-\"", "standard input carries the requests"),
        (
            "files_from",
            "\"none\"",
            "cannot read 'none': No such file or directory",
        ),
        ("null", "1", "is neither true nor false"),
    ] {
        let line = format!(r#"echo '{{"sources":"app","{key}":{value}}}' | bk-create -"#);
        let told = format!("bk-create: bad input: line 1: its {key}: {reason}\n");
        sandbox.run(&line).fails(2, &told);
    }
    sandbox
        .run(r#"echo '{"command":["true"],"exclude_larger":1}' | bk-create -"#)
        .fails(2, "bk-create: bad input: line 1: its exclude_larger: is for sources, and it has a command\n");
}

/// A line is a path as it stands, whatever bytes it has.
#[test]
fn what_a_list_names_goes_in() {
    let sandbox = Sandbox::new();
    sandbox.ok(r"mkdir s s/e; cd s; touch e/in ' b ' '#c' '*' ./- $'d\n' $'\xff'; printf ' b \n\n#c\n*\n' >../lines; printf -- '-\n' >../more; find . ! -name . -print0 >../nul");
    let some = listed(
        &sandbox,
        "bk-create -C s --files-from lines --files-from more e",
    );
    assert_eq!(some, " b  #c * - e/ e/in");
    let all = r" b  #c * - d\n e/ e/in \377";
    for line in [
        "bk-create -C s -0 --files-from - <nul",
        "bk-create --no-parent -C s -0 --files-from <(cat nul)",
        r#"echo '{"files_from":"nul","null":true}' | bk-create -C s -"#,
        r#"echo '{"sources":"e"}' | bk-create -C s --null --files-from nul -"#,
    ] {
        assert_eq!(listed(&sandbox, line), all, "{line}");
    }
    sandbox.ok("bk-diff --live latest");
    for (line, told) in [
        (
            "--files-from nul",
            "--files-from: 'nul' holds a NUL, which no path does: --null reads paths that end with one",
        ),
        (
            "--files-from /dev/zero e",
            "--files-from: '/dev/zero' has more than 16777216 bytes, and no record can name so many paths",
        ),
        (
            "--files-from none e",
            "--files-from: cannot read 'none': No such file or directory",
        ),
        (
            "--files-from - - <nul",
            "--files-from: standard input carries the requests",
        ),
        (
            "--files-from - </dev/null",
            "nothing is given to back up: --files-from lists nothing",
        ),
        ("-0 e", "--null goes with --files-from"),
        (
            "--files-from lines --stdin-filename x </dev/null",
            "--files-from is for a PATH, and there is none",
        ),
        (
            "--exclude-if-present a/b e",
            "--exclude-if-present: invalid name 'a/b': use one without a slash",
        ),
    ] {
        let line = format!("bk-create {line}");
        sandbox.run(&line).fails(2, &format!("bk-create: {told}\n"));
    }
    sandbox.run("bk-create --files-from lines").fails(
        1,
        "bk-create: cannot back up ' b ': No such file or directory\n",
    );
}

#[test]
fn a_question_mark_is_a_character() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir s; touch s/\u{e9} s/ab s/$'\\xff'");
    assert_eq!(listed(&sandbox, "bk-create --exclude '?' s"), "s/ s/ab");
    sandbox.ok("bk-create --name \u{e9}1 s");
    assert_eq!(sandbox.ok("bk-ls --json --name '?1'").records().len(), 1);
}

#[test]
fn the_same_globs_choose_what_is_restored() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a -C app .");
    let line = "bk-restore -C out --path ./log --path 'c?nfig*' --path './none' --path cache/ a";
    let ran = sandbox.run(line);
    ran.fails(0, "bk-restore: warning: --path './none' matched nothing\n");
    sandbox.ok("cd out; [ -f log/app.log -a -f config.toml -a -f cache/page -a ! -e data ]");
    let ran = sandbox.run("bk-restore -C other --path '!log' a");
    assert_eq!(ran.status, 2, "{ran:#?}");
}
