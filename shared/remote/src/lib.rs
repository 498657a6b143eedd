//! Places elsewhere that archives are copied to: object stores, mounted directories, rclone remotes.
//!
//! - `location`: where, as a checked URL; `key`: the names of objects there
//! - `place`: what can be done there, and its types; `error`: why it failed; `open`: the place of a location
//! - `bucket`: in an object store, by `upload` and `reading` over its `client`; `stores` makes it, with the
//!   `credentials`; `signed`: what the library has no call for; `confirm`: checksums that a store tells
//! - `web`: the HTTP client under them; `answer`: what was last answered; `runtime`: threads that wait for it
//! - `directory`: in a mounted directory; `durable`: its files
//! - `rclone`: what the `program` rclone reaches
//! - `whole`: objects in parts; `retry`: again until a time limit; `rate`: so many bytes a second
//!
//! Only bk-push and bk-pull link it: it is all that opens a socket. Knows no catalog, no record and no
//! archive. Its calls block; a lost connection is taken up again within a time limit.
//!
//! ```
//! use bk_remote::{Kind, Location, Options, Storing};
//!
//! let root = std::env::temp_dir().join(format!("bk-remote-{}", std::process::id()));
//! let location: Location = format!("file://{}", root.display()).parse()?;
//! let place = bk_remote::open(&location, &Options::default())?;
//! let error = place.head("web1/archives/a.tar.gz").unwrap_err();
//! assert_eq!(error.kind(), Kind::NotFound);
//!
//! place.init()?;
//! place.put("web1/archives/a.tar.gz", b"bytes".to_vec(), &Storing::default())?;
//! assert_eq!(place.head("web1/archives/a.tar.gz")?.size, 5);
//! assert_eq!(place.list_dirs("")?, ["web1"]);
//! # let _ = std::fs::remove_dir_all(&root);
//! # Ok::<(), bk_remote::Error>(())
//! ```

mod answer;
mod bucket;
mod client;
mod confirm;
mod credentials;
mod directory;
mod durable;
mod error;
mod key;
mod location;
mod open;
mod place;
mod program;
mod rate;
mod rclone;
mod reading;
mod retry;
mod runtime;
mod signed;
mod stores;
mod upload;
mod web;
mod whole;

pub use error::{Error, Kind, Result};
pub use location::{Location, Service};
pub use open::open;
pub use place::{
    Abilities, CanLock, Listed, Lock, LockMode, Object, Options, Part, PartReceipt, Place, Stored,
    Storing, sha256, sha256_of_parts,
};
pub use whole::part_bytes;
