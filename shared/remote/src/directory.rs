//! A place in a mounted directory, such as of NFS or on a USB disk.
//!
//! An object is a file of mode 0600, written as a partial and renamed; its parts are written at their
//! offsets. Knows no mount: a root that is not there is an error, and is never made but by `init`.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use walkdir::WalkDir;

use crate::durable::{
    PARTIAL, commit, dir_of, is_id, make, new_id, open, open_dir, partial, partials, remove,
    sync_dir,
};
use crate::error::{Error, Kind, Result};
use crate::key::flaw;
use crate::location::Location;
use crate::place::{
    Abilities, CanLock, Listed, Object, Options, Part, PartReceipt, Place, Stored, Storing, sha256,
};
use crate::rate::Rate;
use crate::retry::Retry;
use crate::whole::{cannot_read, cannot_write, gap, total_bytes};

const MOUNT: &str = "mount it, or make the directory if this is a new place";
const BUFFER_BYTES: usize = 1024 * 1024;

pub(crate) struct Directory {
    location: Location,
    root: PathBuf,
    rate: Rate,
    retry: Retry,
    /// The partials that were in a directory before this process wrote there, by name.
    left: Mutex<HashMap<PathBuf, HashMap<String, Vec<PathBuf>>>>,
}

impl Directory {
    pub(crate) fn open(location: &Location, options: &Options) -> Result<Self> {
        if options.credentials.is_some() {
            return Err(Error::new(
                Kind::Unsupported,
                location,
                "a directory needs no credentials",
            ));
        }
        Ok(Self {
            location: location.clone(),
            root: location.prefix().into(),
            rate: Rate::new(options.limit_rate),
            retry: Retry::new(options),
            left: Mutex::default(),
        })
    }

    fn error(&self, kind: Kind, key: &str, reason: impl std::fmt::Display) -> Error {
        Error::new(kind, &self.location, reason).of(key)
    }

    fn failed(&self, key: &str, error: &io::Error) -> Error {
        let kind = match error.kind() {
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::AlreadyExists => Kind::AlreadyThere,
            ErrorKind::PermissionDenied => Kind::Refused,
            ErrorKind::TimedOut
            | ErrorKind::StaleNetworkFileHandle
            | ErrorKind::NotConnected
            | ErrorKind::HostUnreachable => Kind::Unreachable,
            _ => Kind::Other,
        };
        match kind {
            Kind::NotFound | Kind::AlreadyThere => self.error(kind, key, ""),
            _ => self.error(kind, key, error),
        }
    }

    /// The file of a key, once the root is known to be there. No directory below the root may be a link.
    fn file(&self, key: &str) -> Result<PathBuf> {
        self.check_root()?;
        if let Some(flaw) = flaw(key) {
            return Err(self.error(Kind::Other, key, flaw));
        }
        if key.ends_with(PARTIAL) {
            return Err(self.error(
                Kind::Other,
                key,
                format!("'{PARTIAL}' ends the name of what is not whole"),
            ));
        }
        // What is not there yet is made.
        match open_dir(&self.root, key) {
            Err(error) if error.kind() == ErrorKind::NotADirectory => Err(self.error(
                Kind::Other,
                key,
                "what should hold it is no directory; a link is not followed",
            )),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed(key, &error)),
            _ => Ok(self.root.join(key)),
        }
    }

    fn check_root(&self) -> Result<()> {
        match fs::metadata(&self.root) {
            Ok(told) if told.is_dir() => Ok(()),
            Ok(_) => Err(self.error(Kind::Other, "", "it is no directory")),
            Err(error) => Err(self.failed("", &error).with_remedy(Some(MOUNT))),
        }
    }

    /// The partial of an upload.
    fn partial(&self, key: &str, upload: &str) -> Result<PathBuf> {
        let file = self.file(key)?;
        if !is_id(upload) {
            return Err(self.error(Kind::UnknownUpload, key, ""));
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(file.with_file_name(partial(&name, upload)))
    }

    fn open_partial(&self, key: &str, upload: &str) -> Result<(PathBuf, File)> {
        let path = self.partial(key, upload)?;
        match open(&path, true) {
            Ok(file) => Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(self.error(Kind::UnknownUpload, key, ""))
            }
            Err(error) => Err(self.failed(key, &error)),
        }
    }

    /// Removes the partials of a file whose writer was killed before anybody knew of the upload. Whoever begins an
    /// object knows of no other upload of it.
    fn remove_left(&self, file: &Path) -> io::Result<()> {
        let dir = dir_of(file);
        // What a thread that panicked left out is looked for again by the next process.
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if !left.contains_key(dir) {
            left.insert(dir.to_owned(), partials(dir)?);
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let found = left.get_mut(dir).and_then(|it| it.remove(&*name));
        let mut found = found.into_iter().flatten();
        found.try_for_each(|it| self.remove(&it))
    }

    fn check_storing(&self, key: &str, storing: &Storing) -> Result<()> {
        let wish = match storing {
            Storing { lock: Some(_), .. } => "a directory has no locks",
            Storing {
                storage_class: Some(_),
                ..
            } => "a directory has no storage classes",
            _ => return Ok(()),
        };
        Err(self.error(Kind::Unsupported, key, wish))
    }

    /// Writes at the rate that is allowed, until the caller wishes to stop.
    fn write(&self, key: &str, file: &File, bytes: &[u8], mut offset: u64) -> Result<()> {
        for piece in bytes.chunks(self.rate.piece_bytes()) {
            let until = Instant::now() + self.rate.take(piece.len(), Instant::now());
            if !self.retry.wait(until) {
                return Err(self.error(Kind::Stopped, key, ""));
            }
            file.write_all_at(piece, offset)
                .map_err(|error| self.failed(key, &error))?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Writes a new object, all of whose content `fill` writes.
    fn whole(
        &self,
        key: &str,
        storing: &Storing,
        fill: impl FnOnce(&File) -> Result<()>,
    ) -> Result<Stored> {
        let upload = self.begin(key, storing)?;
        let (path, file) = self.open_partial(key, &upload)?;
        let done = fill(&file).and_then(|()| self.commit(key, &file, &path, storing));
        done.inspect_err(|_| {
            // The first failure is the one to tell; a partial is nobody's object.
            let _ = fs::remove_file(&path);
        })
    }

    fn commit(&self, key: &str, file: &File, partial: &Path, storing: &Storing) -> Result<Stored> {
        let done = commit(file, partial, &self.file(key)?, storing.may_replace);
        done.map_err(|error| self.failed(key, &error))?;
        Ok(Stored::default())
    }
}

impl Place for Directory {
    fn abilities(&self) -> Abilities {
        Abilities {
            has_parts: true,
            most_parts: u32::MAX,
            may_lock: false,
            // Where it is on another machine, they wait for it.
            most_at_once: 4,
        }
    }

    fn init(&self) -> Result<()> {
        match fs::create_dir_all(&self.root) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.check_root()?,
            made => made.map_err(|error| self.failed("", &error))?,
        }
        sync_dir(dir_of(&self.root)).map_err(|error| self.failed("", &error))
    }

    fn can_lock(&self) -> Result<CanLock> {
        Ok(CanLock::No)
    }

    fn put(&self, key: &str, bytes: Vec<u8>, storing: &Storing) -> Result<Stored> {
        self.whole(key, storing, |file| self.write(key, file, &bytes, 0))
    }

    fn put_file(&self, key: &str, file: &File, size: u64, storing: &Storing) -> Result<Stored> {
        self.whole(key, storing, |to| {
            let mut buffer = vec![0; BUFFER_BYTES];
            let mut done = 0;
            while done < size {
                let count = buffer
                    .len()
                    .min(usize::try_from(size - done).unwrap_or(usize::MAX));
                let read = file.read_exact_at(&mut buffer[..count], done);
                read.map_err(|error| cannot_read(&self.location, key, error))?;
                self.write(key, to, &buffer[..count], done)?;
                done += count as u64;
            }
            Ok(())
        })
    }

    fn begin(&self, key: &str, storing: &Storing) -> Result<String> {
        self.check_storing(key, storing)?;
        let removed = self.remove_left(&self.file(key)?);
        removed.map_err(|error| self.failed(key, &error))?;
        let upload = new_id().map_err(|error| self.failed(key, &error))?;
        let path = self.partial(key, &upload)?;
        let made = make(&self.root, &path).and_then(|_| sync_dir(dir_of(&path)));
        made.map_err(|error| self.failed(key, &error))?;
        Ok(upload)
    }

    fn part(&self, key: &str, upload: &str, part: Part) -> Result<PartReceipt> {
        let (_, file) = self.open_partial(key, upload)?;
        self.write(key, &file, &part.bytes, part.offset)?;
        // A receipt is good after a loss of power too.
        file.sync_data().map_err(|error| self.failed(key, &error))?;
        Ok(PartReceipt {
            number: part.number,
            offset: part.offset,
            bytes: part.bytes.len() as u64,
            sha256: sha256(&part.bytes),
            is_confirmed: false,
            id: String::new(),
        })
    }

    fn complete(
        &self,
        key: &str,
        upload: &str,
        receipts: &[PartReceipt],
        storing: &Storing,
    ) -> Result<Stored> {
        let (path, file) = self.open_partial(key, upload)?;
        if let Some(gap) = gap(receipts) {
            return Err(self.error(Kind::Other, key, gap));
        }
        let length = file
            .metadata()
            .map_err(|error| self.failed(key, &error))?
            .len();
        let expected = total_bytes(receipts);
        if length != expected {
            let why = format!("its parts are {expected} bytes, and {length} were written");
            return Err(self.error(Kind::Checksum, key, why));
        }
        self.commit(key, &file, &path, storing)
    }

    fn abort(&self, key: &str, upload: &str) -> Result<()> {
        match self.partial(key, upload) {
            Err(error) if error.kind() == Kind::UnknownUpload => Ok(()),
            Err(error) => Err(error),
            Ok(path) => self.remove(&path).map_err(|error| self.failed(key, &error)),
        }
    }

    fn head(&self, key: &str) -> Result<Object> {
        let opened = open(&self.file(key)?, false).and_then(|file| file.metadata());
        let told = opened.map_err(|error| self.failed(key, &error))?;
        Ok(Object {
            size: told.len(),
            modified_at: modified_at(&told),
            ..Object::default()
        })
    }

    fn get(&self, key: &str, sink: &mut dyn Write) -> Result<u64> {
        let file = open(&self.file(key)?, false).map_err(|error| self.failed(key, &error))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut done = 0;
        loop {
            if self.retry.is_stopped() {
                return Err(self.error(Kind::Stopped, key, ""));
            }
            let count = file
                .read_at(&mut buffer, done)
                .map_err(|error| self.failed(key, &error))?;
            if count == 0 {
                return Ok(done);
            }
            let written = sink.write_all(&buffer[..count]);
            written.map_err(|error| cannot_write(&self.location, key, error))?;
            done += count as u64;
        }
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let file = open(&self.file(key)?, false).map_err(|error| self.failed(key, &error))?;
        let size = file
            .metadata()
            .map_err(|error| self.failed(key, &error))?
            .len();
        let count = length.min(size.saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, offset)
            .map_err(|error| self.failed(key, &error))?;
        Ok(bytes)
    }

    fn list(&self, below: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        let top = self.below(below)?;
        // The root may be a link; what is in it leads nowhere else.
        for entry in WalkDir::new(top).follow_root_links(below.is_empty()) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(self.failed(below, &error.into())),
            };
            let key = entry
                .path()
                .strip_prefix(&self.root)
                .ok()
                .and_then(Path::to_str);
            let Some(key) = key.filter(|key| entry.file_type().is_file() && is_key(key)) else {
                continue;
            };
            let told = match entry.metadata() {
                Ok(told) => told,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(self.failed(key, &error.into())),
            };
            each(Listed {
                key: key.to_owned(),
                size: told.len(),
                modified_at: modified_at(&told),
            })?;
        }
        Ok(())
    }

    fn list_dirs(&self, below: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in WalkDir::new(self.below(below)?).min_depth(1).max_depth(1) {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {
                    let name = entry.file_name().to_str();
                    names.extend(name.filter(|it| is_key(it)).map(str::to_owned));
                }
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(self.failed(below, &error.into())),
            }
        }
        Ok(names)
    }

    fn delete(&self, key: &str, _: Option<&str>) -> Result<()> {
        let path = self.file(key)?;
        self.remove(&path).map_err(|error| self.failed(key, &error))
    }
}

impl Directory {
    fn remove(&self, path: &Path) -> io::Result<()> {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        remove(&self.root, &below.to_string_lossy())
    }

    fn below(&self, key: &str) -> Result<PathBuf> {
        match key {
            "" => self.check_root().map(|()| self.root.clone()),
            // It is what holds the others.
            _ => self.file(&format!("{key}/-")).map(|_| self.root.join(key)),
        }
    }
}

/// Whether a name can be that of an object, or of what holds some.
fn is_key(name: &str) -> bool {
    flaw(name).is_none() && !name.ends_with(PARTIAL)
}

fn modified_at(told: &Metadata) -> Option<Timestamp> {
    Timestamp::try_from(told.modified().ok()?).ok()
}

/// Whether something went away while the directory was walked, or was never there.
fn is_gone(error: &walkdir::Error) -> bool {
    error
        .io_error()
        .is_some_and(|error| error.kind() == ErrorKind::NotFound)
}
