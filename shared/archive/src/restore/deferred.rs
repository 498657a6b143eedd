//! Work that is deferred until all content is restored: symbolic links, hard links without a target
//! yet, attributes of directories. Bounded, as the archive may be hostile.
//!
//! Only a data structure: touches no file.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, bail, ensure};

use crate::restore::attributes::Attributes;

/// The memory limit.
const HELD_MAX_BYTES: usize = 96 << 20;
/// The memory that an item takes besides its names.
const OVERHEAD_BYTES: usize = 160;

/// A symbolic link to be created.
#[derive(Debug)]
pub(crate) struct Symlink {
    pub(crate) to: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) attributes: Attributes,
}

/// Name and attributes of a directory; `None` if it has no entry in the archive.
pub(crate) type DirAttributes = Option<(Vec<u8>, Attributes)>;

/// The target of a hard link, and where to create it.
pub(crate) type Linked = (Vec<u8>, Vec<u8>);

#[derive(Debug, Default)]
pub(crate) struct Deferred {
    pub(crate) symlinks: Vec<Symlink>,
    /// With the name of the target in the archive; `None` if that was searched for before.
    pub(crate) hard_links: Vec<(Option<Vec<u8>>, Linked)>,
    /// By path.
    pub(crate) dirs: BTreeMap<Vec<u8>, DirAttributes>,
    /// Targets outside of the selection, by their name in the archive, with the paths of the links.
    pub(crate) apart: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    held_bytes: usize,
}

impl Deferred {
    /// Counts memory, also for lists elsewhere.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<()> {
        self.held_bytes += bytes + OVERHEAD_BYTES;
        ensure!(
            self.held_bytes <= HELD_MAX_BYTES,
            "the archive has more directories and links than fit in memory"
        );
        Ok(())
    }

    pub(crate) fn hold_symlink(&mut self, link: Symlink) -> Result<()> {
        self.hold(link.to.len() + link.target.len() + bytes_of(&link.attributes))?;
        self.symlinks.push(link);
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

    /// A hard link whose target is not selected, or does not exist.
    pub(crate) fn hold_apart(&mut self, first: Vec<u8>, to: Vec<u8>) -> Result<()> {
        self.hold(first.len() + to.len())?;
        self.apart.entry(first).or_default().push(to);
        Ok(())
    }

    /// A directory that was created for its content.
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
