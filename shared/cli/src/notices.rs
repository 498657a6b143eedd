//! Notices for the journal or syslog (`--syslog`): one line an event, its priority by how it went.
//!
//! They go to the socket `/dev/log`, never over a network. Nothing depends on their arrival: where
//! there is no such socket, one warning says so. Knows no record.

use anyhow::Result;
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

use crate::flags::{Arguments, Flag, Program};
use crate::message::{UsageError, one_line};

/// The flag that asks for them, for the tables of the programs that have it.
pub const SYSLOG: Flag = Flag::new("syslog", None, None, "log to the journal or syslog too");
/// A datagram that is longer may be refused.
const TEXT_MAX_CHARS: usize = 2000;

/// How an event went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Well: `info`.
    Ok,
    /// Well, but for something that is told: `warning`.
    Warning,
    /// Badly: `err`.
    Failed,
}

/// Where notices go, or nowhere.
pub struct Notices {
    program: &'static Program,
    logger: Option<Logger<LoggerBackend, Formatter3164>>,
}

impl Notices {
    /// Somewhere, if `--syslog` is given.
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

    /// One line, whatever control characters the text holds.
    pub fn tell(&mut self, priority: Priority, text: &str) {
        let Some(logger) = &mut self.logger else {
            return;
        };
        let line: String = one_line(text).chars().take(TEXT_MAX_CHARS).collect();
        let told = match priority {
            Priority::Ok => logger.info(line),
            Priority::Warning => logger.warning(line),
            Priority::Failed => logger.err(line),
        };
        if let Err(error) = told {
            self.give_up(&error);
        }
    }

    /// Tells of an error, unless it is a mistake on the command line, with which nothing began.
    pub fn tell_error<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && !error.is::<UsageError>()
        {
            self.tell(Priority::Failed, &format!("{error:#}"));
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
