"""The stage of the load: real processes, and the resources that each of them uses."""

from __future__ import annotations

import http.client
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from project.processes import ROOT, Process, free_port
from project.run import page_answers
from tests.client.octets import HOST
from tests.faults.stage import Stage

#: Where `tests.load.probe` answers. (To import it would be to serve here.)
PROBE = "/probe"
_PAGE = resource.getpagesize()
_TICK = os.sysconf("SC_CLK_TCK")
#: Cores of the machine: the first is the web processes', the last everybody else's.
CORES = sorted(os.sched_getaffinity(0))


class Web:
    """One web process: `manage.py serve` on a port of its own."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port

    def start(self) -> None:
        self.process.start()
        os.sched_setaffinity(self.process.pid, CORES[:1])
        self.process.wait_ready(lambda: page_answers(HOST, self.port))

    def restart(self) -> int:
        """End it as an operator does, start it again, and return the first one's exit code."""
        self.process.stop(timeout=30)
        code = self.process.returncode
        self.start()
        return -1 if code is None else code

    def rss(self) -> int:
        """Bytes of memory."""
        return rss(self.process.pid)

    def cpu(self) -> float:
        """Seconds that it has worked."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def probe(self) -> dict[str, int]:
        """The figures that only the process itself knows."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", PROBE)
            figures: dict[str, int] = json.loads(connection.getresponse().read())
            return figures
        finally:
            connection.close()


class LoadStage(Stage):
    """One Redis and one prefork worker for all figures; web processes for each."""

    def open(self) -> None:
        """Start what all figures share."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        # What is started from here on shares the generator's core, but for the web processes.
        os.sched_setaffinity(0, CORES[-1:])
        self.env["CELERY_IMPORTS"] = "tests.faults.tasks,tests.load.tasks"
        self.server = self.redis("redis")
        self.use(self.server.url, self.server.url)
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=self.env, check=True
        )
        # The publishing tasks take two children.
        self.celery = self.worker(concurrency=4)

    @contextmanager
    def serving(
        self, count: int = 1, on_line: Callable[[str, str], None] | None = None, **realtime: Any
    ) -> Iterator[list[Web]]:
        """So many web processes, with settings of REALTIME; ended by force."""
        webs = []
        settings = {
            "ASGI_APPLICATION": "tests.load.probe.application",
            "REALTIME": {"REDIS_URL": self.server.url, **realtime},
        }
        try:
            for _ in range(count):
                port = free_port()
                command = [sys.executable, "manage.py", "serve", f"{HOST}:{port}"]
                env = self.env | {"FAULTS_SETTINGS": json.dumps(settings)}
                web = Web(Process("web", command, env=env, on_line=on_line), port)
                webs.append(web)
                self.processes.append(web.process)
                web.start()
            yield webs
        finally:
            for web in webs:
                web.process.kill()

    def kept(self) -> list[str]:
        """The keys in which Redis keeps tasks, their topics and their lists."""
        with redis.Redis.from_url(self.server.url) as client:
            keys = [key.decode() for key in client.scan_iter("realtime:*:*", count=1000)]
        return [key for key in keys if not key.startswith("realtime:lease:")]

    def redis_figures(self) -> dict[str, int]:
        """What Redis keeps and carries."""
        with redis.Redis.from_url(self.server.url) as client:
            return {
                "Redis keys": int(client.dbsize()),
                "Pub/Sub groups": len(client.pubsub_channels()),
            }


def rss(pid: int) -> int:
    """Bytes of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def descriptors(pid: int) -> int:
    """Open file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def group(leader: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == leader:
                found.append(int(folder.name))
    return found


def cpu_over(web: Web, seconds: float) -> float:
    """The share of a core that a process takes while so many seconds pass."""
    began, before = time.monotonic(), web.cpu()
    time.sleep(seconds)
    return (web.cpu() - before) / (time.monotonic() - began)
