//! Runs the commands of a job: before and after a backup, and those that tell how it went.
//!
//! Where bk-auto runs in the foreground of a terminal, a command before or after may ask the user:
//! it shares bk-auto's process group, and gets Ctrl-C as well. Elsewhere (cron, systemd, `--wait`, a
//! background job) it has a session of its own, without a terminal: a command that asks there
//! fails at once instead of being stopped for ever. Knows no job.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getpgrp};
use rustix::termios::tcgetpgrp;

use crate::child::{Ended, Watch, ending, signal_all};
use crate::flags::PROGRAM;
use crate::tail::Tail;

/// Begins a session of its own. Without setsid(1) it shares bk-auto's; cron has no terminal.
const DETACH: &str = "command -v setsid >/dev/null && exec setsid sh -c \"$1\"; ";

/// Which command it is.
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
/// A hook that cannot be started, fails, or takes longer than `limit`, with the last line of its
/// output.
pub(crate) fn run(
    text: &str,
    variables: &[(&str, &OsStr)],
    watch: &Watch,
    when: When,
    limit: Duration,
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
    let pid = watch.begin(&child, Some(limit))?;
    let on_signal = |signal, earlier| forward(pid, signal, earlier, when, may_ask);
    let ended = watch.wait(pid, on_signal).context("cannot run sh")?;
    check(ended, tail, limit)
}

/// Begins a command that nobody waits for, in a session of its own, with this input.
///
/// # Errors
/// A command that cannot be started.
pub(crate) fn begin(
    text: &str,
    variables: &[(&str, &OsStr)],
    input: File,
    watch: &Watch,
    limit: Duration,
) -> Result<(Pid, Tail)> {
    let mut command = shell(text, When::Before, false);
    command.envs(variables.iter().copied()).stdin(input);
    let tail = Tail::of(&mut command)?;
    let child = command.spawn().context("cannot run sh")?;
    Ok((watch.begin(&child, Some(limit))?, tail))
}

/// # Errors
/// A command that failed, with the last line of its output.
pub(crate) fn check(ended: Ended, tail: Option<Tail>, limit: Duration) -> Result<()> {
    let last_line = tail.map(Tail::last_line);
    if ended.status.success() && !ended.is_late {
        return Ok(());
    }
    let how = match ended.is_late {
        true => format!("took longer than {} and was ended", shown(limit)),
        false => ending(ended.status),
    };
    match last_line.filter(|it| !it.is_empty()) {
        Some(line) => bail!("it {how}: {line}"),
        None => bail!("it {how}"),
    }
}

/// `1h`, `90s`.
fn shown(limit: Duration) -> String {
    let secs = limit.as_secs();
    match secs {
        0 => format!("{limit:?}"),
        _ if secs.is_multiple_of(3600) => format!("{}h", secs / 3600),
        _ if secs.is_multiple_of(60) => format!("{}m", secs / 60),
        _ => format!("{secs}s"),
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
    signal_all(pid, signal);
}
