//! What is to be backed up: where it is, and under which name it is stored.
//!
//! Names are stored as tar does, without what leads out of the tree. Reads no content.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use bk_archive::write::place::Place;
use bk_archive::write::walk::{Filter, Source};

/// A source, and its place as the record tells it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) source: Source,
    pub(crate) absolute: PathBuf,
}

/// Finds all that is asked for, each once.
///
/// # Errors
/// A source that is missing, unreadable or bk's own, one that holds no content, and two that one
/// name would stand for.
pub(crate) fn find(paths: &[PathBuf], base: Option<&Path>, filter: &Filter) -> Result<Vec<Given>> {
    let mut all: Vec<Given> = Vec::new();
    let mut known = HashSet::new();
    for path in paths {
        let located = base.map_or_else(|| path.clone(), |base| base.join(path));
        let given = find_one(path, &located, filter)
            .with_context(|| format!("cannot back up '{}'", located.display()))?;
        if known.insert((given.absolute.clone(), given.source.name.clone())) {
            all.push(given);
        }
    }
    // The order of the archive, parents first, whatever the order of the operands.
    all.sort_by(|a, b| a.source.name.cmp(&b.source.name));
    let mut by_name: HashMap<&Path, &Given> = HashMap::new();
    for given in &all {
        let name = given.source.name.as_path();
        let dot = Path::new(".");
        for outer in name.ancestors().chain([dot]) {
            if let Some(outer) = by_name.get(outer) {
                check_clash(given, outer)?;
            }
        }
        by_name.entry(name).or_insert(given);
    }
    Ok(all)
}

fn find_one(path: &Path, located: &Path, filter: &Filter) -> Result<Given> {
    let metadata = located.symlink_metadata()?;
    if filter.own.contains(&(metadata.dev(), metadata.ino())) {
        bail!("it is where bk keeps its catalog or its archives");
    }
    check_has_content(located, &metadata)?;
    if metadata.is_dir() {
        std::fs::read_dir(located)?;
    } else if metadata.is_file() {
        Place::from_path(located).open()?;
    }
    let leads_up = located
        .components()
        .any(|part| part == Component::ParentDir);
    let absolute = if leads_up {
        located.canonicalize()?
    } else {
        std::path::absolute(located)?
    };
    // absolute() keeps a last slash, which would make two paths of one.
    let absolute = absolute.components().collect();
    let source = Source {
        path: located.to_owned(),
        name: stored_name(path),
    };
    Ok(Given { source, absolute })
}

/// What comes through a pipe or lies on a device is not in the entry of that: the backup would
/// be none. Below a directory they are stored as what they are.
fn check_has_content(located: &Path, metadata: &Metadata) -> Result<()> {
    let target = metadata.is_symlink().then(|| located.metadata().ok());
    let kind = target.flatten().as_ref().unwrap_or(metadata).file_type();
    let is_descriptor = ["/dev/stdin", "/dev/fd", "/proc/self/fd"]
        .iter()
        .any(|descriptors| located.starts_with(descriptors));
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

/// Two entries of one name would be unpacked one over the other. The same file under the same
/// name is no clash: the outer source leaves it to the inner one.
fn check_clash(inner: &Given, outer: &Given) -> Result<()> {
    let name = &inner.source.name;
    let below = match outer.source.name.to_str() {
        Some(".") => name.strip_prefix(".").unwrap_or(name),
        _ => match name.strip_prefix(&outer.source.name) {
            Ok(below) => below,
            Err(_) => return Ok(()),
        },
    };
    let place = outer.source.path.join(below);
    let (Ok(there), Ok(here)) = (
        place.symlink_metadata(),
        inner.source.path.symlink_metadata(),
    ) else {
        return Ok(());
    };
    let is_same_name = below.as_os_str().is_empty();
    if is_same_name || (there.dev(), there.ino()) != (here.dev(), here.ino()) {
        bail!(
            "cannot back up '{}' and '{}' together: both hold what is stored as '{}'",
            outer.absolute.display(),
            inner.absolute.display(),
            name.display()
        );
    }
    Ok(())
}

/// A source that is a symbolic link is stored as one, which is seldom what was meant.
pub(crate) fn is_link(given: &Given) -> bool {
    let ends_in_slash = given.source.path.as_os_str().as_bytes().ends_with(b"/");
    !ends_in_slash && given.source.path.is_symlink()
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
