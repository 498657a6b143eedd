//! The commands before and after a backup.
//!
//! One that asks on the terminal is answered where somebody started bk-auto in the foreground of
//! one: it shares bk-auto's process group, and Ctrl-C comes to it as well. Elsewhere (cron, systemd,
//! `--wait`, a job in the background) it has a session of its own, without a terminal: what asks
//! there fails at once, as it would otherwise be stopped and waited for for ever. Knows no job.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bk_cli::one_line;
use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group};
use rustix::termios::tcgetpgrp;

use crate::child::{self, Watch, ending};
use crate::flags::PROGRAM;

/// Of what a hook said, that much of the end is kept.
const TAIL_BYTES: usize = 4096;
/// Of the last line, that much is told.
const WORDS_MAX_CHARS: usize = 500;
/// How long the rest of what a hook said may take, where something that it left behind still
/// holds its output.
const REST: Duration = Duration::from_millis(500);
/// The session of its own. Without setsid(1) it shares bk-auto's, and cron has no terminal.
const DETACH: &str = "command -v setsid >/dev/null && exec setsid sh -c \"$1\"; ";

/// How a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// A signal is passed on to it.
    Before,
    /// What was stopped is to be started again: only a second signal ends it.
    After,
}

/// Runs a hook; what it prints goes to stderr, as stdout is for records.
///
/// # Errors
/// One that cannot be started or fails, in words.
pub(crate) fn run(
    text: &str,
    variables: &[(&str, &OsStr)],
    watch: &Watch,
    when: When,
) -> Result<()> {
    let is_asking = watch.is_attended && is_in_foreground();
    let mut command = shell(text, when, is_asking);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    let said = if is_asking {
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        command.stdout(stderr.map_or_else(|_| Stdio::null(), Stdio::from));
        None
    } else {
        Some(Said::by(&mut command)?)
    };
    let child = command.spawn().context("cannot run sh")?;
    // Its ends of the pipe.
    drop(command);
    let pid = child::pid(&child)?;
    let heard = |signal, earlier| heed(pid, signal, earlier, when, is_asking);
    let status = child::wait(pid, watch, heard).context("cannot run sh")?;
    let words = said.map(Said::last_words);
    if status.success() {
        return Ok(());
    }
    match words.filter(|it| !it.is_empty()) {
        Some(words) => bail!("it {}: {words}", ending(status)),
        None => bail!("it {}", ending(status)),
    }
}

/// Whether what reads the terminal now is answered by whoever started bk-auto.
fn is_in_foreground() -> bool {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    terminal.is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// The text is an argument of the shell that makes its surroundings, and no part of that's script.
fn shell(text: &str, when: When, is_asking: bool) -> Command {
    let mut around = String::new();
    if !is_asking {
        around.push_str(DETACH);
    } else if when == When::After {
        // The terminal sends them to it as well.
        around.push_str("trap '' INT HUP; ");
    }
    around.push_str("exec sh -c \"$1\"");
    let mut command = Command::new("sh");
    command.args(["-c", &around, "sh", text]);
    command
}

/// What becomes of a signal that came to bk-auto while a hook runs.
fn heed(pid: Pid, signal: Signal, earlier: usize, when: When, is_asking: bool) {
    let level = earlier + usize::from(when == When::Before);
    let signal = match (when, level) {
        (_, 0) => {
            return PROGRAM.warn("the command after is run to its end; a second signal ends it");
        }
        // Ctrl-C came to all of the foreground.
        (When::Before, 1) if signal == Signal::INT && is_asking => return,
        (When::Before, 1) => signal,
        (When::After, 1) => Signal::TERM,
        _ => Signal::KILL,
    };
    // Its session, where it has one. What has ended already is waited for all the same.
    if kill_process_group(pid, signal).is_err() {
        let _ = kill_process(pid, signal);
    }
}

/// What a hook says where nobody watches: passed through, and the end of it kept.
struct Said {
    tail: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Said {
    fn by(command: &mut Command) -> Result<Self> {
        let (reader, writer) = std::io::pipe().context("cannot run sh")?;
        let other = writer.try_clone().context("cannot run sh")?;
        command.stdout(other).stderr(writer);
        let tail = Arc::new(Mutex::new(Vec::new()));
        let (is_over, ended) = channel();
        let kept = tail.clone();
        // It may outlive the hook, and this run: a daemon may hold the pipe for ever.
        let passing = Builder::new().spawn(move || {
            pass_through(reader, &kept);
            // Where nobody waits any more it does not matter.
            let _ = is_over.send(());
        });
        passing.context("cannot run sh: no more threads")?;
        Ok(Self { tail, ended })
    }

    /// The last line, when all is passed through.
    fn last_words(self) -> String {
        // What is left behind is not waited for.
        let _ = self.ended.recv_timeout(REST);
        let tail = self.tail.lock().map(|tail| tail.clone());
        let text = String::from_utf8_lossy(&tail.unwrap_or_default()).into_owned();
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let words = one_line(last.unwrap_or_default().trim());
        words.chars().take(WORDS_MAX_CHARS).collect()
    }
}

fn pass_through(mut reader: PipeReader, tail: &Mutex<Vec<u8>>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = reader.read(&mut bytes) {
        // With standard error gone there is nobody left to tell.
        let _ = std::io::stderr().write_all(&bytes[..length]);
        let Ok(mut tail) = tail.lock() else { return };
        tail.extend_from_slice(&bytes[length.saturating_sub(TAIL_BYTES)..length]);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }
}
