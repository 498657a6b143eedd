//! Children: the programs of bk that do the work, and the hooks of a job.
//!
//! Each has a process group of its own, so that Ctrl-C on a terminal comes to bk-auto alone,
//! which passes it on where that is right.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use bk_schema::cli::one_line;
use bk_schema::signals::{Signals, Wakeups};
use rustix::process::{Pid, Signal, kill_process};

/// How often a child is looked at that nothing woke for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What ends a wait.
pub(crate) struct Watch {
    pub(crate) signals: Signals,
    pub(crate) wakeups: Wakeups,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    /// The last line of its stderr, without its name.
    pub(crate) last_words: String,
}

/// A program of bk: the one beside this one, else the one in PATH.
pub(crate) fn program(name: &str) -> Command {
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|this| Some(this.parent()?.join(name)));
    Command::new(
        beside
            .filter(|path| path.exists())
            .unwrap_or_else(|| PathBuf::from(name)),
    )
}

/// Runs a program of bk with this input. A signal that comes is passed on to it. Its stderr is
/// passed through, but for lines that say nothing new.
///
/// # Errors
/// One that cannot be started.
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
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut text = Vec::new();
            // What was read before an error is what there is.
            let _ = stdout.map(|mut pipe| pipe.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        });
        let telling = scope.spawn(|| pass_on(stderr, is_news));
        scope.spawn(|| {
            // One that does not read its input says why itself.
            let _ = stdin.map(|mut pipe| pipe.write_all(input.as_bytes()));
        });
        let status = wait(&mut child, watch, true).with_context(|| format!("cannot run {name}"))?;
        let last = telling.join().unwrap_or_default();
        let last_words = last.strip_prefix(&format!("{name}: ")).unwrap_or(&last);
        Ok(Ended {
            status,
            stdout: reading.join().unwrap_or_default(),
            last_words: last_words.to_owned(),
        })
    })
}

/// Runs a hook; what it prints goes to stderr, as stdout is for records. A signal that comes is
/// passed on to it if `heeds`.
///
/// # Errors
/// One that cannot be started or fails, in words.
pub(crate) fn hook(
    text: &str,
    variables: &[(&str, &str)],
    watch: &Watch,
    heeds: bool,
) -> Result<()> {
    let stderr = std::io::stderr().as_fd().try_clone_to_owned();
    let mut command = Command::new("sh");
    command
        .args(["-c", text])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(stderr.map_or_else(|_| Stdio::null(), Stdio::from))
        .process_group(0);
    let mut child = command.spawn().context("cannot run sh")?;
    let status = wait(&mut child, watch, heeds).context("cannot run sh")?;
    anyhow::ensure!(status.success(), "it {}", ending(status));
    Ok(())
}

/// `ended with exit status 1`, `was ended by signal 9`.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}

fn wait(child: &mut Child, watch: &Watch, heeds: bool) -> Result<ExitStatus> {
    // One that came just before the child began is passed on too.
    let mut passed_on = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let caught = watch.signals.caught();
        if heeds && caught != passed_on {
            pass_signal(child, caught);
            passed_on = caught;
        }
        watch.wakeups.wait(LOOK_EVERY)?;
    }
}

fn pass_signal(child: &Child, signal: Option<u8>) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let signal = signal.and_then(|number| Signal::from_named_raw(i32::from(number)));
    if let (Some(pid), Some(signal)) = (pid, signal) {
        // One that has ended already is waited for all the same.
        let _ = kill_process(pid, signal);
    }
}

fn pass_on(pipe: Option<impl Read>, is_news: fn(&str) -> bool) -> String {
    let mut last = String::new();
    let Some(pipe) = pipe else { return last };
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line), Ok(length) if length > 0) {
        let text = String::from_utf8_lossy(&line);
        if is_news(&text) {
            // With standard error gone there is nobody left to tell.
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
