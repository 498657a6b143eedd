//! What of an extraction comes after all content: symbolic links, hard links that have nothing
//! to lead to yet, the attributes of directories. Bounded, as a hostile archive has many.
//!
//! Holds and gives back; touches no file.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, bail, ensure};

use crate::restore::attributes::Attributes;

/// More than that is refused before it fills the memory.
const HELD_MAX_BYTES: usize = 96 << 20;
/// What one takes beside its names.
const OVERHEAD_BYTES: usize = 160;

/// A symbolic link to be made.
#[derive(Debug)]
pub(crate) struct Symlink {
    pub(crate) to: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) attributes: Attributes,
}

/// A directory of the archive by its stored name; `None` where the archive did not tell of it.
pub(crate) type DirAttributes = Option<(Vec<u8>, Attributes)>;

/// Where a hard link leads, and where it is to be made.
pub(crate) type Linked = (Vec<u8>, Vec<u8>);

#[derive(Debug, Default)]
pub(crate) struct Deferred {
    pub(crate) symlinks: Vec<Symlink>,
    /// With the stored name of what they lead to; `None` where it was looked for before.
    pub(crate) hard_links: Vec<(Option<Vec<u8>>, Linked)>,
    /// By place.
    pub(crate) dirs: BTreeMap<Vec<u8>, DirAttributes>,
    /// By the stored name of the content: all places that it goes to.
    apart: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    held_bytes: usize,
}

impl Deferred {
    /// Counts what is kept in mind elsewhere.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<()> {
        self.held_bytes += bytes + OVERHEAD_BYTES;
        ensure!(
            self.held_bytes <= HELD_MAX_BYTES,
            "the archive has more directories and links than fit in memory"
        );
        Ok(())
    }

    pub(crate) fn hold_symlink(
        &mut self,
        to: Vec<u8>,
        target: Vec<u8>,
        attributes: Attributes,
    ) -> Result<()> {
        self.hold(to.len() + target.len() + bytes_of(&attributes))?;
        self.symlinks.push(Symlink {
            to,
            target,
            attributes,
        });
        Ok(())
    }

    pub(crate) fn hold_hard_link(
        &mut self,
        first: Vec<u8>,
        at: Vec<u8>,
        to: Vec<u8>,
    ) -> Result<()> {
        self.hold(first.len() + at.len() + to.len())?;
        self.hard_links.push((Some(first), (at, to)));
        Ok(())
    }

    /// A further name whose first one is not restored, or not there.
    pub(crate) fn hold_apart(&mut self, first: Vec<u8>, to: Vec<u8>) -> Result<()> {
        self.hold(first.len() + to.len())?;
        self.apart.entry(first).or_default().push(to);
        Ok(())
    }

    pub(crate) fn take_apart(&mut self) -> HashMap<Vec<u8>, Vec<Vec<u8>>> {
        std::mem::take(&mut self.apart)
    }

    /// A directory that was made for what is in it.
    pub(crate) fn hold_implied(&mut self, to: Vec<u8>) -> Result<()> {
        self.hold(to.len())?;
        self.dirs.insert(to, None);
        Ok(())
    }

    pub(crate) fn is_implied(&self, to: &[u8]) -> bool {
        matches!(self.dirs.get(to), Some(None))
    }

    pub(crate) fn hold_dir(
        &mut self,
        to: Vec<u8>,
        name: Vec<u8>,
        attributes: Attributes,
    ) -> Result<()> {
        self.hold(to.len() + name.len() + bytes_of(&attributes))?;
        if let Some(Some(_)) = self.dirs.insert(to, Some((name, attributes))) {
            bail!("the archive has the name twice");
        }
        Ok(())
    }
}

fn bytes_of(attributes: &Attributes) -> usize {
    let bytes = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len() + 48;
    attributes.xattrs.iter().map(bytes).sum()
}
