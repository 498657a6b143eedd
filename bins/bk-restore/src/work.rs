//! One restoration: the archive into a stage, what the stage holds to its place.
//!
//! Knows no catalog. Whatever fails, no target is changed and no stage stays.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::extract::{Done, Observer, Plan, extract};
use bk_archive::names::{Sought, below, plain, strip};
use bk_schema::home::Home;
use bk_schema::record::Backup;
use bk_schema::space::Space;
use bk_schema::units::human_size;
use serde_json::Value;

use crate::flags::{Existing, Settings};
use crate::opened::Opened;
use crate::stage::{Stage, TREE};
use crate::target::{Placed, Target};
use crate::watch::Watch;

/// Nobody calls an archive a bomb that holds no more than this.
const HARMLESS_BYTES: u64 = 64 << 20;

/// What a restoration came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Whether something was lost, as the archive is damaged.
    pub(crate) is_damaged: bool,
    pub(crate) placed: Vec<(PathBuf, Option<PathBuf>)>,
}

/// What every step of one restoration needs.
pub(crate) struct Work<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) home: &'a Home,
    pub(crate) backup: &'a Backup,
    pub(crate) watch: &'a Watch,
}

impl Work<'_> {
    /// Restores into a directory that the user named.
    ///
    /// # Errors
    /// Whatever kept it from being restored.
    pub(crate) fn to_directory(&self, dir: &Path, existing: Existing) -> Result<Outcome> {
        let target = Target::directory(dir, existing, self.home)?;
        target.check(self.backup.id)?;
        let opened = self.open()?;
        let stage = Stage::make(&target.stage_dir, self.backup.id)?;
        let done = self.extract_selected(&opened, &stage)?;
        if !done.has_root {
            target.take_over(&stage)?;
        }
        self.place_all(&[(target, stage)], &done)
    }

    /// Restores what is asked for into a stage.
    ///
    /// # Errors
    /// As [`extract`], and a path that the backup does not hold.
    pub(crate) fn extract_selected(&self, opened: &Opened, stage: &Stage) -> Result<Done> {
        let met = RefCell::new(vec![false; self.settings.paths.len()]);
        let place = |name: &[u8]| self.place(name, &mut met.borrow_mut());
        let selection_is_all = self.settings.selection.is_all();
        self.check_space(opened, stage, selection_is_all)?;
        self.settings.selection.forget();
        let done = self.extract(opened, &self.plan(opened, stage, &place), stage)?;
        for (path, is_met) in self.settings.paths.iter().zip(met.into_inner()) {
            ensure!(is_met, "the backup holds no '{}'", path.display());
        }
        ensure!(
            selection_is_all || done.entries > 0,
            "the backup holds nothing that is asked for"
        );
        for glob in self.settings.selection.unmet() {
            let glob = glob.escape_debug();
            self.watch
                .warn(&format!("warning: --path '{glob}' matched nothing"));
        }
        stage.make_tree()?;
        let tree = stage.dir.open_dir(TREE.as_bytes());
        tree.context("the archive has no directory in the place of its first one")?;
        Ok(done)
    }

    /// Where an entry goes in the stage.
    pub(crate) fn place(&self, name: &[u8], met: &mut [bool]) -> Option<Vec<u8>> {
        let settings = self.settings;
        let mark = |number: usize| {
            if let Some(met) = met.get_mut(number) {
                *met = true;
            }
        };
        if !settings.selection.takes(name, mark) {
            return None;
        }
        let stripped = strip(name, settings.strip)?;
        Some(in_tree(stripped))
    }

    /// Restores to where the backup was taken from.
    ///
    /// # Errors
    /// Whatever kept it from being restored.
    pub(crate) fn to_source(&self) -> Result<Outcome> {
        let sources = sources(self.backup)?;
        let mut targets = Vec::new();
        for (source, _) in &sources {
            let target = Target::source(source, self.home)?;
            target.check(self.backup.id)?;
            targets.push(target);
        }
        for target in &targets {
            let others = targets.iter().filter(|other| other.path != target.path);
            for other in others {
                ensure!(
                    !target.path.starts_with(&other.path),
                    "'{}' lies in '{}': restore them with -C, one after the other",
                    target.path.display(),
                    other.path.display()
                );
            }
        }
        let opened = self.open()?;
        let mut staged = Vec::new();
        let mut all = Done::default();
        for (number, target) in targets.into_iter().enumerate() {
            let stage = Stage::make(&target.stage_dir, self.backup.id)?;
            if number == 0 {
                self.check_space(&opened, &stage, true)?;
            }
            let place = |name: &[u8]| place_of(&sources, number, name);
            let plan = Plan {
                sought: None,
                ..self.plan(&opened, &stage, &place)
            };
            let done = self.extract(&opened, &plan, &stage)?;
            let source = sources[number].0.display();
            ensure!(done.entries > 0, "the backup holds nothing of '{source}'");
            all.entries += done.entries;
            all.bytes += done.bytes;
            all.is_damaged |= done.is_damaged;
            staged.push((target, stage));
        }
        self.place_all(&staged, &all)
    }

    /// # Errors
    /// As [`Opened::open`].
    pub(crate) fn open(&self) -> Result<Opened> {
        Opened::open(self.home, self.backup, self.settings.verify, self.watch)
    }

    /// How the archive is to be restored into this stage.
    pub(crate) fn plan<'p>(
        &'p self,
        opened: &Opened,
        stage: &Stage,
        place: &'p dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Plan<'p> {
        Plan {
            place,
            sought: self.sought(),
            rights: self.settings.rights(),
            limit: self.limit(opened),
            dir_mode: stage.dir_mode,
            salvages: !self.settings.verify || self.is_damaged(),
            jobs: self.settings.jobs,
        }
    }

    /// Whether it was adopted though it is damaged.
    fn is_damaged(&self) -> bool {
        self.backup.backup_metadata.contains_key("damaged")
    }

    fn extract(&self, opened: &Opened, plan: &Plan<'_>, stage: &Stage) -> Result<Done> {
        self.watch
            .begin(self.content_bytes().unwrap_or(opened.bytes), "restored");
        let mut done = extract(&opened.file, &stage.dir, plan, self.watch)?;
        opened.check_again(done.whole.take(), self.watch)?;
        Ok(done)
    }

    /// Among which names all is that is asked for, if they can be sought in the archive.
    fn sought(&self) -> Option<&[Sought]> {
        let sought = self.settings.selection.sought();
        sought.filter(|_| is_in_order(self.backup))
    }

    fn content_bytes(&self) -> Option<u64> {
        self.backup.backup_metadata.get("content_bytes")?.as_u64()
    }

    fn check_space(&self, opened: &Opened, stage: &Stage, is_whole: bool) -> Result<()> {
        let Some(bytes) = self
            .content_bytes()
            .filter(|_| is_whole && opened.is_verified())
        else {
            return Ok(());
        };
        let Some(space) = Space::of(stage.dir.root())? else {
            return Ok(());
        };
        let free = space.available_bytes;
        ensure!(
            bytes <= free,
            "it takes {} and '{}' has {} free",
            human_size(bytes),
            stage.path.parent().unwrap_or(&stage.path).display(),
            human_size(free)
        );
        Ok(())
    }

    /// More content than this is refused. What the record tells counts where the archive is the
    /// one that it tells of.
    fn limit(&self, opened: &Opened) -> (u64, String) {
        let ratio = self.settings.max_ratio;
        let by_ratio = ratio.saturating_mul(opened.bytes).max(HARMLESS_BYTES);
        let told = self.content_bytes().filter(|_| opened.is_verified());
        let by_record = told.unwrap_or(0).saturating_mul(2);
        let by_size = self.settings.max_bytes.unwrap_or(u64::MAX);
        let honest = by_ratio.max(by_record);
        if by_size < honest {
            (by_size, "it is more than --max-size allows".to_owned())
        } else {
            let text = format!(
                "the archive holds more than {ratio} times its size, as a bomb does: --max-ratio allows more"
            );
            (honest, text)
        }
    }

    /// All or none.
    fn place_all(&self, staged: &[(Target, Stage)], done: &Done) -> Result<Outcome> {
        for (_, stage) in staged {
            stage.sync()?;
        }
        ensure!(!self.watch.is_stopped(), "interrupted");
        let mut placed: Vec<Placed> = Vec::new();
        for (target, stage) in staged {
            match target.place(stage, self.backup.id) {
                Ok(one) => placed.push(one),
                Err(error) => {
                    for (one, (target, stage)) in placed.iter().zip(staged) {
                        let path = target.path.display();
                        let undone = one.undo(stage);
                        undone.with_context(|| {
                            format!("cannot put '{path}' back after: {error:#}")
                        })?;
                    }
                    return Err(error);
                }
            }
        }
        for one in &placed {
            if let Some(kept) = &one.kept {
                let kept = kept.display();
                self.watch
                    .warn(&format!("what was there is kept as '{kept}'"));
            }
        }
        let paths = staged.iter().map(|(target, _)| target.path.clone());
        Ok(Outcome {
            entries: done.entries,
            bytes: done.bytes,
            is_damaged: done.is_damaged,
            placed: paths.zip(placed.into_iter().map(|one| one.kept)).collect(),
        })
    }
}

/// Below the tree of a stage.
fn in_tree(name: &[u8]) -> Vec<u8> {
    match name {
        [] => TREE.as_bytes().to_owned(),
        name => [TREE.as_bytes(), b"/", name].concat(),
    }
}

/// The sources of a backup with the plain names that they have in the archive. One that lies in
/// another comes with that one.
fn sources(backup: &Backup) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let texts = |key| -> Option<Vec<&str>> {
        let Some(Value::Array(values)) = backup.backup_metadata.get(key) else {
            return None;
        };
        values.iter().map(Value::as_str).collect()
    };
    if backup.backup_metadata.contains_key("stdin_filename") {
        bail!(
            "it came through a pipe, from no place: name a directory with -C, or print it with --stdout"
        );
    }
    let unknown = "its record does not tell where it was taken from: name a directory with -C";
    if backup.backup_metadata.contains_key("sources_base64") {
        bail!("a source has a name that is not UTF-8: name a directory with -C");
    }
    let (sources, entries) = (texts("sources"), texts("source_entries"));
    let (sources, entries) = sources.zip(entries).context(unknown)?;
    ensure!(
        sources.len() == entries.len() && !sources.is_empty(),
        "{unknown}"
    );
    let mut all = Vec::new();
    for (source, entry) in sources.iter().zip(entries) {
        ensure!(source.starts_with('/'), "{unknown}");
        all.push((PathBuf::from(source), plain(entry.as_bytes())?));
    }
    let is_within = |one: &(PathBuf, Vec<u8>), outer: &(PathBuf, Vec<u8>)| {
        let rest = below(&one.1, &outer.1).and_then(|rest| str::from_utf8(rest).ok());
        rest.is_some_and(|rest| !rest.is_empty() && outer.0.join(rest) == one.0)
    };
    let apart = all
        .iter()
        .filter(|one| !all.iter().any(|outer| is_within(one, outer)));
    Ok(apart.cloned().collect())
}

/// Whether all entries of a backup of bk's are in the one order: a source that lies in another
/// comes after all of that. What is below the source `.` comes first.
pub(crate) fn is_in_order(backup: &Backup) -> bool {
    let Some(Value::Array(entries)) = backup.backup_metadata.get("source_entries") else {
        return false;
    };
    let names = entries.iter().map(|entry| entry.as_str()).collect();
    let names: Option<Vec<&str>> = names;
    // In the order of the archive the first that lies in another follows that one.
    names.is_some_and(|names| {
        names
            .windows(2)
            .all(|pair| pair[0] == "." || below(pair[1].as_bytes(), pair[0].as_bytes()).is_none())
    })
}

/// Where an entry goes in the stage of one of the sources; `None` where it belongs to another,
/// whose name leads further.
fn place_of(sources: &[(PathBuf, Vec<u8>)], number: usize, name: &[u8]) -> Option<Vec<u8>> {
    let own = &sources[number].1;
    let rest = below(name, own)?;
    let is_others = sources
        .iter()
        .any(|(_, other)| other.len() > own.len() && below(name, other).is_some());
    (!is_others).then(|| in_tree(rest))
}
