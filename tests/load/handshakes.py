"""Half-open handshakes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.client.octets import HOST, handshake
from tests.client.watcher import Wire
from tests.faults.stage import require
from tests.percentile import percentile

from .crowd import milliseconds
from .report import Row
from .stage import LoadStage

#: Seconds in which a connection without a whole request is cut.
CUT_WITHIN = 10.0


def half_open(stage: LoadStage) -> Iterator[Row]:
    """1,000 connections that send nothing, or half a request, beside good handshakes."""
    count, good = (1000, 300) if stage.long else (100, 50)
    with stage.serving() as [web]:
        before = stage.fleet.call(good_handshakes(web.port, good))
        cut, during = stage.fleet.call(beside_half_open(web.port, count, good), 120)
    slowest, p99, alone = max(cut), percentile(during, 0.99), percentile(before, 0.99)
    # The machine of the short form may be busy: the good ones alone show how busy.
    is_quick = p99 <= (0.5 if stage.long else max(0.5, 10 * alone))
    yield Row(
        "b1",
        "half-open handshakes: p99 of complete ones meanwhile",
        f"{good} complete, {count:,} half-open",
        f"{milliseconds(p99)} (without them {milliseconds(alone)})",
        "500 ms",
        is_quick,
    )
    yield Row(
        "b2",
        "half-open handshakes: closed by the server",
        f"{len(cut):,} of {count:,}",
        f"the last after {slowest:.2f} s",
        f"{CUT_WITHIN:g} s",
        len(cut) == count and (slowest <= CUT_WITHIN or not stage.long),
    )


async def good_handshakes(port: int, count: int) -> list[float]:
    """Seconds of each, from the first SYN to the welcome; four at a time."""
    taken: list[float] = []
    loop = asyncio.get_running_loop()

    async def some() -> None:
        for _ in range(count // 4):
            began = time.monotonic()
            welcome = asyncio.Event()
            wire = Wire(handshake(port), lambda _text, welcome=welcome: welcome.set())
            await loop.create_connection(lambda wire=wire: wire, HOST, port)
            await welcome.wait()
            taken.append(time.monotonic() - began)
            wire.cut()
            await wire.closed

    await asyncio.gather(*(some() for _ in range(4)))
    return taken


class HalfOpen(asyncio.Protocol):
    """Sends too little, and waits until the server closes the connection."""

    def __init__(self, sent: bytes, on_cut: Callable[[float], None]) -> None:
        self._sent = sent
        self._on_cut = on_cut
        self._began = time.monotonic()

    def connection_made(self, transport: Any) -> None:
        transport.write(self._sent)

    def connection_lost(self, _error: Exception | None) -> None:
        self._on_cut(time.monotonic() - self._began)


async def beside_half_open(port: int, count: int, good: int) -> tuple[list[float], list[float]]:
    """Open half-open connections; return when each was closed, and the times of good ones."""
    cut: list[float] = []
    all_cut = asyncio.Event()

    def note(seconds: float) -> None:
        cut.append(seconds)
        if len(cut) == count:
            all_cut.set()

    loop = asyncio.get_running_loop()
    half = handshake(port)[:80]
    opening = (
        loop.create_connection(lambda n=n: HalfOpen(half if n % 2 else b"", note), HOST, port)
        for n in range(count)
    )
    await asyncio.gather(*opening)
    taken = await good_handshakes(port, good)
    require(not cut, "they were cut before the good ones were done")
    await asyncio.wait_for(all_cut.wait(), 60)
    return cut, taken
