//! The S3 server that tests are given, as `BK_REMOTE_S3=ENDPOINT,KEY,SECRET` names it, with the buckets
//! `plain` and `locked`, and a user `PUTKEY` that may only write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bk_remote::{Location, Options};

/// The server's endpoint, and options with its credentials.
pub(crate) fn server(dir: &Path) -> (String, Options) {
    let told = std::env::var("BK_REMOTE_S3").expect("BK_REMOTE_S3=ENDPOINT,KEY,SECRET");
    let told: Vec<_> = told.split(',').collect();
    (told[0].to_owned(), with_keys(dir, told[1], told[2]))
}

pub(crate) fn with_keys(dir: &Path, key: &str, secret: &str) -> Options {
    let file = dir.join(format!("{key}-{secret}"));
    let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    Options {
        credentials: Some(file),
        ..Options::default()
    }
}

/// A place of this run's own.
pub(crate) fn bucket(endpoint: &str, name: &str) -> Location {
    let new = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_nanos();
    let location: Location = format!("s3://{name}/run-{new}/bk").parse().unwrap();
    location.with_endpoint(endpoint).unwrap()
}
