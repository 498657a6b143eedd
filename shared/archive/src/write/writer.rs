//! The writer: one thread reads the sources, N compress members, one hashes and writes them in
//! their order.
//!
//! Bounded queues between them bound the memory, however large the source. Knows no catalog,
//! and of the disk only what it is given to write to.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::thread::Builder;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use crate::format::entry::Kind;
use crate::format::member::Deflater;
use crate::hashed::hex;
use crate::pool::pool;
use crate::threads::{begin_some, needed};
use crate::write::content::Content;
use crate::write::members::{Members, Out, Read};
use crate::write::place::Lstat;
use crate::write::problem::{Problem, ProblemKind};
use crate::write::source::{Opened, Opener};
use crate::write::walk::{Filter, Found, Source, walk};

/// How an archive is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// One line of JSON for the global header.
    pub comment: &'a str,
    /// Compression level, 0 to 12.
    pub level: i32,
    /// Compressing threads.
    pub jobs: usize,
}

/// What the archive came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// SHA-256 of the archive in lower-case hex.
    pub hash: String,
    /// Entries that are no directories.
    pub file_count: u64,
    /// Bytes of all files' content, holes left out.
    pub content_bytes: u64,
}

/// Looks on while the archive is written; asked from the reading thread.
pub trait Observer: Sync {
    /// A place of the source has a problem.
    fn problem(&self, problem: Problem);
    /// So many more bytes of content were read.
    fn read_bytes(&self, bytes: u64);
    /// One more entry that is no directory was read.
    fn read_file(&self);
    /// Whether to give up.
    fn is_stopped(&self) -> bool;
}

/// Writes the archive of `sources` to `sink`, in the order of its members. The sources are in the
/// order of the archive.
///
/// # Errors
/// Those of the sink, a level out of range, having been stopped, and sources of which nothing
/// could be read. Single places that cannot be read are no errors: they are told to the
/// observer.
pub fn write(
    sources: &[Source],
    filter: &Filter,
    options: Options<'_>,
    sink: &mut dyn Write,
    observer: &dyn Observer,
) -> Result<Summary> {
    let mut hash = Sha256::new();
    let read_all = |out| {
        let mut members = Members::new(out);
        members.global(options.comment)?;
        let tally = read(sources, filter, &mut members, observer)?;
        members.finish().map(|()| tally)
    };
    let (tally, archive_bytes) = run(options, read_all, &mut |member| {
        hash.update(member);
        sink.write_all(member)
    })?;
    Ok(Summary {
        archive_bytes,
        hash: hex(hash),
        file_count: tally.file_count,
        content_bytes: tally.content_bytes,
    })
}

/// Runs the threads: what `read` comes to, and the bytes of the archive.
pub(crate) fn run<T: Send>(
    options: Options<'_>,
    read: impl FnOnce(Out) -> Result<T> + Send,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(T, u64)> {
    let level = options.level;
    Deflater::new(level)?;
    std::thread::scope(|scope| {
        let jobs = options.jobs.max(1);
        let (members, worker, results) = pool(jobs * 2);
        // The one that cannot be done without comes first.
        let reader = needed(Builder::new().spawn_scoped(scope, move || read(Out(members))))?;
        begin_some(jobs, || {
            let (worker, mut deflater) = (
                worker.clone(),
                Deflater::new(level).map_err(io::Error::other)?,
            );
            let compress = move |content: Vec<u8>| deflater.member(&content);
            Builder::new().spawn_scoped(scope, move || worker.run(compress))
        })?;
        // Those in the threads are the only ones, so that a reader never waits for the dead.
        drop(worker);
        let written = write_in_order(results, sink);
        let read = reader.join();
        // A sink that fails ends the reading, so its error is the one to tell.
        let archive_bytes = written?;
        match read {
            Ok(read) => Ok((read?, archive_bytes)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn write_in_order(
    members: impl Iterator<Item = Result<Vec<u8>>>,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<u64> {
    let mut archive_bytes = 0;
    for member in members {
        let member = member?;
        sink(&member)?;
        archive_bytes += member.len() as u64;
    }
    Ok(archive_bytes)
}

/// What was read of the sources.
#[derive(Default)]
struct Tally {
    file_count: u64,
    content_bytes: u64,
    /// Files that the archive has, or has a part of.
    kept_count: u64,
    /// Places of which it has nothing, and the first of them.
    lost_count: u64,
    first_lost: Option<String>,
}

impl Tally {
    fn lose(&mut self, problem: &Problem) {
        if problem.kind.is_loss() {
            self.lost_count += 1;
            let (path, reason) = (problem.path.display(), &problem.reason);
            self.first_lost
                .get_or_insert_with(|| format!("'{path}': {reason}"));
        }
    }

    /// An archive without content, where all that there was could not be read, is no backup.
    fn check(&self) -> Result<()> {
        if let Some(first) = self.first_lost.as_ref().filter(|_| self.kept_count == 0) {
            let more = match self.lost_count - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            bail!("nothing of it can be read: {first}{more}");
        }
        Ok(())
    }
}

/// Reads all sources.
fn read(
    sources: &[Source],
    filter: &Filter,
    members: &mut Members,
    observer: &dyn Observer,
) -> Result<Tally> {
    let mut opener = Opener::new();
    let mut tally = Tally::default();
    let mut told_last = None;
    for source in sources {
        for found in walk(source, filter) {
            check_stop(observer)?;
            let found = match found {
                Ok(found) => found,
                // A directory that vanished was told already; now it cannot be listed.
                Err(problem) if told_last == Some((problem.path.clone(), problem.kind)) => continue,
                Err(problem) => {
                    tally.lose(&problem);
                    observer.problem(problem);
                    continue;
                }
            };
            let mut report = |problem: Problem| {
                told_last = Some((problem.path.clone(), problem.kind));
                observer.problem(problem);
            };
            match opener.open(&found, &mut report) {
                Ok(opened) => add(members, &found, &opened, observer, &mut tally)?,
                Err(problem) => {
                    tally.lose(&problem);
                    report(problem);
                }
            }
        }
    }
    tally.check()?;
    Ok(tally)
}

pub(crate) fn check_stop(observer: &dyn Observer) -> Result<()> {
    if observer.is_stopped() {
        bail!("interrupted");
    }
    Ok(())
}

fn add(
    members: &mut Members,
    found: &Found,
    opened: &Opened,
    observer: &dyn Observer,
    tally: &mut Tally,
) -> Result<()> {
    let (read, bytes) = members.entry(&opened.entry, opened.content.as_ref(), |bytes| {
        observer.read_bytes(bytes);
        check_stop(observer)
    })?;
    if opened.entry.kind != Kind::Directory {
        tally.file_count += 1;
        observer.read_file();
    }
    tally.content_bytes += opened.entry.data_bytes();
    let Some(content) = &opened.content else {
        return Ok(());
    };
    let is_kept = read == Read::Whole || bytes > 0;
    let rest = "the rest is zeros in the archive";
    let change = match read {
        Read::Failed(reason) => Some((ProblemKind::Unreadable, format!("{reason}: {rest}"))),
        Read::Short => {
            let reason = format!("it became shorter while it was read: {rest}");
            Some((ProblemKind::Shrank, reason))
        }
        Read::Whole => changed(content, opened),
    };
    tally.kept_count += u64::from(is_kept);
    if let Some((kind, reason)) = change {
        let problem = Problem::new(&found.place.path, kind, reason);
        if !is_kept {
            tally.lose(&problem);
        }
        observer.problem(problem);
    }
    Ok(())
}

/// What happened to a file since its header was made. What was read at once is as it was then.
fn changed(content: &Content, opened: &Opened) -> Option<(ProblemKind, String)> {
    let Content::File(file) = content else {
        return None;
    };
    let now = Lstat::of(file).ok()?;
    let entry = &opened.entry;
    // One that is made up as it is read may have more than it tells, all the time.
    let has_more = || matches!(file.read_at(&mut [0], entry.size), Ok(1));
    if now.size() > entry.size || now.disk_bytes() == 0 && has_more() {
        let size = entry.size;
        let cut = format!("it grew while it was read: the archive has its first {size} bytes");
        return Some((ProblemKind::Grew, cut));
    }
    let is_changed = now.mtime() != entry.mtime || now.size() < entry.size;
    let reason = "it was written to while it was read";
    is_changed.then(|| (ProblemKind::Changed, reason.to_owned()))
}
