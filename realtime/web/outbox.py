"""What waits to be sent over one connection.

A reader that keeps up gets every event. For one that does not, progress is merged to the newest
of its task; endings, STARTED and RETRY are never left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, NamedTuple

from realtime.broker.base import Event
from realtime.conf import conf
from realtime.core import frames
from realtime.core.codes import CloseCode
from realtime.core.position import Position
from realtime.core.states import is_mergeable

Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Reading(NamedTuple):
    """A frame that brings the reader of a topic to a position."""

    topic: str
    position: Position
    frame: str


class _Event(NamedTuple):
    """An event, under the name by which the client subscribed to its topic."""

    topic: str
    event: Event


_Item = str | _Reading | _Event | CloseCode


class Outbox:
    """An ordered queue of frames, emptied by :meth:`run`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._room = conf().OUTBOX_EVENTS
        self._numbers = count()
        self._waiting: dict[int, _Item] = {}
        #: Where the waiting progress of a topic's task is, if any.
        self._progress: dict[tuple[str, str], int] = {}
        #: Where the reader of each topic stands, by what was sent.
        self._sent: dict[str, Position] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, frame: str) -> None:
        """Append a frame."""
        self._append(frame)

    def put_reading(self, topic: str, position: Position, frame: str) -> None:
        """Append a frame that brings the reader of a topic to ``position``."""
        self._append(_Reading(topic, position, frame))

    def put_event(self, topic: str, event: Event) -> None:
        """Append an event; beyond ``OUTBOX_EVENTS`` it takes its task's waiting progress away."""
        key = topic, event.task_id
        earlier = self._progress.pop(key, None)
        if earlier is not None and len(self._waiting) >= self._room:
            self._waiting.pop(earlier, None)
        number = self._append(_Event(topic, event))
        if is_mergeable(event.state):
            self._progress[key] = number

    def close(self, code: CloseCode, message: str) -> None:
        """Say why and close, after all that waits is sent."""
        self._append(frames.closing(code, message))
        self._append(code)

    async def run(self) -> None:
        """Send what waits, and wait for more, until the connection is closed."""
        while True:
            while self._waiting:
                number = next(iter(self._waiting))
                item = self._waiting.pop(number)
                if isinstance(item, CloseCode):
                    await self._send({"type": "websocket.close", "code": int(item)})
                    return
                await self._send({"type": "websocket.send", "text": self._frame(number, item)})
            self._filled.clear()
            await self._filled.wait()

    def _frame(self, number: int, item: str | _Reading | _Event) -> str:
        if isinstance(item, str):
            return item
        if isinstance(item, _Reading):
            self._sent[item.topic] = item.position
            return item.frame
        topic, event = item
        if self._progress.get((topic, event.task_id)) == number:
            del self._progress[topic, event.task_id]
        last = self._sent.get(topic)
        self._sent[topic] = event.position
        # The hub hands over every event in order: what is missing here was merged.
        merged = event.position.offset - last.offset - 1 if last else 0
        return frames.event(topic, event.position, event.text, merged=merged)

    def _append(self, item: _Item) -> int:
        number = next(self._numbers)
        self._waiting[number] = item
        self._filled.set()
        return number
