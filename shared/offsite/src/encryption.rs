//! What leaves the machine is encrypted to public keys, in the format of age, <https://age-encryption.org/v1>: the
//! program age reads it, and what it wrote is read here.
//!
//! Knows no location and no archive.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use age::secrecy::zeroize::Zeroizing;
use age::ssh::ParseRecipientKeyError;
use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor, IdentityFile, ssh, x25519};
use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use bk_schema::invalid::invalid;

/// What a private key of OpenSSH begins with, and older ones.
const SSH_PRIVATE_KEY: &str = "-----BEGIN ";
/// Longer files are no keys.
const IDENTITIES_MAX_BYTES: u64 = 1 << 20;

/// A public key, as `age1...`, `ssh-ed25519 ...` or `ssh-rsa ...`.
///
/// # Errors
/// What is none, and a private key above all.
pub fn check_recipient(text: &str) -> Result<()> {
    recipient(text).map(drop)
}

fn recipient(text: &str) -> Result<Box<dyn age::Recipient>> {
    // It would be kept in the catalog and told by messages.
    ensure!(
        !text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") && !text.starts_with("-----"),
        "this is a private key: give the public one, which 'age-keygen -y FILE' prints"
    );
    if let Ok(key) = text.parse::<x25519::Recipient>() {
        return Ok(Box::new(key));
    }
    match text.parse::<ssh::Recipient>() {
        Ok(key) => Ok(Box::new(key)),
        Err(ParseRecipientKeyError::RsaModulusTooSmall) => bail!("the RSA key is too short"),
        Err(ParseRecipientKeyError::RsaModulusTooLarge) => bail!("the RSA key is too long"),
        Err(_) => Err(invalid(
            "recipient",
            text,
            "a public key: age1..., ssh-ed25519 ... or ssh-rsa ...",
        )),
    }
}

/// Encrypts what is written to it, into `output`; without `finish` nobody can read that.
///
/// # Errors
/// No recipient, or one that is no public key; those of the output.
pub fn encrypt<W: Write>(recipients: &[String], output: W) -> Result<StreamWriter<W>> {
    let keys = recipients.iter().map(|text| recipient(text));
    let keys: Vec<_> = keys.collect::<Result<_>>()?;
    let keys = keys.iter().map(|key| &**key as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(keys).map_err(|error| anyhow!("{error}"))?;
    Ok(encryptor.wrap_output(output)?)
}

/// Private keys.
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// Those of a file: one of age-keygen(1), or a private key of ssh-keygen(1).
    ///
    /// # Errors
    /// A file that cannot be read or holds no key that can be used as it is.
    pub fn read(file: &Path) -> Result<Self> {
        let cannot = || format!("cannot read the keys in '{}'", file.display());
        let mut text = Zeroizing::new(String::new());
        let opened = fs::File::open(file).with_context(cannot)?;
        let read = opened.take(IDENTITIES_MAX_BYTES).read_to_string(&mut text);
        read.with_context(cannot)?;
        Self::parse(&text).with_context(cannot)
    }

    fn parse(text: &str) -> Result<Self> {
        if !text.starts_with(SSH_PRIVATE_KEY) {
            let parsed = IdentityFile::from_buffer(text.as_bytes())?;
            let keys = parsed.into_identities().map_err(told)?;
            ensure!(!keys.is_empty(), "there is none in it");
            return Ok(Self(keys));
        }
        match ssh::Identity::from_buffer(text.as_bytes(), None)? {
            key @ ssh::Identity::Unencrypted(_) => Ok(Self(vec![Box::new(key)])),
            ssh::Identity::Encrypted(_) => bail!(
                "it has a passphrase: 'ssh-keygen -p -f COPY' takes that from a copy of it, in memory at best"
            ),
            ssh::Identity::Unsupported(_) => bail!("keys of its kind cannot be used"),
        }
    }

    /// Decrypts what is read through it; it can seek where `encrypted` can.
    ///
    /// # Errors
    /// What no key of these opens, and what age has not written. A later damage is an error of the reader.
    pub fn decrypt<R: Read>(&self, encrypted: R) -> Result<StreamReader<R>> {
        let keys = self.0.iter().map(|key| &**key as &dyn age::Identity);
        let decryptor = Decryptor::new(encrypted).map_err(told)?;
        decryptor.decrypt(keys).map_err(told)
    }
}

/// Without the hints of the library, which are about the command line of another program.
fn told(error: DecryptError) -> Error {
    match error {
        DecryptError::NoMatchingKeys => anyhow!("no key of these opens it"),
        DecryptError::InvalidHeader | DecryptError::InvalidMac | DecryptError::UnknownFormat => {
            anyhow!("it is damaged, or was not encrypted with age")
        }
        DecryptError::Io(error) => error.into(),
        other => anyhow!("{other}"),
    }
}
