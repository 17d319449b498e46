"""A server that does the least work possible in Python: it encodes a frame once for all sockets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
from collections import defaultdict

import redis.asyncio

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
watchers: dict[str, set[asyncio.Transport]] = defaultdict(set)
subscriber = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=None).pubsub()


class Watcher(asyncio.Protocol):
    """One socket. Its handshake names the task; later data is ignored."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.topic = ""

    def data_received(self, data: bytes) -> None:
        """Read the handshake, which the load sends in one piece."""
        if not self.topic:
            self.topic = data.split(b" ", 2)[1].decode().lstrip("/")
            key = data.split(b"Sec-WebSocket-Key: ", 1)[1].split(b"\r\n", 1)[0]
            self.joining = asyncio.ensure_future(self.join(key))

    async def join(self, key: bytes) -> None:
        """Subscribe to the task, then accept the handshake."""
        if not watchers[self.topic]:
            await subscriber.subscribe(self.topic)
        watchers[self.topic].add(self.transport)
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the transport."""
        watchers[self.topic].discard(self.transport)


async def main(port: int) -> None:
    """Serve, and pass on what Redis publishes, until the process ends."""
    await subscriber.subscribe("ready")
    await asyncio.get_running_loop().create_server(Watcher, "127.0.0.1", port, backlog=4096)
    async for message in subscriber.listen():
        if message["type"] != "message":
            continue
        data = message["data"]
        size = len(data)
        head = bytes([0x81, size]) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
        for transport in watchers[message["channel"].decode()]:
            transport.write(head + data)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
