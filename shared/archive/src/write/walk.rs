//! Walks the source tree in the fixed order of an archive: by name, parents first.
//!
//! Applies the filter. Reads the content of no file.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::format::decode::NAME_MAX_BYTES;
use crate::restore::names::DEPTH_MAX;
use crate::write::content::extents;
use crate::write::filter::Filter;
use crate::write::place::{Listing, Lstat, Place, above, below, names_in};
use crate::write::problem::{Problem, ProblemKind};

/// The limit of open directories; parents beyond it are reopened on the way back up.
const OPEN_MAX: usize = 64;
/// Attempts to open a path that keeps being replaced.
const ATTEMPTS_MAX: usize = 8;

/// A path to back up, and its name in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// The relative name in the archive; `.` for the directory that names are relative to.
    pub name: PathBuf,
}

/// A path that the walk found.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// Its name in the archive.
    pub name: PathBuf,
    /// The result of lstat(2).
    pub status: Lstat,
    /// The open directory, if it is one that the walk enters.
    pub(crate) dir: Option<Arc<File>>,
    /// How its directory is found again; `None` for a source itself.
    way: Option<Way>,
}

/// The way to a directory from the source that it is below.
#[derive(Debug)]
struct Way {
    source: Arc<File>,
    /// The length of the path of the source.
    source_bytes: usize,
    id: (u64, u64),
}

/// The directory that was found again last.
pub(crate) type Reopened = Option<((u64, u64), Arc<File>)>;

impl Found {
    /// Closes the directory that it is in.
    pub(crate) fn close(&mut self) {
        if self.way.is_some() {
            self.place = Place::from_path(&self.place.path);
        }
    }

    /// Opens the directory that it is in, where that was closed.
    ///
    /// # Errors
    /// It is no longer where it was.
    pub(crate) fn reopen(&mut self, last: &mut Reopened) -> Result<(), Problem> {
        let Some(way) = self.way.as_ref().filter(|_| !self.place.is_within()) else {
            return Ok(());
        };
        let path = self.place.path.as_os_str().as_bytes();
        let name = self.place.path.file_name().unwrap_or_default();
        let name_at = path.len() - name.len();
        let dir = match last.take().filter(|(id, _)| *id == way.id) {
            Some((_, dir)) => Some(dir),
            None => below(&way.source, &path[way.source_bytes..name_at], way.id),
        };
        let dir = dir.ok_or_else(|| {
            let reason = "it was moved while it was read";
            Problem::new(&self.place.path, ProblemKind::Unreadable, reason)
        })?;
        self.place = Place::within(&dir, self.place.path.clone(), name_at);
        *last = Some((way.id, dir));
        Ok(())
    }

    /// The bytes of data in a file, without holes. If it uses less disk space than its size, its
    /// extents are read: some file systems report no usage, or that after compression.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        let status = &self.status;
        if status.disk_bytes() >= status.size() {
            return status.size();
        }
        let extents = self.place.open().map(|file| extents(&file, status));
        match extents {
            Ok(Some(extents)) => extents.iter().map(|extent| extent.length).sum(),
            Ok(None) => status.size(),
            // The backup will report it.
            Err(_) => 0,
        }
    }
}

/// Walks one source. Problems with single paths are items and do not end the walk.
pub fn walk<'a>(
    source: &'a Source,
    filter: &'a Filter,
) -> impl Iterator<Item = Result<Found, Problem>> + 'a {
    walk_part(source, filter, 0, 1)
}

/// Walks one of several parts of a source, for threads that share it and need no order. All parts
/// together have what [`walk`] has, but the source itself comes in each of them.
pub fn walk_part<'a>(
    source: &'a Source,
    filter: &'a Filter,
    part: usize,
    parts: usize,
) -> impl Iterator<Item = Result<Found, Problem>> + 'a {
    Walk {
        filter,
        part,
        parts,
        device: None,
        is_begun: false,
        source_depth: slashes(source.name.as_os_str().as_bytes()),
        path: source.path.as_os_str().as_bytes().to_owned(),
        name: source.name.as_os_str().as_bytes().to_owned(),
        levels: Vec::new(),
        lost: None,
    }
}

struct Walk<'a> {
    filter: &'a Filter,
    /// Of what is in the source itself, every so many-th name from this one on is walked.
    part: usize,
    parts: usize,
    device: Option<u64>,
    is_begun: bool,
    /// The slashes in the name of the source.
    source_depth: usize,
    /// Path and name of the current directory, at first of the source.
    path: Vec<u8>,
    name: Vec<u8>,
    /// The directories from the source down.
    levels: Vec<Level<'a>>,
    /// The problem to report next: a directory could not be listed to its end.
    lost: Option<Problem>,
}

/// A directory that is being read.
struct Level<'a> {
    /// `None` while too many directories below it are open.
    dir: Option<Arc<File>>,
    id: (u64, u64),
    /// The remaining names.
    names: Listing,
    /// They are what marks it: nothing else in it is stored, nor is what is in them.
    is_marked: bool,
    /// The archives of bk in it.
    own_files: Option<&'a HashSet<OsString>>,
    path_bytes: usize,
    name_bytes: usize,
}

impl Iterator for Walk<'_> {
    type Item = Result<Found, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.is_begun {
            self.is_begun = true;
            let place = Place::from_path(Path::new(OsStr::from_bytes(&self.path)));
            return self.visit(place, false);
        }
        loop {
            if let Some(lost) = self.lost.take() {
                return Some(Err(lost));
            }
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_bytes);
            self.name.truncate(level.name_bytes);
            let Some((dir, name)) = level.dir.as_ref().zip(level.names.next()) else {
                self.go_up();
                continue;
            };
            let own = level.own_files;
            if own.is_some_and(|own| own.contains(OsStr::from_bytes(name))) {
                continue;
            }
            push(&mut self.path, name);
            push(&mut self.name, name);
            let name_at = self.path.len() - name.len();
            let place = Place::within(dir, path_of(&self.path), name_at);
            if let Some(item) = self.visit(place, true) {
                return Some(item);
            }
        }
    }
}

impl Walk<'_> {
    /// Visits one path; `None` if it is left out.
    fn visit(&mut self, place: Place, is_below: bool) -> Option<Result<Found, Problem>> {
        let depth = self.source_depth + self.levels.len();
        if self.name.len() > NAME_MAX_BYTES || depth >= DEPTH_MAX {
            let reason =
                format!("its name has more than {NAME_MAX_BYTES} bytes or {DEPTH_MAX} parts");
            let kind = ProblemKind::Unreadable;
            return Some(Err(Problem::new(&place.path, kind, reason)));
        }
        let way = self.levels.first().zip(self.levels.last());
        let way = way.and_then(|(source, level)| {
            Some(Way {
                source: source.dir.clone()?,
                source_bytes: source.path_bytes,
                id: level.id,
            })
        });
        let mut attempts = 0;
        let (status, dir) = loop {
            attempts += 1;
            let status = match place.status() {
                Ok(status) => status,
                Err(error) => return Some(Err(Problem::of(&place.path, &error))),
            };
            let is_dir = status.is_dir();
            let is_left_out = is_below && self.filter.leaves_out(&self.name, &status);
            if is_left_out || is_dir && self.filter.own.contains(&status.id()) {
                return None;
            }
            let is_marker = self.levels.last().is_some_and(|level| level.is_marked);
            if !is_dir || is_marker || self.is_other_fs(&status) {
                break (status, None);
            }
            match place.open_dir().and_then(|dir| Ok((Lstat::of(&dir)?, dir))) {
                // The status of what was opened: opening may have mounted something.
                Ok((status, _)) if self.filter.own.contains(&status.id()) => return None,
                Ok((status, dir)) => break (status, Some(Arc::new(dir))),
                Err(error) => match Errno::from_io_error(&error) {
                    // It has just been replaced.
                    Some(Errno::NOTDIR | Errno::LOOP) if attempts < ATTEMPTS_MAX => {}
                    Some(Errno::NOENT) => return Some(Err(Problem::of(&place.path, &error))),
                    _ => {
                        self.lost = Some(Problem::of(&place.path, &error));
                        break (status, None);
                    }
                },
            }
        };
        if let Some(dir) = &dir {
            self.go_into(dir, &status);
        }
        let name = path_of(&self.name);
        Some(Ok(Found {
            place,
            name,
            status,
            dir,
            way,
        }))
    }

    /// A mount point is stored as an empty directory, as in tar.
    fn is_other_fs(&mut self, status: &Lstat) -> bool {
        let device = *self.device.get_or_insert(status.id().0);
        self.filter.one_file_system && status.id().0 != device
    }

    fn go_into(&mut self, dir: &Arc<File>, status: &Lstat) {
        let (mut names, error) = names_in(dir);
        let is_marked = self.filter.keep_markers(dir, &mut names);
        if self.levels.is_empty() {
            names.keep_part(self.part, self.parts);
        }
        self.lost = error.map(|error| Problem::of(&path_of(&self.path), &error));
        self.levels.push(Level {
            dir: Some(dir.clone()),
            id: status.id(),
            names,
            is_marked,
            own_files: self.filter.own_files.get(&status.id()),
            path_bytes: self.path.len(),
            name_bytes: self.name.len(),
        });
        // The source itself stays open.
        if let Some(at) = self.levels.len().checked_sub(OPEN_MAX).filter(|at| *at > 0) {
            self.levels[at].dir = None;
        }
    }

    /// Leaves a directory, and reopens its parent if that was closed.
    fn go_up(&mut self) {
        let left = self.levels.pop();
        let (Some(left), Some(level)) = (left, self.levels.last()) else {
            return;
        };
        if level.dir.is_some() {
            return;
        }
        let by_parent = left
            .dir
            .and_then(|left| above(&left, level.id).map(Arc::new));
        let reopened = by_parent.or_else(|| {
            let source = self.levels.first()?;
            let way = &self.path[source.path_bytes..level.path_bytes];
            below(source.dir.as_ref()?, way, level.id)
        });
        let path_bytes = level.path_bytes;
        if let (Some(dir), Some(level)) = (reopened, self.levels.last_mut()) {
            level.dir = Some(dir);
        } else {
            let path = path_of(&self.path[..path_bytes]);
            let reason = "it was moved while it was read";
            self.lost = Some(Problem::new(&path, ProblemKind::Unreadable, reason));
        }
    }
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if path.last().is_some_and(|last| *last != b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn slashes(name: &[u8]) -> usize {
    name.iter().filter(|byte| **byte == b'/').count()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_owned()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use bk_schema::excludes::Excludes;

    use super::*;

    fn names(dir: &Path, filter: &Filter) -> Vec<String> {
        let source = Source {
            path: dir.to_owned(),
            name: "s".into(),
        };
        walk(&source, filter)
            .map(|found| found.unwrap().name.to_str().unwrap().to_owned())
            .collect()
    }

    fn excluding(globs: &[&str]) -> Filter {
        let excludes = Excludes {
            globs: globs.iter().map(ToString::to_string).collect(),
            ..Excludes::default()
        };
        Filter::new(&excludes).unwrap()
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn the_order_is_by_name_with_parents_first() {
        let dir = tree(&["b/a", "b.c", "a/z", "B"]);
        assert_eq!(
            names(dir.path(), &Filter::default()),
            ["s", "s/B", "s/a", "s/a/z", "s/b", "s/b/a", "s/b.c"]
        );
    }

    #[test]
    fn globs_match_a_name_anywhere_or_a_whole_path() {
        let dir = tree(&["a.o", "d/b.o", "d/keep", "t/x", "u/t/y", "u/v/w"]);
        let filter = excluding(&["*.o", "s/t", "/s/u/**/w"]);
        assert_eq!(
            names(dir.path(), &filter),
            ["s", "s/d", "s/d/keep", "s/u", "s/u/t", "s/u/t/y", "s/u/v"]
        );
    }

    #[test]
    fn globs_match_below_the_source_dot_and_never_a_source_itself() {
        let dir = tree(&["a.o", "t/x"]);
        let filter = excluding(&["t/x", "s"]);
        let source = Source {
            path: dir.path().to_owned(),
            name: ".".into(),
        };
        let found: Vec<_> = walk(&source, &filter)
            .map(|found| found.unwrap().name)
            .collect();
        assert_eq!(found, [".", "./a.o", "./t"].map(PathBuf::from));
        assert_eq!(names(dir.path(), &filter), ["s", "s/a.o", "s/t", "s/t/x"]);
    }

    #[test]
    fn a_source_within_another_is_walked_by_itself() {
        let dir = tree(&["in/x", "y"]);
        let mut filter = Filter::default();
        filter.other_sources = ["s".into(), "s/in".into()].into();
        assert_eq!(names(dir.path(), &filter), ["s", "s/y"]);
    }

    #[test]
    fn of_marked_directories_the_marks_stay_and_own_directories_do_not() {
        let dir = tree(&[
            "cache/x",
            "cache/.no",
            "no-cache/CACHEDIR.TAG",
            "own/y",
            "m/.no/in/z",
            "m/a",
            "z",
        ]);
        let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
        std::fs::write(dir.path().join("cache/CACHEDIR.TAG"), tag).unwrap();
        let own = std::fs::metadata(dir.path().join("own")).unwrap();
        let excludes = Excludes {
            caches: true,
            if_present: vec![".no".into(), "none".into()],
            ..Excludes::default()
        };
        let mut filter = Filter::new(&excludes).unwrap();
        filter.own = [(own.dev(), own.ino())].into();
        assert_eq!(
            names(dir.path(), &filter),
            [
                "s",
                "s/cache",
                "s/cache/.no",
                "s/cache/CACHEDIR.TAG",
                "s/m",
                "s/m/.no",
                "s/no-cache",
                "s/no-cache/CACHEDIR.TAG",
                "s/z"
            ]
        );
        assert!(filter.unmatched_markers().eq(["none"]));
    }

    #[test]
    fn a_missing_source_is_an_item_that_names_it() {
        let source = Source {
            path: "/nonexistent/x".into(),
            name: "x".into(),
        };
        let found: Vec<_> = walk(&source, &Filter::default()).collect();
        let [Err(problem)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (problem.path.to_str().unwrap(), problem.kind),
            ("/nonexistent/x", ProblemKind::Vanished)
        );
    }
}
