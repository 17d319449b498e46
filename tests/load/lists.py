"""Pages with long lists of tasks that all reconnect at once."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis

from realtime.core.change import Change
from realtime.store import get_store
from tests.client.watcher import Watcher
from tests.faults.stage import require
from tests.until import until

from .crowd import connected, milliseconds
from .idle import sign_in
from .report import Row
from .stage import LoadStage

#: Pings Redis every millisecond, in a process of its own, until its input ends; then prints the
#: longest time until a reply, in seconds. Without an address it sends no ping, and prints how long
#: the scheduler delayed the process itself.
_PROBER = """
import select, sys, time, redis
client = redis.Redis.from_url(sys.argv[1]) if sys.argv[1] else None
longest = 0.0
while True:
    began = time.perf_counter()
    if client is None:
        ended = select.select([sys.stdin], [], [], 0.001)[0]
        longest = max(longest, time.perf_counter() - began - 0.001)
    else:
        client.ping()
        longest = max(longest, time.perf_counter() - began)
        ended = select.select([sys.stdin], [], [], 0.001)[0]
    if ended:
        break
print(longest)
"""


class Prober:
    """Measures how long Redis serves no other client, or, without a URL, the machine's own part."""

    def __init__(self, url: str = "") -> None:
        self._process: Any = subprocess.Popen(
            [sys.executable, "-c", _PROBER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        prefer(self._process.pid)

    def longest(self) -> float:
        """End it; return the longest wait in seconds."""
        printed, _ = self._process.communicate()
        return float(printed)


@dataclass
class Longest:
    """The longest waits in seconds."""

    #: From the prober's ping to its reply.
    reply: float
    #: Of a process without requests: what the scheduler adds to each.
    scheduler: float
    #: One turn of Redis' event loop, by its own clock, and the commands of the largest turn.
    turn: float
    commands: int
    #: One command, by Redis' slow log.
    command: float


class Measured:
    """What Redis takes for its clients while a block runs; read `longest` after it."""

    longest: Longest

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> Measured:
        self._client = redis.Redis.from_url(self._url)
        self._client.config_set("slowlog-log-slower-than", 500)
        self._client.slowlog_reset()
        self._client.config_resetstat()
        self._probers = Prober(self._url), Prober()
        return self

    def __exit__(self, *_error: object) -> None:
        reply, scheduler = (prober.longest() for prober in self._probers)
        own = self._client.info("debug")
        slow = [each["duration"] for each in self._client.slowlog_get(1000)]
        self.longest = Longest(
            reply,
            scheduler,
            own["eventloop_duration_max"] / 1e6,
            own["eventloop_cmd_per_cycle_max"],
            max(slow, default=0) / 1e6,
        )
        self._client.close()


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
    settings = {"MAX_CONNECTIONS_PER_USER": count, "MAX_CONNECTIONS_PER_ADDRESS": count}
    with stage.serving(**settings) as [web]:
        clients = [
            Watcher(f"page-{n}", [web.port], {"user:me": []}, stage.rng, session=session)
            for n, (_, session) in zip(range(count), itertools.cycle(sessions), strict=False)
        ]
        with Measured(stage.server.url) as alone:
            time.sleep(2.0 if stage.long else 0.2)
        with connected(stage, clients), Measured(stage.server.url) as storm:
            began = time.monotonic()
            stage.fleet.call(cut_all(clients))
            back = until(lambda: all(len(one.away) == 1 for one in clients), 120)
            require(back, "not all pages are back")
            took = time.monotonic() - began
            away = max(one.away[0] for one in clients)
            failures = sum(one.failures for one in clients)
    size = f"{count:,} pages, user:me of {tasks:,}"
    yield Row(
        "h1",
        "lists, all pages reconnect: longest delay by Redis",
        size,
        described(storm.longest, alone.longest),
        "50 ms",
        storm.longest.turn <= 0.05 if stage.long else None,
    )
    yield Row(
        "h2",
        "lists, all pages reconnect: until all are current",
        size,
        f"{took:.1f} s; one page {away:.1f} s at most; {failures:,} requests answered `internal`",
        "all",
        True,
    )


def described(storm: Longest, alone: Longest) -> str:
    """The longest turn by Redis' own clock, then what another client of it sees."""
    own = f"{milliseconds(storm.turn)} a turn of at most {storm.commands} commands"
    own += f", {milliseconds(storm.command)} a command"
    reply = f"{milliseconds(storm.reply)} (alone {milliseconds(alone.reply)})"
    late = f"{milliseconds(storm.scheduler)} (alone {milliseconds(alone.scheduler)})"
    return f"{own}; reply to a ping {reply}; delay by the scheduler {late}"


def prefer(pid: int) -> None:
    """Let a process run before the clients, with which Redis shares a core here."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, -10)


async def cut_all(clients: list[Watcher]) -> None:
    """Cut every connection, and forget what was read: each page loads anew."""
    for one in clients:
        for feed in one.feeds.values():
            feed.position = None
        one.cut()
    await asyncio.sleep(0)
