//! Reads the object of a copy into a file, which then is the archive: what came is compared with the hash of the
//! copy, and what was decrypted of it with that of the record.
//!
//! A connection that is lost is taken up again where it was; a download that a process left begins anew, as
//! nothing tells whether what is there was written to last. Knows no catalog.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::Builder;

use anyhow::{Context, Result, anyhow, ensure};
use bk_archive::hashed::hex;
use bk_cli::Progress;
use bk_offsite::encryption::Identities;
use bk_remote::Place;
use bk_schema::copy::BackupCopy;
use bk_schema::record::Backup;
use bk_store::archives::early_sync::EarlySync;
use sha2::{Digest, Sha256};

use crate::rules::is_encrypted;

const DAMAGED: &str = "it is damaged, as 'bk-push --check --read 100%' tells and records";
/// What is decrypted at once.
const CHUNK_BYTES: usize = 64 << 10;

/// How objects are read.
pub(crate) struct Fetch<'a> {
    pub(crate) place: &'a dyn Place,
    pub(crate) location: &'a str,
    pub(crate) progress: &'a Progress,
    /// What decrypts, and the file that it is from.
    pub(crate) identities: Option<&'a (Identities, PathBuf)>,
}

impl Fetch<'_> {
    /// Writes the archive of a copy to a file, which is named `path` for messages.
    ///
    /// # Errors
    /// Those of the location and of the file; an object that is not what was copied, cannot be decrypted, or is
    /// not the archive of the record.
    pub(crate) fn run(
        &self,
        backup: &Backup,
        copy: &BackupCopy,
        file: &File,
        path: &Path,
    ) -> Result<()> {
        let to = Target {
            file,
            early_sync: EarlySync::of(file),
            left_bytes: backup.backup_size.unwrap_or_default(),
            is_too_long: false,
            error: None,
        };
        let (key, location) = (copy.object_key.as_str(), self.location);
        let remedy = || {
            let id = backup.id;
            format!("'bk-push --check --read 100% {location} {id}' tells and records that")
        };
        let mut archive = Hashed::new(to);
        let object_hash = self.object(key, is_encrypted(copy), &mut archive);
        let Target {
            early_sync,
            error,
            is_too_long,
            ..
        } = archive.to;
        let synced = early_sync.finish();
        let written = error.map_or(synced, Err);
        written.with_context(|| format!("cannot write '{}'", path.display()))?;
        ensure!(
            !is_too_long,
            "'{key}' at '{location}' is larger than it should be: {}",
            remedy()
        );
        let archive_hash = hex(archive.hash);
        let object_hash = object_hash?.map_or_else(|| archive_hash.clone(), hex);
        ensure!(
            copy.hash == Some(object_hash),
            "'{key}' at '{location}' has another SHA-256 than it should have: {}",
            remedy()
        );
        ensure!(
            backup.backup_hash == Some(archive_hash),
            "'{key}' at '{location}' is as it was copied, and not the archive of the record: its SHA-256 differs"
        );
        Ok(())
    }

    /// Reads an object, decrypted where it is encrypted; the hash of the object then, which is not that of what is
    /// written.
    ///
    /// # Errors
    /// Those of the location and of `to`; what cannot be decrypted.
    pub(crate) fn object(
        &self,
        key: &str,
        is_encrypted: bool,
        to: &mut impl Write,
    ) -> Result<Option<Sha256>> {
        match self.identities.filter(|_| is_encrypted) {
            Some(identities) => self.decrypted(key, identities, to).map(Some),
            None => {
                let mut to = Counted(to, self.progress);
                self.place.get(key, &mut to)?;
                Ok(None)
            }
        }
    }

    /// Reads an object in a thread, and decrypts it in this one.
    fn decrypted(
        &self,
        key: &str,
        (identities, file): &(Identities, PathBuf),
        archive: &mut impl Write,
    ) -> Result<Sha256> {
        let (reader, writer) = io::pipe().context("cannot make a pipe")?;
        let mut object = Hashed::new(Counted(writer, self.progress));
        std::thread::scope(|scope| {
            let get = move || {
                let got = self.place.get(key, &mut object);
                (got, object.hash, object.is_closed)
            };
            let get = Builder::new().spawn_scoped(scope, get);
            let get = get.context("cannot start a thread")?;
            let decrypted = decrypt(identities, reader, archive);
            let (got, hash, is_closed) = get
                .join()
                .map_err(|_| anyhow!("the thread that reads it failed"))?;
            // What cannot be decrypted is not read to its end.
            if !is_closed {
                got?;
            }
            decrypted.with_context(|| {
                let location = self.location;
                format!(
                    "cannot decrypt '{key}' at '{location}' with the keys in '{}'",
                    file.display()
                )
            })?;
            Ok(hash)
        })
    }
}

fn decrypt(identities: &Identities, object: PipeReader, archive: &mut impl Write) -> Result<()> {
    let mut reader = identities.decrypt(object)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk).context(DAMAGED)? {
            0 => return Ok(()),
            // Where it cannot be written, the target tells why.
            count => archive.write_all(&chunk[..count])?,
        }
    }
}

/// Tells the progress of what is written through it.
struct Counted<'a, W>(W, &'a Progress);

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.1.add(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Hashes what is written through it.
struct Hashed<W> {
    to: W,
    hash: Sha256,
    /// Nobody reads what is written.
    is_closed: bool,
}

impl<W: Write> Hashed<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            hash: Sha256::new(),
            is_closed: false,
        }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes).inspect_err(|error| {
            self.is_closed |= error.kind() == ErrorKind::BrokenPipe;
        })?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The file that the archive is written to.
struct Target<'a> {
    file: &'a File,
    early_sync: EarlySync<'a>,
    /// No more than the record says: what is larger is not the archive, and could fill the disk.
    left_bytes: u64,
    is_too_long: bool,
    /// Why it could not be written, which the location does not know.
    error: Option<io::Error>,
}

impl Target<'_> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = (&mut &*self.file).write(bytes)?;
        self.left_bytes -= count as u64;
        self.early_sync.wrote(count);
        Ok(count)
    }
}

impl Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_too_long = self.left_bytes < bytes.len() as u64;
        if self.is_too_long {
            return Err(ErrorKind::FileTooLarge.into());
        }
        match self.write_some(bytes) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                let kind = error.kind();
                self.error = Some(error);
                Err(kind.into())
            }
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
