"""What the parts of bench.py share: how a command is timed, how trees are read, how tables are printed.

Knows no tool and makes no tree.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


class ToolFailed(Exception):
    """A tool that is there did not do its work; the text says which, and what it said."""


@dataclass
class Usage:
    """What one run took. Memory is the sum of the stages' peaks; `is_bound`: it is known to be less."""
    wall: float
    cpu: float
    peak_bytes: int
    is_bound: bool
    archive_bytes: int = 0


@dataclass
class Tool:
    """A contestant: it writes below `out` in the run's directory, a pipeline by its last stage's stdout."""
    name: str
    package: str
    stages: list
    prepare: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)
    usages: list = field(default_factory=list)
    failure: str = ""


@dataclass
class Tree:
    """The directory `parent/name`, with the number and bytes of its files."""
    parent: Path
    name: str
    file_count: int = 0
    content_bytes: int = 0


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run_stages(stages, cwd, log_dir, stdout=os.devnull, environment=None):
    """Runs a pipeline; each stage is reaped by wait4, which tells its own CPU time and peak memory."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}
    processes, usages, source, begin = [], [], subprocess.DEVNULL, time.perf_counter()
    try:
        with open(stdout, "wb") as last, open(log_dir / "stderr", "wb") as log:
            for stage in stages:
                target = last if stage is stages[-1] else subprocess.PIPE
                processes.append(subprocess.Popen(stage, cwd=cwd, env=environment, stdin=source, stdout=target, stderr=log))
                if source != subprocess.DEVNULL:
                    source.close()
                source = processes[-1].stdout
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            usages.append(usage)
        wall = time.perf_counter() - begin
    finally:
        for process in processes[len(usages):]:
            process.kill()
            process.wait()
    if any(process.returncode for process in processes):
        ended = [f"`{' '.join(map(str, process.args))}` ended with {process.returncode}" for process in processes]
        raise ToolFailed(", ".join(ended) + ": " + (log_dir / "stderr").read_text(errors="replace").strip()[-2000:])
    # A process starts with the peak of the one that forked it: with ours.
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Usage(wall, sum(usage.ru_utime + usage.ru_stime for usage in usages), sum(usage.ru_maxrss for usage in usages) * 1024,
                 any(usage.ru_maxrss <= floor for usage in usages))


def clear(path):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)


def read_tree(tree_dir):
    """Reads it all, into the page cache; the number and bytes of its files."""
    file_count, content_bytes, buffer = 0, 0, bytearray(1 << 20)
    for dir_name, dirs, files in os.walk(tree_dir):
        file_count += len(files) + sum(os.path.islink(f"{dir_name}/{name}") for name in dirs)
        for name in files:
            if not os.path.islink(f"{dir_name}/{name}"):
                with open(f"{dir_name}/{name}", "rb", buffering=0) as file:
                    while read := file.readinto(buffer):
                        content_bytes += read
    return file_count, content_bytes


def print_table(titles, rows):
    """Markdown that is aligned, for reading as it is: the first column left, the others right."""
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    dashes = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in (titles, dashes, *rows):
        first, *others = row
        cells = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def median(usages, of="wall"):
    return statistics.median(getattr(usage, of) for usage in usages)


def spread(usages, unit=1.0):
    walls = [usage.wall * unit for usage in usages]
    return f"{min(walls):.2f}..{max(walls):.2f}"


def peak(usages):
    sign = "<" if any(usage.is_bound for usage in usages) else ""
    return f"{sign}{max(usage.peak_bytes for usage in usages) / 2**20:.0f} MiB"


def print_goal(goal):
    """What the design asks for, beside what was measured."""
    if goal:
        print(f"Goal: {goal}.\n", flush=True)
