//! What is inside a backup: the entries that have come so far, those that match the typed text, and
//! the cursor among them.
//!
//! Knows no screen, no keys and no archive.

use bk_schema::visible::visible;
use jiff::Timestamp;

use crate::filter::{Filter, Searched};
use crate::list::List;
use bk_cli::text::wrap;

/// The columns of one step sideways, and their limit.
const SIDESTEP: usize = 16;
const SIDE_MAX: usize = 4096;

/// The lines of the screen that a problem may take.
const NOTICE_LINES: usize = 3;

/// The name of an entry, as a line of output has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) path: Box<str>,
    /// Only if it is not UTF-8.
    pub(crate) base64: Option<Box<str>>,
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) mtime: Option<Timestamp>,
    pub(crate) link: Option<Box<str>>,
}

/// What an entry is, as far as the list tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Other,
}

/// Whether the listing is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    UnderWay,
    Cut,
    Done,
}

/// The listing.
#[derive(Debug)]
pub(crate) struct Files {
    /// The index of the backup.
    pub(crate) of: usize,
    pub(crate) entries: Vec<Entry>,
    pub(crate) list: List,
    pub(crate) progress: Progress,
    /// What bk-ls reported.
    problems: Vec<String>,
    /// The first column of the names on the screen.
    pub(crate) left: usize,
}

impl Entry {
    /// The memory that it takes, with its place among those shown.
    pub(crate) fn cost_bytes(&self) -> usize {
        let texts = [&self.name.base64, &self.link];
        let texts: usize = texts.into_iter().flatten().map(|it| it.len()).sum();
        size_of::<Self>() + size_of::<usize>() + self.name.path.len() + texts
    }

    /// Its name for the screen, with what it leads to.
    pub(crate) fn shown(&self) -> String {
        let mut text = visible(&self.name.path);
        if self.kind == Kind::Directory {
            text.push('/');
        }
        if let Some(link) = &self.link {
            text.push_str(" -> ");
            text.push_str(&visible(link));
        }
        text
    }
}

impl Searched for Entry {
    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.name.path)
    }
}

impl Files {
    /// A listing that has just begun.
    pub(crate) fn new(of: usize) -> Self {
        Self {
            of,
            entries: Vec::new(),
            list: List::default(),
            progress: Progress::UnderWay,
            problems: Vec::new(),
            left: 0,
        }
    }

    /// The entry under the cursor, with its index.
    pub(crate) fn current(&self) -> Option<(usize, &Entry)> {
        let at = self.list.current()?;
        Some((at, self.entries.get(at)?))
    }

    pub(crate) fn add(&mut self, more: Vec<Entry>, filter: &mut Filter) {
        let first = self.entries.len();
        self.entries.extend(more);
        self.list.add_from(first, filter, &self.entries);
    }

    pub(crate) fn end(&mut self, problems: Vec<String>) {
        self.progress = Progress::Done;
        self.problems = problems;
    }

    /// The first problem, in lines of this width.
    pub(crate) fn notice(&self, width: usize) -> Vec<String> {
        let Some(first) = self.problems.first() else {
            return Vec::new();
        };
        let more = match self.problems.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let mut lines = wrap(&format!("{}{more}", visible(first)), width);
        lines.truncate(NOTICE_LINES);
        lines
    }

    pub(crate) fn scroll_left(&mut self) {
        self.left = self.left.saturating_sub(SIDESTEP);
    }

    pub(crate) fn scroll_right(&mut self) {
        self.left = (self.left + SIDESTEP).min(SIDE_MAX);
    }
}
