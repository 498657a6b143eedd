//! Backups as series of gzip members that hold one POSIX pax tar stream.
//!
//! Writing: `walk` is the source tree in its order, `place` one place of it, `source` the same
//! as an entry, `content` what a file holds, `stream` content that comes without a file,
//! `members` the stream cut into members, `writer` the threads that join them. Reading: `inflate`
//! is what the members hold, `gunzip` one of another program's, `damage` what is wrong with them,
//! `hashed` the file itself, `blocks` the stream in its blocks, `reader` the entries in it,
//! `notes` what is odd, `salvage` what is whole of a damaged one, `last` which names come again,
//! `entries` those that count, `seek` those of some names alone, `check` all of that at once,
//! from `pieces`. Restoring: `names` is where a name leads, `beneath` places below a directory,
//! `accounts` whom names mean, `attributes` what an entry is to have, `extract` makes it, in the
//! `room` there is, with `late` what comes last, `links` of all kinds, `likeness` gives one what
//! another has, `compare` reads it back, `probe` asks the file system what it holds, `remove` takes a tree away. The
//! format: `entry` is what a header tells, `header` its bytes, `decode` those bytes back, `pax`
//! the records of an extended header, `sparse` the map of a file with holes, `holes` where it
//! stands, `acl` an ACL as bytes and text, `member` one gzip member. For all: `globs` what people
//! write for names, `pattern` one of these, `threads` as many as are to be had. Knows paths and
//! streams; knows no catalog.

pub mod accounts;
mod acl;
pub mod attributes;
pub mod beneath;
mod blocks;
pub mod check;
pub mod compare;
mod content;
pub mod damage;
mod decode;
pub mod entries;
pub mod entry;
pub mod extract;
pub mod globs;
mod gunzip;
pub mod hashed;
pub mod header;
mod holes;
pub mod inflate;
pub mod last;
mod late;
pub mod likeness;
mod links;
pub mod member;
mod members;
pub mod names;
pub mod notes;
mod pattern;
pub mod pax;
mod pieces;
pub mod place;
mod probe;
pub mod problem;
pub mod reader;
pub mod remove;
mod room;
mod salvage;
pub mod seek;
mod source;
mod sparse;
pub mod stream;
pub mod threads;
pub mod walk;
pub mod writer;
