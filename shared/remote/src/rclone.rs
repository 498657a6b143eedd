//! A place that the program rclone reaches: SFTP, WebDAV and the many services of rclone.conf.
//!
//! Objects are sent whole, under another name first. Knows no protocol.

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::unix::fs::FileExt;

use jiff::Timestamp;
use serde::Deserialize;

use crate::durable::{PARTIAL, new_id, partial};
use crate::error::{Error, Kind, Result};
use crate::key::{flaw, join};
use crate::location::Location;
use crate::place::{
    Abilities, CanLock, Listed, Object, Options, Part, PartReceipt, Place, Stored, Storing,
};
use crate::program::Program;
use crate::whole::cannot_read;

const BUFFER_BYTES: usize = 256 * 1024;
const NO_PARTS: &str = "rclone takes an object whole";

pub(crate) struct Rclone {
    location: Location,
    program: Program,
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

impl Rclone {
    pub(crate) fn open(location: &Location, options: &Options) -> Result<Self> {
        Ok(Self {
            location: location.clone(),
            program: Program::open(location, options)?,
        })
    }

    fn error(&self, kind: Kind, key: &str, reason: impl std::fmt::Display) -> Error {
        self.program.error(kind, key, reason)
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

    fn lines(
        &self,
        key: &str,
        words: &[&str],
        each: &mut dyn FnMut(Line) -> Result<()>,
    ) -> Result<()> {
        self.program.read(key, words, |output| {
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
        self.program
            .copy_out(key, &["lsjson", "--stat", target], &mut text)?;
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
        let mut attempt = || self.send_once(key, size, &target, storing.may_replace, &mut next);
        self.program.retry.run(&mut attempt)?;
        Ok(Stored::default())
    }

    fn send_once(
        &self,
        key: &str,
        size: u64,
        target: &str,
        may_replace: bool,
        next: &mut dyn FnMut(u64) -> Result<Vec<u8>>,
    ) -> Result<()> {
        if !may_replace {
            match self.stat(key, target) {
                Ok(_) => return Err(self.error(Kind::AlreadyThere, key, "")),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let id = new_id().map_err(|error| self.error(Kind::Other, key, error))?;
        let unfinished = partial(target, &id);
        let sent = self
            .program
            .feed(key, size, &unfinished, next)
            .and_then(|()| {
                let there = self.stat(key, &unfinished)?.size;
                match u64::try_from(there) == Ok(size) {
                    // By its times, or its size alone, one that is damaged there would pass for the same.
                    true => self.program.read(
                        key,
                        &["moveto", "--ignore-times", &unfinished, target],
                        |_| Ok(false),
                    ),
                    false => {
                        let why = format!("{size} bytes were sent, and {there} are there");
                        Err(self.error(Kind::Checksum, key, why))
                    }
                }
            });
        sent.inspect_err(|_| {
            // The first failure is the one to tell; what stays is nobody's object.
            let _ = self.program.clean_up(key, &unfinished);
        })
    }
}

impl Place for Rclone {
    fn abilities(&self) -> Abilities {
        Abilities {
            has_parts: false,
            most_parts: 1,
            may_lock: false,
            // Each is a program, and a login: sshd refuses some of more than ten.
            most_at_once: 4,
        }
    }

    fn init(&self) -> Result<()> {
        self.program
            .read("", &["mkdir", &self.target("")?], |_| Ok(false))
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
        let done = self
            .program
            .copy_out(key, &["cat", &self.target(key)?], sink)?;
        match done == told.size {
            true => Ok(done),
            false => Err(self.error(Kind::Unreachable, key, "the content broke off")),
        }
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let (offset, count) = (format!("--offset={offset}"), format!("--count={length}"));
        self.program.copy_out(
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
            if flaw(&line.path).is_some() {
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
                if flaw(&line.path).is_none() {
                    names.push(line.path);
                }
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
        match self.program.read(key, &words, |_| Ok(false)) {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            deleted => deleted,
        }
    }
}
