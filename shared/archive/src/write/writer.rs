//! The writer: one thread reads the sources, N compress members, one hashes and writes them in
//! their order.
//!
//! Bounded queues between them bound the memory, however large the source. Knows no catalog,
//! and of the disk only what it is given to write to.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::thread::Builder;

use anyhow::{Context, Result, ensure};
use bk_schema::manifest::{Member, Segment};

use crate::format::codec::{Compression, Compressor};
use crate::hashed::whole;
use crate::pool::pool;
use crate::threads::{begin_some, needed};
use crate::write::filter::Filter;
use crate::write::members::{Job, Members, Out, Part, Written};
use crate::write::observer::Observer;
use crate::write::output::Output;
use crate::write::parent::{Merge, Parent};
use crate::write::stream::Stream;
use crate::write::tree::{Item, read};
use crate::write::walk::Source;

/// How an archive is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// One line of JSON for the global header.
    pub comment: &'a str,
    /// Codec and level.
    pub compression: Compression,
    /// Compressing threads.
    pub jobs: usize,
    /// The archive. What is written to the sink is appended to it.
    pub archive: &'a File,
    /// The size of a block, where the storage shares blocks: the members are padded, so that the next
    /// archive can share those that it takes over.
    pub block_bytes: Option<u32>,
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
    /// Bytes of the archive that were not taken over from the parent.
    pub new_bytes: u64,
}

/// What to archive.
pub struct Tree<'a> {
    /// Sorted by name.
    pub sources: &'a [Source],
    /// Sorted by name. No name is that of a source, nor leads through one that is no directory.
    pub streams: &'a [Stream<'a>],
    /// What to leave out.
    pub filter: &'a Filter,
    /// What may be taken over.
    pub parent: Option<Parent<'a>>,
}

/// Writes the archive of `tree` to `sink`, in the order of its members. `manifest` gets what each
/// segment holds, once it is written.
///
/// # Errors
/// Those of the sink and of streams, a level out of range, having been stopped, and sources of which
/// nothing could be read. Single places that cannot be read are no errors: they are told to the
/// observer.
pub fn write(
    tree: Tree<'_>,
    options: Options<'_>,
    sink: &mut dyn Write,
    manifest: &mut dyn FnMut(Segment),
    observer: &dyn Observer,
) -> Result<Summary> {
    let codec = options.compression.codec;
    let mut output = Output::new(codec, options.archive, options.block_bytes, sink);
    let mut segments = Segments::default();
    let items = items(tree.sources, tree.streams);
    let names = items.iter().map(Item::name);
    let merge = tree.parent.map(|parent| Merge::new(parent, names));
    let archive = merge.as_ref().map(|merge| merge.archive().clone());
    let read_all = |out| {
        let mut members = Members::new(codec, out);
        members.global(options.comment)?;
        let tally = read(&items, tree.filter, merge, &mut members, observer)?;
        members.finish().map(|()| tally)
    };
    let tally = run(options, read_all, &mut |mut written| {
        output.add(&mut written)?;
        segments.add(written).into_iter().for_each(&mut *manifest);
        Ok(())
    })?;
    // Each thread may have found it out.
    if let Some(damage) = archive.as_ref().and_then(|it| it.damage()) {
        observer.parent_lost(damage);
    }
    let (archive_bytes, new_bytes, mut hash) = output.finish()?;
    if !segments.headers.is_empty() {
        hash = rewrite(options.archive, &segments.headers, archive_bytes, observer)?;
    }
    Ok(Summary {
        archive_bytes,
        new_bytes,
        hash,
        file_count: tally.file_count,
        content_bytes: tally.content_bytes,
    })
}

/// All of it, in the order of the archive.
fn items<'a>(sources: &'a [Source], streams: &'a [Stream<'a>]) -> Vec<Item<'a>> {
    let sources = sources.iter().map(Item::Tree);
    let mut items: Vec<_> = sources.chain(streams.iter().map(Item::Stream)).collect();
    items.sort_by(|one, other| one.name().cmp(other.name()));
    items
}

/// Rewrites headers of streams; the SHA-256 of the archive, which is read once more: the hash is that of
/// the file in its order. Just written, it comes from memory as far as that goes.
fn rewrite(
    archive: &File,
    headers: &[(u64, Vec<u8>)],
    archive_bytes: u64,
    observer: &dyn Observer,
) -> Result<String> {
    for (offset, header) in headers {
        archive.write_all_at(header, *offset)?;
    }
    let hashed = whole(archive, &mut |_| !observer.is_stopped())?;
    let hashed = hashed.context("interrupted")?;
    ensure!(
        hashed.bytes == archive_bytes,
        "it was changed while it was written"
    );
    Ok(hashed.hash)
}

/// Joins members into segments.
#[derive(Default)]
struct Segments {
    /// Members that are to be written again, and where.
    headers: Vec<(u64, Vec<u8>)>,
    /// The end of what was added.
    end: u64,
    /// The members of the one that has no last member yet.
    members: Vec<Member>,
}

impl Segments {
    /// The segment that a member is the last one of.
    fn add(&mut self, written: Written) -> Option<Segment> {
        self.end += written.member.padded_bytes();
        if matches!(written.part, Part::Begin | Part::End) {
            return None;
        }
        self.members.push(written.member);
        let (entries, ends_itself, header) = match written.part {
            Part::Last(entries, ends_itself) => (entries, ends_itself, None),
            Part::LastOfStream(entry, header) => (vec![*entry], true, Some(header)),
            Part::Begin | Part::Piece | Part::End => return None,
        };
        let mut segment = Segment {
            offset: 0,
            members: std::mem::take(&mut self.members),
            entries,
            ends_itself,
        };
        segment.offset = self.end - segment.bytes();
        if let Some(header) = header {
            segment.members[0].hash = blake3::hash(&header).into();
            self.headers.push((segment.offset, header));
        }
        Some(segment)
    }
}

/// Compresses what a member is to hold, or takes it over.
fn compress(compressor: &mut Compressor, job: Job) -> Result<Written> {
    let content_hash = job.is_large.then(|| blake3::hash(&job.content).into());
    let taken = job.pieces.zip(content_hash);
    if let Some(taken) = taken.and_then(|(pieces, hash)| pieces.take(&hash)) {
        return Ok(Written::taken(taken, job.part));
    }
    Written::new(compressor.member(&job.content)?, content_hash, job.part)
}

/// Runs the threads: what `read` comes to.
pub(crate) fn run<T: Send>(
    options: Options<'_>,
    read: impl FnOnce(Out) -> Result<T> + Send,
    sink: &mut dyn FnMut(Written) -> io::Result<()>,
) -> Result<T> {
    let compression = options.compression;
    compression.compressor()?;
    std::thread::scope(|scope| {
        let jobs = options.jobs.max(1);
        let (members, worker, results) = pool(jobs * 2);
        // The one that cannot be done without comes first.
        let reader = needed(Builder::new().spawn_scoped(scope, move || read(Out(members))))?;
        begin_some(jobs, || {
            let compressor = compression.compressor();
            let (worker, mut compressor) = (worker.clone(), compressor.map_err(io::Error::other)?);
            let work = move |job| compress(&mut compressor, job);
            Builder::new().spawn_scoped(scope, move || worker.run(work))
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
