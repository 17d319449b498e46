"""A client that costs little: thousands of them fit into one process.

What it makes of frames is `tests.faults.clients.Watcher`'s; here are the bytes, and the coming
back by the close code.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, cast

from realtime.web.access.tokens import make_token
from tests.faults.clients import PATIENCE, Feed, Frame, Watcher, subscribe_frame

HOST = "127.0.0.1"
#: Seconds over which clients come back after a restart, and after anything else at the most.
RESTART_WAIT, LONGEST_WAIT = 15.0, 20.0
#: Seconds in which a handshake must be answered.
HANDSHAKE = 20.0

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def handshake(port: int, cookie: str = "") -> bytes:
    """Return what asks for a WebSocket."""
    lines = [
        "GET /realtime/ws/ HTTP/1.1",
        f"Host: {HOST}:{port}",
        f"Origin: http://{HOST}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *([f"Cookie: sessionid={cookie}"] if cookie else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def frame_bytes(opcode: int, payload: bytes) -> bytes:
    """Return a frame, masked with zeros: the protocol allows any mask, and this one is free."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB4x", 0x80 | opcode, 0x80 | length) + payload
    return struct.pack("!BBH4x", 0x80 | opcode, 0x80 | 126, length) + payload


class Wire(asyncio.Protocol):
    """One connection: the handshake, and frames."""

    def __init__(self, hello: bytes, on_text: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self._hello = hello
        self._on_text = on_text
        self._buffer = bytearray()
        self._code = 1006
        self.transport: asyncio.Transport
        #: The status of the answer to the handshake; 0 where none came.
        self.answered: asyncio.Future[int] = loop.create_future()
        #: The close code.
        self.closed: asyncio.Future[int] = loop.create_future()
        #: When something last came.
        self.heard = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
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
        while (parsed := _parse(buffer, start)) is not None:
            opcode, payload, start = parsed
            self._take(opcode, payload)
        del buffer[:start]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._on_text(payload)
        elif opcode == PING:
            self.transport.write(frame_bytes(PONG, payload))
        elif opcode == CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.transport.write(frame_bytes(CLOSE, payload[:2]))
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

    def send(self, frame: Frame) -> None:
        if not self.transport.is_closing():
            self.transport.write(frame_bytes(TEXT, json.dumps(frame).encode()))

    def cut(self) -> None:
        """Reset the connection, as a cable that is cut and a proxy that dies do."""
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)  # RST instead of FIN
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()


def _parse(buffer: bytearray, start: int) -> tuple[int, bytes, int] | None:
    """Return the opcode and payload of the frame that begins here, and where the next one does."""
    left = len(buffer) - start
    if left < 2:
        return None
    length, head = buffer[start + 1], 2
    if length == 126:
        length, head = int.from_bytes(buffer[start + 2 : start + 4], "big"), 4
    elif length == 127:
        length, head = int.from_bytes(buffer[start + 2 : start + 10], "big"), 10
    if left < head or left < head + length:
        return None
    end = start + head + length
    return buffer[start] & 0x0F, bytes(buffer[start + head : end]), end


class Client(Watcher):
    """One client of the service, which may be several processes: any of them will do."""

    def __init__(
        self,
        name: str,
        ports: Sequence[int],
        topics: Mapping[str, Sequence[str]],
        rng: random.Random,
        *,
        session: str = "",
        restart_wait: float = RESTART_WAIT,
    ) -> None:
        super().__init__(name, "", topics, rng)
        self._ports = ports
        self._turn = rng.randrange(len(ports))
        self._session = session
        self._restart_wait = restart_wait
        self._tries = 0
        self._wire: Wire | None = None
        self._lost_at: float | None = None
        #: The port of the process that it is connected to.
        self.port = 0
        #: Seconds from each loss of the connection until all its subscriptions stood again.
        self.away: list[float] = []
        #: Subscriptions that were answered `internal`.
        self.failures = 0
        #: Handshakes that were not answered by a WebSocket.
        self.refused = 0

    async def run(self) -> None:
        """Connect, and come back until cancelled or asked to stay away."""
        self._tries = 0
        try:
            while True:
                await self.wanted.wait()
                pause = await self._connect()
                if pause is None:
                    return
                await asyncio.sleep(pause)
        finally:
            if self._wire is not None:
                self._wire.transport.abort()

    async def _connect(self) -> float | None:
        """Hold a connection to its end; return the seconds to stay away, None for ever."""
        loop = asyncio.get_running_loop()
        ports = [*self._ports[self._turn :], *self._ports[: self._turn]]
        self._turn = (self._turn + 1) % len(ports)
        wire = None
        for port in ports:  # as a proxy does: where one is not there, the next one is asked
            with suppress(OSError):
                hello = handshake(port, self._session)
                _, wire = await loop.create_connection(
                    lambda hello=hello: Wire(hello, self._read),  # type: ignore[misc]
                    HOST,
                    port,
                )
                self.port = port
                break
        code, self._wire = 1006, wire
        if wire is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(HANDSHAKE):
                    await wire.answered
            if not wire.is_websocket:
                self.refused += 1
                wire.transport.abort()
            else:
                code = await self._hold(wire)
        self._wire, self._welcomed = None, False
        if self.standing and self._lost_at is None:
            self._lost_at = time.monotonic()
        self.standing.clear()
        if wire is not None and wire.is_websocket:
            # Last: another thread that counts a close must find the subscriptions gone.
            self.codes.append(code)
        if code == 1000 or code >= 4500:
            return None
        if code == 1012:
            return self._rng.uniform(0, self._restart_wait)
        self._tries += 1
        return self._rng.uniform(0, min(LONGEST_WAIT, 0.5 * 2 ** (self._tries - 1)))

    async def _hold(self, wire: Wire) -> int:
        """Say that it is there whenever the server is silent."""
        while not wire.closed.done():
            quiet = time.monotonic() - wire.heard
            if quiet >= 25.0 + PATIENCE:
                wire.transport.abort()
            elif quiet >= 25.0 and self._welcomed:
                wire.send({"type": "ping", "id": next(self._numbers)})
            await asyncio.wait([wire.closed], timeout=max(25.0 - quiet, PATIENCE))
        return wire.closed.result()

    def cut(self) -> None:
        """Lose the connection."""
        if self._wire is not None:
            self._wire.cut()

    def _read(self, text: bytes) -> None:
        frame = json.loads(text)
        if frame["type"] == "welcome":
            self._welcomed, self._tries = True, 0
            for feed in self.feeds.values():
                self._subscribe_to(feed)
            return
        try:
            self.take(frame)
        except (ValueError, KeyError, AssertionError) as error:
            self.violations.append(repr(error))
        if frame["type"] == "subscribed" and self.stands and self._lost_at is not None:
            self.away.append(time.monotonic() - self._lost_at)
            self._lost_at = None

    def take(self, frame: Frame) -> None:
        """Take one frame. Raises ValueError where the server broke the contract."""
        if frame["type"] == "error" and frame["code"] == "internal":
            self.failures += 1
            feed = self._asked[frame["id"]]
            wait = self._rng.uniform(0.5, 1.5)
            asyncio.get_running_loop().call_later(wait, self._subscribe_to, feed)
            return
        self._take(frame)

    def _subscribe_to(self, feed: Feed) -> None:
        number = next(self._numbers)
        self._asked[number] = feed
        frame = subscribe_frame(number, feed)
        if not self._session:
            frame["token"] = _token(feed.topic, int(time.monotonic() // 300))
        if feed.position is not None:
            frame["since"] = feed.position._asdict()
        if self._wire is not None:
            self._wire.send(frame)

    def _send_soon(self, frame: Frame) -> None:
        if self._wire is not None:
            self._wire.send(frame)


@cache
def _token(topic: str, _when: int) -> str:
    return make_token([topic])[0]


class Timed(Client):
    """A client that notes how long each message of `tests.load.tasks.publish` was under way."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.delays: list[float] = []

    def take(self, frame: Frame) -> None:
        if frame["type"] == "event":
            said = frame["status"]["progress"]["message"]
            self.delays.append(time.monotonic() - float(said.split()[0]))
        super().take(frame)
