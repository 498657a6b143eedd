//! Moves archives in parts: sessions that mark and settle the rows, and between them the files.
//!
//! No catalog is open while an archive is renamed, copied or read. Small ones share their
//! sessions, large ones have their own.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, anyhow};
use bk_cli::home;
use bk_cli::operands;
use bk_cli::output::Output;
use bk_cli::progress::Progress;
use bk_cli::report::Report;
use bk_cli::units;
use bk_cli::{Arguments, UsageError};
use bk_schema::clock;
use bk_schema::event::Event;
use bk_schema::lines::Identity;
use bk_schema::record::{Backup, Status};
use bk_store::catalog;
use bk_store::home::Home;
use bk_store::removal::part_len;
use bk_store::session::Session;
use bk_store::signals::Signals;
use bk_store::storage::Storage;
use serde_json::{Map, Value, json};

use crate::flags::{ALL, DRY_RUN, PROGRAM, RESERVE};
use crate::item::Item;
use crate::judge::{Judgement, judge};
use crate::part::{self, Going, State};
use crate::relocate::{bring, remove_old};
use crate::report;
use crate::target::Target;
use crate::way::Way;

/// So many bytes to be copied make a part.
const PART_BYTES: u64 = 64 << 20;

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, bad input, a catalog that cannot be read, too little space.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let home = home::from_arguments(&PROGRAM, arguments, clock::now())?;
    let report = Report::new(Output::new(arguments)?, &report::COLUMNS);
    let reserve_bytes = arguments.parsed(&RESERVE, units::parse_size)?;
    let is_all = arguments.has(&ALL);
    let (lines, dir) = if is_all {
        let [dir] = arguments.operands.as_slice() else {
            let text = "--all takes one operand, the directory";
            return Err(UsageError(text.into()).into());
        };
        (Vec::new(), dir)
    } else {
        operands::given_before_last(arguments)?
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
        status: bk_cli::DONE,
        queue: VecDeque::new(),
        seen: HashSet::new(),
        done_count: Arc::default(),
        has_left: false,
    };
    if is_all {
        // Before the first backup, only the storage directory is chosen.
        let rows = if moves.home.has_catalog() {
            catalog::read(&moves.home, |session| session.backups())?
        } else {
            Vec::new()
        };
        for row in rows {
            moves.add_found(row.map(|it| (it, Map::new())).map_err(Into::into));
        }
    } else {
        if dir.to_str().is_some_and(|dir| !dir.contains('/')) && !moves.target.dir().exists() {
            moves.check_no_backup(dir.to_str().unwrap_or_default())?;
        }
        for found in catalog::resolve(&moves.home, lines)? {
            moves.add_found(found);
        }
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
    queue: VecDeque<Item>,
    /// What was in the queue once, by id.
    seen: HashSet<i64>,
    done_count: Arc<AtomicU64>,
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
        // Whether there is a catalog at all, is told of what is to be moved.
        let is_known = || found().is_ok_and(|found| found.iter().any(Result::is_ok));
        if identity[0].id.is_some() || is_known() {
            let text = format!(
                "'{dir}' is a backup, and there is no such directory: name the directory last; './{dir}' makes it"
            );
            return Err(UsageError(text).into());
        }
        Ok(())
    }

    fn add_found(&mut self, found: bk_store::backups::Found) {
        match found {
            Ok((backup, line)) => self.add(backup, line, 0),
            Err(error) => self.status = PROGRAM.report(&error),
        }
    }

    /// Looks at the archive and puts it into the queue, each once.
    fn add(&mut self, backup: Backup, line: Map<String, Value>, tries: u32) {
        let is_none = matches!(backup.status, Status::Failed | Status::Deleting);
        if (tries == 0 && !self.seen.insert(backup.id)) || (self.is_all && is_none) {
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
            Way::look(Path::new(&from), Path::new(&to), device)
        } else {
            Ok(Way::Rename)
        };
        match way {
            Ok(way) => self.queue.push_back(Item {
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
        let copied = self.queue.iter().filter(|item| item.way == Way::Copy);
        let bytes: u64 = copied.clone().map(weight).sum();
        let fits = self.target.check_space(copied.count(), bytes);
        fits.map_err(|error| anyhow!("cannot move: {error:#}"))
    }

    /// Prints what would be moved.
    fn dry_run(mut self) -> Result<u8> {
        if self.queue.is_empty() {
            return Ok(self.status);
        }
        let items = std::mem::take(&mut self.queue);
        let identity = |item: &Item| Identity {
            id: Some(item.backup.id),
            name: None,
        };
        let wanted: Vec<_> = items.iter().map(identity).collect();
        let places: Vec<_> = items.iter().map(|item| item.to.clone()).collect();
        let (rows, mut taken) = catalog::read(&self.home, |session| {
            Ok((session.find(&wanted)?, session.taken(&places)?))
        })?;
        for (item, row) in items.into_iter().zip(rows) {
            let judged = row.and_then(|row| judge(&item, row, &mut taken));
            let checked = judged.and_then(|judged| match judged {
                Judgement::Again(_) => Err(anyhow!("its record changes")),
                Judgement::May(_) if !Path::new(&item.from).exists() => {
                    Err(anyhow!("its archive '{}' is missing", item.from))
                }
                Judgement::May(_) => Ok(()),
            });
            match checked {
                Ok(()) => report::add(&mut self.report, &self.home, item)?,
                Err(error) => self.fail(&item.backup, &error),
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
        let ended = self.parts();
        self.signals.release();
        self.progress.end();
        let told = self.report.end();
        ended.and(told)?;
        Ok(self.signals.exit_status(self.status))
    }

    /// One part after the other. What was moved is told also where a session fails: the next
    /// one, of whatever program, records it.
    fn parts(&mut self) -> Result<()> {
        let (mut told, mut turned) = (Ok(()), Ok(()));
        let mut part = Vec::new();
        for number in 0.. {
            let next = turned.and_then(|()| self.step(&mut part, number == 0));
            let (next, recorded) = match next {
                Ok(next) => (next, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            };
            for going in std::mem::replace(&mut part, next) {
                // What is begun is finished, whether anybody can be told or not.
                told = told.and(self.tell(going));
            }
            recorded?;
            if part.is_empty() && (self.queue.is_empty() || self.signals.caught().is_some()) {
                break;
            }
            bring(&mut part, &self.target, &self.signals, &self.progress);
            turned = self.turn(&mut part);
        }
        if self.has_left {
            // Its recovery settles what is left.
            catalog::write(&self.home, |_| Ok(()))?;
        }
        told
    }

    /// Makes the directory ready for archives.
    fn enter(&self) -> Result<Option<Storage>> {
        let dir = self.target.dir();
        let archives = if self.home.has_catalog() {
            catalog::read(&self.home, |session| session.archives_in(dir))?
        } else {
            Vec::new()
        };
        let archives = archives.iter().map(String::as_str);
        self.home.storages.enter(dir, archives, false)
    }

    fn begin_progress(&self) {
        let copied = self.queue.iter().filter(|item| item.way == Way::Copy);
        let bytes: u64 = copied.map(weight).sum();
        let (done, count) = (self.done_count.clone(), self.queue.len());
        if bytes > 0 {
            let text = move || format!("{}/{count} archives", done.load(Ordering::Relaxed));
            self.progress.begin(bytes, text);
        }
    }

    /// One session: what became of a part, and the next one begun.
    fn step(&mut self, part: &mut [Going], is_first: bool) -> Result<Vec<Going>> {
        let next = self.next_part();
        let own = own(part);
        let new = catalog::write_removal(&self.home, &own, |session| {
            // A signal ends the wait for the first session; from here on it finds good order.
            self.signals.hold();
            part::end(session, part)?;
            if self.signals.caught().is_some() {
                return Ok((Vec::new(), Vec::new()));
            }
            if is_first {
                self.keep_storage(session)?;
            }
            // Meanwhile others were made in the old place.
            let is_last = self.is_all && next.is_empty() && !is_first;
            let new = if is_last {
                session.backups()?
            } else {
                Vec::new()
            };
            Ok((part::begin(session, next)?, new))
        });
        let (begun, new) = new?;
        for backup in new.into_iter().flatten() {
            if backup.status == Status::Completed {
                self.add(backup, Map::new(), 0);
            }
        }
        Ok(begun)
    }

    /// First of all, so that whatever ends this program, the next backup goes to the new place.
    fn keep_storage(&self, session: &Session<'_>) -> Result<()> {
        if let Some(storage) = &self.storage {
            session.keep_storage(storage)?;
        }
        let (old, new) = (session.storage_dir()?, self.target.text());
        if !self.is_all || old == self.target.dir() {
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
    fn next_part(&mut self) -> Vec<Item> {
        let (most, mut bytes) = (part_len(), 0);
        let mut part = Vec::new();
        while part.len() < most && bytes < PART_BYTES {
            let Some(item) = self.queue.pop_front() else {
                break;
            };
            bytes += weight(&item);
            part.push(item);
        }
        part
    }

    /// Turns the rows to what was copied, then removes the old archives.
    fn turn(&self, part: &mut [Going]) -> Result<()> {
        if part.iter().any(|it| matches!(it.state, State::Copied)) {
            let own = own(part);
            catalog::write_removal(&self.home, &own, |session| part::turn(session, part))?;
        }
        remove_old(part);
        Ok(())
    }

    fn tell(&mut self, going: Going) -> Result<()> {
        self.done_count.fetch_add(1, Ordering::Relaxed);
        let Going {
            mut item, state, ..
        } = going;
        match state {
            State::Moved => {
                if item.backup.backup_path != item.to {
                    // It could not be recorded.
                    item.backup.backup_path.clone_from(&item.to);
                    item.backup.status = Status::Moving;
                }
                return report::add(&mut self.report, &self.home, item);
            }
            State::Stays(error) => self.fail(&item.backup, &error),
            State::Left(error) => {
                self.has_left = true;
                self.fail(&item.backup, &error);
            }
            State::Again(backup) => self.add(*backup, item.line, item.tries + 1),
            // After a signal, as if it had not been begun.
            State::Begun | State::Copied | State::Turned => {}
        }
        Ok(())
    }

    fn fail(&mut self, backup: &Backup, error: &anyhow::Error) {
        let name = backup.backup_name.escape_debug();
        self.progress
            .warn(&format!("cannot move '{name}': {error:#}"));
        self.status = bk_cli::SOME_FAILED;
    }
}

/// What is to be copied of it, in bytes.
fn weight(item: &Item) -> u64 {
    match item.way {
        Way::None | Way::Rename => 0,
        Way::Copy => item.backup.backup_size.unwrap_or_default(),
    }
}

fn own(part: &[Going]) -> Vec<i64> {
    let mut own: Vec<_> = part.iter().map(|going| going.item.backup.id).collect();
    own.sort_unstable();
    own
}
