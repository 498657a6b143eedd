//! One restoration: extracts the archive into a stage, then moves that to its target.
//!
//! Whatever fails, no target is changed and no stage stays. Writes to no catalog.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bk_archive::restore::extract::{Extracted, Observer, Plan, extract};
use bk_archive::restore::names::{normalize, strip};
use bk_archive::restore::stage::{Stage, TREE, in_tree};
use bk_cli::units::human_size;
use bk_schema::record::Backup;
use bk_store::archives::mounts::Mounts;
use bk_store::archives::space::Space;
use bk_store::catalog;
use bk_store::home::Home;

use crate::below::{self, Own};
use crate::flags::{Existing, Settings};
use crate::opened::Opened;
use crate::outcome::Outcome;
use crate::routes::Routes;
use crate::sources::{Sources, is_in_order, texts};
use crate::target::{Placed, Target};
use crate::wanted::Wanted;
use crate::watch::Watch;

/// An archive that holds no more than this is not refused as a bomb.
const HARMLESS_BYTES: u64 = 64 << 20;

/// One restoration.
pub(crate) struct Work<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) home: &'a Home,
    pub(crate) backup: &'a Backup,
    pub(crate) wanted: &'a Wanted,
    pub(crate) watch: &'a Watch,
}

impl Work<'_> {
    /// Restores into a directory that the user named.
    pub(crate) fn to_directory(&self, dir: &Path, existing: Existing) -> Result<Outcome> {
        let target = self.directory(dir, existing)?;
        let opened = self.open()?;
        if let Existing::Into { .. } = existing {
            return self.into(target, &opened);
        }
        let stage = target.stage(self.backup.id)?;
        let done = self.extract_selected(&opened, &stage)?;
        if !done.has_root {
            target.copy_attributes(&stage)?;
        }
        self.place_all(&[(target, stage, done)])
    }

    /// A directory that the user named, of which it is checked that it can be restored to.
    pub(crate) fn directory(&self, dir: &Path, existing: Existing) -> Result<Target> {
        let target = Target::directory(dir, existing, self.backup.id, self.home.now)?;
        if target.kept.is_some() {
            let dir = target.path.display();
            let way = format!("'-C {dir} --into-existing --overwrite'");
            self.guard(&target, &self.stripped_entry(), &way)?;
        }
        Ok(target)
    }

    /// Restores into a directory that stays, and into those that mounts and links below it lead to.
    fn into(&self, target: Target, opened: &Opened) -> Result<Outcome> {
        let met = RefCell::new(vec![false; self.wanted.paths.len()]);
        self.wanted.selection.reset();
        let routes = RefCell::new(Routes::new(&target.path, self.home.now));
        let rules = target.rules();
        let has_mounts = !Mounts::read().below(&target.path).is_empty();
        let mut staged: Vec<(Target, Stage, Extracted)> = Vec::new();
        let mut next = Some(target);
        while let Some(target) = next {
            let number = staged.len();
            let stage = target.stage(self.backup.id)?;
            let place = |name: &[u8]| {
                let name = self.place(name, &mut met.borrow_mut())?;
                let mut routes = routes.borrow_mut();
                let (at, name) = routes.of(&name);
                (at == number).then(|| in_tree(name))
            };
            // How much goes to other file systems is not known yet.
            if number == 0 && !has_mounts {
                self.check_space(opened, &target.stage_dir)?;
            }
            let done = self.extract(opened, &self.plan(opened, &stage, &place), &stage)?;
            stage.make_tree()?;
            staged.push((target, stage, done));
            let path = routes.borrow().path(staged.len()).map(Path::to_owned);
            next = path
                .zip(rules)
                .map(|(path, rules)| Target::into(path, rules));
        }
        let entries = staged.iter().map(|(.., done)| done.entries).sum();
        self.check_selection(&met.into_inner(), entries)?;
        self.place_all(&staged)
    }

    /// Refuses or warns of what an exchange would move away with the target.
    fn guard(&self, target: &Target, entry: &[u8], way: &str) -> Result<()> {
        let Some(kept) = &target.kept else {
            return Ok(());
        };
        let (storage, backups) = catalog::read(self.home, |session| {
            Ok((session.storage_dir()?, session.backups()?))
        })?;
        let archives = backups
            .iter()
            .flatten()
            .map(|it| Path::new(&it.backup_path));
        let dirs = archives.filter_map(Path::parent).map(Path::to_owned);
        let own = Own {
            home: self.home.dir.clone(),
            storages: dirs.chain([storage]).collect(),
        };
        below::check(&target.path, &own, way)?;
        if let Some(excluded) = below::excluded(self.backup, &target.path, entry) {
            self.watch.warn(&format!(
                "warning: {excluded} goes to '{}' with all that was there: {way} would leave it where it is",
                kept.display()
            ));
        }
        if let Some(why) = target.note {
            self.watch.warn(&format!(
                "warning: '{}' is filled in place, as {why}",
                target.path.display()
            ));
        }
        Ok(())
    }

    /// The name in the archive of the directory itself, after `--strip-components`.
    fn stripped_entry(&self) -> Vec<u8> {
        let entries = texts(self.backup, "source_entries").unwrap_or_default();
        let entry = entries.first().unwrap_or(&".");
        let entry = normalize(entry.as_bytes()).unwrap_or_default();
        let parts = entry.split(|byte| *byte == b'/').take(self.settings.strip);
        parts.collect::<Vec<_>>().join(&b'/')
    }

    /// Extracts what is selected into a stage.
    ///
    /// # Errors
    /// As [`extract`], and a path that the backup does not hold.
    pub(crate) fn extract_selected(&self, opened: &Opened, stage: &Stage) -> Result<Extracted> {
        let met = RefCell::new(vec![false; self.wanted.paths.len()]);
        let place = |name: &[u8]| Some(in_tree(&self.place(name, &mut met.borrow_mut())?));
        self.check_space(opened, stage.path.parent().unwrap_or(&stage.path))?;
        self.wanted.selection.reset();
        let done = self.extract(opened, &self.plan(opened, stage, &place), stage)?;
        self.check_selection(&met.into_inner(), done.entries)?;
        stage.make_tree()?;
        let tree = stage.dir.open_dir(TREE.as_bytes());
        tree.context("the archive has no directory in the place of its first one")?;
        Ok(done)
    }

    pub(crate) fn check_selection(&self, met: &[bool], entries: u64) -> Result<()> {
        for (path, is_met) in self.wanted.paths.iter().zip(met) {
            let absent = path.display();
            if self.wanted.is_by_line && !is_met && entries > 0 {
                self.watch.absent(&absent.to_string());
                continue;
            }
            ensure!(
                is_met,
                "the backup holds no '{absent}': 'bk-ls --files' lists what it holds"
            );
        }
        ensure!(
            self.wanted.selection.is_all() || entries > 0,
            "the backup holds nothing that is selected: 'bk-ls --files' lists what it holds"
        );
        let strip = self.settings.strip;
        if entries == 0 && strip > 0 {
            let text = format!("warning: --strip-components {strip} leaves nothing of any name");
            self.watch.warn(&text);
        }
        for glob in self.wanted.selection.unmatched() {
            let glob = glob.escape_debug();
            self.watch
                .warn(&format!("warning: --path '{glob}' matched nothing"));
        }
        Ok(())
    }

    /// The path of an entry below the target; `None` where it is not selected.
    pub(crate) fn place(&self, name: &[u8], met: &mut [bool]) -> Option<Vec<u8>> {
        let settings = self.settings;
        let mark = |number: usize| {
            if let Some(met) = met.get_mut(number) {
                *met = true;
            }
        };
        if !self.wanted.selection.takes(name, mark) {
            return None;
        }
        strip(name, settings.strip).map(<[u8]>::to_vec)
    }

    /// Restores to where the backup was taken from.
    pub(crate) fn to_source(&self) -> Result<Outcome> {
        let sources = Sources::of(self.backup)?;
        let targets = self.source_targets(&sources)?;
        let opened = self.open()?;
        let mut staged = Vec::new();
        for (number, target) in targets.into_iter().enumerate() {
            let stage = target.stage(self.backup.id)?;
            if number == 0 {
                self.check_space(&opened, &target.stage_dir)?;
            }
            let place = |name: &[u8]| sources.place_of(number, name);
            let plan = Plan {
                ranges: None,
                ..self.plan(&opened, &stage, &place)
            };
            let done = self.extract(&opened, &plan, &stage)?;
            let source = sources.paths[number].0.display();
            ensure!(done.entries > 0, "the backup holds nothing of '{source}'");
            staged.push((target, stage, done));
        }
        let outcome = self.place_all(&staged)?;
        self.warn_of_streams(&sources);
        Ok(outcome)
    }

    /// Tells what is restored to no place.
    pub(crate) fn warn_of_streams(&self, sources: &Sources) {
        let name = &self.backup.backup_name;
        for stream in &sources.streams {
            let stream = String::from_utf8_lossy(stream);
            self.watch.warn(&format!(
                "warning: '{stream}' came from a command, from no place, and is not restored: 'bk-restore --stdout {stream} {name}' prints it"
            ));
        }
    }

    /// The sources, of which it is checked that they can be restored to.
    pub(crate) fn source_targets(&self, sources: &Sources) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        for (source, entry) in &sources.paths {
            let target = Target::source(source, self.backup.id)?;
            self.guard(&target, entry, &way_into(&target.path, entry))?;
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
        Ok(targets)
    }

    pub(crate) fn open(&self) -> Result<Opened> {
        Opened::open(self.home, self.backup, self.settings.verify, self.watch)
    }

    /// How the archive is extracted into this stage.
    pub(crate) fn plan<'p>(
        &'p self,
        opened: &Opened,
        stage: &Stage,
        place: &'p dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Plan<'p> {
        let ranges = self.wanted.selection.ranges();
        Plan {
            place,
            ranges: ranges.filter(|_| is_in_order(self.backup)),
            rights: &self.settings.rights,
            limit: self.limit(opened),
            dir_mode: stage.dir_mode,
            salvages: self.salvages(),
            jobs: self.settings.jobs,
        }
    }

    /// Whether what is whole of a damaged archive is restored.
    pub(crate) fn salvages(&self) -> bool {
        !self.settings.verify || self.backup.backup_metadata.contains_key("damaged")
    }

    fn extract(&self, opened: &Opened, plan: &Plan<'_>, stage: &Stage) -> Result<Extracted> {
        self.watch
            .begin(self.content_bytes().unwrap_or(opened.bytes), "restored");
        let mut done = extract(&opened.file, &stage.dir, plan, self.watch)?;
        opened.check_again(done.whole.take(), self.watch)?;
        ensure!(
            done.entries > 0 || !done.is_damaged,
            "it is damaged, and nothing of it is whole"
        );
        ensure!(
            done.entries > 0 || done.failed_count == 0,
            "none of its entries can be made"
        );
        Ok(done)
    }

    pub(crate) fn content_bytes(&self) -> Option<u64> {
        self.backup.backup_metadata.get("content_bytes")?.as_u64()
    }

    /// Of a part of a backup the size is not known.
    pub(crate) fn check_space(&self, opened: &Opened, dir: &Path) -> Result<()> {
        let is_known = self.wanted.selection.is_all() && opened.is_verified();
        let bytes = self.content_bytes().filter(|_| is_known);
        let (Some(bytes), Some(space)) = (bytes, Space::at(dir)?) else {
            return Ok(());
        };
        let free = space.available_bytes;
        ensure!(
            bytes <= free,
            "it takes {} and '{}' has {} free",
            human_size(bytes),
            dir.display(),
            human_size(free)
        );
        Ok(())
    }

    /// The limit of the content, and the error where there is more. The record counts where the
    /// archive is verified to be its own.
    pub(crate) fn limit(&self, opened: &Opened) -> (u64, String) {
        let ratio = self.settings.max_ratio;
        let by_ratio = ratio.saturating_mul(opened.bytes).max(HARMLESS_BYTES);
        let recorded = self.content_bytes().filter(|_| opened.is_verified());
        let by_record = recorded.unwrap_or(0).saturating_mul(2);
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

    /// Moves all stages to their targets, or none.
    fn place_all(&self, staged: &[(Target, Stage, Extracted)]) -> Result<Outcome> {
        for (_, stage, _) in staged {
            stage.sync()?;
        }
        ensure!(!self.watch.is_stopped(), "interrupted");
        let has_entry: Vec<_> = staged
            .iter()
            .map(|(.., done)| move |name: &[u8]| !done.implied.contains(&in_tree(name)))
            .collect();
        let mut placed: Vec<Placed<'_>> = Vec::new();
        for ((target, stage, _), has_entry) in staged.iter().zip(&has_entry) {
            match target.place(stage, has_entry) {
                Ok(one) => placed.push(one),
                Err(error) => {
                    let undone = placed
                        .iter_mut()
                        .zip(staged)
                        .rev()
                        .map(|(one, (target, ..))| {
                            let path = target.path.display();
                            let cannot = || format!("cannot put '{path}' back after: {error:#}");
                            one.undo().with_context(cannot)
                        });
                    // All of them, even where one fails.
                    undone.fold(Ok(()), Result::and)?;
                    return Err(error);
                }
            }
        }
        self.finish(&placed, staged);
        let targets = staged.iter().map(|(target, ..)| target);
        Ok(Outcome {
            placed: targets
                .map(|it| (it.path.clone(), it.kept.clone()))
                .collect(),
            ..Outcome::of(staged.iter().map(|(.., done)| done))
        })
    }

    /// Restores the attributes of directories that stay. An error here is not worth undoing all.
    fn finish(&self, placed: &[Placed<'_>], staged: &[(Target, Stage, Extracted)]) {
        for (one, (target, _, done)) in placed.iter().zip(staged) {
            if let Err(error) = one.finish(done.has_root, self.watch) {
                let path = target.path.display();
                self.watch.warn(&format!(
                    "warning: '{path}': its directories are not all as in the backup: {error}"
                ));
            }
            if let Some(kept) = &target.kept {
                let text = format!("what was there is kept as '{}'", kept.display());
                self.watch.warn(&text);
            }
        }
    }
}

/// The flags with which files that are not in the backup stay where they are.
fn way_into(path: &Path, entry: &[u8]) -> String {
    let path = path.as_os_str().as_bytes();
    let base = path.strip_suffix(entry).map(OsStr::from_bytes);
    let base = base.filter(|base| !entry.is_empty() && base.as_bytes().ends_with(b"/"));
    let dir = match base.map(|base| Path::new(base).components().as_path()) {
        Some(dir) => dir.display().to_string(),
        None if entry.is_empty() => Path::new(OsStr::from_bytes(path)).display().to_string(),
        None => "DIR".to_owned(),
    };
    format!("'-C {dir} --into-existing --overwrite'")
}
