//! Odd command lines and surroundings, for every program: no panic, and never silence where
//! something failed.

use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::support::{Ran, Sandbox, programs, stride};

const VALUES: [&[u8]; 12] = [
    b"",
    b"0",
    b"-1",
    b"18446744073709551616",
    b"9223372036854775807d",
    b"1e999",
    b"\xff\xfe",
    b"a\nb",
    "\u{202e}\u{e9}\u{1f600}".as_bytes(),
    b"%s%n{}{0}",
    b"../nowhere/..",
    b"9999-12-31T23:59:60Z",
];

/// The programs, and the flags that their help lists with a value.
fn all() -> Vec<String> {
    let names = std::fs::read_dir(programs()).unwrap();
    let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|it| it.starts_with("bk-") && !it.contains('.'))
        .collect();
    names.sort();
    assert!(names.len() >= 13, "{names:?}");
    names
}

fn flags(sandbox: &Sandbox, program: &str) -> Vec<String> {
    let help = sandbox.ok(&format!("{program} --help")).stdout;
    let words = help
        .lines()
        .filter_map(|line| line.split_whitespace().find(|it| it.starts_with("--")));
    words.map(str::to_owned).collect()
}

/// The exit status is one that the man pages know, and what failed is told.
fn check(ran: &Ran) {
    assert!([0, 1, 2, 3, 4, 75].contains(&ran.status), "{ran:#?}");
    if ran.status == 2 {
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    }
}

/// Each flag with a few of the values, others from flag to flag.
#[test]
fn every_flag_takes_odd_values_or_refuses_them() {
    try_flags(30);
}

#[test]
#[ignore = "two thousand runs: a minute"]
fn every_flag_takes_every_odd_value_or_refuses_it() {
    try_flags(1);
}

fn try_flags(step: usize) {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app >/dev/null");
    for program in all() {
        for (number, flag) in flags(&sandbox, &program).into_iter().enumerate() {
            // It waits, or asks the terminal.
            if ["--wait", "--follow"].contains(&&*flag) {
                continue;
            }
            for value in VALUES.iter().skip(number % step).step_by(step) {
                let mut typed = format!("{flag}=").into_bytes();
                typed.extend(*value);
                let mut command = sandbox.command(&program);
                command.arg(std::ffi::OsStr::from_bytes(&typed));
                check(&Ran::new(
                    &format!("{program} {flag} {value:?}"),
                    command.output().unwrap(),
                ));
            }
        }
    }
}

#[test]
fn odd_operands_are_answered() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app >/dev/null; touch plain");
    for program in all() {
        for (number, value) in VALUES.into_iter().enumerate() {
            let all = [
                &[value][..],
                &[b"a", value],
                &[b"--", value, value],
                &[b"-", value],
            ];
            // Some of the values, each in one of them.
            let stride = stride(10);
            for operands in all.into_iter().skip(number % stride).step_by(stride) {
                let mut command = sandbox.command(&program);
                command.args(operands.iter().map(|it| std::ffi::OsStr::from_bytes(it)));
                check(&Ran::new(
                    &format!("{program} {operands:?}"),
                    command.output().unwrap(),
                ));
            }
        }
    }
}

/// Streams that are closed or full, no environment, no working directory.
#[test]
fn odd_surroundings_are_answered() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app >/dev/null; mkdir gone");
    for (number, program) in all().into_iter().enumerate() {
        let all = [
            "PROGRAM --help >/dev/full",
            "PROGRAM a >/dev/full 2>/dev/full",
            "PROGRAM a >&-",
            "PROGRAM a 2>&-",
            "PROGRAM a <&-",
            "PROGRAM a <&- >&- 2>&-",
            "PROGRAM --nope 2>/dev/full",
            "PROGRAM --version >&-",
            "PROGRAM a </dev/null",
            "PROGRAM - </etc",
            "printf '{\"id\":1' | PROGRAM -",
            "printf '\\377\\n' | PROGRAM -",
            "env -i $(command -v PROGRAM) a",
            "env -i BK_HOME= HOME= $(command -v PROGRAM) a",
            "mkdir -p gone; cd gone && rmdir ../gone && PROGRAM --home rel a",
            "TERM= COLUMNS=0 LINES=x PROGRAM --table a",
            "TZ=../../etc/passwd PROGRAM a",
            "TMPDIR=/nonexistent PROGRAM a",
            "COLUMNS=1 PROGRAM --table",
            "BK_HOME=/dev/null PROGRAM a",
            "BK_HOME=/dev/null/x PROGRAM a",
            "BK_HOME=$(head -c 5000 /dev/zero | tr '\\0' x) PROGRAM a",
        ];
        let stride = stride(8);
        for around in all.into_iter().skip(number % stride).step_by(stride) {
            let line = around.replace("PROGRAM", &program);
            let line =
                format!("cp -a home kept; ({line}); e=$?; rm -rf home gone; mv kept home; exit $e");
            let mut command = sandbox.command("bash");
            command.args(["-c", &line]).stdin(Stdio::null());
            let ran = Ran::new(&line, command.output().unwrap());
            assert!(ran.status < 126, "{ran:#?}");
        }
    }
}
