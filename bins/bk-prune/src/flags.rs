//! The flags of bk-prune.

use bk_cli::{Flag, Operands, Program, notices, option, switch};

bk_cli::flags! {
    DRY_RUN = switch("dry-run", "print what would be removed; remove nothing").short('n');
    EXPLAIN = switch("explain", "print what would stay too, and why; remove nothing");
    ALL = switch("all", "all backups are candidates, whatever standard input is");
    FORCE_CLOCK = switch("force-clock", "go on though the clock seems to have jumped");
    EXPIRED = switch("expired", "go by the expiry that backups have, without any rule");
    KEEP_LAST = count("keep-last", "keep the N newest");
    KEEP_HOURLY = count("keep-hourly", "keep the newest of each hour, for N hours that have one");
    KEEP_DAILY = count("keep-daily", "keep the newest of each day, for N days that have one");
    KEEP_WEEKLY = count("keep-weekly", "keep the newest of each week, for N weeks that have one");
    KEEP_MONTHLY = count("keep-monthly", "keep the newest of each month, for N months that have one");
    KEEP_QUARTERLY = count("keep-quarterly", "keep the newest of each quarter, for N quarters that have one");
    KEEP_YEARLY = count("keep-yearly", "keep the newest of each year, for N years that have one");
    KEEP_WITHIN = span("keep-within", "keep what was made within SPAN before the newest");
    KEEP_WITHIN_HOURLY = span("keep-within-hourly", "of that, keep the newest of each hour");
    KEEP_WITHIN_DAILY = span("keep-within-daily", "of that, keep the newest of each day");
    KEEP_WITHIN_WEEKLY = span("keep-within-weekly", "of that, keep the newest of each week");
    KEEP_WITHIN_MONTHLY = span("keep-within-monthly", "of that, keep the newest of each month");
    KEEP_WITHIN_QUARTERLY = span("keep-within-quarterly", "of that, keep the newest of each quarter");
    KEEP_WITHIN_YEARLY = span("keep-within-yearly", "of that, keep the newest of each year");
    OLDER_THAN = span("older-than", "remove what is older than SPAN and no other rule keeps");
    MAX_COUNT = option("max-count", "N", "then remove the oldest until N are left");
    MAX_TOTAL_SIZE =
        option("max-total-size", "SIZE", "then remove the oldest until they take SIZE");
    KEEP_FREE = option("keep-free", "SIZE", "then remove the oldest until SIZE is free");
    GROUP_BY = option(
        "group-by",
        "KEYS",
        "rules count for each: sources,type,host (so by default), version, none",
    );
    ALLOW_EMPTY = switch("allow-empty", "remove the newest of a group too");
    FAILED_AFTER = span("failed-after", "remove failed ones that are older (7d)");
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

/// A rule with a limit of backups or periods.
const fn count(long: &'static str, help: &'static str) -> Flag {
    option(long, "N|all", help)
}

/// A rule with a span of time.
const fn span(long: &'static str, help: &'static str) -> Flag {
    option(long, "SPAN", help)
}
