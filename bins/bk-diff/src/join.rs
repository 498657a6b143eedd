//! Brings the entries of two archives together by their names.
//!
//! Both come in an order, mostly the same: then little waits to be met. Knows no archive.

use std::collections::HashMap;

use anyhow::Result;
use bk_schema::manifest::{Entry, parts};

/// The entries of one side, each name once.
pub(crate) type Entries<'a> = Box<dyn FnMut() -> Result<Option<Entry>> + 'a>;

/// One side, with the entry that is next, and those that were not met yet.
struct Side<'a> {
    entries: Entries<'a>,
    next: Option<Entry>,
    waiting: HashMap<Vec<u8>, Entry>,
}

impl<'a> Side<'a> {
    fn new(mut entries: Entries<'a>) -> Result<Self> {
        Ok(Self {
            next: entries()?,
            entries,
            waiting: HashMap::new(),
        })
    }

    /// Takes the next entry.
    fn take(&mut self) -> Result<Option<Entry>> {
        let after = match self.next {
            Some(_) => (self.entries)()?,
            None => None,
        };
        Ok(std::mem::replace(&mut self.next, after))
    }
}

/// Gives each name with what the old and the new side have of it, in no order.
///
/// # Errors
/// Those of either side and of `each`.
pub(crate) fn join(
    old: Entries<'_>,
    new: Entries<'_>,
    each: &mut dyn FnMut(Option<Entry>, Option<Entry>) -> Result<()>,
) -> Result<()> {
    let (mut old, mut new) = (Side::new(old)?, Side::new(new)?);
    loop {
        let is_old_first = match (&old.next, &new.next) {
            (Some(one), Some(other)) if one.path == other.path => {
                each(old.take()?, new.take()?)?;
                continue;
            }
            (Some(one), Some(other)) => parts(&one.path).lt(parts(&other.path)),
            (None, None) => break,
            (one, _) => one.is_some(),
        };
        let (this, that) = match is_old_first {
            true => (&mut old, &mut new),
            false => (&mut new, &mut old),
        };
        let Some(entry) = this.take()? else { continue };
        match that.waiting.remove(&entry.path) {
            Some(met) if is_old_first => each(Some(entry), Some(met))?,
            Some(met) => each(Some(met), Some(entry))?,
            None => drop(this.waiting.insert(entry.path.clone(), entry)),
        }
    }
    for entry in old.waiting.into_values() {
        each(Some(entry), None)?;
    }
    for entry in new.waiting.into_values() {
        each(None, Some(entry))?;
    }
    Ok(())
}
