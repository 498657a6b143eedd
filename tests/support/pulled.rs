//! Backups whose archives are copied to a place, and what must hold once they are brought back from there.
//!
//! Knows nothing of what was asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Ran, Sandbox, files_in};

/// Backups of `app/`, made on the host `web` and copied to a place; what was copied is kept in `kept/` too.
pub fn with_copies(names: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_app();
    let request = |name: &&str| format!("{}\n", json!({ "sources": ["app"], "backup_name": name }));
    let requests: String = names.iter().map(request).collect();
    sandbox.write("requests", &requests);
    sandbox.ok("BK_HOST=web bk-create - <requests >/dev/null");
    sandbox.usb();
    sandbox.ok("bk-ls | bk-push usb >/dev/null; cp -a home/archives kept");
    sandbox
}

pub fn names(ran: &Ran) -> Vec<String> {
    let name = |it: &Value| it["backup_name"].as_str().unwrap().to_owned();
    ran.records().iter().map(name).collect()
}

/// All archives are as they were, and nothing else is beside them.
pub fn check_all_there(sandbox: &Sandbox, told: &Ran) {
    sandbox.ok("diff -r home/archives kept");
    for file in files_in(&sandbox.path("home/archives")) {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{file:?} {told:#?}");
    }
}

/// The archives that are there, by their names.
pub fn there(sandbox: &Sandbox) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut all: Vec<_> = files_in(&sandbox.path("home/archives"))
        .into_iter()
        .map(name)
        .collect();
    all.sort();
    all
}

/// Encrypts what is copied of a backup to a key, as the program age does, in the place of what was copied; and says
/// so in the catalog.
pub fn encrypt(sandbox: &Sandbox, backup: &str, key_file: &str) {
    let object = sandbox.object(backup);
    let object = object.to_str().unwrap();
    let stem = object
        .strip_suffix(".tar.gz")
        .or(object.strip_suffix(".tar.zst"))
        .unwrap();
    let told = sandbox.ok(&format!(
        "set -e; to=$(age-keygen -y {key_file})
         for file in {object} {stem}.parquet; do age -r $to -o $file.age $file; rm $file; done
         stat -c %s {object}.age; sha256sum <{object}.age | cut -d' ' -f1; echo $to"
    ));
    let [size, hash, to] = told.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{told:#?}");
    };
    sandbox.sql(&format!(
        "UPDATE backup_copies SET object_key = object_key || '.age', size = {size}, hash = '{hash}', recipients = '[\"{to}\"]'
         WHERE backup_name = '{backup}'"
    ));
}
