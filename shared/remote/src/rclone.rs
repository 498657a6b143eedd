//! A place that the program rclone reaches: SFTP, WebDAV and the many services of rclone.conf.
//!
//! Objects are sent whole, under another name first. rclone has its own retries; what it last says on stderr is the
//! reason of a failure. Knows no protocol.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;

use crate::credentials::private_text;
use crate::durable::{PARTIAL, new_id, partial};
use crate::error::{Error, Kind, Result};
use crate::key::{flaw, join};
use crate::location::Location;
use crate::place::{
    Abilities, CanLock, Listed, Object, Options, Part, PartReceipt, Place, Stored, Storing,
};
use crate::rate::Rate;
use crate::retry::{GLANCE, Retry};
use crate::whole::cannot_read;

const BUFFER_BYTES: usize = 256 * 1024;
const INSTALL: &str = "install rclone";
const NO_PARTS: &str = "rclone takes an object whole";
/// Exit statuses of rclone: no such directory, no such file.
const GONE: [i32; 2] = [3, 4];
const TEMPORARY: i32 = 5;

pub(crate) struct Rclone {
    location: Location,
    config: Option<PathBuf>,
    stall_limit: Duration,
    rate: Rate,
    retry: Retry,
}

/// A line of `rclone lsjson`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    path: String,
    size: i64,
    mod_time: Option<String>,
    is_dir: bool,
}

impl Line {
    fn modified_at(&self) -> Option<Timestamp> {
        self.mod_time.as_deref()?.parse().ok()
    }

    /// rclone tells -1 where it does not know.
    fn size(&self) -> u64 {
        u64::try_from(self.size).unwrap_or_default()
    }
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

impl Rclone {
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

    fn error(&self, kind: Kind, key: &str, reason: impl std::fmt::Display) -> Error {
        Error::new(kind, &self.location, reason).of(key)
    }

    /// A key, or nothing for the root, as rclone has it.
    fn target(&self, key: &str) -> Result<String> {
        if let Some(flaw) = flaw(key).filter(|_| !key.is_empty()) {
            return Err(self.error(Kind::Other, key, flaw));
        }
        if key.ends_with(PARTIAL) {
            return Err(self.error(
                Kind::Other,
                key,
                format!("'{PARTIAL}' ends the name of what is not whole"),
            ));
        }
        Ok(self.remote(&join(self.location.prefix(), key)))
    }

    fn remote(&self, path: &str) -> String {
        format!("{}:{path}", self.location.bucket())
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
        let complaint = child
            .stderr
            .take()
            .map(|stderr| spawn(move || last_line(stderr)));
        Ok(Running { child, complaint })
    }

    /// Waits for the end, and tells a failure.
    fn end(&self, key: &str, mut running: Running) -> Result<()> {
        drop(running.child.stdin.take());
        let ended = running.child.wait();
        let ended = ended.map_err(|error| {
            self.error(Kind::Other, key, format!("cannot wait for rclone: {error}"))
        })?;
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
            _ => Kind::Other,
        };
        Err(self.error(kind, key, reason))
    }

    /// Runs rclone, and gives what it prints to `each`.
    fn read(
        &self,
        key: &str,
        words: &[&str],
        mut each: impl FnMut(&mut BufReader<ChildStdout>) -> Result<bool>,
    ) -> Result<()> {
        let mut running = self.start(key, words, false)?;
        if let Some(output) = running.child.stdout.take() {
            let mut output = BufReader::with_capacity(BUFFER_BYTES, output);
            while each(&mut output)? {
                if self.retry.is_stopped() {
                    return Err(self.error(Kind::Stopped, key, ""));
                }
            }
        }
        self.end(key, running)
    }

    fn copy_out(&self, key: &str, words: &[&str], sink: &mut dyn Write) -> Result<u64> {
        let mut done = 0;
        self.read(key, words, |output| {
            let chunk = output
                .fill_buf()
                .map_err(|error| self.error(Kind::Other, key, error))?;
            let count = chunk.len();
            let written = sink.write_all(chunk);
            written.map_err(|error| {
                self.error(
                    Kind::Other,
                    key,
                    format!("cannot write what was read: {error}"),
                )
            })?;
            output.consume(count);
            done += count as u64;
            Ok(count > 0)
        })?;
        Ok(done)
    }

    fn lines(
        &self,
        key: &str,
        words: &[&str],
        each: &mut dyn FnMut(Line) -> Result<()>,
    ) -> Result<()> {
        self.read(key, words, |output| {
            let mut text = String::new();
            let count = output
                .read_line(&mut text)
                .map_err(|error| self.error(Kind::Other, key, error))?;
            let object = text.trim().trim_end_matches(',');
            if object.starts_with('{') {
                let line = serde_json::from_str(object);
                each(line.map_err(|error| {
                    self.error(Kind::Other, key, format!("rclone lsjson: {error}"))
                })?)?;
            }
            Ok(count > 0)
        })
    }

    fn stat(&self, key: &str, target: &str) -> Result<Line> {
        let mut text = Vec::new();
        self.copy_out(key, &["lsjson", "--stat", target], &mut text)?;
        let told: Option<Line> = serde_json::from_slice(&text)
            .map_err(|error| self.error(Kind::Other, key, format!("rclone lsjson: {error}")))?;
        told.filter(|told| !told.is_dir)
            .ok_or_else(|| self.error(Kind::NotFound, key, ""))
    }

    /// Sends what `next` gives, piece by piece, until it gives nothing.
    fn send(
        &self,
        key: &str,
        size: u64,
        storing: &Storing,
        mut next: impl FnMut(u64) -> Result<Vec<u8>>,
    ) -> Result<Stored> {
        let target = self.target(key)?;
        if storing.lock.is_some() || storing.storage_class.is_some() {
            return Err(self.error(
                Kind::Unsupported,
                key,
                "rclone has no locks and no storage classes",
            ));
        }
        if !storing.may_replace {
            match self.stat(key, &target) {
                Ok(_) => return Err(self.error(Kind::AlreadyThere, key, "")),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let id = new_id().map_err(|error| self.error(Kind::Other, key, error))?;
        let unfinished = partial(&target, &id);
        let sent = self.feed(key, size, &unfinished, &mut next).and_then(|()| {
            let there = self.stat(key, &unfinished)?.size;
            match u64::try_from(there) == Ok(size) {
                true => self.read(key, &["moveto", &unfinished, &target], |_| Ok(false)),
                false => {
                    let why = format!("{size} bytes were sent, and {there} are there");
                    Err(self.error(Kind::Checksum, key, why))
                }
            }
        });
        sent.inspect_err(|_| {
            // The first failure is the one to tell; what stays is nobody's object.
            let _ = self.read(key, &["deletefile", &unfinished, "--retries", "1"], |_| {
                Ok(false)
            });
        })?;
        Ok(Stored::default())
    }

    fn feed(
        &self,
        key: &str,
        size: u64,
        unfinished: &str,
        next: &mut dyn FnMut(u64) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let size_flag = format!("--size={size}");
        let mut running = self.start(key, &["rcat", &size_flag, unfinished], true)?;
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
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.retry.is_stopped() {
                break;
            }
            sleep(left.min(GLANCE));
        }
        match self.retry.is_stopped() {
            true => Err(self.error(Kind::Stopped, key, "")),
            false => Ok(()),
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

impl Place for Rclone {
    fn abilities(&self) -> Abilities {
        Abilities {
            has_parts: false,
            least_part_bytes: 1,
            most_parts: 1,
            may_lock: false,
            has_storage_class: false,
        }
    }

    fn init(&self) -> Result<()> {
        self.read("", &["mkdir", &self.target("")?], |_| Ok(false))
    }

    fn can_lock(&self) -> Result<CanLock> {
        Ok(CanLock::No)
    }

    fn put(&self, key: &str, bytes: Vec<u8>, storing: &Storing) -> Result<Stored> {
        let size = bytes.len() as u64;
        self.send(key, size, storing, |_| Ok(bytes.clone()))
    }

    fn put_file(&self, key: &str, file: &File, size: u64, storing: &Storing) -> Result<Stored> {
        self.send(key, size, storing, |done| {
            let count = usize::try_from(size - done)
                .unwrap_or(usize::MAX)
                .min(BUFFER_BYTES);
            let mut bytes = vec![0; count];
            let read = file.read_exact_at(&mut bytes, done);
            read.map_err(|error| cannot_read(&self.location, key, error))?;
            Ok(bytes)
        })
    }

    fn begin(&self, key: &str, _: &Storing) -> Result<String> {
        Err(self.error(Kind::Unsupported, key, NO_PARTS))
    }

    fn part(&self, key: &str, _: &str, _: Part) -> Result<PartReceipt> {
        Err(self.error(Kind::Unsupported, key, NO_PARTS))
    }

    fn complete(&self, key: &str, _: &str, _: &[PartReceipt], _: &Storing) -> Result<Stored> {
        Err(self.error(Kind::Unsupported, key, NO_PARTS))
    }

    fn abort(&self, key: &str, _: &str) -> Result<()> {
        Err(self.error(Kind::Unsupported, key, NO_PARTS))
    }

    fn head(&self, key: &str) -> Result<Object> {
        let told = self.stat(key, &self.target(key)?)?;
        Ok(Object {
            size: told.size(),
            modified_at: told.modified_at(),
            ..Object::default()
        })
    }

    fn get(&self, key: &str, sink: &mut dyn Write) -> Result<u64> {
        // Of a directory rclone would print all files.
        let told = self.head(key)?;
        let done = self.copy_out(key, &["cat", &self.target(key)?], sink)?;
        match done == told.size {
            true => Ok(done),
            false => Err(self.error(Kind::Unreachable, key, "the content broke off")),
        }
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let (offset, count) = (format!("--offset={offset}"), format!("--count={length}"));
        self.copy_out(
            key,
            &["cat", &offset, &count, &self.target(key)?],
            &mut bytes,
        )?;
        Ok(bytes)
    }

    fn list(&self, below: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        let target = self.target(below)?;
        let words = [
            "lsjson",
            "--recursive",
            "--files-only",
            "--no-mimetype",
            &target,
        ];
        let listed = self.lines(below, &words, &mut |line| {
            if line.path.ends_with(PARTIAL) || flaw(&line.path).is_some() {
                return Ok(());
            }
            each(Listed {
                size: line.size(),
                modified_at: line.modified_at(),
                key: join(below, &line.path),
            })
        });
        match listed {
            Err(error) if error.kind() == Kind::NotFound && !below.is_empty() => Ok(()),
            listed => listed,
        }
    }

    fn list_dirs(&self, below: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let target = self.target(below)?;
        let listed = self.lines(
            below,
            &["lsjson", "--dirs-only", "--no-modtime", &target],
            &mut |line| {
                names.push(line.path);
                Ok(())
            },
        );
        match listed {
            Err(error) if error.kind() == Kind::NotFound && !below.is_empty() => Ok(names),
            listed => listed.map(|()| names),
        }
    }

    fn delete(&self, key: &str, _: Option<&str>) -> Result<()> {
        let words = ["deletefile", &self.target(key)?, "--retries", "1"];
        match self.read(key, &words, |_| Ok(false)) {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            deleted => deleted,
        }
    }
}

#[cfg(test)]
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
