//! A store that programs change until they are killed or a call of theirs fails, and what must
//! hold after that: seen with no more than what a user has, bk-ls, one write and sha256sum.
//!
//! Knows neither which calls are struck nor how often.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::{Ran, Sandbox, check_manifests_of, files_in, strace};

/// Where archives may be: the storage directory, another one, and one in another file system.
const DIRS: [&str; 3] = ["store", "near", "far"];
/// What stands for the identity of a backup and its archive.
const FACTS: [&str; 4] = ["id", "status", "backup_path", "backup_hash"];

/// Of these each is struck, in the short round too.
pub const FEW: [&str; 4] = ["renameat2", "unlink", "link", "copy_file_range"];

/// What calls are made on; a line on stdout or stderr is another matter.
pub const FILES: &str = "home home/catalog.lock home/catalog.duckdb home/catalog.duckdb.wal \
                         home/catalog.spare store near far \
                         store/x.tar.gz store/x.tar.gz.partial \
                         store/a.tar.gz store/a.tar.gz.partial store/b.tar.gz store/b.tar.gz.partial \
                         near/a.tar.gz near/a.tar.gz.partial near/b.tar.gz near/b.tar.gz.partial \
                         far/a.tar.gz far/a.tar.gz.partial far/b.tar.gz far/b.tar.gz.partial";

/// What a command line does, when nothing keeps it from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Makes,
    Removes,
    /// Into this directory.
    Moves(&'static str),
}

/// A command line that is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deed {
    pub line: &'static str,
    pub effect: Effect,
    /// The backups that it is to change, and no others.
    pub names: &'static [&'static str],
}

impl Deed {
    const fn new(line: &'static str, effect: Effect, names: &'static [&'static str]) -> Self {
        Self {
            line,
            effect,
            names,
        }
    }
}

pub const CREATE: Deed = Deed::new(
    "bk-create --storage store --name x app",
    Effect::Makes,
    &["x"],
);
/// What a command prints goes into the archive too; only calls on the store's own [`FILES`] are struck, and not
/// those of the command.
pub const CREATE_DUMP: Deed = Deed::new(
    "bk-create --storage store --name x --command dump='seq 40000' app",
    Effect::Makes,
    &["x"],
);
pub const REMOVE: Deed = Deed::new("bk-rm a b", Effect::Removes, &["a", "b"]);
pub const REMOVE_ANOTHER: Deed = Deed::new("bk-rm c", Effect::Removes, &["c"]);
pub const PRUNE: Deed = Deed::new("bk-prune --keep-last 1", Effect::Removes, &["a", "b"]);
pub const MOVE_NEAR: Deed = Deed::new("bk-mv a b near", Effect::Moves("near"), &["a", "b"]);
pub const MOVE_FAR: Deed = Deed::new("bk-mv a b far", Effect::Moves("far"), &["a", "b"]);
pub const MOVE_ALL: Deed = Deed::new("bk-mv --all near", Effect::Moves("near"), &["a", "b", "c"]);

/// The backups `a`, `b` and `c` with their archives in `store/`, and what was done with them
/// before; each strike begins there.
pub struct Store {
    pub sandbox: Sandbox,
    /// Where the link `far` leads.
    _far: Option<TempDir>,
    before: BTreeMap<String, Value>,
    /// Archives that were nobody's from the beginning.
    strangers: BTreeSet<PathBuf>,
}

impl Store {
    /// `prepared` is a command line that is run once.
    pub fn new(prepared: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("app/config.toml", "port = 8080\n");
        sandbox.write("app/data/orders.db", &"order\n".repeat(3_000));
        let far = another_file_system(&sandbox);
        if let Some(far) = &far {
            symlink(far.path(), sandbox.path("far")).unwrap();
        }
        sandbox.ok(r#"mkdir home store near
            for n in a b c; do echo '{"sources":["app"],"backup_name":"'$n'"}'; done |
                bk-create --storage store - >/dev/null"#);
        sandbox.ok(prepared);
        sandbox.ok("mkdir start && cp -a home store near start/");
        let mut store = Self {
            before: by_name(sandbox.records()),
            sandbox,
            _far: far,
            strangers: BTreeSet::new(),
        };
        store.strangers = store.nobodys(&store.before);
        store
    }

    /// Whether there is another file system to move to; a word of it where not.
    pub fn has_far(&self) -> bool {
        if self._far.is_none() {
            println!("skipped: /dev/shm is no other file system that can be written");
        }
        self._far.is_some()
    }

    /// Puts all back to the start and runs a command line.
    pub fn run(&self, line: &str) -> Ran {
        self.sandbox.run(&format!(
            "rm -rf home store near far/* && cp -a start/. . && {line}"
        ))
    }

    /// From the start on, with a fault, as strace's `inject` has it, at a call; where `files`
    /// are given, only at those that are made on them.
    pub fn strike(&self, deed: &Deed, call: &str, fault: &str, files: &[&str]) -> Ran {
        let path = |file: &&str| format!("-P {} ", self.sandbox.path(file).display());
        let files: String = files.iter().map(path).collect();
        self.run(&format!(
            "exec {} --quiet=all -o /dev/null {files} -e trace={call} -e inject={call}:{fault} {}",
            strace(fault),
            deed.line
        ))
    }

    /// The promises after any end of the deed.
    pub fn check(&self, deed: &Deed, ended: &Ran) {
        let listed = self.sandbox.run("bk-ls --json");
        let told = (listed.status, listed.stderr.as_str());
        assert_eq!(told, (0, ""), "{ended:#?}{listed:#?}");
        let next = self
            .sandbox
            .run("bk-create --storage store --name next app >/dev/null");
        assert_eq!((next.status, &*next.stderr), (0, ""), "{ended:#?}{next:#?}");
        let after = self.check_tidy(&format!("{ended:#?}"));
        let is_under_way = |it: &&Value| !is_at_rest(it);
        for left in listed.records().iter().filter(is_under_way) {
            let told = format!("{} recover ok ", name(left));
            let ledger = self.sandbox.ledger();
            let is_told = ledger.iter().any(|it| it.starts_with(&told));
            assert!(is_told, "{left} in {ledger:#?}\n{ended:#?}");
        }
        self.check_untouched(deed, &after, ended);
        self.check_touched(deed, &after, ended);
        self.check_acknowledged(deed, &after, ended);
    }

    /// What holds once a program has written to the catalog and nobody is at work: no row is
    /// left under way, each completed one has its archive with its hash, and each archive its
    /// row. `told` says what went before.
    pub fn check_tidy(&self, told: &str) -> BTreeMap<String, Value> {
        let after = by_name(self.sandbox.records());
        for record in after.values() {
            assert!(is_at_rest(record), "{record}\n{told}");
        }
        let sums: String = after
            .values()
            .filter(|it| is_completed(it))
            .map(sum)
            .collect();
        self.sandbox.write("sums", &sums);
        let summed = self.sandbox.run("sha256sum --check --quiet sums");
        assert_eq!(
            (summed.status, &*summed.stderr),
            (0, ""),
            "{summed:#?}\n{told}"
        );
        check_manifests_of(&self.sandbox, after.values());
        let nobodys = self.nobodys(&after);
        let new: Vec<_> = nobodys.difference(&self.strangers).collect();
        assert!(new.is_empty(), "{new:?} are nobody's\n{told}");
        after
    }

    /// The files in the storage directories of which no row tells.
    fn nobodys(&self, records: &BTreeMap<String, Value>) -> BTreeSet<PathBuf> {
        let mut known = BTreeSet::new();
        for record in records.values() {
            let path = record["backup_path"].as_str().unwrap();
            known.insert(PathBuf::from(path));
            // What a failed attempt could not remove goes with its row.
            if record["status"] == "failed" {
                known.insert(format!("{path}.partial").into());
            }
        }
        let dirs = DIRS.map(|dir| self.sandbox.path(dir));
        let files = dirs.iter().flat_map(|dir| files_in(dir));
        files.filter(|file| !known.contains(file)).collect()
    }

    /// The others are as they were; and what was under way at the start is settled.
    fn check_untouched(&self, deed: &Deed, after: &BTreeMap<String, Value>, ended: &Ran) {
        let others = self.before.iter();
        for (name, before) in others.filter(|(name, _)| !deed.names.contains(&name.as_str())) {
            let now = after.get(name);
            let is_right = match before["status"].as_str().unwrap() {
                "deleting" => now.is_none(),
                "creating" => now.is_some_and(|it| it["status"] == "failed"),
                "moving" => now.is_some_and(|it| {
                    is_completed(it) && it["backup_hash"] == before["backup_hash"]
                }),
                _ => now.map(facts) == Some(facts(before)),
            };
            assert!(is_right, "{name}: {before}\n{after:#?}{ended:#?}");
        }
    }

    /// What may have become of those that the deed is to change.
    fn check_touched(&self, deed: &Deed, after: &BTreeMap<String, Value>, ended: &Ran) {
        let ledger = self.sandbox.ledger();
        for (name, before) in deed
            .names
            .iter()
            .filter_map(|it| self.before.get_key_value(*it))
        {
            match (deed.effect, after.get(name)) {
                (Effect::Removes, None) => {
                    let is_told = |event: &str| ledger.contains(&format!("{name} {event}"));
                    let is_told = is_told("remove ok")
                        || is_told("prune ok")
                        || is_told("recover ok its removal was finished");
                    assert!(is_told, "{name}: {ledger:#?}{ended:#?}");
                }
                (Effect::Moves(dir), Some(now)) => {
                    assert_eq!(now["backup_hash"], before["backup_hash"], "{ended:#?}");
                    let there = self.moved(dir, before);
                    let places = [&before["backup_path"], &there];
                    assert!(places.contains(&&now["backup_path"]), "{now}{ended:#?}");
                    assert!(is_completed(now), "{now}{ended:#?}");
                }
                (_, now) => {
                    let same = now.map(|it| facts(it) == facts(before));
                    assert_eq!(same, Some(true), "{name}\n{after:#?}{ended:#?}");
                }
            }
        }
    }

    fn check_acknowledged(&self, deed: &Deed, after: &BTreeMap<String, Value>, ended: &Ran) {
        let printed = ended.records();
        for record in &printed {
            let now = after.get(name(record));
            match deed.effect {
                Effect::Makes => {
                    assert!(is_completed(record), "{ended:#?}");
                    assert_eq!(now.map(facts), Some(facts(record)), "{ended:#?}");
                }
                Effect::Removes => assert_eq!(now, None, "{ended:#?}"),
                Effect::Moves(dir) => {
                    let before = &self.before[name(record)];
                    let path = now.map(|it| it["backup_path"].clone());
                    assert_eq!(path, Some(self.moved(dir, before)), "{ended:#?}");
                }
            }
        }
        let names: BTreeSet<_> = printed.iter().map(name).collect();
        let is_all = names == deed.names.iter().copied().collect();
        assert!(is_all || ended.status != 0, "{ended:#?}");
    }

    /// The path of a backup that was moved into a directory of the sandbox.
    fn moved(&self, dir: &str, before: &Value) -> Value {
        let path = PathBuf::from(before["backup_path"].as_str().unwrap());
        let path = self.sandbox.path(dir).join(path.file_name().unwrap());
        path.to_str().unwrap().into()
    }
}

/// A directory in memory, where the sandbox is on a disk.
fn another_file_system(sandbox: &Sandbox) -> Option<TempDir> {
    let mut far = tempfile::Builder::new();
    let far = far.prefix("bk-test-").tempdir_in("/dev/shm").ok()?;
    let device = |path: PathBuf| fs::metadata(path).unwrap().dev();
    let is_another = device(far.path().into()) != device(sandbox.path(""));
    is_another.then_some(far)
}

fn by_name(records: Vec<Value>) -> BTreeMap<String, Value> {
    let pair = |it: Value| (name(&it).to_owned(), it);
    records.into_iter().map(pair).collect()
}

pub fn name(record: &Value) -> &str {
    record["backup_name"].as_str().unwrap()
}

fn facts(record: &Value) -> [Value; 4] {
    FACTS.map(|key| record[key].clone())
}

pub fn is_completed(record: &Value) -> bool {
    record["status"] == "completed"
}

fn is_at_rest(record: &Value) -> bool {
    is_completed(record) || record["status"] == "failed"
}

/// A line for sha256sum.
fn sum(record: &Value) -> String {
    let text = |key: &str| record[key].as_str().unwrap().to_owned();
    format!("{}  {}\n", text("backup_hash"), text("backup_path"))
}
