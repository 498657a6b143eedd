//! The flags of bk-prune.

use bk_cli::notices;
use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    DRY_RUN = Flag::new("dry-run", Some('n'), None, "print what would be removed; remove nothing");
    EXPLAIN = Flag::new("explain", None, None, "print what would stay too, and why; remove nothing");
    ALL = Flag::new("all", None, None, "all backups are candidates, whatever standard input is");
    FORCE_CLOCK = Flag::new("force-clock", None, None, "go on though the clock seems to have jumped");
    EXPIRED = Flag::new("expired", None, None, "go by the expiry that backups have, without any rule");
    KEEP_LAST = Flag::new("keep-last", None, Some("N|all"), "keep the N newest");
    KEEP_HOURLY = Flag::new(
        "keep-hourly",
        None,
        Some("N|all"),
        "keep the newest of each hour, for N hours that have one",
    );
    KEEP_DAILY = Flag::new(
        "keep-daily",
        None,
        Some("N|all"),
        "keep the newest of each day, for N days that have one",
    );
    KEEP_WEEKLY = Flag::new(
        "keep-weekly",
        None,
        Some("N|all"),
        "keep the newest of each week, for N weeks that have one",
    );
    KEEP_MONTHLY = Flag::new(
        "keep-monthly",
        None,
        Some("N|all"),
        "keep the newest of each month, for N months that have one",
    );
    KEEP_QUARTERLY = Flag::new(
        "keep-quarterly",
        None,
        Some("N|all"),
        "keep the newest of each quarter, for N quarters that have one",
    );
    KEEP_YEARLY = Flag::new(
        "keep-yearly",
        None,
        Some("N|all"),
        "keep the newest of each year, for N years that have one",
    );
    KEEP_WITHIN = Flag::new(
        "keep-within",
        None,
        Some("SPAN"),
        "keep what was made within SPAN before the newest",
    );
    KEEP_WITHIN_HOURLY = Flag::new(
        "keep-within-hourly",
        None,
        Some("SPAN"),
        "of that, keep the newest of each hour",
    );
    KEEP_WITHIN_DAILY = Flag::new(
        "keep-within-daily",
        None,
        Some("SPAN"),
        "of that, keep the newest of each day",
    );
    KEEP_WITHIN_WEEKLY = Flag::new(
        "keep-within-weekly",
        None,
        Some("SPAN"),
        "of that, keep the newest of each week",
    );
    KEEP_WITHIN_MONTHLY = Flag::new(
        "keep-within-monthly",
        None,
        Some("SPAN"),
        "of that, keep the newest of each month",
    );
    KEEP_WITHIN_QUARTERLY = Flag::new(
        "keep-within-quarterly",
        None,
        Some("SPAN"),
        "of that, keep the newest of each quarter",
    );
    KEEP_WITHIN_YEARLY = Flag::new(
        "keep-within-yearly",
        None,
        Some("SPAN"),
        "of that, keep the newest of each year",
    );
    OLDER_THAN = Flag::new(
        "older-than",
        None,
        Some("SPAN"),
        "remove what is older than SPAN and no other rule keeps",
    );
    MAX_COUNT = Flag::new("max-count", None, Some("N"), "then remove the oldest until N are left");
    MAX_TOTAL_SIZE = Flag::new(
        "max-total-size",
        None,
        Some("SIZE"),
        "then remove the oldest until they take SIZE",
    );
    KEEP_FREE = Flag::new("keep-free", None, Some("SIZE"), "then remove the oldest until SIZE is free");
    GROUP_BY = Flag::new(
        "group-by",
        None,
        Some("KEYS"),
        "rules count for each: sources,type,host (so by default), version, none",
    );
    ALLOW_EMPTY = Flag::new("allow-empty", None, None, "remove the newest of a group too");
    FAILED_AFTER = Flag::new("failed-after", None, Some("SPAN"), "remove failed ones that are older (7d)");
    TIME_ZONE = Flag::new(
        "time-zone",
        None,
        Some("ZONE"),
        "the zone of hours, days and so on (the local one)",
    );
    SYSLOG = notices::SYSLOG;
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-prune",
    summary: "remove what a retention policy does not keep",
    usage: "[flags] RULE...  or  bk-prune [flags] RULE... - <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
