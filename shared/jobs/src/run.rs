//! A run of a job, as the ledger has it.
//!
//! bk-auto writes it, others read it. Knows no job that has never run.

use bk_schema::event::LedgerRow;
use jiff::Timestamp;
use serde_json::Value;

/// The event of a run in the ledger; its first detail is `job`.
pub const EVENT: &str = "auto";

/// So many runs in a row that were interrupted count as one that was made.
pub const INTERRUPTED_MAX: u64 = 2;

/// A run of a job.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    row: &'a LedgerRow,
}

impl<'a> Run<'a> {
    /// `None` for a row of another event, or of no job.
    pub fn of(row: &'a LedgerRow) -> Option<Self> {
        let run = Self { row };
        (row.event == EVENT && run.text("job").is_some()).then_some(run)
    }

    /// The job.
    pub fn job(self) -> &'a str {
        self.text("job").unwrap_or_default()
    }

    /// `ok` or `failed`.
    pub fn outcome(self) -> &'a str {
        &self.row.outcome
    }

    /// Whether it succeeded.
    pub fn is_ok(self) -> bool {
        self.outcome() == "ok"
    }

    /// When it began.
    pub fn began(self) -> Timestamp {
        self.time("began").unwrap_or(self.row.happened_at)
    }

    /// When it was recorded.
    pub fn ended(self) -> Timestamp {
        self.row.happened_at
    }

    /// Why it failed.
    pub fn reason(self) -> Option<&'a str> {
        self.text("reason")
    }

    /// What was wrong with it all the same.
    pub fn warning(self) -> Option<&'a str> {
        self.text("warning")
    }

    /// How many runs in a row, with this one, a signal ended, or bk-auto was killed.
    pub fn interrupted_count(self) -> u64 {
        let count = self.row.details.get("interrupted");
        count.and_then(Value::as_u64).unwrap_or_default()
    }

    /// The time up to which the schedule's times are done. Those that came during a run are; those for
    /// which a run was interrupted are not, so that it runs again, but not for ever; nor are those for which
    /// none could begin.
    pub fn done_until(self) -> Option<Timestamp> {
        match self.interrupted_count() {
            1..INTERRUPTED_MAX => self.time("done_until"),
            _ if !self.has_begun() => self.time("done_until"),
            _ => Some(self.began()),
        }
    }

    /// Not, where the catalog stayed locked when it was due.
    pub fn has_begun(self) -> bool {
        self.row.details.get("begun") != Some(&Value::Bool(false))
    }

    fn text(self, key: &str) -> Option<&'a str> {
        self.row.details.get(key).and_then(Value::as_str)
    }

    fn time(self, key: &str) -> Option<Timestamp> {
        self.text(key)?.parse().ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(details: Value) -> LedgerRow {
        LedgerRow {
            id: 1,
            happened_at: "2026-11-24T03:05:00Z".parse().unwrap(),
            program: "bk-auto".into(),
            backup_id: None,
            backup_name: None,
            event: EVENT.into(),
            outcome: "failed".into(),
            details: details.as_object().unwrap().clone(),
        }
    }

    fn done_until(details: Value) -> Option<String> {
        let row = row(details);
        Run::of(&row).unwrap().done_until().map(|it| it.to_string())
    }

    #[test]
    fn a_job_whose_run_was_interrupted_runs_again_once() {
        let (last, began) = ("2026-11-23T03:00:00Z", "2026-11-24T03:00:00Z");
        let interrupted = |count: u64| json!({"job": "db", "began": began, "done_until": last, "interrupted": count});
        assert_eq!(done_until(interrupted(1)).as_deref(), Some(last));
        assert_eq!(done_until(interrupted(2)).as_deref(), Some(began));
        assert_eq!(done_until(json!({"job": "db", "interrupted": 1})), None);
        let locked = json!({"job": "db", "began": began, "done_until": last, "begun": false});
        assert_eq!(done_until(locked).as_deref(), Some(last));
        let plain = json!({"job": "db", "began": began, "done_until": last});
        assert_eq!(done_until(plain).as_deref(), Some(began));
        // Rows of long ago have no time of their own.
        let old = done_until(json!({"job": "db"}));
        assert_eq!(old.as_deref(), Some("2026-11-24T03:05:00Z"));
    }

    #[test]
    fn a_row_of_no_job_is_no_run() {
        assert!(Run::of(&row(json!({"reason": "x"}))).is_none());
        let mut other = row(json!({"job": "db"}));
        other.event = "create".into();
        assert!(Run::of(&other).is_none());
    }
}
