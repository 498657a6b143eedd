//! What bk-push and bk-pull agree on: locations by name, and what lies there under which keys.
//!
//! - `destination`: a location as the settings keep it
//! - `marker`: which location a directory is
//! - `sidecars`: the names of the objects of a backup, and its record as an object
//! - `lists`: the records of a host, together in one object
//! - `encryption`: what leaves the machine is encrypted with age
//! - `failure`: what a failure of a location means for the archives that come after
//!
//! Knows no archive, and no protocol: how a location is spoken with is bk-remote's.

pub mod destination;
pub mod encryption;
pub mod failure;
pub mod lists;
pub mod marker;
pub mod sidecars;

pub use destination::Destination;
