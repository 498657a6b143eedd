//! The flags of bk-prune.

use bk_cli::notices;
use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    DRY_RUN = switch("dry-run", "print what would be removed; remove nothing").short('n');
    EXPLAIN = switch("explain", "print what would stay too, and why; remove nothing");
    ALL = switch("all", "all backups are candidates, whatever standard input is");
    FORCE_CLOCK = switch("force-clock", "go on though the clock seems to have jumped");
    EXPIRED = switch("expired", "go by the expiry that backups have, without any rule");
    KEEP_LAST = option("keep-last", "N|all", "keep the N newest");
    KEEP_HOURLY =
        option("keep-hourly", "N|all", "keep the newest of each hour, for N hours that have one");
    KEEP_DAILY =
        option("keep-daily", "N|all", "keep the newest of each day, for N days that have one");
    KEEP_WEEKLY =
        option("keep-weekly", "N|all", "keep the newest of each week, for N weeks that have one");
    KEEP_MONTHLY = option(
        "keep-monthly",
        "N|all",
        "keep the newest of each month, for N months that have one",
    );
    KEEP_QUARTERLY = option(
        "keep-quarterly",
        "N|all",
        "keep the newest of each quarter, for N quarters that have one",
    );
    KEEP_YEARLY =
        option("keep-yearly", "N|all", "keep the newest of each year, for N years that have one");
    KEEP_WITHIN = option("keep-within", "SPAN", "keep what was made within SPAN before the newest");
    KEEP_WITHIN_HOURLY =
        option("keep-within-hourly", "SPAN", "of that, keep the newest of each hour");
    KEEP_WITHIN_DAILY = option("keep-within-daily", "SPAN", "of that, keep the newest of each day");
    KEEP_WITHIN_WEEKLY =
        option("keep-within-weekly", "SPAN", "of that, keep the newest of each week");
    KEEP_WITHIN_MONTHLY =
        option("keep-within-monthly", "SPAN", "of that, keep the newest of each month");
    KEEP_WITHIN_QUARTERLY =
        option("keep-within-quarterly", "SPAN", "of that, keep the newest of each quarter");
    KEEP_WITHIN_YEARLY =
        option("keep-within-yearly", "SPAN", "of that, keep the newest of each year");
    OLDER_THAN =
        option("older-than", "SPAN", "remove what is older than SPAN and no other rule keeps");
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
    FAILED_AFTER = option("failed-after", "SPAN", "remove failed ones that are older (7d)");
    TIME_ZONE = option("time-zone", "ZONE", "the zone of hours, days and so on (the local one)");
    SYSLOG = notices::SYSLOG;
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-prune",
    summary: "remove what a retention policy does not keep",
    usage: "[flags] RULE...  or  bk-prune [flags] RULE... - <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
