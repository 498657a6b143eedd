#!/usr/bin/env python3
"""Measures bk beside its peers: `make bench`, or tests/bench.py [--quick] target/release.

It is for the numbers of the design's section 10, which mean something only beside other tools in the same
run; where that section sets a goal, it stands beneath the table. It times bk-create in turns with tar and
gzip, pigz or zstd, restic and borg on two trees, 1 GB of this machine's own files and 200 000 small generated
ones, and with pigz alone on a million empty ones (tar also as it keeps attributes and ACLs); then second
backups (bench_again.py); then the start of each program; then bk-ls on catalogs of 100, 10 000 and 100 000
records in turns with one lookup in the same catalog; then bk-find in a hundred backups beside restic
(bench_find.py); then bk-rm of 1, 100 and 10 000 backups in turns with rm; then bk-prune -n on catalogs of 10
000 and 100 000 records, and dry runs of restic and borg on 1000 snapshots (bench_catalog.py has these three);
then bk-verify on an archive of this machine's files in turns with sha256sum, and with --deep in turns with
gzip -t, pigz -t and restic check; then bk-restore of that archive, whole and one small file, in turns with
tar and restic; then bk-mv of it, to memory in turns with cp, and within its file system in turns with mv;
then bk-push of 1 GB to a server on this machine, and bk-pull, in turns with rclone and restic
(bench_push.py); then bk-pull --list of 500 hosts there (bench_fleet.py). BENCH_DIR names a directory that
keeps the trees for the next run, as one on XFS, where second backups share blocks; otherwise all goes below
/var/tmp and is removed. It takes 12 GB there. --into FILE puts the tables also between the two marks in FILE,
as README.md has them.

It does not judge: a slow program is no failure, one that fails is. It does not check that archives
can be restored (the tests do), and does not drop the page cache: the tree is read before each run
that reads it. It times whole commands, so also what bk-create, restic and borg do to make the result
last, which the pipelines do not. Trees differ from machine to machine: so do their numbers.
"""

import argparse
import contextlib
import datetime
import io
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_again import PAGE_BYTES, benchmark_again, benchmark_pages, write_pages
from bench_base import (Tool, ToolFailed, Tree, clear, median, peak, print_goal, print_table, read_tree, run_stages, say,
                        spread)
from bench_catalog import benchmark_ls, benchmark_prune, benchmark_rm
from bench_find import benchmark_find
from bench_fleet import benchmark_fleet
from bench_push import benchmark_push

MACHINE_ROOTS = (Path.home() / ".cargo/registry/src", Path("/usr/share"), Path("/usr/lib"))
LS_RUNS_MIN = 5
PEER_SNAPSHOTS = 1000
REFERENCE = "tar, pigz -p2 -6"
PAGES_BYTES = 2 * 10**9
PUSH_BYTES = 10**9
FLEET_HOSTS, FLEET_RECORDS = 500, 100
FIND_FILES, FIND_BACKUPS = 30_000, 100
# Between these stands in README.md what was printed.
MARKS = ("<!-- make bench: begin -->", "<!-- make bench: end -->")
PROGRAMS = "create ls find diff verify restore rm prune mv push pull set adopt log df auto pick".split()
# Of these the small files are made up.
WORDS = ("archive block buffer cache catalog chunk count cursor entry error file frame handle header index key length "
         "limit lock member name node offset option owner parent path queue range reader record result row size source "
         "state stream table target time token tree value writer").split()
SHAPES = ("let {a} = self.{b}.{c}({d})?;", "    if {a}.{b}() > {n} {{", "    }}", "", "pub fn {a}(&self, {b}: &{C}) {{",
          "// The {a} of each {b} is its {c}.", "        return Err({A}::{B}({n}));", "}}", "        {a}.push({b}.{c});",
          "    {a}.{b} = {d}.{c}({n});", "    for {a} in self.{b}.iter() {{", "use crate::{a}::{{{B}, {C}}};",
          "    assert_eq!({a}({n}), {c});", "    {a}: Option<{B}>,")


def run_tool(tool, tree, run_dir):
    """One timed run; what it made is measured, then removed."""
    clear(run_dir)
    (run_dir / "out").mkdir()
    if tool.prepare:
        run_stages([tool.prepare], tree.parent, run_dir, environment=tool.environment)
    os.sync()
    # A virtual machine may take the page cache away between two runs.
    read_tree(tree.parent / tree.name)
    stdout = run_dir / ("out/archive" if len(tool.stages) > 1 else "stdout")
    usage = run_stages(tool.stages, tree.parent, run_dir, stdout, tool.environment)
    usage.archive_bytes = sum(path.stat().st_size for path in (run_dir / "out").rglob("*") if path.is_file())
    if tool.package == "bk":
        counted = json.loads(stdout.read_text())["file_count"]
        if counted != tree.file_count:
            raise ToolFailed(f"bk-create saved {counted} files of {tree.file_count}")
    clear(run_dir)
    return usage


def tools_for(tree, bin_dir, run_dir):
    """The contestants, ready for this tree."""
    out, tar, scratch = run_dir / "out", ["tar", "-cf", "-", tree.name], {"TMPDIR": str(run_dir)}
    restic = ["restic", "-q", "--no-cache", "-r", out]
    return [
        *(Tool(name, "bk", [[bin_dir / "bk-create", "--home", run_dir / "home", "--storage", out,
                             "--compression", codec, "--on-low-space", "fail", tree.name]])
          for name, codec in (("bk-create", "gzip"), ("bk-create, zstd", "zstd"))),
        Tool("tar, gzip -6", "gzip", [tar, ["gzip", "-6"]]),
        Tool(REFERENCE, "pigz", [tar, ["pigz", "-p2", "-6"]]),
        # What bk-create keeps too.
        Tool("tar --xattrs --acls, pigz", "pigz", [["tar", "--xattrs", "--acls", *tar[1:]], ["pigz", "-p2", "-6"]]),
        Tool("tar, zstd -T0", "zstd", [tar, ["zstd", "-q", "-T0"]]),
        Tool("restic", "restic", [[*restic, "backup", tree.name]], [*restic, "init"], {"RESTIC_PASSWORD": "bench", **scratch}),
        Tool("borg, zlib,6", "borgbackup", [["borg", "create", "--compression", "zlib,6", f"{out}::bench", tree.name]],
             ["borg", "init", "-e", "none", out],
             {"BORG_BASE_DIR": str(run_dir), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", **scratch}),
    ]


def copy_machine(tree_dir, bytes_wanted):
    """Copies files and symbolic links in the order of their names, from each root an equal share of what is
    still wanted. Files of more than a twentieth of it all are left out, lest one rule; so are unreadable ones."""
    largest = bytes_wanted // 20
    for number, root in enumerate(MACHINE_ROOTS):
        copied, share = 0, bytes_wanted // (len(MACHINE_ROOTS) - number)
        for dir_name, dirs, files in os.walk(root):
            links = [name for name in dirs if os.path.islink(f"{dir_name}/{name}")]
            dirs[:] = sorted(set(dirs) - set(links)) if copied < share else []
            target_dir = tree_dir / os.path.relpath(dir_name, "/")
            for name in sorted(files + links):
                source, target = Path(dir_name, name), target_dir / name
                try:
                    is_wanted = copied < share and source.lstat().st_size <= largest
                    if is_wanted and (source.is_symlink() or source.is_file()):
                        target_dir.mkdir(parents=True, exist_ok=True)
                        shutil.copy2(source, target, follow_symlinks=False)
                        copied += target.lstat().st_size
                except OSError:
                    target.unlink(missing_ok=True)
        bytes_wanted -= copied


def write_small_files(tree_dir, count):
    """Text like source code, 0 to 4 kB a file, 100 to 200 files a directory, the same in every run."""
    chance, left, directory = random.Random(20261124), 0, tree_dir
    for number in range(count):
        if left == 0:
            left = chance.randint(100, 200)
            directory = tree_dir / chance.choice(WORDS) / f"{chance.choice(WORDS)}_{number}"
            directory.mkdir(parents=True)
        left -= 1
        size = chance.randrange(4096)
        own_names = [f"{chance.choice(WORDS)}_{chance.choice(WORDS)}" for _ in range(6)]
        names = iter(chance.choices(WORDS + own_names * 4, k=size // 5 + 4))
        lines = []
        for shape, a, b, c, d in zip(chance.choices(SHAPES, k=size // 20 + 1), names, names, names, names):
            values = {"a": a, "b": b, "c": c, "d": d, "A": a.title(), "B": b.title(), "C": c.title()}
            lines.append(shape.format(**values, n=chance.randrange(5000)))
        (directory / f"{chance.choice(WORDS)}_{number}.rs").write_text("\n".join(lines)[:size])


def write_empty_files(tree_dir, count):
    for number in range(count):
        directory = tree_dir / f"{number // 1000:04}"
        directory.mkdir(exist_ok=True)
        (directory / f"file{number:07}").touch()


def prepare_tree(parent, name, fill, amount):
    """Makes the tree where no finished one is there, and counts it."""
    if not (parent / name).exists():
        say(f"making {name}")
        unfinished = parent / f"{name}.unfinished"
        clear(unfinished)
        fill(unfinished, amount)
        unfinished.rename(parent / name)
    say(f"reading {name}")
    return Tree(parent, name, *read_tree(parent / name))


def print_tools(tree, tools, goal):
    reference = next((tool.usages for tool in tools if tool.name == REFERENCE and tool.usages), None)
    rows = []
    for tool in tools:
        if tool.usages:
            wall, size = median(tool.usages), median(tool.usages, "archive_bytes")
            faster = f"{median(reference) / wall:.2f}" if reference else "-"
            relative = f"{100 * size / median(reference, 'archive_bytes'):.1f} %" if reference else "-"
            rows.append([tool.name, f"{wall:.2f} s", spread(tool.usages), f"{median(tool.usages, 'cpu'):.2f} s",
                         f"{tree.content_bytes / 1e6 / wall:.1f}", faster, peak(tool.usages), f"{size / 1e6:.2f} MB", relative])
    print(f"### {tree.name}: {tree.file_count} files, {tree.content_bytes / 1e6:.0f} MB\n")
    print_table(["tool", "median", "min..max s", "CPU", "MB/s", "x pigz", "peak memory", "archive", "of pigz's"], rows)
    print_goal(goal)


def benchmark_tree(tree, tools, goal, runs, run_dir):
    """Runs the tools in turns, so that noise hits all of them. Whether none failed."""
    present = [tool for tool in tools if shutil.which(tool.stages[-1][0])]
    for tool in tools:
        if tool not in present:
            print(f"{tool.name} is not installed: apt-get install {tool.package}\n")
    for number in range(runs):
        first = number % len(present)
        for tool in present[first:] + present[:first]:
            if tool.failure:
                continue
            try:
                tool.usages.append(run_tool(tool, tree, run_dir))
                say(f"{tree.name}, run {number + 1} of {runs}: {tool.name} {tool.usages[-1].wall:.2f} s")
            except (ToolFailed, OSError, ValueError) as error:
                tool.failure, tool.usages = str(error), []
    print_tools(tree, present, goal)
    for tool in present:
        if tool.failure:
            print(f"{tool.name} FAILED: {tool.failure}\n")
    return not any(tool.failure for tool in present)


def verifiers_for(tree, bin_dir, run_dir):
    """The archive of the tree and a restic repository of it, and who is to check them."""
    home, archive, repository = run_dir / "home", run_dir / "home/archives/bench.tar.gz", run_dir / "restic"
    run_stages([[bin_dir / "bk-create", "--home", home, "--name", "bench", tree.name]], tree.parent, run_dir)
    verify = [bin_dir / "bk-verify", "--home", home, "bench"]
    tools = [Tool("bk-verify", "bk", [verify]), Tool("sha256sum", "coreutils", [["sha256sum", archive]]),
             Tool("bk-verify --deep", "bk", [[*verify, "--deep"]]), Tool("gzip -t", "gzip", [["gzip", "-t", archive]]),
             Tool("pigz -t", "pigz", [["pigz", "-t", archive]])]
    environment, restic = {"RESTIC_PASSWORD": "bench", "TMPDIR": str(run_dir)}, ["restic", "-q", "--no-cache", "-r", repository]
    if shutil.which("restic"):
        run_stages([[*restic, "init"]], run_dir, run_dir, environment=environment)
        run_stages([[*restic, "backup", tree.name]], tree.parent, run_dir, environment=environment)
    tools.append(Tool("restic check --read-data", "restic", [[*restic, "check", "--read-data"]], [], environment))
    return tools, archive.stat().st_size


def benchmark_verify(tree, bin_dir, runs, run_dir):
    """Times checks of what one tree came to, in turns. Whether none failed."""
    clear(run_dir)
    try:
        tools, archive_bytes = verifiers_for(tree, bin_dir, run_dir)
        present = [tool for tool in tools if shutil.which(tool.stages[-1][0])]
        for number in range(runs):
            for tool in present:
                tool.usages.append(run_stages(tool.stages, run_dir, run_dir, environment=tool.environment))
                say(f"verify, run {number + 1} of {runs}: {tool.name} {tool.usages[-1].wall:.2f} s")
    except (ToolFailed, OSError) as error:
        print(f"bk-verify or a peer FAILED: {error}\n")
        return False
    walls = {tool.name: median(tool.usages) for tool in present}
    rows = []
    for tool in present:
        wall = walls[tool.name]
        faster = f"{walls['gzip -t'] / wall:.2f}" if "gzip -t" in walls else "-"
        rows.append([tool.name, f"{wall:.2f} s", spread(tool.usages), f"{median(tool.usages, 'cpu'):.2f} s",
                     f"{archive_bytes / 1e6 / wall:.0f}", f"{tree.content_bytes / 1e6 / wall:.0f}", faster, peak(tool.usages)])
    print(f"### Verify {tree.name}: an archive of {archive_bytes / 1e6:.0f} MB that holds {tree.content_bytes / 1e6:.0f} MB\n\n"
          "restic checks a repository of its own, with the same files.\n")
    print_table(["tool", "median", "min..max s", "CPU", "archive MB/s", "content MB/s", "x gzip -t", "peak memory"], rows)
    print_goal("bk-verify at the speed of the disk or 1000 archive MB/s, whichever is less; --deep at least 2.5 x gzip -t")
    clear(run_dir)
    return True


def restorers_for(tree, bin_dir, run_dir):
    """The archive of the tree and a restic repository of it: who restores all of it, and who one small file."""
    home, archive, out = run_dir / "home", run_dir / "home/archives/bench.tar.gz", run_dir / "out"
    run_stages([[bin_dir / "bk-create", "--home", home, "--name", "bench", tree.name]], tree.parent, run_dir)
    names = sorted(path for path in (tree.parent / tree.name).rglob("*") if path.is_file() and not path.is_symlink())
    one = str(names[len(names) * 2 // 3].relative_to(tree.parent))
    restore, untar = [bin_dir / "bk-restore", "--home", home, "-C", out / "new"], ["tar", "-xzf", archive, "-C", out]
    environment, restic = {"RESTIC_PASSWORD": "bench", "TMPDIR": str(run_dir)}, ["restic", "-q", "--no-cache", "-r", run_dir / "restic"]
    if shutil.which("restic"):
        run_stages([[*restic, "init"]], run_dir, run_dir, environment=environment)
        run_stages([[*restic, "backup", tree.name]], tree.parent, run_dir, environment=environment)
    whole = [Tool("bk-restore", "bk", [[*restore, "bench"]]), Tool("tar xzf", "tar", [untar]),
             Tool("restic restore", "restic", [[*restic, "restore", "latest", "--target", out]], [], environment)]
    return whole, [Tool("bk-restore --path", "bk", [[*restore, "--path", one, "bench"]]), Tool("tar xzf PATH", "tar", [[*untar, one]])]


def benchmark_restore(tree, bin_dir, runs, run_dir):
    """Times the restoration of one tree, and of one small file of it, in turns. Whether none failed."""
    clear(run_dir)
    try:
        groups = [[tool for tool in tools if shutil.which(tool.stages[-1][0])] for tools in restorers_for(tree, bin_dir, run_dir)]
        for number in range(runs):
            for tool in [tool for tools in groups for tool in tools]:
                clear(run_dir / "out")
                os.sync()
                tool.usages.append(run_stages(tool.stages, run_dir, run_dir, environment=tool.environment))
                say(f"restore, run {number + 1} of {runs}: {tool.name} {tool.usages[-1].wall:.2f} s")
    except (ToolFailed, OSError) as error:
        print(f"bk-restore or a peer FAILED: {error}\n")
        return False
    rows = []
    for tools in groups:
        tar = next(median(tool.usages) for tool in tools if tool.name.startswith("tar"))
        for tool in tools:
            wall = median(tool.usages)
            rows.append([tool.name, f"{wall:.2f} s", spread(tool.usages), f"{median(tool.usages, 'cpu'):.2f} s", f"{tar / wall:.2f}", peak(tool.usages)])
    print(f"### Restore {tree.name}, all of it and one small file\n\nbk-restore checks the archive's SHA-256 before it writes.\n")
    print_table(["tool", "median", "min..max s", "CPU", "x tar", "peak memory"], rows)
    clear(run_dir)
    return True


def movers_for(bin_dir, run_dir, here, there):
    """Who brings the archive of 300 MB from one file system to another, and who within one. All make it last."""
    move, archive = [bin_dir / "bk-mv", "--home", run_dir / "home", "bench"], "bench.tar.gz"
    across = [Tool("bk-mv", "bk", [[*move, there]]),
              Tool("cp, cmp, sync", "coreutils", [["sh", "-c", 'cp -p "$0" "$1" && sync "$1" && cmp "$0" "$1"', here / archive, there / archive]]),
              Tool("cp", "coreutils", [["cp", "-p", here / archive, there / archive]])]
    within = [Tool("bk-mv (rename)", "bk", [[*move, here / "other"]]), Tool("mv (rename)", "coreutils", [["mv", here / archive, here / "other"]])]
    return across, within


def benchmark_mv(tree, bin_dir, runs, run_dir):
    """Times the move of one archive, across file systems and within one, in turns. Whether none failed."""
    clear(run_dir)
    here = run_dir / "home/archives"
    there = Path(tempfile.mkdtemp(prefix="bk-bench.", dir="/dev/shm"))
    back = [bin_dir / "bk-mv", "--home", run_dir / "home", "bench", here]
    try:
        run_stages([[bin_dir / "bk-create", "--home", run_dir / "home", "--name", "bench", tree.name]], tree.parent, run_dir)
        archive_bytes, groups = (here / "bench.tar.gz").stat().st_size, movers_for(bin_dir, run_dir, here, there)
        (here / "other").mkdir()
        for number in range(runs):
            for tool in [tool for tools in groups for tool in tools]:
                read_tree(here)
                tool.usages.append(run_stages(tool.stages, run_dir, run_dir))
                say(f"mv, run {number + 1} of {runs}: {tool.name} {tool.usages[-1].wall:.3f} s")
                if tool.package == "bk":
                    run_stages([back], run_dir, run_dir)
                elif tool.name.startswith("mv"):
                    os.rename(here / "other/bench.tar.gz", here / "bench.tar.gz")
                # The marker stays: without it the storage would be taken for one that is not mounted.
                (there / "bench.tar.gz").unlink(missing_ok=True)
    except (ToolFailed, OSError) as error:
        print(f"bk-mv or a peer FAILED: {error}\n")
        return False
    finally:
        shutil.rmtree(there, ignore_errors=True)
    rows = [[tool.name, f"{median(tool.usages):.3f} s", spread(tool.usages), f"{median(tool.usages, 'cpu'):.3f} s",
             f"{archive_bytes / 1e6 / median(tool.usages):.0f}", peak(tool.usages)] for tools in groups for tool in tools]
    print(f"### Move an archive of {archive_bytes / 1e6:.0f} MB to memory and within its file system\n\n"
          "bk-mv syncs the copy and reads it back to compare its SHA-256, and removes the old one.\n")
    print_table(["tool", "median", "min..max s", "CPU", "MB/s", "peak memory"], rows)
    clear(run_dir)
    return True


def benchmark_start(bin_dir, runs, run_dir):
    """Times what opens no catalog, and what opens one with one record. Whether nothing failed."""
    home, source, rows = run_dir / "home", run_dir / "source", []
    clear(source)
    try:
        run_stages([[bin_dir / "bk-create", "--home", home, source]], run_dir, run_dir)
        for program in PROGRAMS:
            path = bin_dir / f"bk-{program}"
            wrong = ["sh", "-c", f"'{path}' --wrong; test $? -eq 2"]
            helps, wrongs = ([run_stages([command], run_dir, run_dir) for _ in range(runs)] for command in ([path, "--help"], wrong))
            rows.append([f"bk-{program}", *(cell for usages in (helps, wrongs)
                                            for cell in (f"{1e3 * median(usages):.1f} ms", spread(usages, 1e3)))])
        listed = [run_stages([[bin_dir / "bk-ls", "--home", home, "--json"]], run_dir, run_dir) for _ in range(runs)]
    except (ToolFailed, OSError) as error:
        print(f"the start of a program FAILED: {error}\n")
        return False
    print(f"### The start of each program, {runs} runs\n\nNeither opens a catalog. Beside it, `bk-ls` of one record, which opens "
          f"one: {1e3 * median(listed):.1f} ms ({spread(listed, 1e3)}).\n")
    print_table(["program", "--help", "min..max ms", "a wrong flag", "min..max ms"], rows)
    clear(run_dir)
    return True


def print_machine(work_dir, bin_dir):
    def version(*command):
        if not shutil.which(command[0]):
            return f"no {command[0]}"
        done = subprocess.run(command, capture_output=True, text=True)
        return (done.stdout + done.stderr).strip("* \n").partition("\n")[0]

    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    mount = max((mount for mount in mounts if work_dir.is_relative_to(mount[1])), key=lambda mount: len(mount[1]))
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(f"Measured {datetime.datetime.now().astimezone().isoformat(' ', 'minutes')} on {models[0] if models else platform.machine()}, {len(os.sched_getaffinity(0))} cores, {gib:.1f} GiB, "
          f"Linux {platform.release()}, {mount[2]} on {mount[0]}, load {os.getloadavg()[0]:.2f}")
    print("; ".join([version(str(bin_dir / "bk-create"), "-V"), version("restic", "version"), version("rclone", "version"),
                     *(version(name, "--version") for name in ("tar", "gzip", "pigz", "zstd", "borg"))]) + "\n", flush=True)


def run_all(options, work_dir, run_dir):
    """Every part that is asked for; the exit status."""
    part, runs = (10, options.runs or 1) if options.quick else (1, options.runs or 3)
    all_well = True
    print_machine(work_dir, options.bin_dir)
    trees = [("machine", copy_machine, 10**9 // part, "bk-create at least 2.2 x pigz, with an archive no larger, in at most 100 MiB; "
              "with zstd ahead of tar, zstd, with an archive no larger"),
             ("small-files", write_small_files, 200_000 // part, "bk-create at least 1.5 x pigz"),
             ("empty-files", write_empty_files, 1_000_000 // part, "bk-create no slower than tar that keeps attributes and ACLs too, with pigz; in at most 300 MiB")]
    for name, fill, amount, goal in trees if options.only in (None, "create") else []:
        tree = prepare_tree(work_dir, f"{name}-{amount}", fill, amount)
        tools = tools_for(tree, options.bin_dir, run_dir)
        if fill is write_empty_files:
            tools = [tool for tool in tools if tool.package in ("bk", "pigz")]
        all_well &= benchmark_tree(tree, tools, goal, runs, run_dir)
    if options.only in (None, "again"):
        name, fill, amount, _ = trees[0]
        all_well &= benchmark_again(prepare_tree(work_dir, f"{name}-{amount}", fill, amount), options.bin_dir, runs, run_dir)
        tree = prepare_tree(work_dir, f"pages-{PAGES_BYTES // part}", write_pages, PAGES_BYTES // part // PAGE_BYTES)
        all_well &= benchmark_pages(tree, options.bin_dir, runs, run_dir)
    if options.only in (None, "start"):
        all_well &= benchmark_start(options.bin_dir, max(LS_RUNS_MIN, runs), run_dir)
    if options.only in (None, "ls"):
        all_well &= benchmark_ls(options.bin_dir, max(LS_RUNS_MIN, runs), work_dir, run_dir)
    if options.only in (None, "find"):
        tree = prepare_tree(run_dir.parent, f"find-{FIND_FILES // part}", write_small_files, FIND_FILES // part)
        all_well &= benchmark_find(tree, options.bin_dir, max(LS_RUNS_MIN, runs), FIND_BACKUPS // part, run_dir)
    if options.only in (None, "rm"):
        all_well &= benchmark_rm(options.bin_dir, runs, work_dir, run_dir)
    if options.only in (None, "prune"):
        all_well &= benchmark_prune(options.bin_dir, max(LS_RUNS_MIN, runs), PEER_SNAPSHOTS // part, work_dir, run_dir)
    name, fill, amount, _ = trees[0]
    for what, benchmark in (("verify", benchmark_verify), ("restore", benchmark_restore), ("mv", benchmark_mv)):
        if options.only in (None, what):
            tree = prepare_tree(work_dir, f"{name}-{amount}", fill, amount)
            all_well &= benchmark(tree, options.bin_dir, runs, run_dir)
    if options.only in (None, "push"):
        all_well &= benchmark_push(options.bin_dir, PUSH_BYTES // part, runs, run_dir)
    if options.only in (None, "fleet"):
        hosts = FLEET_HOSTS // part
        all_well &= benchmark_fleet(options.bin_dir, hosts, FLEET_RECORDS, max(LS_RUNS_MIN, runs), work_dir, run_dir)
    print("Peak memory is the sum over a pipeline's stages; <: a stage took less than this program, which hides how little.")
    return 0 if all_well else 1


class Both(io.TextIOBase):
    """What is printed, and the text of it all."""

    def __init__(self):
        self.text, self.screen = "", sys.stdout

    def write(self, text):
        self.text += text
        return self.screen.write(text)

    def flush(self):
        self.screen.flush()


def put_into(file, text):
    """Exchanges what is between the marks."""
    before, begin, rest = file.read_text().partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (begin and end):
        raise SystemExit(f"bench: '{file}' has no lines '{MARKS[0]}' and '{MARKS[1]}'")
    file.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bin_dir", type=Path, help="where the programs are: target/release")
    parser.add_argument("--runs", type=int, help="timed runs of each tool (3)")
    parser.add_argument("--only", choices=["create", "again", "start", "ls", "find", "rm", "prune", "verify", "restore", "mv", "push", "fleet"])
    parser.add_argument("--quick", action="store_true", help="a tenth of each tree, one run: to check this program")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the tables between the marks in FILE, as in README.md")
    options = parser.parse_args()
    options.bin_dir = options.bin_dir.resolve()
    for name in PROGRAMS:
        if not (options.bin_dir / f"bk-{name}").exists():
            parser.error(f"there is no bk-{name} in '{options.bin_dir}': make build")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    kept = os.environ.get("BENCH_DIR")
    work_dir = Path(kept or tempfile.mkdtemp(prefix="bk-bench.", dir="/var/tmp")).resolve() / "bk-bench"
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    run_dir = Path(tempfile.mkdtemp(prefix="run.", dir=work_dir))
    try:
        if not options.into:
            return run_all(options, work_dir, run_dir)
        with contextlib.redirect_stdout(Both()) as both:
            status = run_all(options, work_dir, run_dir)
        put_into(options.into, both.text)
        return status
    finally:
        shutil.rmtree(run_dir if kept else work_dir.parent, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
