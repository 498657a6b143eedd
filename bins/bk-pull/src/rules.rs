//! What is to be brought back of a backup: from which copy, and to where; or why it cannot be.
//!
//! Looks at files and changes none. Asks no location.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bk_archive::format::codec::Codec;
use bk_cli::units::human_size;
use bk_offsite::encryption::Identities;
use bk_offsite::sidecars::ENCRYPTED;
use bk_schema::copy::BackupCopy;
use bk_schema::record::Backup;
use bk_store::Home;
use bk_store::archives::advisory_lock::size_bytes;
use bk_store::archives::durable::dir_of;
use bk_store::archives::space::Space;
use serde_json::{Map, Value};

/// What holds for all backups of this process.
pub(crate) struct Rules {
    pub(crate) home: Home,
    pub(crate) location: String,
    /// Where archives are brought to, by an absolute path; `None` for where their records say that they are.
    pub(crate) dir: Option<PathBuf>,
    /// What decrypts, and the file that it is from.
    pub(crate) identities: Option<(Identities, PathBuf)>,
}

/// A backup that was asked for.
pub(crate) struct Plan {
    pub(crate) backup: Backup,
    /// What it came by.
    pub(crate) line: Map<String, Value>,
    /// Where its archive is, or is to be.
    pub(crate) path: PathBuf,
    /// What is brought; `None` where the archive is there.
    pub(crate) copy: Option<BackupCopy>,
}

impl Rules {
    /// # Errors
    /// A backup that has no archive, or no copy that can be read; what is in the way; a storage that is not there.
    pub(crate) fn plan(&self, backup: Backup, line: Map<String, Value>) -> Result<Plan> {
        if let Some(obstacle) = backup.status.obstacle() {
            bail!(obstacle);
        }
        let path = match &self.dir {
            None => PathBuf::from(&backup.backup_path),
            Some(dir) => {
                let codec = Codec::named(&backup.compression_type).unwrap_or(Codec::Gzip);
                dir.join(format!("{}{}", backup.backup_name, codec.ending()))
            }
        };
        self.home.storages.check(&path)?;
        let copy = match is_there(&path, &backup)? {
            true => None,
            false => Some(self.copy(&backup)?),
        };
        Ok(Plan {
            backup,
            line,
            path,
            copy,
        })
    }

    /// The copy at the location, also one that was found bad: it may have been another disk that was mounted then, and
    /// the hash of what is brought is compared.
    ///
    /// # Errors
    /// None that was ever complete, and one that cannot be decrypted.
    pub(crate) fn copy(&self, backup: &Backup) -> Result<BackupCopy> {
        let was_complete = |it: &&BackupCopy| it.copied_at.is_some();
        let mut copies = backup.copies.iter().filter(was_complete);
        let Some(copy) = copies.find(|it| it.location == self.location) else {
            let others = backup.copies.iter().filter(|it| it.is_complete());
            let others: Vec<_> = others.map(|it| it.location.as_str()).collect();
            return Err(lacks_copy(&others));
        };
        ensure!(
            self.identities.is_some() || !is_encrypted(copy),
            "its copy is encrypted: give the key with --identity FILE"
        );
        Ok(copy.clone())
    }
}

fn lacks_copy(others: &[&str]) -> anyhow::Error {
    let told = match others {
        [] => "and no other location has one".to_owned(),
        [one] => format!("but '{one}' has one"),
        all => format!("but '{}' have one", all.join("', '")),
    };
    anyhow!("it has no complete copy there, {told}")
}

/// Whether the object of a copy has to be decrypted.
pub(crate) fn is_encrypted(copy: &BackupCopy) -> bool {
    !copy.recipients.is_empty() || copy.object_key.ends_with(ENCRYPTED)
}

/// Whether an archive is at its place, as far as its size tells.
///
/// # Errors
/// Something else that is there.
pub(crate) fn is_there(path: &Path, backup: &Backup) -> Result<bool> {
    let shown = path.display();
    let there = size_bytes(path).with_context(|| format!("'{shown}' is in the way"))?;
    let Some(there) = there else {
        return Ok(false);
    };
    let size = backup.backup_size.unwrap_or_default();
    ensure!(
        there == size,
        "'{shown}' is in the way: it has {there} bytes, and the archive {size}"
    );
    Ok(true)
}

/// # Errors
/// An archive that does not fit; with the figures.
pub(crate) fn check_space(path: &Path, backup: &Backup) -> Result<()> {
    let dir = dir_of(path);
    let Some(space) = Space::at(dir)? else {
        return Ok(());
    };
    let (size, reserve) = (
        backup.backup_size.unwrap_or_default(),
        space.default_reserve(),
    );
    ensure!(
        size.saturating_add(reserve) <= space.available_bytes,
        "{} are to be brought and {} to stay free there, but '{}' has {} free: make space, or bring it elsewhere with -C",
        human_size(size),
        human_size(reserve),
        dir.display(),
        human_size(space.available_bytes)
    );
    Ok(())
}
