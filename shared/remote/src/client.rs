//! One object store: its requests, one at a time, and what they fail with.
//!
//! Knows no credentials and no connection.

use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta};

use crate::answer::{Answer, deepest};
use crate::error::{Error, Kind, Result};
use crate::key::{flaw, join};
use crate::location::{Location, Service};
use crate::place::{LockMode, Object, Options, Storing, hex_of_base64};
use crate::rate::Rate;
use crate::retry::Retry;
use crate::runtime::Runtime;
use crate::stores::{self, S3, Store};
use crate::web::Web;

pub(crate) struct Client {
    pub(crate) location: Location,
    pub(crate) store: Store,
    /// What asks; for S3 with a header that asks for checksums too.
    asking: Store,
    /// Where it is S3.
    pub(crate) s3: Option<S3>,
    pub(crate) web: Web,
    pub(crate) retry: Retry,
    runtime: Runtime,
}

impl Client {
    pub(crate) fn open(location: &Location, options: &Options) -> Result<Self> {
        let other = |reason: String| Error::new(Kind::Other, location, reason);
        let rate = Arc::new(Rate::new(options.limit_rate));
        let web = Web::new(rate, options.stall_limit).map_err(|error| other(deepest(&error)))?;
        let runtime = Runtime::start().map_err(|error| other(error.to_string()))?;
        let (store, asking, s3) = match location.service() {
            Service::S3 => {
                let s3 = S3::open(location, options, &web)?;
                let mode = ("x-amz-checksum-mode", "ENABLED".to_owned());
                (s3.store(), s3.with_headers(location, &[mode])?, Some(s3))
            }
            _ => {
                let store = stores::open(location, options, &web)?;
                (store.clone(), store, None)
            }
        };
        Ok(Self {
            location: location.clone(),
            store,
            asking,
            s3,
            web,
            retry: Retry::new(options),
            runtime,
        })
    }

    pub(crate) fn error(&self, kind: Kind, key: &str, reason: impl std::fmt::Display) -> Error {
        Error::new(kind, &self.location, reason).of(key)
    }

    pub(crate) fn path(&self, key: &str) -> Result<Path> {
        if let Some(flaw) = flaw(key) {
            return Err(self.error(Kind::Other, key, flaw));
        }
        let parsed = Path::parse(join(self.location.prefix(), key));
        parsed.map_err(|error| self.error(Kind::Other, key, error))
    }

    /// Of a prefix that may be empty.
    pub(crate) fn below(&self, key: &str) -> Result<Path> {
        if !key.is_empty() {
            return self.path(key);
        }
        let parsed = Path::parse(self.location.prefix());
        parsed.map_err(|error| self.error(Kind::Other, key, error))
    }

    /// The key of an object, or what is between it and a prefix.
    pub(crate) fn key<'a>(&self, path: &'a Path) -> Option<&'a str> {
        let key = match self.location.prefix() {
            "" => Some(path.as_ref()),
            prefix => path.as_ref().strip_prefix(prefix)?.strip_prefix('/'),
        };
        key.filter(|key| flaw(key).is_none())
    }

    /// One attempt at one request.
    pub(crate) fn once<T>(
        &self,
        key: &str,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<(T, Answer)> {
        match self.runtime.wait(&self.retry, work) {
            None => Err(self.error(Kind::Stopped, key, "")),
            Some((Ok(done), answer)) => Ok((done, answer)),
            Some((Err(error), answer)) => Err(answer.error(&self.location, &error).of(key)),
        }
    }

    /// What begins an object, with its lock.
    pub(crate) fn writer(&self, key: &str, storing: &Storing) -> Result<Store> {
        let Some(lock) = storing.lock else {
            return Ok(self.store.clone());
        };
        let Some(s3) = &self.s3 else {
            return Err(self.error(Kind::Unsupported, key, "objects cannot be locked there"));
        };
        let mode = match lock.mode {
            LockMode::Compliance => "COMPLIANCE",
            LockMode::Governance => "GOVERNANCE",
        };
        let until = lock.until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let headers = [
            ("x-amz-object-lock-mode", mode.to_owned()),
            ("x-amz-object-lock-retain-until-date", until),
        ];
        s3.with_headers(&self.location, &headers)
    }

    /// What ends an object that came in parts; for S3, only where none of that key is there.
    pub(crate) fn creator(&self) -> Result<Store> {
        match &self.s3 {
            None => Ok(self.store.clone()),
            Some(s3) => s3.with_headers(&self.location, &[("if-none-match", "*".to_owned())]),
        }
    }

    pub(crate) fn head(&self, key: &str, version: Option<&str>) -> Result<Object> {
        let path = self.path(key)?;
        self.retry.run(|| {
            let options = GetOptions {
                head: true,
                version: version.map(str::to_owned),
                ..GetOptions::default()
            };
            let (got, answer) = self.once(key, self.asking.objects.get_opts(&path, options))?;
            Ok(object(&got.meta, &answer))
        })
    }
}

/// When an object was written, where the store tells it.
pub(crate) fn modified_at(meta: &ObjectMeta) -> Option<Timestamp> {
    let told = Timestamp::from_millisecond(meta.last_modified.timestamp_millis()).ok();
    // The library gives the epoch for none.
    told.filter(|told| told.as_second() > 0)
}

fn object(meta: &ObjectMeta, answer: &Answer) -> Object {
    let text = |name: &str| answer.header(name);
    let class = text("x-amz-storage-class").or(text("x-goog-storage-class"));
    let until = text("x-amz-object-lock-retain-until-date");
    Object {
        size: meta.size,
        modified_at: modified_at(meta),
        etag: meta.e_tag.clone(),
        version: meta.version.clone(),
        sha256: text("x-amz-checksum-sha256").and_then(hex_of_base64),
        locked_until: until.and_then(|told| told.parse().ok()),
        storage_class: class.or(text("x-ms-access-tier")).map(str::to_owned),
    }
}
