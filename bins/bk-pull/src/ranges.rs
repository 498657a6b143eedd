//! Parts of the archive of a copy, read from its object by ranges, through the encryption where there is one.
//!
//! Compares nothing: that is for whoever knows what should be there. Knows no archive format.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::rc::Rc;

use anyhow::{Error, Result};
use bk_offsite::encryption::Identities;
use bk_remote::Place;

/// What age encrypts at once, and what it adds to that.
const CHUNK_BYTES: u64 = 64 << 10;
const TAG_BYTES: u64 = 16;

/// The archive of a copy.
pub(crate) struct Ranges<'a> {
    archive: Box<dyn ReadSeek + 'a>,
    is_encrypted: bool,
    shared: Rc<Shared>,
}

trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

#[derive(Default)]
struct Shared {
    /// How much of the object the next request is to bring.
    ahead_bytes: Cell<u64>,
    read_bytes: Cell<u64>,
}

impl<'a> Ranges<'a> {
    /// `object_bytes` is the size of the object.
    ///
    /// # Errors
    /// Those of the location; what none of the keys opens.
    pub(crate) fn open(
        place: &'a dyn Place,
        key: &'a str,
        object_bytes: u64,
        identities: Option<&Identities>,
    ) -> Result<Self> {
        let shared = Rc::<Shared>::default();
        let object = Window {
            place,
            key,
            object_bytes,
            position: 0,
            begin: 0,
            bytes: Vec::new(),
            shared: shared.clone(),
        };
        let archive: Box<dyn ReadSeek> = match identities {
            None => Box::new(object),
            Some(identities) => {
                // Its header, and the first chunk with the begin of the archive.
                shared.ahead_bytes.set(2 * CHUNK_BYTES);
                Box::new(identities.decrypt(object).map_err(told)?)
            }
        };
        Ok(Self {
            archive,
            is_encrypted: identities.is_some(),
            shared,
        })
    }

    /// Reads a part of the archive, in one request, or two.
    ///
    /// # Errors
    /// Those of the location; an archive that ends before; one that was encrypted and is damaged.
    pub(crate) fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let chunks = (offset + length).div_ceil(CHUNK_BYTES) - offset / CHUNK_BYTES;
        self.shared.ahead_bytes.set(match self.is_encrypted {
            true => chunks * (CHUNK_BYTES + TAG_BYTES),
            false => length,
        });
        let mut bytes = vec![0; usize::try_from(length)?];
        let read = self.archive.seek(SeekFrom::Start(offset));
        let read = read.and_then(|_| self.archive.read_exact(&mut bytes));
        read.map_err(|error| told(error.into()))?;
        Ok(bytes)
    }

    /// How much of the object was read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.shared.read_bytes.get()
    }
}

/// What failed at the location, as that told it.
fn told(error: Error) -> Error {
    let error = match error.downcast::<io::Error>() {
        Ok(error) => error,
        Err(other) => return other,
    };
    match error.downcast::<bk_remote::Error>() {
        Ok(error) => error.into(),
        Err(error) => Error::from(error).context("its object is damaged"),
    }
}

/// An object that is read a window at a time.
struct Window<'a> {
    place: &'a dyn Place,
    key: &'a str,
    object_bytes: u64,
    position: u64,
    /// Where what was read last begins.
    begin: u64,
    bytes: Vec<u8>,
    shared: Rc<Shared>,
}

impl Window<'_> {
    /// What is known from the position on.
    fn known(&self) -> &[u8] {
        let at = self.position.checked_sub(self.begin);
        let at = at.and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }

    fn fetch(&mut self, least: usize) -> io::Result<()> {
        let left = self.object_bytes.saturating_sub(self.position);
        let length = self.shared.ahead_bytes.get().max(least as u64).min(left);
        let bytes = self.place.get_range(self.key, self.position, length);
        self.bytes = bytes.map_err(io::Error::other)?;
        self.begin = self.position;
        let read_bytes = &self.shared.read_bytes;
        read_bytes.set(read_bytes.get() + self.bytes.len() as u64);
        Ok(())
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.known().is_empty() && self.position < self.object_bytes {
            self.fetch(buffer.len())?;
        }
        let mut known = self.known();
        let count = known.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.object_bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
