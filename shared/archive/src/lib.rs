//! The archive format: a series of gzip members or zstd frames whose content, joined, is one POSIX pax
//! tar stream.
//!
//! `format`: `entry` is an entry's header as data, `header` encodes it, `decode` parses it, `pax` the
//! records of extended headers, `sparse` the maps of sparse files, `acl` ACLs as bytes and text,
//! `member` one gzip member of bk's, `frame` one zstd frame, `seek_table` what is at the end of these,
//! `codec` both ways to compress, `damage` what can be wrong with an archive, `notes` oddities
//! that are tolerated.
//!
//! `write`: `walk` walks the source tree in archive order, without what the `filter` leaves out, `place` is one path of it, `source` turns
//! that into an entry, `content` reads a file, `problem` is what went wrong with a path, `tree`
//! reads all of them, `parent` has what is taken over, `piece` is one of a large file, `observer`
//! looks on, `stream` is a file that comes through a pipe, `members` cuts the tar stream into members, `writer`
//! compresses them in parallel, `output` appends them to the file and shares blocks; `live` tells what a
//! backup would hold.
//!
//! `read`: `inflate` decompresses members in parallel, which a `cutter` cuts, `frames` those of zstd, `blocks` reads the
//! tar stream block by block, `reader` its entries, `holes` the map of a sparse file,
//! `salvage` what is intact in a damaged archive, `last` which entries are superseded, `entries` the
//! others, `seek` those of some names without reading the rest, by the `spans` of the members, `check`
//! verifies everything, from `pieces`, `survey` has what a manifest tells.
//!
//! `restore`: `names` normalizes and selects names, `beneath` opens paths below a directory safely,
//! `attributes` are owner, mode, times and xattrs, `extract` restores entries, within the `room`
//! there is, with `deferred` what must come last, `links` of all kinds, `copy` copies a file with its
//! attributes, `compare` reads back what was restored, `remove` removes a tree, `stage` is where one is made
//! before it is moved to its place, by `rename`; `print` prints one file.
//!
//! For all: `accounts` are the users and groups of this machine, `hashed` hashes a file while reading
//! it, `within` reads a part of one, `threads` starts as many threads as possible, `pool` shares work
//! among them, in its order.
//!
//! Knows paths and streams; knows no catalog.

pub mod accounts;
pub mod format;
pub mod hashed;
mod pool;
pub mod read;
pub mod restore;
pub mod threads;
mod within;
pub mod write;
