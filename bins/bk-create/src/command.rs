//! A command whose output is backed up.
//!
//! Knows no archive. It has a process group of its own, which ends with it where it fails or
//! where a signal comes; what it tells people is passed on.

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
use bk_archive::write::writer::Observer;
use bk_cli::one_line;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, waitpid};

use crate::watch::Watch;

/// How long a wait for input lasts before signals are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the command is looked at.
const REAP_EVERY: Duration = Duration::from_millis(10);
/// Between being asked to end and being made to.
const GRACE: Duration = Duration::from_secs(5);
/// So many lines of its stderr are its reason.
const LAST_LINES: usize = 3;
const LAST_BYTES: usize = 2000;

/// Something that is read until a signal comes.
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
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK_EVERY.subsec_nanos().into(),
        };
        loop {
            if (self.is_stopped)() {
                return Err(io::Error::other("interrupted"));
            }
            let mut watched = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut watched, Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.file.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Runs the command, and `read` on what it prints. Where the command fails, so does this.
///
/// # Errors
/// A command that cannot be run or fails, in its last words; those of `read`.
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
        let tell = || pass_on(stderr.into(), &has_ended, watch);
        let wait = || {
            let is_unwanted = || is_unwanted.load(Ordering::Relaxed) || watch.is_stopped();
            let ended = reap(group, &is_unwanted);
            has_ended.store(true, Ordering::Relaxed);
            ended
        };
        let telling = Builder::new().spawn_scoped(scope, tell);
        let threads =
            telling.and_then(|telling| Ok((telling, Builder::new().spawn_scoped(scope, wait)?)));
        if threads.is_err() {
            is_unwanted.store(true, Ordering::Relaxed);
            // That there are no threads is the error to tell.
            let _ = wait();
        }
        let (telling, reaping) = needed(threads).with_context(cannot)?;
        let is_stopped = || watch.is_stopped();
        let mut input = Input::new(stdout.into(), &is_stopped);
        let done = read(&mut input);
        // One that goes on printing is told by this that nobody reads.
        drop(input);
        is_unwanted.store(done.is_err(), Ordering::Relaxed);
        let ended = reaping.join();
        let last_words = telling.join().unwrap_or_default();
        let done = done?;
        let Ok(ended) = ended else {
            bail!("cannot wait for '{name}'");
        };
        match ended.with_context(|| format!("cannot wait for '{name}'"))? {
            How::Well => Ok(done),
            How::Badly(how) if last_words.is_empty() => bail!("'{name}' {how}"),
            How::Badly(how) => bail!("'{name}' {how}: {last_words}"),
        }
    })
}

enum How {
    Well,
    Badly(String),
}

/// Waits for the end of the command; ends it, and all of its group, where it is unwanted.
fn reap(group: Pid, is_unwanted: &dyn Fn() -> bool) -> Result<How> {
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
                    end(group, Signal::KILL);
                }
            }
            Ok(Some((_, status))) => {
                if asked.is_some() || is_asking {
                    end(group, Signal::KILL);
                }
                let asks = "asks for something on the terminal, which it does not have";
                return Ok(match how(status) {
                    _ if is_asking => How::Badly(asks.to_owned()),
                    how => how,
                });
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match asked {
            None if is_unwanted() => {
                end(group, Signal::TERM);
                // A stopped one could not heed it.
                end(group, Signal::CONT);
                asked = Some(Instant::now());
            }
            Some(at) if at.elapsed() >= GRACE => end(group, Signal::KILL),
            _ => {}
        }
        std::thread::sleep(REAP_EVERY);
    }
}

/// Sends a signal to all of the group that are still there.
fn end(group: Pid, signal: Signal) {
    // None is there any more, which is what was wanted.
    let _ = kill_process_group(group, signal);
}

fn how(status: WaitStatus) -> How {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => How::Well,
        (Some(code), _) => How::Badly(format!("ended with exit status {code}")),
        (None, signal) => How::Badly(format!(
            "was ended by signal {}",
            signal.unwrap_or_default()
        )),
    }
}

/// Passes on what comes, until the end or the end of the command, whose children may go on
/// without it. Its last lines.
fn pass_on(stderr: OwnedFd, has_ended: &AtomicBool, watch: &Watch) -> String {
    let is_stopped = || has_ended.load(Ordering::Relaxed) && !has_more(&stderr);
    let Ok(copy) = stderr.try_clone() else {
        return String::new();
    };
    let mut input = Input::new(copy, &is_stopped);
    let mut last = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = input.read(&mut buffer) {
        watch.pass_on(&buffer[..count]);
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

fn has_more(stderr: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(stderr, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let polled = poll(&mut watched, Some(&at_once));
    polled.is_ok_and(|count| count > 0)
}
