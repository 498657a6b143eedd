//! Where a place is, as a URL that is checked: `s3://bucket/prefix`, `gs://`, `az://`, `file:///dir`,
//! `rclone:REMOTE:PATH`, with endpoint and region for S3.
//!
//! Knows no secret: what holds one is refused. Connects to nothing.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::key::flaw;

const FORMS: &str = "use s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, \
                     file:///DIRECTORY or rclone:REMOTE:PATH";

/// What kind of place it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3, and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// A mounted directory.
    Directory,
    /// Whatever the program rclone can reach.
    Rclone,
}

/// A place that archives are copied to. As JSON: `{"url":"s3://...","endpoint":"...","region":"..."}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Location {
    service: Service,
    /// The bucket, container or remote; empty for a directory.
    bucket: String,
    /// The path in it, without slashes at its ends; for a directory the absolute path, for rclone the path as given.
    prefix: String,
    endpoint: Option<String>,
    region: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

impl Location {
    /// The kind of place.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// The server, where it is not Amazon's.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The region, where it was given.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// With the server to speak to: `http://` or `https://`, host and port.
    ///
    /// # Errors
    /// What is no such address, and a place that is not S3.
    pub fn with_endpoint(mut self, endpoint: &str) -> Result<Self> {
        let at = self.to_string();
        let wrong = |why: &str| Err(invalid(&at, &format!("the endpoint {why}")));
        if self.service != Service::S3 {
            return wrong("is for s3:// only");
        }
        let rest = endpoint.strip_prefix("https://");
        let Some(host) = rest.or_else(|| endpoint.strip_prefix("http://")) else {
            return wrong("must begin with https:// or http://");
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        if host.contains('@') {
            return wrong("must hold no user and no password");
        }
        let is_meant = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if host.is_empty() || !host.chars().all(is_meant) {
            return wrong("must be a host, and a port if need be: https://HOST:PORT");
        }
        let end = endpoint.strip_suffix('/').unwrap_or(endpoint);
        self.endpoint = Some(end.to_owned());
        Ok(self)
    }

    /// With the region of the bucket.
    ///
    /// # Errors
    /// What is no name of a region, and a place that is not S3.
    pub fn with_region(mut self, region: &str) -> Result<Self> {
        if self.service != Service::S3 {
            return Err(invalid(&self, "the region is for s3:// only"));
        }
        if !is_name(region) {
            return Err(invalid(&self, "a region is a name such as eu-central-1"));
        }
        self.region = Some(region.to_owned());
        Ok(self)
    }
}

fn invalid(url: impl fmt::Display, why: &str) -> Error {
    Error::new(Kind::Other, format!("invalid location '{url}'"), why)
}

/// A name as buckets, containers and regions have it.
fn is_name(text: &str) -> bool {
    let is_meant = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let ends_well = is_edge(text.chars().next()) && is_edge(text.chars().last());
    ends_well && text.len() <= 255 && text.chars().all(is_meant)
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let wrong = |why: &str| Err(invalid(url, why));
        if url.chars().any(char::is_control) {
            return wrong("it has a control character");
        }
        if let Some(rest) = url.strip_prefix("rclone:") {
            return rclone(url, rest);
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return wrong(FORMS);
        };
        let service = match scheme {
            "s3" => Service::S3,
            "gs" => Service::Google,
            "az" => Service::Azure,
            "file" => return directory(url, rest),
            _ if rest.contains('@') => return Err(invalid(format!("{scheme}://..."), FORMS)),
            _ => return wrong(FORMS),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            let why =
                "it must hold no user and no password: they stand in the environment or in a file";
            return Err(invalid(format!("{scheme}://..."), why));
        }
        if !is_name(bucket) {
            return wrong(&format!("'{bucket}' is no name of a bucket; {FORMS}"));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if let Some(flaw) = flaw(prefix).filter(|_| !prefix.is_empty()) {
            return wrong(&flaw);
        }
        if prefix.contains(['?', '#']) {
            return wrong("'?' and '#' have no meaning in it; endpoint and region are options");
        }
        Ok(Self::at(service, bucket, prefix))
    }
}

impl Location {
    fn at(service: Service, bucket: &str, prefix: &str) -> Self {
        Self {
            service,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
        }
    }
}

fn directory(url: &str, path: &str) -> Result<Location> {
    let is_plain = |path: &str| flaw(path.trim_matches('/')).is_none();
    if !Path::new(path).is_absolute() || !is_plain(path) {
        return Err(invalid(
            url,
            "use file:// and an absolute path without '.' and '..': file:///mnt/nas/bk",
        ));
    }
    Ok(Location::at(
        Service::Directory,
        "",
        path.trim_end_matches('/'),
    ))
}

fn rclone(url: &str, rest: &str) -> Result<Location> {
    let Some((remote, path)) = rest.split_once(':') else {
        // It may be a connection string, which may hold a password.
        let shown = if rest.contains(',') {
            "rclone:..."
        } else {
            url
        };
        let why = "use rclone:REMOTE:PATH, with a remote of `rclone listremotes`";
        return Err(invalid(shown, why));
    };
    let is_meant = |c: char| c.is_alphanumeric() || "_-.+@ ".contains(c);
    // An empty name, or one with a comma, would be a connection string.
    if remote.is_empty() || remote.starts_with('-') || !remote.chars().all(is_meant) {
        let why = "it must begin with the name of a remote, as `rclone listremotes` has it";
        return Err(invalid("rclone:...", why));
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let inner = path.strip_prefix('/').unwrap_or(path);
    match flaw(inner).filter(|_| !inner.is_empty()) {
        Some(flaw) => Err(invalid(url, &flaw)),
        None => Ok(Location::at(Service::Rclone, remote, path)),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, prefix, .. } = self;
        let scheme = match self.service {
            Service::Directory => return write!(f, "file://{prefix}"),
            Service::Rclone => return write!(f, "rclone:{bucket}:{prefix}"),
            Service::S3 => "s3",
            Service::Google => "gs",
            Service::Azure => "az",
        };
        match prefix.as_str() {
            "" => write!(f, "{scheme}://{bucket}"),
            _ => write!(f, "{scheme}://{bucket}/{prefix}"),
        }
    }
}

impl From<Location> for Written {
    fn from(location: Location) -> Self {
        Self {
            url: location.to_string(),
            endpoint: location.endpoint,
            region: location.region,
        }
    }
}

impl TryFrom<Written> for Location {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let mut location: Self = written.url.parse()?;
        if let Some(endpoint) = written.endpoint {
            location = location.with_endpoint(&endpoint)?;
        }
        if let Some(region) = written.region {
            location = location.with_region(&region)?;
        }
        Ok(location)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Location {
        url.parse().unwrap()
    }

    fn refusal(url: &str) -> String {
        url.parse::<Location>().unwrap_err().to_string()
    }

    #[test]
    fn a_url_is_given_back_as_it_was() {
        for url in [
            "s3://bucket",
            "s3://my.bucket/a/b c",
            "gs://bucket_1/prefix",
            "az://container/x",
            "file:///mnt/nas/bk",
            "file:///mnt/a b%20c",
            "rclone:nas:backups/bk",
            "rclone:my nas:/srv/bk",
            "rclone:nas:",
        ] {
            assert_eq!(parse(url).to_string(), url);
        }
        assert_eq!(parse("s3://bucket/a/").to_string(), "s3://bucket/a");
        assert_eq!(parse("file:///mnt/").to_string(), "file:///mnt");
    }

    #[test]
    fn what_is_no_location_is_told_with_the_forms() {
        for url in [
            "",
            "bucket",
            "/mnt/nas",
            "http://x/y",
            "s3:/bucket",
            "S3://b",
        ] {
            assert_eq!(refusal(url), format!("invalid location '{url}': {FORMS}"));
        }
        for url in [
            "s3://",
            "s3:///a",
            "s3://-b",
            "s3://b c",
            "s3://b/a//b",
            "s3://b/../c",
            "s3://b/a?x=1",
            "s3://key:secret@b/a",
            "file://mnt",
            "file:///a/../b",
            "file://host/a",
            "file:///",
            "rclone:nas",
            "rclone::/tmp",
            "rclone:,pass=x:a",
            "rclone:-x:a",
            "rclone:nas:a/../b",
            "rclone:sftp,host=h:a",
            "s3://b/a\nb",
        ] {
            assert!(refusal(url).starts_with("invalid location '"), "{url}");
        }
        for url in ["s3://key:secret@b/a", "rclone:,pass=secret:a"] {
            assert!(!refusal(url).contains("secret"), "{url}");
        }
    }

    #[test]
    fn endpoint_and_region_are_for_s3_and_checked() {
        let there = parse("s3://b/p")
            .with_endpoint("https://s3.example:9000/")
            .unwrap();
        assert_eq!(there.endpoint(), Some("https://s3.example:9000"));
        assert_eq!(
            there.with_region("eu-central-1").unwrap().region(),
            Some("eu-central-1")
        );
        for endpoint in [
            "s3.example",
            "https://",
            "https://u:p@h",
            "https://h/path",
            "ftp://h",
            "https://h?x",
        ] {
            assert!(
                parse("s3://b").with_endpoint(endpoint).is_err(),
                "{endpoint}"
            );
        }
        assert!(parse("gs://b").with_endpoint("https://h").is_err());
        assert!(parse("file:///b").with_region("r").is_err());
        assert!(parse("s3://b").with_region("a b").is_err());
    }

    #[test]
    fn it_is_kept_as_json_and_checked_again_when_read() {
        let plain = serde_json::to_string(&parse("gs://b/p")).unwrap();
        assert_eq!(plain, r#"{"url":"gs://b/p"}"#);
        let there = parse("s3://b/p")
            .with_endpoint("http://127.0.0.1:8333")
            .unwrap();
        let text = serde_json::to_string(&there).unwrap();
        assert_eq!(serde_json::from_str::<Location>(&text).unwrap(), there);
        let wrong = serde_json::from_str::<Location>(r#"{"url":"s3://b/../c"}"#);
        assert!(
            wrong
                .unwrap_err()
                .to_string()
                .contains("'..' is no part of a name")
        );
    }
}
