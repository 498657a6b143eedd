//! Places elsewhere that archives are copied to: object stores, mounted directories, rclone remotes.
//!
//! - `location`: where, as a checked URL; `key`: the names of objects there
//! - `place`: what can be done there, and its types; `error`: why it failed
//!
//! Only bk-push and bk-pull link it: it is all that opens a socket. Knows no catalog, no record and no
//! archive. Its calls block; a lost connection is taken up again within a time limit.
//!
//! ```
//! use bk_remote::{Kind, Location};
//!
//! let location: Location = "s3://backups/bk".parse()?;
//! let location = location.with_endpoint("https://s3.example.org")?;
//! assert_eq!(location.to_string(), "s3://backups/bk");
//! let error = "ftp://host/dir".parse::<Location>().unwrap_err();
//! assert_eq!(error.kind(), Kind::Other);
//! # Ok::<(), bk_remote::Error>(())
//! ```

mod error;
mod key;
mod location;
mod place;

pub use error::{Error, Kind, Result};
pub use location::{Location, Service};
pub use place::{
    Abilities, CanLock, Listed, Lock, LockMode, Object, Options, Part, PartReceipt, Place, Stored,
    Storing, sha256, sha256_of_parts,
};
