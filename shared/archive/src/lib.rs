//! Backups as series of gzip members that hold one POSIX pax tar stream.
//!
//! Writing: `walk` is the source tree in its order, `source` one place of it as an entry,
//! `members` the stream cut into members, `writer` the threads that join them. Reading:
//! `inflate` is what the members hold, `gunzip` one of another program's, `damage` what is wrong
//! with them, `hashed` the file itself, `reader` the entries in it, `seek` those of some names
//! alone, `check` all of that at once, from `pieces`. Restoring: `names` is where a name leads,
//! `beneath` places below a directory, `accounts` whom names mean, `attributes` what an entry is
//! to have, `extract` makes it, in the `room` there is, with `late` what comes last, `likeness` gives one what another has,
//! `compare` reads it back, `probe` asks the file system what it holds, `remove` takes a tree
//! away. The format: `entry` is what a header tells, `header` its bytes, `decode`
//! those bytes back, `pax` the records of an extended header, `sparse` the map of a file with
//! holes, `acl` an ACL as bytes and text, `member` one gzip member. Knows paths and streams;
//! knows no catalog.

pub mod accounts;
mod acl;
pub mod attributes;
pub mod beneath;
pub mod check;
pub mod compare;
pub mod damage;
mod decode;
pub mod entry;
pub mod extract;
mod gunzip;
pub mod hashed;
pub mod header;
pub mod inflate;
mod late;
pub mod likeness;
pub mod member;
mod members;
pub mod names;
pub mod pax;
mod pieces;
mod probe;
pub mod problem;
pub mod reader;
pub mod remove;
mod room;
pub mod seek;
mod source;
mod sparse;
pub mod walk;
pub mod writer;
