//! What bk-pick shows of what is inside a backup: it is searched and marked, and what is chosen is
//! restored. On narrow and on wide terminals, and with names that are hostile.

use crate::support::Sandbox;
use crate::support::tmux::Tmux;

#[test]
fn files_that_are_marked_inside_backups_are_restored() {
    let sandbox = Sandbox::with_app();
    // Names that are no UTF-8, and that would clear the screen.
    sandbox.ok(r"cd app; echo 1 >$'caf\xe9.txt'; echo 2 >$'\e[2J.txt'; mkdir -p log/old; echo 3 >log/old/a");
    sandbox
        .ok("bk-create --name first app; bk-create --name second app; bk-create --name third app");
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    tmux.run("bk-pick | tee out | bk-restore -C found --into-existing --overwrite >restored; echo ended ${PIPESTATUS[*]}");
    tmux.wait("3 of 3");
    // Files of two backups, and all of the one between.
    tmux.press(&["Tab", "Tab"]);
    tmux.wait("14 of 14");
    for (typed, name) in [
        ("txt", r"app/\u{1b}[2J.txt"),
        ("txt,caf", "app/caf\u{fffd}.txt"),
        ("aplgold", "app/log/old/"),
    ] {
        tmux.type_text(typed);
        tmux.wait_until(name, |it| {
            it[1] == format!("Find: {typed}") && it[3].starts_with("> ") && it[3].ends_with(name)
        });
        tmux.press(&["Space", "C-u"]);
        tmux.wait("14 of 14");
    }
    tmux.wait("14 of 14, 3 marked");
    tmux.press(&["Tab", "Down", "Space"]);
    let screen = tmux.wait("3 of 3, 1 marked, 3 files marked | Enter: choose 4");
    assert!(
        screen[2].starts_with(" +") && screen[3].starts_with(" *"),
        "{screen:#?}"
    );
    tmux.press(&["Tab", "Tab"]);
    tmux.wait("Inside first");
    tmux.type_text("orders");
    tmux.wait("1 of 14");
    tmux.press(&["Space", "Enter"]);
    tmux.wait("ended 0 0 0");
    let lines =
        "jq -c '[.id, .backup_name, .path, .path_base64, has(\"created_at\"), .type, .status]' out";
    assert_eq!(
        sandbox.ok(lines).stdout,
        r#"[3,"third","app/\u001b[2J.txt",null,true,null,null]
[3,"third","app/caf�.txt","YXBwL2NhZukudHh0",true,null,null]
[3,"third","app/log/old",null,true,null,null]
[2,"second",null,null,true,null,"completed"]
[1,"first","app/data/orders.db",null,true,null,null]
"#
    );
    sandbox.ok("jq -s -e 'map(.restore.entries) == [3, 14, 1]' restored; diff -r app found/app");
}

#[test]
fn of_what_was_found_in_several_backups_one_is_chosen_with_all_its_files() {
    let sandbox = Sandbox::with_app();
    sandbox.ok(
        "bk-create --name older app; echo changed >app/config.toml; bk-create --name newer app",
    );
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    tmux.run(
        "bk-find '*.toml' page 'old*' | bk-pick | bk-restore -C found; echo ended ${PIPESTATUS[*]}",
    );
    tmux.wait("2 of 2");
    tmux.press(&["Down", "Enter"]);
    tmux.wait("ended 0 0 0");
    let found = sandbox.ok("cd found/app; find . -type f | sort; cat config.toml");
    assert_eq!(
        found.stdout,
        "./cache/page\n./config.toml\n./data/old.log\nport = 8080\n"
    );
}

/// Its columns as the terminal counts them.
fn width_of(line: &str) -> usize {
    line.chars()
        .map(|c| {
            if c >= '\u{1100}' && c != '…' && c != '\u{fffd}' {
                2
            } else {
                1
            }
        })
        .sum()
}

#[test]
fn at_60_80_and_120_columns_hostile_names_harm_nothing() {
    let sandbox = Sandbox::new();
    let long = "a-directory-with-a-long-name/".repeat(4);
    sandbox.write(&format!("app/{long}last.conf"), "x");
    sandbox.write(
        "app/日本語日本語日本語日本語日本語日本語日本語日本語日本語",
        "y",
    );
    sandbox.ok(r"cd app; echo >$'\e[2J\e]0;title\a'; echo >$'\xff\xfe'; echo >$'a\nb'; echo >$'rtl\u202etxt.exe'");
    sandbox.ok(r"bk-create --name 日本語日本語日本語日本語日本語日本語日本語 -d $'\e[2Jmany\nlines' --source-version $'\e[31m' app");
    let Some(tmux) = Tmux::new(&sandbox, 60, 20) else {
        return;
    };
    tmux.run("clear; bk-pick; echo ended $?");
    for columns in [60, 80, 120] {
        tmux.resize(columns, 20);
        let is_whole = |screen: &[String], last: &str| {
            let lines = screen.iter().filter(|line| !line.is_empty());
            let widths = lines.map(|line| width_of(line)).max();
            screen.len() == 20
                && screen[19].contains(last)
                && screen[19].ends_with("?: keys")
                && widths.is_some_and(|it| it <= usize::from(columns))
        };
        tmux.wait_until("the list", |it| {
            let described = r"日本語: \u{1b}[2Jmany\n";
            is_whole(it, "1 of 1 | ")
                && it[2].starts_with("> ")
                && it[2].contains("日本")
                && (it[18].contains(described) || columns == 60 && it[18].ends_with("日本語…"))
        });
        tmux.press(&["Tab", "Tab"]);
        let screen = tmux.wait_until("what is inside", |it| is_whole(it, "11 of 11"));
        for name in [
            r" app/\u{1b}[2J\u{1b}]0;title",
            r" app/a\nb",
            r" app/rtl\u{202e}txt.exe",
            " app/\u{fffd}\u{fffd}",
            " app/日本語日本語",
            " app/a-directory-",
        ] {
            assert!(
                screen[3..].iter().any(|line| line.contains(name)),
                "{name}: {screen:#?}"
            );
        }
        // The end of a name that is longer than a line, which has no room for all of it.
        tmux.type_text("last.conf");
        tmux.wait_until("the end", |it| {
            it[18].ends_with("-with-a-long-name/last.conf")
        });
        tmux.press(&["Tab"]);
    }
    tmux.press(&["Tab", "Tab"]);
    tmux.wait("11 of 11");
    tmux.type_text("title");
    tmux.wait("Find: title");
    tmux.press(&["Enter"]);
    let screen = tmux.wait("ended 0");
    let file = r"app/\u{1b}[2J\u{1b}]0;title\u{7}  日本語";
    assert!(
        screen[0].starts_with("PATH ") && screen[1].starts_with(file),
        "{screen:#?}"
    );
}
