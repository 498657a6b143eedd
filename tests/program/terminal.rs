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
    sandbox.ok("bk-create --name a app");
    let Some(ran) = on_terminal(&sandbox, "NO_COLOR=1 bk-ls; bk-ls --json; bk-ls | cat") else {
        return;
    };
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("ID  TYPE    CREATED"), "{ran:#?}");
    assert!(lines[1].contains("available"), "{ran:#?}");
    assert!(lines[2].starts_with("{\"id\":1,"), "{ran:#?}");
    assert_eq!(lines[2], lines[3]);
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:#?}");
}

#[test]
fn a_table_fits_the_terminal() {
    let sandbox = Sandbox::with_app();
    let long = "日本語のとても長い名前/and/a/good/deal/further/down";
    sandbox.ok(&format!(
        "mkdir -p '{long}'; touch '{long}/f'
         bk-create app; bk-create -t pre-upgrade --source-version 2.3.1 app app/data; bk-create '{long}' -d 'a few words on it'
         bk-auto --set nightly -s @daily --enable -- app; bk-auto --now nightly; bk-create gone; bk-verify --all; tar czf foreign.tar.gz app; true"
    ));
    let tables = [
        ("bk-ls", "SOURCE"),
        ("bk-log", "DETAILS"),
        ("bk-log --stats", "FAILED"),
        ("bk-df", "MOUNT"),
        ("bk-auto --list", "NEXT DUE"),
        ("bk-find config.toml", "CHANGED"),
        ("bk-find --versions config.toml", "LAST"),
        ("bk-diff 1 3", "CHANGE"),
        ("bk-diff --stat 1 3", "COUNT"),
        ("bk-verify --quick 1 2 3", "RESULT"),
        ("bk-rm -n 1 2 3", "FREED"),
        ("bk-prune --explain --keep-last 1", "DECISION"),
        ("bk-mv -n 3 new", "FROM"),
        ("bk-create -n app", "SIZE"),
        ("bk-restore -n -C out 3", "TARGET"),
        ("bk-adopt -n foreign.tar.gz", "ARCHIVE"),
    ];
    let lines = tables.map(|(line, _)| format!("echo =; {line} 2>/dev/null;"));
    for columns in [60, 80, 120] {
        let line = format!("stty cols {columns}; export NO_COLOR=1; {}", lines.concat());
        let Some(ran) = on_terminal(&sandbox, &line) else {
            return;
        };
        sandbox.write("screen", &ran.stdout);
        let widest = sandbox.ok("LC_ALL=C.UTF-8 wc -L <screen").stdout;
        let widest: usize = widest.trim().parse().unwrap();
        assert!(widest <= columns, "{columns}: {widest}: {}", ran.stdout);
        let shown: Vec<_> = ran.stdout.split("=\n").skip(1).collect();
        assert_eq!(shown.len(), tables.len(), "{}", ran.stdout);
        for (shown, (line, title)) in shown.iter().zip(tables) {
            let head = shown.lines().next().unwrap_or_default();
            assert!(
                head.contains(title) && shown.lines().count() > 1,
                "{line}: {shown}"
            );
        }
        for (row, source) in shown[0]
            .lines()
            .zip(["SOURCE", "/app", "/data", "/down", "nightly"])
        {
            assert!(row.contains(source), "{columns}: {row}");
        }
    }
    // In a pipe nothing is cut, and --wide has all.
    let plain = sandbox.ok("bk-ls --table").stdout;
    assert!(
        plain.contains(long) && !plain.contains("DESCRIPTION"),
        "{plain}"
    );
    let wide = sandbox.ok("bk-ls --wide").stdout;
    assert!(
        wide.contains("a few words on it") && wide.contains(" NAME "),
        "{wide}"
    );
}

#[test]
fn colour_is_for_terminals_alone() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; rm home/archives/a.tar.gz");
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
        r"bk-create --name a -d $'\e[2Jgone\nand more' app; touch app/$'\e[2Jfile'; bk-create --name b app",
    );
    for line in [
        "bk-ls -l a",
        "bk-ls --files b",
        "bk-create --name $'x\\e[2J' app",
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
    sandbox.ok("bk-create --name a app; bk-create --name \"$(cat name)\" -d \"$(cat evil)\" -m note=\"$(cat evil)\" app");
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
        "bk-ls \"$E\"; bk-rm \"$E\"; bk-create --name \"$E\" app; bk-create --name c \"$E\"; bk-mv a \"$E/x\"; bk-set -d x \"$E\"",
        "bk-ls --type \"$E\"; bk-ls \"--$E\"; bk-log --since \"$E\"; TZ=$E bk-ls; bk-ls --home \"$E\"; bk-auto --set \"$E\"",
        "bk-adopt \"$E.tar.gz\" \"b$(cat name).tar.gz\"; bk-adopt --json \"$E.tar.gz\"; bk-adopt \"$E\"",
        "bk-verify; bk-restore -C out a \"$E\"; bk-restore --stdout a \"$E\"; mkdir out && touch out/x; bk-restore -C out \"$(cat name)\"",
        "bk-find 'evil*'; bk-find --json 'evil*'; bk-find --versions 'evil*'; bk-find \"$E\"; bk-find --regex \"($E\"; bk-find --where \"$E\" x",
        "rm \"app/$E\"; bk-diff --live a; bk-diff --live --json a; bk-diff --stat \"$(cat name)\" \"$E\"; bk-create -n app \"$E\"; bk-restore -n -C \"$E/x\" a",
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
    sandbox.ok("bk-create --name a app");
    for (line, what) in [
        (
            "bk-ls -",
            "bk-ls: nothing to do: give ids or names, which 'bk-ls' lists, or pipe records in, one per line\n",
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
    let line = "stty rows 24 cols 100; bk-create --name a --level 9 --jobs 1 big >record";
    let Some(ran) = on_terminal(&sandbox, line) else {
        return;
    };
    for part in ["MiB/38.1 MiB", "0/1 files", "MiB/s", " left"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:#?}");
    }
    // Each phase has a bar of its own, in one line.
    let line = "stty rows 24 cols 60; bk-restore -C out a >record; rm record; bk-create --name n big >record";
    let narrow = on_terminal(&sandbox, line).unwrap();
    let is_drawn = |text: &&str| text.contains("MiB, ");
    let pieces = narrow.stdout.split(['\n', '\r', '\u{1b}']);
    let pieces: Vec<_> = pieces.filter(is_drawn).collect();
    for word in ["checked", "restored"] {
        assert!(pieces.iter().any(|it| it.contains(word)), "{narrow:#?}");
    }
    for piece in pieces {
        assert!(piece.chars().count() <= 60 + "[2K".len(), "{piece}");
    }
    assert_eq!(sandbox.ok("bk-create --name b big").stderr, "");
    assert_eq!(sandbox.ok("wc -l <record").stdout, "1\n");
}

#[test]
fn copies_that_are_read_back_and_removed_have_a_bar() {
    let sandbox = Sandbox::new();
    sandbox
        .ok("mkdir big; head -c 40000000 /dev/urandom >big/data; bk-create --level 1 --name a big");
    sandbox.usb();
    sandbox.ok("bk-push usb a");
    for line in [
        "bk-push --check --read 100% usb a",
        "bk-push --remove usb a",
    ] {
        let shown = format!("stty rows 24 cols 100; {line} >record");
        let Some(ran) = on_terminal(&sandbox, &shown) else {
            return;
        };
        assert_eq!(ran.status, 0, "{ran:#?}");
        let is_drawn = |it: &str| it.contains("MiB, ") && it.contains("/1 copies");
        assert!(ran.stdout.split(['\n', '\r']).any(is_drawn), "{ran:#?}");
        assert_eq!(sandbox.ok("wc -l <record").stdout, "1\n");
    }
}

#[test]
fn an_empty_list_says_so_to_people() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let Some(ran) = on_terminal(&sandbox, "bk-ls --expired") else {
        return;
    };
    assert_eq!(
        (ran.status, ran.stdout.as_str()),
        (0, "bk-ls: no matching backups\n")
    );
    assert_eq!(sandbox.ok("bk-ls --expired").stderr, "");
    let emptied = on_terminal(&sandbox, "bk-rm --json a >removed; bk-ls").unwrap();
    assert_eq!(
        emptied.stdout,
        "bk-ls: no backups yet: 'bk-create DIRECTORY' makes the first\n"
    );
}
