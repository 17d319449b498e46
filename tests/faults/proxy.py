"""A bad TCP link: it drops, delays, resets and fragments data."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from tests.client.watcher import LoopThread


class Proxy:
    """Listens on the loopback and passes on to a server; its faults can be set at any time."""

    def __init__(self, loop: LoopThread, target: str, rng: random.Random) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 0
        self._rng = random.Random(rng.getrandbits(64))
        #: Whether nothing arrives any more. A connection that lost something is dead for good,
        #: without a reset: the connection is half-open.
        self.swallows = False
        #: Seconds by which each part of a stream is late.
        self.delay = 0.0
        #: Whether each byte is a segment.
        self.takes_apart = False
        #: How often a part of a stream is its last: the connection is reset in its middle.
        self.cuts = 0.0
        #: Whether the next part is one, without a random choice.
        self.cut_next = False
        self._ends: set[asyncio.StreamWriter] = set()
        #: How many parts of a stream were "swallowed", "slowed" or "cut".
        self.hurt: Counter[str] = Counter()
        port = loop.call(self._listen())
        #: The target's address, by way of this link.
        self.url = urlunsplit(parts._replace(netloc=f"127.0.0.1:{port}"))

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Listen no more, and reset every connection. Called in the loop."""
        self._server.close()
        for end in list(self._ends):
            self._reset(end)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            self._reset(writer)
            return
        both = (writer, far_writer)
        self._ends.update(both)
        alive = asyncio.Event()
        alive.set()
        with suppress(asyncio.CancelledError):  # when all ends; asyncio would complain of it
            await asyncio.gather(
                self._pump(reader, far_writer, both, alive),
                self._pump(far_reader, writer, both, alive),
            )
        self._ends.difference_update(both)

    async def reset_all(self) -> None:
        """Reset every connection, as a proxy that dies does."""
        for end in list(self._ends):
            self._reset(end)

    def switch(self, target: str) -> None:
        """Let new connections lead to another server; those that stand stay where they are."""
        parts = urlsplit(target)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 0

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        alive: asyncio.Event,
    ) -> None:
        try:
            while data := await reader.read(65536):
                if self.swallows:
                    alive.clear()
                if not alive.is_set():
                    self.hurt["swallowed"] += 1
                    continue
                if self.delay:
                    self.hurt["slowed"] += 1
                    await asyncio.sleep(self.delay)
                cut = self._rng.random() < self.cuts or self.cut_next
                if cut:
                    self.cut_next = False
                    self.hurt["cut"] += 1
                    data = data[: self._rng.randrange(len(data))]
                for start in range(len(data)) if self.takes_apart else (0,):
                    writer.write(data[start : start + 1] if self.takes_apart else data)
                    await writer.drain()
                if cut:
                    break
            else:
                writer.close()  # the other side has sent everything
                return
        except OSError:
            pass
        for end in both:
            self._reset(end)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        if not writer.is_closing():
            linger = struct.pack("ii", 1, 0)  # RST instead of FIN
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
