//! The copy of an archive in another file system, verified by reading it back.
//!
//! Knows no catalog.

use std::fs::{File, FileTimes};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::hashed;
use bk_cli::Progress;
use bk_schema::record::Backup;
use bk_store::Signals;
use bk_store::archives::advisory_lock::Locked;
use bk_store::archives::partial::{Partial, partial_path};
use rustix::fs::{Advice, Gid, Mode, Uid, copy_file_range, fadvise, fchmod, fchown, ioctl_ficlone};

/// Between two checks for a signal.
const CHUNK_BYTES: u64 = 16 << 20;
/// Where the bytes go through this process.
const BUFFER_BYTES: usize = 1 << 20;

/// Copies an archive; the copy lasts, and is locked as long as it lives.
///
/// # Errors
/// Damage, of the archive or of the copy, which is removed then, as after any failure; a signal.
pub(crate) fn copy(
    archive: &Locked,
    backup: &Backup,
    to: &Path,
    signals: &Signals,
    progress: &Progress,
) -> Result<Partial> {
    let mut partial = Partial::make(to)?;
    let copying = Copying {
        from: archive,
        to: &partial.file,
        partial: partial_path(to),
        signals,
    };
    copying.bytes(&mut |bytes| progress.add(bytes))?;
    copying.attributes()?;
    copying.prove(backup)?;
    partial.commit()?;
    Ok(partial)
}

struct Copying<'a> {
    from: &'a Locked,
    to: &'a File,
    partial: std::path::PathBuf,
    signals: &'a Signals,
}

impl Copying<'_> {
    /// By reference or inside the kernel where it can, else through this process, whose errors
    /// tell which of the two files they are of.
    fn bytes(&self, tell: &mut dyn FnMut(u64)) -> Result<()> {
        let size = self.from.size_bytes;
        if ioctl_ficlone(self.to, &self.from.file).is_ok() {
            tell(size);
            return Ok(());
        }
        let (mut read_at, mut write_at) = (0, 0);
        while read_at < size {
            self.check_signals()?;
            let wanted = usize::try_from(CHUNK_BYTES.min(size - read_at))?;
            let (from, to) = (&self.from.file, self.to);
            let copied = copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), wanted);
            match copied {
                Ok(count) if count > 0 => tell(count as u64),
                _ => return self.bytes_from(read_at, tell),
            }
        }
        Ok(())
    }

    fn bytes_from(&self, mut at: u64, tell: &mut dyn FnMut(u64)) -> Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            self.check_signals()?;
            let count = match self.from.file.read_at(&mut buffer, at) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).with_context(|| self.cannot_read()),
                Ok(0) => return Ok(()),
                Ok(count) => count,
            };
            let written = self.to.write_all_at(&buffer[..count], at);
            written.with_context(|| self.cannot_write())?;
            at += count as u64;
            tell(count as u64);
        }
    }

    /// Mode and time, and the owner where that may be given away.
    fn attributes(&self) -> Result<()> {
        let of = self.from.file.metadata()?;
        let owner = (Uid::from_raw(of.uid()), Gid::from_raw(of.gid()));
        // An archive of ours is as good as theirs.
        let _ = fchown(self.to, Some(owner.0), Some(owner.1));
        let set = fchmod(self.to, Mode::from_raw_mode(of.mode()))
            .map_err(io::Error::from)
            .and_then(|()| {
                let times = FileTimes::new().set_modified(of.modified()?);
                self.to.set_times(times)
            });
        set.with_context(|| self.cannot_write())
    }

    /// That the copy has the bytes of the record, as far as possible as the disk gives them
    /// back.
    fn prove(&self, backup: &Backup) -> Result<()> {
        self.to.sync_all().with_context(|| self.cannot_write())?;
        // Where the kernel keeps the pages all the same, they are what is read.
        let _ = fadvise(self.to, 0, None, Advice::DontNeed);
        let copy = self.hash(self.to);
        let copy = copy.with_context(|| format!("cannot read '{}'", self.partial.display()))?;
        if Some(&copy) == backup.backup_hash.as_ref() {
            return Ok(());
        }
        let archive = self.hash(&self.from.file);
        let archive = archive.with_context(|| self.cannot_read())?;
        ensure!(
            Some(&archive) == backup.backup_hash.as_ref(),
            "its archive '{}' is not what was recorded: its SHA-256 differs; bk-verify tells more",
            self.from.path.display()
        );
        bail!(
            "the copy '{}' did not come out as it went in: its SHA-256 differs",
            self.partial.display()
        );
    }

    fn hash(&self, file: &File) -> Result<String> {
        let whole = hashed::whole(file, &mut |_| self.signals.caught().is_none())?;
        Ok(whole.context("interrupted")?.hash)
    }

    fn check_signals(&self) -> Result<()> {
        ensure!(self.signals.caught().is_none(), "interrupted");
        Ok(())
    }

    fn cannot_read(&self) -> String {
        format!("cannot read '{}'", self.from.path.display())
    }

    fn cannot_write(&self) -> String {
        format!("cannot write '{}'", self.partial.display())
    }
}
