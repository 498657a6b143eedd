//! Objects written to an object store, whole or in parts, and told from those that others wrote.
//!
//! An answer may be lost after the store did what was asked; so what is found there is then compared. Knows no file.

use bytes::Bytes;
use object_store::multipart::PartId;
use object_store::{Attribute, Attributes, PutMode, PutMultipartOptions, PutOptions};

use crate::answer::Answer;
use crate::client::Client;
use crate::confirm::is_confirmed;
use crate::error::{Error, Kind, Result};
use crate::place::{Object, Part, PartReceipt, Stored, Storing, sha256, sha256_of_parts};
use crate::reading::get_range;
use crate::stores::Store;
use crate::whole::{gap, total_bytes};

fn attributes(storing: &Storing) -> Attributes {
    let class = storing.storage_class.clone();
    let class = class.map(|class| (Attribute::StorageClass, class));
    class.into_iter().collect()
}

/// Whether a failure means that there is no such object or upload, and not that there is no bucket.
pub(crate) fn is_absent(error: &Error) -> bool {
    error.kind() == Kind::NotFound && !error.reason().contains("NoSuchBucket")
}

/// A failure of an upload: one that is not known is told as not found by some.
fn of_upload(error: Error) -> Error {
    match is_absent(&error) {
        true => error.with_kind(Kind::UnknownUpload),
        false => error,
    }
}

/// A failure of an object with a lock: S3 does not say that the bucket has none.
fn of_lock(client: &Client, key: &str, storing: &Storing, error: Error) -> Error {
    let is_of_lock = storing.lock.is_some() && error.kind() == Kind::Other;
    match is_of_lock && error.reason().contains("InvalidRequest") {
        true => {
            let why = format!("the bucket has no object locks ({})", error.reason());
            client.error(Kind::Unsupported, key, why)
        }
        false => error,
    }
}

/// The checksum of what was sent, and whether the store has the same.
fn check(client: &Client, key: &str, answer: &Answer, bytes: &[u8]) -> Result<(String, bool)> {
    let sha256 = sha256(bytes);
    match is_confirmed(answer, bytes, &sha256) {
        Ok(is_confirmed) => Ok((sha256, is_confirmed)),
        Err(_) => {
            let why = "the store received something else than was sent";
            Err(client.error(Kind::Checksum, key, why))
        }
    }
}

fn stored(object: Object, is_confirmed: bool) -> Stored {
    Stored {
        version: object.version,
        etag: object.etag,
        is_confirmed,
    }
}

/// Whether an object is locked for as long as it is to be: one that was there before may not be.
fn is_locked(object: &Object, storing: &Storing) -> bool {
    let lock = storing.lock.as_ref();
    lock.is_none_or(|lock| object.locked_until >= Some(lock.until))
}

/// What is there, if it has this content and is locked as it is to be.
fn same(client: &Client, key: &str, bytes: &[u8], storing: &Storing) -> Option<Stored> {
    let object = client.head(key, None).ok()?;
    let is_same = object.size == bytes.len() as u64
        && is_locked(&object, storing)
        && match &object.sha256 {
            Some(told) => *told == sha256(bytes),
            None => get_range(client, key, 0, object.size).is_ok_and(|there| there == bytes),
        };
    is_same.then(|| stored(object, true))
}

/// What is there, if the store tells that it is made of these parts, and it is locked as it is to be.
fn of_parts(
    client: &Client,
    key: &str,
    receipts: &[PartReceipt],
    storing: &Storing,
) -> Option<Stored> {
    let object = client.head(key, None).ok()?;
    let expected = sha256_of_parts(receipts);
    let is_same =
        object.sha256.as_ref().is_some_and(|it| *it == expected) && is_locked(&object, storing);
    (object.size == total_bytes(receipts) && is_same).then(|| stored(object, true))
}

/// Writes a small object.
pub(crate) fn put(client: &Client, key: &str, bytes: Vec<u8>, storing: &Storing) -> Result<Stored> {
    let store = client.writer(key, storing)?;
    let bytes = Bytes::from(bytes);
    let mut mode = match storing.may_replace {
        true => PutMode::Overwrite,
        false => PutMode::Create,
    };
    let mut is_unsure = false;
    client.retry.run(|| {
        let put = put_once(client, key, &store, &bytes, storing, mode.clone());
        let Err(error) = put else { return put };
        match error.kind() {
            Kind::Unreachable | Kind::Checksum => {
                is_unsure = true;
                Err(error)
            }
            Kind::AlreadyThere if is_unsure => same(client, key, &bytes, storing).ok_or(error),
            // And not that there are no locks.
            Kind::Unsupported
                if mode == PutMode::Create && error.reason().contains("NotImplemented") =>
            {
                // A store without conditions: it is asked first.
                check_absent(client, key)?;
                mode = PutMode::Overwrite;
                put_once(client, key, &store, &bytes, storing, PutMode::Overwrite)
            }
            _ => Err(error),
        }
    })
}

fn check_absent(client: &Client, key: &str) -> Result<()> {
    match client.head(key, None) {
        Ok(_) => Err(client.error(Kind::AlreadyThere, key, "")),
        // Who may only put cannot ask; the key has the hash of the content.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Refused) => Ok(()),
        Err(error) => Err(error),
    }
}

fn put_once(
    client: &Client,
    key: &str,
    store: &Store,
    bytes: &Bytes,
    storing: &Storing,
    mode: PutMode,
) -> Result<Stored> {
    let path = client.path(key)?;
    let how = PutOptions {
        mode,
        attributes: attributes(storing),
        ..PutOptions::default()
    };
    let work = store.objects.put_opts(&path, bytes.clone().into(), how);
    let put = client.once(key, work);
    let (put, answer) = put.map_err(|error| of_lock(client, key, storing, error))?;
    Ok(Stored {
        version: put.version,
        etag: put.e_tag,
        is_confirmed: check(client, key, &answer, bytes)?.1,
    })
}

/// Begins an upload.
pub(crate) fn begin(client: &Client, key: &str, storing: &Storing) -> Result<String> {
    let path = client.path(key)?;
    let store = client.writer(key, storing)?;
    client.retry.run(|| {
        let how = PutMultipartOptions {
            attributes: attributes(storing),
            ..PutMultipartOptions::default()
        };
        let begun = client.once(key, store.parts.create_multipart_opts(&path, how));
        Ok(begun
            .map_err(|error| of_lock(client, key, storing, error))?
            .0)
    })
}

/// Writes a part.
pub(crate) fn part(client: &Client, key: &str, upload: &str, part: Part) -> Result<PartReceipt> {
    let path = client.path(key)?;
    let Some(index) = part.number.checked_sub(1) else {
        return Err(client.error(Kind::Other, key, "parts are counted from 1"));
    };
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    let (upload, bytes) = (upload.to_owned(), Bytes::from(part.bytes));
    client.retry.run(|| {
        let parts = &client.store.parts;
        let work = parts.put_part(&path, &upload, index, bytes.clone().into());
        let (id, answer) = client.once(key, work).map_err(of_upload)?;
        let (sha256, is_confirmed) = check(client, key, &answer, &bytes)?;
        Ok(PartReceipt {
            number: part.number,
            offset: part.offset,
            bytes: bytes.len() as u64,
            sha256,
            is_confirmed,
            id: id.content_id,
        })
    })
}

/// Makes the object of its parts.
pub(crate) fn complete(
    client: &Client,
    key: &str,
    upload: &str,
    receipts: &[PartReceipt],
    storing: &Storing,
) -> Result<Stored> {
    let path = client.path(key)?;
    if let Some(gap) = gap(receipts) {
        return Err(client.error(Kind::Other, key, gap));
    }
    let upload = upload.to_owned();
    let mut may_replace = storing.may_replace;
    let mut is_unsure = false;
    client.retry.run(|| {
        let store = match may_replace {
            true => client.store.clone(),
            false => client.creator()?,
        };
        let ids = receipts.iter().map(|receipt| PartId {
            content_id: receipt.id.clone(),
        });
        let work = store
            .parts
            .complete_multipart(&path, &upload, ids.collect());
        let completed = client.once(key, work).map_err(of_upload);
        let error = match completed {
            Ok((put, _)) => {
                return Ok(Stored {
                    version: put.version,
                    etag: put.e_tag,
                    is_confirmed: receipts.iter().all(|receipt| receipt.is_confirmed),
                });
            }
            Err(error) => error,
        };
        match error.kind() {
            Kind::Unreachable => is_unsure = true,
            Kind::UnknownUpload | Kind::AlreadyThere if is_unsure => {
                return of_parts(client, key, receipts, storing).ok_or(error);
            }
            // A store without conditions: it is asked first, and then without one.
            Kind::Unsupported if !may_replace => {
                check_absent(client, key)?;
                may_replace = true;
                return Err(error.with_kind(Kind::Unreachable));
            }
            _ => {}
        }
        Err(error)
    })
}

/// Gives up an upload.
pub(crate) fn abort(client: &Client, key: &str, upload: &str) -> Result<()> {
    let path = client.path(key)?;
    let upload = upload.to_owned();
    let aborted = client.retry.run(|| {
        let work = client.store.parts.abort_multipart(&path, &upload);
        client.once(key, work).map_err(of_upload)
    });
    match aborted {
        Err(error) if error.kind() != Kind::UnknownUpload => Err(error),
        _ => Ok(()),
    }
}
