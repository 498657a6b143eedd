//! Messages for syslog (`--syslog`): one line per event, its priority by the outcome.
//!
//! They go to the socket `/dev/log`, never over a network. Failing to send one is not an error:
//! the first failure prints a warning and ends the attempts. Knows no record.

use anyhow::Result;
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

use crate::flags::{Arguments, Flag, Program, switch};
use crate::message::{UsageError, one_line};

/// For the flag tables of the programs that have it.
pub const SYSLOG: Flag = switch("syslog", "log to the journal or syslog too");
/// Longer datagrams may be refused.
const TEXT_MAX_CHARS: usize = 2000;

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

/// The connection to syslog, if any.
pub struct Notices {
    program: &'static Program,
    logger: Option<Logger<LoggerBackend, Formatter3164>>,
}

impl Notices {
    /// Connects if `--syslog` is given.
    #[must_use]
    pub fn new(program: &'static Program, arguments: &Arguments) -> Self {
        let mut notices = Self {
            program,
            logger: None,
        };
        if arguments.has(&SYSLOG) {
            let opened = syslog::unix(Formatter3164 {
                facility: Facility::LOG_DAEMON,
                hostname: None,
                process: program.name.to_owned(),
                pid: std::process::id(),
            });
            match opened {
                Ok(logger) => notices.logger = Some(logger),
                Err(error) => notices.give_up(&error),
            }
        }
        notices
    }

    /// Sends one line, control characters escaped.
    pub fn log(&mut self, priority: Priority, text: &str) {
        let Some(logger) = &mut self.logger else {
            return;
        };
        let line: String = one_line(text).chars().take(TEXT_MAX_CHARS).collect();
        let sent = match priority {
            Priority::Ok => logger.info(line),
            Priority::Warning => logger.warning(line),
            Priority::Failed => logger.err(line),
        };
        if let Err(error) = sent {
            self.give_up(&error);
        }
    }

    /// Logs an error, unless it is a [`UsageError`]: then nothing was begun.
    pub fn log_error<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && !error.is::<UsageError>()
        {
            self.log(Priority::Failed, &format!("{error:#}"));
        }
        result
    }

    fn give_up(&mut self, error: &syslog::Error) {
        self.logger = None;
        let reason = match error {
            syslog::Error::Initialization(_) => "there is no /dev/log".to_owned(),
            other => other.to_string(),
        };
        self.program
            .warn(&format!("warning: cannot log to syslog: {reason}"));
    }
}
