#!/usr/bin/env python3
"""Lets jobs run alone for a simulated year: `make soak`, or tests/soak.py [--days N] [--seed N] target/release.

Each hour of that year is one round of bk-auto, as cron would start it, on the programs as they are: their
clock is that of this machine, set on by libfaketime (Debian's package of that name). An hourly and a nightly
job keep the backups of their last days; a third, at noon, keeps by the calendar. Some rounds are killed, the
whole of it as by a power cut, bk-auto alone, or one of its children; some meet a full disk, catalog and
archives alike; now and then the machine is off for hours, once for weeks. The zone has summer time.

Each simulated day the catalog, the files, the ledger and what the rules kept are held against a model, which
knows nothing of how the programs work: what a create in the ledger acknowledged is there, with the content of
its hour, until it was old enough to go; what was to go is gone; each time of a schedule had its run, and no
more than one that succeeded; nothing else is in the storage. At the end each archive is verified and the
catalog is built again from them.

It prints what it did as one line a month, and its figures as JSON at the end. The first thing that is not as
promised ends it with 1; the seed repeats it, but for when exactly a kill hits.
"""

import argparse
import collections
import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zoneinfo
from pathlib import Path

PRELOAD = ["/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib64/faketime/libfaketime.so.1"]
ZONE = zoneinfo.ZoneInfo("Europe/Berlin")
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
# Two jobs keep all of their last days, one keeps by rules.
RETENTION_DAYS = {"hourly": 2, "nightly": 14}
JOBS = {"hourly": "0 * * * *", "nightly": "30 2 * * *", "noon": "0 12 * * *"}
RULES = "--keep-last 2 --keep-daily 7 --keep-weekly 5 --keep-monthly 3"
HOME_BYTES = 256 << 20
# A run of all programs takes less.
ROUND_SECONDS_MAX = 60


class Broken(Exception):
    """A promise that was not kept."""


def check(holds, text):
    if not holds:
        raise Broken(text)


def library():
    for pattern in PRELOAD:
        for path in Path("/").glob(pattern.lstrip("/")):
            return path
    return None


def parsed(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


class Machine:
    """The programs, their home, and a clock that is set on."""

    def __init__(self, programs, directory):
        self.programs, self.dir = programs, directory
        self.home, self.sources = directory / "home", directory / "sources"
        self.home.mkdir(mode=0o700)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={HOME_BYTES},mode=700", "none", self.home])
        if mounted.returncode != 0:
            sys.exit("soak: the home could not be mounted in memory: it takes root")
        # Later than all files of this machine, as if they had always been there.
        now = datetime.datetime.now(datetime.timezone.utc)
        self.now = (now + 2 * DAY).replace(minute=35, second=0, microsecond=0)
        self.sources.mkdir()

    def environment(self):
        ahead = self.now - datetime.datetime.now(datetime.timezone.utc)
        return {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.dir),
            "BK_HOME": str(self.home),
            "TZ": ZONE.key,
            "LC_ALL": "C.UTF-8",
            "LD_PRELOAD": str(library()),
            "FAKETIME": f"{ahead.total_seconds():+.0f}",
            # The times of files are what they are, and waiting takes as long as it takes.
            "NO_FAKE_STAT": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def run(self, line, allowed=(0,)):
        ran = subprocess.run(
            ["bash", "-c", line], env=self.environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        check(ran.returncode in allowed, f"{line}: exit status {ran.returncode}: {ran.stderr}")
        return ran

    def lines(self, line, allowed=(0,)):
        return [json.loads(it) for it in self.run(line, allowed).stdout.splitlines()]

    def write(self, text):
        """What the sources hold from now on."""
        for job in JOBS:
            (self.sources / job).mkdir(exist_ok=True)
            (self.sources / job / "stamp").write_text(text)

    def round(self, kill=None, is_full=False):
        """One round of bk-auto; its exit status, `None` where it was killed."""
        filler = self.home / "filler"
        if is_full:
            free = shutil.disk_usage(self.home).free
            with open(filler, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, free - random.randrange(0, 300_000)))
        # A process namespace, whose end ends all in it, as a power cut does.
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bk-auto", "--json"]
        child = subprocess.Popen(
            command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        if kill:
            time.sleep(random.uniform(0.0, 0.35))
            self.kill(child.pid, kill)
        error = child.communicate(timeout=ROUND_SECONDS_MAX)[1]
        filler.unlink(missing_ok=True)
        self.error = error
        return child.returncode if not kill else None

    @staticmethod
    def kill(pid, what):
        """Kills all, or one that the first of all has started."""
        target = pid
        for _ in range({"all": 0, "child": 2}[what]):
            try:
                below = Path(f"/proc/{target}/task/{target}/children").read_text().split()
            except OSError:
                return
            if not below:
                return
            target = int(below[0])
        try:
            os.kill(target, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Model:
    """What is promised, from the ledger and the clock alone."""

    def __init__(self, machine):
        self.machine = machine
        self.stamps = {}
        # What was acknowledged and not removed: the name of the backup, by its id.
        self.alive = {}
        self.created = {}
        self.last_row = 0
        self.counts = collections.Counter()
        self.scheduled = collections.defaultdict(set)
        self.runs = collections.defaultdict(list)

    def read(self):
        """The rows of the ledger since the last time."""
        rows = [it for it in self.machine.lines("bk-log --json") if it["id"] > self.last_row]
        for row in sorted(rows, key=lambda it: it["id"]):
            self.last_row = row["id"]
            self.counts[f"{row['event']} {row['outcome']}"] += 1
            self.add(row)

    def add(self, row):
        details, event, ok = row["details"], row["event"], row["outcome"] == "ok"
        if event == "create" and ok:
            self.alive[row["backup_id"]] = row["backup_name"]
            job = row["backup_name"].split("_")[0]
            self.created[row["backup_id"]] = {"at": parsed(row["happened_at"]), "job": job}
        is_gone = event == "prune" or event == "recover" and details.get("status") == "deleting"
        if is_gone and ok and self.alive.pop(row["backup_id"], None):
            self.check_removal(row)
        if event != "auto":
            return
        job = details["job"]
        self.runs[job].append(row)
        if ok and details.get("scheduled"):
            check(details["scheduled"] not in self.scheduled[job], f"{job} ran twice for {details['scheduled']}")
            self.scheduled[job].add(details["scheduled"])

    def check_removal(self, row):
        """What was removed was old enough, or its rules tell why each did not keep it."""
        created = self.created.pop(row["backup_id"])
        details = row["details"]
        if row["event"] == "prune":
            wanted = len(RULES.split()) // 2 if created["job"] == "noon" else 1
            check(len(details["rules"]) == wanted and details["job"] == created["job"], f"no reasons: {row}")
        days = RETENTION_DAYS.get(created["job"])
        if days:
            age = parsed(row["happened_at"]) - created["at"]
            check(age > days * DAY - HOUR, f"{row['backup_name']} was removed at the age of {age}")

    def check_records(self):
        """The catalog and the files."""
        records = self.machine.lines("bk-ls --json")
        there = {it["id"]: it for it in records if it["status"] == "completed"}
        check(there.keys() == self.alive.keys(), f"lost {self.alive.keys() - there.keys()}, unknown {there.keys() - self.alive.keys()}")
        for it in there.values():
            check(it["file_status"] == "available", f"{it['backup_name']} is {it['file_status']}")
        files = {str(it) for it in (self.machine.home / "archives").iterdir() if not it.name.startswith(".")}
        # A run that was killed after its archive was whole, but before that was recorded, leaves it to
        # bk-adopt until it is pruned with its record.
        allowed = {it["backup_path"] for it in records if it["status"] in ("completed", "failed")}
        check(files <= allowed, f"in the storage: {sorted(files - allowed)}")
        return there

    def check_content(self, records):
        """An archive holds what the sources held in its hour, by tar alone."""
        for it in records:
            job = it["backup_metadata"]["job"]
            ran = subprocess.run(
                ["tar", "xzOf", it["backup_path"], "--wildcards", "*/stamp"], capture_output=True, text=True
            )
            at = parsed(it["created_at"]).replace(minute=35, second=0, microsecond=0)
            check(ran.stdout == self.stamps[at], f"{job}: {it['backup_name']} has {ran.stdout!r} of {at}")

    def check_round(self, began, since, is_pending):
        """After a round that nothing befell: what came due since the last such round has run, in this one
        if not in one with a fault, of which a failure is recorded."""
        for job in JOBS:
            if not is_pending[job]:
                continue
            last = self.runs[job][-1] if self.runs[job] else None
            ran = parsed(last["details"]["began"]) if last else None
            check(ran and ran > since + HOUR / 2, f"{job} did not run from {since} to {began}")
            check(last["outcome"] == "ok" or ran < began - HOUR / 2, f"{job} at {began}: {last}")

    def check_retention(self, there):
        """Nothing older stays than bk-auto was to keep, but for what it may not remove."""
        for job, days in RETENTION_DAYS.items():
            last = self.runs[job][-1]["details"]
            if "warning" in last:
                continue
            old = [
                it for it in there.values()
                if it["backup_metadata"]["job"] == job and parsed(it["created_at"]) < parsed(last["began"]) - days * DAY - HOUR
            ]
            check(len(old) == 0, f"{job} keeps {[it['backup_name'] for it in old]}")


def kept_by_rules(backups):
    """What RULES keep: an oracle of its own. The oldest stays as long as a rule has room."""
    rules = dict(zip(RULES.split()[::2], map(int, RULES.split()[1::2])))
    newest_first = sorted(backups, key=lambda it: (it["created_at"], it["id"]), reverse=True)
    local = [parsed(it["created_at"]).astimezone(ZONE) for it in newest_first]
    labels = {
        "--keep-last": lambda at: local[at].timestamp() + at,
        "--keep-daily": lambda at: local[at].date(),
        "--keep-weekly": lambda at: local[at].isocalendar()[:2],
        "--keep-monthly": lambda at: (local[at].year, local[at].month),
    }
    kept = {newest_first[0]["id"]} if newest_first else set()
    for rule, count in rules.items():
        seen = set()
        for at, it in enumerate(newest_first):
            label = labels[rule](at)
            if len(seen) >= count:
                break
            is_oldest = at + 1 == len(newest_first) and rule != "--keep-last"
            if label not in seen or is_oldest:
                seen.add(label)
                kept.add(it["id"])
    return kept


def completed(machine, job):
    return [it for it in machine.lines(f"bk-ls --json --job {job}") if it["status"] == "completed"]


def check_rules(before, after):
    """What a round left of the third job is what its rules keep."""
    there = {it["id"]: it for it in before + after}
    kept = kept_by_rules(list(there.values()))
    left = {it["id"] for it in after}
    check(left == kept, f"the rules left {left}, not {kept}")


def fault(rng):
    """What befalls a round: how it is killed, whether the disk is full, and how long the machine is off."""
    at = rng.random()
    if at < 0.04:
        return rng.choice(["all", "child"]), False, 0
    if at < 0.06:
        return None, True, 0
    if at < 0.065:
        return None, False, rng.randrange(2, 60)
    return None, False, 0


def due(schedule_job, since, until):
    """Whether a time of a schedule lies between, by the local clock, its gaps and repeats aside."""
    at = since
    while at < until:
        at += datetime.timedelta(minutes=30)
        local = min(at, until).astimezone(ZONE)
        if schedule_job == "hourly":
            return until - since >= HOUR
        hour, minute = (2, 30) if schedule_job == "nightly" else (12, 0)
        before = (min(at, until) - datetime.timedelta(minutes=30)).astimezone(ZONE)
        time_of = local.replace(hour=hour, minute=minute)
        if before < time_of <= local:
            return True
    return False


def simulate(machine, days, rng):
    model = Model(machine)
    machine.write("before")
    for job, cron in JOBS.items():
        keep = f"-r {RETENTION_DAYS[job]}" if job in RETENTION_DAYS else RULES
        machine.run(f"bk-auto --set {job} -s '{cron}' {keep} --create-flag=--on-low-space=fail --enable -- {machine.sources / job} >/dev/null")
    began, last_clean = machine.now, machine.now
    is_off_for_weeks, is_after_fault = days > 100, False
    while machine.now < began + days * DAY:
        machine.now += HOUR
        kill, is_full, off = fault(rng)
        if is_off_for_weeks and machine.now > began + days * DAY / 2:
            is_off_for_weeks, off = False, 35 * 24
        machine.now += off * HOUR
        stamp = f"{machine.now.isoformat()}\n"
        model.stamps[machine.now] = stamp
        machine.write(stamp)
        local = machine.now.astimezone(ZONE)
        before = completed(machine, "noon") if local.hour == 12 else []
        status = machine.round(kill, is_full)
        word = "killed" if kill else "full" if is_full else "off" if off else "clean"
        model.counts[f"rounds {word}"] += 1
        if kill or is_full:
            is_after_fault = True
            continue
        # A run that was killed, or that could not be recorded, is a failure of the round that records it.
        check(status == 0 or is_after_fault, f"at {machine.now}: bk-auto exits with {status}: {machine.error}")
        is_after_fault = False
        if local.hour == 12:
            check_rules(before, completed(machine, "noon"))
        if local.hour in (3, 13):
            model.read()
            is_pending = {job: due(job, last_clean, machine.now) for job in JOBS}
            model.check_round(machine.now, last_clean, is_pending)
            there = model.check_records()
            model.check_retention(there)
            model.check_content(rng.sample(list(there.values()), min(2, len(there))))
            if local.hour == 3 and local.day == 1:
                print(f"{local.date()}: {len(there)} backups, {dict(model.counts)}", flush=True)
        last_clean = machine.now
    finish(machine, model)
    return model.counts


def finish(machine, model):
    """Once nothing more befalls: all of it once more."""
    machine.now += HOUR
    model.stamps[machine.now] = f"{machine.now.isoformat()}\n"
    machine.write(model.stamps[machine.now])
    check(machine.round() == 0, f"the last round: {machine.error}")
    model.read()
    there = model.check_records()
    model.check_content(there.values())
    machine.run("bk-ls --json --status completed | bk-verify --deep --json >/dev/null")
    machine.run(f"BK_HOME={machine.dir}/again bk-adopt --json -r {machine.home}/archives >/dev/null")
    again = machine.lines(f"BK_HOME={machine.dir}/again bk-ls --json")
    # What a kill kept from being recorded is adopted too.
    lost = set(model.alive.values()) - {it["backup_name"] for it in again}
    check(not lost, f"the catalog that was built again lacks {lost}")
    model.counts["backups at the end"] = len(there)
    model.counts["catalog bytes"] = (machine.home / "catalog.duckdb").stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", type=Path)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    if library() is None:
        sys.exit("soak: libfaketime is not installed: apt-get install faketime")
    random.seed(options.seed)
    directory = Path(tempfile.mkdtemp(prefix="bk-soak-"))
    began = time.monotonic()
    try:
        machine = Machine(options.programs.resolve(), directory)
        counts = simulate(machine, options.days, random)
    except Broken as broken:
        sys.exit(f"soak: seed {options.seed}: {broken}")
    finally:
        subprocess.run(["umount", "-l", directory / "home"])
        shutil.rmtree(directory)
    counts["seconds"] = round(time.monotonic() - began)
    print(json.dumps({"days": options.days, "seed": options.seed, **counts}))


if __name__ == "__main__":
    main()
