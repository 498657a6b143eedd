//! `--list`: the records that a location holds, of one host or of all.
//!
//! Changes nothing here; with `--rebuild`, the lists there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Error, Result, ensure};
use bk_cli::units::{human_size, parse_past};
use bk_cli::{Arguments, Column, Cut, Output, Progress, UsageError, listing, zone};
use bk_offsite::Destination;
use bk_offsite::failure::kind;
use bk_offsite::lists::{self, List};
use bk_offsite::sidecars::Held;
use bk_remote::Place;
use bk_schema::clock::is_in_future;
use bk_store::record_list::Reader;
use bk_store::{Home, Signals};
use jiff::Timestamp;
use serde::Serialize;

use crate::fetch;
use crate::flags::{OLDER_THAN, PROGRAM, REBUILD};
use crate::hosts::{self, Hosts};
use crate::sidecars::{self, Sidecar};

/// A line of output.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    held: &'a Held,
    location: &'a str,
}

/// A location that is looked through.
struct Look<'a> {
    place: &'a dyn Place,
    location: &'a str,
    hosts: &'a Hosts,
    status: u8,
}

pub(crate) fn run(
    arguments: &Arguments,
    home: &Home,
    destination: &Destination,
    location: &str,
    mut output: Output,
) -> Result<u8> {
    ensure!(
        arguments.operands.len() == 1,
        UsageError("--list takes a location and nothing else".into())
    );
    let before = arguments.parsed(&OLDER_THAN, |text| parse_past(text, home.now))?;
    let hosts = Hosts::new(arguments, home)?;
    let signals = Signals::watch()?;
    let place = destination.open(&signals, &Progress::new(&PROGRAM))?;
    let mut look = Look {
        place: place.as_ref(),
        location,
        hosts: &hosts,
        status: bk_cli::SUCCESS,
    };
    let looked = match arguments.has(&REBUILD) {
        true => look.rebuild(),
        false => look.read(),
    };
    let mut all = match looked {
        Err(_) if signals.caught().is_some() => return Ok(signals.exit_status(look.status)),
        all => all?,
    };
    if let Some(before) = before {
        all = late(all, before, home.now);
    }
    print(&all, location, &mut output)?;
    Ok(signals.exit_status(look.status))
}

impl Look<'_> {
    fn warn(&mut self, error: &Error) {
        PROGRAM.warn(&format!("{error:#}"));
        self.status = bk_cli::SOME_FAILED;
    }

    /// What can be read of these hosts, and those of which something could not.
    fn sidecars(&mut self, hosts: &[String]) -> Result<(Vec<Sidecar>, BTreeSet<String>)> {
        let (location, mut failed) = (self.location, BTreeSet::new());
        let read = sidecars::read(self.place, hosts, &mut |host, error| {
            PROGRAM.warn(&format!("'{location}': {error:#}"));
            self.status = bk_cli::SOME_FAILED;
            // What is damaged tells of nothing, now or later.
            if kind(error).is_some() {
                failed.insert(host.to_owned());
            }
        })?;
        Ok((read, failed))
    }

    /// By the lists, and by the sidecars of a host of which no list tells.
    fn read(&mut self) -> Result<Vec<Held>> {
        let mut lists = lists::all(self.place)?;
        lists.retain(|list| self.hosts.has(&list.host));
        let keys: Vec<_> = lists.iter().map(List::key).collect();
        let reader = Reader::new()?;
        let (mut by_key, mut unread) = (BTreeMap::new(), BTreeMap::new());
        fetch::each(self.place, &keys, lists::MAX_BYTES, |at, object| {
            let list = &lists[at];
            match object.and_then(|object| lists::read(&reader, list, &object)) {
                Ok(all) => {
                    let named = |held: Held| (held.copy.key.clone(), held);
                    by_key.extend(all.into_iter().map(named));
                }
                Err(error) if sidecars::is_of_all(&error) => return Err(error),
                Err(error) => _ = unread.insert(list.host.clone(), format!("{error:#}")),
            }
            Ok(())
        })?;
        let known: BTreeSet<_> = lists.into_iter().map(|list| list.host).collect();
        self.add_unlisted(&known, &mut unread)?;
        if !unread.is_empty() {
            for (host, why) in &unread {
                self.tell_unread(host, why);
            }
            by_key.retain(|_, held| !unread.contains_key(&List::of(held).host));
            let hosts: Vec<_> = unread.into_keys().collect();
            let all = self.sidecars(&hosts)?.0.into_iter().map(|it| it.held);
            by_key.extend(all.map(|held| (held.copy.key.clone(), held)));
        }
        let mut all: Vec<_> = by_key.into_values().collect();
        all.sort_by(|a, b| sidecars::order(a).cmp(&sidecars::order(b)));
        Ok(all)
    }

    /// Hosts that have objects and no list.
    fn add_unlisted(
        &mut self,
        known: &BTreeSet<String>,
        unread: &mut BTreeMap<String, String>,
    ) -> Result<()> {
        let is_listed = match self.hosts {
            Hosts::One(host) => known.contains(host),
            Hosts::All => false,
        };
        if is_listed {
            return Ok(());
        }
        let there = hosts::all(self.place)?;
        for host in there.iter().filter(|it| self.hosts.has(it)) {
            if known.contains(host) {
                continue;
            }
            match hosts::has_archives(self.place, host) {
                Ok(true) => _ = unread.insert(host.clone(), "it is not there".to_owned()),
                Ok(false) => {}
                Err(error) if sidecars::is_of_hosts(&error) => return Err(error),
                Err(error) => self.warn(&error),
            }
        }
        self.tell_none(&there);
        Ok(())
    }

    /// Where one host is meant that has nothing there, its name may be wrong.
    fn tell_none(&self, there: &[String]) {
        if let Hosts::One(host) = self.hosts
            && !there.contains(host)
        {
            let none = hosts::unknown(host, self.location, there);
            PROGRAM.warn(&format!("warning: {none}"));
        }
    }

    fn tell_unread(&self, host: &str, why: &str) {
        let (host, location) = (host.escape_debug(), self.location);
        PROGRAM.warn(&format!(
            "warning: cannot read the list of '{host}' at '{location}': {why}; its records are read one by one: 'bk-pull --list --rebuild' writes it anew"
        ));
    }

    /// By the sidecars alone; writes the lists anew, and removes those that tell of nothing. Those of a host of which
    /// something cannot be read stay as they are: they may tell of more.
    fn rebuild(&mut self) -> Result<Vec<Held>> {
        let mut there = hosts::all(self.place)?;
        self.tell_none(&there);
        there.retain(|host| self.hosts.has(host));
        let mut due: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for list in lists::all(self.place)? {
            if self.hosts.has(&list.host) {
                due.insert(list, Vec::new());
            }
        }
        let (all, failed) = self.sidecars(&there)?;
        for sidecar in &all {
            let texts = due.entry(List::of(&sidecar.held)).or_default();
            texts.push(sidecar.text.clone());
        }
        for (list, texts) in due.iter().filter(|(list, _)| !failed.contains(&list.host)) {
            let written = match texts.is_empty() {
                true => self.place.delete(&list.key(), None).map_err(Error::from),
                false => lists::write(self.place, list, texts),
            };
            if let Err(error) = written {
                let (key, location) = (list.key(), self.location);
                let what = format!("cannot write '{}' at '{location}'", key.escape_debug());
                self.warn(&error.context(what));
            }
        }
        Ok(all.into_iter().map(|it| it.held).collect())
    }
}

/// The newest record of each host and job or source, where it is older. One from the future counts only where
/// there is no other.
fn late(all: Vec<Held>, before: Timestamp, now: Timestamp) -> Vec<Held> {
    let rank = |held: &Held| {
        let created_at = held.backup.created_at;
        (!is_in_future(created_at, now), created_at, held.backup.id)
    };
    let mut newest: HashMap<_, Held> = HashMap::new();
    for held in all {
        let of = (held.host.clone(), listing::source(&held.backup));
        match newest.get(&of) {
            Some(other) if rank(other) >= rank(&held) => {}
            _ => _ = newest.insert(of, held),
        }
    }
    let mut late: Vec<_> = newest.into_values().collect();
    late.retain(|held| held.backup.created_at < before);
    late.sort_by(|a, b| sidecars::order(a).cmp(&sidecars::order(b)));
    late
}

const COLUMNS: [Column; 5] = [
    Column::left("  CREATED").cut(Cut::Plain, 18),
    listing::TYPE,
    Column::right("SIZE").leaves(1),
    listing::SOURCE,
    listing::NAME,
];

fn print(all: &[Held], location: &str, output: &mut Output) -> Result<()> {
    if !output.is_table() {
        for held in all {
            output.line(&Line { held, location })?;
            if output.is_closed() {
                break;
            }
        }
        return output.flush();
    }
    let zone = zone::local();
    let mut groups: Vec<(String, Vec<_>)> = Vec::new();
    for held in all {
        let backup = &held.backup;
        let row = vec![
            format!("  {}", listing::time(backup.created_at, &zone)).into(),
            backup.backup_type.name().into(),
            human_size(held.copy.size).into(),
            listing::source_cell(backup),
            backup.backup_name.clone().into(),
        ];
        match groups.last_mut() {
            Some((host, rows)) if *host == held.host => rows.push(row),
            _ => groups.push((held.host.clone(), vec![row])),
        }
    }
    if !groups.is_empty() {
        output.groups(&COLUMNS, &groups)?;
    }
    output.flush()
}
