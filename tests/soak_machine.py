"""The machine of soak.py: disks in memory, programs whose clock is set ahead, and what can go wrong with it.

Knows neither jobs nor backups.
"""

import contextlib
import ctypes
import fcntl
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ZONE = "Europe/Berlin"
LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")
PR_SET_CHILD_SUBREAPER = 36
# Nothing that was started takes longer, but for a hang.
PATIENCE_SECONDS = 120
TREES_BYTES, HOME_BYTES, STORE_BYTES = 256 << 20, 96 << 20, 64 << 20


class Broken(Exception):
    """A promise that was not kept."""


class Machine:
    """A place for trees, two small disks, and the programs."""

    def __init__(self, programs, base):
        self.base, self.programs, self.ahead_seconds = base, programs, 0
        self.home, self.store = base / "home-disk/home", base / "store-disk/store"
        for disk, size in ((base, TREES_BYTES), (self.home.parent, HOME_BYTES), (self.store.parent, STORE_BYTES)):
            disk.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "soak", disk], check=True)
        self.store.mkdir(mode=0o700)
        # Orphans of what was killed become children of this process.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def set_clock(self, now):
        """From `now` on it goes on as any clock does."""
        self.ahead_seconds = int(now - time.time()) + 1

    def clock(self):
        return time.time() + self.ahead_seconds

    def environment(self):
        """The clock is that of children too; the kernel's stays as it is."""
        return {"PATH": f"{self.programs}:{os.environ['PATH']}", "TZ": ZONE, "BK_HOME": str(self.home), "BK_HOST": "soak",
                "LD_PRELOAD": library(), "FAKETIME": f"+{self.ahead_seconds}", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DISABLE_SHM": "1", "NO_FAKE_STAT": "1", "LC_ALL": "C"}

    def start(self, *words):
        """Starts a program in a process group of its own; its output goes to files, which no orphan keeps open."""
        stdout, stderr = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        process = subprocess.Popen([str(word) for word in words], env=self.environment(), stdin=subprocess.DEVNULL,
                                   stdout=stdout, stderr=stderr, start_new_session=True, cwd=self.base)
        process.files = (stdout, stderr)
        return process

    def wait(self, process):
        """Its status, once it has ended."""
        with patience(process.args[0]):
            return process.wait()

    def finish(self, process):
        """Its status, stdout and stderr."""
        return self.wait(process), *(file.seek(0) or file.read() for file in process.files)

    def reap(self):
        """Waits for orphans."""
        with contextlib.suppress(ChildProcessError), patience("what bk-auto left running"):
            while True:
                os.waitpid(-1, 0)

    def run(self, *words, status=0):
        """Runs a program that is to end so; the lines that it prints."""
        ended, stdout, stderr = self.finish(self.start(*words))
        if ended != status:
            raise Broken(f"{' '.join(map(str, words))} ended with {ended}: {stderr}")
        return [json.loads(line) for line in stdout.splitlines()]

    @contextlib.contextmanager
    def full(self, disk, rng):
        """A disk with next to nothing free."""
        ballast = disk / "ballast"
        with open(ballast, "wb") as file:
            size = shutil.disk_usage(disk).free - rng.choice((0, 0, 4096, 20_000, 100_000))
            # What a program takes in the same moment is missing here.
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(size, 1))
        yield
        ballast.unlink()

    @contextlib.contextmanager
    def held(self, rng):
        """The catalog, held by another for a while."""
        with open(self.home / "catalog.lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            timer = threading.Timer(rng.uniform(0.1, 2.5), lambda: fcntl.flock(file, fcntl.LOCK_UN))
            timer.start()
            yield
            timer.join()


@contextlib.contextmanager
def patience(what):
    """A wait that does not last for ever."""
    def give_up(*_):
        raise Broken(f"{what} does not end")
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def strike(pid, fault):
    """Kills a process, its children, or all of its group; or tells it to end."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        if fault == "kill child":
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
        elif fault == "kill all":
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM if fault == "signal" else signal.SIGKILL)


def library():
    """libfaketime, where it is installed."""
    return next((path for pattern in LIBRARIES for path in glob.glob(pattern)), None)


def obstacle(unshare):
    """Why there can be no such machine here."""
    if not library():
        return "libfaketime is not installed"
    if subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        return "there are no mount namespaces"
    return None
