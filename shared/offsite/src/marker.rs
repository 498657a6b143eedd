//! Which location a directory is: its marker tells the id that the setting keeps. Another disk may be mounted there, or
//! none: what is not found then is not gone.
//!
//! Knows no setting. Only directories have one: nothing else is ever behind the name of a bucket. It is written as that
//! of a storage.

use anyhow::{Context, Result};
use bk_remote::{Kind, Place, Storing};
use bk_store::storage::{MARKER_MAX_BYTES, Marker, new_id};

/// The object that tells it, beside the hosts.
pub const MARKER: &str = ".bk-location";

/// The id that the marker of a place tells; `None` where it has none, or is not there at all.
///
/// # Errors
/// What is no marker, and one that cannot be read.
pub fn read(place: &dyn Place) -> Result<Option<String>> {
    let text = match place.get_range(MARKER, 0, MARKER_MAX_BYTES) {
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        text => text?,
    };
    let marker: Marker = serde_json::from_slice(&text)
        .with_context(|| format!("its '{MARKER}' is no marker of bk: remove that file"))?;
    Ok(Some(marker.id))
}

/// The id of a place; where it has no marker, one is left, which tells `known` if that is given. Where another process
/// is faster, its marker counts.
///
/// # Errors
/// A place that cannot be written to, or that is not there.
pub fn leave(place: &dyn Place, known: Option<&str>) -> Result<String> {
    if let Some(id) = read(place)? {
        return Ok(id);
    }
    let id = known.map_or_else(new_id, str::to_owned);
    let text = format!("{}\n", serde_json::to_string(&Marker { id: id.clone() })?);
    match place.put(MARKER, text.into_bytes(), &Storing::default()) {
        Err(error) if error.kind() == Kind::AlreadyThere => {
            read(place)?.context("its marker went as it was read")
        }
        put => Ok(put.map(|_| id)?),
    }
}
