"""Pages with long lists of tasks that all come back at once."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import redis

from realtime.core.change import Change
from realtime.store import get_store
from tests.faults.stage import require
from tests.until import until

from .client import Client
from .crowd import connected, milliseconds
from .held import sign_in
from .report import Row
from .stage import LoadStage

#: Asks Redis again and again, in a process of its own, until its input ends; then prints the
#: longest answer in seconds.
_PROBER = """
import select, sys, time, redis
client, longest = redis.Redis.from_url(sys.argv[1]), 0.0
client.ping()
while not select.select([sys.stdin], [], [], 0.001)[0]:
    began = time.perf_counter()
    client.ping()
    longest = max(longest, time.perf_counter() - began)
print(longest)
"""


class Prober:
    """Measures how long Redis serves nobody else."""

    def __init__(self, url: str) -> None:
        self._process: Any = subprocess.Popen(
            [sys.executable, "-c", _PROBER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        prefer(self._process.pid)

    def longest(self) -> float:
        """End it; return the seconds that Redis kept it waiting at most."""
        printed, _ = self._process.communicate()
        return float(printed)


def lists(stage: LoadStage) -> Iterator[Row]:
    """2,000 pages with 1,000 tasks each lose their connection, and all they knew, at once."""
    count, users, tasks = (2000, 20, 1000) if stage.long else (40, 4, 120)
    sessions = sign_in(stage, users)
    prefer(stage.server.process.pid)
    for user, _ in sessions:
        waiting = [
            get_store().send(Change(task_id=f"{user}-{n}", state="PENDING", owner=str(user)))
            for n in range(tasks)
        ]
        for answer in waiting:
            answer()
    with (
        stage.serving(MAX_CONNECTIONS_PER_USER=count, MAX_CONNECTIONS_PER_ADDRESS=count) as [web],
        redis.Redis.from_url(stage.server.url) as client,
    ):
        clients = [
            Client(f"page-{n}", [web.port], {"user:me": []}, stage.rng, session=session)
            for n, (_, session) in zip(range(count), itertools.cycle(sessions), strict=False)
        ]
        quiet = Prober(stage.server.url)
        time.sleep(2.0 if stage.long else 0.2)
        alone = quiet.longest()
        with connected(stage, clients):
            client.config_set("slowlog-log-slower-than", 0)
            client.slowlog_reset()
            client.config_set("slowlog-log-slower-than", 1000)
            prober, began = Prober(stage.server.url), time.monotonic()
            stage.fleet.call(cut_all(clients))
            back = until(lambda: all(len(one.away) == 1 for one in clients), 120)
            require(back, "not all pages are back")
            took, longest = time.monotonic() - began, prober.longest()
            slowest = max((each["duration"] for each in client.slowlog_get(1000)), default=0)
            away = max(one.away[0] for one in clients)
    size = f"{count:,} pages, user:me of {tasks:,}"
    yield Row(
        "h1",
        "lists: all come back: Redis serves nobody else, longest",
        size,
        f"{milliseconds(longest)} (alone {milliseconds(alone)}), a command {slowest / 1000:.1f} ms",
        "50 ms",
        longest <= 0.05 if stage.long else None,
    )
    yield Row(
        "h2",
        "lists: all come back: until all are current",
        size,
        f"{took:.1f} s, a page at most {away:.1f} s",
        "all",
        True,
    )


def prefer(pid: int) -> None:
    """Let a process run before the clients, with which Redis shares a core here."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, -10)


async def cut_all(clients: list[Client]) -> None:
    """Cut every connection, and forget what was read: each page loads anew."""
    for one in clients:
        for feed in one.feeds.values():
            feed.position = None
        one.cut()
    await asyncio.sleep(0)
