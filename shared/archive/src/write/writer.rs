//! The writer: one thread reads the sources, N compress members, one hashes and writes them in
//! their order.
//!
//! Bounded queues between them bound the memory, however large the source. Knows no catalog,
//! and of the disk only what it is given to write to.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::thread::Builder;

use anyhow::{Context, Result, bail, ensure};
use bk_schema::manifest::{Hash, Member, Segment};
use sha2::{Digest, Sha256};

use crate::format::entry::Kind;
use crate::format::member::Deflater;
use crate::hashed::hex;
use crate::pool::{Jobs, pool};
use crate::threads::{begin_some, needed};
use crate::write::content::Content;
use crate::write::members::{Members, Part, Read};
use crate::write::place::Lstat;
use crate::write::problem::{Problem, ProblemKind};
use crate::write::source::{Opened, Opener};
use crate::write::walk::{Filter, Found, Source, walk};

/// What is to be archived, and how.
#[derive(Debug)]
pub struct Plan<'a> {
    /// In the order in which they go into the archive.
    pub sources: &'a [Source],
    /// What is left out of them.
    pub filter: &'a Filter,
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

/// A member as it is to be written.
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    /// For the manifest.
    pub(crate) member: Member,
    pub(crate) part: Part,
}

impl Written {
    pub(crate) fn new(bytes: Vec<u8>, content_hash: Option<Hash>, part: Part) -> Result<Self> {
        let member = Member {
            bytes: u32::try_from(bytes.len()).context("a member is longer than 4 GiB")?,
            hash: Sha256::digest(&bytes).into(),
            content_hash,
        };
        Ok(Self {
            bytes,
            member,
            part,
        })
    }
}

/// Takes members in the order of the archive.
pub(crate) struct Out(Jobs<(Vec<u8>, Part), Result<Written>>);

impl Out {
    /// One that is to be compressed.
    pub(crate) fn content(&self, content: Vec<u8>, part: Part) -> Result<()> {
        ensure!(self.0.job((content, part)), STOPPED);
        Ok(())
    }

    /// One as it is to be written.
    pub(crate) fn member(&self, member: Vec<u8>, part: Part) -> Result<()> {
        ensure!(self.0.result(Written::new(member, None, part)), STOPPED);
        Ok(())
    }
}

const STOPPED: &str = "the archive can no longer be written";

/// Writes the archive of `plan` to `sink`, in the order of its members. `manifest` gets what is in it,
/// once that is written.
///
/// # Errors
/// Those of the sink, a level out of range, having been stopped, and sources of which nothing
/// could be read. Single places that cannot be read are no errors: they are told to the
/// observer.
pub fn write(
    plan: &Plan<'_>,
    sink: &mut dyn Write,
    manifest: &mut dyn FnMut(Segment),
    observer: &dyn Observer,
) -> Result<Summary> {
    let mut hash = Sha256::new();
    let mut segments = Segments::default();
    let read_all = |out: Out| read(plan, observer, |content, part| out.content(content, part));
    let tally = run(plan.level, plan.jobs, read_all, &mut |written| {
        hash.update(&written.bytes);
        sink.write_all(&written.bytes)?;
        segments.add(written).into_iter().for_each(&mut *manifest);
        Ok(())
    })?;
    Ok(Summary {
        archive_bytes: segments.end,
        hash: hex(hash),
        file_count: tally.file_count,
        content_bytes: tally.content_bytes,
    })
}

/// Joins members into segments.
#[derive(Default)]
struct Segments {
    /// The end of what was added.
    end: u64,
    /// The members of the one that has no last member yet.
    members: Vec<Member>,
}

impl Segments {
    /// The segment that a member is the last one of.
    fn add(&mut self, written: Written) -> Option<Segment> {
        self.end += written.bytes.len() as u64;
        if matches!(written.part, Part::Frame) {
            return None;
        }
        self.members.push(written.member);
        let Part::Last(entries) = written.part else {
            return None;
        };
        let mut segment = Segment {
            offset: 0,
            members: std::mem::take(&mut self.members),
            entries,
        };
        segment.offset = self.end - segment.bytes();
        Some(segment)
    }
}

/// Runs the threads: what `read` comes to.
pub(crate) fn run<T: Send>(
    level: i32,
    jobs: usize,
    read: impl FnOnce(Out) -> Result<T> + Send,
    sink: &mut dyn FnMut(Written) -> io::Result<()>,
) -> Result<T> {
    Deflater::new(level)?;
    std::thread::scope(|scope| {
        let jobs = jobs.max(1);
        let (members, worker, results) = pool(jobs * 2);
        // The one that cannot be done without comes first.
        let reader = needed(Builder::new().spawn_scoped(scope, move || read(Out(members))))?;
        begin_some(jobs, || {
            let (worker, mut deflater) = (
                worker.clone(),
                Deflater::new(level).map_err(io::Error::other)?,
            );
            let compress = move |(content, part): (Vec<u8>, Part)| {
                let is_large = matches!(part, Part::Piece);
                let content_hash = is_large.then(|| Sha256::digest(&content).into());
                Written::new(deflater.member(&content)?, content_hash, part)
            };
            Builder::new().spawn_scoped(scope, move || worker.run(compress))
        })?;
        // Those in the threads are the only ones, so that a reader never waits for the dead.
        drop(worker);
        let written = write_in_order(results, sink);
        let read = reader.join();
        // A sink that fails ends the reading, so its error is the one to tell.
        written?;
        match read {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn write_in_order(
    members: impl Iterator<Item = Result<Written>>,
    sink: &mut dyn FnMut(Written) -> io::Result<()>,
) -> Result<()> {
    for member in members {
        sink(member?)?;
    }
    Ok(())
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
    plan: &Plan<'_>,
    observer: &dyn Observer,
    hand_on: impl FnMut(Vec<u8>, Part) -> Result<()>,
) -> Result<Tally> {
    let mut members = Members::new(hand_on);
    members.global(plan.comment)?;
    let mut opener = Opener::new();
    let mut tally = Tally::default();
    let mut told_last = None;
    for source in plan.sources {
        for found in walk(source, plan.filter) {
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
            let mut noted = None;
            let mut report = |problem: Problem| {
                told_last = Some((problem.path.clone(), problem.kind));
                noted = Some(problem.kind);
                observer.problem(problem);
            };
            match opener.open(&found, &mut report) {
                Ok(opened) => {
                    add(&mut members, &found, &opened, noted, observer, &mut tally)?;
                }
                Err(problem) => {
                    tally.lose(&problem);
                    report(problem);
                }
            }
        }
    }
    tally.check()?;
    members.finish()?;
    Ok(tally)
}

pub(crate) fn check_stop(observer: &dyn Observer) -> Result<()> {
    if observer.is_stopped() {
        bail!("interrupted");
    }
    Ok(())
}

/// `noted` is what went wrong with it before its content was read.
fn add<F: FnMut(Vec<u8>, Part) -> Result<()>>(
    members: &mut Members<F>,
    found: &Found,
    opened: &Opened,
    noted: Option<ProblemKind>,
    observer: &dyn Observer,
    tally: &mut Tally,
) -> Result<()> {
    let outcome = members.entry(&opened.entry, opened.content.as_ref(), |bytes| {
        observer.read_bytes(bytes);
        check_stop(observer)
    })?;
    if opened.entry.kind != Kind::Directory {
        tally.file_count += 1;
        observer.read_file();
    }
    tally.content_bytes += opened.entry.data_bytes();
    let change = opened
        .content
        .as_ref()
        .and_then(|content| what_happened(&outcome.read, content, opened));
    let problem = change.as_ref().map(|(kind, _)| *kind).or(noted);
    let problem = problem.map(|kind| kind.name().to_owned());
    let row = opened.entry.to_manifest(Some(opened.source), problem);
    members.end_entry(&opened.entry, &outcome, row)?;
    let is_kept = outcome.read == Read::Whole || outcome.bytes > 0;
    tally.kept_count += u64::from(is_kept && opened.content.is_some());
    if let Some((kind, reason)) = change {
        let problem = Problem::new(&found.place.path, kind, reason);
        if !is_kept {
            tally.lose(&problem);
        }
        observer.problem(problem);
    }
    Ok(())
}

/// What went wrong while a file was read.
fn what_happened(
    read: &Read,
    content: &Content,
    opened: &Opened,
) -> Option<(ProblemKind, String)> {
    let rest = "the rest is zeros in the archive";
    match read {
        Read::Failed(reason) => Some((ProblemKind::Unreadable, format!("{reason}: {rest}"))),
        Read::Short => {
            let reason = format!("it became shorter while it was read: {rest}");
            Some((ProblemKind::Shrank, reason))
        }
        Read::Whole => changed(content, opened),
    }
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
