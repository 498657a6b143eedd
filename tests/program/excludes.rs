//! What goes into a backup and what does not: operands, globs, caches, file systems, bk's own.

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
--exclude-caches app                        - app/cache/CACHEDIR.TAG app/cache/page
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
    let line = "bk-create --name a --exclude 'app.log/' --exclude '*.log' --exclude none app";
    let ran = sandbox.run(line);
    ran.fails(
        0,
        "bk-create: warning: --exclude 'app.log/', 'none' matched nothing\n",
    );
    let unmatched = &ran.record()["backup_metadata"]["unmatched_excludes"];
    assert_eq!(*unmatched, serde_json::json!(["app.log/", "none"]));
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
