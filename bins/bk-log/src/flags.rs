//! The flags of bk-log.

use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    SINCE = option("since", "TIME", "happened at TIME (a date, 30d) or later");
    UNTIL = option("until", "TIME", "happened before TIME");
    EVENT =
        option("event", EVENTS, "of this kind, or one of these kinds, joined by commas").short('e');
    OUTCOME = option("outcome", "ok|failed", "with this outcome").short('o');
    JOB = option("job", "JOB", "runs of this job of bk-auto, and all of its backups");
    LIMIT = option("limit", "N", "at most the newest N");
    FOLLOW = switch("follow", "keep printing new rows until interrupted").short('f');
    STATS = option("stats", "[day|week|month]", "print statistics by period (day) and event");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-log",
    summary: "print the ledger: what was done, what failed, how often",
    usage: "[flags] [ID|NAME...]  or  bk-log [flags] - <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};

/// A test compares it with `bk_schema::event::EVENTS`.
const EVENTS: &str = "create|verify|restore|remove|move|set|adopt|prune|auto|recover|storage|upgrade|notify|push|pull|copy-check|copy-remove";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_the_events_that_there_are() {
        assert_eq!(EVENTS, bk_schema::event::EVENTS.join("|"));
    }
}
