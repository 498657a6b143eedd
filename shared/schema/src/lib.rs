//! What the programs of bk must agree on.
//!
//! `record` is the one type that is serialised, `birth` what an archive keeps of it, `metadata`
//! facts as people write them, `lines` carries it through pipes. `catalog` keeps it in the `home`,
//! as `rows`, `lock` guards it there, `recovery` tidies after the dead, as `at_work` tells them
//! from the living, `apart` two files from one and `moving` where an archive went. `partial` is an
//! archive that is being written, `removal` removes archives with their records, on a full disk by
//! the `spare`, `durable` makes directories last. `cli` is the command line, `completions` what
//! shells are taught of it, `operands` which backups are meant, `output` what is printed,
//! `visible` what a terminal is spared, `listing` records in it, `detail` one in full, `progress`
//! the bar, `notices` the journal, `signals` what ends a program in good order, `space` what a
//! file system has, `mounts` where, `units` sizes and times, `period` those of the calendar,
//! `zone` the local time, `clock` which times are believed, `host` whose backups they are,
//! `verified` what was proved of an archive, `losses` what it lacks, `unread` what is piped in and
//! not read, `storage` whether what holds archives is there. This crate opens no archive but to
//! ask whether somebody is at work on it, or to hold it.

pub mod apart;
pub mod at_work;
pub mod birth;
pub mod catalog;
pub mod cli;
pub mod clock;
mod completions;
pub mod detail;
pub mod durable;
pub mod home;
pub mod host;
pub mod lines;
pub mod listing;
pub mod lock;
pub mod losses;
pub mod metadata;
mod migrations;
pub mod mounts;
pub mod moving;
pub mod notices;
pub mod operands;
pub mod output;
pub mod partial;
pub mod period;
pub mod progress;
pub mod record;
pub mod recovery;
pub mod removal;
pub mod rows;
pub mod signals;
pub mod space;
mod spare;
pub mod storage;
pub mod units;
pub mod unread;
pub mod verified;
mod visible;
pub mod zone;
