//! Objects read and listed from an object store; what breaks off goes on where it was.
//!
//! Knows no checksum: what is read is compared by who reads it.

use std::io::Write;

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta};

use crate::client::{Client, modified_at};
use crate::error::{Kind, Result};
use crate::place::Listed;
use crate::whole::cannot_write;

/// How many lines of a listing are taken over at once.
const LISTED_AT_ONCE: usize = 1000;

/// How far an object was read.
#[derive(Default)]
struct Reading {
    done: u64,
    size: Option<u64>,
    etag: Option<String>,
}

/// Writes the content of an object to a sink.
pub(crate) fn get(client: &Client, key: &str, sink: &mut dyn Write) -> Result<u64> {
    let mut reading = Reading::default();
    let mut attempts = client.retry.attempts();
    loop {
        let before = reading.done;
        match read_on(client, key, &mut reading, sink) {
            Ok(()) => return Ok(reading.done),
            Err(error) => {
                if reading.done > before {
                    attempts.progressed();
                }
                attempts.again(error)?;
            }
        }
    }
}

/// Reads on, until the end or a failure.
fn read_on(client: &Client, key: &str, reading: &mut Reading, sink: &mut dyn Write) -> Result<()> {
    if reading.size == Some(reading.done) {
        return Ok(());
    }
    let options = GetOptions {
        range: (reading.done > 0).then_some(GetRange::Offset(reading.done)),
        if_match: reading.etag.clone(),
        ..GetOptions::default()
    };
    let path = client.path(key)?;
    let got = client.once(key, client.store.objects.get_opts(&path, options));
    let (got, _) = got.map_err(|error| match error.kind() {
        Kind::AlreadyThere => client.error(Kind::Other, key, "it was replaced while it was read"),
        _ => error,
    })?;
    reading.size = Some(got.meta.size);
    reading.etag.clone_from(&got.meta.e_tag);
    let mut chunks = got.into_stream();
    while let (Some(chunk), _) = client.once(key, chunks.try_next())? {
        let written = sink.write_all(&chunk);
        written.map_err(|error| cannot_write(&client.location, key, error))?;
        reading.done += chunk.len() as u64;
    }
    match reading.size == Some(reading.done) {
        true => Ok(()),
        false => Err(client.error(Kind::Unreachable, key, "the content broke off")),
    }
}

/// Reads a part of the content.
pub(crate) fn get_range(client: &Client, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
    if length == 0 {
        return Ok(Vec::new());
    }
    let path = client.path(key)?;
    client.retry.run(|| {
        let options = GetOptions {
            range: Some(GetRange::Bounded(offset..offset.saturating_add(length))),
            ..GetOptions::default()
        };
        let work = async {
            client
                .store
                .objects
                .get_opts(&path, options)
                .await?
                .bytes()
                .await
        };
        Ok(client.once(key, work)?.0.into())
    })
}

fn listed(client: &Client, meta: &ObjectMeta) -> Option<Listed> {
    Some(Listed {
        key: client.key(&meta.location)?.to_owned(),
        size: meta.size,
        modified_at: modified_at(meta),
    })
}

/// Gives each object below a key to `each`.
pub(crate) fn list(
    client: &Client,
    below: &str,
    each: &mut dyn FnMut(Listed) -> Result<()>,
) -> Result<()> {
    let prefix = client.below(below)?;
    let mut attempts = client.retry.attempts();
    let mut last: Option<Path> = None;
    loop {
        let objects = &client.store.objects;
        let lines = match &last {
            None => objects.list(Some(&prefix)),
            Some(last) => objects.list_with_offset(Some(&prefix), last),
        };
        let mut chunks = lines.ready_chunks(LISTED_AT_ONCE);
        let failure = 'listing: loop {
            let work = async { Ok(chunks.next().await) };
            let (Some(chunk), answer) = client.once(below, work)? else {
                return Ok(());
            };
            for line in chunk {
                let meta = match line {
                    Ok(meta) => meta,
                    Err(error) => break 'listing answer.error(&client.location, &error).of(below),
                };
                if let Some(listed) = listed(client, &meta) {
                    each(listed)?;
                }
                last = Some(meta.location);
                attempts.progressed();
            }
        };
        attempts.again(failure)?;
    }
}

/// The names directly below a key that have objects below themselves.
pub(crate) fn list_dirs(client: &Client, below: &str) -> Result<Vec<String>> {
    let prefix = client.below(below)?;
    let listed = client.retry.run(|| {
        let work = client.store.objects.list_with_delimiter(Some(&prefix));
        Ok(client.once(below, work)?.0)
    })?;
    let names = listed.common_prefixes.iter().filter_map(|path| {
        let name = client.key(path)?.rsplit('/').next()?;
        Some(name.to_owned())
    });
    Ok(names.collect())
}
