//! The flags of bk-prune.

use bk_cli::{Operands, Program, copies, notices, option, retention, switch};

bk_cli::flags! {
    DRY_RUN = switch("dry-run", "print what would be removed; remove nothing").short('n');
    EXPLAIN = switch("explain", "print what would stay too, and why; remove nothing");
    ALL = switch("all", "all backups are candidates, whatever standard input is");
    FORCE_CLOCK = switch("force-clock", "go on though the clock seems to have jumped");
    EXPIRED = switch("expired", "go by the expiry that backups have, without any rule");
    KEEP_LAST = retention::KEEP_LAST;
    KEEP_HOURLY = retention::KEEP_HOURLY;
    KEEP_DAILY = retention::KEEP_DAILY;
    KEEP_WEEKLY = retention::KEEP_WEEKLY;
    KEEP_MONTHLY = retention::KEEP_MONTHLY;
    KEEP_QUARTERLY = retention::KEEP_QUARTERLY;
    KEEP_YEARLY = retention::KEEP_YEARLY;
    KEEP_WITHIN = retention::KEEP_WITHIN;
    KEEP_WITHIN_HOURLY = retention::KEEP_WITHIN_HOURLY;
    KEEP_WITHIN_DAILY = retention::KEEP_WITHIN_DAILY;
    KEEP_WITHIN_WEEKLY = retention::KEEP_WITHIN_WEEKLY;
    KEEP_WITHIN_MONTHLY = retention::KEEP_WITHIN_MONTHLY;
    KEEP_WITHIN_QUARTERLY = retention::KEEP_WITHIN_QUARTERLY;
    KEEP_WITHIN_YEARLY = retention::KEEP_WITHIN_YEARLY;
    OLDER_THAN = retention::OLDER_THAN;
    MAX_COUNT = retention::MAX_COUNT;
    MAX_TOTAL_SIZE = retention::MAX_TOTAL_SIZE;
    KEEP_FREE = retention::KEEP_FREE;
    GROUP_BY = retention::GROUP_BY;
    REQUIRE_COPY = copies::REQUIRE_COPY;
    ALLOW_EMPTY = switch("allow-empty", "remove the newest of a group too");
    FAILED_AFTER = retention::FAILED_AFTER;
    TIME_ZONE =
        option("time-zone", "ZONE", "the zone of hours, days and so on (the local one)");
    SYSLOG = notices::SYSLOG;
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-prune",
    summary: "remove what a retention policy does not keep",
    usage: "[flags] RULE...  or  bk-prune [flags] RULE... - <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
