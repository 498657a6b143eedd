//! On a real terminal: tables, colour, progress, and stdin that nobody pipes into.
//!
//! The terminal is a pty that script(1) of util-linux makes.

use bk_tests::{Ran, Sandbox, has};

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
fn a_program_that_would_wait_for_typed_lines_says_so() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create -n a app");
    for (line, what) in [
        (
            "bk-ls -",
            "bk-ls: nothing is given: name ids, names or records, or pipe them in, one a line\n",
        ),
        (
            "bk-create -",
            "bk-create: nothing is given: name directories or files, or pipe them in, one a line\n",
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
        (0, "bk-ls: there is no such backup\n")
    );
    assert_eq!(sandbox.ok("bk-ls --expired").stderr, "");
}
