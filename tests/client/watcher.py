"""A client that reconnects and logs every callback that a page would get.

Thousands of them fit into one process: the transport is asyncio's own, and parses no more of a
frame than its payload.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from realtime.web.access.tokens import make_token

from .octets import CLOSE, FIN, HOST, PING, PONG, TEXT, frame, handshake, parse
from .protocol import LIMIT, Feed, Frame

#: Seconds in which the server must answer a handshake, and a ping.
HANDSHAKE, PATIENCE = 20.0, 10.0
#: Seconds over which clients reconnect at the most.
LONGEST_WAIT = 20.0
#: Subscriptions that a connection requests at once, and those a second after that.
TOPICS, PACE = 40, 8.0


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback of a client. Versions count within an epoch."""

    at: float
    task: str
    epoch: str
    version: int
    run: int
    attempt: int
    state: str
    result: Any = None


class Reader:
    """A client of some tasks, and its callbacks."""

    def __init__(self, name: str, topics: Mapping[str, Sequence[str]], rng: random.Random) -> None:
        self.name = name
        #: The tasks whose every change the client expects.
        self.watches = [task for tasks in topics.values() for task in tasks]
        self.callbacks: list[Callback] = []
        #: The newest state of each task.
        self.states: dict[str, str] = {}
        #: Violations of the contract by the server.
        self.violations: list[str] = []
        self.codes: list[int] = []
        #: Of its own, so that it repeats its choices whatever the others do.
        self.rng = random.Random(rng.getrandbits(64))

    def call_back(self, status: Frame, *, at: float, epoch: str = "", run: int = 1) -> None:
        """Log a status."""
        self.states[status["task_id"]] = status["state"]
        self.callbacks.append(
            Callback(
                at=at,
                task=status["task_id"],
                epoch=epoch,
                version=status.get("version", len(self.callbacks)),
                run=status.get("run", run),
                attempt=status["attempt"],
                state=status["state"],
                result=status["result"],
            )
        )


class Wire(asyncio.Protocol):
    """One connection: the handshake, and frames."""

    def __init__(self, request: bytes, on_text: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._on_text = on_text
        self._buffer = bytearray()
        self._code = 1006
        self.transport: asyncio.Transport
        #: The status of the answer to the handshake; 0 where none came.
        self.answered: asyncio.Future[int] = loop.create_future()
        #: The close code.
        self.closed: asyncio.Future[int] = loop.create_future()
        #: When data last came.
        self.received_at = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.received_at = time.monotonic()
        buffer = self._buffer
        buffer += data
        if not self.answered.done():
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            status = int(buffer[9:12])
            self.answered.set_result(status)
            if status != 101:
                self.transport.abort()
                return
            del buffer[: end + 4]
        start = 0
        while (parsed := parse(buffer, start)) is not None:
            opcode, payload, start = parsed
            self._receive(opcode, payload)
        del buffer[:start]

    def _receive(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._on_text(payload)
        elif opcode == PING:
            self.transport.write(frame(payload, FIN | PONG))
        elif opcode == CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.transport.write(frame(payload[:2], FIN | CLOSE))
            self.transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_result(0)
        if not self.closed.done():
            self.closed.set_result(self._code)

    @property
    def is_websocket(self) -> bool:
        """Whether the handshake was answered with a WebSocket."""
        return self.answered.done() and self.answered.result() == 101

    def send(self, message: Frame) -> None:
        """Send a frame, unless the connection is closing."""
        if not self.transport.is_closing():
            self.transport.write(frame(json.dumps(message)))

    def close(self) -> None:
        """Begin the closing handshake."""
        self.transport.write(frame((1000).to_bytes(2, "big"), FIN | CLOSE))

    def cut(self) -> None:
        """Reset the connection, as a cable that is cut and a proxy that dies do."""
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)  # RST instead of FIN
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()


class Watcher(Reader):
    """One client of the service: a connection that is renewed, and its subscriptions.

    `address` is the URL of the WebSocket, or the ports of several processes: any of them will do.
    """

    def __init__(
        self,
        name: str,
        address: str | Sequence[int],
        topics: Mapping[str, Sequence[str]],
        rng: random.Random,
        *,
        session: str = "",
        restart_wait: float = 0.5,
    ) -> None:
        super().__init__(name, topics, rng)
        self._ports = [urlsplit(address).port] if isinstance(address, str) else [*address]
        self._turn = rng.randrange(len(self._ports))
        self._session = session
        #: Seconds over which it reconnects after a restart.
        self._restart_wait = restart_wait
        self.feeds = {topic: Feed(topic) for topic in topics}
        #: (moment, topic, recovered) of each `subscribed`; (moment, topic) of each `snapshot`.
        self.subscribed: list[tuple[float, str, bool]] = []
        self.snapshots: list[tuple[float, str]] = []
        #: The topics that the connection is subscribed to.
        self.standing: set[str] = set()
        #: While it is clear the client stays away.
        self.wanted = asyncio.Event()
        self.wanted.set()
        #: Whether the server has sent its welcome.
        self.is_open = False
        #: The port of the process that it is connected to.
        self.port = 0
        #: Seconds from each loss of the connection until all its subscriptions stood again.
        self.away: list[float] = []
        #: Subscriptions that the server answered with `internal`.
        self.failures = 0
        #: Handshakes that the server did not answer with a WebSocket.
        self.refused = 0
        self._tries = 0
        self._wire: Wire | None = None
        self._lost_at: float | None = None
        self._ping = 25.0
        self._numbers = itertools.count(1)
        self._requested: dict[int, Feed] = {}

    @property
    def stands(self) -> bool:
        """Whether it is subscribed to all its topics."""
        return len(self.standing) == len(self.feeds)

    async def run(self) -> None:
        """Connect, and reconnect until cancelled."""
        try:
            while True:
                await self.wanted.wait()
                code = await self._connect()
                if code >= 4500:
                    self.wanted.clear()  # it is not to return
                await asyncio.sleep(self._pause(code))
        finally:
            if self._wire is not None:
                self._wire.transport.abort()

    async def join(self, topic: str, tasks: Sequence[str]) -> None:
        """Subscribe to one more topic, now."""
        self.watches += tasks
        feed = self.feeds[topic] = Feed(topic)
        if self.is_open and self._wire is not None:
            self._subscribe(self._wire, feed)

    async def leave(self) -> None:
        """Close the connection, and stay away until `wanted` is set again."""
        self.wanted.clear()
        if (wire := self._wire) is not None:
            wire.close()
            await asyncio.wait([wire.closed], timeout=0.1)
            wire.transport.abort()

    def cut(self) -> None:
        """Lose the connection."""
        if self._wire is not None:
            self._wire.cut()

    # The connection

    def _pause(self, code: int) -> float:
        if code == 1012:
            return self.rng.uniform(0, self._restart_wait)
        self._tries += 1
        return self.rng.uniform(0, min(LONGEST_WAIT, 0.5 * 2 ** (self._tries - 1)))

    async def _connect(self) -> int:
        """Keep one connection to its end; return its close code."""
        code, wire = 1006, await self._open()
        self._wire = wire
        if wire is not None:
            await asyncio.wait([wire.answered], timeout=HANDSHAKE)
            if wire.is_websocket:
                code = await self._keep(wire)
            else:
                self.refused += 1
                wire.transport.abort()
        self._wire, self.is_open = None, False
        if self.standing and self._lost_at is None:
            self._lost_at = time.monotonic()
        self.standing.clear()
        if wire is not None and wire.is_websocket:
            # Last: another thread that counts a close must find the subscriptions gone.
            self.codes.append(code)
        return code

    async def _open(self) -> Wire | None:
        """Connect to the first process that accepts, as a proxy does, each time another first."""
        ports = [*self._ports[self._turn :], *self._ports[: self._turn]]
        self._turn = (self._turn + 1) % len(ports)
        for port in ports:
            with suppress(OSError):
                request = handshake(port, cookie=self._session)
                _, wire = await asyncio.get_running_loop().create_connection(
                    lambda request=request: Wire(request, self._read),  # type: ignore[misc]
                    HOST,
                    port,
                )
                self.port = port
                return cast(Wire, wire)
        return None

    async def _keep(self, wire: Wire) -> int:
        """Send a ping when the server is silent, and give up when it stays so."""
        pinged = False
        while not wire.closed.done():
            silent = time.monotonic() - wire.received_at
            limit = self._ping if self.is_open else HANDSHAKE
            if silent < limit:
                pinged = False
            elif silent >= limit + PATIENCE or not self.is_open:
                wire.transport.abort()
            elif not pinged:
                pinged = True
                wire.send({"type": "ping", "id": next(self._numbers)})
            if pinged:
                limit += PATIENCE
            await asyncio.wait([wire.closed], timeout=max(0.0, limit - silent) + 0.01)
        return wire.closed.result()

    # Frames

    def _read(self, text: bytes) -> None:
        message = json.loads(text)
        if message["type"] == "welcome":
            self.is_open, self._tries, self._ping = True, 0, message["ping"]
            self._subscribe_to_all()
            return
        try:
            self.receive(message)
        except (ValueError, KeyError, AssertionError) as error:
            self.violations.append(f"{error!r} at {text!r}")
        if message["type"] == "subscribed" and self.stands and self._lost_at is not None:
            self.away.append(time.monotonic() - self._lost_at)
            self._lost_at = None

    def _subscribe_to_all(self) -> None:
        wire = self._wire
        assert wire is not None
        for number, feed in enumerate(self.feeds.values()):
            if number < TOPICS:
                self._subscribe(wire, feed)
            else:  # the pace that the server allows
                self._subscribe_later(wire, feed, (number - TOPICS + 1) / PACE)

    def _subscribe_later(self, wire: Wire, feed: Feed, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._subscribe, wire, feed)

    def _subscribe(self, wire: Wire, feed: Feed) -> None:
        if wire is not self._wire:
            return  # the next connection subscribes anew
        number = next(self._numbers)
        self._requested[number] = feed
        keys = {} if self._session else {"token": make_token([feed.topic])[0]}
        wire.send({"type": "subscribe", "id": number, **feed.subscription(**keys)})

    def receive(self, message: Frame) -> None:
        """Apply one frame. Raises ValueError where the server broke the contract."""
        at, kind = time.monotonic(), message["type"]
        if kind in ("pong", "closing", "store"):
            return
        if kind == "error" and message["code"] == "internal":
            self.failures += 1
            if self._wire is not None:
                feed = self._requested[message["id"]]
                self._subscribe_later(self._wire, feed, self.rng.uniform(0.0, 1.5))
            return
        feed = self.feeds[message["topic"]]
        if message.get("next") and self._wire is not None:
            page = {"topic": feed.topic, "after": message["next"], "limit": LIMIT}
            self._wire.send({"type": "page", "id": next(self._numbers), **page})
        if kind == "subscribed":
            self.standing.add(feed.topic)
            self.subscribed.append((at, feed.topic, message["recovered"]))
        elif kind == "snapshot":
            self.snapshots.append((at, feed.topic))
        for status in feed.receive(message):
            epoch = feed.position.epoch if feed.position else ""
            self.call_back(status, at=at, epoch=f"{feed.topic} {epoch}")


class LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, Any], timeout: float = 60.0) -> Any:
        """Run a coroutine in the loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def start(self, watchers: Collection[Any]) -> Callable[[], None]:
        """Let clients run; return what ends them."""

        async def begin() -> list[asyncio.Task[None]]:
            return [asyncio.create_task(watcher.run()) for watcher in watchers]

        tasks = self.call(begin())

        async def end() -> None:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(result, asyncio.CancelledError):
                    raise result if isinstance(result, BaseException) else RuntimeError(result)

        return lambda: self.call(end())

    def close(self) -> None:
        """Stop it, with all that runs in it."""

        async def cancel_all() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
