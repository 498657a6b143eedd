//! What the catalog tells of its host, of itself and of the clock: whose backups are whose, and
//! whether `now` can be believed.
//!
//! The rules are in the host and the clock modules. Knows no record but by its host.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use bk_schema::clock::{self, Jump, Rounds};
use bk_schema::host::{self, Host};
use jiff::{SignedDuration, Timestamp};

use crate::session::Session;
use crate::storage::new_id;

const HOST: &str = "host";
const EARLIER_HOSTS: &str = "host_earlier";
const CATALOG_ID: &str = "catalog_id";
const ROUNDS: &str = "auto_rounds";
/// How many days may pass between what is done regularly.
pub const GAP: &str = "clock_gap_days";

impl Session<'_> {
    /// The host of this home: what the user says, else the setting, else the name of the machine.
    pub fn host(&self) -> Result<Host> {
        let setting = self.setting(HOST)?;
        if let Some(given) = &self.home.host
            && setting.as_ref() != Some(given)
        {
            return Ok(Host {
                name: given.clone(),
                earlier: Vec::new(),
            });
        }
        let earlier = match self.setting(EARLIER_HOSTS)? {
            Some(text) => serde_json::from_str(&text)
                .with_context(|| format!("the setting {EARLIER_HOSTS} is no array of names"))?,
            None => Vec::new(),
        };
        Ok(Host {
            name: setting.unwrap_or_else(host_of_machine),
            earlier,
        })
    }

    /// Makes the setting where there is none yet. In a catalog from before, what it made itself
    /// under other names stays its own.
    pub(crate) fn settle_host(&self) -> Result<()> {
        if self.setting(HOST)?.is_some() {
            return Ok(());
        }
        let name = self.home.host.clone().unwrap_or_else(host_of_machine);
        let sql = "SELECT DISTINCT backup_id FROM backup_events \
                   WHERE event = 'create' AND outcome = 'ok' AND backup_id IS NOT NULL";
        let made: BTreeSet<i64> = self.rows(sql, [], |row| row.get(0))?;
        let mut earlier = BTreeSet::new();
        if !made.is_empty() {
            let own = self.backups()?.into_iter().flatten();
            let own = own.filter(|it| made.contains(&it.id));
            let host = |it: bk_schema::record::Backup| {
                let name = it.backup_metadata.get(host::KEY)?.as_str()?.to_owned();
                Some(name)
            };
            earlier.extend(own.filter_map(host).filter(|it| *it != name));
        }
        if !earlier.is_empty() {
            self.set_setting(EARLIER_HOSTS, &serde_json::to_string(&earlier)?)?;
        }
        self.set_setting(HOST, &name)
    }

    /// What tells this catalog from others of the same host; `None` as long as nobody asked for one.
    pub fn catalog_id(&self) -> Result<Option<String>> {
        self.setting(CATALOG_ID)
    }

    /// The same, and makes the setting where there is none yet.
    ///
    /// # Errors
    /// A disk that is all but full.
    pub fn settle_catalog_id(&self) -> Result<String> {
        if let Some(id) = self.catalog_id()? {
            return Ok(id);
        }
        self.check_room()?;
        let id = new_id();
        self.set_setting(CATALOG_ID, &id)?;
        Ok(id)
    }

    /// How many days may pass between two rounds, or two events, before the clock is doubted.
    ///
    /// # Errors
    /// Those of the query; a setting that is no number of days.
    pub fn clock_gap_days(&self) -> Result<u32> {
        let Some(text) = self.setting(GAP)? else {
            return Ok(clock::GAP_DAYS);
        };
        let days = text.parse().ok().filter(|days| *days > 0);
        days.with_context(|| format!("the setting {GAP} is '{text}', no number of days from 1 on"))
    }

    /// The rounds of bk-auto, where it remembers any.
    pub fn rounds(&self) -> Result<Option<Rounds>> {
        let remembered = self.setting(ROUNDS)?;
        // What cannot be read is as good as none: the next round writes it anew.
        Ok(remembered.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Remembers them.
    pub fn set_rounds(&self, rounds: &Rounds) -> Result<()> {
        self.set_setting(ROUNDS, &serde_json::to_string(rounds)?)
    }

    /// The newest event up to a time. What lies ahead was written by a clock that was wrong.
    pub fn newest_event(&self, until: Timestamp) -> Result<Option<Timestamp>> {
        self.event_time("max", Timestamp::MIN, until)
    }

    /// When the first of all events happened; `None` of an empty ledger.
    pub fn ledger_since(&self) -> Result<Option<Timestamp>> {
        self.event_time("min", Timestamp::MIN, Timestamp::MAX)
    }

    /// Whether less than a day ago the clock jumped, as the ledger and the rounds tell it: what
    /// they know of the day before, and what came first since, lie too far apart.
    pub fn clock_jump(&self, now: Timestamp) -> Result<Option<Jump>> {
        let gap_days = self.clock_gap_days()?;
        let day_ago = now.checked_sub(clock::DAY).unwrap_or(Timestamp::MIN);
        let rounds = self.rounds()?.map(|it| it.trusted);
        let rounds = rounds.filter(|it| !clock::is_in_future(*it, now));
        if rounds.is_some_and(|it| it > day_ago) {
            return Ok(None);
        }
        let before = self.newest_event(day_ago)?.max(rounds);
        let after = day_ago + SignedDuration::from_micros(1);
        let first = self.event_time("min", after, clock::latest_plausible(now))?;
        let first = first.map_or(now, |it| it.min(now));
        Ok(before.and_then(|before| Jump::between(before, first, gap_days)))
    }

    fn event_time(
        &self,
        which: &str,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let sql = format!(
            "SELECT epoch_us({which}(happened_at)) FROM backup_events \
             WHERE happened_at BETWEEN make_timestamp(?) AND make_timestamp(?)"
        );
        let bounds = [since, until].map(|it| it.as_microsecond());
        let micros: Option<i64> = self.connection.query_row(&sql, bounds, |row| row.get(0))?;
        let time = micros.map(Timestamp::from_microsecond).transpose();
        time.context("a time in the ledger is out of range")
    }
}

/// The name that the machine has now.
#[must_use]
pub fn host_of_machine() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
