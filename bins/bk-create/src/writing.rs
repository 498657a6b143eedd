//! The archive of one backup: from its sources or its stream into the partial, which then gets
//! its name.
//!
//! Knows no catalog.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use bk_archive::write::stream;
use bk_archive::write::writer::{self, Observer, Plan, Summary};
use bk_schema::birth::Birth;
use bk_schema::record::Backup;
use bk_store::archives::partial::Partial;

use crate::command::{self, Input};
use crate::flags::{PROGRAM, Settings};
use crate::prospect::Prospect;
use crate::request::{Request, Stream};
use crate::space::Guard;
use crate::watch::Watch;

/// What is to be written.
pub(crate) struct Writing<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) request: &'a Request,
    pub(crate) backup: &'a Backup,
    pub(crate) prospect: &'a Prospect,
    pub(crate) watch: &'a Watch,
}

impl Writing<'_> {
    /// Writes the archive, and gives it its name.
    ///
    /// # Errors
    /// Those of the disk and of a command; sources of which nothing can be read.
    pub(crate) fn write(&self, partial: &mut Partial) -> Result<Summary> {
        let mut guard = Guard {
            file: &partial.file,
            dir: &self.prospect.storage,
            reserve_bytes: self.prospect.estimate.reserve_bytes,
            on_low_space: self.settings.on_low_space,
            timeout: self.settings.low_space_timeout,
            watch: self.watch,
        };
        let summary = match &self.request.stream {
            Some(stream) => self.write_stream(stream, &mut guard)?,
            None => self.write_tree(&mut guard).with_context(|| self.cannot())?,
        };
        partial.commit()?;
        Ok(summary)
    }

    fn cannot(&self) -> String {
        format!("cannot write '{}'", self.backup.backup_path)
    }

    fn write_tree(&self, guard: &mut Guard<'_>) -> Result<Summary> {
        let given = self.prospect.given.iter();
        let sources: Vec<_> = given.map(|given| given.source.clone()).collect();
        let plan = Plan {
            sources: &sources,
            filter: &self.settings.filter,
            comment: &Birth::of(self.backup, PROGRAM.name).to_comment()?,
            level: self.settings.level,
            jobs: self.settings.jobs,
        };
        writer::write(&plan, guard, self.watch)
    }

    fn write_stream(&self, stream: &Stream, guard: &mut Guard<'_>) -> Result<Summary> {
        let now = self.backup.created_at;
        let plan = stream::Plan {
            name: stream.filename.as_bytes(),
            mtime: (now.as_second(), now.subsec_nanosecond().unsigned_abs()),
            owner: (
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
            ),
            comment: &Birth::of(self.backup, PROGRAM.name).to_comment()?,
            level: self.settings.level,
            jobs: self.settings.jobs,
        };
        let (archive, watch) = (guard.file, self.watch);
        let Some(words) = &stream.command else {
            let stdin = std::io::stdin().as_fd().try_clone_to_owned();
            let is_stopped = || watch.is_stopped();
            let mut input = Input::new(stdin?, &is_stopped);
            let written = stream::write(&plan, &mut input, guard, archive, watch);
            return written.with_context(|| self.cannot());
        };
        command::run(words, watch, |input| {
            let written = stream::write(&plan, input, guard, archive, watch);
            written.with_context(|| self.cannot())
        })
    }
}
