"""Frames that wait for one client.

A client that keeps up gets every event. For a slow one, progress is merged to the newest of its
task; endings, STARTED and RETRY are always sent. A client that accepts nothing for too long, for
which too much waits, or whose transport raises is closed: when it connects again, it recovers or
gets a snapshot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from realtime.conf import conf
from realtime.core import frames
from realtime.core.codes import CloseCode
from realtime.core.event import Event
from realtime.core.logs import get_logger
from realtime.core.position import Position
from realtime.core.states import is_mergeable

from .cursor import Cursor

logger = get_logger("realtime.connection")


class Sink(Protocol):
    """What carries one client's frames: a WebSocket, an event stream, a test."""

    #: Writes a text at once if nothing waits before it, and returns whether it did. None for a
    #: transport that cannot do that.
    write: Callable[[str], bool] | None

    async def send(self, text: str) -> None:
        """Send a frame; return when the transport accepts the next one.

        If this or ``write`` raises, nothing more is sent: what was sent is not known.
        """
        ...

    async def close(self, code: int) -> None:
        """End the connection, after everything that was sent."""
        ...


#: Seconds that a slow client has to accept the frame with the reason of the close.
_CLOSING_TIMEOUT: Final = 0.1


class _Reading(NamedTuple):
    """A frame that brings a subscriber to a position."""

    cursor: Cursor
    position: Position
    frame: str


class _Event(NamedTuple):
    """An event for a subscriber."""

    cursor: Cursor
    event: Event


#: A close code ends the connection, and so does what the sink raised.
_Item = str | _Reading | _Event | CloseCode | Exception


class Outbox:
    """An ordered queue of frames, with a task that sends them while something waits.

    While the queue is empty, frames are written past it if the sink can: to wake a task up would
    be a third of a delivery's cost.
    """

    __slots__ = (
        "_last_sent_at",
        "_max_bytes",
        "_max_events",
        "_number",
        "_on_failure",
        "_progress",
        "_room",
        "_sending",
        "_sink",
        "_size",
        "_slow_timeout",
        "_task",
        "_timer",
        "_waiting",
        "_write",
        "closed",
    )

    def __init__(self, sink: Sink, on_failure: Callable[[], Awaitable[None]]) -> None:
        settings = conf()
        self._sink = sink
        #: Releases everything of the client, after the sink has raised. None once it is released.
        self._on_failure: Callable[[], Awaitable[None]] | None = on_failure
        #: The sink's ``write`` while nothing waits or is being sent, else None.
        self._write = sink.write
        self._max_events = settings.MAX_OUTBOX_EVENTS
        self._max_bytes = settings.MAX_OUTBOX_BYTES
        self._slow_timeout = settings.SLOW_TIMEOUT
        self._number = 0
        self._waiting: dict[int, _Item] = {}
        #: The bytes that wait.
        self._size = 0
        #: The number of the progress that waits, for each subscriber and task.
        self._progress: dict[tuple[Cursor, str], int] = {}
        self._task: asyncio.Task[None] | None = None
        #: Made when :meth:`wait_for_room` waits: an event is a kilobyte.
        self._room: asyncio.Event | None = None
        #: When the frame that is being sent was given to the sink; None while none is.
        self._last_sent_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Timeout | None = None
        #: Whether nothing more is sent; what is put here then is dropped.
        self.closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, frame: str) -> None:
        """Append a frame."""
        if not self._write_now(frame):
            self._append(frame)

    def put_reading(self, cursor: Cursor, position: Position, frame: str) -> None:
        """Append a frame that brings a subscriber to ``position``."""
        if self._write_now(frame):
            cursor.sent = position
        else:
            self._append(_Reading(cursor, position, frame))

    def put_event(self, cursor: Cursor, event: Event) -> None:
        """Append an event; where much waits, remove the progress of its task that waits."""
        write = self._write
        if write is not None:
            # With thousands of clients each call costs more than what it does, so that neither
            # _write_now() nor, for the same event, _frame_of() is called.
            topic, last, text = _LastFrame.kept
            if event is not last or cursor.topic is not topic:
                text = _frame_of(cursor.topic, event)
            try:
                is_written = write(text)
            except Exception as error:  # noqa: BLE001 - transports fail in many ways
                self._append(error)
                return
            if is_written:
                cursor.sent = event.position
                return
        key = cursor, event.task_id
        earlier = self._progress.pop(key, None)
        is_crowded = len(self._waiting) >= self._max_events or self._size >= self._max_bytes // 2
        if earlier is not None and is_crowded and earlier in self._waiting:
            self._size -= _size(self._waiting.pop(earlier))
        number = self._append(_Event(cursor, event))
        if is_mergeable(event.state):
            self._progress[key] = number

    def drop(self, topic: str | None = None) -> None:
        """Drop what waits, of a topic or all of it: the client may not see it any more."""
        for number, item in tuple(self._waiting.items()):
            if topic is None or (
                isinstance(item, _Reading | _Event) and item.cursor.topic == topic
            ):
                self._size -= _size(self._waiting.pop(number))
        for key in tuple(self._progress):
            if topic is None or key[0].topic == topic:
                del self._progress[key]
        self._notify_of_room()

    def close(self, code: CloseCode, message: str, *, retry_after: int | None = None) -> None:
        """Send the reason and close, after everything that waits."""
        self._append(frames.closing(code, message, retry_after=retry_after))
        self._append(code)

    @property
    def has_room(self) -> bool:
        """Whether fewer than MAX_OUTBOX_BYTES wait, for a client that may still get something."""
        return self._size < self._max_bytes and not self.closed

    async def wait_for_room(self) -> None:
        """Return when there is room, or when nothing more is sent.

        A client that does not accept its answers gets no more of its requests read.
        """
        while not self.has_room and not self.closed:
            self._room = asyncio.Event()
            await self._room.wait()

    async def stop(self) -> None:
        """Send nothing more."""
        self._end()
        self._on_failure = None  # it refers to the session, which refers to this
        if self._task not in (None, asyncio.current_task()):
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """Send what waits; close if the client was too slow meanwhile."""
        is_over = True
        try:
            try:
                async with asyncio.timeout(0 if self.closed else None) as self._sending:
                    is_over = await self._send_all()
            except TimeoutError:
                if not self.closed:
                    raise
            if self.closed:
                is_over = True
                await self._close_slow()
        except Exception as error:  # noqa: BLE001 - transports fail in many ways
            await self._fail(error)
        finally:
            if is_over:
                self._end()
            else:
                self._task = self._sending = None

    async def _send_all(self) -> bool:
        """Send until nothing waits; return whether the connection was closed."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            number = next(iter(self._waiting))
            item = self._waiting.pop(number)
            self._size -= _size(item)
            if isinstance(item, CloseCode):
                await self._sink.close(int(item))
                return True
            if isinstance(item, Exception):
                raise item
            self._last_sent_at = loop.time()
            if self._timer is None:
                self._timer = loop.call_later(self._slow_timeout, self._check_slow, loop)
            await self._sink.send(self._frame(number, item))
            self._notify_of_room()
        self._last_sent_at = None
        if not self.closed:
            self._write = self._sink.write
        return False

    def _write_now(self, frame: str) -> bool:
        """Write a frame if nothing waits before it; return whether it is not to be queued."""
        write = self._write
        if write is None:
            return False
        try:
            return write(frame)
        except Exception as error:  # noqa: BLE001 - transports fail in many ways
            self._append(error)
            return True

    def _check_slow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close a slow client. A timer for each frame would cost more than this one."""
        self._timer = None
        if self._last_sent_at is None:
            return
        left = self._last_sent_at + self._slow_timeout - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._check_slow, loop)
        else:
            self._drop_client()

    def _drop_client(self) -> None:
        self._end()
        if self._sending is not None:
            self._sending.reschedule(0)  # a time in the past: it ends now

    def _notify_of_room(self) -> None:
        if self._room is not None:
            self._room.set()

    def _end(self) -> None:
        self.closed = True
        self._write = None
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        self._progress.clear()
        self._size = 0
        self._notify_of_room()

    async def _fail(self, error: Exception) -> None:
        """Close, since the sink raised; release everything, even if the sink cannot be closed."""
        # A server may raise OSError for a client that is gone.
        level = logging.INFO if isinstance(error, OSError) else logging.WARNING
        logger.log(level, "send_failed error=%r", error)
        self._end()
        try:
            async with asyncio.timeout(self._slow_timeout):
                await self._sink.close(int(CloseCode.INTERNAL))
        except Exception as failure:  # noqa: BLE001 - transports fail in many ways
            logger.log(level, "close_failed error=%r", failure)
        if self._on_failure is not None:
            await self._on_failure()

    async def _close_slow(self) -> None:
        logger.info("connection_slow")
        frame = frames.closing(CloseCode.SLOW, "the client does not read what is sent")
        # It waits behind all that was not read; the server cuts a client that reads nothing at all.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_TIMEOUT):
                await self._sink.send(frame)
        await self._sink.close(int(CloseCode.SLOW))

    def _frame(self, number: int, item: str | _Reading | _Event) -> str:
        if isinstance(item, str):
            return item
        if isinstance(item, _Reading):
            item.cursor.sent = item.position
            return item.frame
        cursor, event = item
        if self._progress.get((cursor, event.task_id)) == number:
            del self._progress[cursor, event.task_id]
        # The hub delivers every event in order: what is missing here was merged.
        merged = event.position.offset - cursor.sent.offset - 1
        cursor.sent = event.position
        if merged:
            return frames.event(cursor.topic, event.position, event.text, merged=merged)
        return _frame_of(cursor.topic, event)

    def _append(self, item: _Item) -> int:
        number = self._number = self._number + 1
        if self.closed:
            return number
        if self._size >= self._max_bytes and not isinstance(item, CloseCode):
            # No frame that waits may be merged or dropped alone, so all are dropped.
            self._drop_client()
            return number
        self._write = None
        self._waiting[number] = item
        self._size += _size(item)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return number


class _LastFrame:
    """The frame of the last event, with its topic: it serves all clients of one delivery."""

    kept: tuple[str, Event | None, str] = ("", None, "")


def _frame_of(topic: str, event: Event) -> str:
    # A cache of functools makes a key for each call.
    last_topic, last_event, text = _LastFrame.kept
    if event is not last_event or topic != last_topic:
        text = frames.event(topic, event.position, event.text)
        _LastFrame.kept = topic, event, text
    return text


def _size(item: _Item) -> int:
    if isinstance(item, _Event):
        return len(item.event.text)
    if isinstance(item, _Reading):
        return len(item.frame)
    return len(item) if isinstance(item, str) else 0
