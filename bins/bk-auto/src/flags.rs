//! The flags of bk-auto.

use bk_cli::content;
use bk_cli::copies;
use bk_cli::notices;
use bk_cli::retention;
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
    FAILED_AFTER = retention::FAILED_AFTER;
    REQUIRE_COPY = copies::REQUIRE_COPY;
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
    SHRINK_WARN = content::SHRINK_WARN;
    COMMAND = content::COMMAND;
    STDIN_FILENAME = option("stdin-filename", "NAME", "the name for the one --command COMMAND");
    VERIFY = option(
        "verify",
        "WORDS",
        "verify backups: sha256 or deep, older-than=SPAN, limit=N",
    );
    TEST_RESTORE = option("test-restore", "BACKUPS", "restore these for a test: latest, latest:JOB");
    PRUNE = switch("prune", "remove backups of all jobs that its --keep-... do not keep");
    BEFORE = option("before", "COMMAND", "run before the backup; if it fails, there is none");
    AFTER = option("after", "COMMAND", "run after the backup, whether it failed or not");
    HOOK_TIMEOUT = option("hook-timeout", "SPAN", "end a command that takes longer (1h)");
    NOTIFY = option("notify", "COMMAND", "run when a job fails, recovers, or its backup shrank");
    NOTIFY_ALWAYS = switch("notify-always", "with --notify: after each other run too");
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
