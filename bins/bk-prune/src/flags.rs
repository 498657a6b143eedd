//! The flags of bk-prune.

use bk_schema::cli::{Flag, Operands, Program};

pub(crate) const PROGRAM: Program = Program {
    name: "bk-prune",
    summary: "remove what a retention policy does not keep",
    usage: "[flags] RULE...  or  bk-prune [flags] RULE... - <RECORDS",
    operands: Operands::Backups,
    flags: &[
        Flag::new(
            "dry-run",
            Some('n'),
            None,
            "print what would be removed; remove nothing",
        ),
        Flag::new(
            "explain",
            None,
            None,
            "print what would stay too, and why; remove nothing",
        ),
        Flag::new(
            "expired",
            None,
            None,
            "go by the expiry that backups have, without any rule",
        ),
        Flag::new("keep-last", None, Some("N|all"), "keep the N newest"),
        Flag::new(
            "keep-hourly",
            None,
            Some("N|all"),
            "keep the newest of each hour, for N hours that have one",
        ),
        Flag::new(
            "keep-daily",
            None,
            Some("N|all"),
            "keep the newest of each day, for N days that have one",
        ),
        Flag::new(
            "keep-weekly",
            None,
            Some("N|all"),
            "keep the newest of each week, for N weeks that have one",
        ),
        Flag::new(
            "keep-monthly",
            None,
            Some("N|all"),
            "keep the newest of each month, for N months that have one",
        ),
        Flag::new(
            "keep-quarterly",
            None,
            Some("N|all"),
            "keep the newest of each quarter, for N quarters that have one",
        ),
        Flag::new(
            "keep-yearly",
            None,
            Some("N|all"),
            "keep the newest of each year, for N years that have one",
        ),
        Flag::new(
            "keep-within",
            None,
            Some("SPAN"),
            "keep what was made within SPAN before the newest",
        ),
        Flag::new(
            "keep-within-hourly",
            None,
            Some("SPAN"),
            "of that, keep the newest of each hour",
        ),
        Flag::new(
            "keep-within-daily",
            None,
            Some("SPAN"),
            "of that, keep the newest of each day",
        ),
        Flag::new(
            "keep-within-weekly",
            None,
            Some("SPAN"),
            "of that, keep the newest of each week",
        ),
        Flag::new(
            "keep-within-monthly",
            None,
            Some("SPAN"),
            "of that, keep the newest of each month",
        ),
        Flag::new(
            "keep-within-quarterly",
            None,
            Some("SPAN"),
            "of that, keep the newest of each quarter",
        ),
        Flag::new(
            "keep-within-yearly",
            None,
            Some("SPAN"),
            "of that, keep the newest of each year",
        ),
        Flag::new(
            "older-than",
            None,
            Some("SPAN"),
            "remove what is older than SPAN and no other rule keeps",
        ),
        Flag::new(
            "max-count",
            None,
            Some("N"),
            "then remove the oldest until N are left",
        ),
        Flag::new(
            "max-total-size",
            None,
            Some("SIZE"),
            "then remove the oldest until they take SIZE",
        ),
        Flag::new(
            "keep-free",
            None,
            Some("SIZE"),
            "then remove the oldest until SIZE is free",
        ),
        Flag::new(
            "group-by",
            None,
            Some("KEYS"),
            "rules count for each: sources,type (so by default), version, none",
        ),
        Flag::new(
            "allow-empty",
            None,
            None,
            "remove the newest of a group too",
        ),
        Flag::new(
            "failed-after",
            None,
            Some("SPAN"),
            "remove failed ones that are older (7d)",
        ),
        Flag::new(
            "time-zone",
            None,
            Some("ZONE"),
            "the zone of hours, days and so on (the local one)",
        ),
        Flag::new("syslog", None, None, "log to the journal or syslog too"),
    ],
};
