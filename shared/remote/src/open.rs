//! Which kind of place a location is.
//!
//! Knows nothing of how any of them works.

use crate::bucket::Bucket;
use crate::directory::Directory;
use crate::error::Result;
use crate::location::{Location, Service};
use crate::place::{Options, Place};
use crate::rclone::Rclone;

/// Gives the place of a location. Reads its credentials, and connects to nothing yet.
///
/// # Errors
/// Credentials that are missing, wrong, or readable by others.
pub fn open(location: &Location, options: &Options) -> Result<Box<dyn Place>> {
    Ok(match location.service() {
        Service::S3 | Service::Google | Service::Azure => {
            Box::new(Bucket::open(location, options)?)
        }
        Service::Directory => Box::new(Directory::open(location, options)?),
        Service::Rclone => Box::new(Rclone::open(location, options)?),
    })
}
