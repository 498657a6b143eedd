//! Lists what is inside a backup: runs bk-ls and sends the entries that it prints as they come.
//!
//! Knows no archive, and never waits for bk-ls.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;

use bk_store::Home;
use jiff::Timestamp;
use serde::Deserialize;

use crate::events::{Event, Inside};
use crate::files::{Entry, Kind, Name};

/// The limit of the whole listing; the rest is dropped.
const ALL_MAX_BYTES: usize = 32 << 20;
/// The limit of one line: longer than any name that a file system takes, in any encoding.
const LINE_MAX_BYTES: u64 = 64 << 10;
/// The largest number of entries in one event.
const PART: usize = 500;
/// The limits of what bk-ls reports.
const PROBLEMS_MAX: usize = 100;
const PROBLEM_MAX_BYTES: u64 = 4096;

/// A running bk-ls. Dropping this kills it.
pub(crate) struct Listing {
    child: Child,
}

/// The keys of a line that are used; bk-record(5) describes them.
#[derive(Deserialize)]
struct Line {
    path: Box<str>,
    path_base64: Option<Box<str>>,
    r#type: String,
    size: u64,
    mtime: Option<Timestamp>,
    link: Option<Box<str>>,
}

impl Listing {
    /// Starts bk-ls for a backup; its entries are sent with the number `run`.
    pub(crate) fn start(
        home: &Home,
        id: i64,
        run: u64,
        sender: SyncSender<Event>,
    ) -> io::Result<Self> {
        let mut command = bk_cli::program("bk-ls");
        command
            .args(["--files", "--json", "--home"])
            .arg(&home.dir)
            .arg("--lock-timeout")
            .arg(format!("{}s", home.lock_timeout.as_secs()))
            .args(["--", &id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut listing = Self {
            child: command.spawn()?,
        };
        let (stdout, stderr) = (listing.child.stdout.take(), listing.child.stderr.take());
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // A thread for each, as bk-ls waits while either pipe is full.
        let reported = thread::Builder::new().spawn(move || problems(stderr))?;
        thread::Builder::new().spawn(move || {
            let send = |part| sender.send(Event::Inside(run, part)).is_ok();
            let reported = || reported.join().unwrap_or_default();
            read(stdout, reported, send);
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

/// Sends entries until the end, the limit, or a failed send; at the end what was reported.
fn read(
    input: impl Read,
    reported: impl FnOnce() -> Vec<String>,
    mut send: impl FnMut(Inside) -> bool,
) {
    let mut reader = BufReader::with_capacity(1 << 16, input);
    let (mut part, mut kept_bytes, mut left_out) = (Vec::new(), 0, 0_u64);
    while let Ok(Some(line)) = read_line(&mut reader, LINE_MAX_BYTES) {
        match entry(&line) {
            Some(entry) => {
                kept_bytes += entry.cost_bytes();
                part.push(entry);
            }
            None => left_out += 1,
        }
        let is_all_for_now = reader.buffer().is_empty() && !part.is_empty();
        if (is_all_for_now || part.len() >= PART)
            && !send(Inside::Entries(std::mem::take(&mut part)))
        {
            return;
        }
        if kept_bytes > ALL_MAX_BYTES {
            send(Inside::Entries(part));
            send(Inside::Cut);
            return;
        }
    }
    send(Inside::Entries(part));
    let mut problems = reported();
    if left_out > 0 {
        problems.push(format!("left out, as the name is too long: {left_out}"));
    }
    send(Inside::End(problems));
}

fn entry(line: &[u8]) -> Option<Entry> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let kind = match line.r#type.as_str() {
        "file" => Kind::File,
        "directory" => Kind::Directory,
        _ => Kind::Other,
    };
    Some(Entry {
        name: Name {
            path: line.path,
            base64: line.path_base64,
        },
        kind,
        size: line.size,
        mtime: line.mtime,
        link: line.link,
    })
}

/// What bk-ls reports, as far as it is kept.
fn problems(input: impl Read) -> Vec<String> {
    let mut reader = BufReader::new(input);
    let mut problems = Vec::new();
    while let Ok(Some(line)) = read_line(&mut reader, PROBLEM_MAX_BYTES) {
        if problems.len() < PROBLEMS_MAX {
            problems.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
    problems
}

/// The next line without its newline, cut at the limit.
fn read_line(reader: &mut impl BufRead, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = reader
        .by_ref()
        .take(max_bytes)
        .read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else {
        reader.skip_until(b'\n')?;
    }
    Ok(Some(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    fn entries_of(
        write: impl FnOnce(&mut io::PipeWriter) + Send + 'static,
    ) -> (Vec<Entry>, Inside) {
        let (reader, mut writer) = io::pipe().unwrap();
        thread::spawn(move || write(&mut writer));
        let (mut entries, mut last) = (Vec::new(), Inside::Cut);
        let reported = || vec!["bk-ls: note".to_owned()];
        read(reader, reported, |part| {
            match part {
                Inside::Entries(part) => entries.extend(part),
                end => last = end,
            }
            true
        });
        (entries, last)
    }

    fn line(path: &str) -> String {
        format!(r#"{{"id":1,"path":"{path}","type":"file","size":5,"mtime":null,"mode":"0644"}}"#)
    }

    #[test]
    fn a_line_that_is_too_long_or_torn_is_left_out_and_told() {
        let (entries, last) = entries_of(|writer| {
            let long = "x".repeat(100_000);
            writeln!(writer, "{}\n{}\n{}", line("a"), line(&long), line("b")).unwrap();
            write!(writer, "{{\"path\":\"to").unwrap();
        });
        let paths: Vec<_> = entries.iter().map(|it| &*it.name.path).collect();
        assert_eq!(paths, ["a", "b"]);
        let problems = ["bk-ls: note", "left out, as the name is too long: 2"];
        assert_eq!(last, Inside::End(problems.map(str::to_owned).into()));
    }

    #[test]
    fn what_never_ends_fills_no_memory() {
        let (entries, last) =
            entries_of(|writer| while writeln!(writer, "{}", line(&"y".repeat(3000))).is_ok() {});
        let bytes: usize = entries.iter().map(Entry::cost_bytes).sum();
        assert!(bytes < ALL_MAX_BYTES + 10_000, "{bytes}");
        assert_eq!(last, Inside::Cut);
        let endless = io::repeat(b'z').take(PROBLEM_MAX_BYTES * 3);
        assert_eq!(problems(endless)[0].len() as u64, PROBLEM_MAX_BYTES);
    }
}
