//! On a real terminal: tables, colour, progress, and stdin that nobody pipes into.
//!
//! The terminal is a pty that script(1) of util-linux makes.

use crate::support::{Ran, Sandbox, has};

/// Runs a command line on a terminal; stdout and stderr come as one, as on a screen.
fn on_terminal(sandbox: &Sandbox, line: &str) -> Option<Ran> {
    if !has("script") {
        return None;
    }
    sandbox.write("typed", line);
    let typed =
        "script -qec 'bash typed' /dev/null </dev/null | tr -d '\\r'; exit ${PIPESTATUS[0]}";
    Some(sandbox.run(typed))
}

#[test]
fn people_get_a_table_and_pipes_get_lines() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app");
    let Some(ran) = on_terminal(&sandbox, "NO_COLOR=1 bk-ls; bk-ls --json; bk-ls | cat") else {
        return;
    };
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("ID  TYPE    CREATED"), "{ran:#?}");
    assert!(lines[1].ends_with("available  a.tar.gz"), "{ran:#?}");
    assert!(lines[2].starts_with("{\"id\":1,"), "{ran:#?}");
    assert_eq!(lines[2], lines[3]);
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:#?}");
}

#[test]
fn colour_is_for_terminals_alone() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app; rm home/archives/a.tar.gz");
    let Some(ran) = on_terminal(&sandbox, "bk-ls") else {
        return;
    };
    assert!(
        ran.stdout.contains("\u{1b}[31mmissing\u{1b}[0m"),
        "{ran:#?}"
    );
    let plain = on_terminal(&sandbox, "NO_COLOR=1 bk-ls").unwrap();
    assert!(!plain.stdout.contains("\u{1b}["), "{plain:#?}");
    assert!(!sandbox.ok("bk-ls --table").stdout.contains('\u{1b}'));
}

#[test]
fn names_cannot_play_tricks_on_a_terminal() {
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        r"bk-create -n a -d $'\e[2Jgone\nand more' app; touch app/$'\e[2Jfile'; bk-create -n b app",
    );
    for line in [
        "bk-ls -l a",
        "bk-ls --files b",
        "bk-create -n $'x\\e[2J' app",
        "bk-ls $'\\e[2J'",
    ] {
        let Some(ran) = on_terminal(&sandbox, &format!("NO_COLOR=1 {line}")) else {
            return;
        };
        assert!(!ran.stdout.contains("\u{1b}[2J"), "{ran:#?}");
        assert!(ran.stdout.contains("[2J"), "{ran:#?}");
    }
}

#[test]
fn whatever_data_holds_a_terminal_is_not_commanded() {
    let sandbox = Sandbox::with_app();
    // Clears the screen in two ways, rings, breaks the line in two ways, turns the text round.
    let evil = "evil\u{1b}[2J\u{7}\u{9b}2J\u{85}\u{2028}\u{202e}";
    let name = "evil\u{202e}name";
    sandbox.write(&format!("app/{evil}"), "x");
    sandbox.write("evil", evil);
    sandbox.write("name", name);
    sandbox.ok("bk-create -n a app; bk-create -n \"$(cat name)\" -d \"$(cat evil)\" -m note=\"$(cat evil)\" app");
    sandbox.ok(
        "bk-auto --set j -s @hourly --before \"echo '$(cat evil)'; exit 1\" -- \"app/$(cat evil)\"",
    );
    sandbox
        .run("bk-auto --now j; bk-auto --set k -s @daily -- \"gone/$(cat evil)\"; bk-auto --now k");
    sandbox.run("bk-rm gone; cp home/archives/a.tar.gz \"$(cat evil).tar.gz\"; cp home/archives/a.tar.gz \"b$(cat name).tar.gz\"");
    for line in [
        "bk-ls; bk-ls --json; bk-ls -l; bk-ls -l --json",
        "bk-ls --files; bk-ls --files --json",
        "bk-log; bk-log --json",
        "bk-df; bk-df --json; bk-df --prometheus",
        "bk-auto --list; bk-auto --list --json; bk-auto --now k",
        "bk-ls \"$E\"; bk-rm \"$E\"; bk-create -n \"$E\" app; bk-create -n c \"$E\"; bk-mv a \"$E/x\"; bk-set -d x \"$E\"",
        "bk-ls --type \"$E\"; bk-ls \"--$E\"; bk-log --since \"$E\"; TZ=$E bk-ls; bk-ls --home \"$E\"; bk-auto --set \"$E\"",
        "bk-adopt \"$E.tar.gz\" \"b$(cat name).tar.gz\"; bk-adopt --json \"$E.tar.gz\"; bk-adopt \"$E\"",
        "bk-verify; bk-restore -C out a \"$E\"; bk-restore --stdout a \"$E\"; mkdir out && touch out/x; bk-restore -C out \"$(cat name)\"",
        "bk-prune -n --keep-last 1; bk-prune --json -n --keep-last 1; bk-set --protect \"$(cat name)\"; bk-rm \"$(cat name)\"",
    ] {
        let line = format!("export NO_COLOR=1 E=\"$(cat evil)\"; {line}");
        let Some(ran) = on_terminal(&sandbox, &line) else {
            return;
        };
        assert!(ran.stdout.contains("evil"), "{ran:#?}");
        for command in [
            "\u{1b}[2J",
            "\u{7}",
            "\u{9b}",
            "\u{85}",
            "\u{2028}",
            "\u{202e}",
        ] {
            assert!(!ran.stdout.contains(command), "{command:?}: {ran:#?}");
        }
    }
}

#[test]
fn a_program_that_would_wait_for_typed_lines_says_so() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app");
    for (line, what) in [
        (
            "bk-ls -",
            "bk-ls: nothing to do: give ids, names or records, or pipe them in, one per line\n",
        ),
        (
            "bk-create -",
            "bk-create: nothing to do: give directories or files, or pipe them in, one per line\n",
        ),
    ] {
        // Without script's own stdin the terminal is the program's.
        let Some(ran) = on_terminal(&sandbox, &format!("{line} </dev/tty")) else {
            return;
        };
        assert_eq!((ran.status, ran.stdout.as_str()), (2, what), "{ran:#?}");
    }
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir big; head -c 40000000 /dev/urandom >big/data");
    let line = "stty rows 24 cols 100; bk-create -n a --level 9 --jobs 1 big >record";
    let Some(ran) = on_terminal(&sandbox, line) else {
        return;
    };
    for part in ["MiB/38.15 MiB", "0/1 files", "MiB/s", " left"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:#?}");
    }
    assert_eq!(sandbox.ok("bk-create -n b big").stderr, "");
    assert_eq!(sandbox.ok("wc -l <record").stdout, "1\n");
}

#[test]
fn an_empty_list_says_so_to_people() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app");
    let Some(ran) = on_terminal(&sandbox, "bk-ls --expired") else {
        return;
    };
    assert_eq!(
        (ran.status, ran.stdout.as_str()),
        (0, "bk-ls: no matching backups\n")
    );
    assert_eq!(sandbox.ok("bk-ls --expired").stderr, "");
}
