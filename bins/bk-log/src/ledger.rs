//! Reads the ledger page by page, each in a session of its own: the memory is bounded, and the
//! catalog is not locked while rows are printed.
//!
//! Rows are only added and their ids only grow, so a page is all rows after the last id.

use anyhow::{Error, Result};
use bk_schema::event::LedgerRow;
use bk_schema::lines::{Identity, Line};
use bk_store::history::{DamagedRow, Wanted};
use bk_store::{Home, Session, catalog};

/// Rows per page: reading so many takes about as long as opening the catalog.
const PAGE: usize = 50_000;

/// Rows, oldest first.
pub(crate) type Page = Vec<Result<LedgerRow, DamagedRow>>;

/// The reader and its first page, `None` if none of the requested backups is known; and an error
/// for each that is not.
pub(crate) type Opened = (Option<(Ledger, Page)>, Vec<Error>);

/// A reader of the ledger, after some page.
pub(crate) struct Ledger {
    /// With the lock timeout of the next page.
    pub(crate) home: Home,
    wanted: Wanted,
}

impl Ledger {
    /// Reads the first page: the rows of all backups, or of the given ones.
    pub(crate) fn open(
        home: Home,
        mut wanted: Wanted,
        backups: Option<Vec<Line>>,
    ) -> Result<Opened> {
        let (page, unknown) = catalog::read(&home, |session| {
            let unknown = match &backups {
                None => Vec::new(),
                Some(lines) => select_backups(session, lines, &mut wanted)?,
            };
            if backups.is_some() && wanted.backups.is_empty() {
                return Ok((None, unknown));
            }
            wanted.after_id = session.before_newest(&wanted)?;
            wanted.page = Some(PAGE);
            Ok((Some(session.events(&wanted)?), unknown))
        })?;
        let first = page.map(|page| {
            let mut ledger = Self { home, wanted };
            ledger.advance(&page);
            (ledger, page)
        });
        Ok((first, unknown))
    }

    /// Reads the next page.
    pub(crate) fn next(&mut self) -> Result<Page> {
        let page = catalog::read(&self.home, |session| session.events(&self.wanted))?;
        self.advance(&page);
        Ok(page)
    }

    fn advance(&mut self, page: &Page) {
        let id = |row: &Result<LedgerRow, DamagedRow>| match row {
            Ok(entry) => entry.id,
            Err(bad) => bad.id,
        };
        self.wanted.after_id = page.last().map(id).or(self.wanted.after_id);
    }
}

/// Whether there may be another page.
pub(crate) fn is_full(page: &Page) -> bool {
    page.len() >= PAGE
}

/// Adds the requested backups to `wanted`, removed ones too. A name is kept beside the ids, for
/// backups that get it later.
fn select_backups(
    session: &Session<'_>,
    lines: &[Line],
    wanted: &mut Wanted,
) -> Result<Vec<Error>> {
    let identities: Vec<_> = lines.iter().map(|line| line.identity.clone()).collect();
    let mut unknown = Vec::new();
    for (ids, identity) in session.histories(&identities)?.into_iter().zip(identities) {
        match ids {
            Ok(ids) => {
                wanted
                    .backups
                    .extend(ids.into_iter().map(Identity::from_id));
                wanted.backups.push(identity);
            }
            Err(error) => unknown.push(error),
        }
    }
    Ok(unknown)
}
