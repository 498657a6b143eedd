//! What makes a command of ours.
//!
//! - `flags`: a program's flags as one const table, and what was typed; `help`, `completions`
//!   (`bash`, `zsh`, `fish` and the `words` that they share): what the table says elsewhere
//! - `run`: a program from its command line to its exit status; `message`: what it tells on stderr
//! - `home`: which home it works on
//! - `operands`: which backups are meant; `unread`: what is piped in and not read
//! - `output`: lines for programs, a `table` for people; `report`: either, backup by backup;
//!   `listing`: records in it; `detail`: one in full
//! - `progress`: the bar; `notices`: the journal
//! - `units`: sizes and times as people write them; `period`: those of the calendar; `zone`: the
//!   local time
//!
//! Knows no query and no archive format.
//!
//! ```
//! use bk_cli::{Flag, Operands, Program};
//!
//! bk_cli::flags! {
//!     ALL = Flag::new("all", Some('a'), None, "every backup");
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

mod completions;
pub mod detail;
mod flags;
mod help;
pub mod home;
pub mod listing;
mod message;
pub mod notices;
pub mod operands;
pub mod output;
pub mod period;
pub mod progress;
pub mod report;
mod run;
pub mod table;
pub mod units;
pub mod unread;
pub mod zone;

pub use flags::{Arguments, COMMON, Flag, HOME, JSON, LOCK_TIMEOUT, Operands, Program, TABLE};
pub use message::{DONE, LOCKED, SOME_FAILED, USAGE, UsageError, one_line, status_of, usage, warn};
