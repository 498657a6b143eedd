//! The flags that say what is kept, which bk-prune has, and bk-auto for its jobs.
//!
//! Knows no backup; what they mean for backups, bk-prune tells.

use crate::copies::REQUIRE_COPY;
use crate::flags::{Flag, option};

/// The newest ones.
pub const KEEP_LAST: Flag = count("keep-last", "keep the N newest");
/// The newest of each hour.
pub const KEEP_HOURLY: Flag = count(
    "keep-hourly",
    "keep the newest of each hour, for N hours that have one",
);
/// The newest of each day.
pub const KEEP_DAILY: Flag = count(
    "keep-daily",
    "keep the newest of each day, for N days that have one",
);
/// The newest of each week.
pub const KEEP_WEEKLY: Flag = count(
    "keep-weekly",
    "keep the newest of each week, for N weeks that have one",
);
/// The newest of each month.
pub const KEEP_MONTHLY: Flag = count(
    "keep-monthly",
    "keep the newest of each month, for N months that have one",
);
/// The newest of each quarter.
pub const KEEP_QUARTERLY: Flag = count(
    "keep-quarterly",
    "keep the newest of each quarter, for N quarters that have one",
);
/// The newest of each year.
pub const KEEP_YEARLY: Flag = count(
    "keep-yearly",
    "keep the newest of each year, for N years that have one",
);
/// Those of a span before the newest.
pub const KEEP_WITHIN: Flag = span(
    "keep-within",
    "keep what was made within SPAN before the newest",
);
/// Of these, the newest of each hour.
pub const KEEP_WITHIN_HOURLY: Flag = span(
    "keep-within-hourly",
    "of that, keep the newest of each hour",
);
/// Of these, the newest of each day.
pub const KEEP_WITHIN_DAILY: Flag =
    span("keep-within-daily", "of that, keep the newest of each day");
/// Of these, the newest of each week.
pub const KEEP_WITHIN_WEEKLY: Flag = span(
    "keep-within-weekly",
    "of that, keep the newest of each week",
);
/// Of these, the newest of each month.
pub const KEEP_WITHIN_MONTHLY: Flag = span(
    "keep-within-monthly",
    "of that, keep the newest of each month",
);
/// Of these, the newest of each quarter.
pub const KEEP_WITHIN_QUARTERLY: Flag = span(
    "keep-within-quarterly",
    "of that, keep the newest of each quarter",
);
/// Of these, the newest of each year.
pub const KEEP_WITHIN_YEARLY: Flag = span(
    "keep-within-yearly",
    "of that, keep the newest of each year",
);
/// Those of a span before now.
pub const OLDER_THAN: Flag = span(
    "older-than",
    "remove what is older than SPAN and no other rule keeps",
);
/// How many at most.
pub const MAX_COUNT: Flag = option("max-count", "N", "then remove the oldest until N are left");
/// How much at most.
pub const MAX_TOTAL_SIZE: Flag = option(
    "max-total-size",
    "SIZE",
    "then remove the oldest until they take SIZE",
);
/// How much is to be free.
pub const KEEP_FREE: Flag = option(
    "keep-free",
    "SIZE",
    "then remove the oldest until SIZE is free",
);
/// Within what the rules count.
pub const GROUP_BY: Flag = option(
    "group-by",
    "KEYS",
    "rules count for each: job, host, source, type, version; none: for all",
);
/// How long what failed is kept.
pub const FAILED_AFTER: Flag = span("failed-after", "remove failed ones that are older (7d)");

/// All of these, any of which a job may have. Of the others that bk-prune has, what takes the
/// last backup is none for a job that runs unattended, and its days are those of its schedule.
pub const OF_JOBS: [Flag; 21] = [
    KEEP_LAST,
    KEEP_HOURLY,
    KEEP_DAILY,
    KEEP_WEEKLY,
    KEEP_MONTHLY,
    KEEP_QUARTERLY,
    KEEP_YEARLY,
    KEEP_WITHIN,
    KEEP_WITHIN_HOURLY,
    KEEP_WITHIN_DAILY,
    KEEP_WITHIN_WEEKLY,
    KEEP_WITHIN_MONTHLY,
    KEEP_WITHIN_QUARTERLY,
    KEEP_WITHIN_YEARLY,
    OLDER_THAN,
    MAX_COUNT,
    MAX_TOTAL_SIZE,
    KEEP_FREE,
    GROUP_BY,
    FAILED_AFTER,
    REQUIRE_COPY,
];

/// A rule with a limit of backups or periods.
const fn count(long: &'static str, help: &'static str) -> Flag {
    option(long, "N|all", help)
}

/// A rule with a span of time.
const fn span(long: &'static str, help: &'static str) -> Flag {
    option(long, "SPAN", help)
}
