//! The hosts of a location, and which of them are meant.
//!
//! Asks nothing of what they have there.

use anyhow::{Error, Result, anyhow};
use bk_cli::Arguments;
use bk_offsite::lists::LISTS;
use bk_offsite::sidecars::{archives_of, host_key};
use bk_remote::Place;
use bk_schema::host;
use bk_store::{Home, catalog};

use crate::flags::{ALL_HOSTS, HOST};

/// Which hosts are meant, as they are in keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hosts {
    One(String),
    All,
}

impl Hosts {
    /// As the command line has it: without a flag, this host.
    ///
    /// # Errors
    /// What is no name of a host; those of the catalog.
    pub(crate) fn new(arguments: &Arguments, home: &Home) -> Result<Self> {
        arguments.one_of(&[(HOST, ()), (ALL_HOSTS, ())])?;
        if arguments.has(&ALL_HOSTS) {
            return Ok(Self::All);
        }
        let name = match arguments.parsed(&HOST, host::parse)? {
            Some(name) => name,
            None => catalog::read(home, |session| session.host())?.name,
        };
        Ok(Self::One(host_key(&name)))
    }

    /// Whether one is meant.
    pub(crate) fn has(&self, host: &str) -> bool {
        match self {
            Self::One(name) => name == host,
            Self::All => true,
        }
    }
}

/// Every host that has objects, as it is in keys.
///
/// # Errors
/// Those of the location.
pub(crate) fn all(place: &dyn Place) -> Result<Vec<String>> {
    let mut all = place.list_dirs("")?;
    // A host may be named as the directory of the lists is.
    if let Some(at) = all.iter().position(|name| name == LISTS)
        && !has_archives(place, LISTS)?
    {
        all.remove(at);
    }
    all.sort();
    Ok(all)
}

/// Whether there are archives of a host: what else lies at a location is none.
///
/// # Errors
/// Those of the location.
pub(crate) fn has_archives(place: &dyn Place, host: &str) -> Result<bool> {
    let archives = archives_of(host);
    let below = place.list_dirs(host)?;
    Ok(below.iter().any(|dir| format!("{host}/{dir}") == archives))
}

/// There is nothing of a host: the message lists the others, as far as one reads them.
pub(crate) fn unknown(host: &str, location: &str, known: &[String]) -> Error {
    const TOLD_MAX: usize = 10;
    let told: Vec<_> = known.iter().take(TOLD_MAX).map(String::as_str).collect();
    let more = match known.len() - told.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let others = match told.as_slice() {
        [] => "nor of any other".to_owned(),
        told => format!("it has {}{more}: --host names one", told.join(", ")),
    };
    anyhow!(
        "'{location}' has nothing of the host '{}', {}",
        host.escape_debug(),
        others.escape_debug()
    )
}
