//! The names that are looked for: globs, or regular expressions.
//!
//! Knows no entry.

use anyhow::Result;
use bk_cli::{UsageError, usage};
use bk_schema::globs::Globs;
use bk_store::Home;
use bk_store::manifest::search::{Hint, check_regex};

/// What names are to match one of; any name does where there are none.
pub(crate) struct Names {
    /// None where the names are looked for by regular expressions, which the search itself does.
    globs: Globs,
    hint: Hint,
}

/// What stands for other characters in a glob.
const SPECIAL: &[char] = &['*', '?', '[', ']', '{', '}', '\\', '/'];

impl Names {
    /// # Errors
    /// [`UsageError`] for a pattern that is malformed.
    pub(crate) fn new(
        home: &Home,
        patterns: &[&str],
        is_regex: bool,
        ignores_case: bool,
    ) -> Result<Self> {
        let mut hint = Hint {
            ignores_case,
            ..Hint::default()
        };
        if is_regex {
            for regex in patterns {
                check_regex(home, regex).map_err(|error| usage(&error, "--regex"))?;
            }
            hint.regexes = patterns.iter().map(ToString::to_string).collect();
            return Ok(Self {
                globs: Globs::default(),
                hint,
            });
        }
        let lower: Vec<_> = patterns.iter().map(|it| fold(it, ignores_case)).collect();
        let globs = match ignores_case {
            true => Globs::ignoring_case(patterns.iter().copied()),
            false => Globs::new(patterns.iter().copied()),
        };
        let parts: Option<Vec<_>> = lower.iter().map(|it| literal(it)).collect();
        hint.name_parts = parts.unwrap_or_default();
        Ok(Self {
            globs: globs.map_err(|error| UsageError(format!("{error:#}")))?,
            hint,
        })
    }

    /// Whether they match a name that the search has found.
    pub(crate) fn match_it(&self, name: &[u8], is_dir: bool) -> bool {
        self.globs.is_empty() || self.globs.matches(name, is_dir)
    }

    /// What each name that they match has.
    pub(crate) fn hint(&self) -> Hint {
        self.hint.clone()
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
