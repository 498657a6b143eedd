//! Messages for the journal or syslog (`--syslog`): one an event, its priority by the outcome.
//!
//! systemd's journal gets them by its own protocol, with fields to look for; where there is none, a
//! syslog daemon gets the text at `/dev/log`. Nothing goes over a network. Failing to send one is
//! not an error: the first failure prints a warning and ends the attempts. Knows no record.

use std::io::{Error, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::Result;
use bk_schema::clock;

use crate::flags::{Arguments, Flag, Program, switch};
use crate::message::{UsageError, one_line};
use crate::zone;

/// For the flag tables of the programs that have it.
pub const SYSLOG: Flag = switch("syslog", "log to the journal or syslog too");

const JOURNAL: &str = "/run/systemd/journal/socket";
const DEV_LOG: &str = "/dev/log";
/// The facility `daemon`.
const DAEMON: u8 = 3;
/// Longer datagrams may be refused.
const TEXT_MAX_CHARS: usize = 2000;
/// A daemon that hangs is not to hold up a backup.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The syslog priority of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Success: `info`.
    Ok,
    /// Success with a restriction: `warning`.
    Warning,
    /// Failure: `err`.
    Failed,
}

/// What the journal is told of an event beside its text and its outcome, where it is known.
#[derive(Debug, Default, Clone, Copy)]
pub struct Fields<'a> {
    /// The job that it was for.
    pub job: Option<&'a str>,
    /// The name of the backup.
    pub backup: Option<&'a str>,
    /// Why it failed, or why a backup was removed.
    pub reason: Option<&'a str>,
}

/// The connection to the journal or syslog, if any.
pub struct Notices {
    program: &'static Program,
    log: Option<Log>,
}

struct Log {
    socket: UnixDatagram,
    /// [`JOURNAL`] or [`DEV_LOG`]. Not connected to: a daemon may come back with another socket.
    path: &'static str,
}

impl Notices {
    /// Looks for the journal or syslog if `--syslog` is given.
    #[must_use]
    pub fn new(program: &'static Program, arguments: &Arguments) -> Self {
        let mut notices = Self { program, log: None };
        if arguments.has(&SYSLOG) {
            match Log::find() {
                Ok(log) => notices.log = Some(log),
                Err(error) => notices.give_up(&error),
            }
        }
        notices
    }

    /// Sends one message; control characters are escaped.
    pub fn log(&mut self, priority: Priority, text: &str, fields: &Fields<'_>) {
        let Some(log) = &self.log else { return };
        let text = match log.path {
            JOURNAL => entry(self.program.name, priority, text, fields),
            _ => line(self.program.name, priority, text),
        };
        if let Err(error) = log.socket.send_to(text.as_bytes(), log.path) {
            self.give_up(&error);
        }
    }

    /// Logs an error, unless it is a [`UsageError`]: then nothing was begun.
    pub fn log_error<T>(&mut self, result: Result<T>, fields: &Fields<'_>) -> Result<T> {
        if let Err(error) = &result
            && !error.is::<UsageError>()
        {
            let text = format!("{error:#}");
            let reason = Some(text.as_str());
            self.log(Priority::Failed, &text, &Fields { reason, ..*fields });
        }
        result
    }

    fn give_up(&mut self, error: &Error) {
        self.log = None;
        let reason = match error.kind() {
            ErrorKind::NotFound => format!("there is no {DEV_LOG}"),
            _ => error.to_string(),
        };
        self.program
            .warn(&format!("warning: cannot log to syslog: {reason}"));
    }
}

impl Log {
    fn find() -> Result<Self, Error> {
        let is_there = |path| UnixDatagram::unbound()?.connect(path);
        let path = match is_there(JOURNAL) {
            Ok(()) => JOURNAL,
            // A container may have the path and no journal behind it.
            Err(_) => is_there(DEV_LOG).map(|()| DEV_LOG)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { socket, path })
    }
}

impl Priority {
    fn number(self) -> u8 {
        match self {
            Self::Ok => 6,
            Self::Warning => 4,
            Self::Failed => 3,
        }
    }

    fn outcome(self) -> &'static str {
        match self {
            Self::Ok | Self::Warning => "ok",
            Self::Failed => "failed",
        }
    }
}

/// One line of a length that every daemon takes.
fn shown(text: &str) -> String {
    one_line(text).chars().take(TEXT_MAX_CHARS).collect()
}

/// As RFC 3164 has it, but for the host, which is none of a local message.
fn line(program: &str, priority: Priority, text: &str) -> String {
    let priority = DAEMON * 8 + priority.number();
    let time = clock::now().to_zoned(zone::local());
    let (time, pid) = (time.strftime("%b %e %H:%M:%S"), std::process::id());
    let text = shown(text);
    format!("<{priority}>{time} {program}[{pid}]: {text}")
}

/// As systemd's native protocol has it, `KEY=value` a line.
fn entry(program: &str, priority: Priority, text: &str, fields: &Fields<'_>) -> String {
    let all = [
        ("MESSAGE", Some(text)),
        ("PRIORITY", Some(&*priority.number().to_string())),
        ("SYSLOG_FACILITY", Some(&*DAEMON.to_string())),
        ("SYSLOG_IDENTIFIER", Some(program)),
        ("BK_OUTCOME", Some(priority.outcome())),
        ("BK_JOB", fields.job),
        ("BK_BACKUP", fields.backup),
        ("BK_REASON", fields.reason),
    ];
    let known = all
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    known
        .map(|(key, value)| format!("{key}={}\n", shown(value)))
        .collect()
}
