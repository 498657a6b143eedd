//! The archive of one backup: from its sources into the partial, which then gets
//! its name. The reserve stays free: the writing waits for space, or fails.
//!
//! Knows no catalog.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bk_archive::format::entry::FileTime;
use bk_archive::write::observer::Observer;
use bk_archive::write::stream;
use bk_archive::write::writer::{self, Options, Summary, Tree};
use bk_cli::units::human_size;
use bk_schema::birth::Birth;
use bk_schema::manifest::Segment;
use bk_store::archives::early_sync::EarlySync;
use bk_store::archives::share;
use bk_store::archives::space::Space;
use jiff::Timestamp;

use crate::command::{self, Input};
use crate::flags::{OnLowSpace, PROGRAM};
use crate::parent::Parent;
use crate::plan::Plan;
use crate::request::Stream;
use crate::row::Begun;
use crate::watch::Watch;

/// How often a pause checks the free space.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Writes the archive, and gives it its name.
///
/// # Errors
/// A full disk, a command that fails, sources of which nothing can be read.
pub(crate) fn write(
    plan: &Plan<'_>,
    begun: &mut Begun,
    parent: Option<Parent>,
    manifest: &mut dyn FnMut(Segment),
    watch: &Watch,
) -> Result<Summary> {
    let file = &begun.partial.file;
    let options = Options {
        comment: &Birth::of(&begun.backup, PROGRAM.name).to_comment()?,
        compression: plan.compression,
        jobs: plan.settings.jobs,
        archive: file,
        block_bytes: share::block_bytes(Path::new(&plan.storage)),
    };
    let cannot = || format!("cannot write '{}'", begun.backup.backup_path);
    let mut guard = Guard {
        file,
        early_sync: EarlySync::of(file),
        plan,
        watch,
    };
    let now = begun.backup.created_at;
    let streams = plan.request.streams.iter();
    let streams: Vec<_> = streams.map(|it| stream(it, now, watch)).collect();
    let tree = Tree {
        sources: &plan.sources.stored,
        streams: &streams,
        filter: &plan.filter,
        parent: parent.map(Parent::into_source),
    };
    let written = writer::write(tree, options, &mut guard, manifest, watch);
    let summary = written.map_err(|error| match error.is::<command::Failed>() {
        true => error,
        false => error.context(cannot()),
    })?;
    guard.early_sync.finish().with_context(cannot)?;
    begun.partial.commit()?;
    Ok(summary)
}

/// A file that comes through a pipe; a command is run when its content is wanted.
fn stream<'a>(stream: &'a Stream, now: Timestamp, watch: &'a Watch) -> stream::Stream<'a> {
    stream::Stream {
        name: PathBuf::from(&stream.filename),
        mtime: FileTime {
            secs: now.as_second(),
            nanos: now.subsec_nanosecond().unsigned_abs(),
        },
        owner: (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        ),
        feed: Box::new(move |take| match &stream.command {
            Some(run) => command::run(run, &stream.filename, watch, take),
            None => {
                let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
                take(&mut Input::new(stdin, &|| watch.is_stopped()))
            }
        }),
    }
}

/// Writes to a file as long as the reserve stays free; else it pauses, or fails.
struct Guard<'a> {
    file: &'a File,
    early_sync: EarlySync<'a>,
    plan: &'a Plan<'a>,
    watch: &'a Watch,
}

impl Guard<'_> {
    fn wait_for(&self, bytes: u64) -> io::Result<()> {
        let (plan, settings) = (self.plan, self.plan.settings);
        let mut began = None;
        loop {
            // A file system that reports no figures is full when a write fails.
            let space = Space::of(self.file)?;
            let available = space.map_or(u64::MAX, |space| space.available_bytes);
            if available >= plan.reserve_bytes.saturating_add(bytes) {
                if began.is_some() {
                    self.watch.warn("there is space again: going on");
                }
                return Ok(());
            }
            let figures = format!(
                "'{}' has {} free, and {} are to stay so",
                plan.storage,
                human_size(available),
                human_size(plan.reserve_bytes)
            );
            if settings.on_low_space == OnLowSpace::Fail {
                return Err(io::Error::other(figures));
            }
            let began = began.get_or_insert_with(|| {
                self.watch.warn(&format!(
                    "paused: {figures}; make space, or stop this with Ctrl-C"
                ));
                Instant::now()
            });
            if self.watch.signals.caught().is_some() {
                return Err(io::Error::other("interrupted"));
            }
            if began.elapsed() >= settings.low_space_timeout {
                let waited_secs = settings.low_space_timeout.as_secs();
                let text = format!("{figures}, after {waited_secs} s of waiting");
                return Err(io::Error::other(text));
            }
            std::thread::sleep(CHECK_EVERY);
        }
    }
}

impl Write for Guard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait_for(bytes.len() as u64)?;
        let written = self.file.write(bytes)?;
        self.early_sync.wrote(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
