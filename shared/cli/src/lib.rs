//! The command-line interface that all programs of bk share.
//!
//! - `flags`: a program's flags as one const table, and the parsed command line; from that table
//!   also `completions` (`bash`, `zsh`, `fish` and the `words` that they share)
//! - flags that two programs have: `content`, of what goes into an archive; `retention`, of what is kept
//! - `run`: a program from its command line to its exit status, its help, and the home that it
//!   works on; `message`: messages on stderr
//! - `operands`: the backups to work on; `entries`: those of their content that lines tell; `selection`: which of
//!   all backups are asked for; `copies`: which copies elsewhere; `unread`: input that is piped in but not read
//! - `output`: JSON lines for programs, a `table` for people, whose `columns` fit the terminal and whose
//!   `text` is cut to them; `report`: either, backup by backup;
//!   `listing`: records in it; `detail`: one record in full
//! - `index`: manifests that are missing; `progress`: the progress bar; `notices`: messages for the journal or syslog
//! - `units`: sizes, numbers and times as people write them; `period`: days, weeks, months and so
//!   on; `zone`: the local time zone
//!
//! Knows no query and no archive format.
//!
//! ```
//! use bk_cli::{Operands, Program, switch};
//!
//! bk_cli::flags! {
//!     ALL = switch("all", "every backup").short('a');
//! }
//!
//! const PROGRAM: Program = Program {
//!     name: "bk-example",
//!     summary: "shows the table of flags",
//!     usage: "[flags] [ID|NAME...]",
//!     flags: FLAGS,
//!     operands: Operands::Backups,
//! };
//! let typed = PROGRAM.parse(["-a", "nightly-3"].map(Into::into))?;
//! assert!(typed.has(&ALL));
//! assert!(PROGRAM.help().contains("-a, --all"));
//! # anyhow::Ok(())
//! ```

pub mod columns;
mod completions;
pub mod content;
pub mod copies;
pub mod detail;
pub mod entries;
mod flags;
pub mod index;
pub mod listing;
mod message;
pub mod notices;
pub mod operands;
pub mod output;
pub mod period;
pub mod progress;
pub mod report;
pub mod retention;
mod run;
pub mod selection;
pub mod table;
pub mod text;
pub mod units;
pub mod unread;
pub mod zone;

pub use columns::{Column, Cut};
pub use flags::{
    Arguments, COMMON, Flag, HOME, JSON, LOCK_TIMEOUT, Operands, Program, TABLE, WIDE, option,
    switch,
};
pub use message::{
    LOCKED, SOME_FAILED, SUCCESS, USAGE, UsageError, one_line, status_of, usage, warn,
};
pub use output::Output;
pub use progress::Progress;
pub use report::Report;
pub use run::program;
pub use table::{Cell, Tone};
