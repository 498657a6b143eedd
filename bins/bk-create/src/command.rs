//! Runs a command whose output is backed up.
//!
//! The command has a process group of its own, which is ended where the backup fails or a signal
//! comes; its stderr is passed through. Knows no archive.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bk_archive::threads::needed;
use bk_archive::write::observer::Observer;
use bk_cli::one_line;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, waitpid};

use crate::watch::Watch;

const SHELL: &str = "sh";
/// How often a wait for input is interrupted to check for signals.
const SIGNALS_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// How often the status of the command is polled.
const REAP_EVERY: Duration = Duration::from_millis(10);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// So many lines of its stderr are the reason of a failure.
const LAST_LINES: usize = 3;
const LAST_BYTES: usize = 2000;

/// A pipe that is read until its end or a signal.
pub(crate) struct Input<'a> {
    file: File,
    is_stopped: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Input<'a> {
    pub(crate) fn new(file: OwnedFd, is_stopped: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self {
            file: file.into(),
            is_stopped,
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if (self.is_stopped)() {
                return Err(io::Error::other("interrupted"));
            }
            match has_more(&self.file, SIGNALS_EVERY) {
                Ok(false) | Err(Errno::INTR) => {}
                Ok(true) => return self.file.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether a pipe has more to read, or has ended, within that time.
fn has_more(pipe: &impl AsFd, wait: Timespec) -> rustix::io::Result<bool> {
    let mut watched = [PollFd::new(pipe, PollFlags::IN)];
    Ok(poll(&mut watched, Some(&wait))? > 0)
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Run {
    /// A program with its arguments.
    Words(Vec<OsString>),
    /// A line of a shell.
    Shell(String),
}

impl Run {
    /// Its first word, where that can be told apart from others, which may hold passwords.
    pub(crate) fn first_word(&self) -> String {
        match self {
            Self::Words(words) => words.first().map_or_else(String::new, |first| {
                let first = first.to_string_lossy();
                first.into_owned()
            }),
            Self::Shell(line) => {
                let first = line.split_whitespace().next().unwrap_or_default();
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./+".contains(c);
                // Such as a variable that is set for the command.
                let is_unsure = first.is_empty() || !first.chars().all(is_plain);
                if is_unsure { SHELL } else { first }.to_owned()
            }
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::Words(words) => {
                let mut words = words.iter();
                let mut command = Command::new(words.next().map_or(OsStr::new(""), |it| it));
                command.args(words);
                command
            }
            Self::Shell(line) => {
                let mut command = Command::new(SHELL);
                command.args(["-c", line]);
                command
            }
        }
    }
}

/// Why a command could not be run, or how it failed.
#[derive(Debug)]
pub(crate) struct Failed(String);

impl Display for Failed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failed {}

/// Runs what is to print the file of that name, and `read` on its output.
///
/// # Errors
/// [`Failed`] with the end of its stderr, and those of `read`.
pub(crate) fn run(
    what: &Run,
    filename: &str,
    watch: &Watch,
    read: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let name = match what {
        Run::Words(_) => format!("'{}'", one_line(&what.first_word())),
        Run::Shell(_) => format!("the command of '{}'", one_line(filename)),
    };
    let cannot = |error: io::Error| Failed(format!("cannot run {name}: {error}"));
    let mut child = what
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    let group = Pid::from_child(&child);
    let pipes = child.stdout.take().zip(child.stderr.take());
    let (stdout, stderr) = pipes.context("a command has no pipes")?;
    let (is_unwanted, has_ended) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let pass = || pass_on(stderr.into(), &has_ended, watch);
        let wait = || {
            let is_unwanted = || is_unwanted.load(Ordering::Relaxed) || watch.is_stopped();
            let ended = reap(group, &is_unwanted);
            has_ended.store(true, Ordering::Relaxed);
            ended
        };
        let passing = Builder::new().spawn_scoped(scope, pass);
        let threads =
            passing.and_then(|passing| Ok((passing, Builder::new().spawn_scoped(scope, wait)?)));
        if threads.is_err() {
            is_unwanted.store(true, Ordering::Relaxed);
            // The error to report is that there are no threads.
            let _ = wait();
        }
        let (passing, reaping) = needed(threads).map_err(cannot)?;
        let is_stopped = || watch.is_stopped();
        let mut input = Input::new(stdout.into(), &is_stopped);
        let done = read(&mut input);
        // A command that goes on printing gets SIGPIPE.
        drop(input);
        is_unwanted.store(done.is_err(), Ordering::Relaxed);
        let ended = reaping.join();
        let stderr_end = passing.join().unwrap_or_default();
        done?;
        let ended = ended.unwrap_or(Err(Errno::CHILD));
        let reason = match ended {
            Ok(None) => return Ok(()),
            Ok(Some(how)) if stderr_end.is_empty() => format!("{name} {how}"),
            Ok(Some(how)) => format!("{name} {how}: {stderr_end}"),
            Err(error) => format!("cannot wait for {name}: {error}"),
        };
        Err(Failed(reason).into())
    })
}

/// Waits for the end of the command; ends its whole group where it is unwanted, or asks for
/// something on the terminal. Returns how it failed, if it did: `ended with exit status 1`.
fn reap(group: Pid, is_unwanted: &dyn Fn() -> bool) -> rustix::io::Result<Option<String>> {
    let mut asked = None;
    let mut is_asking = false;
    loop {
        match waitpid(Some(group), WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => {
                let terminal = [Signal::TTIN, Signal::TTOU].map(Signal::as_raw);
                if status
                    .stopping_signal()
                    .is_some_and(|it| terminal.contains(&it))
                {
                    is_asking = true;
                    signal_group(group, Signal::KILL);
                }
            }
            Ok(Some((_, status))) => {
                if asked.is_some() || is_asking {
                    signal_group(group, Signal::KILL);
                }
                let asks = "asks for something on the terminal, which it does not have";
                return Ok(match is_asking {
                    true => Some(asks.to_owned()),
                    false => failure(status),
                });
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        match asked {
            None if is_unwanted() => {
                signal_group(group, Signal::TERM);
                // A stopped process does not get the first one.
                signal_group(group, Signal::CONT);
                asked = Some(Instant::now());
            }
            Some(at) if at.elapsed() >= GRACE => signal_group(group, Signal::KILL),
            _ => {}
        }
        std::thread::sleep(REAP_EVERY);
    }
}

/// Sends a signal to what is left of the group.
fn signal_group(group: Pid, signal: Signal) {
    // An error means that the group is gone, which is what was wanted.
    let _ = kill_process_group(group, signal);
}

fn failure(status: WaitStatus) -> Option<String> {
    let signal = status.terminating_signal().unwrap_or_default();
    match status.exit_status() {
        Some(0) => None,
        Some(code) => Some(format!("ended with exit status {code}")),
        None => Some(format!("was ended by signal {signal}")),
    }
}

/// Passes stderr through until its end, or that of the command, whose children may hold the pipe
/// longer. Returns the last lines.
fn pass_on(stderr: OwnedFd, has_ended: &AtomicBool, watch: &Watch) -> String {
    let has_more = || has_more(&stderr, Timespec::default()).is_ok_and(|it| it);
    let is_stopped = || has_ended.load(Ordering::Relaxed) && !has_more();
    let Ok(copy) = stderr.try_clone() else {
        return String::new();
    };
    let mut input = Input::new(copy, &is_stopped);
    let mut last = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = input.read(&mut buffer) {
        watch.progress.pass_on(&buffer[..count]);
        last.extend_from_slice(&buffer[..count]);
        let surplus = last.len().saturating_sub(LAST_BYTES);
        last.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&last);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut lines: Vec<_> = lines.rev().take(LAST_LINES).collect();
    lines.reverse();
    lines.join("; ")
}
