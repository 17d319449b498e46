"""A client of a session without any transport: frames go in and come out as objects.

client = SessionClient(session="…")
await client.open()
answer = await client.ask("subscribe", topic="task:…")
await client.leave()
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from realtime.core import frames
from realtime.web.session import ClientSession

Frame = dict[str, Any]
DEADLINE = 15.0  #: seconds


class SessionClient:
    """The sink of a session, and what a client does with it."""

    write = None

    def __init__(self, user: Any = None, address: str = "192.0.2.1") -> None:
        scope = {"type": "websocket", "headers": [], "client": (address, 1), "user": user}
        self.arrived: deque[Frame] = deque()
        self.closed: int | None = None
        self._changed = asyncio.Event()
        self._numbers = itertools.count(1)
        self.session = ClientSession(scope, self)

    # The sink

    async def send(self, text: str) -> None:
        self.arrived.append(json.loads(text))
        self._changed.set()

    async def close(self, code: int) -> None:
        self.closed = code
        self._changed.set()

    # The client

    async def open(self) -> SessionClient:
        assert await self.session.open()
        assert (await self.next("welcome"))["protocol"] == 1
        return self

    async def leave(self) -> None:
        await self.session.leave()

    def post(self, type_: str, **keys: Any) -> asyncio.Task[None]:
        """Send a frame, and do not wait for anything."""
        frame = {"type": type_, "id": next(self._numbers), **keys}
        request = frames.parse(json.dumps(frame))
        return asyncio.get_running_loop().create_task(self.session.receive(request))

    async def ask(self, type_: str, **keys: Any) -> Frame:
        """Send a frame with an id of its own and return the answer."""
        number = next(self._numbers)
        request = frames.parse(json.dumps({"type": type_, "id": number, **keys}))
        await self.session.receive(request)
        return await self.first(lambda frame: frame.get("id") == number)

    async def next(self, type_: str) -> Frame:
        """Return the next frame of a type; the others wait on."""
        return await self.first(lambda frame: frame["type"] == type_)

    async def first(self, wanted: Callable[[Frame], bool]) -> Frame:
        async with asyncio.timeout(DEADLINE):
            while True:
                for frame in self.arrived:
                    if wanted(frame):
                        self.arrived.remove(frame)
                        return frame
                self._changed.clear()
                await self._changed.wait()
