//! A directory that archives are copied to, and what must hold there, seen with no more than what a user has:
//! the files, and what the catalog says of them.
//!
//! Knows neither what was sent nor how that ended.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Ran, Sandbox};

/// The location that the tests copy to, and its directory in the sandbox.
pub const USB: &str = "usb";
pub const PLACE: &str = "place";

impl Sandbox {
    /// Names the directory as a location, and makes it.
    pub fn usb(&self) {
        self.ok(&format!(
            "bk-push --set --init {USB} file://$PWD/{PLACE} && test -d {PLACE}"
        ));
    }

    /// The object of a backup, as its record names it.
    pub fn object(&self, backup: &str) -> PathBuf {
        let record = self.ok(&format!("bk-ls --json '{backup}'")).record();
        let key = record["copies"][0]["key"].as_str().unwrap();
        self.path(PLACE).join(key)
    }

    /// Begins to copy the first backup, which is large, and ends that by a signal once the location has a part of
    /// it. `before` is a line that goes before.
    pub fn copy_until_a_part(&self, before: &str, location: &str, signal: &str) -> Ran {
        let ran = self.run(&format!(
            "{before}
             set -m; exec 3>&2 2>/dev/null
             bk-push --limit-rate 24M {location} 1 2>err &
             for n in $(seq 3000); do grep -qs '\"part\"' home/uploads/{location}.1 && break; sleep 0.01; done
             kill -{signal} $!; wait $!; code=$?; cat err >&3; exit $code"
        ));
        assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""), "{ran:#?}");
        let status = self.ok("bk-ls --json 1").record()["copies"][0]["status"].clone();
        assert_eq!(status, "copying", "{ran:#?}");
        ran
    }

    /// The parts of the first backup that a location has, and their bytes.
    pub fn parts_there(&self, location: &str) -> (usize, u64) {
        let journal = fs::read_to_string(self.home().join(format!("uploads/{location}.1")));
        let parts = journal.unwrap();
        let parts = parts.lines().skip(1).map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["part"]["bytes"].as_u64().unwrap()
        });
        let parts: Vec<_> = parts.collect();
        assert!((1..3).contains(&parts.len()), "{parts:?}");
        (parts.len(), parts.iter().sum())
    }

    /// The content of an object, decrypted by age with the key in `key` where it is encrypted.
    pub fn plain(&self, object: &Path) -> Vec<u8> {
        if object.extension().is_none_or(|it| it != "age") {
            return fs::read(object).unwrap();
        }
        let mut age = self.command("age");
        let told = age.args(["-d", "-i", "key"]).arg(object).output().unwrap();
        assert!(told.status.success(), "{object:?}: {told:?}");
        told.stdout
    }

    /// Makes a private key of age in `key`, and returns the public one.
    pub fn age_key(&self) -> String {
        let made = "age-keygen -o key 2>/dev/null && age-keygen -y key";
        self.ok(made).stdout.trim().to_owned()
    }

    /// Every object and partial in the directory, but for the lists and the marker.
    pub fn objects(&self) -> BTreeSet<PathBuf> {
        let lists = self.path(PLACE).join("records");
        let mut files = files_below(&self.path(PLACE));
        files.retain(|it| !it.starts_with(&lists) && !it.ends_with(".bk-location"));
        files
    }

    /// The lists in the directory.
    pub fn lists(&self) -> BTreeSet<PathBuf> {
        files_below(&self.path(PLACE).join("records"))
    }

    /// The journals of uploads.
    pub fn journals(&self) -> BTreeSet<PathBuf> {
        files_below(&self.home().join("uploads"))
    }
}

fn files_below(dir: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => _ = files.insert(path),
        }
    }
    files
}

/// Nothing is complete that is not there: each such copy is the archive, byte for byte, with its record beside it;
/// what is encrypted, the key in `key` opens. Returns the files of these copies.
pub fn check_complete(sandbox: &Sandbox, records: &[Value], told: &str) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for record in records {
        let copies = record["copies"].as_array().unwrap();
        for copy in copies.iter().filter(|it| it["status"] == "complete") {
            let path = |value: &Value| PathBuf::from(value.as_str().unwrap());
            let object = sandbox.path(PLACE).join(path(&copy["key"]));
            let read =
                |path: &Path| fs::read(path).unwrap_or_else(|it| panic!("{it}: {path:?}\n{told}"));
            assert!(
                sandbox.plain(&object) == read(&path(&record["backup_path"])),
                "{object:?} is not the archive\n{told}"
            );
            let mut sha256sum = sandbox.command("sha256sum");
            let summed = sha256sum.stdin(fs::File::open(&object).unwrap()).output();
            let hash = String::from_utf8(summed.unwrap().stdout).unwrap();
            assert_eq!(copy["hash"], hash[..64], "{told}");
            assert_eq!(copy["size"], read(&object).len(), "{told}");
            let key = object.to_str().unwrap();
            let (plain, encrypted) = match key.strip_suffix(".age") {
                Some(plain) => (plain, ".age"),
                None => (key, ""),
            };
            let stem = plain.strip_suffix(".tar.gz").unwrap();
            let beside = fs::read(format!("{stem}.json")).unwrap();
            let beside: Value = serde_json::from_slice(&beside).unwrap();
            assert_eq!(beside["backup_hash"], record["backup_hash"], "{told}");
            let hash = record["backup_hash"].as_str().unwrap();
            let manifest = sandbox.home().join(format!("manifests/{hash}.parquet"));
            let manifest = fs::read(manifest).ok();
            let there = PathBuf::from(format!("{stem}.parquet{encrypted}"));
            let held = there.exists().then(|| sandbox.plain(&there));
            assert_eq!(held, manifest, "{told}");
            files.extend(held.map(|_| there));
            files.extend([object.clone(), format!("{stem}.json").into()]);
        }
    }
    files
}

/// What holds once all was copied: each backup has one copy, which is complete, and nothing is left over of how
/// it came there.
pub fn check_all_copied(sandbox: &Sandbox, told: &str) {
    let records = sandbox.records();
    let files = check_complete(sandbox, &records, told);
    for record in &records {
        let copies = record["copies"].as_array().unwrap();
        let is_whole = copies.len() == 1 && copies[0]["status"] == "complete";
        assert!(is_whole, "{record}\n{told}");
    }
    assert_eq!(sandbox.objects(), files, "{told}");
    assert_eq!(sandbox.journals(), BTreeSet::new(), "{told}");
}
