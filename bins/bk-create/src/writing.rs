//! The archive of one backup: from its sources or its stream into the partial, which then gets
//! its name. The reserve stays free: the writing waits for space, or fails.
//!
//! Knows no catalog.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bk_archive::format::entry::FileTime;
use bk_archive::write::stream;
use bk_archive::write::writer::{self, Observer, Plan as Tree, Summary};
use bk_cli::units::human_size;
use bk_schema::birth::Birth;
use bk_store::archives::space::Space;

use crate::command::{self, Input};
use crate::flags::{OnLowSpace, PROGRAM};
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
pub(crate) fn write(plan: &Plan<'_>, begun: &mut Begun, watch: &Watch) -> Result<Summary> {
    let comment = Birth::of(&begun.backup, PROGRAM.name).to_comment()?;
    let cannot = || format!("cannot write '{}'", begun.backup.backup_path);
    let mut guard = Guard {
        file: &begun.partial.file,
        dir: Path::new(&plan.storage),
        reserve_bytes: plan.reserve_bytes,
        on_low_space: plan.settings.on_low_space,
        timeout: plan.settings.low_space_timeout,
        watch,
    };
    let summary = match &plan.request.stream {
        Some(stream) => write_stream(plan, stream, begun, &comment, &mut guard)?,
        None => {
            let tree = Tree {
                sources: &plan.sources.stored,
                filter: &plan.filter,
                comment: &comment,
                level: plan.settings.level,
                jobs: plan.settings.jobs,
            };
            writer::write(&tree, &mut guard, watch).with_context(cannot)?
        }
    };
    begun.partial.commit()?;
    Ok(summary)
}

fn write_stream(
    plan: &Plan<'_>,
    stream: &Stream,
    begun: &Begun,
    comment: &str,
    guard: &mut Guard<'_>,
) -> Result<Summary> {
    let now = begun.backup.created_at;
    let file = stream::Plan {
        name: stream.filename.as_bytes(),
        mtime: FileTime {
            secs: now.as_second(),
            nanos: now.subsec_nanosecond().unsigned_abs(),
        },
        owner: (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        ),
        comment,
        level: plan.settings.level,
        jobs: plan.settings.jobs,
    };
    let (archive, watch) = (guard.file, guard.watch);
    let cannot = || format!("cannot write '{}'", begun.backup.backup_path);
    let Some(words) = &stream.command else {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned();
        let is_stopped = || watch.is_stopped();
        let mut input = Input::new(stdin?, &is_stopped);
        let written = stream::write(&file, &mut input, guard, archive, watch);
        return written.with_context(cannot);
    };
    command::run(words, watch, |input| {
        stream::write(&file, input, guard, archive, watch).with_context(cannot)
    })
}

/// Writes to a file as long as the reserve stays free; else it pauses, or fails.
struct Guard<'a> {
    file: &'a File,
    dir: &'a Path,
    reserve_bytes: u64,
    on_low_space: OnLowSpace,
    timeout: Duration,
    watch: &'a Watch,
}

impl Guard<'_> {
    /// A file system that reports no figures is full when a write fails.
    fn available(&self) -> io::Result<u64> {
        Ok(Space::of(self.file)?.map_or(u64::MAX, |space| space.available_bytes))
    }

    fn wait_for(&self, bytes: u64) -> io::Result<()> {
        let needed = self.reserve_bytes.saturating_add(bytes);
        let available = self.available()?;
        if available >= needed {
            return Ok(());
        }
        let figures = |available| {
            format!(
                "'{}' has {} free, and {} are to stay so",
                self.dir.display(),
                human_size(available),
                human_size(self.reserve_bytes)
            )
        };
        if self.on_low_space == OnLowSpace::Fail {
            return Err(io::Error::other(figures(available)));
        }
        self.watch.warn(&format!(
            "paused: {}; make space, or stop this with Ctrl-C",
            figures(available)
        ));
        let began = Instant::now();
        loop {
            if self.watch.signals.caught().is_some() {
                return Err(io::Error::other("interrupted"));
            }
            let available = self.available()?;
            if available >= needed {
                self.watch.warn("there is space again: going on");
                return Ok(());
            }
            if began.elapsed() >= self.timeout {
                let waited_secs = self.timeout.as_secs();
                let text = format!("{}, after {waited_secs} s of waiting", figures(available));
                return Err(io::Error::other(text));
            }
            std::thread::sleep(CHECK_EVERY);
        }
    }
}

impl Write for Guard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait_for(bytes.len() as u64)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
