//! The S3 server of these tests, one for all of them: with the buckets `plain` and `locked`, and a user that may
//! only write.
//!
//! Knows no operation of a place.

#[path = "../../../tests/support/given.rs"]
pub(crate) mod given;
#[path = "../../../tests/support/proxy.rs"]
pub(crate) mod proxy;
#[path = "../../../tests/support/seaweed.rs"]
pub(crate) mod seaweed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bk_remote::{Location, Options};
use seaweed::{Keys, Seaweed};

/// It stops with the last test that has it.
static RUNNING: Mutex<Weak<Seaweed>> = Mutex::new(Weak::new());

/// The server, and a directory for credentials.
pub(crate) struct Server {
    seaweed: Arc<Seaweed>,
    dir: tempfile::TempDir,
}

impl Server {
    /// `None` where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let seaweed = match running.upgrade() {
            Some(seaweed) => seaweed,
            None => {
                let seaweed = Arc::new(Seaweed::start()?);
                seaweed.make_bucket("plain", false);
                seaweed.make_bucket("locked", true);
                *running = Arc::downgrade(&seaweed);
                seaweed
            }
        };
        let dir = tempfile::tempdir().unwrap();
        Some(Self { seaweed, dir })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.seaweed.endpoint()
    }

    /// Options with these credentials.
    pub(crate) fn options(&self, keys: Keys) -> Options {
        let Keys { id, secret } = keys;
        let file = self.dir.path().join(format!("{id}-{secret}"));
        let text =
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        Options {
            credentials: Some(file),
            ..Options::default()
        }
    }
}

/// A place of this test's own, at that endpoint.
pub(crate) fn bucket(endpoint: &str, name: &str) -> Location {
    let new = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_nanos();
    let location: Location = format!("s3://{name}/run-{new}/bk").parse().unwrap();
    location.with_endpoint(endpoint).unwrap()
}
