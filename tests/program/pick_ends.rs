//! How bk-pick ends and what it leaves: the terminal as it was, nothing on stdout unless something
//! was chosen; and what it does where there is no terminal or nothing to choose.

use std::time::{Duration, Instant};

use crate::support::tmux::Tmux;
use crate::support::{Sandbox, has};

fn two() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name one app; bk-create --name two app");
    sandbox
}

/// Starts it where its terminal can be looked at before and after, and its pid is known.
const START: &str = "clear; stty -a >before; bash -c 'echo $$ >pid; exec bk-pick >out'; echo ended $?; stty -a >after";

fn is_shell(screen: &[String]) -> bool {
    let is_list = screen.iter().any(|line| line.starts_with("Find:"));
    !is_list && screen.iter().any(|line| line.starts_with("ended "))
}

#[test]
fn however_it_ends_the_terminal_is_as_it_was() {
    let sandbox = two();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    for (key, kill, status, lines) in [
        ("Enter", "", 0, "1"),
        ("Escape", "", 130, "0"),
        ("C-c", "", 130, "0"),
        ("", "TERM", 143, "0"),
        ("", "HUP", 129, "0"),
        ("", "INT", 130, "0"),
    ] {
        for view in ["List", "Record", "Inside"] {
            tmux.run(START);
            tmux.wait("2 of 2");
            match view {
                "Record" => tmux.press(&["Tab"]),
                "Inside" => tmux.press(&["Tab", "Tab"]),
                _ => {}
            }
            tmux.wait(match view {
                "Record" => "Record of two",
                "Inside" => "10 of 10 | ",
                _ => "Find:",
            });
            match (key, kill) {
                // It goes back from there.
                ("Escape", _) if view == "Record" => tmux.press(&["Left", key]),
                ("Escape", _) if view == "Inside" => tmux.press(&["Tab", key]),
                (key, "") => tmux.press(&[key]),
                _ => drop(sandbox.ok(&format!("kill -{kill} $(cat pid)"))),
            }
            let screen = tmux.wait_until("the shell", is_shell);
            let ended = format!("ended {status}");
            assert!(screen.contains(&ended), "{key}{kill} {view}: {screen:#?}");
            sandbox.ok("until [ -s after ]; do sleep 0.02; done");
            sandbox.ok("cmp before after && rm after");
            assert_eq!(sandbox.ok("wc -l <out").stdout.trim(), lines, "{key}{kill}");
        }
    }
    // The cursor is there again, and what is typed is echoed.
    tmux.run("clear; echo typed-$((6 * 7))");
    let screen = tmux.wait("typed-42");
    assert!(
        screen.len() <= 24 && screen.iter().all(|line| !line.contains("Find:")),
        "{screen:#?}"
    );
    let cursor = sandbox.ok("tmux -S tmux display-message -p '#{cursor_flag} #{alternate_on}'");
    assert_eq!(cursor.stdout, "1 0\n");
}

#[test]
fn any_size_and_any_change_of_it_is_taken() {
    let sandbox = two();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    tmux.run(START);
    tmux.wait("2 of 2");
    for view in 0..3 {
        for (columns, rows) in [
            (1, 1),
            (2, 3),
            (20, 5),
            (200, 50),
            (1, 50),
            (200, 1),
            (80, 24),
        ] {
            tmux.resize(columns, rows);
            std::thread::sleep(Duration::from_millis(30));
            tmux.press(&["Down", "Up"]);
        }
        tmux.press(&[if view < 2 { "Tab" } else { "?" }]);
    }
    tmux.wait("Esc: back");
    tmux.press(&["Escape"]);
    tmux.wait("10 of 10 | ");
    tmux.press(&["Tab"]);
    tmux.wait("2 of 2");
    tmux.resize(40, 10);
    let screen = tmux.wait_until("a small list", |screen| {
        screen.len() == 10 && screen[9].starts_with("2 of 2")
    });
    assert_eq!(screen[1], "  DATE           SIZE STATUS    NAME");
    tmux.press(&["C-c"]);
    tmux.resize(80, 24);
    tmux.wait("ended 130");
}

#[test]
fn it_goes_to_the_background_with_its_pipeline_and_comes_back() {
    let sandbox = two();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    tmux.run("stty -a >before; bk-ls | bk-pick | cat >out; echo ended ${PIPESTATUS[*]}");
    tmux.wait("2 of 2");
    for _ in 0..2 {
        tmux.press(&["C-z"]);
        tmux.wait("Stopped");
        tmux.run("clear; stty -a >after; echo typed-$((6 * 7))");
        let screen = tmux.wait("typed-42");
        assert!(
            screen.iter().all(|line| !line.contains("Find:")),
            "{screen:#?}"
        );
        sandbox.ok("until [ -s after ]; do sleep 0.02; done; cmp before after && rm after");
        tmux.run("fg");
        tmux.wait("2 of 2");
    }
    tmux.press(&["Down"]);
    tmux.wait("> ");
    tmux.press(&["Enter"]);
    tmux.wait_until("the shell", |screen| !screen[0].starts_with("Find:"));
    sandbox.ok("until [ -s out ]; do sleep 0.02; done; grep -q '\"backup_name\":\"one\"' out");
}

#[test]
fn stopped_from_outside_it_gives_the_terminal_back() {
    let sandbox = two();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    for signal in ["TSTP", "STOP"] {
        tmux.run("clear; bash -c 'echo $$ >pid; exec bk-pick >out'; echo ended $?");
        tmux.wait("2 of 2");
        sandbox.ok(&format!("kill -{signal} $(cat pid)"));
        tmux.wait("Stopped");
        tmux.run("clear; fg");
        let screen = tmux.wait("2 of 2");
        assert!(
            screen[0].starts_with("Find:") && screen[3].contains(" one"),
            "{screen:#?}"
        );
        tmux.press(&["Escape"]);
        tmux.wait_until("the shell", |screen| screen.iter().any(|line| line == "%"));
        tmux.run("clear; echo typed-$((6 * 7))");
        let screen = tmux.wait("typed-42");
        assert!(
            screen.iter().all(|line| !line.starts_with("Find:")),
            "{screen:#?}"
        );
    }
}

#[test]
fn where_nobody_could_say_to_go_on_it_does_not_stop() {
    let sandbox = two();
    if !has("python3") {
        return;
    }
    // The first of its session, on a terminal of a program that, unlike tmux, wakes nobody up.
    let script = "import os, pty, time
pid, tty = pty.fork()
if pid == 0:
    os.execvp('sh', ['sh', '-c', 'exec bk-pick >out'])
seen = b''
while b'2 of 2' not in seen:
    seen += os.read(tty, 65536)
os.write(tty, b'\x1a')
time.sleep(0.5)
pid, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
assert pid == 0, status
os.write(tty, b'\x1b')
try:
    while os.read(tty, 65536): pass
except OSError: pass
print(os.waitpid(-1, 0)[1] >> 8)
";
    sandbox.write("on_a_pty.py", script);
    assert_eq!(sandbox.ok("timeout 30 python3 on_a_pty.py").stdout, "130\n");
}

#[test]
fn a_lost_terminal_ends_it_even_where_hangups_are_ignored() {
    for before in ["", "trap '' HUP; "] {
        let sandbox = two();
        let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
            return;
        };
        tmux.run(&format!(
            "{before}(echo $BASHPID >pid; exec bk-pick >out 2>err)"
        ));
        tmux.wait("2 of 2");
        tmux.hang_up();
        let begin = Instant::now();
        while sandbox.run("kill -0 $(cat pid)").status == 0 {
            assert!(begin.elapsed() < Duration::from_secs(20), "{before}");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(sandbox.ok("cat out").stdout, "");
    }
}

#[test]
fn without_a_terminal_it_is_a_usage_error_before_the_catalog_is_opened() {
    let sandbox = two();
    let no_terminal = "bk-pick: no terminal: No such device or address: use bk-ls instead\n";
    for line in [
        "bk-pick",
        "bk-pick one",
        "bk-ls | bk-pick",
        "bk-pick -",
        "bk-pick --home /nonexistent",
    ] {
        sandbox
            .run(&format!("setsid -w bash -c '{line}'"))
            .fails(2, no_terminal);
    }
    let Some(tmux) = Tmux::new(&sandbox, 132, 24) else {
        return;
    };
    for (round, (term, line, text)) in (1..).zip([
        (
            "dumb",
            "bk-pick --home /nonexistent",
            "bk-pick: this terminal cannot show a screen: TERM is 'dumb': use bk-ls instead",
        ),
        (
            "",
            "bk-pick",
            "bk-pick: this terminal cannot show a screen: TERM is '': use bk-ls instead",
        ),
        (
            "xterm",
            "bk-pick -",
            "bk-pick: nothing to do: give ids or names, which 'bk-ls' lists, or pipe records in, one per line",
        ),
        (
            "xterm",
            "echo { | bk-pick",
            "bk-pick: bad input: line 1: it is not JSON (column 1)",
        ),
    ]) {
        tmux.run(&format!(
            "clear; TERM='{term}'; {line}; echo ended-{round} $?; TERM=screen"
        ));
        let screen = tmux.wait(&format!("ended-{round} 2"));
        assert!(screen.iter().any(|it| it == text), "{screen:#?}");
    }
}

#[test]
fn where_there_is_nothing_to_choose_it_says_so_and_what_to_do() {
    let sandbox = two();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    // What is not known is told, and the others are shown.
    tmux.run("clear; bk-pick one nope >out; echo ended $?");
    tmux.wait("1 of 1");
    tmux.press(&["Enter"]);
    let screen = tmux.wait("ended 1");
    assert!(
        screen.contains(&"bk-pick: there is no backup 'nope'".into()),
        "{screen:#?}"
    );
    if has("jq") {
        assert_eq!(sandbox.ok("jq -r .backup_name out").stdout, "one\n");
    }
    sandbox.ok("rm home/archives/*.tar.gz; bk-create --home empty app | bk-rm --home empty");
    for (round, (line, why)) in (1..).zip([
        ("bk-ls --expired | bk-pick >out", ": the input names none"),
        ("bk-pick nope >out", ""),
        (
            "bk-pick >out",
            ": no archive is available; bk-ls shows the state of each",
        ),
        (
            "bk-pick --home empty >out",
            ": 'bk-create DIR' makes the first one",
        ),
    ]) {
        tmux.run(&format!("clear; {line}; echo ended-{round} $?"));
        let screen = tmux.wait(&format!("ended-{round} 1"));
        let message = format!("bk-pick: no backups to choose from{why}");
        // It is as long as the screen is wide.
        assert!(screen.concat().contains(&message), "{screen:#?}");
    }
}

#[test]
fn the_mouse_is_its_own_only_while_the_list_is_shown() {
    let sandbox = two();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    let is_captured = |expected: &str| {
        let flags = "tmux -S tmux display-message -p '#{mouse_any_flag}#{mouse_sgr_flag}'";
        assert_eq!(sandbox.ok(flags).stdout.trim(), expected);
    };
    tmux.run("clear; bash -c 'echo $$ >pid; exec bk-pick >out'; echo ended $?");
    tmux.wait("2 of 2");
    is_captured("11");
    // A click on the second row, then the wheel in a record of more lines than there are rows.
    tmux.type_text("\u{1b}[<0;9;4M\u{1b}[<0;9;4m");
    tmux.wait_until("the second", |screen| screen[3].starts_with("> "));
    tmux.press(&["Tab"]);
    tmux.resize(80, 10);
    tmux.wait_until("a small screen", |it| {
        it.len() == 10 && it[1].starts_with("id  ")
    });
    tmux.type_text("\u{1b}[<65;9;4M");
    tmux.wait_until("scrolled", |screen| screen[1].starts_with("status  "));
    tmux.type_text("\u{1b}[<64;9;4M");
    tmux.wait_until("scrolled back", |screen| screen[1].starts_with("id  "));
    tmux.press(&["C-z"]);
    tmux.wait("Stopped");
    is_captured("00");
    tmux.run("fg");
    tmux.wait("Record of");
    is_captured("11");
    sandbox.ok("kill $(cat pid)");
    tmux.wait_until("the shell", |screen| screen.iter().any(|line| line == "%"));
    is_captured("00");
}
