//! What a job does that backs up nothing: it verifies backups, restores some for a test, removes what
//! a retention policy does not keep.
//!
//! Parses what a job says of it into the flags of the programs that do it. Runs nothing.

use anyhow::{Result, bail, ensure};
use bk_cli::units;
use bk_schema::invalid::invalid;
use jiff::Timestamp;

/// The levels of a verification that prove that an archive is whole.
const PROOFS: [&str; 2] = ["sha256", "deep"];
/// All that a verification can say.
const FORM: &str = "sha256 or deep, and older-than=SPAN, limit=N";

/// The rounds of a job, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rounds {
    /// `deep older-than=30d limit=20`.
    pub(crate) verify: Option<String>,
    /// Backups to restore for a test: `latest latest:db`.
    pub(crate) test_restore: Option<String>,
    pub(crate) prune: bool,
}

impl Rounds {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What people read of them.
    pub(crate) fn shown(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.verify.iter().map(|it| format!("verify {it}")));
        parts.extend(
            self.test_restore
                .iter()
                .map(|it| format!("test-restore {it}")),
        );
        parts.extend(self.prune.then(|| "prune".to_owned()));
        parts.join("; ")
    }
}

/// The flags of bk-verify for such a round.
///
/// # Errors
/// A word that says nothing, and a round that proves nothing.
pub(crate) fn verify_flags(text: &str) -> Result<Vec<String>> {
    let wrong = || invalid("verification", text, FORM);
    let (mut level, mut older_than, mut limit) = (None, None, None);
    for word in text.split_whitespace() {
        match word.split_once('=') {
            None if PROOFS.contains(&word) && level.is_none() => level = Some(word),
            None if word == "quick" => {
                bail!("'quick' proves nothing of what is in an archive: use {FORM}")
            }
            Some(("older-than", span)) if older_than.is_none() => {
                units::check_no_bare_m(span)?;
                units::parse_past(span, Timestamp::UNIX_EPOCH)?;
                older_than = Some(span);
            }
            Some(("limit", count)) if limit.is_none() => {
                units::parse_number(count, 1..=u32::MAX)?;
                limit = Some(count);
            }
            _ => return Err(wrong()),
        }
    }
    let level = level.ok_or_else(wrong)?;
    let mut flags = match older_than {
        Some(span) => vec![format!("--older-than-check={span}")],
        None => vec!["--all".to_owned()],
    };
    flags.extend((level == "deep").then(|| "--deep".to_owned()));
    flags.extend(limit.map(|count| format!("--limit={count}")));
    Ok(flags)
}

/// The backups that a test restores, each as bk-restore names it.
///
/// # Errors
/// None, and what is no name.
pub(crate) fn tested(text: &str) -> Result<Vec<&str>> {
    let names: Vec<_> = text.split_whitespace().collect();
    let accepted = "names of backups, such as latest or latest:JOB";
    let is_name = |name: &&str| !name.starts_with('-');
    ensure!(
        !names.is_empty() && names.iter().all(is_name),
        invalid("test of a restoration", text, accepted)
    );
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_verification_is_the_flags_of_bk_verify() {
        for (text, flags) in [
            ("deep", &["--all", "--deep"][..]),
            ("sha256 limit=3", &["--all", "--limit=3"]),
            (
                "limit=20 older-than=30d deep",
                &["--older-than-check=30d", "--deep", "--limit=20"],
            ),
        ] {
            assert_eq!(verify_flags(text).unwrap(), flags, "{text}");
        }
        for text in [
            "",
            "quick",
            "limit=3",
            "deep deep",
            "deep older-than=6m",
            "deep older-than=x",
            "deep limit=x",
            "deep limit=0",
            "deep limit",
            "all",
        ] {
            assert!(verify_flags(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_test_names_backups_and_no_flags() {
        assert_eq!(
            tested(" latest  latest:db ").unwrap(),
            ["latest", "latest:db"]
        );
        for text in ["", "  ", "--swap", "latest -C"] {
            assert!(tested(text).is_err(), "{text}");
        }
    }
}
