//! What is to be backed up: where it is, and under which name it is stored.
//!
//! Names are stored as tar does, without a leading slash or `..`. Reads no content.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::write::place::Place;
use bk_archive::write::walk::Source;
use bk_store::own::{Inode, inode};
use serde_json::Value;

use crate::flags::PROGRAM;
use crate::request::{Request, Stream};

/// What one backup is of.
pub(crate) struct Sources {
    /// The paths, in the order of the archive.
    pub(crate) stored: Vec<Source>,
    /// The names of all, streams among them, in the order of the archive.
    pub(crate) names: Vec<PathBuf>,
    /// Where each comes from: its absolute path, or `stdin:NAME`.
    pub(crate) origins: Vec<PathBuf>,
    /// The same, as the record has them, by which backups of the same sources are found.
    pub(crate) recorded: Value,
}

/// A source with its absolute path.
type Located = (Source, PathBuf);

impl Sources {
    /// Finds all that is asked for, each once. `own` are bk's own directories.
    ///
    /// # Errors
    /// A source that is missing, unreadable or bk's own, one that holds no content, and two that
    /// would be stored under one name.
    pub(crate) fn resolve(
        request: &Request,
        base: Option<&Path>,
        own: &HashSet<Inode>,
    ) -> Result<Self> {
        let mut all: Vec<Located> = Vec::new();
        let mut seen = HashSet::new();
        for path in request.paths() {
            let found_at = base.map_or_else(|| path.clone(), |base| base.join(path));
            let located = locate(path, &found_at, own)
                .with_context(|| format!("cannot back up '{}'", found_at.display()))?;
            if seen.insert((located.1.clone(), located.0.name.clone())) {
                all.push(located);
            }
        }
        // The order of the archive, parents first, whatever the order of the operands.
        all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        check_clashes(&all)?;
        check_streams(&request.streams, &all)?;
        let of_path = |(source, path): &Located| (source.name.clone(), path.clone());
        let of_stream = |it: &Stream| {
            let origin = format!("stdin:{}", it.filename);
            (PathBuf::from(&it.filename), PathBuf::from(origin))
        };
        let streams = request.streams.iter().map(of_stream);
        let mut both: Vec<_> = all.iter().map(of_path).chain(streams).collect();
        both.sort_by(|one, other| one.0.cmp(&other.0));
        let (names, origins): (Vec<_>, Vec<_>) = both.into_iter().unzip();
        Ok(Self {
            stored: all.into_iter().map(|it| it.0).collect(),
            names,
            recorded: lossy(&origins).into(),
            origins,
        })
    }

    /// A source that is a symbolic link is stored as one, which is seldom what was meant.
    pub(crate) fn warn_of_links(&self) {
        let ends_in_slash = |path: &Path| path.as_os_str().as_bytes().ends_with(b"/");
        let paths = self.stored.iter().map(|it| it.path.as_path());
        for path in paths.filter(|path| !ends_in_slash(path) && path.is_symlink()) {
            let path = path.display();
            PROGRAM.warn(&format!(
                "warning: '{path}' is a symbolic link and stored as one: '{path}/' backs up what it points to"
            ));
        }
    }
}

/// Paths for a record, which is UTF-8.
pub(crate) fn lossy<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Vec<String> {
    let text = |path: P| path.as_ref().to_string_lossy().into_owned();
    paths.into_iter().map(text).collect()
}

fn locate(path: &Path, found_at: &Path, own: &HashSet<Inode>) -> Result<Located> {
    let metadata = found_at.symlink_metadata()?;
    if own.contains(&inode(&metadata)) {
        bail!("it is where bk keeps its catalog or its archives");
    }
    check_has_content(found_at, &metadata)?;
    if metadata.is_dir() {
        std::fs::read_dir(found_at)?;
    } else if metadata.is_file() {
        Place::from_path(found_at).open()?;
    }
    let leads_up = found_at
        .components()
        .any(|part| part == Component::ParentDir);
    let absolute = if leads_up {
        found_at.canonicalize()?
    } else {
        std::path::absolute(found_at)?
    };
    let source = Source {
        path: found_at.to_owned(),
        name: stored_name(path),
    };
    // absolute() keeps a trailing slash, which would make two paths of one.
    Ok((source, absolute.components().collect()))
}

/// The content of a pipe or a device is not in its directory entry: the backup would be empty.
/// Below a directory they are stored as what they are.
fn check_has_content(path: &Path, metadata: &Metadata) -> Result<()> {
    let target = metadata.is_symlink().then(|| path.metadata().ok());
    let kind = target.flatten().as_ref().unwrap_or(metadata).file_type();
    let is_descriptor = ["/dev/stdin", "/dev/fd", "/proc/self/fd"]
        .iter()
        .any(|descriptors| path.starts_with(descriptors));
    let what = match kind {
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        kind if kind.is_socket() => bail!("it is a socket, which holds nothing"),
        _ if metadata.is_symlink() && is_descriptor => "an open file",
        _ => return Ok(()),
    };
    bail!("it is {what}: --stdin-filename NAME backs up what comes on standard input")
}

/// As tar: what stands after the last `..` and the leading slash; `.` where nothing does.
fn stored_name(path: &Path) -> PathBuf {
    let mut name = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => name.push(part),
            Component::ParentDir => name.clear(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if name.as_os_str().is_empty() {
        ".".into()
    } else {
        name
    }
}

fn check_clashes(all: &[Located]) -> Result<()> {
    let mut by_name: HashMap<&Path, &Located> = HashMap::new();
    for located in all {
        let name = located.0.name.as_path();
        for outer in name.ancestors().chain([Path::new(".")]) {
            if let Some(outer) = by_name.get(outer) {
                check_clash(located, outer)?;
            }
        }
        by_name.entry(name).or_insert(located);
    }
    Ok(())
}

/// Two entries of one name would be unpacked one over the other. The same file under the same
/// name is no clash: the outer source leaves it to the inner one.
fn check_clash((inner, inner_path): &Located, (outer, outer_path): &Located) -> Result<()> {
    let name = &inner.name;
    let below = match outer.name.to_str() {
        Some(".") => name.strip_prefix(".").unwrap_or(name),
        _ => match name.strip_prefix(&outer.name) {
            Ok(below) => below,
            Err(_) => return Ok(()),
        },
    };
    let (Ok(there), Ok(here)) = (
        outer.path.join(below).symlink_metadata(),
        inner.path.symlink_metadata(),
    ) else {
        return Ok(());
    };
    let is_same_name = below.as_os_str().is_empty();
    if is_same_name || inode(&there) != inode(&here) {
        bail!(
            "cannot back up '{}' and '{}' together: both hold what is stored as '{}'",
            outer_path.display(),
            inner_path.display(),
            name.display()
        );
    }
    Ok(())
}

/// What comes from a command has a name of its own, and no path has anything there.
fn check_streams(streams: &[Stream], all: &[Located]) -> Result<()> {
    for (number, stream) in streams.iter().enumerate() {
        let name = Path::new(&stream.filename);
        for other in &streams[number + 1..] {
            ensure!(
                !Path::new(&other.filename).starts_with(name),
                "cannot back up '{}' and '{}' together: one is stored as a file, the other below it",
                stream.filename,
                other.filename
            );
        }
        for (source, path) in all {
            ensure!(
                !is_in_the_way(source, name),
                "cannot back up '{}' and the command of '{}' together: both hold what is stored as '{}'",
                path.display(),
                stream.filename,
                stream.filename
            );
        }
    }
    Ok(())
}

/// Whether a source has something of that name, or has to have a directory where it has something
/// else.
fn is_in_the_way(source: &Source, name: &Path) -> bool {
    if source.name.starts_with(name) {
        return true;
    }
    let below = match source.name.to_str() {
        Some(".") => name,
        _ => match name.strip_prefix(&source.name) {
            Ok(below) => below,
            Err(_) => return false,
        },
    };
    let is_dir = |path: &Path| path.symlink_metadata().is_ok_and(|it| it.is_dir());
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let parents = below.ancestors().skip(1);
    is_there(&source.path.join(below))
        || parents
            .map(|parent| match parent.as_os_str().is_empty() {
                // To join nothing would add a slash, which follows links.
                true => source.path.clone(),
                false => source.path.join(parent),
            })
            .any(|parent| is_there(&parent) && !is_dir(&parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stored_as_tar_does() {
        for (path, name) in [
            ("/srv/app/", "srv/app"),
            ("./x", "x"),
            ("../../a/../b/c", "b/c"),
            ("..", "."),
            ("/", "."),
            ("a//b/./c", "a/b/c"),
        ] {
            assert_eq!(stored_name(Path::new(path)), Path::new(name), "{path}");
        }
    }
}
