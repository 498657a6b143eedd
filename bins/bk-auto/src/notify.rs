//! Tells people how a run went, by a command of theirs, which nobody waits for: one that fails or
//! hangs holds up no backup, and is told itself.
//!
//! Knows no catalog.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::child::{Watch, signal_all};
use crate::hook;
use crate::job::Notify;
use crate::lock::Event;
use crate::outcome::News;
use crate::tail::Tail;

/// A longer value does not fit into the environment of a process (execve(2)); standard input takes it.
const VALUE_MAX_BYTES: usize = 100_000;

/// A command that tells of a run.
struct Begun {
    job: String,
    pid: Pid,
    tail: Tail,
    limit: Duration,
}

/// The commands that are at work.
#[derive(Default)]
pub(crate) struct Notifications {
    begun: Vec<Begun>,
}

/// A notice that came to nothing.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) job: String,
    pub(crate) reason: String,
}

impl Notifications {
    /// Begins the command, if such news are to be told.
    pub(crate) fn begin(
        &mut self,
        notify: &Notify,
        job: &str,
        news: News,
        line: &Value,
        limit: Duration,
        watch: &Watch,
    ) -> Option<Lost> {
        if news == News::Ok && !notify.is_always {
            return None;
        }
        let begun = begin(&notify.command, job, news, line, limit, watch);
        match begun {
            Ok((pid, tail)) => {
                let job = job.to_owned();
                self.begun.push(Begun {
                    job,
                    pid,
                    tail,
                    limit,
                });
                None
            }
            Err(error) => Some(Lost {
                job: job.to_owned(),
                reason: format!("{error:#}"),
            }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// Those that have ended without having told.
    ///
    /// # Errors
    /// Those of waitpid(2).
    pub(crate) fn lost(&mut self, watch: &Watch) -> Result<Vec<Lost>> {
        let mut lost = Vec::new();
        for one in std::mem::take(&mut self.begun) {
            let Some(ended) = watch.ended(one.pid)? else {
                self.begun.push(one);
                continue;
            };
            if let Err(error) = hook::check(ended, Some(one.tail), one.limit) {
                lost.push(Lost {
                    job: one.job,
                    reason: format!("{error:#}"),
                });
            }
        }
        Ok(lost)
    }

    /// Ends all that are at work.
    pub(crate) fn end(&self) {
        for one in &self.begun {
            signal_all(one.pid, Signal::KILL);
        }
    }
}

/// What a notice tells: the event of the run, with the record of its backup.
pub(crate) fn line(event: &Event, news: News, record: Option<&Value>) -> Value {
    let mut line = event.details.clone();
    line["outcome"] = news.word().into();
    line["record"] = record.cloned().into();
    line
}

fn begin(
    command: &str,
    job: &str,
    news: News,
    line: &Value,
    limit: Duration,
    watch: &Watch,
) -> Result<(Pid, Tail)> {
    let text = line.to_string();
    let input = in_memory(&text).context("cannot pass on what is to be told")?;
    let told = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let reason = match news {
        News::Failed => told("reason"),
        News::Shrunk | News::Recovered | News::Ok => told("warning"),
    };
    let fits = |text: String| {
        if text.len() <= VALUE_MAX_BYTES {
            text
        } else {
            String::new()
        }
    };
    let (reason, text) = (fits(reason), fits(text));
    let variables = [
        ("BK_JOB", OsStr::new(job)),
        ("BK_OUTCOME", OsStr::new(news.word())),
        ("BK_REASON", OsStr::new(&reason)),
        ("BK_RECORD", OsStr::new(&text)),
    ];
    hook::begin(command, &variables, input, watch, limit)
}

/// A file of this line that is on no disk: a pipe would make us wait for its reader.
fn in_memory(text: &str) -> Result<File> {
    let mut file = File::from(memfd_create("bk-notice", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.rewind()?;
    Ok(file)
}
