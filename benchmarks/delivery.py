"""What one delivery costs the web process: many sockets watch one task.

The sockets are opened here; what is measured is the CPU time of Daphne's process alone. The next
event is published when every socket has taken the last one, so that no way can save work by
putting events together.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from channels.layers import get_channel_layer
from websockets.asyncio.client import ClientConnection, connect

from realtime.web.tokens import make_token

from .report import Comparison
from .sample import Sample

WARM_UP = 10
DEADLINE = 30.0  # seconds for one step
#: Connections opened at once: Daphne as shipped lets 50 wait.
AT_ONCE = 20
_TICK = 1_000_000 / os.sysconf("SC_CLK_TCK")  # µs


@dataclass
class Way:
    """A web process, the sockets that it serves, and how they are told of the next progress."""

    pid: int
    sample: Sample
    publish: Callable[[], Awaitable[None]]
    sockets: list[ClientConnection] = field(default_factory=list)

    async def deliver(self, events: int) -> float:
        """Publish so many events; return the CPU µs that one delivery cost."""
        before = cpu_time(self.pid)
        for _ in range(events):
            await self.publish()
            async with asyncio.timeout(DEADLINE):
                await asyncio.gather(*map(self._take, self.sockets))
        return (cpu_time(self.pid) - before) / events / len(self.sockets)

    async def _take(self, socket: ClientConnection) -> None:
        version = json.loads(await socket.recv())["status"]["version"]
        if version != self.sample.version:
            raise RuntimeError(f"version {version} arrived in place of {self.sample.version}")


async def compare(
    *, ours: tuple[int, int], tutorial: tuple[int, int], rounds: int, events: int, sockets: int
) -> Comparison:
    """Measure both ways in each round; they are given as the port and the pid of a server."""
    async with AsyncExitStack() as stack:
        ways = {
            "realtime": await _ours(stack, *ours, sockets),
            "AsyncJsonWebsocketConsumer, Pub/Sub layer": await _tutorial(stack, *tutorial, sockets),
        }
        for way in ways.values():
            await way.deliver(WARM_UP)
        found: dict[str, list[list[float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                found[name].append([await way.deliver(events)])
    return Comparison(
        title=f"One delivery by Daphne: {sockets} sockets on one task, {events} events a round",
        columns=("CPU µs",),
        target=5,
        rounds=found,
    )


def cpu_time(pid: int) -> float:
    """Return the CPU time, of all threads, that a process has used, in µs (Linux, proc(5))."""
    # The name, in parentheses, may hold anything; utime and stime are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


async def _ours(stack: AsyncExitStack, port: int, pid: int, count: int) -> Way:
    sample = Sample()
    topic = f"task:{sample.task_id}"
    token, _expires = make_token([topic])
    subscribe = json.dumps({"type": "subscribe", "id": 1, "topic": topic, "token": token})

    async def begin(socket: ClientConnection) -> None:
        await socket.recv()  # the welcome
        await socket.send(subscribe)
        answer = json.loads(await socket.recv())
        if answer["type"] != "subscribed":
            raise RuntimeError(f"not subscribed: {answer}")

    async def publish() -> None:
        sample.accept()

    sockets = await _open(stack, port, "realtime/ws/", count, begin)
    return Way(pid, sample, publish, sockets)


async def _tutorial(stack: AsyncExitStack, port: int, pid: int, count: int) -> Way:
    sample = Sample()
    layer = cast(Any, get_channel_layer())

    async def begin(socket: ClientConnection) -> None:
        pass

    async def publish() -> None:
        message = {"type": "task.update", "status": sample.next_status()}
        await layer.group_send(sample.task_id, message)

    sockets = await _open(stack, port, f"{sample.task_id}/", count, begin)
    return Way(pid, sample, publish, sockets)


async def _open(
    stack: AsyncExitStack,
    port: int,
    path: str,
    count: int,
    begin: Callable[[ClientConnection], Awaitable[None]],
) -> list[ClientConnection]:
    """Open so many sockets, which answer pings; `begin` does what comes before the events."""
    some = asyncio.Semaphore(AT_ONCE)

    async def one() -> ClientConnection:
        async with some, asyncio.timeout(DEADLINE):
            socket = await connect(
                f"ws://127.0.0.1:{port}/{path}",
                origin=f"http://127.0.0.1:{port}",  # type: ignore[arg-type]
                compression=None,
                ping_interval=None,
                proxy=None,
            )
            stack.push_async_callback(socket.close)
            await begin(socket)
            return socket

    return list(await asyncio.gather(*(one() for _ in range(count))))
