"""A client of a session in this process, without any transport.

client = await SessionClient(user).open()
answer = await client.ask("subscribe", topic="task:…")
await client.leave()
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from realtime.core import frames
from realtime.web.session import ClientSession

from .protocol import Conversation, Frame


class SessionClient(Conversation):
    """A client whose frames are objects that its session receives at once."""

    def __init__(self, user: Any = None, address: str = "192.0.2.1") -> None:
        super().__init__()
        scope = {"type": "websocket", "headers": [], "client": (address, 1), "user": user}
        self._sink = _Sink(self.arrived)
        self.session = ClientSession(scope, self._sink)

    @property
    def closed(self) -> int | None:
        """The close code, once the session has closed."""
        return self._sink.closed

    async def open(self) -> SessionClient:
        """Open the session and receive its welcome."""
        assert await self.session.open()
        assert (await self.next("welcome"))["protocol"] == 1
        return self

    async def leave(self) -> None:
        """Leave, as when a connection is lost."""
        await self.session.leave()

    async def send(self, frame: Frame) -> None:
        """Return when the session has received a frame, and has answered it where it does so."""
        await self.session.receive(frames.parse(json.dumps(frame)))

    def post(self, type_: str, **keys: Any) -> asyncio.Task[None]:
        """Send a request in a task of its own."""
        return asyncio.get_running_loop().create_task(self.send(self.request(type_, **keys)))

    async def _receive(self) -> None:
        self._sink.changed.clear()
        await self._sink.changed.wait()


class _Sink:
    """Carries a session's frames to its client."""

    write = None

    def __init__(self, arrived: list[Frame]) -> None:
        self._arrived = arrived
        self.closed: int | None = None
        self.changed = asyncio.Event()

    async def send(self, text: str) -> None:
        self._arrived.append(json.loads(text))
        self.changed.set()

    async def close(self, code: int) -> None:
        self.closed = code
        self.changed.set()
