//! Creates hard links once their target exists, copies if the file system does not support more, and
//! symbolic links after all content.
//!
//! Knows no content and no archive.

use std::io;
use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{AtFlags, FileType, linkat, statat, symlinkat};
use rustix::io::Errno;

use crate::restore::attributes::is_refusal;
use crate::restore::copy::copy_file;
use crate::restore::deferred::Symlink;
use crate::restore::extract::{Extraction, below_first, is_of_entry, shown, taken};

impl Extraction<'_> {
    /// Creates a hard link to `at`, or defers it if that does not exist yet.
    pub(crate) fn hard_link(&mut self, first: Vec<u8>, at: Vec<u8>, to: Vec<u8>) -> Result<()> {
        match self.link(&at, &to)? {
            true => self.done.entries += 1,
            false => self.deferred.hold_hard_link(first, at, to)?,
        }
        Ok(())
    }

    /// Creates a hard link; false if the target does not exist.
    fn link(&mut self, at: &[u8], to: &[u8]) -> Result<bool> {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let (from_dir, from) = match self.target.parent(at) {
            Err(error) if missing(&error) => return Ok(false),
            located => located?,
        };
        let kind = match statat(&from_dir, from, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            stat => FileType::from_raw_mode(stat.map_err(io::Error::from)?.st_mode),
        };
        if kind == FileType::Directory {
            let text = "it is a hard link to a directory";
            bail!(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (dir, name) = self.parent(to)?;
        // Without AT_SYMLINK_FOLLOW a symbolic link itself is linked.
        let error = match linkat(&from_dir, from, &dir, name, AtFlags::empty()) {
            Err(error) if is_refusal(error) || error == Errno::MLINK => error,
            linked => return Ok(linked.map(|()| true).map_err(taken)?),
        };
        if kind != FileType::RegularFile {
            let what = "a hard link, which this file system does not support";
            self.observer.skipped(below_first(to), what);
            self.mark_absent(to.to_owned())?;
            return Ok(true);
        }
        let (room, observer, root) = (&mut self.room, self.observer, self.target.root());
        let take = &mut |bytes| {
            if observer.is_stopped() {
                bail!("interrupted");
            }
            room.take(bytes, root)
        };
        let skipped = copy_file((from_dir.as_fd(), from), (dir.as_fd(), name), take)?;
        self.observer.report(below_first(to), skipped);
        let why = io::Error::from(error).to_string();
        self.observer
            .unsupported(below_first(to), "hard link", &why);
        self.deferred.hold(to.len())?;
        self.done.copies.insert(to.to_owned());
        Ok(true)
    }

    /// Creates symbolic links, then deferred hard links.
    pub(crate) fn make_links(&mut self) -> Result<()> {
        for link in std::mem::take(&mut self.deferred.symlinks) {
            self.check_stop()?;
            if let Err(error) = self.symlink(&link) {
                self.done.entries -= 1;
                self.fail_link(&link.to, error, "link")?;
            }
        }
        for (first, (at, to)) in std::mem::take(&mut self.deferred.hard_links) {
            self.check_stop()?;
            match (self.link(&at, &to), first) {
                (Ok(true), _) => self.done.entries += 1,
                (Ok(false), Some(first)) => self.deferred.hold_apart(first, to)?,
                (Ok(false), None) => {
                    let error = anyhow!("the target of the hard link is not restored");
                    self.fail(to, &error)?;
                }
                (Err(error), _) => self.fail_link(&to, error, "hard link")?,
            }
        }
        Ok(())
    }

    fn fail_link(&mut self, to: &[u8], error: anyhow::Error, what: &str) -> Result<()> {
        if is_of_entry(&error) {
            return self.fail(to.to_owned(), &error);
        }
        Err(error).with_context(|| format!("cannot restore the {what} '{}'", shown(to)))
    }

    fn symlink(&mut self, link: &Symlink) -> Result<()> {
        let (dir, name) = self.parent(&link.to)?;
        match symlinkat(&link.target[..], &dir, name) {
            Err(error) if is_refusal(error) => {
                let what = "a symbolic link, which this file system does not support";
                self.observer.skipped(below_first(&link.to), what);
                self.done.entries -= 1;
                return self.mark_absent(link.to.clone());
            }
            made => made.map_err(taken)?,
        }
        let kind = FileType::Symlink;
        let skipped = self.finish_special(&dir, name, kind, &link.attributes)?;
        self.observer.report(below_first(&link.to), skipped);
        Ok(())
    }
}
