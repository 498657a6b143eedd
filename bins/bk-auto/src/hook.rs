//! Runs the commands before and after a backup.
//!
//! Where bk-auto runs in the foreground of a terminal, a command may ask the user: it shares
//! bk-auto's process group, and gets Ctrl-C as well. Elsewhere (cron, systemd, `--wait`, a
//! background job) it has a session of its own, without a terminal: a command that asks there
//! fails at once instead of being stopped for ever. Knows no job.

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

/// How much of the end of a hook's output is kept.
const TAIL_BYTES: usize = 4096;
/// How much of the last line is reported.
const LINE_MAX_CHARS: usize = 500;
/// How long to wait for the end of the output, which a process that the hook left behind may hold.
const REST_TIMEOUT: Duration = Duration::from_millis(500);
/// Begins a session of its own. Without setsid(1) it shares bk-auto's; cron has no terminal.
const DETACH: &str = "command -v setsid >/dev/null && exec setsid sh -c \"$1\"; ";

/// Which hook it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Signals are forwarded to it.
    Before,
    /// Starts again what `Before` stopped: only a second signal ends it.
    After,
}

/// Runs a hook; its output goes to stderr, as stdout is for records.
///
/// # Errors
/// A hook that cannot be started or fails, with the last line of its output.
pub(crate) fn run(
    text: &str,
    variables: &[(&str, &OsStr)],
    watch: &Watch,
    when: When,
) -> Result<()> {
    let may_ask = watch.is_attended && is_in_foreground();
    let mut command = shell(text, when, may_ask);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    let tail = if may_ask {
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        command.stdout(stderr.map_or_else(|_| Stdio::null(), Stdio::from));
        None
    } else {
        Some(Tail::of(&mut command)?)
    };
    let child = command.spawn().context("cannot run sh")?;
    // Closes this process's ends of the pipe.
    drop(command);
    let pid = child::pid(&child)?;
    let on_signal = |signal, earlier| forward(pid, signal, earlier, when, may_ask);
    let status = child::wait(pid, watch, on_signal).context("cannot run sh")?;
    let last_line = tail.map(Tail::last_line);
    if status.success() {
        return Ok(());
    }
    match last_line.filter(|it| !it.is_empty()) {
        Some(line) => bail!("it {}: {line}", ending(status)),
        None => bail!("it {}", ending(status)),
    }
}

/// Whether bk-auto is in the foreground of a terminal, so that a user can answer.
fn is_in_foreground() -> bool {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    terminal.is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// The text is an argument of the outer shell, not a part of its script.
fn shell(text: &str, when: When, may_ask: bool) -> Command {
    let mut outer = String::new();
    if !may_ask {
        outer.push_str(DETACH);
    } else if when == When::After {
        // The terminal sends these to the hook as well.
        outer.push_str("trap '' INT HUP; ");
    }
    outer.push_str("exec sh -c \"$1\"");
    let mut command = Command::new("sh");
    command.args(["-c", &outer, "sh", text]);
    command
}

/// Forwards a signal that came to bk-auto while a hook runs.
fn forward(pid: Pid, signal: Signal, earlier: usize, when: When, may_ask: bool) {
    let level = earlier + usize::from(when == When::Before);
    let signal = match (when, level) {
        (_, 0) => {
            return PROGRAM.warn("the command after is run to its end; a second signal ends it");
        }
        // The terminal has sent Ctrl-C to the hook already.
        (When::Before, 1) if signal == Signal::INT && may_ask => return,
        (When::Before, 1) => signal,
        (When::After, 1) => Signal::TERM,
        _ => Signal::KILL,
    };
    // To its session, where it has one. An error means that it has ended already.
    if kill_process_group(pid, signal).is_err() {
        let _ = kill_process(pid, signal);
    }
}

/// Passes the output of a hook through, and keeps its end.
struct Tail {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Tail {
    fn of(command: &mut Command) -> Result<Self> {
        let (reader, writer) = std::io::pipe().context("cannot run sh")?;
        let other = writer.try_clone().context("cannot run sh")?;
        command.stdout(other).stderr(writer);
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (is_over, ended) = channel();
        let kept = bytes.clone();
        // The thread may outlive the hook, and this run: a daemon may hold the pipe for ever.
        let passing = Builder::new().spawn(move || {
            pass_through(reader, &kept);
            // An error means that nobody waits any more.
            let _ = is_over.send(());
        });
        passing.context("cannot run sh: no more threads")?;
        Ok(Self { bytes, ended })
    }

    /// The last line, once all is passed through.
    fn last_line(self) -> String {
        // A process that the hook left behind is not waited for.
        let _ = self.ended.recv_timeout(REST_TIMEOUT);
        let bytes = self.bytes.lock().map(|bytes| bytes.clone());
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let line = one_line(last.unwrap_or_default().trim());
        line.chars().take(LINE_MAX_CHARS).collect()
    }
}

fn pass_through(mut reader: PipeReader, tail: &Mutex<Vec<u8>>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = reader.read(&mut bytes) {
        // Without stderr there is nowhere to report an error.
        let _ = std::io::stderr().write_all(&bytes[..length]);
        let Ok(mut tail) = tail.lock() else { return };
        tail.extend_from_slice(&bytes[length.saturating_sub(TAIL_BYTES)..length]);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }
}
