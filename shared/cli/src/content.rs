//! The flags that say what goes into an archive, which bk-create has, and bk-auto for its jobs.
//!
//! Knows no file and no glob.

use crate::flags::{Flag, option, switch};

/// A list of what goes in.
pub const FILES_FROM: Flag = option("files-from", "FILE", "also back up the paths in FILE");
/// How the list is read.
pub const NULL: Flag = switch("null", "the paths in FILE end with NUL, not with lines").short('0');
/// What is left out.
pub const EXCLUDE: Flag = option(
    "exclude",
    "GLOB",
    "leave out a name, or with a slash a path",
);
/// A list of what is left out.
pub const EXCLUDE_FROM: Flag = option(
    "exclude-from",
    "FILE",
    "leave out what the lines of FILE match",
);
/// How these match.
pub const IGNORE_CASE_EXCLUDES: Flag = switch(
    "ignore-case-excludes",
    "let these globs match upper and lower case alike",
);
/// Directories that are marked as caches.
pub const EXCLUDE_CACHES: Flag = switch("exclude-caches", "leave out what a CACHEDIR.TAG marks");
/// Directories that are marked otherwise.
pub const EXCLUDE_IF_PRESENT: Flag = option(
    "exclude-if-present",
    "FILE",
    "leave out what is beside an entry of this name",
);
/// Large files.
pub const EXCLUDE_LARGER: Flag =
    option("exclude-larger", "SIZE", "leave out files larger than SIZE");
/// Other file systems.
pub const ONE_FILE_SYSTEM: Flag = switch("one-file-system", "stay on the file system of each PATH");
/// When a backup is so small that somebody should look at it.
pub const SHRINK_WARN: Flag = option(
    "shrink-warn",
    "PERCENT",
    "warn where the content shrank by more (50%; 0: never)",
);
/// Files that come from commands.
pub const COMMAND: Flag = option(
    "command",
    "NAME=CMD",
    "also back up what sh -c CMD prints, as the file NAME",
);

/// Those of what is left out.
pub const EXCLUDES: [Flag; 7] = [
    EXCLUDE,
    EXCLUDE_FROM,
    IGNORE_CASE_EXCLUDES,
    EXCLUDE_CACHES,
    EXCLUDE_IF_PRESENT,
    EXCLUDE_LARGER,
    ONE_FILE_SYSTEM,
];
