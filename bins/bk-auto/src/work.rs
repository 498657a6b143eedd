//! What a job does, each part by a program of bk: makes a backup, removes what is not to be kept,
//! verifies, restores for a test.
//!
//! The catalog is never held while a child runs. Records nothing: `run` does.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, bail};
use bk_schema::losses;
use bk_schema::metadata::SHRUNK;
use bk_schema::record::{Backup, BackupType};
use bk_store::{Home, catalog};
use serde::Deserialize;
use serde_json::Value;

use crate::child::{Watch, ending};
use crate::job::Job;
use crate::lock::JobLock;
use crate::outcome::{Made, Outcome};
use crate::program;
use crate::rounds;

/// Exit status of bk-create: the backup was made, but something of the source was not read.
const SOME_UNREAD: i32 = 3;

/// What every part of a run shares.
pub(crate) struct Work<'a> {
    pub(crate) home: &'a Home,
    pub(crate) job: &'a Job,
    pub(crate) watch: &'a Watch,
    pub(crate) lock: &'a JobLock,
    /// Flags that every program gets.
    pub(crate) common: &'a [OsString],
    /// Those that log to the journal are to.
    pub(crate) is_logged: bool,
}

impl Work<'_> {
    /// Makes the backup.
    ///
    /// # Errors
    /// The last line of bk-create.
    pub(crate) fn create(&self, outcome: &mut Outcome) -> Result<()> {
        let mut create = self.program("bk-create");
        create.args(&self.job.create_flags).args(["--json", "-"]);
        let request = Value::Object(self.job.to_request()).to_string() + "\n";
        let ended = self.run(create, &request, |_| true)?;
        match ended.status.code() {
            Some(0 | SOME_UNREAD) => {}
            _ if ended.last_line.is_empty() => bail!("bk-create {}", ending(ended.status)),
            _ => bail!("{}", cause(&ended.last_line)),
        }
        let line = serde_json::from_str(&ended.stdout);
        let line: Value = line.context("bk-create printed no record")?;
        let backup = Backup::deserialize(&line).context("bk-create printed no record")?;
        if ended.status.code() == Some(SOME_UNREAD) {
            outcome.warnings.push(match losses::count(&backup) {
                1 => "1 place of the sources could not be read".into(),
                count => format!("{count} places of the sources could not be read"),
            });
        }
        outcome.is_shrunk = backup.backup_metadata.contains_key(SHRUNK);
        if outcome.is_shrunk {
            let name = &backup.backup_name;
            outcome.warnings.push(format!(
                "'{name}' holds far less than the backup before it: if nothing is missing, accept it with 'bk-set --accept {name}'"
            ));
        }
        outcome.made = Some(Made { backup, line });
        Ok(())
    }

    /// Removes what the job does not keep: of its own backups, or, for a job that backs up nothing, of all.
    /// What was removed before an error is counted.
    ///
    /// # Errors
    /// The error of bk-prune.
    pub(crate) fn prune(&self, outcome: &mut Outcome) -> Result<()> {
        let mut prune = self.program("bk-prune");
        // bk-auto has checked the clock itself, by its rounds.
        prune.args(["--json", "--force-clock"]);
        let lines = match self.job.rounds.prune {
            true => {
                prune.arg("--all");
                String::new()
            }
            false => {
                // One group: where the sources of a job change, its older backups are still its own.
                let flags = &self.job.prune_flags;
                let is_grouped = flags.iter().any(|flag| flag.starts_with("--group-by="));
                if !is_grouped {
                    prune.args(["--group-by", "none"]);
                }
                self.own()?
            }
        };
        prune.args(self.job.retention_flags());
        if !self.job.rounds.prune {
            prune.arg("-");
        }
        let ended = self.run(prune, &lines, |line| !is_summary(line))?;
        for line in ended.stdout.lines() {
            let removed: Value = serde_json::from_str(line).unwrap_or_default();
            outcome.tally.pruned += 1;
            outcome.tally.freed_bytes += removed["freed"].as_u64().unwrap_or_default();
        }
        self.check("cannot prune", "bk-prune", &ended)
    }

    /// The backups of the job, as lines.
    fn own(&self) -> Result<String> {
        let (backups, here) = catalog::read(self.home, |session| {
            Ok((session.backups()?, session.host()?))
        })?;
        let is_own = |it: &Backup| {
            let is_automatic = it.backup_type == BackupType::Automatic;
            is_automatic && it.job() == Some(&self.job.name) && here.has(it)
        };
        let own = backups.into_iter().flatten().filter(is_own);
        Ok(own.map(|it| format!("{{\"id\":{}}}\n", it.id)).collect())
    }

    /// Verifies what the job says.
    ///
    /// # Errors
    /// An archive that is not whole.
    pub(crate) fn verify(&self, words: &str, outcome: &mut Outcome) -> Result<()> {
        let mut verify = self.program("bk-verify");
        verify.arg("--json").args(rounds::verify_flags(words)?);
        let ended = self.run(verify, "", |_| true)?;
        outcome.tally.verified += count(&ended.stdout, |line| line["verify"]["ok"] == true);
        self.check("cannot verify all", "bk-verify", &ended)
    }

    /// Restores backups into a scratch directory, which is compared and removed.
    ///
    /// # Errors
    /// A backup that cannot be restored.
    pub(crate) fn test_restore(&self, names: &str, outcome: &mut Outcome) -> Result<()> {
        let mut restore = self.program("bk-restore");
        restore.args(["--json", "--test"]);
        restore.args(rounds::tested(names)?);
        let ended = self.run(restore, "", |_| true)?;
        outcome.tally.tested += count(&ended.stdout, |_| true);
        self.check("cannot restore all", "bk-restore", &ended)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = bk_cli::program(name);
        command.args(self.common);
        if self.is_logged && matches!(name, "bk-create" | "bk-prune") {
            command.arg("--syslog");
        }
        command
    }

    fn run(
        &self,
        command: Command,
        input: &str,
        is_news: fn(&str) -> bool,
    ) -> Result<program::Output> {
        program::run(command, input, self.watch, self.lock, is_news)
    }

    fn check(&self, cannot: &str, name: &str, ended: &program::Output) -> Result<()> {
        let how = ending(ended.status);
        // A warning is no reason.
        let reason = Some(&ended.last_line);
        let reason = reason.filter(|line| !line.is_empty() && !line.starts_with("warning: "));
        match (ended.status.success(), reason) {
            (true, _) => Ok(()),
            (false, Some(reason)) => bail!("{cannot}: {name} {how}: {reason}"),
            (false, None) => bail!("{cannot}: {name} {how}"),
        }
    }
}

/// The line without what it begins with: the name of a backup that there is not, which would be all
/// that a narrow table shows.
fn cause(line: &str) -> &str {
    let named = line.strip_prefix("cannot create '");
    let cause = named.and_then(|it| it.split_once("': "));
    cause.map_or(line, |(_, cause)| cause)
}

fn count(lines: &str, is_counted: impl Fn(&Value) -> bool) -> u64 {
    let values = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    values.filter(is_counted).count() as u64
}

/// bk-prune reports each removal; cron would mail that every night.
fn is_summary(line: &str) -> bool {
    line.starts_with("bk-prune: removed ")
}
