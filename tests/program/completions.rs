//! Completions in real shells, on a real terminal: whatever a name holds, the program is given it
//! as one word, and no shell ever runs any of it.

use std::time::{Duration, Instant};

use crate::support::tmux::Tmux;
use crate::support::{Sandbox, has};

const NAMES: [&str; 17] = [
    "x$(touch PWNED).s",
    "back`touch PWNED`tick",
    "semi;touch PWNED",
    "two words",
    "sq'uote",
    "dq\"uote",
    "bs\\lash",
    "glob*[a]?",
    "co:lon:x",
    "~tilde",
    "eq=ual",
    "at@home",
    "ex!clam",
    "#hash",
    "$HOME",
    "ünï code",
    "<(touch PWNED)",
];

/// What is typed before Tab, and the words that the program is then given; alike in all shells.
const TYPED: [(&str, &[&str]); 34] = [
    ("--js", &["--json"]),
    ("--completions fi", &["--completions", "fish"]),
    ("x", &["x$(touch PWNED).s"]),
    ("'x$(", &["x$(touch PWNED).s"]),
    ("\"x\\$(", &["x$(touch PWNED).s"]),
    ("x\\$", &["x$(touch PWNED).s"]),
    ("back", &["back`touch PWNED`tick"]),
    ("\"back", &["back`touch PWNED`tick"]),
    ("semi", &["semi;touch PWNED"]),
    ("two", &["two words"]),
    ("two\\ w", &["two words"]),
    ("'two w", &["two words"]),
    ("\"two w", &["two words"]),
    ("two\" \"w", &["two words"]),
    ("sq", &["sq'uote"]),
    ("'sq", &["sq'uote"]),
    ("\"dq", &["dq\"uote"]),
    ("bs", &["bs\\lash"]),
    ("\"bs", &["bs\\lash"]),
    ("glob", &["glob*[a]?"]),
    ("co:l", &["co:lon:x"]),
    ("'co:lon", &["co:lon:x"]),
    ("co\\:l", &["co:lon:x"]),
    ("\\~t", &["~tilde"]),
    ("eq=", &["eq=ual"]),
    ("at@", &["at@home"]),
    ("ex", &["ex!clam"]),
    ("\\#", &["#hash"]),
    ("\\$H", &["$HOME"]),
    ("ün", &["ünï code"]),
    ("'<", &["<(touch PWNED)"]),
    ("-- two", &["--", "two words"]),
    ("--home 'o t' els", &["--home", "o t", "else where"]),
    ("--home=o\\ t els", &["--home=o t", "else where"]),
];

/// A name of a job, as a flag takes it.
const OF_JOB: [(&str, &[&str]); 2] = [
    ("--job jo", &["--job", "job"]),
    ("--job=jo", &["--job=job"]),
];

/// Two homes with such names; `bk-rm` notes what it is given, and removes nothing.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_app();
    let line = |name: &&str| {
        let request = serde_json::json!({"sources": ["app/config.toml"], "backup_name": name});
        request.to_string() + "\n"
    };
    sandbox.write("requests", &NAMES.iter().map(line).collect::<String>());
    sandbox.ok("bk-create - <requests");
    sandbox.ok("bk-create --home 'o t' --name 'else where' app/config.toml");
    sandbox.write(
        "bin/bk-rm",
        "#!/bin/sh\n{ printf '%s\\n' \"$@\"; echo .; } >>given\n",
    );
    sandbox.write("dir $(touch PWNED)/x", "");
    sandbox.write("file $(touch PWNED)", "");
    sandbox.ok("chmod +x bin/bk-rm");
    sandbox
}

/// Types each line, Tab and Enter, and asserts what the program was given.
fn type_all(sandbox: &Sandbox, tmux: &Tmux, program: &str, lines: &[(&str, &[&str])]) {
    for (typed, expected) in lines {
        let _ = std::fs::remove_file(sandbox.path("given"));
        tmux.type_text(&format!("{program} {typed}"));
        tmux.press(&["Tab", "Enter"]);
        let begin = Instant::now();
        let given = loop {
            let given = std::fs::read_to_string(sandbox.path("given")).unwrap_or_default();
            if given.ends_with("\n.\n") {
                break given;
            }
            let screen = || tmux.screen();
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "{typed}: {:#?}",
                screen()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let given: Vec<_> = given.lines().collect();
        assert_eq!(given[..given.len() - 1], **expected, "{typed}");
    }
    assert!(!sandbox.path("PWNED").exists());
}

#[test]
fn bash_is_given_words() {
    let sandbox = sandbox();
    let Some(tmux) = Tmux::new(&sandbox, 120, 50) else {
        return;
    };
    sandbox.ok("bk-rm --completions bash >script");
    tmux.run("PATH=$PWD/bin:$PATH; source ./script; clear; echo rea''dy");
    tmux.wait("ready");
    type_all(&sandbox, &tmux, "bk-rm", &TYPED);
    let own: [(&str, &[&str]); 4] = [
        // readline's own word ends at the colon; the history is not meant.
        ("\"ex", &["ex!clam"]),
        ("--home=di", &["--home=dir $(touch PWNED)/"]),
        ("--home di", &["--home", "dir $(touch PWNED)/"]),
        ("--completions=z", &["--completions=zsh"]),
    ];
    type_all(&sandbox, &tmux, "bk-rm", &own);
}

#[test]
fn bash_completes_paths_and_jobs_as_words() {
    let sandbox = sandbox();
    let Some(tmux) = Tmux::new(&sandbox, 120, 50) else {
        return;
    };
    sandbox.ok("for it in mv create find; do cp bin/bk-rm bin/bk-$it; done");
    for program in ["bk-mv", "bk-create", "bk-auto", "bk-find"] {
        sandbox.ok(&format!("{program} --completions bash >script.{program}"));
    }
    sandbox.ok("bk-auto --set 'j$(touch PWNED)' -s @daily -- app");
    tmux.run("real=$PATH; PATH=$PWD/bin:$PATH; for it in script.*; do source $it; done; clear; echo rea''dy");
    tmux.wait("ready");
    type_all(
        &sandbox,
        &tmux,
        "bk-mv",
        &[
            ("two", &["two words"]),
            ("-- x di", &["--", "x", "dir $(touch PWNED)/"]),
            ("x ./di", &["x", "./dir $(touch PWNED)/"]),
            // HOME is the sandbox.
            (
                "x ~/bi",
                &[
                    "x",
                    &format!("{}/bin/", sandbox.path("").display()).replace("//", "/"),
                ],
            ),
        ],
    );
    type_all(
        &sandbox,
        &tmux,
        "bk-create",
        &[
            ("fil", &["file $(touch PWNED)"]),
            ("-C di", &["-C", "dir $(touch PWNED)/"]),
            ("--parent two", &["--parent", "two words"]),
            ("--parent=two", &["--parent=two words"]),
            ("--type=pre", &["--type=pre-upgrade"]),
        ],
    );
    // The names of jobs come from bk-auto itself.
    tmux.run("bk-auto() { if [ \"$1\" = --list ]; then command bk-auto \"$@\"; else bin/bk-rm \"$@\"; fi; }; clear; echo set''tled");
    tmux.wait("settled");
    type_all(
        &sandbox,
        &tmux,
        "bk-auto",
        &[
            ("--now j", &["--now", "j$(touch PWNED)"]),
            (
                "--set j -- fil",
                &["--set", "j", "--", "file $(touch PWNED)"],
            ),
        ],
    );
    let job: &[&str] = &["--job", "j$(touch PWNED)"];
    let of_job = [("--job j", job), ("--job=j", &["--job=j$(touch PWNED)"])];
    type_all(&sandbox, &tmux, "bk-find", &of_job);
}

#[test]
fn zsh_is_given_words() {
    if !has("zsh") {
        return;
    }
    let sandbox = sandbox();
    let Some(tmux) = Tmux::new(&sandbox, 120, 50) else {
        return;
    };
    sandbox.ok("mkdir functions; cp bin/bk-rm bin/bk-find; bk-auto --set job -s @daily -- app; for it in rm auto find; do bk-$it --completions zsh >functions/_bk-$it; done");
    tmux.run("PATH=$PWD/bin:$PATH; exec zsh -f");
    tmux.run("PS1='% '; fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D; clear; echo rea''dy");
    tmux.wait("ready");
    type_all(&sandbox, &tmux, "bk-rm", &TYPED);
    type_all(&sandbox, &tmux, "bk-find", &OF_JOB);
}

#[test]
fn fish_is_given_words() {
    if !has("fish") {
        return;
    }
    let sandbox = sandbox();
    let Some(tmux) = Tmux::new(&sandbox, 120, 50) else {
        return;
    };
    sandbox.ok("cp bin/bk-rm bin/bk-find; bk-auto --set job -s @daily -- app; for it in rm find; do bk-$it --completions fish; done >script");
    tmux.run("PATH=$PWD/bin:$PATH; exec fish --no-config");
    tmux.run("function fish_prompt; echo '% '; end; source ./script; clear; echo rea''dy");
    tmux.wait("ready");
    type_all(&sandbox, &tmux, "bk-rm", &TYPED);
    type_all(&sandbox, &tmux, "bk-find", &OF_JOB);
}

#[test]
fn a_function_of_bash_that_is_called_gives_words_that_the_shell_takes() {
    let sandbox = sandbox();
    let complete = |words: &str| {
        let line = format!(
            "PATH=$PATH:bin; source <(bk-rm --completions bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _bk_rm; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        sandbox.ok(&line).stdout
    };
    assert_eq!(complete("bk-rm x"), "x\\$\\(touch\\ PWNED\\).s\n");
    assert_eq!(complete("bk-rm --home o\\\\ t el"), "else\\ where\n");
    sandbox.ok("bk-push --set --init offsite file://$PWD/place");
    assert_eq!(complete("bk-rm --require-copy o"), "offsite\n");
    let all = complete("bk-rm ''");
    let line = format!("printf '%s\\n' {}", all.replace('\n', " "));
    let mut names: Vec<_> = sandbox
        .ok(&line)
        .stdout
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    let mut expected = NAMES;
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(!sandbox.path("PWNED").exists());
}
