//! The flags of bk-auto.

use bk_cli::notices;
use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    SET = Flag::new("set", None, None, "make the job, or change it as the flags say");
    LIST = Flag::new("list", Some('l'), None, "print the jobs, with their last run and the next");
    ENABLE = Flag::new("enable", None, None, "run the job when it is due");
    DISABLE = Flag::new("disable", None, None, "do not run the job when it is due");
    REMOVE = Flag::new("remove", None, None, "remove the job; its backups stay");
    NOW = Flag::new("now", None, None, "run the job at once, due or not");
    WAIT = Flag::new("wait", Some('w'), None, "stay, and run jobs as they come due");
    SCHEDULE = Flag::new(
        "schedule",
        Some('s'),
        Some("CRON"),
        "when: minute hour day month weekday, or @daily ...",
    );
    RETENTION_DAYS = Flag::new(
        "retention-days",
        Some('r'),
        Some("N|all"),
        "after each backup remove older ones of the job (all: keep all)",
    );
    REQUEST = Flag::new(
        "request",
        None,
        Some("JSON"),
        "more keys of the request to bk-create: description ...",
    );
    CREATE_FLAG = Flag::new(
        "create-flag",
        None,
        Some("FLAG"),
        "a flag for bk-create: --exclude='*.log', --one-file-system ...",
    );
    BEFORE = Flag::new("before", None, Some("COMMAND"), "run before the backup; if it fails, there is none");
    AFTER = Flag::new("after", None, Some("COMMAND"), "run after the backup, whether it failed or not");
    CLOCK_GAP = Flag::new("clock-gap", None, Some("DAYS"), "doubt the clock after DAYS without a round (30)");
    SYSLOG = notices::SYSLOG;
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-auto",
    summary: "run the scheduled backups that are due, then their retention",
    usage: "[flags]  or  bk-auto --set [JOB] [flags] [-- PATH...]  or  bk-auto --set - <JOBS",
    operands: Operands::Jobs,
    flags: FLAGS,
};
