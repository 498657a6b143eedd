//! Reads the records that a location holds of hosts from their sidecars, one by one: they are the truth.
//!
//! Knows no list and no catalog.

use std::collections::HashMap;

use anyhow::{Context, Error, Result, bail, ensure};
use bk_offsite::failure::kind;
use bk_offsite::sidecars::{Held, Keys, archives_of, host_key, is_record};
use bk_remote::{Kind, Place};
use bk_schema::lines::LINE_MAX_BYTES;
use jiff::Timestamp;

use crate::fetch;

/// The record of an archive as it lies beside that.
#[derive(Debug, Clone)]
pub(crate) struct Sidecar {
    pub(crate) held: Held,
    /// Its text, in one line.
    pub(crate) text: String,
    /// When it was written, where the location tells it: as the last object of its backup.
    pub(crate) modified_at: Option<Timestamp>,
}

/// All sidecars of these hosts, as they are in keys. `fail` is told of each that cannot be read, with its host, and goes
/// on.
///
/// # Errors
/// Those of the location, by which no other could be read either.
pub(crate) fn read(
    place: &dyn Place,
    hosts: &[String],
    fail: &mut dyn FnMut(&str, &Error),
) -> Result<Vec<Sidecar>> {
    let (mut found, mut sizes) = (Vec::new(), HashMap::new());
    for host in hosts {
        let listed = place.list(&archives_of(host), &mut |listed| {
            match is_record(&listed.key) {
                true => found.push((host, listed.key, listed.modified_at)),
                false => _ = sizes.insert(listed.key, listed.size),
            }
            Ok(())
        });
        match listed.map_err(Error::from) {
            Err(error) if is_of_hosts(&error) => return Err(error),
            Err(error) => fail(host, &error),
            Ok(()) => {}
        }
    }
    let keys: Vec<_> = found.iter().map(|(_, key, _)| key.clone()).collect();
    let mut all = Vec::new();
    fetch::each(place, &keys, LINE_MAX_BYTES, |at, object| {
        let (host, key, modified_at) = &found[at];
        let sidecar = object.and_then(|object| {
            let sidecar = parse(&object, host, key, *modified_at)?;
            check_archive(place, &sizes, &sidecar.held)?;
            Ok(sidecar)
        });
        match sidecar {
            Ok(sidecar) => all.push(sidecar),
            Err(error) if is_of_all(&error) => return Err(error),
            Err(error) => {
                let error = error.context(format!("cannot use '{}'", key.escape_debug()));
                fail(host, &error);
            }
        }
        Ok(())
    })?;
    all.sort_by(|a, b| order(&a.held).cmp(&order(&b.held)));
    Ok(all)
}

/// Records stand by their hosts, then from the oldest to the newest.
pub(crate) fn order(held: &Held) -> (&str, Timestamp, i64, &str) {
    let backup = &held.backup;
    (&held.host, backup.created_at, backup.id, &held.copy.key)
}

/// Whether what failed for one object fails for all.
pub(crate) fn is_of_all(error: &Error) -> bool {
    use Kind::{Refused, Stopped, Unreachable, Unsupported};
    matches!(
        kind(error),
        Some(Refused | Stopped | Unreachable | Unsupported)
    )
}

/// Whether what failed for one host fails for all: one may have closed what is its own.
pub(crate) fn is_of_hosts(error: &Error) -> bool {
    is_of_all(error) && kind(error) != Some(Kind::Refused)
}

/// That the archive is there which a record tells of. What was not listed may have come meanwhile.
fn check_archive(place: &dyn Place, sizes: &HashMap<String, u64>, held: &Held) -> Result<()> {
    let (key, size) = (&held.copy.key, held.copy.size);
    if sizes.get(key) == Some(&size) {
        return Ok(());
    }
    let there = match place.head(key) {
        Err(error) if error.kind() == Kind::NotFound => bail!("its archive is not there"),
        there => there?.size,
    };
    ensure!(
        there == size,
        "its archive has {there} bytes and should have {size}"
    );
    Ok(())
}

fn parse(object: &[u8], host: &str, key: &str, modified_at: Option<Timestamp>) -> Result<Sidecar> {
    let held = Held::parse(object).context("it is no record of a copy")?;
    let is_own = Keys::of_archive(&held.copy.key).record == key && host_key(&held.host) == host;
    ensure!(is_own, "it tells of another object than the one beside it");
    let text = String::from_utf8(object.to_vec())?.trim().to_owned();
    Ok(Sidecar {
        held,
        text,
        modified_at,
    })
}
