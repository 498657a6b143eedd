//! The whole of it: one reading of the catalog, a look at the file systems, the sums, the lines.
//!
//! The catalog is closed before the first directory is looked at and the first line printed.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bk_cli::home;
use bk_cli::output::Output;
use bk_cli::units;
use bk_cli::unread;
use bk_cli::{Arguments, UsageError};
use bk_schema::clock;
use bk_schema::event::Entry;
use bk_schema::host::Host;
use bk_schema::record::Backup;
use bk_schema::visible::visible;
use bk_store::catalog;
use bk_store::history::Wanted;
use bk_store::home::Home;
use jiff::Timestamp;

use crate::flags::{PROGRAM, PROMETHEUS, RESERVE};
use crate::growth::{self, Change};
use crate::look::{Look, Stored, has_archive};
use crate::summary::{Facts, Flow, Summary, summaries};
use crate::threshold::Threshold;
use crate::{alerts, prometheus, table};

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, a catalog that cannot be read, those of the output.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let now = clock::now();
    let home = home::from_arguments(&PROGRAM, arguments, now)?;
    let mut output = Output::new(arguments)?;
    let thresholds = Threshold::given(arguments, now)?;
    let reserve_bytes = arguments.parsed(&RESERVE, units::parse_size)?;
    let is_prometheus = arguments.has(&PROMETHEUS);
    if is_prometheus && (arguments.has(&bk_cli::JSON) || arguments.has(&bk_cli::TABLE)) {
        let text = "--prometheus excludes --json and --table";
        return Err(UsageError(text.into()).into());
    }
    unread::check_no_record(
        "it tells of all backups, whatever is piped in; </dev/null says that none are meant",
    )?;

    let known = Known::read(&home, now)?;
    if let Some(text) = clock::warning(&known.backups, now) {
        PROGRAM.warn(&text);
    }
    let changes = growth::changes(&known.events, known.backups.iter());
    let (look, stored) = Look::at(&home, &known.storage, known.backups);
    warn_of_unreachable(&look, &stored);
    let flows: Vec<_> = changes
        .iter()
        .map(|it| flow(it, &look, &known.storage))
        .collect();
    let mut all = summaries(&Facts {
        file_systems: &look.all,
        stored: &stored,
        flows: &flows,
        ledger_since: known.ledger_since,
        reserve_bytes,
        here: &known.here,
        now,
    });
    let judged = alerts::judge(&thresholds, &all);
    alerts::put(&judged, &mut all);
    for it in &judged {
        if let Some(held) = &it.held {
            let (level, spec) = (it.threshold.level.name(), &it.threshold.spec);
            PROGRAM.warn(&format!("{level}: {spec}: {held}"));
        }
    }
    if is_prometheus {
        let text = prometheus::text(&all, &judged);
        // The format has most characters stand as they are; a terminal obeys some of them.
        if std::io::stdout().is_terminal() {
            let lines: Vec<_> = text.lines().map(visible).collect();
            output.text(&(lines.join("\n") + "\n"))?;
        } else {
            output.text(&text)?;
        }
        output.flush()?;
    } else if output.is_table() {
        table::print(&mut output, &all)?;
    } else {
        lines(&mut output, &all)?;
    }
    Ok(alerts::status(&judged, known.status))
}

/// What the catalog tells.
struct Known {
    storage: PathBuf,
    /// Oldest first.
    backups: Vec<Backup>,
    events: Vec<Entry>,
    ledger_since: Option<Timestamp>,
    here: Host,
    /// Whether all records could be read.
    status: u8,
}

impl Known {
    fn read(home: &Home, now: Timestamp) -> Result<Self> {
        let wanted = Wanted {
            since: Some(growth::before(now, growth::LONGEST_DAYS)),
            events: growth::EVENTS.map(str::to_owned).to_vec(),
            is_ok: Some(true),
            ..Wanted::default()
        };
        let (rows, mut known) = catalog::read(home, |session| {
            let known = Self {
                storage: session.storage_dir()?,
                backups: Vec::new(),
                // A damaged row of the ledger tells no growth; bk-log names it.
                events: session.events(&wanted)?.into_iter().flatten().collect(),
                ledger_since: session.ledger_since()?,
                here: session.host()?,
                status: bk_cli::DONE,
            };
            Ok((session.backups()?, known))
        })?;
        for row in rows {
            match row.context("cannot count a backup") {
                Ok(backup) => known.backups.push(backup),
                Err(error) => known.status = PROGRAM.report(&error),
            }
        }
        Ok(known)
    }
}

fn warn_of_unreachable(look: &Look, stored: &[Stored]) {
    for (place, file_system) in look.all.iter().enumerate() {
        let Err(error) = &file_system.space else {
            continue;
        };
        let is_lost = |it: &&Stored| it.place == place && has_archive(&it.backup);
        let lost: Vec<_> = stored.iter().filter(is_lost).collect();
        let count = lost.len();
        PROGRAM.warn(&if lost.iter().any(|it| it.is_offline) {
            format!("warning: {error} ({count})")
        } else {
            format!("warning: {error}: its archives count as missing ({count})")
        });
    }
}

/// What no path tells of went to the present storage directory, or came from there.
fn flow(change: &Change, look: &Look, storage: &Path) -> Flow {
    let place = match &change.path {
        Some(path) => look.place_of(path),
        None => look.place_of(&storage.join("archive").to_string_lossy()),
    };
    Flow {
        at: change.at,
        bytes: change.bytes,
        place,
    }
}

fn lines(output: &mut Output, all: &[Summary]) -> Result<()> {
    for summary in all {
        output.line(summary)?;
    }
    output.flush()
}
