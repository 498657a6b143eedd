//! The ledger in pages, each read in a session of its own: a ledger of any length passes
//! through little memory, and the catalog is held by nobody who prints.
//!
//! Rows are only added, and their ids only grow, so that a page begins after the last one.

use anyhow::{Error, Result};
use bk_schema::event::{BadEntry, Entry};
use bk_schema::lines::{Identity, Line};
use bk_store::catalog;
use bk_store::history::Wanted;
use bk_store::home::Home;
use bk_store::session::Session;

/// Rows in one session: to open a catalog takes as long as to read so many.
const PAGE: usize = 50_000;

/// Rows, oldest first.
pub(crate) type Page = Vec<Result<Entry, BadEntry>>;

/// What a ledger begins with.
pub(crate) struct Begun {
    /// Where one is, and the rows before; `None` where no backup is left to tell of.
    pub(crate) first: Option<(Ledger, Page)>,
    /// Why some of the backups that were asked for are left out: nobody knows them.
    pub(crate) unknown: Vec<Error>,
}

/// Where in the ledger one is.
pub(crate) struct Ledger {
    home: Home,
    wanted: Wanted,
}

impl Ledger {
    /// Its first page, of all backups or of those.
    ///
    /// # Errors
    /// Those of the catalog.
    pub(crate) fn open(
        home: Home,
        mut wanted: Wanted,
        backups: Option<Vec<Line>>,
    ) -> Result<Begun> {
        let (page, unknown) = catalog::read(&home, |session| {
            let unknown = match &backups {
                None => Vec::new(),
                Some(lines) => choose(session, lines, &mut wanted)?,
            };
            if backups.is_some() && wanted.backups.is_empty() {
                return Ok((None, unknown));
            }
            if let Some(limit) = wanted.limit.take() {
                wanted.after_id = session.before_newest(&wanted, limit)?;
            }
            wanted.page = Some(PAGE);
            Ok((Some(session.events(&wanted)?), unknown))
        })?;
        let first = page.map(|page| {
            let mut ledger = Self { home, wanted };
            ledger.pass(&page);
            (ledger, page)
        });
        Ok(Begun { first, unknown })
    }

    /// What comes after the last page, waiting for the catalog as `home` says.
    ///
    /// # Errors
    /// Those of the catalog.
    pub(crate) fn next(&mut self) -> Result<Page> {
        let page = catalog::read(&self.home, |session| session.events(&self.wanted))?;
        self.pass(&page);
        Ok(page)
    }

    /// Where the catalog is, and how long it is waited for.
    pub(crate) fn home(&mut self) -> &mut Home {
        &mut self.home
    }

    fn pass(&mut self, page: &Page) {
        let id = |row: &Result<Entry, BadEntry>| match row {
            Ok(entry) => entry.id,
            Err(bad) => bad.id,
        };
        self.wanted.after_id = page.last().map(id).or(self.wanted.after_id);
    }
}

/// Whether there may be another page now.
pub(crate) fn is_full(page: &Page) -> bool {
    page.len() >= PAGE
}

/// The backups that lines mean, also those that are gone; a name too, as one may come that has
/// it.
fn choose(session: &Session<'_>, lines: &[Line], wanted: &mut Wanted) -> Result<Vec<Error>> {
    let identities: Vec<_> = lines.iter().map(|line| line.identity.clone()).collect();
    let mut unknown = Vec::new();
    for (ids, identity) in session.histories(&identities)?.into_iter().zip(identities) {
        match ids {
            Ok(ids) => {
                let by_id = ids.into_iter().map(|id| Identity {
                    id: Some(id),
                    name: None,
                });
                wanted.backups.extend(by_id);
                wanted.backups.push(identity);
            }
            Err(error) => unknown.push(error),
        }
    }
    Ok(unknown)
}
