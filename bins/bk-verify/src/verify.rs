//! Verifies one archive after the other; what came of each is recorded in the catalog, then printed.
//!
//! No catalog is open while an archive is. A signal ends the check that is under way; what was
//! found before it is recorded.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};
use bk_cli::listing::{self, Listed};
use bk_cli::units::human_size;
use bk_cli::{Arguments, Cell, Column, Output, Progress, Report, Tone, copies, operands};
use bk_schema::record::{Backup, Status};
use bk_store::parts::{self, Parts};
use bk_store::storage::Unreachable;
use bk_store::{Home, Session, Signals, catalog};
use serde_json::Map;

use crate::choice::Round;
use crate::flags::PROGRAM;
use crate::record::{Checked, Due, Row, record};
use crate::verdict::{Level, Verdict};

const COLUMNS: [Column; 8] = [
    listing::ID,
    listing::CREATED,
    Column::left("LEVEL").leaves(3),
    Column::right("SIZE").leaves(2),
    Column::right("SECONDS").leaves(4),
    Column::left("RESULT"),
    listing::SOURCE,
    listing::NAME,
];

/// Verdicts are recorded together where they come faster than that: a session costs more than a
/// quick check.
const RECORD_EVERY: Duration = Duration::from_millis(500);
/// Before a larger archive is read, what came before it is recorded and printed.
const LARGE_BYTES: u64 = 64 << 20;
/// A record that is another one each time that its archive was checked is given up.
const TRIES: u32 = 3;

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let now = home.now;
    let level = Level::new(arguments)?;
    let round = Round::new(arguments, level, now)?;
    let mut status = bk_cli::SUCCESS;
    let found = PROGRAM.report_errors(find(&home, arguments, round)?, &mut status);
    let due = |(backup, line)| Due {
        backup,
        line,
        tries: 0,
    };
    let queue: VecDeque<_> = found.map(due).collect();
    if output.is_table() && queue.is_empty() && status == bk_cli::SUCCESS {
        PROGRAM.warn("there is nothing to verify");
    }
    let verification = Verification {
        home,
        level,
        signals: Signals::watch()?,
        progress: Progress::new(&PROGRAM),
        report: Report::new(output, &COLUMNS),
        status,
        queue,
    };
    verification.run()
}

/// The given backups, or those of the round.
fn find(
    home: &Home,
    arguments: &Arguments,
    round: Option<Round>,
) -> Result<Vec<bk_store::backups::Found>> {
    let Some(round) = round else {
        return catalog::resolve(home, Some(operands::read(arguments)?));
    };
    let (mut whole, mut found) = (Vec::new(), Vec::new());
    for row in catalog::read(home, |session| session.backups())? {
        match row {
            Ok(backup) if copies::remote_obstacle(home, &backup).is_some() => {}
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

fn row(listed: &Listed, verdict: &Verdict) -> Vec<Cell> {
    let mut codes: Vec<_> = verdict.problems.iter().map(|it| it.code).collect();
    codes.dedup();
    let result = match codes.as_slice() {
        [] => "ok".into(),
        codes => Cell::new(codes.join(", "), Tone::Bad),
    };
    vec![
        listed.backup.id.to_string().into(),
        listing::time(listed.backup.created_at, &bk_cli::zone::local()).into(),
        verdict.level.name().into(),
        Cell::or_dash(verdict.bytes.map(human_size)),
        format!("{:.1}", verdict.seconds).into(),
        result,
        listing::source_cell(&listed.backup),
        listed.backup.backup_name.clone().into(),
    ]
}

struct Verification {
    home: Home,
    level: Level,
    signals: Signals,
    progress: Progress,
    report: Report,
    status: u8,
    queue: VecDeque<Due>,
}

impl Verification {
    fn run(mut self) -> Result<u8> {
        self.begin_progress();
        let (home, signals) = (self.home.clone(), self.signals.clone());
        let ended = parts::run(&home, &signals, &mut self);
        self.progress.end();
        let printed = self.report.end();
        ended.and(printed)?;
        Ok(signals.exit_status(self.status))
    }

    fn begin_progress(&self) {
        let all = self.queue.iter().map(|due| &due.backup);
        let read = all.filter(|backup| backup.status == Status::Completed);
        let bytes = read.filter_map(|backup| backup.backup_size);
        let count = self.queue.len() as u64;
        if self.level > Level::Quick {
            self.progress.begin_counting(bytes.sum(), count, "backups");
        }
    }

    /// `None` where there is nothing to record.
    fn check(&mut self, due: Due) -> Option<Checked> {
        let backup = &due.backup;
        // What is on a move is whole, at one end of that.
        if ![Status::Completed, Status::Moving].contains(&backup.status) {
            let why = backup.status.obstacle().unwrap_or_default();
            self.fail(backup, &anyhow!(why));
            return None;
        }
        if let Some(obstacle) = copies::remote_obstacle(&self.home, backup) {
            self.progress.count();
            self.fail(backup, &anyhow!(obstacle));
            return None;
        }
        let archive = Path::new(&backup.backup_path);
        // What is on a move has two places.
        let is_settled = backup.status == Status::Completed;
        if is_settled && let Err(unreachable) = self.home.storages.check(archive) {
            self.leave(&unreachable);
            return None;
        }
        let (signals, progress) = (&self.signals, &self.progress);
        signals.hold();
        let verdict = Verdict::of(backup, self.level, self.home.now, &mut |bytes| {
            progress.add(bytes);
            signals.caught().is_none()
        });
        signals.release();
        let verdict = match verdict {
            Ok(verdict) => verdict?,
            Err(error) => {
                self.progress.count();
                self.fail(backup, &error.into());
                return None;
            }
        };
        if is_settled
            && verdict.is_missing()
            && let Err(unreachable) = self.home.storages.check_again(archive)
        {
            self.leave(&unreachable);
            return None;
        }
        self.progress.count();
        Some(Checked {
            due,
            verdict,
            row: None,
        })
    }

    /// Its record stays as it is.
    fn leave(&mut self, unreachable: &Unreachable) {
        self.home.storages.tell_unreachable(unreachable);
        self.progress.count();
        self.status = bk_cli::SOME_FAILED;
    }

    fn add(&mut self, due: Due, verdict: &Verdict) -> Result<()> {
        let name = due.backup.backup_name.escape_debug().to_string();
        for note in &verdict.notes {
            self.progress.warn(&format!("note: '{name}': {note}"));
        }
        for problem in &verdict.problems {
            self.progress
                .warn(&format!("'{name}' is bad: {}", problem.reason));
            self.status = bk_cli::SOME_FAILED;
        }
        let Due { backup, line, .. } = due;
        // Why it cannot be read, the verdict says.
        let listed = Listed::look(&self.home, backup, !verdict.is_unreadable());
        let listed = listed.with([("verify", serde_json::to_value(verdict)?)], line);
        self.report.add(&listed, row(&listed, verdict))
    }

    fn fail(&mut self, backup: &Backup, error: &anyhow::Error) {
        let name = backup.backup_name.escape_debug();
        self.progress
            .warn(&format!("cannot verify '{name}': {error:#}"));
        self.status = bk_cli::SOME_FAILED;
    }
}

impl Parts for Verification {
    type Item = Checked;

    const MARKS: bool = false;

    fn id(checked: &Checked) -> i64 {
        checked.due.backup.id
    }

    fn work(&mut self, part: &mut Vec<Checked>) -> Result<()> {
        let began = Instant::now();
        while self.signals.caught().is_none()
            && self.status != bk_cli::LOCKED
            && let Some(due) = self.queue.pop_front()
        {
            let is_large = due.backup.backup_size.is_some_and(|it| it > LARGE_BYTES);
            if is_large && self.level > Level::Quick && !part.is_empty() {
                self.queue.push_front(due);
                break;
            }
            part.extend(self.check(due));
            if began.elapsed() >= RECORD_EVERY && !part.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn record(&mut self, session: &Session<'_>, part: &mut [Checked]) -> Result<()> {
        record(session, part)
    }

    fn tell(&mut self, checked: Checked) -> Result<()> {
        let Checked { due, verdict, row } = checked;
        match row {
            None => self.add(due, &verdict),
            Some(Row::Verified(backup)) => self.add(Due { backup, ..due }, &verdict),
            Some(Row::Gone) => {
                let name = due.backup.backup_name.escape_debug();
                let text = format!("warning: '{name}' was removed while it was verified");
                self.progress.warn(&text);
                match verdict.is_missing() {
                    true => Ok(()),
                    false => self.add(due, &verdict),
                }
            }
            Some(Row::Changed(backup)) if due.tries + 1 < TRIES => {
                let (line, tries) = (due.line, due.tries + 1);
                self.queue.push_back(Due {
                    backup,
                    line,
                    tries,
                });
                Ok(())
            }
            Some(Row::Changed(backup)) => {
                self.fail(&backup, &anyhow!("it changes while it is verified"));
                Ok(())
            }
            Some(Row::Bad(error)) => {
                self.fail(&due.backup, &error);
                self.add(due, &verdict)
            }
        }
    }

    /// What was found is reported all the same.
    fn unrecorded(&mut self, error: Error) -> Result<()> {
        self.progress
            .warn(&format!("cannot record what was found: {error:#}"));
        self.status = bk_cli::status_of(&error);
        Ok(())
    }
}
