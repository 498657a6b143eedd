//! Verifies one archive after the other; what came of each is kept in the catalog, then told.
//!
//! No catalog is open while an archive is. A signal ends the check that is under way; what was
//! found before it is kept.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bk_cli::Arguments;
use bk_cli::home;
use bk_cli::operands::{self, Without};
use bk_cli::output::Output;
use bk_cli::progress::Progress;
use bk_cli::report::Report;
use bk_schema::clock;
use bk_schema::record::{Backup, Status};
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::signals::Signals;
use bk_store::storage::Unreachable;
use serde_json::{Map, Value};

use crate::choice::Round;
use crate::flags::PROGRAM;
use crate::keep::{Fate, keep};
use crate::report;
use crate::verdict::{Level, Verdict};

/// Verdicts are kept together where they come faster than that: a session costs more than a
/// quick check.
const KEEP_EVERY: Duration = Duration::from_millis(500);
/// Before a larger archive is read, what came before it is kept and told.
const LARGE_BYTES: u64 = 64 << 20;
/// A record that is another one each time that its archive was checked is given up.
const TRIES: u32 = 3;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, bad input, a catalog that cannot be read.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let now = clock::now();
    let home = home::from_arguments(&PROGRAM, arguments, now)?;
    let output = Output::new(arguments)?;
    let level = Level::new(arguments)?;
    let round = Round::new(arguments, level, now)?;
    let mut status = bk_cli::DONE;
    let mut meant = Vec::new();
    for found in find(&home, arguments, round)? {
        match found {
            Ok(one) => meant.push(one),
            Err(error) => status = PROGRAM.report(&error),
        }
    }
    let is_table = output.is_table();
    let is_none = meant.is_empty() && status == bk_cli::DONE;
    if is_table && is_none {
        PROGRAM.warn("there is nothing to verify");
    }
    let verification = Verification {
        home,
        level,
        signals: Signals::watch()?,
        progress: Progress::new(&PROGRAM),
        report: Report::new(output, &report::COLUMNS),
        status,
        done: Vec::new(),
        kept_at: Instant::now(),
        done_count: Arc::default(),
    };
    verification.run(meant)
}

/// The given backups, or those of the round.
fn find(
    home: &Home,
    arguments: &Arguments,
    round: Option<Round>,
) -> Result<Vec<bk_store::backups::Found>> {
    let Some(round) = round else {
        let given = operands::given(arguments, Without::Stdin)?.unwrap_or_default();
        return catalog::resolve(home, given);
    };
    let (mut whole, mut found) = (Vec::new(), Vec::new());
    for row in catalog::read(home, |session| session.backups())? {
        match row {
            Ok(backup) => whole.push(backup),
            Err(bad) => found.push(Err(bad.into())),
        }
    }
    // What cannot be reached takes no place of a limit from what can.
    let reach = |backup: &Backup| home.storages.check(backup.backup_path.as_ref());
    let (there, away) = whole.into_iter().partition(|it| reach(it).is_ok());
    let away: BTreeSet<_> = round
        .choose(away)
        .iter()
        .filter_map(|it| reach(it).err())
        .collect();
    found.extend(away.into_iter().map(|unreachable| Err(unreachable.into())));
    let chosen = round.choose(there).into_iter();
    found.extend(chosen.map(|backup| Ok((backup, Map::new()))));
    Ok(found)
}

/// One backup on its way.
struct Item {
    backup: Backup,
    line: Map<String, Value>,
    tries: u32,
}

struct Verification {
    home: Home,
    level: Level,
    signals: Signals,
    progress: Progress,
    report: Report,
    status: u8,
    /// Verdicts that are not kept yet.
    done: Vec<(Item, Verdict)>,
    kept_at: Instant,
    done_count: Arc<AtomicU64>,
}

impl Verification {
    fn run(mut self, meant: Vec<(Backup, Map<String, Value>)>) -> Result<u8> {
        self.begin(&meant);
        let item = |(backup, line)| Item {
            backup,
            line,
            tries: 0,
        };
        let mut queue: VecDeque<_> = meant.into_iter().map(item).collect();
        while let Some(item) = queue.pop_front() {
            let is_large = item.backup.backup_size.is_some_and(|it| it > LARGE_BYTES);
            if is_large && self.level > Level::Quick {
                queue.extend(self.keep()?);
            }
            if !self.check(item) {
                break;
            }
            if queue.is_empty() || self.kept_at.elapsed() >= KEEP_EVERY {
                queue.extend(self.keep()?);
            }
            if self.status == bk_cli::LOCKED {
                break;
            }
        }
        self.keep()?;
        self.progress.end();
        self.report.end()?;
        Ok(self.signals.exit_status(self.status))
    }

    /// Shows the bar.
    fn begin(&self, meant: &[(Backup, Map<String, Value>)]) {
        let is_read = |backup: &&Backup| backup.status == Status::Completed;
        let all = meant.iter().map(|(backup, _)| backup).filter(is_read);
        let bytes = all.filter_map(|backup| backup.backup_size);
        let (done, count) = (self.done_count.clone(), meant.len());
        let text = move || format!("{}/{count} backups", done.load(Ordering::Relaxed));
        if self.level > Level::Quick {
            self.progress.begin(bytes.sum(), text);
        }
    }

    /// Whether to go on.
    fn check(&mut self, item: Item) -> bool {
        // What is on a move is whole, at one end of that.
        let has_archive = [Status::Completed, Status::Moving].contains(&item.backup.status);
        if !has_archive {
            let why = item.backup.status.obstacle().unwrap_or_default();
            self.fail(&item.backup, &anyhow!(why));
            return true;
        }
        let archive = Path::new(&item.backup.backup_path);
        // What is on a move has two places.
        let is_settled = item.backup.status == Status::Completed;
        if is_settled && let Err(unreachable) = self.home.storages.check(archive) {
            self.leave(&unreachable);
            return true;
        }
        let (signals, progress) = (&self.signals, &self.progress);
        signals.hold();
        let verdict = Verdict::of(&item.backup, self.level, self.home.now, &mut |bytes| {
            progress.add(bytes);
            signals.caught().is_none()
        });
        signals.release();
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(error) => {
                self.done_count.fetch_add(1, Ordering::Relaxed);
                self.fail(&item.backup, &error.into());
                return true;
            }
        };
        if is_settled
            && verdict.as_ref().is_some_and(Verdict::is_missing)
            && let Err(unreachable) = self.home.storages.check_again(archive)
        {
            self.leave(&unreachable);
            return true;
        }
        self.done_count.fetch_add(1, Ordering::Relaxed);
        let is_whole = verdict.is_some();
        self.done.extend(verdict.map(|verdict| (item, verdict)));
        is_whole && self.signals.caught().is_none()
    }

    /// Its record stays as it is.
    fn leave(&mut self, unreachable: &Unreachable) {
        self.home.storages.tell_unreachable(unreachable);
        self.done_count.fetch_add(1, Ordering::Relaxed);
        self.status = bk_cli::SOME_FAILED;
    }

    /// Keeps the verdicts, then tells them; returns what is to be checked again, as the record
    /// became another one.
    fn keep(&mut self) -> Result<Vec<Item>> {
        self.kept_at = Instant::now();
        let done = std::mem::take(&mut self.done);
        if done.is_empty() {
            return Ok(Vec::new());
        }
        let verdicts: Vec<_> = done.iter().map(|(item, it)| (&item.backup, it)).collect();
        let fates = match keep(&self.home, &verdicts) {
            Ok(fates) => fates,
            Err(error) => {
                self.lose(done, &error)?;
                return Ok(Vec::new());
            }
        };
        let mut again = Vec::new();
        for ((mut item, verdict), fate) in done.into_iter().zip(fates) {
            match fate {
                Fate::Kept(backup) => self.tell(Item { backup, ..item }, &verdict)?,
                Fate::Gone => {
                    let name = item.backup.backup_name.escape_debug().to_string();
                    let text = format!("warning: '{name}' was removed while it was verified");
                    self.progress.warn(&text);
                    if !verdict.is_missing() {
                        self.tell(item, &verdict)?;
                    }
                }
                Fate::Changed(backup) if item.tries + 1 < TRIES => {
                    item.tries += 1;
                    again.push(Item { backup, ..item });
                }
                Fate::Changed(backup) => {
                    self.fail(&backup, &anyhow!("it changes while it is verified"));
                }
                Fate::Bad(error) => {
                    self.fail(&item.backup, &error);
                    self.tell(item, &verdict)?;
                }
            }
        }
        Ok(again)
    }

    /// Verdicts that cannot be kept are told all the same.
    fn lose(&mut self, done: Vec<(Item, Verdict)>, error: &anyhow::Error) -> Result<()> {
        for (item, verdict) in done {
            self.tell(item, &verdict)?;
        }
        self.progress
            .warn(&format!("cannot record what was found: {error:#}"));
        self.status = bk_cli::status_of(error);
        Ok(())
    }

    fn tell(&mut self, item: Item, verdict: &Verdict) -> Result<()> {
        let name = item.backup.backup_name.escape_debug().to_string();
        for note in &verdict.notes {
            self.progress.warn(&format!("note: '{name}': {note}"));
        }
        for problem in &verdict.problems {
            self.progress
                .warn(&format!("'{name}' is bad: {}", problem.reason));
            self.status = bk_cli::SOME_FAILED;
        }
        report::add(
            &mut self.report,
            &self.home,
            item.backup,
            item.line,
            verdict,
        )
    }

    fn fail(&mut self, backup: &Backup, error: &anyhow::Error) {
        let name = backup.backup_name.escape_debug();
        self.progress
            .warn(&format!("cannot verify '{name}': {error:#}"));
        self.status = bk_cli::SOME_FAILED;
    }
}
