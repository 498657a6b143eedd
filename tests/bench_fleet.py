"""What all hosts have at a location: bk-pull --list --all-hosts, beside rclone that fetches the same lists.

The lists are one that bk-push wrote, with other hosts, names and hashes in it. Knows no archive: bench_push.py does.
"""

import shutil

from bench_base import ToolFailed, clear, median, peak, print_goal, print_table, run_stages, say, spread
from bench_catalog import python_with_duckdb
from bench_push import BUCKET, KEYS, Server, rclone_environment

# For a Python that has duckdb: the record beside a copy, where to, how many hosts, how many records each. Each record
# has its own name, hash and key, so that nothing is compressed away.
MAKE_LISTS = """
import duckdb, sys
record, dir, hosts, records = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
connection = duckdb.connect()
for host in (f"host{number}" for number in range(hosts)):
    connection.execute(f'''
        COPY (
            SELECT json_merge_patch(content::JSON, json_object(
                'id', n, 'backup_name', 'b' || n, 'host', '{host}', 'catalog', 'c0ffee', 'backup_hash', sha256('{host} ' || n),
                'created_at', strftime(TIMESTAMP '2026-01-01' + n * INTERVAL 1 DAY, '%Y-%m-%dT%H:%M:%SZ'),
                'copy', json_object('key', '{host}/archives/b' || n || '-' || sha256('{host} ' || n)[:12] || '.tar.gz',
                                    'hash', sha256('{host} ' || n))))::VARCHAR AS record
            FROM read_text('{record}'), range(1, {records} + 1) AS t(n) ORDER BY n
        ) TO '{dir}/{host}.c0ffee.parquet' (FORMAT parquet, COMPRESSION zstd)''')
"""


def make_fleet(python, bin_dir, hosts, records, run_dir):
    """What so many hosts would have pushed, below a directory, but for all archives except one each, which are empty."""
    home, usb, fleet = run_dir / "home", run_dir / "usb", run_dir / "fleet"
    for path in (usb, run_dir / "content", fleet / "records"):
        path.mkdir(parents=True)
    (run_dir / "content/file").write_text("content\n")
    run_stages([[bin_dir / "bk-create", "--home", home, "--name", "a", "-m", "job=nightly", "content"]], run_dir, run_dir)
    run_stages([[bin_dir / "bk-push", "--home", home, "--set", "usb", usb.as_uri()]], run_dir, run_dir)
    run_stages([[bin_dir / "bk-push", "--home", home, "usb", "a"]], run_dir, run_dir)
    (record,) = usb.glob("*/archives/*.json")
    run_stages([[python, "-c", MAKE_LISTS, record, fleet / "records", str(hosts), str(records)]], run_dir, run_dir)
    for number in range(hosts):
        archives = fleet / f"host{number}/archives"
        archives.mkdir(parents=True)
        (archives / "b1.tar.gz").touch()
    return fleet


def time_lists(server, fleet, bin_dir, counts, runs, run_dir):
    """Each in turns; name, lines that it printed, and its usages."""
    bk_pull = [bin_dir / "bk-pull", "--home", run_dir / "home", "--list", "--all-hosts", "--json"]
    set_location = [bin_dir / "bk-push", "--home", run_dir / "home", "--set", "--endpoint", server.endpoint, "fleet", f"s3://{BUCKET}/fleet"]
    environment = {**KEYS, **rclone_environment(server)}
    run_stages([["rclone", "copy", "--transfers", "16", fleet, f"bench:{BUCKET}/fleet"]], run_dir, run_dir, environment=environment)
    run_stages([set_location], run_dir, run_dir)
    rclone = ["rclone", "copy", "--transfers", "16", f"bench:{BUCKET}/fleet/records", run_dir / "out"]
    tools = [("bk-pull --list --all-hosts", [*bk_pull, "fleet"], counts[0] * counts[1]),
             ("bk-pull --list --all-hosts --older-than 26h", [*bk_pull, "--older-than", "26h", "fleet"], counts[0]),
             ("rclone copy of the same lists", rclone, 0)]
    usages = [[] for _ in tools]
    for number in range(runs):
        for (name, command, line_count), own in zip(tools, usages):
            clear(run_dir / "out")
            stdout = run_dir / "stdout"
            own.append(run_stages([command], run_dir, run_dir, stdout, environment))
            listed = stdout.read_bytes().count(b"\n")
            if listed != line_count:
                raise ToolFailed(f"{name} printed {listed} lines instead of {line_count}")
            say(f"fleet, run {number + 1} of {runs}: {name} {own[-1].wall:.2f} s")
    return [(name, own) for (name, _, _), own in zip(tools, usages)]


def benchmark_fleet(bin_dir, hosts, records, runs, work_dir, run_dir):
    """Times the lists of a fleet. Whether none failed."""
    missing = [name for name in ("weed", "curl", "rclone") if not shutil.which(name)]
    if missing:
        print(f"The lists of a fleet are skipped, {' and '.join(missing)} is not installed\n")
        return True
    clear(run_dir)
    try:
        fleet = make_fleet(python_with_duckdb(work_dir), bin_dir, hosts, records, run_dir)
        with Server(run_dir) as server:
            server.renew_bucket()
            timed = time_lists(server, fleet, bin_dir, (hosts, records), runs, run_dir)
    except (ToolFailed, OSError, ValueError) as error:
        print(f"The lists of a fleet FAILED: {error}\n")
        return False
    list_bytes = sum(path.stat().st_size for path in (fleet / "records").iterdir())
    rows = [[name, f"{median(usages):.2f} s", spread(usages), f"{median(usages, 'cpu'):.2f} s", peak(usages)] for name, usages in timed]
    print(f"### {hosts} hosts with {records} records each at an S3 server on this machine, {list_bytes / 1e6:.1f} MB of lists, {runs} runs\n")
    print_table(["tool", "median", "min..max s", "CPU", "peak memory"], rows)
    print_goal("500 hosts with 100 records each in at most 3 s")
    clear(run_dir)
    return True
