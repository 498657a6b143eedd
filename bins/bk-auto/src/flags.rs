//! The flags of bk-auto.

use bk_cli::content;
use bk_cli::notices;
use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    SET = switch("set", "make the job, or change it as the flags say");
    LIST = switch("list", "print the jobs, with their last run and the next").short('l');
    ENABLE = switch("enable", "run the job when it is due");
    DISABLE = switch("disable", "do not run the job when it is due");
    REMOVE = switch("remove", "remove the job; its backups stay");
    NOW = switch("now", "run the job at once, due or not");
    WAIT = switch("wait", "stay, and run jobs as they come due").short('w');
    SCHEDULE =
        option("schedule", "CRON", "when: minute hour day month weekday, or @daily ...").short('s');
    RETENTION_DAYS = option(
        "retention-days",
        "N|all",
        "after each backup remove older ones of the job (all: keep all)",
    )
    .short('r');
    REQUEST = option("request", "JSON", "more keys of the request to bk-create: description ...");
    CREATE_FLAG = option(
        "create-flag",
        "FLAG",
        "a flag for bk-create: --storage=/mnt/disk, --jobs=1 ...",
    );
    FILES_FROM = content::FILES_FROM;
    NULL = content::NULL;
    EXCLUDE = content::EXCLUDE;
    EXCLUDE_FROM = content::EXCLUDE_FROM;
    IGNORE_CASE_EXCLUDES = content::IGNORE_CASE_EXCLUDES;
    EXCLUDE_CACHES = content::EXCLUDE_CACHES;
    EXCLUDE_IF_PRESENT = content::EXCLUDE_IF_PRESENT;
    EXCLUDE_LARGER = content::EXCLUDE_LARGER;
    ONE_FILE_SYSTEM = content::ONE_FILE_SYSTEM;
    COMPRESSION = option("compression", "gzip|zstd[:LEVEL]", "how its backups are compressed");
    BEFORE = option("before", "COMMAND", "run before the backup; if it fails, there is none");
    AFTER = option("after", "COMMAND", "run after the backup, whether it failed or not");
    CLOCK_GAP = option("clock-gap", "DAYS", "doubt the clock after DAYS without a round (30)");
    SYSLOG = notices::SYSLOG;
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-auto",
    summary: "run the scheduled backups that are due, then their retention",
    usage: "[flags]  or  bk-auto --set [JOB] [flags] [-- PATH...]  or  bk-auto --set - <JOBS",
    operands: Operands::Jobs,
    flags: FLAGS,
};
