"""A client over the `websockets` library, for tests of single frames.

    async with connect(service, session=people.alice.session) as client:
        answer = await client.subscribe(f"task:{task_id}")
        event = await client.event()

Every wait has a deadline, and every frame must be strict JSON without a trace of the inside.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed

from .protocol import DEADLINE, Conversation, Frame, strict_json

#: As the JavaScript client: frames at once, and frames a second after that.
BURST = 40
FRAMES_PER_SECOND = 8


class Addressed(Protocol):
    """What the clients need to know of a service."""

    @property
    def url(self) -> str: ...

    @property
    def ws_url(self) -> str: ...

    @property
    def data_dir(self) -> Any: ...


class Client(Conversation):
    """One connection."""

    def __init__(self, socket: ClientConnection, pace: float = FRAMES_PER_SECOND) -> None:
        super().__init__()
        self.socket = socket
        self.welcome: Frame = {}
        self._pace = pace
        self._due = 0.0

    async def send(self, frame: Frame | str | bytes) -> None:
        """Send an object as JSON, text or bytes as they are; not faster than is allowed."""
        self._due = max(self._due, time.monotonic() - BURST / self._pace)
        self._due += 1 / self._pace
        await asyncio.sleep(self._due - time.monotonic())
        await self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def close_code(self) -> int:
        """Wait until the service closes, and return the code; frames before it stay."""
        with suppress(ConnectionClosed):
            while True:
                async with asyncio.timeout(DEADLINE):
                    await self._receive()
        code = self.socket.close_code
        assert code is not None
        return code

    async def _receive(self) -> None:
        text = await self.socket.recv()
        assert isinstance(text, str), "a frame is a text frame"
        self.arrived.append(strict_json(text))


@asynccontextmanager
async def connect(
    service: Addressed,
    *,
    session: str = "",
    origin: str | None = "own",
    headers: Sequence[tuple[str, str]] = (),
    pace: float = FRAMES_PER_SECOND,
) -> AsyncIterator[Client]:
    """Connect and receive the welcome; `origin` None sends none, "own" the page's.

    Raises `websockets.exceptions.InvalidStatus` where the handshake is refused.
    """
    given = list(headers)
    if origin is not None:
        given.append(("Origin", service.url if origin == "own" else origin))
    if session:
        given.append(("Cookie", f"sessionid={session}"))
    async with open_socket(
        service.ws_url,
        additional_headers=given,
        compression=None,
        max_size=None,
        ping_interval=None,
        open_timeout=DEADLINE,
        close_timeout=DEADLINE,
        proxy=None,
    ) as socket:
        client = Client(socket, pace)
        client.welcome = await client.next()
        yield client
