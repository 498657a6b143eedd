"""Second backups: of a tree of which nothing, or a share of the files, changed, and of one large file of
which a share of the pages did.

Each tool has a place of its own that holds a backup of the tree as it was; then all back up the same
changed tree, in turns. What a backup takes is what its tool's place has grown by: by allocated blocks,
or, where the file system shares blocks, by what that has less free. Knows no first backup: that is
bench.py's.
"""

import os
import random
import shutil
import time
from pathlib import Path

from bench_base import Tool, ToolFailed, Tree, clear, median, peak, print_goal, print_table, read_tree, run_stages, say, spread

SHARES = (0, 0.001, 0.01, 0.1)
PAGE_BYTES = 4096
PAGES_SHARE = 0.01
# What changed within two seconds before a backup is read again by the next one.
SETTLED_SECONDS = 2.5
SHARING = ("xfs", "btrfs", "bcachefs")


def tools_again(tree, bin_dir, place):
    """The contestants, each with the commands that make its place; they keep what they made."""
    out = {name: place / name for name in ("gzip", "zstd", "restic", "borg", "pigz", "tar-zstd")}
    tar = ["tar", "-cf", "-", tree.name]
    restic = ["restic", "-q", "--no-cache", "-r", out["restic"]]
    borg = {"BORG_BASE_DIR": str(place), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "TMPDIR": str(place)}

    def create(codec):
        return [bin_dir / "bk-create", "--home", out[codec], "--compression", codec, "--on-low-space", "fail", tree.name]

    return [
        (Tool("bk-create", "bk", [create("gzip")]), out["gzip"]),
        (Tool("bk-create, zstd", "bk", [create("zstd")]), out["zstd"]),
        (Tool("restic", "restic", [[*restic, "backup", tree.name]], [*restic, "init"],
              {"RESTIC_PASSWORD": "bench", "TMPDIR": str(place)}), out["restic"]),
        (Tool("borg, zlib,6", "borgbackup", [["borg", "create", "--compression", "zlib,6", f"{out['borg']}::{{now:%s.%f}}", tree.name]],
              ["borg", "init", "-e", "none", out["borg"]], borg), out["borg"]),
        (Tool("tar, pigz -p2 -6", "pigz", [tar, ["pigz", "-p2", "-6"]]), out["pigz"]),
        (Tool("tar, zstd -T0", "zstd", [tar, ["zstd", "-q", "-T0"]]), out["tar-zstd"]),
    ]


def file_system(path):
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return max((mount for mount in mounts if path.is_relative_to(mount[1])), key=lambda mount: len(mount[1]))[2]


def taken_bytes(place, shares_blocks):
    """What is taken, of which the difference counts; of bk, its archives and manifests, as the catalog's file and
    its spare grow and shrink by themselves."""
    os.sync()
    if shares_blocks:
        state = os.statvfs(place)
        return (state.f_blocks - state.f_bfree) * state.f_frsize
    parts = [part for part in (place / "archives", place / "manifests") if part.exists()] or [place]
    return sum(path.lstat().st_blocks * 512 for part in parts for path in part.rglob("*") if path.is_file())


def back_up(tool, place, tree, run_dir, shares_blocks):
    """One backup more in the tool's place; older ones of bk and of tar are removed, lest the disk fill."""
    read_tree(tree.parent / tree.name)
    is_pipeline, archive = len(tool.stages) > 1, place / "archive"
    if is_pipeline:
        archive.unlink(missing_ok=True)
    before = taken_bytes(place, shares_blocks)
    usage = run_stages(tool.stages, tree.parent, run_dir, archive if is_pipeline else os.devnull, tool.environment)
    usage.archive_bytes = max(0, taken_bytes(place, shares_blocks) - before)
    if tool.package == "bk":
        prune = [tool.stages[0][0].with_name("bk-prune"), "--home", place, "--keep-last", "1"]
        run_stages([prune], run_dir, run_dir)
    return usage


def change_files(tree, share, chance):
    """Another byte in the middle of so many files, which keep their sizes; empty ones get one."""
    names = sorted(path for path in (tree.parent / tree.name).rglob("*") if path.is_file() and not path.is_symlink())
    for path in chance.sample(names, round(len(names) * share)):
        path.chmod(path.stat().st_mode | 0o200)
        with open(path, "r+b") as file:
            middle = path.stat().st_size // 2
            file.seek(middle)
            old = file.read(1)
            file.seek(middle)
            file.write(bytes([(old[0] + 1) % 256]) if old else b"x")


def page(chance):
    """Compresses to about half."""
    return chance.randbytes(PAGE_BYTES // 2).hex().encode()


def write_pages(tree_dir, count):
    chance = random.Random(20261126)
    tree_dir.mkdir(exist_ok=True)
    with open(tree_dir / "pages.db", "wb") as file:
        for _ in range(count):
            file.write(page(chance))


def change_pages(tree, share, chance):
    with open(tree.parent / tree.name / "pages.db", "r+b") as file:
        count = os.fstat(file.fileno()).st_size // PAGE_BYTES
        for number in sorted(chance.sample(range(count), round(count * share))):
            file.seek(number * PAGE_BYTES)
            file.write(page(chance))


def print_again(title, tree, tools, goal):
    reference = next((median(tool.usages) for tool in tools if tool.name == "restic" and tool.usages), None)
    rows = []
    for tool in tools:
        if not tool.usages:
            continue
        wall = median(tool.usages)
        beside = f"{wall / reference:.2f}" if reference else "-"
        rows.append([tool.name, f"{wall:.2f} s", spread(tool.usages), f"{median(tool.usages, 'cpu'):.2f} s", beside,
                     peak(tool.usages), f"{median(tool.usages, 'archive_bytes') / 1e6:.2f} MB"])
    print(f"### Again, {title}: {tree.file_count} files, {tree.content_bytes / 1e6:.0f} MB\n")
    print_table(["tool", "median", "min..max s", "CPU", "of restic's time", "peak memory", "space taken"], rows)
    print_goal(goal)


def run_again(titles, changes, tree, bin_dir, runs, run_dir):
    """`changes` are the title, the change and the goal of each table. Whether nothing failed."""
    place = run_dir / "again"
    clear(place)
    fs = file_system(place)
    shares_blocks = fs in SHARING
    contestants = tools_again(tree, bin_dir, place)
    for tool, _ in contestants:
        if not shutil.which(tool.stages[-1][0]):
            print(f"{tool.name} is not installed: apt-get install {tool.package}\n")
    contestants = [(tool, own) for tool, own in contestants if shutil.which(tool.stages[-1][0])]
    for tool, own in contestants:
        own.mkdir()
        try:
            if tool.prepare:
                run_stages([tool.prepare], tree.parent, run_dir, environment=tool.environment)
            say(f"{titles}: the first backup with {tool.name}")
            back_up(tool, own, tree, run_dir, shares_blocks)
        except (ToolFailed, OSError) as error:
            tool.failure = str(error)
    for title, change, goal in changes:
        for tool, _ in contestants:
            tool.usages = []
        for number in range(runs):
            change()
            time.sleep(SETTLED_SECONDS)
            first = number % len(contestants)
            for tool, own in contestants[first:] + contestants[:first]:
                if tool.failure:
                    continue
                try:
                    tool.usages.append(back_up(tool, own, tree, run_dir, shares_blocks))
                    say(f"again, {title}, run {number + 1} of {runs}: {tool.name} {tool.usages[-1].wall:.2f} s")
                except (ToolFailed, OSError) as error:
                    tool.failure, tool.usages = str(error), []
        print_again(f"{title} ({fs})", tree, [tool for tool, _ in contestants], goal.get(shares_blocks, goal.get(None)))
    for tool, _ in contestants:
        if tool.failure:
            print(f"{tool.name} FAILED: {tool.failure}\n")
    clear(run_dir)
    return not any(tool.failure for tool, _ in contestants)


def own_copy(tree, run_dir):
    """The tree is to be changed, and the next run is to find it as it was."""
    clear(run_dir)
    say(f"copying {tree.name}")
    run_stages([["cp", "-a", "--reflink=auto", tree.parent / tree.name, run_dir / tree.name]], run_dir, run_dir)
    return Tree(run_dir, tree.name, tree.file_count, tree.content_bytes)


def benchmark_again(tree, bin_dir, runs, run_dir):
    """A second backup of the tree after each share of its files has changed. Whether nothing failed."""
    tree, chance = own_copy(tree, run_dir), random.Random(20261126)
    goals = {0: {True: "bk-create at most 0.20 of restic's time, and 2 % of its archive in space",
                 False: "bk-create at most 0.33 of restic's time, the archive written and synced"},
             0.01: {None: "bk-create at most 0.50 of restic's time"}}
    changes = []
    for share in SHARES:
        title = f"{share:.1%} of the files changed".replace(".0%", "%").replace("%", " %") if share else "nothing changed"
        changes.append((title, lambda share=share: change_files(tree, share, chance), goals.get(share, {})))
    return run_again(tree.name, changes, tree, bin_dir, runs, run_dir)


def benchmark_pages(tree, bin_dir, runs, run_dir):
    """A second backup of one large file after a share of its pages has changed. Whether nothing failed."""
    tree, chance = own_copy(tree, run_dir), random.Random(20261127)
    change = (f"{PAGES_SHARE:.0%} of the pages of one file changed".replace("%", " %"),
              lambda: change_pages(tree, PAGES_SHARE, chance), {})
    return run_again(tree.name, [change], tree, bin_dir, runs, run_dir)
