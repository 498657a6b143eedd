//! Problems with single source paths that do not stop the backup.
//!
//! Knows no terminal and no record: the caller prints and stores them.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A source path that is not, or not completely, in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path.
    pub path: PathBuf,
    /// What happened.
    pub kind: ProblemKind,
    /// Why, for people.
    pub reason: String,
}

impl Problem {
    pub(crate) fn new(path: &Path, kind: ProblemKind, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            reason: reason.into(),
        }
    }

    /// The problem for an error when opening a path.
    pub(crate) fn of(path: &Path, error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::NOTDIR) => Self::new(
                path,
                ProblemKind::Vanished,
                "it vanished before it was read",
            ),
            // O_NOFOLLOW met a symbolic link, or O_NONBLOCK a socket or device.
            Some(Errno::LOOP | Errno::NXIO) => Self::replaced(path),
            _ => Self::new(path, ProblemKind::Unreadable, error.to_string()),
        }
    }

    pub(crate) fn replaced(path: &Path) -> Self {
        let reason = "it was replaced by something else";
        Self::new(path, ProblemKind::Replaced, reason)
    }
}

/// The kind of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// It, or one of its attributes, could not be read.
    Unreadable,
    /// It became shorter while it was read: the rest is zeros in the archive.
    Shrank,
    /// It was replaced by something else before it was opened; not in the archive.
    Replaced,
    /// It became longer while it was read: the archive has its original length.
    Grew,
    /// It was written to while it was read.
    Changed,
    /// It was removed before it could be read.
    Vanished,
    /// Standard input was empty.
    Empty,
    /// A socket, which tar cannot store.
    Socket,
}

impl ProblemKind {
    /// Its name in the metadata of a record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Shrank => "shrank",
            Self::Replaced => "replaced",
            Self::Grew => "grew",
            Self::Changed => "changed",
            Self::Vanished => "vanished",
            Self::Empty => "empty",
            Self::Socket => "socket",
        }
    }

    /// Whether something that existed all the time is missing or wrong in the archive.
    #[must_use]
    pub fn is_loss(self) -> bool {
        matches!(self, Self::Unreadable | Self::Shrank | Self::Replaced)
    }
}
