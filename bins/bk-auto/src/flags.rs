//! The flags of bk-auto.

use bk_cli::{Flag, Operands, Program};

pub(crate) const PROGRAM: Program = Program {
    name: "bk-auto",
    summary: "run the scheduled backups that are due, then their retention",
    usage: "[flags]  or  bk-auto --set [JOB] [flags] [-- PATH...]  or  bk-auto --set - <JOBS",
    operands: Operands::Jobs,
    flags: &[
        Flag::new(
            "set",
            None,
            None,
            "make the job, or change what is given of it",
        ),
        Flag::new(
            "list",
            Some('l'),
            None,
            "print the jobs, with their last run and the next",
        ),
        Flag::new(
            "enable",
            None,
            None,
            "from now on run the job when it is due",
        ),
        Flag::new(
            "disable",
            None,
            None,
            "no longer run the job when it is due",
        ),
        Flag::new("remove", None, None, "take the job away; its backups stay"),
        Flag::new("now", None, None, "run the job at once, due or not"),
        Flag::new(
            "wait",
            Some('w'),
            None,
            "stay, and run jobs as they come due",
        ),
        Flag::new(
            "schedule",
            Some('s'),
            Some("CRON"),
            "when: minute hour day month weekday, or @daily and so on",
        ),
        Flag::new(
            "retention-days",
            Some('r'),
            Some("N|all"),
            "after each backup remove those of the job that are older (all: none)",
        ),
        Flag::new(
            "request",
            None,
            Some("JSON"),
            "more of what bk-create is asked for: description, expires_at ...",
        ),
        Flag::new(
            "create-flag",
            None,
            Some("FLAG"),
            "a flag for bk-create: --exclude='*.log', --one-file-system ...",
        ),
        Flag::new(
            "before",
            None,
            Some("COMMAND"),
            "run before the backup, which a failure skips; an empty one removes it",
        ),
        Flag::new(
            "after",
            None,
            Some("COMMAND"),
            "run after the backup, whatever happened; an empty one removes it",
        ),
        Flag::new(
            "clock-gap",
            None,
            Some("DAYS"),
            "after so many days without a round doubt the clock (30)",
        ),
        Flag::new("syslog", None, None, "log to the journal or syslog too"),
    ],
};
