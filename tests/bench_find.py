"""A name in many backups of one tree: bk-find beside restic find, over as many backups.

Before each backup one file changes, as manifests and snapshots of the same tree would be the same. Knows no
first backup: that is bench.py's.
"""

import json
import shutil
from pathlib import Path

from bench_base import ToolFailed, clear, median, peak, print_goal, print_table, run_stages, say, spread


def change_one(tree, number):
    """Rewrites another file each time, which all sort in one order everywhere."""
    files = sorted(path for path in (tree.parent / tree.name).rglob("*") if path.is_file())
    # Another one each time, and not the one that is looked for.
    file = files[1 + number * 101 % (len(files) - 1)]
    file.write_text(f"changed {number}\n")


def finders_for(tree, bin_dir, count, run_dir):
    """Makes the backups of each; name, command for a name, environment, and how its lines are counted."""
    home, repository = run_dir / "home", run_dir / "restic"
    environment = {"RESTIC_PASSWORD": "bench", "TMPDIR": str(run_dir), "RESTIC_CACHE_DIR": str(run_dir / "cache")}
    restic = ["restic", "-q", "-r", repository]
    has_restic = shutil.which("restic")
    if has_restic:
        run_stages([[*restic, "init"]], run_dir, run_dir, environment=environment)
    for number in range(count):
        change_one(tree, number)
        run_stages([[bin_dir / "bk-create", "--home", home, "--name", f"b{number}", tree.name]], tree.parent, run_dir)
        if has_restic:
            run_stages([[*restic, "backup", tree.name]], tree.parent, run_dir, environment=environment)
    finders = [("bk-find", [bin_dir / "bk-find", "--home", home, "--json"], {},
                lambda text: len(text.splitlines()))]
    if has_restic:
        finders.append(("restic find", [*restic, "find", "--json"], environment,
                        lambda text: sum(len(found["matches"] or []) for found in json.loads(text))))
    return finders


def benchmark_find(tree, bin_dir, runs, count, run_dir):
    """Times both, for a name that each backup has and for one that none has. Whether nothing failed."""
    rows, failure = [], ""
    clear(run_dir)
    names = [next(path.name for path in sorted((tree.parent / tree.name).rglob("*.rs"))), "no-such-name.rs"]
    try:
        say(f"making {count} backups of {tree.file_count} files")
        for name, command, environment, count_of in finders_for(tree, bin_dir, count, run_dir):
            for wanted, expected in zip(names, (count, 0)):
                stdout = run_dir / "stdout"
                usages = [run_stages([[*command, wanted]], run_dir, run_dir, stdout, environment) for _ in range(runs)]
                found = count_of(Path(stdout).read_text())
                if found != expected:
                    raise ToolFailed(f"{name} found {found} of {expected}")
                rows.append([name, str(expected), f"{1e3 * median(usages):.1f} ms", spread(usages, 1e3), peak(usages)])
    except (ToolFailed, OSError) as error:
        failure = f"finding FAILED: {error}\n"
    print(f"### A name in {count} backups of {tree.file_count} files, {runs} runs\n")
    print_table(["tool", "found", "median", "min..max ms", "peak memory"], rows)
    print_goal("100 backups of 30 000 files in at most 1000 ms, in at most 200 MiB")
    print(failure, end="", flush=True)
    clear(run_dir)
    return not failure
