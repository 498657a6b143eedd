//! Which backups go: those of the given lines, resolved part by part as the catalog is then, less
//! those that may not be removed.
//!
//! Prints nothing and opens no catalog; of a removal under way it asks who holds the archive.

use std::collections::{HashMap, HashSet};
use std::vec;

use anyhow::{Context, Result, anyhow, bail};
use bk_cli::copies;
use bk_schema::lines::{Identity, Line};
use bk_schema::record::{Backup, Status};
use bk_store::removal::{self, Candidate};
use bk_store::rows::Unknown;
use bk_store::{Home, Session};
use serde_json::{Map, Value};

/// What the flags allow.
#[derive(Debug, Clone)]
pub(crate) struct Allowed {
    /// The removal of protected ones.
    pub(crate) protected: bool,
    /// That of records whose storage is not there.
    pub(crate) offline: bool,
    /// Locations, at each of which there must be a complete copy.
    pub(crate) require_copy: Vec<String>,
}

/// A candidate with the line that it came by.
pub(crate) type Chosen = Candidate<Map<String, Value>>;

/// The lines on their way.
pub(crate) struct Choice {
    lines: vec::IntoIter<Line>,
    home: Home,
    allowed: Allowed,
    /// The names of those that were chosen or refused, by their ids: a backup that is given
    /// twice is removed once.
    seen: HashMap<i64, String>,
    seen_names: HashSet<String>,
    refused: Vec<anyhow::Error>,
}

impl Choice {
    pub(crate) fn new(home: Home, lines: Vec<Line>, allowed: Allowed) -> Self {
        Self {
            lines: lines.into_iter(),
            home,
            allowed,
            seen: HashMap::new(),
            seen_names: HashSet::new(),
            refused: Vec::new(),
        }
    }

    /// The next that go, at most so many; none when all lines are done.
    pub(crate) fn next(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Chosen>> {
        copies::check_known(session, &self.allowed.require_copy)?;
        loop {
            let part: Vec<_> = self.lines.by_ref().take(at_most).collect();
            if part.is_empty() {
                return Ok(Vec::new());
            }
            let part: Vec<_> = part.into_iter().filter(|it| !self.is_seen(it)).collect();
            let chosen = self.resolve(session, part)?;
            if !chosen.is_empty() {
                return Ok(chosen);
            }
        }
    }

    /// Those that were refused since this was last asked, and why.
    pub(crate) fn take_refused(&mut self) -> Vec<anyhow::Error> {
        std::mem::take(&mut self.refused)
    }

    fn is_seen(&self, line: &Line) -> bool {
        match (&line.identity.id, &line.identity.name) {
            (Some(id), Some(name)) => self.seen.get(id) == Some(name),
            (Some(id), None) => self.seen.contains_key(id),
            (None, name) => name.as_ref().is_some_and(|it| self.seen_names.contains(it)),
        }
    }

    fn resolve(&mut self, session: &Session<'_>, part: Vec<Line>) -> Result<Vec<Chosen>> {
        let wanted: Vec<_> = part.iter().map(|line| line.identity.clone()).collect();
        let (mut chosen, mut unknown) = (Vec::new(), Vec::new());
        for (found, line) in session.find(&wanted)?.into_iter().zip(part) {
            match found {
                // Said twice, it would remove two.
                Ok(backup) if stands_for(&line.identity, &backup) => {
                    let (given, name) = (&line.identity, &backup.backup_name);
                    self.refused.push(anyhow!(
                        "cannot remove {given}: that is '{name}' now: give its name or its id"
                    ));
                }
                Ok(backup) => chosen.extend(self.choose(backup, line.object)),
                Err(error) if error.is::<Unknown>() => unknown.push(line.identity),
                Err(error) => self.refused.push(error),
            }
        }
        self.refuse_unknown(session, &unknown)?;
        Ok(chosen)
    }

    fn choose(&mut self, backup: Backup, line: Map<String, Value>) -> Option<Chosen> {
        let name = backup.backup_name.clone();
        if self.seen.insert(backup.id, name.clone()).is_some() {
            return None;
        }
        self.seen_names.insert(name);
        let checked = check_allowed(&self.home, &backup, &line, &self.allowed);
        let shown = backup.backup_name.escape_debug();
        let checked = checked.with_context(|| format!("cannot remove '{shown}'"));
        match checked {
            Ok(()) => Some(Candidate {
                backup,
                details: Map::new(),
                with: line,
            }),
            Err(error) => {
                self.refused.push(error);
                None
            }
        }
    }

    /// What is not in the catalog was removed, as the ledger may tell, or never there.
    fn refuse_unknown(&mut self, session: &Session<'_>, unknown: &[Identity]) -> Result<()> {
        for (identity, removed) in unknown.iter().zip(session.removals(unknown)?) {
            self.refused.push(match removed {
                Some(removed) => removed.into(),
                None => Unknown(identity.clone()).into(),
            });
        }
        Ok(())
    }
}

/// Whether it is named `latest`, as it were.
fn stands_for(identity: &Identity, backup: &Backup) -> bool {
    identity.latest().is_some() && identity.name.as_ref() != Some(&backup.backup_name)
}

/// Whether its record, as it is now, and the line that named it allow the removal.
fn check_allowed(
    home: &Home,
    backup: &Backup,
    line: &Map<String, Value>,
    allowed: &Allowed,
) -> Result<()> {
    if line.contains_key("path") {
        bail!(
            "its line tells a file in it, as bk-find does, and all of it would go: give its name or its id"
        );
    }
    if is_kept(line) {
        bail!("its line says that it is to be kept");
    }
    let is_released =
        || allowed.offline && home.storages.check(backup.backup_path.as_ref()).is_err();
    let is_free = match backup.status {
        // Nobody works on a storage that is not there, and no recovery will settle the row.
        Status::Creating | Status::Moving => is_released(),
        Status::Deleting => !removal::is_under_way(home, backup),
        Status::Completed | Status::Failed => true,
    };
    if let Some(obstacle) = backup.status.obstacle()
        && !is_free
    {
        bail!(obstacle);
    }
    if backup.protected && !allowed.protected {
        bail!("it is protected; --force-protected removes it all the same");
    }
    if let Some(location) = copies::lacking(backup, &allowed.require_copy).next() {
        let name = backup.backup_name.escape_debug();
        bail!("it has no copy at '{location}': bk-push {location} {name} makes one");
    }
    Ok(())
}

/// What `bk-prune --explain` writes of what stays.
fn is_kept(line: &Map<String, Value>) -> bool {
    let decision = line.get("decision");
    let action = decision.and_then(|decision| decision.get("action"));
    action.is_some_and(|action| action == "keep")
}
