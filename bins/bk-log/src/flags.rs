//! The flags of bk-log.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    SINCE = Flag::new("since", None, Some("TIME"), "happened at TIME (a date, 30d) or later");
    UNTIL = Flag::new("until", None, Some("TIME"), "happened before TIME");
    EVENT = Flag::new(
        "event",
        Some('e'),
        Some(EVENTS),
        "of this kind, or one of these kinds, joined by commas",
    );
    OUTCOME = Flag::new("outcome", Some('o'), Some("ok|failed"), "with this outcome");
    LIMIT = Flag::new("limit", None, Some("N"), "at most the newest N");
    FOLLOW = Flag::new("follow", Some('f'), None, "keep printing new rows until interrupted");
    STATS = Flag::new("stats", None, Some("[day|week|month]"), "print statistics by period (day) and event");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-log",
    summary: "print the ledger: what was done, what failed, how often",
    usage: "[flags] [ID|NAME...]  or  bk-log [flags] - <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};

/// A test compares it with `bk_schema::event::EVENTS`.
const EVENTS: &str =
    "create|verify|restore|remove|move|set|adopt|prune|auto|recover|storage|upgrade";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_the_events_that_there_are() {
        assert_eq!(EVENTS, bk_schema::event::EVENTS.join("|"));
    }
}
