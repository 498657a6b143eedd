//! Runs the programs of bk that do the work.
//!
//! A program has a process group of its own, so that Ctrl-C on a terminal comes to bk-auto alone,
//! which forwards it. Knows no job.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use anyhow::{Context, Result};
use bk_cli::one_line;
use rustix::process::{Pid, Signal, kill_process};

use crate::child::Watch;
use crate::lock::JobLock;

/// A longer line of stderr is passed through in parts.
const LINE_MAX_BYTES: u64 = 1 << 16;

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    /// The last line of its stderr, without the program's name.
    pub(crate) last_line: String,
}

/// Runs a program of bk with this input. Signals are forwarded to it. Its stderr is passed
/// through, but for lines of which `is_news` is false. It holds the job's lock too: where bk-auto is
/// killed, nobody begins the job again before it has ended.
///
/// # Errors
/// A program that cannot be started.
pub(crate) fn run(
    mut command: Command,
    input: &str,
    watch: &Watch,
    lock: &JobLock,
    is_news: fn(&str) -> bool,
) -> Result<Output> {
    let name = shown(&command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let cannot = || format!("cannot run {name}");
    let mut child = lock.share(|| command.spawn()).with_context(cannot)?;
    let ended = communicate(&mut child, input, watch, is_news);
    let (status, stdout, last) = ended.with_context(cannot)?;
    let last_line = last.strip_prefix(&format!("{name}: ")).unwrap_or(&last);
    Ok(Output {
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
    let pid = watch.begin(child, None)?;
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
        let ended = watch.wait(pid, |signal, _| forward(pid, signal))?;
        let (reading, passing, _) = threads?;
        let stdout = reading.join().unwrap_or_default();
        Ok((ended.status, stdout, passing.join().unwrap_or_default()))
    })
}

fn start<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let started = Builder::new().spawn_scoped(scope, work);
    started.context("no more threads")
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
