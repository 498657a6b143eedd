#!/usr/bin/env python3
"""A simulated year of jobs with faults, held against a model: `make soak`, or tests/soak.py target/release.

The programs run as they are, with a clock that libfaketime (Debian's package faketime) sets ahead of the
machine's, in Europe/Berlin. The year begins two days before summer time does. bk-auto is started as a timer
would start it: when a job is due, now and then when none is, late where the machine slept, and once more a few
minutes after a start that was disturbed. Between two starts files change at random, and backups are made,
protected, released and removed by hand. Disturbed are starts by kills at random moments (of bk-auto, of its
child, of both, and with another bk-auto right behind), by signals, disks that are full or fill up, and a
catalog that another holds; beside that hooks and dumps fail, files cannot be read, trees shrink, the clock is
wrong for a start, the machine sleeps or is off for over a month, and two bk-auto start at once.

After each start the catalog and the ledger are held against soak_model.py, which knows the man pages and no
code: each job ran when it was due and only then, once; what was acknowledged is there with its content;
nothing went that its retention keeps, and nothing is left that it removes; nothing lies about.

Times of files are the machine's, so always in the past of the programs: what depends on a file that changes
while it is read is tested elsewhere. All follows from --seed, but for the moment at which a fault meets a program.
What is broken is told with the seed and the step; the directories and the log are kept. It takes root, or user
namespaces, for disks in memory.
"""

import argparse
import collections
import contextlib
import datetime
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zoneinfo
from pathlib import Path

# Nothing is left in the source tree.
sys.dont_write_bytecode = True

from soak_checks import Book, Step, must
from soak_files import Tree
from soak_machine import ZONE, Machine, obstacle, strike
from soak_model import HOUR, Job, due_times

DAY = 24 * HOUR
CLOCK_GAP_DAYS = 30
# Of a thousand starts, how many are disturbed so.
FAULTS = {"kill": 25, "kill, then another": 15, "kill child": 15, "kill all": 15, "signal": 10, "full storage": 15, "full home": 10,
          "storage fills": 10, "home fills": 10, "locked": 15, "refused": 20, "twins": 10, "wrong clock": 2}
KILLS = ("kill", "kill, then another", "kill child", "kill all", "signal")
DUMP = "dump.sql"


class Soak:
    """The year."""

    def __init__(self, options, machine):
        self.options, self.machine, self.zone = options, machine, zoneinfo.ZoneInfo(ZONE)
        begin = datetime.datetime.fromisoformat(options.start).replace(hour=12, tzinfo=self.zone)
        self.begin, self.number = int(begin.timestamp()), 0
        self.end = self.begin + options.days * DAY
        # Where a clock that is wrong is: further than this year gets.
        self.ahead = (options.days + 100) * DAY
        self.now, self.last_start = float(self.begin), self.begin
        self.said = collections.Counter()
        self.usual_seconds, self.unread_until, self.shrunk_until = 0.2, 0, 0
        self.log = open(machine.base / "soak.log", "w")
        machine.set_clock(self.now)
        jobs = self.make_jobs()
        self.jobs, self.book = jobs, Book(machine, jobs)
        self.figures = self.book.figures

    def make_jobs(self):
        """The jobs, enabled at the beginning, and who is told."""
        base, rng = self.machine.base, random.Random(f"{self.options.seed}/trees")
        app, shop, notes = (Tree(base / name, rng, files) for name, files in (("app", 40), ("shop", 15), ("notes", 15)))
        calls = ["--before", f"! test -e {base}/refuse"]
        dump = ["--command", f"{DUMP}=! test -e {base}/refuse && cat {base}/dump"]
        jobs = [Job("app", "@hourly", {"hourly": 24, "daily": 7, "weekly": 4, "monthly": 6}, app, calls),
                Job("shop", "30 2 * * *", {"days": 30}, shop, dump),
                Job("notes", "15,45 1-3 * * *", {"days": 1}, notes, [*calls, "--compression=zstd", "--create-flag=--reserve=0"]),
                Job("week", "0 4 * * 1-5", {"last": 3, "weekly": 5, "yearly": 2}, notes, calls),
                Job("proof", "@weekly", {}, None, ["--verify", "deep older-than=30d limit=5", "--test-restore", "latest"]),
                Job("tidy", "@weekly", {"days": 60}, None, ["--prune", "--group-by=job"])]
        for job in jobs:
            job.times = due_times(job.schedule, self.begin, self.end + self.ahead + 10 * DAY, self.zone)
            kept = [f"--retention-days={count}" if rule == "days" else f"--keep-{rule}={count}" for rule, count in job.policy.items()]
            content = [f"--create-flag=--storage={self.machine.store}", "--create-flag=--low-space-timeout=1s"]
            self.machine.run("bk-auto", "--json", "--set", job.name, "--schedule", job.schedule, "--enable", *kept,
                             *job.flags, *([*content, "--", job.tree.root] if job.tree else []))
            job.since = job.done_until = self.machine.clock()
        self.machine.run("bk-auto", "--notify", f'echo "$BK_JOB $BK_OUTCOME" >>{base}/notices')
        return {job.name: job for job in jobs}

    def run(self):
        """All steps, a last one with which each job is done, and the last look."""
        while True:
            self.number += 1
            rng = random.Random(f"{self.options.seed}/{self.number}")
            # There is a backup before anything goes wrong.
            is_sure = self.move_clock(rng) or self.number == 1
            if self.now >= self.end:
                break
            self.take(Step(self.number, rng, self.now, None if is_sure else self.choose_fault(rng)))
        for ending in (self.end, self.end + 8 * DAY):
            self.now = ending + 30.0
            self.take(Step(self.number, random.Random(f"{self.options.seed}/{ending}"), self.now, None))
        self.book.check_places()
        self.book.check_all()

    def move_clock(self, rng):
        """To the next start, mostly that of the next job that is due. Returns whether nothing is to disturb it."""
        coming = min(job.next(self.now) for job in self.jobs.values())
        chance = rng.random()
        if self.book.was_disturbed:
            self.now += rng.randrange(61, 240)
        elif chance < 0.02 and coming - self.now > 600:
            self.now += rng.uniform(60, coming - self.now - 60)
        elif chance < 0.03:
            self.now = coming + rng.uniform(HOUR, 3 * DAY)
            self.figures["the machine slept for hours or days"] += 1
        elif chance < 0.0303 and self.options.days > 100:
            # For longer than the clock is believed.
            self.now = coming + rng.uniform(31, 40) * DAY
            self.figures["it was off for over a month"] += 1
            return True
        else:
            self.now = coming + rng.uniform(1, 50)
        return False

    def choose_fault(self, rng):
        point = rng.uniform(0, 1000)
        for fault, share in FAULTS.items():
            point -= share * self.options.faults
            if point < 0:
                return fault
        return None

    def take(self, step):
        """Changes, a start of bk-auto, and what is to be true after it."""
        trees, is_wrong, jumped_at = self.change_files(step), step.fault == "wrong clock", self.book.jumped_at
        step.now += self.ahead if is_wrong else 0
        if step.now - self.last_start > CLOCK_GAP_DAYS * DAY:
            self.book.jumped_at = step.now
        step.is_due = any(job.due(step.now) for job in self.jobs.values())
        self.start(step)
        try:
            self.book.check(step, trees)
        finally:
            self.note(step)
        if is_wrong:
            self.book.jumped_at, self.book.doubted_until = jumped_at, self.now + 25 * HOUR
            return
        self.last_start = step.now
        if step.number % 25 == 0 and step.is_due and not step.is_disturbed:
            self.book.check_places()
        if step.number % 20 == 0:
            self.by_hand(step)

    def note(self, step):
        """A line of the log."""
        local = datetime.datetime.fromtimestamp(step.now, self.zone).isoformat(" ", "seconds")
        rows = [(row["event"], row["details"].get("job"), row["backup_id"], row["outcome"]) for row in step.events]
        print(step.number, local, f"[{step.fault or ''}]", *rows, "new", *(it.id for it in step.new), "gone", *(it.id for it in step.gone),
              json.dumps(step.stderr.strip()), file=self.log, flush=True)
        if not step.fault:
            self.said.update(re.sub(r"'[^']*'|[0-9.]+", "_", line) for line in step.stderr.splitlines())

    def change_files(self, step):
        """Files change between two starts. Returns what each job has to back up."""
        rng = step.rng
        for job in self.jobs.values():
            if job.tree and rng.random() < 0.7:
                for _ in range(rng.randrange(4)):
                    job.tree.edit(rng)
        dump = b"".join(b"INSERT %d\n" % rng.randrange(10**6) for _ in range(rng.randrange(200, 300)))
        (self.machine.base / "dump").write_bytes(dump)
        self.change_readability(step)
        self.change_size(step)
        kept = {job.name: (job.tree.root, job.tree.snapshot(), dump if DUMP in str(job.flags) else None)
                for job in self.jobs.values() if job.tree}
        return kept

    def change_readability(self, step):
        """For some time a file cannot be read."""
        if self.unread_until and step.now > self.unread_until:
            self.let_read()
        elif not self.unread_until and step.rng.random() < 0.004:
            bad = self.machine.base / "notes/bad"
            bad.touch()
            # Its first page is no memory: reading it is an error, for root too.
            subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/mem", bad], check=True)
            self.unread_until = step.now + step.rng.uniform(HOUR, 4 * DAY)
            self.figures["a file could not be read for a time"] += 1

    def let_read(self):
        if self.unread_until:
            bad = self.machine.base / "notes/bad"
            subprocess.run(["umount", bad], check=True)
            bad.unlink()
            self.unread_until = 0

    def change_size(self, step):
        """For some time a tree lacks most of its content."""
        tree = self.jobs["app"].tree
        if self.shrunk_until and step.now > self.shrunk_until:
            tree.write_large(step.rng)
            self.shrunk_until = 0
        elif not self.shrunk_until and step.rng.random() < 0.003:
            tree.remove("large")
            self.shrunk_until = step.now + step.rng.uniform(HOUR, 3 * DAY)
            self.figures["a tree shrank for a time"] += 1

    def start(self, step):
        """bk-auto, with the fault of this step."""
        refuse, notices = self.machine.base / "refuse", self.machine.base / "notices"
        if step.fault == "refused":
            refuse.touch()
        notices.write_text("")
        self.machine.set_clock(step.now)
        began = time.monotonic()
        ended = [self.machine.finish(process) for process in self.disturb(step)]
        self.machine.reap()
        took = time.monotonic() - began
        refuse.unlink(missing_ok=True)
        step.notices = [line.split(" ") for line in notices.read_text().splitlines()]
        step.status = max(status for status, _, _ in ended)
        step.stderr = "".join(stderr for _, _, stderr in ended)
        # A line that a kill cut off acknowledges nothing.
        lines = [line for _, stdout, _ in ended for line in stdout.splitlines(keepends=True) if line.endswith("\n")]
        step.printed = [json.loads(line) for line in lines]
        step.end = self.machine.clock()
        if step.is_due and not step.fault:
            self.usual_seconds = 0.9 * self.usual_seconds + 0.1 * took
        self.figures[f"starts: {step.fault}" if step.fault else "starts that nothing disturbed"] += 1

    def disturb(self, step):
        """Starts bk-auto, and what disturbs it; returns the processes once the disturbance is over."""
        rng, fault, machine = step.rng, step.fault or "", self.machine
        words = ["bk-auto", "--json", *(["--lock-timeout=1s"] if fault == "locked" else [])]
        moment = rng.random() * self.usual_seconds * 1.2
        disk = (machine.home if "home" in fault else machine.store).parent
        with contextlib.ExitStack() as stack:
            if fault.startswith("full"):
                stack.enter_context(machine.full(disk, rng))
            processes = [machine.start(*words) for _ in range(2 if fault == "twins" else 1)]
            if fault in KILLS:
                time.sleep(moment)
                strike(processes[0].pid, fault)
                if fault == "kill, then another":
                    processes.append(machine.start(*words))
            elif fault.endswith("fills") or fault == "locked":
                time.sleep(moment)
                stack.enter_context(machine.held(rng) if fault == "locked" else machine.full(disk, rng))
            if fault:
                # Before the disk is free again.
                for process in processes:
                    machine.wait(process)
        return processes

    def by_hand(self, step):
        """What an administrator does in between."""
        now, rng, machine, book = self.machine.clock(), step.rng, self.machine, self.book
        hand = [it for it in book.backups.values() if it.name.startswith("hand-")]
        what, expected, may = rng.choice("protect expiry release expired accept".split()), set(), set()
        if what in ("protect", "expiry"):
            flag = "--protect" if what == "protect" else f"--expires={rng.randrange(1, 20)}d"
            tree = self.jobs["app"].tree
            made = machine.run("bk-create", "--json", "--storage", machine.store, "--name", f"hand-{step.number}", flag, tree.root)
            book.trees[made[0]["id"]] = (tree.root, tree.snapshot(), None)
        elif what == "release" and (protected := [it.id for it in hand if it.protected]):
            chosen = rng.choice(protected)
            machine.run("bk-rm", chosen, status=1)
            machine.run("bk-set", "--json", "--unprotect", chosen)
            machine.run("bk-rm", "--json", chosen)
            expected = {chosen}
        elif what == "expired" and step.now - book.jumped_at > 2 * DAY:
            for line in machine.run("bk-ls", "--json", "--expired"):
                machine.run("bk-rm", "--json", line["id"])
            expected = {it.id for it in hand if it.expires and it.expires <= now}
            may = {it.id for it in hand if it.expires and it.expires <= now + 10}
        elif what == "accept" and self.shrunk_until:
            machine.run("bk-set", "--json", "--accept", "latest:app")
        book.list()
        gone = book.before.keys() - book.backups.keys()
        must(expected <= gone <= expected | may, f"by hand, {what}: {gone} went, and {expected} had to go")
        self.figures["deeds by hand"] += 1


def enter_namespace():
    """Runs this script again where its mounts are its own, and end with it."""
    if os.environ.get("SOAK_INSIDE"):
        return
    unshare = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if reason := obstacle(unshare):
        print(f"skipped: {reason}")
        sys.exit()
    os.environ["SOAK_INSIDE"] = "1"
    os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", type=Path, help="the directory of the programs")
    parser.add_argument("--days", type=int, default=365, help="how many days are simulated")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="plays a run again")
    parser.add_argument("--start", default="2031-03-28", help="the first day; default: two days before summer time")
    parser.add_argument("--faults", type=float, default=1.0, help="how many times as many faults as usual")
    return parser.parse_args()


def main():
    options = parse()
    enter_namespace()
    print(f"soak: --seed {options.seed} --days {options.days} --start {options.start} --faults {options.faults}", flush=True)
    base, began = Path(tempfile.mkdtemp(prefix="soak.", dir="/var/tmp")), time.monotonic()
    soak = Soak(options, Machine(options.programs.resolve(), base))
    try:
        soak.run()
    except BaseException as error:
        soak.let_read()
        shutil.copytree(base, f"{base}.kept", symlinks=True)
        print(f"soak: step {soak.number} of --seed {options.seed}: {error}\nsoak: {base}.kept has the log, the catalog and the archives")
        raise
    finally:
        soak.let_read()
        print(*(f"{count:>9} {name}" for name, count in sorted(soak.figures.items())), sep="\n")
        print(*(f"{count:>9} times: {line}" for line, count in soak.said.most_common(8)), sep="\n")
        subprocess.run(["umount", "--recursive", "--lazy", base], check=False)
        base.rmdir()
    print(f"soak: {options.days} days in {time.monotonic() - began:.0f} s: nothing was lost that was promised, and nothing kept that was to go")


if __name__ == "__main__":
    main()
