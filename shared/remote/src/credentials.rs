//! The secrets of a location: a file that the caller names, or the keys in `~/.aws/credentials`.
//!
//! Everything else that a provider reads, from its environment variables and files, the library reads. Knows no
//! connection. No secret is in an error or in Debug output.

use std::collections::BTreeMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::error::{Error, Kind, Result};

/// No file of credentials is as large.
const MOST_BYTES: u64 = 1024 * 1024;

/// A key pair of S3.
#[derive(PartialEq, Eq)]
pub(crate) struct AwsKeys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

fn refused(file: &Path, why: impl std::fmt::Display) -> Error {
    let place = format!("the credentials file '{}'", file.display());
    Error::new(Kind::Refused, place, why)
}

/// The text of a file that only we, or root, can read or change.
pub(crate) fn private_text(path: &Path) -> Result<String> {
    // A FIFO is waited for by nobody.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let mut file = opened.map_err(|error| refused(path, error))?;
    let told = file.metadata().map_err(|error| refused(path, error))?;
    if !told.is_file() {
        return Err(refused(path, "it is no file"));
    }
    let us = geteuid().as_raw();
    if told.uid() != us && told.uid() != 0 {
        return Err(refused(
            path,
            format!("it belongs to user {}, and not to us or root", told.uid()),
        ));
    }
    if told.mode() & 0o077 != 0 {
        let mode = told.mode() & 0o7777;
        let why = format!("others can read it (mode {mode:04o}); chmod 600 makes it private");
        return Err(refused(path, why));
    }
    text_of(&mut file, path)
}

fn text_of(file: &mut File, path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = file.take(MOST_BYTES).read_to_string(&mut text);
    read.map_err(|error| refused(path, error))?;
    Ok(text)
}

/// The keys of S3 in a file that the caller named.
pub(crate) fn aws_keys_of_file(path: &Path) -> Result<AwsKeys> {
    let profile = profile();
    let name = profile.as_deref().unwrap_or("default");
    match aws_keys(&private_text(path)?, name) {
        Some(keys) => Ok(keys),
        None => {
            let why =
                format!("it has no aws_access_key_id and aws_secret_access_key below '[{name}]'");
            Err(refused(path, why))
        }
    }
}

/// The keys of S3 where the AWS programs keep them, unless the environment has some.
///
/// # Errors
/// A file that is there and cannot be read; a profile that was asked for by name and has no keys.
pub(crate) fn usual_aws_keys() -> Result<Option<AwsKeys>> {
    if env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        return Ok(None);
    }
    let named = env::var_os("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".aws/credentials"));
    let Some(path) = named.or(home) else {
        return Ok(None);
    };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(&path, error)),
    };
    let text = text_of(&mut file, &path)?;
    let profile = profile();
    let keys = aws_keys(&text, profile.as_deref().unwrap_or("default"));
    match (keys, profile) {
        (None, Some(name)) => Err(refused(
            &path,
            format!("it has no keys below '[{name}]' (AWS_PROFILE)"),
        )),
        (keys, _) => Ok(keys),
    }
}

fn profile() -> Option<String> {
    env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty())
}

/// The keys of a profile in the INI file of the AWS programs.
fn aws_keys(text: &str, profile: &str) -> Option<AwsKeys> {
    let mut is_meant = false;
    let mut values = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let name = header.split(']').next().unwrap_or_default().trim();
            is_meant = name == profile;
        } else if is_meant && !line.starts_with(['#', ';']) {
            let pair = line.split_once('=');
            values.extend(
                pair.map(|(key, value)| (key.trim().to_lowercase(), value.trim().to_owned())),
            );
        }
    }
    let mut take = |key: &str| values.remove(key).filter(|value| !value.is_empty());
    Some(AwsKeys {
        id: take("aws_access_key_id")?,
        secret: take("aws_secret_access_key")?,
        token: take("aws_session_token"),
    })
}

/// The lines `NAME=VALUE` of a file, as systemd's EnvironmentFile= has them.
pub(crate) fn variables_of_file(path: &Path) -> Result<Vec<(String, String)>> {
    let text = private_text(path)?;
    variables(&text).map_err(|number| refused(path, format!("line {number} is not NAME=VALUE")))
}

fn variables(text: &str) -> std::result::Result<Vec<(String, String)>, usize> {
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(index + 1)?;
        let value = value.trim();
        let bare = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        all.push((name.trim().to_owned(), bare.unwrap_or(value).to_owned()));
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const INI: &str = "# by hand\n[default]\naws_access_key_id = AK\naws_secret_access_key=s/e+c=r\n\n\
                       [ other ]\nAWS_ACCESS_KEY_ID=OK\naws_secret_access_key = os\naws_session_token = t\n\
                       [half]\naws_access_key_id = HK\n";

    fn told(keys: Option<AwsKeys>) -> Option<(String, String, Option<String>)> {
        keys.map(|keys| (keys.id, keys.secret, keys.token))
    }

    fn keys(profile: &str) -> Option<(String, String, Option<String>)> {
        told(aws_keys(INI, profile))
    }

    #[test]
    fn a_profile_has_its_own_keys() {
        let plain = ("AK".to_owned(), "s/e+c=r".to_owned(), None);
        assert_eq!(keys("default"), Some(plain));
        let other = ("OK".to_owned(), "os".to_owned(), Some("t".to_owned()));
        assert_eq!(keys("other"), Some(other));
        assert_eq!(keys("half"), None);
        assert_eq!(keys("none"), None);
    }

    #[test]
    fn variables_are_lines_with_an_equals_sign() {
        let text = "# a\n\nA=1\n B = x=y \nC=\"q r\"\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("A", "1"), pair("B", "x=y"), pair("C", "q r")];
        assert_eq!(variables(text).unwrap(), expected);
        assert_eq!(variables("A=1\nexport"), Err(2));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, INI).unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for open in [0o644, 0o640, 0o604, 0o620, 0o601] {
            mode(open);
            let error = private_text(&path).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused);
            let expected = format!(
                "access to the credentials file '{}' is refused: others can read it (mode {open:04o}); \
                 chmod 600 makes it private",
                path.display()
            );
            assert_eq!(error.to_string(), expected);
        }
        for private in [0o600, 0o400] {
            mode(private);
            assert_eq!(private_text(&path).unwrap(), INI);
        }
        assert_eq!(aws_keys_of_file(&path).unwrap().id, "AK");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = private_text(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("it is no file"), "{error}");
        let gone = private_text(&dir.path().join("x")).unwrap_err();
        assert_eq!(gone.kind(), Kind::Refused);
        assert!(gone.reason().contains("No such file"), "{gone}");
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, INI).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        // Only root can give a file away.
        if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
            let error = private_text(&path).unwrap_err().to_string();
            assert!(
                error.ends_with("it belongs to user 65534, and not to us or root"),
                "{error}"
            );
        }
    }
}
