//! What went wrong with single places of the source while the rest was backed up.
//!
//! Knows no terminal and no record: whoever asked for the archive tells people and keeps a list.

use std::path::PathBuf;

/// One place of the source that is not, or not wholly, in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub path: PathBuf,
    /// What happened.
    pub kind: ProblemKind,
    /// Why, for people.
    pub reason: String,
}

/// What happened to a place of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// It, or one of its attributes, could not be read.
    Unreadable,
    /// It became shorter while it was read: the rest is zeros in the archive.
    Shrank,
    /// It was exchanged for something else between the walk and its opening; not in the archive.
    Replaced,
    /// It became longer while it was read: the archive has what the header says.
    Grew,
    /// It was written to while it was read.
    Changed,
    /// It was removed before it could be read.
    Vanished,
    /// Nothing came through a pipe.
    Empty,
    /// A socket, which no archive can hold.
    Socket,
}

impl ProblemKind {
    /// The name that it has in a record's metadata.
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

    /// Whether the archive lacks something, or holds wrong bytes of something, that was there
    /// all the time.
    #[must_use]
    pub fn is_loss(self) -> bool {
        matches!(self, Self::Unreadable | Self::Shrank | Self::Replaced)
    }
}
