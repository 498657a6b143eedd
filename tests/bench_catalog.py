"""Catalogs of many records: bk-ls beside one lookup, bk-rm beside rm, bk-prune -n beside restic and borg.

Their rows are made by a Python that has duckdb. Knows no archive.
"""

import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench_base import ToolFailed, clear, median, peak, print_goal, print_table, run_stages, say, spread

CATALOG_SIZES = (100, 10_000, 100_000)
RM_COUNTS = (1, 100, 10_000)
PRUNE_SIZES = (10_000, 100_000)
POLICY = "--keep-last 10 --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --keep-yearly 10".split()
# For a Python that has duckdb. The archives of the rows that it adds are missing; ids come from the sequence.
GROW_CATALOG = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
count = connection.execute("SELECT count(*) FROM backup_records").fetchone()[0]
connection.execute('''
    INSERT INTO backup_records SELECT id, 'automatic_v1.' || id || '_2020-01-01', 'automatic', 'completed', '1.' || id,
        ? || '/automatic_v1.' || id || '.tar.gz', 1000000 + id * 7919, 1000 + id, 'gzip', sha256(id::VARCHAR),
        CASE WHEN id % 3 = 0 THEN 'before the change no. ' || id END,
        '{"sources":["/srv/data"],"source_entries":["data"],"host":"bench","content_bytes":' || id * 31337 || '}',
        id % 10 = 0, TIMESTAMP '2020-01-01' + id * INTERVAL 20 MINUTE, TIMESTAMP '2030-01-01' + id * INTERVAL 20 MINUTE
    FROM (SELECT nextval('backup_id') AS id FROM range(?))''', [sys.argv[2], int(sys.argv[3]) - count])
connection.close()
"""


def python_with_duckdb(work_dir):
    """A Python that imports duckdb 1.5: this one, else one of a venv."""
    probe = "import duckdb; raise SystemExit(not duckdb.__version__.startswith('1.5.'))"
    venv = work_dir / "venv"
    for python in (Path(sys.executable), venv / "bin/python"):
        if python.exists() and subprocess.run([python, "-c", probe], capture_output=True).returncode == 0:
            return python
    say("installing duckdb 1.5 for Python into a venv")
    run_stages([[sys.executable, "-m", "venv", venv]], work_dir, work_dir)
    run_stages([[venv / "bin/pip", "install", "-q", "duckdb==1.5.*"]], work_dir, work_dir)
    return venv / "bin/python"


def measure_ls(list_all, count, runs, run_dir):
    """A row of the table: the whole list in turns with one lookup."""
    stdout = run_dir / "stdout"
    run_stages([list_all], run_dir, run_dir, stdout)
    with open(stdout, "rb") as lines:
        listed = sum(1 for _ in lines)
    if listed != count:
        raise ToolFailed(f"bk-ls listed {listed} of {count} records")
    pairs = [[run_stages([command], run_dir, run_dir) for command in (list_all, [*list_all, "1"])] for _ in range(runs)]
    full, floor = zip(*pairs)
    return [str(count), f"{1e3 * median(full):.1f} ms", spread(full, 1e3), f"{1e3 * median(floor):.1f} ms", spread(floor, 1e3),
            f"{median(full) / median(floor):.2f}", peak(full)]


def benchmark_ls(bin_dir, runs, work_dir, run_dir):
    """Times bk-ls on ever larger catalogs. Whether nothing failed."""
    try:
        python = python_with_duckdb(work_dir)
    except (ToolFailed, OSError) as error:
        print(f"bk-ls is skipped, there is no Python with duckdb 1.5 to make large catalogs with: {error}\n")
        return True
    home, source, rows, failure = run_dir / "home", run_dir / "source", [], ""
    clear(source)
    try:
        run_stages([[bin_dir / "bk-create", "--home", home, source]], run_dir, run_dir)
        for count in CATALOG_SIZES:
            run_stages([[python, "-c", GROW_CATALOG, home / "catalog.duckdb", home / "archives", str(count)]], run_dir, run_dir)
            rows.append(measure_ls([bin_dir / "bk-ls", "--home", home, "--json"], count, runs, run_dir))
    except (ToolFailed, OSError) as error:
        failure = f"bk-ls FAILED: {error}\n"
    print(f"### bk-ls --json >/dev/null, {runs} runs\n\nThe floor is `bk-ls --json 1`: it opens the same catalog and looks one "
          "record up. All archives but that\none are missing, so that each look at one costs less than it would.\n")
    print_table(["records", "median", "min..max ms", "floor", "min..max ms", "x floor", "peak memory"], rows)
    print_goal("100 000 records in less than 1000 ms; of few, at most 1.5 x floor")
    print(failure, end="", flush=True)
    return not failure


def fill_store(python, home, count, files):
    """Adds records up to `count`, oldest first, and the archives of the first `files` of those: their names."""
    run_stages([[python, "-c", GROW_CATALOG, home / "catalog.duckdb", home / "archives", str(count)]], home, home)
    for number in range(2, files + 2):
        (home / "archives" / f"automatic_v1.{number}.tar.gz").write_bytes(b"x" * 4096)


def benchmark_rm(bin_dir, runs, work_dir, run_dir):
    """Times bk-rm of ever more backups in a catalog of 10 000, in turns with rm of as many files. Whether nothing failed."""
    try:
        python = python_with_duckdb(work_dir)
    except (ToolFailed, OSError) as error:
        print(f"bk-rm is skipped, there is no Python with duckdb 1.5 to make large catalogs with: {error}\n")
        return True
    source, rows, failure = run_dir / "source", [], ""
    clear(source)
    try:
        for count in RM_COUNTS:
            pairs = []
            for _ in range(runs):
                home, plain = run_dir / "home", run_dir / "plain"
                shutil.rmtree(home, ignore_errors=True)
                clear(plain)
                run_stages([[bin_dir / "bk-create", "--home", home, source]], run_dir, run_dir)
                fill_store(python, home, RM_COUNTS[-1] + 1, count)
                for number in range(count):
                    (plain / f"{number}.tar.gz").write_bytes(b"x" * 4096)
                (run_dir / "ids").write_text("".join(f"{number}\n" for number in range(2, count + 2)))
                os.sync()
                remove = ["sh", "-c", f"exec '{bin_dir}/bk-rm' --force-protected --home '{home}' <ids"]
                pairs.append([run_stages([command], run_dir, run_dir) for command in (remove, ["rm", "-r", plain])])
                left = sum(1 for _ in (home / "archives").glob("*.tar.gz"))
                if left != 1:
                    raise ToolFailed(f"bk-rm left {left - 1} of {count} archives")
            ours, peer = zip(*pairs)
            rows.append([str(count), f"{1e3 * median(ours):.1f} ms", spread(ours, 1e3), f"{1e3 * median(peer):.1f} ms",
                         spread(peer, 1e3), peak(ours)])
    except (ToolFailed, OSError) as error:
        failure = f"bk-rm FAILED: {error}\n"
    print(f"### bk-rm in a catalog of {RM_COUNTS[-1]} records, {runs} runs\n\nEach with an archive of 4 KiB. Beside it `rm -r` of "
          "a directory of as many files, which does not make it last.\n")
    print_table(["records", "median", "min..max ms", "rm", "min..max ms", "peak memory"], rows)
    print(failure, end="", flush=True)
    return not failure


def prune_peers(count, work_dir, run_dir):
    """Repositories with snapshots an hour apart, which take minutes to make, and the dry runs on them: name, command, environment."""
    begin, empty = datetime.datetime(2026, 1, 1), run_dir / "source"
    times = [begin - datetime.timedelta(hours=number) for number in range(count)]
    restic_dir, borg_dir = work_dir / f"restic-{count}", work_dir / f"borg-{count}"
    restic = ["restic", "-q", "--no-cache", "-r", restic_dir]
    return [
        ("restic forget --dry-run", restic_dir, {"RESTIC_PASSWORD": "bench", "TMPDIR": str(run_dir)}, [*restic, "init"],
         [[*restic, "backup", "--time", str(at), empty] for at in times],
         [*restic, "forget", "--dry-run", "--group-by", "", *POLICY]),
        ("borg prune --dry-run", borg_dir, {"BORG_BASE_DIR": str(run_dir), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
                                            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}, ["borg", "init", "-e", "none", borg_dir],
         [["borg", "create", "--timestamp", at.isoformat(), f"{borg_dir}::b{number}", empty] for number, at in enumerate(times)],
         ["borg", "prune", "--dry-run", *POLICY, borg_dir]),
    ]


def benchmark_prune(bin_dir, runs, count, work_dir, run_dir):
    """Times bk-prune -n and its peers' dry runs. Whether nothing failed."""
    rows, failures, home = [], "", run_dir / "home"
    clear(run_dir / "source")
    try:
        python = python_with_duckdb(work_dir)
        run_stages([[bin_dir / "bk-create", "--home", home, run_dir / "source"]], run_dir, run_dir)
        for records in PRUNE_SIZES:
            run_stages([[python, "-c", GROW_CATALOG, home / "catalog.duckdb", home / "archives", str(records)]], run_dir, run_dir)
            # What has an expiry is no matter for rules.
            no_expiry = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('UPDATE backup_records SET expires_at = NULL')"
            run_stages([[python, "-c", no_expiry, home / "catalog.duckdb"]], run_dir, run_dir)
            command = [bin_dir / "bk-prune", "--home", home, "--json", "-n", *POLICY]
            usages = [run_stages([command], run_dir, run_dir) for _ in range(runs)]
            rows.append(["bk-prune -n", str(records), f"{1e3 * median(usages):.1f} ms", spread(usages, 1e3), peak(usages)])
    except (ToolFailed, OSError) as error:
        failures += f"bk-prune FAILED: {error}\n"
    for name, repository, environment, init, backups, dry_run in prune_peers(count, work_dir, run_dir):
        if not shutil.which(dry_run[0]):
            print(f"{name} is skipped, it is not installed\n")
            continue
        try:
            made = repository / "complete"
            if not made.exists():
                say(f"making {count} snapshots for {name}")
                shutil.rmtree(repository, ignore_errors=True)
                for command in [init, *backups]:
                    run_stages([command], run_dir, run_dir, environment=environment)
                made.touch()
            usages = [run_stages([dry_run], run_dir, run_dir, environment=environment) for _ in range(runs)]
            rows.append([name, str(count), f"{1e3 * median(usages):.1f} ms", spread(usages, 1e3), peak(usages)])
        except (ToolFailed, OSError) as error:
            failures += f"{name} FAILED: {error}\n"
    print(f"### Dry runs of a policy, {runs} runs\n\n`{' '.join(POLICY)}`\n")
    print_table(["tool", "backups", "median", "min..max ms", "peak memory"], rows)
    print(failures, end="", flush=True)
    return not failures
