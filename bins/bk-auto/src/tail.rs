//! The output of a command: passed through to stderr, with its end kept for a report.
//!
//! Knows no job.

use std::io::{PipeReader, Read, Write};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context, Result};
use bk_cli::one_line;

/// How much of the end is kept.
const TAIL_BYTES: usize = 4096;
/// How much of the last line is reported.
const LINE_MAX_CHARS: usize = 500;
/// How long to wait for the end of the output, which a process that the command left behind may hold.
const REST_TIMEOUT: Duration = Duration::from_millis(500);

/// Passes the output of a command through, and keeps its end.
pub(crate) struct Tail {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Tail {
    /// Takes over the output of a command that is to be begun.
    pub(crate) fn of(command: &mut Command) -> Result<Self> {
        let (reader, writer) = std::io::pipe().context("cannot run sh")?;
        let other = writer.try_clone().context("cannot run sh")?;
        command.stdout(other).stderr(writer);
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (is_over, ended) = channel();
        let kept = bytes.clone();
        // The thread may outlive the command, and this run: a daemon may hold the pipe for ever.
        let passing = Builder::new().spawn(move || {
            pass_through(reader, &kept);
            // An error means that nobody waits any more.
            let _ = is_over.send(());
        });
        passing.context("cannot run sh: no more threads")?;
        Ok(Self { bytes, ended })
    }

    /// The last line, once all is passed through; empty where there is none.
    pub(crate) fn last_line(self) -> String {
        // A process that the command left behind is not waited for.
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
