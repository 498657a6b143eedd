//! What bk-auto refuses, before anything is changed, and in which words.

use crate::support::Sandbox;

#[test]
fn mistakes_are_usage_errors() {
    let sandbox = Sandbox::with_app();
    let list = sandbox.home();
    let no_catalog = format!(
        "bk-auto: there is no catalog in '{}': bk-create makes one with the first backup, bk-adopt one of archives that are there; --home names another place\n",
        list.display()
    );
    for line in [
        "bk-auto",
        "bk-auto --list",
        "bk-auto --now",
        "bk-auto --remove",
        "bk-auto --wait",
        "bk-auto --enable a",
    ] {
        sandbox.run(line).fails(1, &no_catalog);
    }
    for (line, error) in [
        (
            "bk-auto --set -s '0 0 3 * * *' -- app",
            "--schedule: invalid schedule '0 0 3 * * *': it has 6 fields, not five: minute, hour, day of the month, month, day of the week",
        ),
        (
            "bk-auto --set -s '0 3 30 2 *' -- app",
            "--schedule: invalid schedule '0 3 30 2 *': it never comes: no month has that day",
        ),
        (
            "bk-auto --set -s @daily",
            "there is no job 'default' yet: a new one needs a --schedule, and what it backs up after --, or with --files-from or --command",
        ),
        (
            "bk-auto --set app/data -s @daily",
            "cannot name a job: invalid name 'app/data': use no slash and no control character; what is backed up stands after --",
        ),
        (
            "bk-auto --set a b",
            "'b' is one job too many; what is backed up stands after --",
        ),
        (
            "bk-auto --set -r 0 -s @daily -- app",
            "--retention-days: invalid number of days '0': use a number from 1 on, or all",
        ),
        (
            "bk-auto --set --request '{\"backup_name\":\"x\"}'",
            "--request: cannot have the key 'backup_name': it has sources, commands, description, source_version, backup_metadata, protected, expires_at",
        ),
        (
            "bk-auto --set --create-flag --type=manual",
            "--create-flag: '--type=manual' is not one of --exclude, --exclude-from, --ignore-case-excludes, --exclude-caches, --exclude-if-present, --exclude-larger, --one-file-system, --files-from, --null, --compression, --shrink-warn, --level, --jobs, --storage, --reserve, --on-low-space, --low-space-timeout",
        ),
        (
            "bk-auto --set --create-flag --storage=here",
            "--create-flag: '--storage=here': a job needs an absolute path",
        ),
        (
            "bk-auto --set --create-flag --level=13 -s @daily -- app",
            "a flag for bk-create: --level: invalid number '13': use a number from 0 to 12",
        ),
        (
            "bk-auto --set --files-from - -s @daily",
            "--files-from: '--files-from=-': a job needs an absolute path",
        ),
        (
            "bk-auto --set --exclude-larger x -s @daily -- app",
            "a flag for bk-create: --exclude-larger: invalid size 'x': use a number with K, M, G, T or P, such as 500M",
        ),
        ("bk-auto --exclude x", "--exclude goes with --set"),
        (
            "bk-auto --list --now",
            "--list and --now exclude each other",
        ),
        ("bk-auto --schedule @daily", "--schedule goes with --set"),
        (
            "bk-auto --compression zstd",
            "--compression goes with --set",
        ),
        (
            "bk-auto --set -s '0 0 L * *' -- app",
            "--schedule: invalid schedule '0 0 L * *': crontab(5) has no 'L' in the day of the month",
        ),
        (
            "bk-auto a",
            "'a' is not expected; --now runs a job by its name",
        ),
        (
            "bk-auto --set --keep-daily x -s @daily -- app",
            "a flag for bk-prune: --keep-daily: invalid number 'x': use a number from 1 on, or all",
        ),
        (
            "bk-auto --list --keep-daily 7",
            "--keep-daily goes with --set",
        ),
        (
            "bk-auto --notify-always",
            "--notify-always goes with --notify",
        ),
        (
            "bk-auto --set --command pg_dump -s @daily",
            "--command: invalid command: use NAME=CMD, where NAME is the file in the archive",
        ),
        (
            "bk-auto --set --stdin-filename x -s @daily",
            "--stdin-filename names the output of one --command COMMAND",
        ),
        (
            "bk-auto --set --verify quick -s @daily",
            "--verify: 'quick' proves nothing of what is in an archive: use sha256 or deep, and older-than=SPAN, limit=N",
        ),
        (
            "bk-auto --set --verify 'deep limit=20 x' -s @daily",
            "--verify: invalid verification 'deep limit=20 x': use sha256 or deep, and older-than=SPAN, limit=N",
        ),
        (
            "bk-auto --set --test-restore --swap -s @daily",
            "--test-restore: invalid test of a restoration '--swap': use names of backups, such as latest or latest:JOB",
        ),
        (
            "bk-auto --set --verify deep -s @daily -- app",
            "the job 'default' cannot back up and also verify, test or prune all backups: make a job of its own for that",
        ),
        (
            "bk-auto --set --prune -s @daily",
            "the job 'default': --prune goes with what is to be kept, such as --keep-daily 7",
        ),
        (
            "bk-auto --set --verify deep -s @daily --keep-daily 7",
            "the job 'default' backs up nothing: what is to be kept of all backups goes with --prune",
        ),
        (
            "bk-auto --set --verify deep -s @daily --exclude x",
            "the job 'default' backs up nothing, and has flags for what it backs up",
        ),
        (
            "bk-auto --set --group-by type -s @daily -- app",
            "the job 'default': nothing says what is to be kept: give a rule, such as --keep-daily 7",
        ),
        (
            "bk-auto --set -r 30 --older-than 60d -s @daily -- app",
            "the job 'default': --retention-days and --older-than say the same: give one of them",
        ),
        (
            "bk-auto --set -s @daily --command 'x='",
            "its request: the command of 'x' is empty",
        ),
        (
            "bk-auto --set -s @daily --command 'PGPASSWORD=x pg_dump shop'",
            "--command: 'PGPASSWORD' looks like a variable that is set for a command: use NAME=CMD, where NAME is the file in the archive, or ./PGPASSWORD=CMD for a file of that name",
        ),
        (
            "bk-auto --set -s @daily --stdin-filename a/ --command true",
            "its request: the file name 'a/' ends with a slash, as those of directories do",
        ),
        (
            "bk-auto --set -s @daily --notify-always -- app",
            "--notify-always goes with --notify",
        ),
        (
            "bk-auto --set --hook-timeout 0s -s @daily -- app",
            "--hook-timeout: no command ends at once: use a number with a unit, such as 90s, 10m or 1h",
        ),
        (
            "bk-auto --set - -r 7 </dev/null",
            "--retention-days does not go with '-': the lines say all",
        ),
    ] {
        sandbox.run(line).fails(2, &format!("bk-auto: {error}\n"));
    }
    assert!(!sandbox.home().exists());
    sandbox.ok("bk-auto --set -s @daily -- app");
    sandbox.run("bk-auto --now nope").fails(
        1,
        "bk-auto: there is no job 'nope': 'bk-auto --list' prints all jobs\n",
    );
}
