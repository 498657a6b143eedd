//! What leaves the machine is encrypted to public keys, in the format of age, <https://age-encryption.org/v1>: the
//! program age reads it, and what it wrote is read here.
//!
//! Knows no location and no archive.

use std::fs;
use std::io::{ErrorKind, Read, Write};
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
        !text.to_ascii_uppercase().contains("AGE-SECRET-KEY-") && !text.contains("-----"),
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
    let damaged = || anyhow!("it is damaged, or was not encrypted with age");
    match error {
        DecryptError::NoMatchingKeys => anyhow!("no key of these opens it"),
        DecryptError::InvalidHeader | DecryptError::InvalidMac | DecryptError::UnknownFormat => {
            damaged()
        }
        DecryptError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => damaged(),
        DecryptError::Io(error) => error.into(),
        other => anyhow!("{other}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret;
    use std::io::{Cursor, Seek, SeekFrom};

    const CHUNK_BYTES: usize = 64 << 10;

    fn key_pair() -> (String, Identities) {
        let key = x25519::Identity::generate();
        let private = key.to_string();
        let file = format!("# a comment\n{}\n", private.expose_secret());
        (
            key.to_public().to_string(),
            Identities::parse(&file).unwrap(),
        )
    }

    fn encrypted(recipient: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = encrypt(&[recipient.to_owned()], &mut bytes).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn decrypted(keys: &Identities, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        keys.decrypt(bytes)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn each_flip_and_each_cut_is_found() {
        let (recipient, keys) = key_pair();
        let content: Vec<u8> = (0..CHUNK_BYTES + 100).map(|at| at as u8).collect();
        let whole = encrypted(&recipient, &content);
        assert_eq!(decrypted(&keys, &whole).unwrap(), content);
        let header = whole.windows(4).position(|it| it == b"--- ").unwrap() + 60;
        let ends = [
            CHUNK_BYTES,
            CHUNK_BYTES + 16,
            CHUNK_BYTES + 32,
            whole.len() - 1,
        ];
        // Each byte of the header and the nonce, and some of the rest.
        let later = (header..whole.len()).step_by(997).chain(ends);
        for at in (0..header).chain(later) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            let read = decrypted(&keys, &flipped);
            assert!(read.is_err(), "a flip at {at}");
        }
        for length in (0..whole.len()).step_by(331).chain(ends) {
            assert!(
                decrypted(&keys, &whole[..length]).is_err(),
                "cut to {length}"
            );
        }
        let (_, others) = key_pair();
        let error = decrypted(&others, &whole).unwrap_err();
        assert_eq!(error.to_string(), "no key of these opens it");
        let error = decrypted(&keys, b"a plain archive").unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is damaged, or was not encrypted with age"
        );
    }

    #[test]
    fn a_part_is_read_without_what_is_before_it() {
        let (recipient, keys) = key_pair();
        let content: Vec<u8> = (0..5 * CHUNK_BYTES).map(|at| (at / 7) as u8).collect();
        let whole = encrypted(&recipient, &content);
        for at in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 4 * CHUNK_BYTES + 9] {
            let mut reader = keys.decrypt(Cursor::new(&whole)).unwrap();
            reader.seek(SeekFrom::Start(at as u64)).unwrap();
            let mut part = vec![0; 100.min(content.len() - at)];
            reader.read_exact(&mut part).unwrap();
            assert_eq!(part, content[at..at + part.len()], "at {at}");
        }
    }

    #[test]
    fn files_that_hold_no_key_are_told() {
        let told = |text: &str| Identities::parse(text).err().unwrap().to_string();
        assert_eq!(told("# only a comment\n"), "there is none in it");
        assert!(told("age1x\n").contains("line 1"));
        for key in [
            "AGE-SECRET-KEY-1X",
            "# created: now\n# public key: age1x\nAGE-SECRET-KEY-1X\n",
        ] {
            let told = check_recipient(key).unwrap_err().to_string();
            assert!(!told.contains("-1X"), "{told}");
        }
    }
}
