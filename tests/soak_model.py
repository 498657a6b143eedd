"""What the simulated year of soak.py is held against, written from the man pages and from nothing else.

When a job is due (bk-auto(1)), and what a retention removes (bk-prune(1)), as functions of times and records.
Runs no program and knows no faults.
"""

import bisect
import dataclasses
import datetime

UTC = datetime.timezone.utc
HOUR, DAY = 3600, 86400
FAILED_KEPT_DAYS = 7
# A backup this far ahead is of unknown age.
FUTURE = 300


# Schedules

def fields(text, low, high):
    """The values of one field of cron: numbers, ranges and lists, or a star."""
    if text == "*":
        return set(range(low, high + 1))
    values = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        values.update(range(int(first), int(last or first) + 1))
    return values


def after_gap(moment, zone):
    """`moment` as a time, or the end of the gap that it falls into where the clock was set ahead."""
    at = moment.timestamp()
    if datetime.datetime.fromtimestamp(at, zone).replace(tzinfo=None) == moment.replace(tzinfo=None):
        return at
    offset = datetime.datetime.fromtimestamp(at, zone).utcoffset()
    while datetime.datetime.fromtimestamp(at - 60, zone).utcoffset() == offset:
        at -= 60
    return at


def due_times(schedule, begin, end, zone):
    """All times of a schedule from `begin` to `end`: those with a star in the hour follow the clock, fixed
    ones run once, also where the clock skips them or repeats them."""
    nicknames = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0"}
    minutes, hours, _, _, weekdays = nicknames.get(schedule, schedule).split()
    days = {day % 7 for day in fields(weekdays, 0, 7)}
    if hours == "*":
        # The zone is whole hours from UTC.
        times = (at + 60 * minute for at in range(begin - begin % HOUR, end, HOUR) for minute in sorted(fields(minutes, 0, 59)))
        return [at for at in times if begin < at < end and datetime.datetime.fromtimestamp(at, zone).isoweekday() % 7 in days]
    times, date = set(), datetime.datetime.fromtimestamp(begin - DAY, zone).date()
    while date <= datetime.datetime.fromtimestamp(end + DAY, zone).date():
        if date.isoweekday() % 7 in days:
            for hour in fields(hours, 0, 23):
                for minute in fields(minutes, 0, 59):
                    moment = datetime.datetime.combine(date, datetime.time(hour, minute), zone)
                    times.add(after_gap(moment, zone))
        date += datetime.timedelta(days=1)
    return sorted(at for at in times if begin < at < end)


class Job:
    """A job as bk-auto knows it, and until when its times are done."""

    def __init__(self, name, schedule, policy, tree, flags):
        self.name, self.schedule, self.policy, self.tree, self.flags = name, schedule, policy, tree, flags
        self.times, self.since, self.done_until = [], 0.0, 0.0

    def due(self, now):
        """The time for which it is to run: the last of those that were missed. A run that was made while the
        clock was wrong does not count."""
        after = self.done_until if self.done_until < now + HOUR else self.since
        missed = self.times[bisect.bisect(self.times, after):bisect.bisect(self.times, now)]
        return missed[-1] if missed else None

    def next(self, now):
        return self.times[bisect.bisect(self.times, now)]

    def note(self, details):
        """A row of the ledger: what was interrupted is made up for once, what could not begin always."""
        if details.get("interrupted") != 1 and details.get("begun", True):
            self.done_until = seconds(details["began"])
        elif details.get("done_until"):
            self.done_until = seconds(details["done_until"])


# Retention

@dataclasses.dataclass
class Backup:
    """A record, as far as a retention asks."""
    id: int
    name: str
    status: str
    created: float
    protected: bool
    expires: float | None
    is_whole: bool
    record: dict

    @property
    def metadata(self):
        return self.record["backup_metadata"]

    @property
    def job(self):
        return self.metadata.get("job")

    @classmethod
    def of(cls, record):
        metadata = record["backup_metadata"]
        is_bad = "damaged" in metadata or metadata.get("last_verified", {}).get("ok") is False
        is_whole = record["file_count"] and not metadata.get("loss_count") and "shrunk" not in metadata and not is_bad
        return cls(record["id"], record["backup_name"], record["status"], seconds(record["created_at"]),
                   record["protected"], record["expires_at"] and seconds(record["expires_at"]), bool(is_whole), record)


def seconds(text):
    """A time of a record."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def days_before(now, days, zone):
    """Days of the calendar: over a change of the clock one has 23 or 25 hours."""
    moment = datetime.datetime.fromtimestamp(now, zone) - datetime.timedelta(days=days)
    return moment.timestamp()


PERIODS = {
    "last": lambda moment: None,
    "hourly": lambda moment: (moment.date(), moment.hour),
    "daily": lambda moment: moment.date(),
    "weekly": lambda moment: moment.isocalendar()[:2],
    "monthly": lambda moment: (moment.year, moment.month),
    "yearly": lambda moment: moment.year,
}


def kept_by_rules(backups, policy, now, zone):
    """The ids that a policy keeps, of completed backups without an expiry, the newest first."""
    kept = set()
    for rule, count in policy.items():
        if rule == "days":
            oldest = days_before(now, count, zone)
            kept.update(it.id for it in backups if it.created >= oldest)
            continue
        last = object()
        for backup in backups:
            period = PERIODS[rule](datetime.datetime.fromtimestamp(backup.created, zone))
            # As long as there are fewer, the oldest counts too.
            if count > 0 and (rule == "last" or period != last or backup is backups[-1]):
                kept.add(backup.id)
                last, count = period, count - 1
    return kept


def removable(backups, policy, now, zone):
    """The ids of one group that a retention removes."""
    order = sorted(backups, key=lambda it: (it.created, it.id), reverse=True)
    completed = [it for it in order if it.status == "completed"]
    past = [it for it in completed if it.created <= now + FUTURE]
    first = {it.id for it in past[:1]} | {it.id for it in [it for it in past if it.is_whole][:1]}
    kept = kept_by_rules([it for it in past if it.expires is None], policy, now, zone)
    gone = set()
    for backup in order:
        if backup.protected or backup.id in first:
            continue
        if backup.status == "failed":
            goes = backup.created < days_before(now, FAILED_KEPT_DAYS, zone)
        elif backup.status != "completed":
            goes = False
        elif backup.expires is not None:
            goes = backup.expires <= now
        else:
            goes = backup in past and backup.id not in kept
        if goes:
            gone.add(backup.id)
    return gone
