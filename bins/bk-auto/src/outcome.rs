//! How a run of a job went, in the words of the ledger, of the journal and of notices.
//!
//! Knows no catalog and runs nothing.

use anyhow::Result;
use bk_cli::notices::Priority;
use bk_cli::one_line;
use bk_schema::record::Backup;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::lock::Event;

/// A backup that was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) backup: Backup,
    /// As bk-create printed it.
    pub(crate) line: Value,
}

/// How many backups a run verified, tested and removed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) verified: u64,
    pub(crate) tested: u64,
    pub(crate) pruned: u64,
    pub(crate) freed_bytes: u64,
}

/// How a run went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Why it failed; empty where it did not.
    pub(crate) reasons: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) made: Option<Made>,
    /// The backup is so much smaller than the one before that somebody should look at it.
    pub(crate) is_shrunk: bool,
    pub(crate) tally: Tally,
    pub(crate) seconds: f64,
}

/// What of a job a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Failed,
    /// It is well again.
    Recovered,
    Shrunk,
    /// Only who asks for it is told.
    Ok,
}

impl News {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::Shrunk => "shrunk",
            Self::Ok => "ok",
        }
    }
}

impl Outcome {
    pub(crate) fn is_ok(&self) -> bool {
        self.reasons.is_empty()
    }

    pub(crate) fn word(&self) -> &'static str {
        if self.is_ok() { "ok" } else { "failed" }
    }

    /// What it means after a run that failed, or did not.
    pub(crate) fn news(&self, had_failed: bool) -> Vec<News> {
        if !self.is_ok() {
            return vec![News::Failed];
        }
        let recovered = had_failed.then_some(News::Recovered);
        let shrunk = self.is_shrunk.then_some(News::Shrunk);
        let news: Vec<_> = recovered.into_iter().chain(shrunk).collect();
        if news.is_empty() {
            vec![News::Ok]
        } else {
            news
        }
    }

    pub(crate) fn add_error(&mut self, result: Result<()>) {
        let error = result.err();
        let reason = error.map(|error| one_line(&format!("{error:#}")));
        self.reasons.extend(reason);
    }

    pub(crate) fn reason(&self) -> String {
        self.reasons.join("; ")
    }

    pub(crate) fn priority(&self) -> Priority {
        match (self.is_ok(), self.warnings.is_empty()) {
            (false, _) => Priority::Failed,
            (true, false) => Priority::Warning,
            (true, true) => Priority::Ok,
        }
    }

    /// One line for the journal.
    pub(crate) fn notice(&self, job: &str) -> String {
        let mut parts = vec![format!("job '{job}' {}", self.word())];
        let made = self.made.as_ref().map(|it| &it.backup.backup_name);
        parts.extend(made.map(|name| format!("backup '{name}'")));
        parts.extend(self.warnings.iter().cloned());
        let Tally {
            verified,
            tested,
            pruned,
            ..
        } = self.tally;
        for (what, count) in [
            ("verified", verified),
            ("tested", tested),
            ("pruned", pruned),
        ] {
            if count > 0 {
                parts.push(format!("{what} {count}"));
            }
        }
        parts.extend(self.reasons.iter().cloned());
        parts.join("; ")
    }

    /// The event for the ledger. `job` comes first: the last run of a job is found by it.
    pub(crate) fn event(&self, job: &str, began: Timestamp, scheduled: Option<Timestamp>) -> Event {
        let tally = self.tally;
        let mut details = json!({
            "job": job,
            "began": began,
            "scheduled": scheduled,
            "seconds": self.seconds,
            "pruned": tally.pruned,
            "freed": tally.freed_bytes,
        });
        for (key, count) in [("verified", tally.verified), ("tested", tally.tested)] {
            if count > 0 {
                details[key] = count.into();
            }
        }
        if !self.warnings.is_empty() {
            details["warning"] = self.warnings.join("; ").into();
        }
        if !self.is_ok() {
            details["reason"] = self.reason().into();
        }
        let made = self.made.as_ref();
        Event {
            ok: self.is_ok(),
            backup: made.map(|it| (it.backup.id, it.backup.backup_name.clone())),
            details,
        }
    }
}
