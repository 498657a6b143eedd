//! Backups as series of gzip members that hold one POSIX pax tar stream.
//!
//! `format`: `entry` is what a header tells, `header` its bytes, `decode` those bytes back, `pax` the
//! records of an extended header, `sparse` the map of a file with holes, `acl` an ACL as bytes and
//! text, `member` one gzip member, `gunzip` one of another program's, `damage` what can be wrong
//! with them, `notes` what is odd and read all the same.
//!
//! `write`: `walk` is the source tree in its order, `place` one place of it, `source` the same as an
//! entry, `content` what a file holds, `problem` what went wrong with one, `stream` content that
//! comes without a file, `members` the stream cut into members, `writer` the threads that join them.
//!
//! `read`: `inflate` is what the members hold, `streamed` one of them chunk by chunk, `blocks` the
//! stream in its blocks, `reader` the entries in it, `holes` where the map of one stands, `salvage`
//! what is whole of a damaged archive, `last` which names come again, `entries` those that count,
//! `seek` those of some names alone, `check` all of that at once, from `pieces`, with each
//! `finding`.
//!
//! `restore`: `names` is where a name leads, `beneath` places below a directory, `attributes` what an
//! entry is to have, `extract` makes it, in the `room` there is, with `late` what comes last, `links` of all kinds,
//! `likeness` gives one what another has, `compare` reads it back, `probe` asks the file system what
//! it holds, `remove` takes a tree away.
//!
//! For all: `accounts` is whom names mean, `hashed` the SHA-256 of a file, `globs` what
//! people write for names, `pattern` one of these, `threads` as many as are to be had, `pool` work
//! that they share, in its order.
//!
//! Knows paths and streams; knows no catalog.

pub mod accounts;
pub mod format;
pub mod globs;
pub mod hashed;
mod pattern;
mod pool;
pub mod read;
pub mod restore;
pub mod threads;
pub mod write;
