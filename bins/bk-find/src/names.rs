//! The names that are looked for: globs, or regular expressions.
//!
//! Knows no entry.

use anyhow::Result;
use bk_cli::UsageError;
use bk_schema::globs::Globs;
use bk_store::manifest::search::Hint;
use regex::bytes::{RegexSet, RegexSetBuilder};

/// What names are to match one of; any name does where there are none.
pub(crate) struct Names {
    kind: Kind,
    ignores_case: bool,
    hint: Vec<String>,
}

enum Kind {
    Globs(Globs),
    Regexes(RegexSet),
}

/// What stands for other characters in a glob.
const SPECIAL: &[char] = &['*', '?', '[', ']', '{', '}', '\\', '/'];

impl Names {
    /// # Errors
    /// [`UsageError`] for a pattern that is malformed.
    pub(crate) fn new(patterns: &[&str], is_regex: bool, ignores_case: bool) -> Result<Self> {
        let kind = match is_regex {
            true => {
                let mut builder = RegexSetBuilder::new(patterns);
                let regexes = builder.case_insensitive(ignores_case).build();
                let wrong = |error| UsageError(format!("invalid regular expression: {error}"));
                Kind::Regexes(regexes.map_err(wrong)?)
            }
            false => {
                let lower: Vec<_> = patterns.iter().map(|it| fold(it, ignores_case)).collect();
                let globs = Globs::new(lower.iter().map(String::as_str));
                Kind::Globs(globs.map_err(|error| UsageError(format!("{error:#}")))?)
            }
        };
        let parts = patterns.iter().map(|it| literal(&fold(it, ignores_case)));
        let hint: Option<Vec<_>> = parts.collect();
        Ok(Self {
            kind,
            ignores_case,
            hint: hint.filter(|_| !is_regex).unwrap_or_default(),
        })
    }

    /// Whether they match a name.
    pub(crate) fn match_it(&self, name: &[u8], is_dir: bool) -> bool {
        match &self.kind {
            Kind::Regexes(all) => all.is_empty() || all.is_match(name),
            Kind::Globs(all) if all.is_empty() => true,
            Kind::Globs(all) if self.ignores_case => {
                let lower = fold(&String::from_utf8_lossy(name), true);
                all.matches(lower.as_bytes(), is_dir)
            }
            Kind::Globs(all) => all.matches(name, is_dir),
        }
    }

    /// What each name that they match has.
    pub(crate) fn hint(&self) -> Hint {
        Hint {
            name_parts: self.hint.clone(),
            ignores_case: self.ignores_case,
            ..Hint::default()
        }
    }
}

fn fold(text: &str, ignores_case: bool) -> String {
    match ignores_case {
        true => text.to_lowercase(),
        false => text.to_owned(),
    }
}

/// A part that stands in each name which a glob matches: the longest without special characters; none
/// where alternatives may do without any.
fn literal(glob: &str) -> Option<String> {
    if glob.contains(['{', '[', '\\']) {
        return None;
    }
    let parts = glob.split(SPECIAL);
    let longest = parts.max_by_key(|part| part.len())?;
    (!longest.is_empty() && longest != ".").then(|| longest.to_owned())
}
