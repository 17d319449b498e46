"""The stage of all works: a Redis, a database with a user, servers and workers."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from project.processes import Process, free_port
from project.redis_server import embedded_redis

from . import machine
from .peers import Missing, Peer, Server
from .report import Table

#: Sessions of the one user of all clients: so many that no cache has the session of a handshake.
SESSIONS = 300


@dataclass
class Size:
    """The size of a measurement."""

    rounds: int = 5
    seconds: float = 0.4  #: length of a round that ends by time
    calls: int = 300  #: publishes in a round
    quick: bool = False
    sockets: int = 0  #: idle ones, in place of several numbers


FULL = Size()
QUICK = Size(rounds=3, seconds=0.3, calls=100, quick=True)


@dataclass
class Stage:
    """What a work needs: it starts servers and workers, and ends them."""

    size: Size
    directory: Path
    redis_url: str
    redis: Process
    _sessions: Iterator[str]
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def session(self) -> str:
        """The cookie of one of the user's sessions, in turn."""
        return next(self._sessions)

    def close(self) -> None:
        """End the processes that a work has started."""
        self._stack.close()
        gc.collect()  # automatic collection is off

    def serve(self, peer: Peer, *, name: str = "") -> Server:
        """Start the server of a way on the core of servers, and wait until it answers."""
        port = free_port()
        # Not named by the port: an earlier server may have had the same one.
        directory = Path(mkdtemp(dir=self.directory))
        command = peer.command(port, directory)
        process = self._process(
            f"server of {peer.name}", command, machine.SERVER_CORES, **peer.environment(port)
        )
        process.wait_ready(lambda: peer.answers(port))
        pids = _children(process.pid) if peer.forks else [process.pid]
        return Server(port, pids)

    def serve_all(self, peers: Sequence[Peer], table: Table) -> dict[Peer, Server]:
        """Start the servers of the ways that are installed; note the others in the table."""
        servers = {}
        for peer in peers:
            try:
                peer.check_present()
            except Missing as missing:
                table.missing[peer.name] = str(missing)
                continue
            servers[peer] = self.serve(peer)
        return servers

    def worker(self, way: str, queue: str, *options: str, children: int = 1) -> Process:
        """Start a worker on all cores, which consumes only its own queue."""
        from project.run import worker_answers, worker_command

        node = f"{queue}@benchmarks"
        command = worker_command(node, children)
        command[command.index("project.celery:app")] = "benchmarks.celery:app"
        command[command.index("INFO")] = "WARNING"
        command += ["-Q", queue, *options]
        process = self._process(f"worker of {way}", command, machine.CORES, BENCHMARKS_WAY=way)
        process.wait_ready(lambda: worker_answers(node, self.redis_url), timeout=60)
        return process

    def _process(
        self, name: str, command: list[str], cores: Sequence[int], **environment: str
    ) -> Process:
        process = Process(name, command, env={**os.environ, **environment})
        self._stack.callback(process.kill)
        process.start()
        os.sched_setaffinity(process.pid, cores)
        return process


@contextmanager
def stage(size: Size) -> Iterator[Stage]:
    """Start an empty Redis, which this process and its children use, and yield the stage."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        server, url = embedded_redis(directory / "redis", keep=False)
        try:
            os.environ.update(
                DJANGO_SETTINGS_MODULE="benchmarks.settings",
                DATA_DIR=str(directory),
                REDIS_URL=url,
                CELERY_BROKER_URL=url,
                CELERY_RESULT_BACKEND=url,
            )
            machine.prepare()
            os.sched_setaffinity(server.pid, machine.LOAD_CORES)
            yield _with_user(size, directory, url, server)
        finally:
            server.kill()


def _with_user(size: Size, directory: Path, url: str, server: Process) -> Stage:
    # Imported here: the imports read the settings.
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connections
    from django.test import Client

    call_command("migrate", interactive=False, verbosity=0)
    user: Any = User.objects.create_user("somebody")
    sessions = []
    for _ in range(SESSIONS):
        client = Client()
        client.force_login(user)
        sessions.append(client.cookies["sessionid"].value)
    connections.close_all()
    os.environ["BENCHMARKS_OWNER"] = str(user.pk)
    return Stage(size, directory, url, server, cycle(sessions))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
