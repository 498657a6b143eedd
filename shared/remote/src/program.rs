//! The program rclone, run for one thing at a time.
//!
//! rclone has its own retries; what it last says on stderr is the reason of a failure. Knows no object.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::credentials::private_text;
use crate::error::{Error, Kind, Result};
use crate::location::Location;
use crate::place::Options;
use crate::rate::Rate;
use crate::retry::Retry;
use crate::whole::cannot_write;

const BUFFER_BYTES: usize = 256 * 1024;
const INSTALL: &str = "install rclone";
/// Exit statuses of rclone: no such directory, no such file.
const GONE: [i32; 2] = [3, 4];
const TEMPORARY: i32 = 5;
const NO_REMOTE: &str = "Failed to create file system";
/// Between two looks whether it has ended.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two looks whether it is to end.
const GLANCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// While all else is to stop.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(5);

/// How it is run for one location.
pub(crate) struct Program {
    location: Location,
    config: Option<PathBuf>,
    stall_limit: Duration,
    rate: Rate,
    pub(crate) retry: Retry,
}

/// An rclone at work; it ends when this is dropped.
struct Running {
    child: Child,
    complaint: Option<JoinHandle<String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is no error to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    pub(crate) fn open(location: &Location, options: &Options) -> Result<Self> {
        if let Some(file) = &options.credentials {
            private_text(file)?;
        }
        Ok(Self {
            location: location.clone(),
            config: options.credentials.clone(),
            stall_limit: options.stall_limit,
            rate: Rate::new(options.limit_rate),
            retry: Retry::new(options),
        })
    }

    pub(crate) fn error(&self, kind: Kind, key: &str, reason: impl std::fmt::Display) -> Error {
        Error::new(kind, &self.location, reason).of(key)
    }

    fn start(&self, key: &str, words: &[&str], has_input: bool) -> Result<Running> {
        let mut command = Command::new("rclone");
        command
            .args(words)
            .args(["--log-format", "", "--contimeout", "15s"]);
        command.arg(format!("--timeout={}s", self.stall_limit.as_secs().max(1)));
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.stdin(if has_input {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let error = self.error(Kind::Unsupported, "", "there is no program rclone here");
                error.with_remedy(Some(INSTALL))
            }
            _ => self.error(Kind::Other, key, format!("cannot run rclone: {error}")),
        })?;
        let stderr = child.stderr.take();
        let mut running = Running {
            child,
            complaint: None,
        };
        if let Some(stderr) = stderr {
            let started = Builder::new().spawn(move || last_line(stderr));
            let started = started.map_err(|error| {
                self.error(Kind::Other, key, format!("cannot start a thread: {error}"))
            })?;
            running.complaint = Some(started);
        }
        Ok(running)
    }

    /// Kills it once all is to stop: it may take no more of what it is sent, and tell nothing, and whoever waits for
    /// that sees nothing else.
    fn kill_when_stopped(&self, key: &str, running: &Running) -> Result<()> {
        let child = pidfd_open(Pid::from_child(&running.child), PidfdFlags::empty());
        // Linux before 5.3 has none: there the limits of rclone itself hold.
        let Ok(child) = child else { return Ok(()) };
        let retry = self.retry.clone();
        let watch = move || {
            // A signal interrupts it.
            while let Ok(0) | Err(Errno::INTR) =
                poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&GLANCE))
            {
                if retry.is_stopped() {
                    // One that has ended is no error to tell.
                    let _ = pidfd_send_signal(&child, Signal::KILL);
                    return;
                }
            }
        };
        let started = Builder::new().spawn(watch);
        started.map(drop).map_err(|error| {
            self.error(Kind::Other, key, format!("cannot start a thread: {error}"))
        })
    }

    /// Waits for the end, and tells a failure. One that is to be stopped is killed.
    fn end(&self, key: &str, mut running: Running) -> Result<()> {
        drop(running.child.stdin.take());
        let ended = loop {
            let ended = running.child.try_wait();
            let ended = ended.map_err(|error| {
                self.error(Kind::Other, key, format!("cannot wait for rclone: {error}"))
            })?;
            // A signal of the terminal ends both.
            if self.retry.is_stopped() && !ended.is_some_and(|it| it.success()) {
                return Err(self.error(Kind::Stopped, key, ""));
            }
            match ended {
                Some(ended) => break ended,
                None => sleep(PAUSE),
            }
        };
        // A thread that only reads does not fail.
        let complaint = running
            .complaint
            .take()
            .and_then(|thread| thread.join().ok());
        if ended.success() {
            return Ok(());
        }
        let complaint = complaint.filter(|line| !line.is_empty());
        let reason = complaint.unwrap_or_else(|| format!("rclone ended with {ended}"));
        let kind = match ended.code() {
            Some(code) if GONE.contains(&code) => Kind::NotFound,
            Some(TEMPORARY) => Kind::Unreachable,
            _ if is_of_network(&reason) => Kind::Unreachable,
            // Its configuration: nothing was sent.
            _ if reason.starts_with(NO_REMOTE) => Kind::Refused,
            _ => Kind::Other,
        };
        Err(self.error(kind, key, reason))
    }

    /// Removes what is left of something that failed, also while all else is to stop; but then not for long.
    pub(crate) fn clean_up(&self, key: &str, target: &str) -> Result<()> {
        let mut running = self.start(key, &["deletefile", target, "--retries", "1"], false)?;
        let until = Instant::now() + CLEAN_UP_LIMIT;
        while !self.retry.is_stopped() || Instant::now() < until {
            let ended = running.child.try_wait();
            if ended
                .map_err(|error| self.error(Kind::Other, key, error))?
                .is_some()
            {
                break;
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    /// Runs rclone, and gives what it prints to `each`.
    pub(crate) fn read(
        &self,
        key: &str,
        words: &[&str],
        mut each: impl FnMut(&mut BufReader<ChildStdout>) -> Result<bool>,
    ) -> Result<()> {
        let mut running = self.start(key, words, false)?;
        self.kill_when_stopped(key, &running)?;
        if let Some(output) = running.child.stdout.take() {
            let mut output = BufReader::with_capacity(BUFFER_BYTES, output);
            loop {
                let has_more = each(&mut output);
                // What one that was killed has told may end anywhere.
                if self.retry.is_stopped() && !matches!(has_more, Ok(false)) {
                    return Err(self.error(Kind::Stopped, key, ""));
                }
                if !has_more? {
                    break;
                }
            }
        }
        self.end(key, running)
    }

    pub(crate) fn copy_out(&self, key: &str, words: &[&str], sink: &mut dyn Write) -> Result<u64> {
        let mut done = 0;
        self.read(key, words, |output| {
            let chunk = output
                .fill_buf()
                .map_err(|error| self.error(Kind::Other, key, error))?;
            let count = chunk.len();
            let written = sink.write_all(chunk);
            written.map_err(|error| cannot_write(&self.location, key, error))?;
            output.consume(count);
            done += count as u64;
            Ok(count > 0)
        })?;
        Ok(done)
    }

    /// Sends what `next` gives to the input of rclone, until it is so much.
    pub(crate) fn feed(
        &self,
        key: &str,
        size: u64,
        unfinished: &str,
        next: &mut dyn FnMut(u64) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let size_flag = format!("--size={size}");
        let mut running = self.start(key, &["rcat", &size_flag, unfinished], true)?;
        self.kill_when_stopped(key, &running)?;
        let mut done = 0;
        while done < size {
            let bytes = next(done)?;
            for piece in bytes.chunks(self.rate.piece_bytes()) {
                self.wait(key, piece.len())?;
                let written = running
                    .child
                    .stdin
                    .as_mut()
                    .map(|input| input.write_all(piece));
                // One that reads no more has something to tell.
                if !matches!(written, Some(Ok(()))) {
                    return self.end(key, running);
                }
            }
            done += bytes.len() as u64;
        }
        self.end(key, running)
    }

    /// Until so many bytes may go out.
    fn wait(&self, key: &str, bytes: usize) -> Result<()> {
        let until = Instant::now() + self.rate.take(bytes, Instant::now());
        match self.retry.wait(until) {
            false => Err(self.error(Kind::Stopped, key, "")),
            true => Ok(()),
        }
    }
}

/// The last thing that a program says, as a reason.
fn last_line(stderr: impl Read) -> String {
    let mut last = String::new();
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    // What cannot be read is the end.
    while stderr
        .read_until(b'\n', &mut line)
        .is_ok_and(|count| count > 0)
    {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            last = reason(text.trim()).to_owned();
        }
        line.clear();
    }
    last
}

/// Without what rclone puts before it.
fn reason(line: &str) -> &str {
    let levels = ["ERROR", "CRITICAL", "NOTICE", "Failed to"];
    let begin = levels.iter().filter_map(|level| line.find(level)).min();
    let line = &line[begin.unwrap_or_default()..];
    match line.split_once(": ") {
        Some((head, rest)) if begin.is_some() && !head.starts_with("Failed") => rest.trim_start(),
        _ => line,
    }
}

fn is_of_network(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    let words = [
        "connection re",
        "timeout",
        "timed out",
        "no such host",
        "unreachable",
        "dial tcp",
    ];
    words.iter().any(|word| reason.contains(word))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_reason() {
        for (text, expected) in [
            (
                "2026/11/27 03:27:02 NOTICE: Failed to rcat: sizes differ\n",
                "Failed to rcat: sizes differ",
            ),
            (
                "x\nNOTICE: Failed to cat: directory not found\n\n",
                "Failed to cat: directory not found",
            ),
            ("ERROR : Attempt 3/3 failed: why", "Attempt 3/3 failed: why"),
            (
                "2026/11/27 03:27:02 Failed to create: no section",
                "Failed to create: no section",
            ),
            ("odd: text", "odd: text"),
            ("", ""),
        ] {
            assert_eq!(last_line(text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_network_that_fails_is_told_from_the_rest() {
        assert!(is_of_network(
            "dial tcp 127.0.0.1:1: connect: connection refused"
        ));
        assert!(!is_of_network("didn't find section in config file"));
    }
}
