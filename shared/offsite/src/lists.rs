//! The lists of a location: the records that it holds of a host and catalog, together in one Parquet file, by
//! which many hosts are seen with few requests. The truth is in the sidecars; a list may be behind.
//!
//! Knows no catalog but by its id.

use anyhow::{Context, Result, ensure};
use bk_remote::{Place, Storing};
use bk_store::record_list::{self, Reader};

use crate::sidecars::{Held, host_key};

/// The key below which the lists of all hosts are, beside the hosts: one request finds them.
pub const LISTS: &str = "records";
const ENDING: &str = ".parquet";
/// No list is larger: it is one of a hundred thousand records and more.
pub const MAX_BYTES: u64 = 256 << 20;

/// Which list: two catalogs of a host do not replace that of each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct List {
    /// The host as it is in keys.
    pub host: String,
    /// The id of the catalog, which has no dot.
    pub catalog: String,
}

impl List {
    /// The one of a host and a catalog.
    #[must_use]
    pub fn new(host: &str, catalog: &str) -> Self {
        Self {
            host: host_key(host),
            catalog: catalog.to_owned(),
        }
    }

    /// The one that a record belongs to.
    #[must_use]
    pub fn of(held: &Held) -> Self {
        Self::new(&held.host, &held.catalog)
    }

    /// The name of the object.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{LISTS}/{}.{}{ENDING}", self.host, self.catalog)
    }

    /// `None` of what is none: a host may be named as the lists are.
    fn of_key(key: &str) -> Option<Self> {
        let name = key.strip_prefix(LISTS)?.strip_prefix('/')?;
        let (host, catalog) = name.strip_suffix(ENDING)?.rsplit_once('.')?;
        let is_own = !host.is_empty() && !catalog.is_empty() && !name.contains('/');
        is_own.then(|| Self {
            host: host.to_owned(),
            catalog: catalog.to_owned(),
        })
    }
}

/// Every list that is at a location.
///
/// # Errors
/// Those of the location.
pub fn all(place: &dyn Place) -> Result<Vec<List>> {
    let mut all = Vec::new();
    place.list(LISTS, &mut |listed| {
        all.extend(List::of_key(&listed.key));
        Ok(())
    })?;
    all.sort();
    Ok(all)
}

/// Writes a list, instead of the one that is there: the texts of sidecars.
///
/// # Errors
/// Those of the location; more records than a list takes.
pub fn write(place: &dyn Place, list: &List, records: &[String]) -> Result<()> {
    let content = record_list::write(records)?;
    let storing = Storing {
        may_replace: true,
        ..Storing::default()
    };
    place.put(&list.key(), content, &storing)?;
    Ok(())
}

/// The records of a list that was fetched.
///
/// # Errors
/// What is no list, or another one.
pub fn read(reader: &Reader, list: &List, content: &[u8]) -> Result<Vec<Held>> {
    let texts = reader.read(content).context("it is no list of records")?;
    let parse = |text: String| {
        let held = Held::parse(text.as_bytes()).context("a record in it is damaged")?;
        ensure!(
            List::of(&held) == *list,
            "it holds a record of another host"
        );
        Ok(held)
    };
    texts.into_iter().map(parse).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_found_by_its_key_and_what_is_none_is_not() {
        for host in ["web1", "web1.example.org", ".hidden", "a/b", "records"] {
            let list = List::new(host, "c0ffee");
            assert_eq!(List::of_key(&list.key()), Some(list));
        }
        for other in [
            "records/archives/a-000000000000.parquet",
            "records/web1.parquet",
            "records/.c0ffee.parquet",
            "records/web1.c0ffee.json",
            "web1/archives/a.b.parquet",
        ] {
            assert_eq!(List::of_key(other), None, "{other}");
        }
    }
}
