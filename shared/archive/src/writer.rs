//! The writer: one thread reads the sources, N compress members, one hashes and writes them in
//! their order.
//!
//! Bounded queues between them bound the memory, however large the source. Knows no catalog,
//! and of the disk only what it is given to write to.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::entry::Kind;
use crate::hashed::hex;
use crate::member::Deflater;
use crate::members::{Members, Read};
use crate::problem::{Problem, ProblemKind};
use crate::source::{Opened, Opener, failed, problem};
use crate::threads::{begin_some, needed};
use crate::walk::{Filter, Found, Source, walk};

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

/// The content of one member, and where its compressed form is awaited.
struct Job {
    content: Vec<u8>,
    result: SyncSender<Result<Vec<u8>>>,
}

/// Writes the archive of `plan` to `sink`, in the order of its members.
///
/// # Errors
/// Those of the sink, a level out of range, and having been stopped. Places that cannot be
/// read are no errors: they are told to the observer.
pub fn write(plan: &Plan<'_>, sink: &mut dyn Write, observer: &dyn Observer) -> Result<Summary> {
    Deflater::new(plan.level)?;
    std::thread::scope(|scope| {
        let jobs = plan.jobs.max(1);
        let (job_in, job_out) = sync_channel::<Job>(1);
        let (order_in, order_out) = sync_channel(jobs * 2);
        let job_out = std::sync::Arc::new(Mutex::new(job_out));
        let level = plan.level;
        begin_some(jobs, || {
            let job_out = job_out.clone();
            Builder::new().spawn_scoped(scope, move || compress(&job_out, level))
        })?;
        // The compressors hold the only receivers, so that a reader never waits for the dead.
        drop(job_out);
        let reader = Builder::new().spawn_scoped(scope, move || {
            read(plan, observer, |content| {
                let (result, awaited) = sync_channel(1);
                let stopped = "the archive can no longer be written";
                order_in.send(awaited).ok().context(stopped)?;
                job_in.send(Job { content, result }).ok().context(stopped)
            })
        });
        let reader = needed(reader)?;
        let written = write_in_order(order_out, sink);
        let read = reader.join();
        // A sink that fails ends the reading, so its error is the one to tell.
        let (archive_bytes, hash) = written?;
        let (file_count, content_bytes) = match read {
            Ok(counts) => counts?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok(Summary {
            archive_bytes,
            hash,
            file_count,
            content_bytes,
        })
    })
}

fn compress(jobs: &Mutex<Receiver<Job>>, level: i32) {
    let Ok(mut deflater) = Deflater::new(level) else {
        return;
    };
    loop {
        let job = jobs.lock().map(|jobs| jobs.recv());
        let Ok(Ok(job)) = job else {
            return;
        };
        // Nobody waits for it once the sink has failed.
        let _ = job.result.send(deflater.member(&job.content));
    }
}

fn write_in_order(
    order: Receiver<Receiver<Result<Vec<u8>>>>,
    sink: &mut dyn Write,
) -> Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut archive_bytes = 0;
    for awaited in order {
        let member = awaited.recv().context("a compressing thread died")??;
        hash.update(&member);
        sink.write_all(&member)?;
        archive_bytes += member.len() as u64;
    }
    Ok((archive_bytes, hex(hash)))
}

/// Reads all sources; returns the number of files and the bytes of content.
fn read(
    plan: &Plan<'_>,
    observer: &dyn Observer,
    hand_on: impl FnMut(Vec<u8>) -> Result<()>,
) -> Result<(u64, u64)> {
    let mut members = Members::new(hand_on);
    members.global(plan.comment)?;
    let mut opener = Opener::new();
    let (mut file_count, mut content_bytes) = (0, 0);
    let mut told_last = None;
    for source in plan.sources {
        for found in walk(source, plan.filter) {
            check_stop(observer)?;
            let found = match found {
                Ok(found) => found,
                Err(lost) => {
                    // A directory that vanished was told already; now it cannot be listed.
                    let problem = failed(&lost.path, &lost.error);
                    if told_last != Some((problem.path.clone(), problem.kind)) {
                        observer.problem(problem);
                    }
                    continue;
                }
            };
            let opened = opener.open(&found, &mut |problem| {
                told_last = Some((problem.path.clone(), problem.kind));
                observer.problem(problem);
            });
            let Some(opened) = opened else { continue };
            add(&mut members, &found, &opened, observer)?;
            if opened.entry.kind != Kind::Directory {
                file_count += 1;
                observer.read_file();
            }
            content_bytes += opened.entry.data_bytes();
        }
    }
    members.finish()?;
    Ok((file_count, content_bytes))
}

fn check_stop(observer: &dyn Observer) -> Result<()> {
    if observer.is_stopped() {
        bail!("interrupted");
    }
    Ok(())
}

fn add<F: FnMut(Vec<u8>) -> Result<()>>(
    members: &mut Members<F>,
    found: &Found,
    opened: &Opened,
    observer: &dyn Observer,
) -> Result<()> {
    let outcome = members.entry(&opened.entry, opened.content.as_ref(), |bytes| {
        observer.read_bytes(bytes);
        check_stop(observer)
    })?;
    let Some(file) = &opened.content else {
        return Ok(());
    };
    let change = match outcome {
        Read::Failed(reason) => Some((
            ProblemKind::Unreadable,
            format!("{reason}: the rest is zeros in the archive"),
        )),
        Read::Short => Some((
            ProblemKind::Shrank,
            "it became shorter while it was read: the rest is zeros in the archive".to_owned(),
        )),
        Read::Whole => changed(file, opened),
    };
    if let Some((kind, reason)) = change {
        observer.problem(problem(&found.path, kind, &reason));
    }
    Ok(())
}

/// What happened to a file since its header was made.
fn changed(file: &std::fs::File, opened: &Opened) -> Option<(ProblemKind, String)> {
    let now = file.metadata().ok()?;
    let entry = &opened.entry;
    if now.size() > entry.size {
        let cut = format!(
            "it grew while it was read: the archive has its first {} bytes",
            entry.size
        );
        return Some((ProblemKind::Grew, cut));
    }
    let mtime = (entry.mtime.secs, i64::from(entry.mtime.nanos));
    let is_changed = (now.mtime(), now.mtime_nsec()) != mtime || now.size() < entry.size;
    is_changed.then(|| {
        (
            ProblemKind::Changed,
            "it was written to while it was read".to_owned(),
        )
    })
}
