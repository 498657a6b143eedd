//! The jobs of bk-auto, as far as others than bk-auto know them: when each is due, and how it ran.
//!
//! - `settings`: the names of a job's settings, by job
//! - `timing`: whether a job is enabled, its schedule, and when it is due
//! - `schedule`: a cron expression and its times
//! - `run`: a run of a job, as the ledger has it
//!
//! Knows no catalog, reads no clock, and runs nothing.
//!
//! ```
//! use bk_jobs::schedule::Schedule;
//! use jiff::tz::TimeZone;
//!
//! let nightly = Schedule::parse("0 3 * * *")?;
//! let next = nightly.next("2026-11-24T12:00:00Z".parse()?, &TimeZone::UTC);
//! assert_eq!(next, Some("2026-11-25T03:00:00Z".parse()?));
//! # anyhow::Ok(())
//! ```

pub mod run;
pub mod schedule;
pub mod settings;
pub mod timing;
