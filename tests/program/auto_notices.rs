//! `--syslog`: one message an event in the journal, with fields, or at a real `/dev/log`, whatever the
//! names hold; without either, a warning.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::{Ran, Sandbox, has};

/// Where `/dev/log` is a socket of this test, and there is no journal.
const SYSLOG: &str = "ln -s \"$PWD/log\" new/log";
/// Where the journal's is one, and there is no `/dev/log`.
const JOURNAL: &str =
    "mkdir -p /run/systemd/journal && ln -s \"$PWD/log\" /run/systemd/journal/socket";

/// Runs a command line where there is such a socket, in a mount namespace of its own; returns the
/// datagrams that came; `None` where that is not possible.
fn with_log(sandbox: &Sandbox, socket: &str, line: &str) -> Option<(Ran, Vec<String>)> {
    if !has("unshare") {
        return None;
    }
    let flags = ["-m", "-rm"].into_iter().find(|flags| {
        let tried = format!("unshare {flags} mount -t tmpfs none /mnt");
        sandbox.run(&tried).status == 0
    });
    let Some(flags) = flags else {
        println!("skipped: unshare may not make a mount namespace here");
        return None;
    };
    sandbox.write("typed", line);
    sandbox.write(
        "inside",
        &format!(
            "mkdir -p old new && mount --rbind /dev old && mount -t tmpfs none new || exit 99\n\
             for it in null zero urandom random tty; do ln -s \"$PWD/old/$it\" new/; done\n\
             mount -t tmpfs none /run && {socket} && mount --bind new /dev || exit 99\n\
             exec bash typed\n"
        ),
    );
    let path = sandbox.path("log");
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    let ran = sandbox.run(&format!("unshare {flags} bash inside"));
    assert_ne!(ran.status, 99, "{ran:#?}");
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut lines = Vec::new();
    let mut bytes = [0; 1 << 16];
    while let Ok(length) = socket.recv(&mut bytes) {
        lines.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
    }
    Some((ran, lines))
}

/// Priority, program and text of a line `<30>Nov 25 00:00:00 bk-create[7]: text`.
fn parts(line: &str) -> (u8, String, String) {
    let (priority, rest) = line.strip_prefix('<').unwrap().split_once('>').unwrap();
    let stamp = &rest.as_bytes()[..15];
    assert!(
        stamp[3] == b' ' && stamp[9] == b':' && stamp[12] == b':',
        "{line}"
    );
    let (tag, text) = rest[16..].split_once("]: ").unwrap();
    let (program, pid) = tag.split_once('[').unwrap();
    pid.parse::<u32>().unwrap();
    (
        priority.parse().unwrap(),
        program.to_owned(),
        text.to_owned(),
    )
}

/// The facility `daemon` with the priorities `info`, `warning` and `err`.
const INFO: u8 = 3 * 8 + 6;
const WARNING: u8 = 3 * 8 + 4;
const ERR: u8 = 3 * 8 + 3;

#[test]
fn each_event_is_a_line_with_its_priority() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s @daily -r 1 -- app; bk-auto --set gone -s @daily -- gone");
    sandbox.ok("bk-auto --now a; bk-auto --now a");
    sandbox.sql("UPDATE backup_records SET created_at = TIMESTAMP '2024-01-01 00:00:00'");
    let Some((ran, lines)) = with_log(
        &sandbox,
        SYSLOG,
        "bk-auto --syslog --now a; bk-auto --syslog --now gone",
    ) else {
        return;
    };
    assert_eq!(ran.status, 1, "{ran:#?}");
    let told: Vec<_> = lines.iter().map(|line| parts(line)).collect();
    let told: Vec<_> = told
        .iter()
        .map(|(p, program, text)| (*p, program.as_str(), text.as_str()))
        .collect();
    let record = ran.record();
    let name = record["backup_name"].as_str().unwrap();
    let created = format!(
        "created '{name}' (id 3), {} bytes, 6 files",
        record["backup_size"]
    );
    assert_eq!(told[0], (INFO, "bk-create", created.as_str()));
    for (at, id) in [(1, 1), (2, 2)] {
        let (priority, program, text) = told[at];
        assert_eq!((priority, program), (INFO, "bk-prune"));
        assert!(
            text.contains(&format!("(id {id}), ")) && text.ends_with(" bytes: older than 1d"),
            "{text}"
        );
    }
    assert_eq!(
        told[3],
        (
            INFO,
            "bk-auto",
            format!("job 'a' ok; backup '{name}'; pruned 2").as_str()
        )
    );
    let reason = format!(
        "cannot back up '{}': No such file or directory",
        sandbox.path("gone").display()
    );
    assert_eq!(told[4], (ERR, "bk-create", reason.as_str()));
    assert_eq!(
        told[5],
        (
            ERR,
            "bk-auto",
            format!("job 'gone' failed; {reason}").as_str()
        )
    );
    assert_eq!(told.len(), 6, "{told:?}");
}

/// The fields of each entry that are not of the program itself, by systemd's native protocol.
fn entries(datagrams: &[String]) -> Vec<BTreeMap<&str, &str>> {
    let field = |line| str::split_once(line, '=').unwrap();
    let fields = datagrams.iter().map(|entry| entry.lines().map(field));
    fields.map(Iterator::collect).collect()
}

#[test]
fn the_journal_gets_fields_to_look_for() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set a -s @daily -r 1 -- app; bk-auto --set gone -s @daily -- gone");
    sandbox.ok("bk-auto --now a");
    sandbox.sql("UPDATE backup_records SET created_at = TIMESTAMP '2024-01-01 00:00:00', backup_name = 'old'");
    let Some((ran, datagrams)) = with_log(
        &sandbox,
        JOURNAL,
        "bk-auto --syslog --now a; bk-auto --syslog --now gone",
    ) else {
        return;
    };
    assert_eq!(ran.status, 1, "{ran:#?}");
    let name = ran.record()["backup_name"].as_str().unwrap().to_owned();
    let reason = format!(
        "cannot back up '{}': No such file or directory",
        sandbox.path("gone").display()
    );
    let told = entries(&datagrams);
    let expected = [
        ("bk-create", "6", "ok", "a", Some(&*name), None),
        (
            "bk-prune",
            "6",
            "ok",
            "a",
            Some("old"),
            Some("older than 1d"),
        ),
        ("bk-auto", "6", "ok", "a", Some(&*name), None),
        ("bk-create", "3", "failed", "gone", None, Some(&*reason)),
        ("bk-auto", "3", "failed", "gone", None, Some(&*reason)),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, (program, priority, outcome, job, backup, reason)) in told.iter().zip(expected) {
        let one_of = |key| told.get(key).copied();
        assert_eq!(one_of("SYSLOG_FACILITY"), Some("3"));
        assert_eq!(one_of("SYSLOG_IDENTIFIER"), Some(program));
        assert_eq!(one_of("PRIORITY"), Some(priority), "{told:#?}");
        assert_eq!(one_of("BK_OUTCOME"), Some(outcome), "{told:#?}");
        assert_eq!(one_of("BK_JOB"), Some(job), "{told:#?}");
        assert_eq!(one_of("BK_BACKUP"), backup, "{told:#?}");
        assert_eq!(one_of("BK_REASON"), reason, "{told:#?}");
    }
    assert_eq!(told[4]["MESSAGE"], format!("job 'gone' failed; {reason}"));
}

#[test]
fn some_unread_is_a_warning_and_control_characters_do_not_break_a_line() {
    let sandbox = Sandbox::with_app();
    if !has("setpriv") || !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become somebody who may not read all");
        return;
    }
    sandbox.ok("chmod 755 .; chmod 600 app/log/app.log; mkdir -m 777 nobody");
    let line = "bk-create --syslog --name a $'gone\\n<11>evil\\e[2J\\u0085\\u2028x'; chmod 777 log
        setpriv --reuid 65534 --regid 65534 --clear-groups bk-create --syslog --home nobody --name m app";
    let Some((ran, lines)) = with_log(&sandbox, SYSLOG, line) else {
        return;
    };
    let told: Vec<_> = lines.iter().map(|line| parts(line)).collect();
    assert_eq!(told[0].0, ERR);
    assert!(
        told[0]
            .2
            .contains(r"gone\n<11>evil\u{1b}[2J\u{85}\u{2028}x'"),
        "{told:?}"
    );
    assert!(
        lines.iter().all(|line| !line.chars().any(char::is_control)),
        "{lines:?}"
    );
    assert_eq!((ran.status, told[1].0), (3, WARNING), "{ran:#?} {told:?}");
    assert!(
        told[1]
            .2
            .ends_with("; something of the sources could not be read"),
        "{told:?}"
    );
}

#[test]
fn without_a_log_there_is_one_warning_and_the_backup() {
    let sandbox = Sandbox::with_app();
    for path in ["/dev/log", "/run/systemd/journal/socket"] {
        if std::path::Path::new(path).exists() {
            println!("skipped: there is a {path} here");
            return;
        }
    }
    let warning =
        |program| format!("{program}: warning: cannot log to syslog: there is no /dev/log\n");
    let ran = sandbox.ok("bk-create --syslog --name a app");
    assert_eq!(ran.stderr, warning("bk-create"));
    assert_eq!(ran.record()["status"], "completed");
    assert_eq!(sandbox.ok("bk-create --name b app").stderr, "");
    sandbox.ok("bk-auto --set -s @daily -- app");
    let ran = sandbox.ok("bk-auto --syslog --now");
    assert_eq!(ran.stderr, warning("bk-auto") + &warning("bk-create"));
    assert_eq!(ran.records().len(), 1);
}
