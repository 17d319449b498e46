"""Thousands of pages that come back at once after a restart, each with a user of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.conf import settings
from django.test import override_settings

from realtime.core.change import Change
from realtime.store import get_store
from tests.client.octets import HOST, handshake
from tests.client.watcher import Watcher, Wire
from tests.faults.stage import Redis, require
from tests.percentile import percentile

from .crowd import connected, milliseconds
from .idle import sign_in
from .lists import Measured, cut_all, prefer
from .report import Row
from .stage import LoadStage, Web

#: Tasks of each user.
_TASKS = 10
#: Seconds between two requests of the client that has no part in it.
_PAUSE = 0.2
#: Seconds within which the clients notice that the web process was killed, and wait.
_NOTICE = 1.0
#: Changes that are sent before the first answer is read.
_TOGETHER = 50


@dataclass
class Storm:
    """One return of all pages."""

    stage: LoadStage
    web: Web
    server: Redis
    clients: list[Watcher]
    #: The session and the task of a client that has no part in it.
    other: tuple[str, str]
    #: Seconds until each page was current.
    current: list[float] = field(default_factory=list)
    #: Requests that the service answered with `internal`, and handshakes without a WebSocket.
    repeated: int = 0
    refused: int = 0
    #: Seconds in which the other client was answered.
    answers: list[float] = field(default_factory=list)
    #: Seconds that the web process worked.
    cpu: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure what happens in the block."""
        failures, refused = self._counts()
        fleet = self.stage.fleet
        ended = asyncio.Event()
        asking = asyncio.run_coroutine_threadsafe(
            answer_times(self.web.port, *self.other, ended), fleet.loop
        )
        cpu = self.web.cpu()
        with Measured(self.server.url) as self.redis:
            yield
        self.cpu = self.web.cpu() - cpu
        fleet.loop.call_soon_threadsafe(ended.set)
        self.answers = asking.result(30)
        now = self._counts()
        self.repeated, self.refused = now[0] - failures, now[1] - refused

    def _counts(self) -> tuple[int, int]:
        return (
            sum(client.failures for client in self.clients),
            sum(client.refused for client in self.clients),
        )

    def wait(self, began: float, moment: Callable[[Watcher], float | None]) -> None:
        """Wait until each client is current: `moment` returns when it became so."""
        left, deadline = list(self.clients), began + 120
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            while left and (at := moment(left[-1])) is not None:
                self.current.append(at - began)
                left.pop()
        require(not left, f"{len(left)} pages are not current")

    def rows(self, first: int, what: str) -> Iterator[Row]:
        """Return what was measured."""
        count, is_long = len(self.clients), self.stage.long
        size = f"{count:,} pages, a task and user:me of {_TASKS}"
        p50, last = percentile(self.current, 0.5), max(self.current)
        yield Row(
            f"j{first}",
            f"{what} restarted: until all pages are current",
            size,
            f"p50 {p50:.1f} s, last {last:.1f} s; {self.repeated:,} requests answered `internal`, "
            f"{self.refused:,} handshakes refused; {milliseconds(self.cpu / count)} of CPU a page",
            "30 s",
            last <= 30.0 if is_long else None,
        )
        longest = self.redis.longest
        yield Row(
            f"j{first + 1}",
            f"{what} restarted: longest turn of Redis meanwhile",
            size,
            f"{milliseconds(longest.turn)}, {milliseconds(longest.command)} a command; "
            f"a ping {milliseconds(longest.reply)}",
            "20 ms",
            longest.turn <= 0.02 if is_long else None,
        )
        yield Row(
            f"j{first + 2}",
            f"{what} restarted: another client's requests meanwhile",
            f"{len(self.answers)} subscriptions",
            f"p50 {milliseconds(percentile(self.answers, 0.5))}, "
            f"longest {milliseconds(max(self.answers))}",
        )


def returns(stage: LoadStage) -> Iterator[Row]:
    """The web process is killed and started again, and then Redis."""
    count = 5000 if stage.long else 60
    with own_redis(stage) as server, stage.serving(REDIS_URL=server.url) as [web]:
        (stranger, session), *users = sign_in(stage, count + 1)
        publish(((f"{stranger}-0", stranger),), "PENDING")
        publish(((f"{user}-{n}", user) for user, _ in users for n in range(_TASKS)), "PENDING")
        clients = [
            Watcher(f"{user}-0", [web.port], topics(f"{user}-0"), stage.rng, session=key)
            for user, key in users
        ]
        with connected(stage, clients):
            storm = Storm(stage, web, server, clients, (session, f"{stranger}-0"))
            restart_web(storm)
            yield from storm.rows(1, "web process")
            storm = Storm(stage, web, server, clients, (session, f"{stranger}-0"))
            restart_redis(storm, [(f"{user}-0", user) for user, _ in users])
            yield from storm.rows(4, "Redis")


def restart_web(storm: Storm) -> None:
    """Kill the web process; when it is back, let all pages load anew at the same moment."""
    fleet, clients = storm.stage.fleet, storm.clients

    async def set_wanted(wanted: bool) -> None:
        for client in clients:
            (client.wanted.set if wanted else client.wanted.clear)()

    fleet.call(set_wanted(False))
    storm.web.process.kill()
    fleet.call(cut_all(clients))
    storm.web.start()
    time.sleep(_NOTICE)
    with storm.measured():
        began = time.monotonic()
        fleet.call(set_wanted(True))
        storm.wait(began, lambda one: one.subscribed[-1][0] if one.stands else None)


def restart_redis(storm: Storm, tasks: Sequence[tuple[str, int]]) -> None:
    """Restart Redis with its data; each page's task changes before groups are joined again."""
    storm.server.process.stop()
    storm.server.start()
    prefer(storm.server.process.pid)
    with storm.measured():
        began = time.monotonic()
        publish(tasks, "STARTED")
        storm.wait(began, seen_twice)


def seen_twice(client: Watcher) -> float | None:
    """When the client had its task's change on both topics; None before that."""
    moments = [each.at for each in client.callbacks if each.state == "STARTED"]
    return max(moments) if len(moments) > 1 else None


def topics(task: str) -> dict[str, list[str]]:
    """The topics of a page."""
    return {f"task:{task}": [task], "user:me": []}


@contextmanager
def own_redis(stage: LoadStage) -> Iterator[Redis]:
    """A Redis that keeps its data over a restart, for web processes and for this process."""
    before = stage.env["REDIS_URL"]
    server = stage.redis("returns", keep=True)
    prefer(server.process.pid)
    stage.env["REDIS_URL"] = server.url
    try:
        with override_settings(REALTIME={**settings.REALTIME, "REDIS_URL": server.url}):
            yield server
    finally:
        stage.env["REDIS_URL"] = before
        server.kill()


def publish(tasks: Iterator[tuple[str, int]] | Sequence[tuple[str, int]], state: str) -> None:
    """Publish a change of each task, given with its owner."""
    each = iter(tasks)
    while some := list(itertools.islice(each, _TOGETHER)):
        changes = [Change(task_id=task, state=state, owner=str(owner)) for task, owner in some]
        get_store().send_all(changes)()


async def answer_times(port: int, session: str, task: str, ended: asyncio.Event) -> list[float]:
    """Subscribe to a task again and again; return the seconds until each answer."""
    welcome, answered = asyncio.Event(), asyncio.Event()

    def receive(text: bytes) -> None:
        kind = json.loads(text)["type"]
        if kind == "welcome":
            welcome.set()
        elif kind in ("subscribed", "error"):
            answered.set()

    loop = asyncio.get_running_loop()
    wire = Wire(handshake(port, cookie=session), receive)
    await loop.create_connection(lambda: wire, HOST, port)
    await welcome.wait()
    taken: list[float] = []
    try:
        for number in itertools.count(1):
            began = time.monotonic()
            wire.send({"type": "subscribe", "id": number, "topic": f"task:{task}"})
            await answered.wait()
            answered.clear()
            taken.append(time.monotonic() - began)
            if ended.is_set():
                break
            await asyncio.sleep(_PAUSE)
    finally:
        wire.cut()
    return taken
