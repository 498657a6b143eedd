//! A backup that is to move, and where to.
//!
//! Plain data: knows no session.

use bk_schema::record::Backup;
use serde_json::{Map, Value};

use crate::way::Way;

/// One backup that is to move.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// As it was when its archive was looked at; once it has moved, as it is now.
    pub(crate) backup: Backup,
    /// The line that it came by.
    pub(crate) line: Map<String, Value>,
    /// Where its archive is to be, and was.
    pub(crate) to: String,
    pub(crate) from: String,
    pub(crate) way: Way,
    /// How often it was another one.
    pub(crate) tries: u32,
}
