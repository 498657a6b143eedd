//! Keeps the lists of what this catalog knows to be at a location: they are written anew at the end of a run.
//!
//! Asks the location nothing of its own: whoever copies may have no right to.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Error, Result};
use bk_offsite::failure::is_final;
use bk_offsite::lists::{self, List};
use bk_offsite::sidecars::Held;
use bk_remote::{Kind, Place};
use bk_store::record_list::Reader;
use bk_store::{Home, Signals, catalog};

use crate::flags::PROGRAM;
use crate::journal::Journal;

/// The texts that belong into each list, by the keys of their archives.
pub(crate) type Lists = BTreeMap<List, BTreeMap<String, String>>;

/// By the records that lie beside the copies which the catalog knows.
///
/// # Errors
/// Those of the catalog.
pub(crate) fn known(home: &Home, location: &str) -> Result<Lists> {
    let texts = catalog::read(home, |session| session.held_at(location))?;
    let mut all = Lists::new();
    for text in texts {
        match Held::parse(text.as_bytes()) {
            Ok(held) => {
                let list = all.entry(List::of(&held)).or_default();
                list.insert(held.copy.key, text);
            }
            Err(error) => PROGRAM.warn(&format!(
                "warning: the catalog tells of a copy at '{location}' what no list can: {error:#}"
            )),
        }
    }
    Ok(all)
}

/// Two at once write one after the other: who writes last has read the catalog last. `None` where a signal
/// came first.
fn lock(home: &Home, location: &str, signals: &Signals) -> Result<Option<Journal>> {
    /// Of no backup.
    const LISTS: i64 = 0;
    const WAIT: Duration = Duration::from_millis(50);
    while signals.caught().is_none() {
        if let Some(journal) = Journal::take(&home.dir, location, LISTS)? {
            return Ok(Some(journal));
        }
        sleep(WAIT);
    }
    Ok(None)
}

/// Writes the lists of this catalog, which an earlier run may have left behind, and those of others that
/// changed since `before`: of copies that were adopted. Whatever fails there is a warning, as no copy is worse
/// for it.
///
/// # Errors
/// Those of the catalog and of the home.
pub(crate) fn write(
    home: &Home,
    location: &str,
    place: &dyn Place,
    signals: &Signals,
    before: Option<&Lists>,
) -> Result<()> {
    let Some(_lock) = lock(home, location, signals)? else {
        return Ok(());
    };
    let (host, own) = catalog::read(home, |session| Ok((session.host()?, session.catalog_id()?)))?;
    let now = known(home, location)?;
    let mut due = BTreeSet::new();
    if let Some(own) = &own {
        due.insert(List::new(&host.name, own));
        due.extend(now.keys().filter(|it| it.catalog == *own).cloned());
    }
    if let Some(before) = before {
        let all = before.keys().chain(now.keys());
        due.extend(all.filter(|it| before.get(it) != now.get(it)).cloned());
    }
    for list in due {
        let texts = now.get(&list).cloned().unwrap_or_default();
        let written = match before.and_then(|it| it.get(&list)) {
            Some(before) if own.as_ref() != Some(&list.catalog) => {
                let gone = before.keys().filter(|key| !texts.contains_key(*key));
                take_out(place, &list, &gone.collect())
            }
            _ => lists::write(place, &list, &texts.into_values().collect::<Vec<_>>()),
        };
        if let Err(error) = written {
            tell(&list, location, &error);
            if is_final(&error) {
                break;
            }
        }
    }
    Ok(())
}

/// Takes records out of the list of another catalog, which may know of more than this one.
fn take_out(place: &dyn Place, list: &List, gone: &BTreeSet<&String>) -> Result<()> {
    let content = match place.get_range(&list.key(), 0, lists::MAX_BYTES) {
        // A record too many does no harm where its object has another one now.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Refused) => return Ok(()),
        got => got?,
    };
    let Ok(all) = Reader::new().and_then(|reader| lists::read(&reader, list, &content)) else {
        // Where there is none, the records are read one by one.
        return Ok(place.delete(&list.key(), None)?);
    };
    let left = all.iter().filter(|held| !gone.contains(&held.copy.key));
    let texts: Vec<_> = left.map(Held::text).collect::<Result<_>>()?;
    lists::write(place, list, &texts)
}

fn tell(list: &List, location: &str, error: &Error) {
    let key = list.key();
    PROGRAM.warn(&format!(
        "warning: cannot write '{}' at '{location}', by which 'bk-pull --list' knows what is there: {error:#}; the next bk-push tries it again",
        key.escape_debug()
    ));
}
