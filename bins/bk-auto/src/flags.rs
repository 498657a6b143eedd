//! The flags of bk-auto.

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
    FILES_FROM = option("files-from", "FILE", "also back up the paths in FILE as it is then");
    NULL = switch("null", "the paths in FILE end with NUL, not with lines").short('0');
    EXCLUDE = option("exclude", "GLOB", "leave out a name, or with a slash a path");
    EXCLUDE_FROM = option("exclude-from", "FILE", "leave out what the lines of FILE match");
    IGNORE_CASE_EXCLUDES =
        switch("ignore-case-excludes", "let these globs match upper and lower case alike");
    EXCLUDE_CACHES = switch("exclude-caches", "leave out what a CACHEDIR.TAG marks");
    EXCLUDE_IF_PRESENT =
        option("exclude-if-present", "FILE", "leave out what is beside an entry of this name");
    EXCLUDE_LARGER = option("exclude-larger", "SIZE", "leave out files larger than SIZE");
    ONE_FILE_SYSTEM = switch("one-file-system", "stay on the file system of each PATH");
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
