//! A place in an object store: S3, Google Cloud Storage or Azure.
//!
//! Knows no credentials and no connection.

use std::fs::File;
use std::io::Write;

use http::Method;
use jiff::Timestamp;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::client::Client;
use crate::error::{Error, Kind, Result};
use crate::location::Location;
use crate::place::{
    Abilities, CanLock, Listed, Object, Options, Part, PartReceipt, Place, Stored, Storing,
};
use crate::reading;
use crate::signed;
use crate::upload;
use crate::whole::in_parts;

/// Of one object: more are not removed in one go.
const MOST_VERSIONS: u32 = 1000;

pub(crate) struct Bucket {
    client: Client,
}

impl Bucket {
    pub(crate) fn open(location: &Location, options: &Options) -> Result<Self> {
        Ok(Self {
            client: Client::open(location, options)?,
        })
    }

    fn delete_once(&self, key: &str, version: Option<&str>) -> Result<()> {
        let client = &self.client;
        let path = client.path(key)?;
        let deleted = match &client.s3 {
            None => client
                .once(key, client.store.objects.delete(&path))
                .map(drop),
            Some(s3) => {
                let query = version.map(|version| ("versionId", version));
                let work = signed::send(
                    &s3.plain,
                    &client.web,
                    Method::DELETE,
                    &path,
                    query.as_slice(),
                );
                client.once(key, work).map(drop)
            }
        };
        match deleted {
            Err(error) if upload::is_absent(&error) => Ok(()),
            deleted => deleted,
        }
    }

    /// The same failure, or that the object is locked, if it is.
    fn locked(&self, key: &str, version: Option<&str>, error: Error) -> Error {
        let may_be_locked = matches!(error.kind(), Kind::Refused | Kind::Other | Kind::Locked(_));
        if !may_be_locked {
            return error;
        }
        let object = self.client.head(key, version).ok();
        let until = object.and_then(|object| object.locked_until);
        let until = until.filter(|until| *until > Timestamp::now());
        let reason = error.reason().to_lowercase();
        let words = ["object lock", "worm", "retention"];
        let is_told = words.iter().any(|word| reason.contains(word));
        match until.is_some() || is_told {
            true => self.client.error(Kind::Locked(until), key, ""),
            false => error,
        }
    }

    fn delete_version(&self, key: &str, version: Option<&str>) -> Result<()> {
        let deleted = self.client.retry.run(|| self.delete_once(key, version));
        deleted.map_err(|error| self.locked(key, version, error))
    }
}

impl Place for Bucket {
    fn abilities(&self) -> Abilities {
        Abilities {
            has_parts: true,
            most_parts: 10_000,
            may_lock: self.client.s3.is_some(),
            most_at_once: 16,
        }
    }

    fn init(&self) -> Result<()> {
        Ok(())
    }

    fn can_lock(&self) -> Result<CanLock> {
        let client = &self.client;
        let Some(s3) = &client.s3 else {
            return Ok(CanLock::No);
        };
        let (root, query) = (Path::default(), [("object-lock", "")]);
        let told = client.retry.run(|| {
            let work = signed::send(&s3.plain, &client.web, Method::GET, &root, &query);
            client.once("", work)
        });
        match told {
            Ok((text, _)) if signed::has_locks(&text) => Ok(CanLock::Yes),
            Ok(_) => Ok(CanLock::No),
            Err(error) if upload::is_absent(&error) || error.kind() == Kind::Unsupported => {
                Ok(CanLock::No)
            }
            Err(error) if error.reason().contains("AccessDenied") => Ok(CanLock::MayNotAsk),
            Err(error) => Err(error),
        }
    }

    fn put(&self, key: &str, bytes: Vec<u8>, storing: &Storing) -> Result<Stored> {
        upload::put(&self.client, key, bytes, storing)
    }

    fn put_file(&self, key: &str, file: &File, size: u64, storing: &Storing) -> Result<Stored> {
        in_parts(self, &self.client.location, key, file, size, storing)
    }

    fn begin(&self, key: &str, storing: &Storing) -> Result<String> {
        upload::begin(&self.client, key, storing)
    }

    fn part(&self, key: &str, upload: &str, part: Part) -> Result<PartReceipt> {
        upload::part(&self.client, key, upload, part)
    }

    fn complete(
        &self,
        key: &str,
        upload: &str,
        receipts: &[PartReceipt],
        storing: &Storing,
    ) -> Result<Stored> {
        upload::complete(&self.client, key, upload, receipts, storing)
    }

    fn abort(&self, key: &str, upload: &str) -> Result<()> {
        upload::abort(&self.client, key, upload)
    }

    fn head(&self, key: &str) -> Result<Object> {
        self.client.head(key, None)
    }

    fn get(&self, key: &str, sink: &mut dyn Write) -> Result<u64> {
        reading::get(&self.client, key, sink)
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        reading::get_range(&self.client, key, offset, length)
    }

    fn list(&self, below: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        reading::list(&self.client, below, each)
    }

    fn list_dirs(&self, below: &str) -> Result<Vec<String>> {
        reading::list_dirs(&self.client, below)
    }

    fn delete(&self, key: &str, version: Option<&str>) -> Result<()> {
        if self.client.s3.is_none() {
            return self.delete_version(key, None);
        }
        if version.is_some() {
            self.delete_version(key, version)?;
        }
        // Without a version, a bucket that has them would only hide the object; and below the one that goes an older
        // one may be, of a copy whose end nobody recorded.
        for count in 0..MOST_VERSIONS {
            let newest = match self.client.head(key, None) {
                Ok(object) => object.version,
                Err(error) if upload::is_absent(&error) => return Ok(()),
                // Who may not ask.
                Err(error) if error.kind() == Kind::Refused && version.is_some() => return Ok(()),
                Err(error) if error.kind() == Kind::Refused => None,
                Err(error) => return Err(error),
            };
            self.delete_version(key, newest.as_deref())?;
            if newest.is_none() && (count > 0 || version.is_none()) {
                return Ok(());
            }
        }
        let why = format!("it has more than {MOST_VERSIONS} versions");
        Err(self.client.error(Kind::Other, key, why))
    }
}
