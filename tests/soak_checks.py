"""What is to be true after each start of bk-auto in soak.py: catalog, ledger and archives against the model.

Starts nothing but programs that look, and changes nothing.
"""

import collections
import datetime
import os
import subprocess
import zoneinfo

from soak_files import clear, look
from soak_machine import ZONE, Broken
from soak_model import HOUR, Backup, removable, seconds

# For so long the clock has to be steady before it is believed again, give or take.
STEADY_SECONDS, SLACK_SECONDS = 23 * HOUR, 2 * HOUR
# A job whose hook fails ends as it should; two at once do nothing twice.
HARMLESS = (None, "refused", "twins", "wrong clock")


class Step:
    """A start of bk-auto: when, what disturbed it, and what was found after it."""

    def __init__(self, number, rng, now, fault):
        self.number, self.rng, self.now, self.fault = number, rng, now, fault
        self.end, self.status, self.printed, self.stderr = now, None, [], ""
        self.events, self.new, self.gone, self.notices, self.is_due, self.began = [], [], [], [], False, set()

    @property
    def is_disturbed(self):
        return self.fault not in HARMLESS

    def rows(self, job):
        """What the ledger got to know of a job."""
        return [it for it in self.events if it["event"] == "auto" and it["details"].get("job") == job]

    def made(self, job):
        return [it for it in self.new if it.job == job and it.status == "completed"]


class Book:
    """What is known of the backups: those in the catalog, the trees that they hold, the rows of the ledger."""

    def __init__(self, machine, jobs):
        self.machine, self.jobs, self.zone = machine, jobs, zoneinfo.ZoneInfo(ZONE)
        self.backups, self.before, self.trees, self.events, self.seen = {}, {}, {}, {}, {}
        self.unrecorded, self.outcomes, self.was_disturbed, self.jumped_at, self.doubted_until = set(), {}, False, 0.0, 0.0
        self.figures = collections.Counter()

    def list(self):
        """The catalog, as it is now."""
        listed = {it["id"]: Backup.of(it) for it in self.machine.run("bk-ls", "--json")}
        self.before, self.backups = self.backups, listed
        self.seen.update((it.id, it) for it in listed.values() if it.status == "completed")

    def find(self, step):
        """What a start changed."""
        self.list()
        since = datetime.datetime.fromtimestamp(step.now - 1, datetime.timezone.utc).isoformat()
        rows = self.machine.run("bk-log", "--json", "--since", since)
        step.events = [row for row in rows if row["id"] not in self.events]
        self.events.update((row["id"], row) for row in step.events)
        step.new = [it for id, it in self.backups.items() if id not in self.before]
        step.gone = [it for id, it in self.before.items() if id not in self.backups]
        for id, old in self.before.items():
            if id in self.backups:
                check_same(old, self.backups[id])

    def check(self, step, trees):
        """All, after a start; `trees` is what there was to back up, by job."""
        self.find(step)
        step.began = {job.name for job in self.jobs.values() if job.due(step.now)}
        for job in self.jobs.values():
            self.check_runs(step, job)
        for name in (*self.jobs, None):
            self.check_retention(step, name)
        self.check_status(step)
        self.check_acknowledged(step)
        self.check_new(step, trees)
        self.check_gone(step)
        self.was_disturbed = step.is_disturbed

    def check_runs(self, step, job):
        """A job that was due ran, once; one that was not did not; what an earlier start could not record is
        recorded now."""
        rows = step.rows(job.name)
        late = [row for row in rows if seconds(row["details"]["began"]) < step.now]
        own = [row for row in rows if row not in late]
        must(self.was_disturbed or not late, f"{job.name}: late rows after a start that nothing disturbed: {late}")
        whole = [row for row in own if "interrupted" not in row["details"]]
        must(len(whole) <= 1, f"{job.name} ran {len(whole)} times")
        for row in rows:
            if row in own:
                at, due = seconds(row["details"]["scheduled"]), job.due(step.now)
                must(at == due, f"{job.name} ran for {at} and was due for {due}")
                self.check_outcome(step, job, row)
            job.note(row["details"])
        due = job.due(step.now)
        must(not due or step.is_disturbed, f"{job.name} was due for {due} and did not run")
        self.figures["runs that the next start recorded"] += len(late)
        must(late or step.is_disturbed or job.name not in self.unrecorded, f"{job.name}: a run made a backup and is not in the ledger")
        if late or not step.is_disturbed:
            self.unrecorded.discard(job.name)
        if len([it for it in step.new if it.job == job.name]) > len(own):
            self.unrecorded.add(job.name)
        self.check_notices(step, job, rows)
        for row in rows:
            self.outcomes[job.name] = row["outcome"]
            self.figures["runs"] += 1
            self.figures["runs that failed"] += row["outcome"] != "ok"
            self.figures["runs that were interrupted"] += "interrupted" in row["details"]

    def check_outcome(self, step, job, row):
        """A run that nothing disturbed made one backup, or failed for its reason."""
        if step.is_disturbed:
            return
        expected = "failed" if step.fault == "refused" and job.tree else "ok"
        must(row["outcome"] == expected, f"a run of {job.name} is {row['outcome']}: {row['details']}")
        made = step.made(job.name)
        must(len(made) == int(expected == "ok" and bool(job.tree)), f"{job.name} made {len(made)} backups")
        if made:
            must(row["backup_id"] == made[0].id, f"the ledger names another backup of {job.name}: {row}")

    def check_notices(self, step, job, rows):
        """Who is to be told is told of each failure, and when that is over."""
        if step.is_disturbed:
            return
        expected, may, last = [], [], self.outcomes.get(job.name, "ok")
        for row in rows:
            is_late = seconds(row["details"]["began"]) < step.now
            is_shrunk = any("shrunk" in it.metadata for it in self.backups.values() if it.id == row["backup_id"])
            words = ["recovered"] * (last != "ok") + ["shrunk"] * is_shrunk if row["outcome"] == "ok" else ["failed"]
            # What could not be recorded was told when it happened; a run that was killed tells nobody itself.
            was_told = is_late and "interrupted" not in row["details"] and row["details"].get("begun", True)
            (may if was_told else expected).extend(words)
            last = row["outcome"]
        # Nobody waits for one before the next is begun.
        told = [word for name, word in step.notices if name == job.name]
        must(sorted(told) in (sorted(expected), sorted(expected + may)), f"{job.name}: told of {told} and not of {expected}")

    def check_status(self, step):
        failed = any(row["outcome"] != "ok" for job in self.jobs for row in step.rows(job))
        must(step.is_disturbed or step.status == int(failed), f"bk-auto ended with {step.status}: {step.stderr}")

    def check_acknowledged(self, step):
        """What was printed or recorded is there."""
        for record in step.printed:
            known = self.backups.get(record["id"])
            must(known and known.status == "completed", f"{record['backup_name']} was printed and is not there")
            must(known.record["backup_hash"] == record["backup_hash"], f"{known.name} has another hash")
        for row in step.events:
            is_made = row["event"] == "auto" and row["backup_id"]
            must(not is_made or row["backup_id"] in self.backups, f"{row['backup_name']} is recorded and is not there")

    def check_new(self, step, trees):
        """A new backup is what sha256sum(1) says, and often what tar(1) says."""
        for backup in step.new:
            if backup.status == "completed":
                self.trees[backup.id] = trees[backup.job]
                self.check_hash(backup)
                self.check_shrunk(backup)
                self.figures["backups made"] += 1
                if step.fault or step.rng.random() < 0.2:
                    self.check_content(backup)
            else:
                must(step.is_disturbed or step.fault == "refused", f"{backup.name} is {backup.status}")

    def check_hash(self, backup):
        ran = subprocess.run(["sha256sum", backup.record["backup_path"]], capture_output=True, text=True)
        must(ran.stdout.split(" ")[0] == backup.record["backup_hash"], f"{backup.name}: {ran.stdout} {ran.stderr}")

    def check_content(self, backup):
        """Restored by tar, it is the tree of that time."""
        target = self.machine.base / "restored"
        clear(target)
        subprocess.run(["tar", "-xmf", backup.record["backup_path"], "-C", target], check=True)
        root, expected, dump = self.trees[backup.id]
        found = look(target / root.relative_to("/"))
        if backup.metadata.get("loss_count"):
            found.pop("bad", None)
        different = {name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)}
        must(not different, f"{backup.name} holds others than the tree: {sorted(different)[:5]}")
        if dump is not None:
            must((target / "dump.sql").read_bytes() == dump, f"{backup.name} holds another dump")
        self.figures["archives unpacked with tar and compared"] += 1

    def check_shrunk(self, backup):
        """It is held against the job's last one of the same sources that did not shrink itself."""
        same = [it for it in self.before.values() if it.status == "completed" and "shrunk" not in it.metadata
                and it.job == backup.job and it.metadata.get("sources") == backup.metadata.get("sources")]
        last = max(same, key=lambda it: (it.created, it.id), default=None)
        is_less = last and backup.metadata["content_bytes"] < last.metadata["content_bytes"] / 2
        must(bool(is_less) == ("shrunk" in backup.metadata), f"{backup.name}: shrunk is {backup.metadata.get('shrunk')}")

    def check_retention(self, step, name):
        """What went was to go; what was to go after a run that nothing disturbed went. `name` is that of a job,
        or None for what was made by hand."""
        group = [it for it in [*self.before.values(), *step.new] if it.job == name]
        was_going = {it.id for it in self.before.values() if it.status == "deleting"}
        goes = [*step.gone, *(it for it in self.backups.values() if it.status == "deleting")]
        went = {it.id for it in goes if it.job == name} - was_going
        made, policies = step.made(name), []
        if name and made and "shrunk" not in made[-1].metadata:
            policies.append(self.jobs[name].policy)
        policies += [job.policy for job in self.jobs.values() if not job.tree and job.policy and job.name in step.began]
        since_jump = step.now - self.jumped_at
        if since_jump < STEADY_SECONDS - SLACK_SECONDS:
            policies = []
        may = set().union(*(removable(group, policy, step.end, self.zone) for policy in policies))
        must(went <= may, f"{name}: {sorted(went - may)} went and had to stay, of {sorted(it.id for it in group)}")
        if not step.is_disturbed and since_jump > STEADY_SECONDS + SLACK_SECONDS and step.now > self.doubted_until:
            # What one retention removes may be what another one would have counted.
            rest = [it for it in group if it.id not in went]
            # A job that only prunes leaves a group alone whose newest backup shrank, when it came to it.
            newest = max((it for it in self.before.values() if it.job == name and it.status == "completed"
                          and it.created < step.now), key=lambda it: it.created, default=None)
            held = [] if not newest or "shrunk" not in newest.metadata else [job.policy for job in self.jobs.values() if not job.tree]
            had_to = set().union(*(removable(group, policy, step.now, self.zone) & removable(rest, policy, step.now, self.zone)
                                   for policy in policies if policy not in held))
            must(not had_to, f"{name}: {sorted(had_to)} had to go and is there")
        self.figures["backups removed by retention"] += len(went)

    def check_gone(self, step):
        """The ledger tells of each that went, and its archive is gone."""
        for backup in step.gone:
            told = [row for row in step.events if row["backup_id"] == backup.id and row["event"] in ("prune", "remove", "recover")]
            must(told, f"the ledger does not tell that {backup.name} went")
            must(not os.path.exists(backup.record["backup_path"]), f"{backup.name} went, and its archive is there")

    def check_places(self):
        """After an undisturbed run nothing lies about."""
        known = {it.record["backup_path"] for it in self.backups.values()}
        strays = [path for path in self.machine.store.iterdir() if str(path) not in known and path.name != ".bk-storage"]
        must(not strays, f"archives of no record: {strays}")
        for backup in self.backups.values():
            must(backup.status in ("completed", "failed"), f"{backup.name} is still {backup.status}")
        wanted = {f"{it.record['backup_hash']}.parquet" for it in self.backups.values() if it.status == "completed"}
        strays = {path.name for path in (self.machine.home / "manifests").iterdir()} - wanted
        must(not strays, f"manifests of no record: {sorted(strays)}")
        self.figures["looks for what lies about"] += 1

    def check_all(self):
        """The last look: each archive with sha256sum, tar and bk-verify, the ledger from its beginning, and
        the catalog once more, from the archives alone."""
        completed = [it for it in self.backups.values() if it.status == "completed"]
        for backup in completed:
            self.check_hash(backup)
            self.check_content(backup)
        verified = self.machine.run("bk-verify", "--json", "--deep", *(it.id for it in completed))
        must(all(it["verify"]["ok"] for it in verified), "bk-verify --deep finds damage")
        ledger = {row["id"]: row for row in self.machine.run("bk-log", "--json")}
        must(all(ledger.get(id) == row for id, row in self.events.items()), "rows of the ledger changed")
        made = collections.Counter(row["backup_id"] for row in ledger.values() if row["event"] == "create" and row["outcome"] == "ok")
        wrong = [it.name for id, it in self.seen.items() if made[id] != 1]
        must(not wrong, f"not once in the ledger: {wrong[:5]}")
        runs = collections.Counter((row["details"]["job"], row["details"]["began"]) for row in ledger.values() if row["event"] == "auto")
        must(set(runs.values()) <= {1}, f"more than once in the ledger: {runs.most_common(3)}")
        other = self.machine.home.parent / "other"
        adopted = self.machine.run("bk-adopt", "--json", "-r", "--home", other, self.machine.store)
        hashes = {it["backup_name"]: it["backup_hash"] for it in adopted}
        lost = [it.name for it in completed if hashes.get(it.name) != it.record["backup_hash"]]
        must(not lost, f"not found by bk-adopt: {lost[:5]}")
        self.machine.run("bk-df", "--json", "--fail", "overdue>1h")
        self.figures.update({"backups at the end": len(completed), "rows of the ledger": len(ledger)})


def must(holds, text):
    if not holds:
        raise Broken(text)


def check_same(old, new):
    """A completed record stays as it is, but for what became known of it."""
    keys = "backup_name backup_path backup_size backup_hash created_at protected expires_at file_count".split()
    if old.status == new.status == "completed":
        wrong = [key for key in keys if old.record[key] != new.record[key]]
        must(not wrong, f"{old.name}: {wrong} changed")
        must(new.record["file_status"] == "available", f"{old.name} is {new.record['file_status']}")
    allowed = {"completed": ("completed", "deleting"), "failed": ("failed", "deleting"), "deleting": ("deleting",),
               "creating": ("creating", "failed")}
    must(new.status in allowed[old.status], f"{old.name} went from {old.status} to {new.status}")
