//! The archive of one backup: from its sources or its stream into the partial, which then gets
//! its name.
//!
//! Knows no catalog.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use bk_archive::format::entry::FileTime;
use bk_archive::write::stream;
use bk_archive::write::writer::{self, Observer, Plan as Tree, Summary};
use bk_schema::birth::Birth;

use crate::command::{self, Input};
use crate::flags::PROGRAM;
use crate::plan::Plan;
use crate::request::Stream;
use crate::row::Begun;
use crate::space::Guard;
use crate::watch::Watch;

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
