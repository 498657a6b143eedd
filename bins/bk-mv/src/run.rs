//! Moves archives in parts. Small ones share their sessions, large ones have their own.
//!
//! No catalog is open while an archive is renamed, copied or read.

use std::collections::{HashSet, VecDeque};
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use bk_cli::listing::{self, Listed};
use bk_cli::{
    Arguments, Column, Cut, Output, Progress, Report, UsageError, copies, operands, units,
};
use bk_schema::event::Event;
use bk_schema::lines::{Identity, Line};
use bk_schema::record::{Backup, Status};
use bk_store::parts::{self, Parts};
use bk_store::storage::Storage;
use bk_store::{Home, Session, Signals, catalog};
use serde_json::{Map, Value, json};

use crate::flags::{ALL, DRY_RUN, PROGRAM, RESERVE};
use crate::part::{self, Allowed, Going, State, check_allowed, missing};
use crate::relocate::{bring, remove_old};
use crate::target::Target;
use crate::way::{Transfer, Way};

const COLUMNS: [Column; 5] = [
    listing::ID,
    Column::right("SIZE").leaves(1),
    Column::left("MOVE").leaves(2),
    Column::left("FROM").cut(Cut::Middle, 20),
    Column::left("TO").cut(Cut::Middle, 20),
];

/// So many bytes to be copied make a part.
const PART_BYTES: u64 = 64 << 20;

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, output: Output) -> Result<u8> {
    let report = Report::new(output, &COLUMNS);
    let reserve_bytes = arguments.parsed(&RESERVE, units::parse_size)?;
    let is_all = arguments.has(&ALL);
    let (lines, dir) = if is_all {
        let [dir] = arguments.operands.as_slice() else {
            bail!(UsageError("--all takes one operand, the directory".into()));
        };
        (Vec::new(), dir)
    } else {
        operands::read_before_last(arguments)?
    };
    let target = Target::new(dir, reserve_bytes)?;
    let mut moves = Moves {
        home,
        target,
        storage: None,
        is_all,
        signals: Signals::watch()?,
        progress: Progress::new(&PROGRAM),
        report,
        status: bk_cli::SUCCESS,
        queue: VecDeque::new(),
        seen: HashSet::new(),
        is_begun: false,
        has_left: false,
    };
    if is_all {
        // Before the first backup, only the storage directory is chosen.
        if moves.home.has_catalog() {
            moves.add_found(None)?;
        }
    } else {
        if dir.to_str().is_some_and(|dir| !dir.contains('/')) && !moves.target.dir.exists() {
            moves.check_no_backup(dir.to_str().unwrap_or_default())?;
        }
        moves.add_found(Some(lines))?;
    }
    moves.check_space()?;
    if arguments.has(&DRY_RUN) {
        moves.dry_run()
    } else {
        moves.run()
    }
}

struct Moves {
    home: Home,
    target: Target,
    /// What the catalog is to keep of the target.
    storage: Option<Storage>,
    is_all: bool,
    signals: Signals,
    progress: Progress,
    report: Report,
    status: u8,
    queue: VecDeque<Transfer>,
    /// What was in the queue once, by id.
    seen: HashSet<i64>,
    /// Whether the target is kept in the catalog.
    is_begun: bool,
    /// Whether something is left to recovery.
    has_left: bool,
}

impl Moves {
    /// A directory that is not there and is called like a backup is none: the directory was
    /// forgotten.
    fn check_no_backup(&self, dir: &str) -> Result<()> {
        let Ok(identity) = Identity::from_operand(dir) else {
            return Ok(());
        };
        let identity = std::slice::from_ref(&identity);
        let found = || catalog::read(&self.home, |session| session.find(identity));
        // A catalog that is missing is reported for what is to be moved.
        let is_known = || found().is_ok_and(|found| found.iter().any(Result::is_ok));
        if identity[0].id.is_some() || is_known() {
            let text = format!(
                "'{dir}' is a backup, and there is no such directory: name the directory last; './{dir}' makes it"
            );
            return Err(UsageError(text).into());
        }
        Ok(())
    }

    /// Adds those that are given, or all.
    fn add_found(&mut self, lines: Option<Vec<Line>>) -> Result<()> {
        let mut status = bk_cli::SUCCESS;
        let found = catalog::resolve(&self.home, lines)?;
        for (backup, line) in PROGRAM.report_errors(found, &mut status) {
            self.add(backup, line, 0);
        }
        self.status = self.status.max(status);
        Ok(())
    }

    /// Inspects the archive and puts it into the queue, each once.
    fn add(&mut self, backup: Backup, line: Map<String, Value>, tries: u32) {
        let is_none = matches!(backup.status, Status::Failed | Status::Deleting);
        if (tries == 0 && !self.seen.insert(backup.id)) || (self.is_all && is_none) {
            return;
        }
        if self.is_all && copies::remote_obstacle(&self.home, &backup).is_some() {
            return;
        }
        let (from, to) = (backup.backup_path.clone(), self.target.path_of(&backup));
        if let Err(unreachable) = self.home.storages.check(Path::new(&from)) {
            self.home.storages.tell_unreachable(&unreachable);
            self.status = bk_cli::SOME_FAILED;
            return;
        }
        let device = self.target.device().unwrap_or_default();
        let way = if backup.status == Status::Completed {
            Way::between(Path::new(&from), Path::new(&to), device)
        } else {
            Ok(Way::Rename)
        };
        match way {
            Ok(way) => self.queue.push_back(Transfer {
                backup,
                line,
                to,
                from,
                way,
                tries,
            }),
            Err(error) => self.fail(&backup, &error),
        }
    }

    /// Before anything is done: those that are to be copied must fit.
    fn check_space(&self) -> Result<()> {
        let copied = self.queue.iter().filter(|it| it.way == Way::Copy);
        let fits = self.target.check_space(copied.count(), self.copied_bytes());
        fits.map_err(|error| anyhow!("cannot move: {error:#}"))
    }

    fn copied_bytes(&self) -> u64 {
        self.queue.iter().map(copied_bytes).sum()
    }

    /// Prints what would be moved.
    fn dry_run(mut self) -> Result<u8> {
        if self.queue.is_empty() {
            return Ok(self.status);
        }
        let items = std::mem::take(&mut self.queue);
        let ids = || items.iter().map(|transfer| transfer.backup.id);
        let places: Vec<_> = items.iter().map(|transfer| transfer.to.clone()).collect();
        let (rows, mut taken) = catalog::read(&self.home, |session| {
            Ok((session.find_ids(ids())?, session.taken(&places)?))
        })?;
        for (transfer, row) in items.into_iter().zip(rows) {
            let allowed = row.and_then(|row| check_allowed(&transfer, row, &mut taken));
            let checked = allowed.and_then(|allowed| match allowed {
                Allowed::Changed(_) => Err(anyhow!("its record changes")),
                Allowed::Now(row) if !Path::new(&transfer.from).exists() => {
                    Err(anyhow!(missing(&transfer, &row)))
                }
                Allowed::Now(_) => Ok(()),
            });
            match checked {
                Ok(()) => self.report(transfer)?,
                Err(error) => self.fail(&transfer.backup, &error),
            }
        }
        self.report.end()?;
        Ok(self.status)
    }

    fn run(mut self) -> Result<u8> {
        if self.queue.is_empty() && !self.is_all {
            return Ok(self.status);
        }
        self.storage = self.enter()?;
        if !self.home.has_catalog() {
            catalog::write(&self.home, |session| self.keep_storage(session))?;
            return Ok(self.status);
        }
        self.begin_progress();
        let ended = self.move_all();
        self.signals.release();
        self.progress.end();
        let printed = self.report.end();
        ended.and(printed)?;
        Ok(self.signals.exit_status(self.status))
    }

    fn move_all(&mut self) -> Result<()> {
        let (home, signals) = (self.home.clone(), self.signals.clone());
        parts::run(&home, &signals, self)?;
        while self.is_all && signals.caught().is_none() && self.add_new()? {
            parts::run(&home, &signals, self)?;
        }
        if self.has_left {
            // Its recovery settles what is left.
            catalog::write(&home, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Whether others were made in the old place meanwhile.
    fn add_new(&mut self) -> Result<bool> {
        self.signals.hold();
        let rows = catalog::read(&self.home, |session| session.backups())?;
        for backup in rows.into_iter().flatten() {
            if backup.status == Status::Completed {
                self.add(backup, Map::new(), 0);
            }
        }
        Ok(!self.queue.is_empty())
    }

    /// Makes the directory ready for archives.
    fn enter(&self) -> Result<Option<Storage>> {
        let dir = self.target.dir.as_path();
        let archives = if self.home.has_catalog() {
            catalog::read(&self.home, |session| session.archives_in(dir))?
        } else {
            Vec::new()
        };
        let archives = archives.iter().map(String::as_str);
        self.home.storages.enter(dir, archives, false)
    }

    fn begin_progress(&self) {
        let bytes = self.copied_bytes();
        if bytes > 0 {
            let count = self.queue.len() as u64;
            self.progress.begin_counting(bytes, count, "archives");
        }
    }

    /// First of all, so that whatever ends this program, the next backup goes to the new place.
    fn keep_storage(&self, session: &Session<'_>) -> Result<()> {
        if let Some(storage) = &self.storage {
            session.keep_storage(storage)?;
        }
        let (old, new) = (session.storage_dir()?, self.target.text.as_str());
        if !self.is_all || old == self.target.dir {
            return Ok(());
        }
        session.set_setting("storage_dir", new)?;
        session.log(&Event {
            backup: None,
            event: "storage",
            ok: true,
            details: json!({ "from": old.to_string_lossy(), "to": new }),
        })
    }

    /// As many as a part takes.
    fn next_part(&mut self, at_most: usize) -> Vec<Transfer> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while part.len() < at_most
            && bytes < PART_BYTES
            && let Some(transfer) = self.queue.pop_front()
        {
            bytes += copied_bytes(&transfer);
            part.push(transfer);
        }
        part
    }

    /// Reports one backup that was moved, or would be.
    fn report(&mut self, transfer: Transfer) -> Result<()> {
        let Transfer {
            backup,
            line,
            from,
            to,
            way,
            ..
        } = transfer;
        let moved = json!({ "from": from, "to": to, "how": way });
        let row = vec![
            backup.id.to_string().into(),
            listing::size(&backup).into(),
            way.name().into(),
            from.into(),
            to.into(),
        ];
        let listed = Listed::stat(&self.home, backup).with([("move", moved)], line);
        self.report.add(&listed, row)
    }

    fn fail(&mut self, backup: &Backup, error: &anyhow::Error) {
        let name = backup.backup_name.escape_debug();
        self.progress
            .warn(&format!("cannot move '{name}': {error:#}"));
        self.status = bk_cli::SOME_FAILED;
    }
}

impl Parts for Moves {
    type Item = Going;

    fn id(going: &Going) -> i64 {
        going.transfer.backup.id
    }

    fn mark(&mut self, session: &Session<'_>, at_most: usize) -> Result<Vec<Going>> {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.keep_storage(session)?;
        }
        let next = self.next_part(at_most);
        part::mark(session, next)
    }

    fn work(&mut self, part: &mut Vec<Going>) -> Result<()> {
        let is_changed = |going: &mut Going| matches!(going.state, State::Changed(_));
        for going in part.extract_if(.., is_changed) {
            if let State::Changed(backup) = going.state {
                self.add(*backup, going.transfer.line, going.transfer.tries + 1);
            }
        }
        bring(part, &self.target, &self.signals, &self.progress);
        if part.iter().any(|it| matches!(it.state, State::Copied)) {
            parts::write::<Self, _>(&self.home, part, part::repoint)?;
        }
        remove_old(part);
        Ok(())
    }

    fn record(&mut self, session: &Session<'_>, part: &mut [Going]) -> Result<()> {
        part::record(session, part)
    }

    fn tell(&mut self, going: Going) -> Result<()> {
        self.progress.count();
        let (mut transfer, state) = (going.transfer, going.state);
        match state {
            State::Moved => {
                if transfer.backup.backup_path != transfer.to {
                    // It could not be recorded.
                    transfer.backup.backup_path.clone_from(&transfer.to);
                    transfer.backup.status = Status::Moving;
                }
                return self.report(transfer);
            }
            State::Stays(error) => self.fail(&transfer.backup, &error),
            State::Left(error) => {
                self.has_left = true;
                self.fail(&transfer.backup, &error);
            }
            // After a signal, as if it had not been begun.
            State::Begun | State::Copied | State::Repointed | State::Changed(_) => {}
        }
        Ok(())
    }
}

fn copied_bytes(transfer: &Transfer) -> u64 {
    match transfer.way {
        Way::None | Way::Rename => 0,
        Way::Copy => transfer.backup.backup_size.unwrap_or_default(),
    }
}
