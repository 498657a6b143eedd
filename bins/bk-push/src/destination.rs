//! A location as the settings keep it: where it is, and how archives are kept there.
//!
//! Holds no secret. Connects to nothing.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bk_remote::{Location, Place, Storing};
use bk_store::{Home, Signals, catalog};
use serde::{Deserialize, Serialize};

/// The setting of a location, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Destination {
    #[serde(flatten)]
    pub(crate) location: Location,
    /// A file with the credentials, by an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credentials: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) storage_class: Option<String>,
    /// Bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit_rate: Option<u64>,
}

impl Destination {
    /// The location of that name.
    ///
    /// # Errors
    /// An unknown one: the message lists those that there are.
    pub(crate) fn named(home: &Home, name: &str) -> Result<Self> {
        let all = catalog::read(home, |session| session.locations())?;
        let found = all.iter().find(|(known, _)| known == name);
        let Some((_, text)) = found else {
            return Err(unknown(name, all.iter().map(|(known, _)| known.as_str())));
        };
        Self::parse(name, text)
    }

    /// The text of a setting.
    ///
    /// # Errors
    /// One that another program wrote.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        serde_json::from_str(text).with_context(|| {
            format!("the setting of the location '{name}' is damaged; 'bk-push --set {name} URL' replaces it")
        })
    }

    /// How objects are kept there.
    pub(crate) fn storing(&self) -> Storing {
        Storing {
            storage_class: self.storage_class.clone(),
            ..Storing::default()
        }
    }

    /// Ready to be spoken with; a signal ends what waits for it.
    ///
    /// # Errors
    /// Credentials that are missing or that others can read.
    pub(crate) fn open(&self, signals: &Signals) -> Result<Box<dyn Place>> {
        let signals = signals.clone();
        let options = bk_remote::Options {
            credentials: self.credentials.clone(),
            limit_rate: self.limit_rate,
            is_stopped: std::sync::Arc::new(move || signals.caught().is_some()),
            ..bk_remote::Options::default()
        };
        Ok(bk_remote::open(&self.location, &options)?)
    }
}

/// A location that nobody has named.
pub(crate) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> anyhow::Error {
    let known: Vec<_> = known.collect();
    let name = name.escape_debug();
    let there = match known.is_empty() {
        true => format!("'bk-push --set {name} URL' names one"),
        false => format!("there are: {}", known.join(", ")),
    };
    bk_cli::UsageError(format!("there is no location '{name}': {there}")).into()
}
