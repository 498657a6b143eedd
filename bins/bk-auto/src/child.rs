//! Runs the programs of bk that do the work, and waits for children.
//!
//! A program has a process group of its own, so that Ctrl-C on a terminal comes to bk-auto alone,
//! which forwards it. As process 1 of a container bk-auto reaps orphans too. Knows no job.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bk_cli::one_line;
use bk_store::Signals;
use bk_store::signals::Wakeups;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process};

/// How often a child is polled where nothing wakes the wait.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// A longer line of stderr is passed through in parts.
const LINE_MAX_BYTES: u64 = 1 << 16;

/// What ends a wait, and whether a user is there.
pub(crate) struct Watch {
    pub(crate) signals: Signals,
    pub(crate) wakeups: Wakeups,
    /// A user may be there to answer a question: it is not `--wait`.
    pub(crate) is_attended: bool,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    /// The last line of its stderr, without the program's name.
    pub(crate) last_line: String,
}

/// Runs a program of bk with this input. Signals are forwarded to it. Its stderr is passed
/// through, but for lines of which `is_news` is false.
///
/// # Errors
/// A program that cannot be started.
pub(crate) fn run(
    mut command: Command,
    input: &str,
    watch: &Watch,
    is_news: fn(&str) -> bool,
) -> Result<Ended> {
    let name = shown(&command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let ended = communicate(&mut child, input, watch, is_news);
    let (status, stdout, last) = ended.with_context(|| format!("cannot run {name}"))?;
    let last_line = last.strip_prefix(&format!("{name}: ")).unwrap_or(&last);
    Ok(Ended {
        status,
        stdout,
        last_line: last_line.to_owned(),
    })
}

/// Returns the status, stdout, and the last line of stderr.
fn communicate(
    child: &mut Child,
    input: &str,
    watch: &Watch,
    is_news: fn(&str) -> bool,
) -> Result<(ExitStatus, String, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let pid = pid(child)?;
    std::thread::scope(|scope| {
        let threads = start(scope, || {
            let mut text = Vec::new();
            // An error leaves what was read before.
            let _ = stdout.map(|mut pipe| pipe.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        })
        .and_then(|reading| Ok((reading, start(scope, || pass_on(stderr, is_news))?)))
        .and_then(|(reading, passing)| {
            let writing = start(scope, || {
                // A program that does not read its input reports why itself.
                let _ = stdin.map(|mut pipe| pipe.write_all(input.as_bytes()));
            })?;
            Ok((reading, passing, writing))
        });
        if threads.is_err() {
            // It has done nothing yet, and would wait for its input.
            let _ = kill_process(pid, Signal::KILL);
        }
        let status = wait(pid, watch, |signal, _| forward(pid, signal))?;
        let (reading, passing, _) = threads?;
        let stdout = reading.join().unwrap_or_default();
        Ok((status, stdout, passing.join().unwrap_or_default()))
    })
}

fn start<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let started = Builder::new().spawn_scoped(scope, work);
    started.context("no more threads")
}

/// `ended with exit status 1`, `was ended by signal 9`.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// The process id of a child.
pub(crate) fn pid(child: &Child) -> Result<Pid> {
    let number = i32::try_from(child.id())?;
    Pid::from_raw(number).context("it has no process id")
}

/// Waits until a child has ended. `on_signal` gets each signal, and how many came before.
pub(crate) fn wait(
    pid: Pid,
    watch: &Watch,
    mut on_signal: impl FnMut(Signal, usize),
) -> Result<ExitStatus> {
    let mut count = 0;
    loop {
        if let Some(status) = reap(Some(pid))? {
            return Ok(status);
        }
        // A signal that came just before the child began counts too.
        let number = watch.signals.next().map(i32::from);
        if let Some(signal) = number.and_then(Signal::from_named_raw) {
            on_signal(signal, count);
            count += 1;
        }
        watch.wakeups.wait(POLL_EVERY)?;
    }
}

/// Reaps each child that has ended, and returns the status of `own`.
pub(crate) fn reap(own: Option<Pid>) -> Result<Option<ExitStatus>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == own => {
                return Ok(Some(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(Errno::CHILD) if own.is_none() => return Ok(None),
            Err(error) => bail!("cannot wait for it: {error}"),
        }
    }
}

fn forward(pid: Pid, signal: Signal) {
    // An error means that it has ended already.
    let _ = kill_process(pid, signal);
}

fn pass_on(pipe: Option<impl Read>, is_news: fn(&str) -> bool) -> String {
    let mut last = String::new();
    let Some(pipe) = pipe else { return last };
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        let part = lines.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', line);
        matches!(part, Ok(length) if length > 0)
    };
    while next(&mut line) {
        let text = String::from_utf8_lossy(&line);
        if is_news(&text) {
            // Without stderr there is nowhere to report an error.
            let _ = std::io::stderr().write_all(&line);
        }
        last = one_line(&text);
        line.clear();
    }
    last
}

fn shown(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program()).file_name();
    name.unwrap_or_default().to_string_lossy().into_owned()
}
