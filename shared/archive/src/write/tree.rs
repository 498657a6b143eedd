//! Reads the sources into members, trees and streams: what the parent has unchanged is taken over from
//! there.
//!
//! Knows no thread and nothing of compression.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Error, Result, bail};
use bk_schema::manifest::{EntryType, Segment};
use rustix::fs::FileType;

use crate::format::entry::Kind;
use crate::write::content::Content;
use crate::write::filter::Filter;
use crate::write::members::{Earlier, Members, Read};
use crate::write::observer::{Observer, check_stop};
use crate::write::parent::{Merge, Met};
use crate::write::place::Lstat;
use crate::write::problem::{Problem, ProblemKind};
use crate::write::source::{Opened, Opener};
use crate::write::stream::{self, Stream};
use crate::write::walk::{Found, Source, walk};

/// What was read of the sources.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) file_count: u64,
    pub(crate) content_bytes: u64,
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

/// What has entries in the archive.
pub(crate) enum Item<'a> {
    Tree(&'a Source),
    Stream(&'a Stream<'a>),
}

impl Item<'_> {
    pub(crate) fn name(&self) -> &Path {
        match self {
            Self::Tree(source) => &source.name,
            Self::Stream(stream) => &stream.name,
        }
    }
}

/// Reads all of them, which are in the order of the archive.
pub(crate) fn read(
    items: &[Item<'_>],
    filter: &Filter,
    merge: Option<Merge<'_>>,
    members: &mut Members,
    observer: &dyn Observer,
) -> Result<Tally> {
    let mut reading = Reading {
        members,
        opener: Opener::new(),
        merge,
        tally: Tally::default(),
        told_last: None,
        observer,
    };
    for (number, item) in items.iter().enumerate() {
        let source = match item {
            Item::Tree(source) => source,
            Item::Stream(stream) => {
                reading.stream(number, stream)?;
                continue;
            }
        };
        for found in walk(source, filter) {
            check_stop(observer)?;
            match found {
                Ok(found) => reading.found(number, found)?,
                Err(problem) => reading.lost(problem),
            }
        }
    }
    reading.settle(None)?;
    reading.tally.check()?;
    Ok(reading.tally)
}

struct Reading<'a> {
    members: &'a mut Members,
    opener: Opener,
    merge: Option<Merge<'a>>,
    tally: Tally,
    told_last: Option<(std::path::PathBuf, ProblemKind)>,
    observer: &'a dyn Observer,
}

impl Reading<'_> {
    fn lost(&mut self, problem: Problem) {
        // A directory that vanished was told already; now it cannot be listed.
        if self.told_last != Some((problem.path.clone(), problem.kind)) {
            self.tally.lose(&problem);
            self.observer.problem(problem);
        }
    }

    fn stream(&mut self, number: usize, stream: &Stream<'_>) -> Result<()> {
        self.settle(None)?;
        let name = stream.name.as_os_str().as_bytes();
        let met = self.merge.as_mut().map(|it| it.stream(number, name));
        let archived = match met.transpose() {
            Ok(met) => met.flatten(),
            Err(error) => {
                self.lose_parent(&error);
                None
            }
        };
        let pieces = archived.map(|it| Arc::new(it.pieces()));
        let bytes = stream::add(stream, pieces, self.members, self.observer)?;
        self.tally.file_count += 1;
        self.tally.kept_count += 1;
        self.tally.content_bytes += bytes;
        Ok(())
    }

    fn lose_parent(&mut self, error: &Error) {
        self.observer.parent_lost(&format!("{error:#}"));
        self.merge = None;
    }

    fn found(&mut self, source: usize, found: Found) -> Result<()> {
        if found.status.kind() == FileType::Socket {
            // No entry, so it parts no segment.
            return self.add(&found, None);
        }
        self.settle(Some(&found))?;
        match self.meet(source, &found)? {
            Met::Same => {
                self.opener.store(&found);
                if let Some(merge) = &mut self.merge {
                    merge.hold(found);
                }
                Ok(())
            }
            Met::SameLarge(archived) => self.add(&found, Some(Earlier::Same(archived))),
            Met::OtherLarge(archived) => {
                let pieces = Arc::new(archived.pieces());
                self.add(&found, Some(Earlier::Other(pieces)))
            }
            Met::Nothing => self.add(&found, None),
        }
    }

    /// What the parent has of it. What was held before something else comes is read after all.
    fn meet(&mut self, source: usize, found: &Found) -> Result<Met> {
        loop {
            let Some(merge) = &mut self.merge else {
                return Ok(Met::Nothing);
            };
            let is_at_cut = self.members.is_at_cut();
            match merge.meet(source, found, is_at_cut, &self.opener) {
                Ok(Met::Nothing) if merge.holds_any() => self.read_held()?,
                Ok(met @ (Met::SameLarge(_) | Met::OtherLarge(_))) => {
                    self.read_held()?;
                    return Ok(met);
                }
                Ok(met) => return Ok(met),
                Err(error) => {
                    self.read_held()?;
                    self.lose_parent(&error);
                }
            }
        }
    }

    /// Takes the segment over that is held whole, if it ends here in any archive: by itself, or as a
    /// large file or nothing is next.
    fn settle(&mut self, next: Option<&Found>) -> Result<()> {
        let Some(merge) = &mut self.merge else {
            return Ok(());
        };
        let is_end = || next.is_none_or(|next| self.opener.is_large(next));
        match merge.complete().map(|segment| segment.ends_itself) {
            Some(ends_itself) if ends_itself || is_end() => {}
            // Others may follow in the same member.
            Some(_) => return self.read_held(),
            None if next.is_none() => return self.read_held(),
            None => return Ok(()),
        }
        let Some((taken, mut segment)) = merge.take() else {
            self.read_held()?;
            return Ok(());
        };
        for (entry, found) in segment.entries.iter_mut().zip(merge.release()) {
            entry.source = Some(found.status.source());
        }
        self.count(&segment);
        self.members.take(taken, segment)
    }

    fn count(&mut self, segment: &Segment) {
        for entry in &segment.entries {
            if entry.entry_type != EntryType::Directory {
                self.tally.file_count += 1;
                self.observer.read_file();
            }
            self.tally.kept_count += u64::from(entry.entry_type == EntryType::File);
            self.tally.content_bytes += entry.data_bytes;
            self.observer.read_bytes(entry.data_bytes);
        }
    }

    /// Reads what is held as if there was no parent.
    fn read_held(&mut self) -> Result<()> {
        let held = self.merge.as_mut().map(Merge::release);
        let held = held.unwrap_or_default();
        held.iter().for_each(|found| self.opener.forget(found));
        let mut dir = None;
        held.into_iter()
            .try_for_each(|mut found| match found.reopen(&mut dir) {
                Ok(()) => self.add(&found, None),
                Err(problem) => {
                    self.lost(problem);
                    Ok(())
                }
            })
    }

    fn add(&mut self, found: &Found, earlier: Option<Earlier>) -> Result<()> {
        let (mut noted, told_last) = (None, &mut self.told_last);
        let observer = self.observer;
        let mut report = |problem: Problem| {
            *told_last = Some((problem.path.clone(), problem.kind));
            noted = Some(problem.kind);
            observer.problem(problem);
        };
        match self.opener.open(found, &mut report) {
            Ok(opened) => self.add_opened(found, &opened, noted, earlier),
            Err(problem) => {
                self.tally.lose(&problem);
                report(problem);
                Ok(())
            }
        }
    }

    /// `noted` is what went wrong with it before its content was read.
    fn add_opened(
        &mut self,
        found: &Found,
        opened: &Opened,
        noted: Option<ProblemKind>,
        earlier: Option<Earlier>,
    ) -> Result<()> {
        // What changed between the look and the opening is another file.
        let earlier = match earlier {
            Some(Earlier::Same(archived)) if opened.source != found.status.source() => {
                Some(Earlier::Other(Arc::new(archived.pieces())))
            }
            earlier => earlier,
        };
        let (entry, content) = (&opened.entry, opened.content.as_ref());
        let observer = self.observer;
        let mut change = None;
        let read_bytes = |bytes| {
            observer.read_bytes(bytes);
            check_stop(observer)
        };
        let (read, bytes) = self
            .members
            .entry(entry, content, earlier, read_bytes, |outcome| {
                change = content.and_then(|content| what_happened(&outcome.0, content, opened));
                let problem = change.as_ref().map(|(kind, _)| *kind).or(noted);
                let problem = problem.map(|kind| kind.name().to_owned());
                entry.to_manifest(Some(opened.source), problem)
            })?;
        if entry.kind != Kind::Directory {
            self.tally.file_count += 1;
            observer.read_file();
        }
        self.tally.content_bytes += entry.data_bytes();
        if content.is_none() {
            return Ok(());
        }
        let is_kept = read == Read::Whole || bytes > 0;
        self.tally.kept_count += u64::from(is_kept);
        if let Some((kind, reason)) = change {
            let problem = Problem::new(&found.place.path, kind, reason);
            if !is_kept {
                self.tally.lose(&problem);
            }
            observer.problem(problem);
        }
        Ok(())
    }
}

/// What went wrong while a file was read.
fn what_happened(read: &Read, content: &Content, opened: &Opened) -> Option<(ProblemKind, String)> {
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
