//! A location as the settings keep it: where it is, and how archives are kept there.
//!
//! Holds no secret. Connects to nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use bk_cli::copies::unknown_location;
use bk_cli::units::{parse_future, parse_size};
use bk_cli::{Arguments, Flag, Progress, UsageError, usage};
use bk_remote::{CanLock, Kind, Location, Lock, LockMode, Place, Service, Storing};
use bk_schema::copy::BackupCopy;
use bk_schema::invalid::invalid;
use bk_schema::record::Backup;
use bk_store::{Home, Session, Signals, catalog};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::encryption::check_recipient;
use crate::failure::kind;
use crate::marker::{self, MARKER};

/// So many copies are asked for, of which one must be there, to tell that a directory is the location.
const ASKED_MAX: usize = 50;

/// The setting of a location, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Destination {
    /// Where it is.
    #[serde(flatten)]
    pub location: Location,
    /// A file with the credentials, by an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// What the store is to keep objects as, by its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// How long objects are locked; not at all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockFor>,
    /// The public keys that objects are encrypted to; not at all without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_rate: Option<u64>,
    /// What the marker of a directory tells; none where none could be left yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Destination {
    /// The location of that name.
    ///
    /// # Errors
    /// An unknown one: the message lists those that there are. No catalog: its remedy is another one than elsewhere, as
    /// what a backup makes knows of no location.
    pub fn named(home: &Home, name: &str) -> Result<Self> {
        ensure!(
            home.has_catalog(),
            "there is no catalog in '{}' yet: 'bk-push --set {} URL' makes one that knows of the location",
            home.dir.display(),
            name.escape_debug()
        );
        catalog::read(home, |session| Self::of(session, name))
    }

    fn of(session: &Session<'_>, name: &str) -> Result<Self> {
        let all = session.locations()?;
        match all.iter().find(|(known, _)| known == name) {
            Some((_, text)) => Self::parse(name, text),
            None => Err(unknown(name, &all)),
        }
    }

    /// Checks that the name still stands for this place: what is recorded under it would count as being at another.
    ///
    /// # Errors
    /// One that was set to another place, or forgotten.
    pub fn check_current(&self, session: &Session<'_>, name: &str) -> Result<()> {
        let current = Self::of(session, name)?;
        ensure!(
            current.url() == self.url(),
            "'{name}' was set to another place meanwhile, {}: run it again",
            current.url()
        );
        Ok(())
    }

    /// The text of a setting.
    ///
    /// # Errors
    /// One that another program wrote.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        serde_json::from_str(text).with_context(|| {
            format!("the setting of the location '{name}' is damaged; 'bk-push --set {name} URL' replaces it")
        })
    }

    /// What the marker of a directory tells, which is left where there is none; `None` of any other place. `copies` are
    /// those that are known there.
    ///
    /// # Errors
    /// A directory that has none of the copies, and so is another one; those of the place.
    pub fn identify(&self, place: &dyn Place, copies: &[BackupCopy]) -> Result<Option<String>> {
        // Of one that is not there, whoever needs it tells more.
        if self.location.service() != Service::Directory || place.list_dirs("").is_err() {
            return Ok(self.id.clone());
        }
        let found = marker::read(place)?;
        if found.is_none() || self.id.is_none() {
            let asked = || copies.iter().rev().take(ASKED_MAX);
            ensure!(
                copies.is_empty() || asked().any(|it| place.head(&it.object_key).is_ok()),
                "none of the copies that are known at {} is there: mount its disk; where they are lost, 'bk-push --unset --lost' forgets them",
                self.location
            );
        }
        match found {
            Some(id) => Ok(Some(id)),
            None => marker::leave(place, self.id.as_deref()).map(Some),
        }
    }

    /// Keeps the id of a directory from now on, of which none was known.
    ///
    /// # Errors
    /// As [`identify`](Self::identify), but for a directory that cannot be written to; those of the catalog; a name that
    /// was set anew.
    pub fn settle(&mut self, home: &Home, name: &str, place: &dyn Place) -> Result<()> {
        if self.location.service() != Service::Directory || self.id.is_some() {
            return Ok(());
        }
        let copies = catalog::read(home, |session| session.complete_at(name))?;
        let id = match self.identify(place, &copies) {
            Err(error) if kind(&error).is_some() => return Ok(()),
            id => id?,
        };
        let Some(id) = id else { return Ok(()) };
        catalog::write(home, |session| {
            self.check_current(session, name)?;
            let kept = Self {
                id: Some(id.clone()),
                ..Self::of(session, name)?
            };
            session.set_location(name, &serde_json::to_string(&kept)?)
        })?;
        self.id = Some(id);
        Ok(())
    }

    /// How the objects of a backup are kept there.
    ///
    /// # Errors
    /// A lock until the expiry of a backup that has none.
    pub fn storing(&self, backup: &Backup, now: Timestamp) -> Result<Storing> {
        let lock = self.lock.as_ref().map(|it| it.until(backup, now));
        Ok(Storing {
            storage_class: self.storage_class.clone(),
            lock: lock.transpose()?,
            ..Storing::default()
        })
    }

    /// Whether objects can be locked there, where they are to be.
    ///
    /// # Errors
    /// A place without locks: what is sent there would not be safe.
    pub fn check_lock(&self, place: &dyn Place) -> Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        let location = &self.location;
        let can_lock = place.abilities().may_lock && place.can_lock()? != CanLock::No;
        ensure!(
            can_lock,
            "{location} cannot lock objects: make a bucket with object lock, or take the location without --lock"
        );
        Ok(())
    }

    /// Where it is, by all that tells it.
    pub fn url(&self) -> String {
        let endpoint = self.location.endpoint().unwrap_or_default();
        format!("{} {endpoint}", self.location)
            .trim_end()
            .to_owned()
    }

    /// Ready to be spoken with; a signal ends what waits for it, and a wait that is long is told.
    ///
    /// # Errors
    /// Credentials that are missing or that others can read; a directory that is another location.
    pub fn open(&self, signals: &Signals, progress: &Progress) -> Result<Box<dyn Place>> {
        let place = self.open_any(signals, progress)?;
        let Some(id) = &self.id else { return Ok(place) };
        let location = &self.location;
        match marker::read(place.as_ref()) {
            // What another user may not read, other files will tell.
            Err(error) if kind(&error) == Some(Kind::Refused) => Ok(place),
            Err(error) => Err(error),
            Ok(Some(other)) if other != *id => bail!(
                "{location} is another location: its '{MARKER}' is not the one that was there: mount the right disk"
            ),
            // Of one that is not there, whoever needs it tells more.
            Ok(None) if place.list_dirs("").is_ok() => bail!(
                "{location} has no '{MARKER}', which tells that it is the location: mount its disk; where only that file is lost, 'bk-push --set' leaves it anew"
            ),
            Ok(_) => Ok(place),
        }
    }

    /// As [`open`](Self::open), whatever directory it is.
    ///
    /// # Errors
    /// Credentials that are missing or that others can read.
    pub fn open_any(&self, signals: &Signals, progress: &Progress) -> Result<Box<dyn Place>> {
        let (signals, progress) = (signals.clone(), progress.clone());
        let tell = move |error: &bk_remote::Error| {
            progress.warn(&format!(
                "note: {error}; it is tried again for some minutes"
            ));
        };
        let options = bk_remote::Options {
            credentials: self.credentials.clone(),
            limit_rate: self.limit_rate,
            is_stopped: std::sync::Arc::new(move || signals.caught().is_some()),
            on_waiting: std::sync::Arc::new(tell),
            ..bk_remote::Options::default()
        };
        Ok(bk_remote::open(&self.location, &options)?)
    }
}

/// How long an object is locked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockFor {
    /// `expires`, or a span from the start of bk-push on.
    pub span: String,
    /// Who can lift it.
    pub mode: LockMode,
}

/// Until the backup expires.
const EXPIRES: &str = "expires";

impl LockFor {
    /// Checks the span.
    ///
    /// # Errors
    /// What is none.
    pub fn new(span: &str, mode: LockMode, now: Timestamp) -> Result<Self> {
        if span != EXPIRES {
            let wrong = || invalid("lock", span, "expires, or a span such as 30d or 6mo");
            let _: jiff::Span = span.parse().map_err(|_| wrong())?;
            // One that is over at once locks nothing.
            if parse_future(span, now)? <= now {
                return Err(wrong());
            }
        }
        Ok(Self {
            span: span.to_owned(),
            mode,
        })
    }

    /// The lock of a copy that is made now.
    fn until(&self, backup: &Backup, now: Timestamp) -> Result<Lock> {
        let until = match self.span.as_str() {
            EXPIRES => backup.expires_at.with_context(|| {
                format!(
                    "it is to be locked until it expires, and never does: 'bk-set --expires SPAN {}' sets that",
                    backup.id
                )
            })?,
            span => parse_future(span, now)?,
        };
        // Stores take whole seconds.
        let until = Timestamp::from_second(until.as_second() + 1)?;
        ensure!(
            until > now,
            "it is to be locked until it expires, and has expired: 'bk-set --expires SPAN {}' sets another time",
            backup.id
        );
        Ok(Lock {
            mode: self.mode,
            until,
        })
    }
}

/// A location that nobody has named; `known` are those that somebody has, each with its text.
pub fn unknown(name: &str, known: &[(String, String)]) -> Error {
    let known: Vec<_> = known.iter().map(|(name, _)| name.clone()).collect();
    let name = name.escape_debug().to_string();
    UsageError(unknown_location(&name, &known)).into()
}

/// The public keys that a repeated flag gives.
///
/// # Errors
/// [`UsageError`] for what is none.
pub fn recipients(arguments: &Arguments, flag: &Flag) -> Result<Vec<String>> {
    arguments.all_parsed(flag, |text| {
        let key = text.trim();
        check_recipient(key)?;
        Ok(key.to_owned())
    })
}

/// Bytes a second.
///
/// # Errors
/// What is no size, and nothing at all.
pub fn parse_rate(text: &str) -> Result<u64> {
    let rate = parse_size(text)?;
    ensure!(rate > 0, invalid("rate", text, "more than nothing"));
    Ok(rate)
}

/// The location, which is the first operand, and the others.
///
/// # Errors
/// None given, or no text.
pub fn operands(arguments: &Arguments) -> Result<(&str, &[OsString])> {
    let Some((location, backups)) = arguments.operands.split_first() else {
        bail!(UsageError(
            "no location given: it is the first operand; 'bk-push --list' lists them".into()
        ));
    };
    Ok((text(location)?, backups))
}

/// An operand that is a name.
///
/// # Errors
/// What is not UTF-8.
pub fn text(operand: &OsString) -> Result<&str> {
    let text = operand.to_str();
    text.ok_or_else(|| usage(&anyhow!("'{}' is not UTF-8", operand.display()), "bad name"))
}
