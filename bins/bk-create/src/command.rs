//! Runs a command whose output is backed up.
//!
//! The command has a process group of its own, which is ended where the backup fails or a signal
//! comes; its stderr is passed through. Knows no archive.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bk_archive::threads::needed;
use bk_archive::write::observer::Observer;
use bk_cli::one_line;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, waitpid};

use crate::watch::Watch;

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

/// Runs the command, and `read` on its output.
///
/// # Errors
/// A command that cannot be run or fails, with the end of its stderr.
pub(crate) fn run<T>(
    words: &[OsString],
    watch: &Watch,
    read: impl FnOnce(&mut (dyn Read + Send)) -> Result<T>,
) -> Result<T> {
    let (name, arguments) = words.split_first().context("there is no command")?;
    let name = one_line(&name.to_string_lossy());
    let cannot = || format!("cannot run '{name}'");
    let mut child = Command::new(&words[0])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(cannot)?;
    let group = Pid::from_child(&child);
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("{}", cannot());
    };
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
        let (passing, reaping) = needed(threads).with_context(cannot)?;
        let is_stopped = || watch.is_stopped();
        let mut input = Input::new(stdout.into(), &is_stopped);
        let done = read(&mut input);
        // A command that goes on printing gets SIGPIPE.
        drop(input);
        is_unwanted.store(done.is_err(), Ordering::Relaxed);
        let ended = reaping.join();
        let stderr_end = passing.join().unwrap_or_default();
        let done = done?;
        let Ok(ended) = ended else {
            bail!("cannot wait for '{name}'");
        };
        match ended.with_context(|| format!("cannot wait for '{name}'"))? {
            None => Ok(done),
            Some(how) if stderr_end.is_empty() => bail!("'{name}' {how}"),
            Some(how) => bail!("'{name}' {how}: {stderr_end}"),
        }
    })
}

/// Waits for the end of the command; ends its whole group where it is unwanted, or asks for
/// something on the terminal. Returns how it failed, if it did: `ended with exit status 1`.
fn reap(group: Pid, is_unwanted: &dyn Fn() -> bool) -> Result<Option<String>> {
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
            Err(error) => return Err(error.into()),
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
