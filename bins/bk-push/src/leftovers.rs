//! Journals that nobody goes on with: the catalog has the copy, or the backup is gone. They are removed, and what
//! was begun is given up.
//!
//! Knows no archive.

use anyhow::Result;
use bk_remote::{Kind, Place};
use bk_store::rows::Unknown;
use bk_store::{Home, catalog};

use crate::journal::{self, Journal};

/// Removes those of a location.
///
/// # Errors
/// Those of the catalog and of the file system.
pub(crate) fn remove(home: &Home, location: &str, place: &dyn Place) -> Result<()> {
    let ids = journal::ids(&home.dir, location)?;
    if ids.is_empty() {
        return Ok(());
    }
    let found = catalog::read(home, |session| session.find_ids(ids.iter().copied()))?;
    for (id, found) in ids.into_iter().zip(found) {
        let has_copy = match found {
            Ok(backup) => Some(backup.has_copy(location)),
            Err(error) if error.is::<Unknown>() => None,
            // A record that cannot be read is not gone.
            Err(_) => continue,
        };
        if has_copy == Some(false) {
            continue;
        }
        let Some(journal) = Journal::take(&home.dir, location, id)? else {
            continue;
        };
        let plan = journal.plan.as_ref().filter(|_| has_copy.is_none());
        let given_up = plan.map_or(Ok(()), |it| place.abort(&it.key, &it.upload_id));
        // Whoever may only put leaves it to the rule of the bucket.
        let may_come = given_up.is_err_and(|error| error.kind() != Kind::Refused);
        if !may_come {
            journal.remove();
        }
    }
    Ok(())
}
