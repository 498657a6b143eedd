//! Archives as files: who is at work on one, how one comes into its place and lasts there.
//!
//! Knows no record's meaning and no catalog.

pub mod advisory_lock;
pub mod distinct;
pub mod durable;
pub mod early_sync;
pub mod mounts;
pub mod open;
pub mod partial;
pub mod share;
pub mod space;
pub(crate) mod spare;
