//! Lists what is inside a backup: runs bk-ls and sends its lines as they come.
//!
//! Knows no archive, and never waits for bk-ls.

use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::SyncSender;

use bk_store::Home;

use crate::events::{Event, Inside};

/// The limits of the whole listing and of one line; the rest is dropped.
const ALL_MAX_BYTES: usize = 32 << 20;
const LINE_MAX_BYTES: u64 = 4096;
/// The memory that a line takes beside its text.
const LINE_COST_BYTES: usize = 32;
/// The largest number of lines in one event.
const PART: usize = 500;

/// A running bk-ls. Dropping this kills it.
pub(crate) struct Listing {
    child: Child,
}

impl Listing {
    /// Starts bk-ls for a backup; its lines are sent with the number `run`.
    pub(crate) fn start(
        home: &Home,
        id: i64,
        run: u64,
        sender: SyncSender<Event>,
    ) -> io::Result<Self> {
        // One pipe for both, so that errors appear after the lines before them.
        let (reader, writer) = io::pipe()?;
        let mut command = bk_cli::program("bk-ls");
        command
            .args(["--files", "--table", "--home"])
            .arg(&home.dir)
            .arg("--lock-timeout")
            .arg(format!("{}s", home.lock_timeout.as_secs()))
            .args(["--", &id.to_string()])
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let listing = Self {
            child: command.spawn()?,
        };
        std::thread::Builder::new().spawn(move || {
            read(reader, |part| sender.send(Event::Inside(run, part)).is_ok());
        })?;
        Ok(listing)
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends lines until the end, the limit, or a failed send.
fn read(reader: PipeReader, mut send: impl FnMut(Inside) -> bool) {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let mut part = Vec::new();
    let mut kept_bytes = 0;
    while let Ok(Some(line)) = read_line(&mut reader) {
        kept_bytes += line.len() + LINE_COST_BYTES;
        part.push(line);
        let is_all_for_now = reader.buffer().is_empty();
        if (is_all_for_now || part.len() >= PART) && !send(Inside::Lines(std::mem::take(&mut part)))
        {
            return;
        }
        if kept_bytes > ALL_MAX_BYTES {
            send(Inside::Lines(part));
            send(Inside::Cut);
            return;
        }
    }
    send(Inside::Lines(part));
    send(Inside::End);
}

/// The next line without its newline, cut at the limit.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = reader
        .by_ref()
        .take(LINE_MAX_BYTES)
        .read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else {
        reader.skip_until(b'\n')?;
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines_of(write: impl FnOnce(&mut io::PipeWriter) + Send + 'static) -> (Vec<String>, Inside) {
        let (reader, mut writer) = io::pipe().unwrap();
        std::thread::spawn(move || write(&mut writer));
        let (mut lines, mut last) = (Vec::new(), Inside::End);
        read(reader, |part| {
            match part {
                Inside::Lines(part) => lines.extend(part),
                end => last = end,
            }
            true
        });
        (lines, last)
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_is_whole() {
        let (lines, last) = lines_of(|writer| {
            let long = "x".repeat(100_000);
            writeln!(writer, "a\n{long}\nb").unwrap();
            write!(writer, "torn").unwrap();
        });
        let starts: Vec<_> = lines.iter().map(|line| &line[..1]).collect();
        assert_eq!(starts, ["a", "x", "b", "t"]);
        assert_eq!(lines[1].len() as u64, LINE_MAX_BYTES);
        assert_eq!(last, Inside::End);
    }

    #[test]
    fn what_never_ends_fills_no_memory() {
        let (lines, last) =
            lines_of(|writer| while writeln!(writer, "{}", "y".repeat(3000)).is_ok() {});
        let bytes: usize = lines.iter().map(String::len).sum();
        assert!(bytes < ALL_MAX_BYTES + 10_000, "{bytes}");
        assert_eq!(last, Inside::Cut);
    }
}
