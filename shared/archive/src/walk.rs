//! The source tree in the one fixed order of an archive: by name, parents first.
//!
//! Knows what is to be left out and why; reads no file's content but that of CACHEDIR.TAG.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use walkdir::WalkDir;

/// What a cache directory's tag begins with (<https://bford.info/cachedir/>).
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// One thing to back up: where it is, and its name in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in the archive, relative; `.` for the directory that the names are relative to.
    pub name: PathBuf,
}

/// What is left out.
#[derive(Debug, Default)]
pub struct Filter {
    excludes: Excludes,
    /// Leave out what is in directories with a CACHEDIR.TAG.
    pub caches: bool,
    /// Do not go into other file systems.
    pub one_file_system: bool,
    /// Directories that are left out whole, by device and inode: bk's own.
    pub own: HashSet<(u64, u64)>,
    /// Names of all sources: one that lies within another is left out there and walked by
    /// itself, so that nothing is stored twice.
    pub apart: HashSet<PathBuf>,
}

/// Globs as people write them: without a slash for a name anywhere, with one for a whole path.
#[derive(Debug, Default)]
struct Excludes {
    names: GlobSet,
    paths: GlobSet,
}

/// Something that the walk came by.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in the archive.
    pub name: PathBuf,
    /// As lstat told it.
    pub metadata: Metadata,
}

/// A place that could not be looked at.
#[derive(Debug)]
pub struct Unreadable {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

impl Filter {
    /// Leaves out what matches one of the globs.
    ///
    /// # Errors
    /// The glob that is malformed.
    pub fn exclude<'a>(&mut self, globs: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for glob in globs {
            let text = glob.trim_matches('/');
            let built = GlobBuilder::new(text).literal_separator(true).build();
            let built = built.with_context(|| format!("'{}' is no glob", glob.escape_debug()))?;
            let set = if glob.trim_end_matches('/').contains('/') {
                &mut paths
            } else {
                &mut names
            };
            set.add(built);
        }
        self.excludes = Excludes {
            names: names.build()?,
            paths: paths.build()?,
        };
        Ok(())
    }

    /// Whether what was found below a source is left out. A source itself was asked for.
    fn leaves_out(&self, name: &Path) -> bool {
        // Globs are meant for what is stored under the source `.`, not for its dot.
        let name = name.strip_prefix(".").unwrap_or(name);
        self.apart.contains(name)
            || self.excludes.paths.is_match(name)
            || name
                .file_name()
                .is_some_and(|last| self.excludes.names.is_match(last))
    }

    fn is_own(&self, metadata: &Metadata) -> bool {
        self.own.contains(&(metadata.dev(), metadata.ino()))
    }
}

/// Walks one source. Errors of single places come as items and do not end the walk.
pub fn walk<'a>(
    source: &'a Source,
    filter: &'a Filter,
) -> impl Iterator<Item = Result<Found, Unreadable>> + 'a {
    Walk {
        source,
        filter,
        device: None,
        is_begun: false,
        listings: Vec::new(),
    }
}

/// WalkDir lists one directory at a time and no more: it would go down by what a listing told
/// of an entry long before that is looked at.
struct Walk<'a> {
    source: &'a Source,
    filter: &'a Filter,
    device: Option<u64>,
    is_begun: bool,
    /// The directories from the source down, each with what is still to come of it.
    listings: Vec<(PathBuf, walkdir::IntoIter)>,
}

impl Iterator for Walk<'_> {
    type Item = Result<Found, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.is_begun {
            self.is_begun = true;
            return self.visit(self.source.path.clone());
        }
        loop {
            let (dir, listing) = self.listings.last_mut()?;
            match listing.next() {
                None => {
                    self.listings.pop();
                }
                Some(Err(error)) => return Some(Err(unreadable(error, dir))),
                Some(Ok(entry)) => {
                    if let Some(item) = self.visit(entry.into_path()) {
                        return Some(item);
                    }
                }
            }
        }
    }
}

impl Walk<'_> {
    /// Looks at one place; `None` where it is left out.
    fn visit(&mut self, path: PathBuf) -> Option<Result<Found, Unreadable>> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) => return Some(Err(Unreadable { path, error })),
        };
        let name = self.name(&path);
        let is_below = name != self.source.name;
        if self.filter.is_own(&metadata) || (is_below && self.filter.leaves_out(&name)) {
            return None;
        }
        let device = *self.device.get_or_insert(metadata.dev());
        // A mount point and a cache stay as empty directories, as with tar.
        let is_other_fs = self.filter.one_file_system && metadata.dev() != device;
        let is_empty = || is_other_fs || (self.filter.caches && is_cache(&path));
        if metadata.is_dir() && !is_empty() {
            let listing = WalkDir::new(&path)
                .min_depth(1)
                .max_depth(1)
                .follow_root_links(false)
                .sort_by_file_name();
            self.listings.push((path.clone(), listing.into_iter()));
        }
        Some(Ok(Found {
            path,
            name,
            metadata,
        }))
    }

    fn name(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix(&self.source.path);
        match below.unwrap_or(Path::new("")) {
            below if below.as_os_str().is_empty() => self.source.name.clone(),
            below => self.source.name.join(below),
        }
    }
}

/// A directory of which the rest cannot be listed.
fn unreadable(error: walkdir::Error, dir: &Path) -> Unreadable {
    let plain = error.into_io_error();
    Unreadable {
        path: dir.to_owned(),
        error: plain.unwrap_or_else(|| io::Error::other("it cannot be listed")),
    }
}

fn is_cache(dir: &Path) -> bool {
    let tag = dir.join("CACHEDIR.TAG");
    if !tag
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_file())
    {
        return false;
    }
    let mut begin = Vec::new();
    let read = std::fs::File::open(tag).and_then(|file| {
        file.take(CACHE_SIGNATURE.len() as u64)
            .read_to_end(&mut begin)
    });
    read.is_ok() && begin == CACHE_SIGNATURE
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
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
        let mut filter = Filter::default();
        filter.exclude(["*.o", "s/t", "/s/u/**/w"]).unwrap();
        assert_eq!(
            names(dir.path(), &filter),
            ["s", "s/d", "s/d/keep", "s/u", "s/u/t", "s/u/t/y", "s/u/v"]
        );
        assert!(filter.exclude(["a[b"]).is_err());
    }

    #[test]
    fn globs_match_below_the_source_dot_and_never_a_source_itself() {
        let dir = tree(&["a.o", "t/x"]);
        let mut filter = Filter::default();
        filter.exclude(["t/x", "s"]).unwrap();
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
        let filter = Filter {
            apart: ["s".into(), "s/in".into()].into(),
            ..Filter::default()
        };
        assert_eq!(names(dir.path(), &filter), ["s", "s/y"]);
    }

    #[test]
    fn caches_stay_as_empty_directories_and_own_directories_do_not_stay() {
        let dir = tree(&["cache/x", "own/y", "z"]);
        std::fs::write(
            dir.path().join("cache/CACHEDIR.TAG"),
            [CACHE_SIGNATURE, b"\n"].concat(),
        )
        .unwrap();
        let own = std::fs::metadata(dir.path().join("own")).unwrap();
        let filter = Filter {
            caches: true,
            own: [(own.dev(), own.ino())].into(),
            ..Filter::default()
        };
        assert_eq!(names(dir.path(), &filter), ["s", "s/cache", "s/z"]);
    }

    #[test]
    fn a_missing_source_is_an_item_that_names_it() {
        let source = Source {
            path: "/nonexistent/x".into(),
            name: "x".into(),
        };
        let found: Vec<_> = walk(&source, &Filter::default()).collect();
        let [Err(unreadable)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (unreadable.path.to_str().unwrap(), unreadable.error.kind()),
            ("/nonexistent/x", io::ErrorKind::NotFound)
        );
    }
}
