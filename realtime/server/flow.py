"""Backpressure, in both directions of one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

#: Bytes that may wait for the application of one connection before its socket is not read.
INBOX_BYTES: Final = 64 * 1024
#: What a message costs in memory besides its bytes.
MESSAGE_BYTES: Final = 512


class Flow:
    """Whether a transport takes more data: Twisted calls a push producer (daphne#170)."""

    #: Only while the buffer is full: an event is a kilobyte.
    _emptied: asyncio.Event | None = None

    @property
    def is_full(self) -> bool:
        """Whether the transport's buffer is full."""
        return self._emptied is not None

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Note that the buffer is full."""
        if self._emptied is None:
            self._emptied = asyncio.Event()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Note that the buffer is empty."""
        if self._emptied is not None:
            self._emptied.set()
            self._emptied = None

    #: The connection is lost: what waits for it must not wait any longer.
    stopProducing = resumeProducing  # noqa: N815 - Twisted's name

    async def wait(self) -> None:
        """Return when the transport takes more."""
        while self._emptied is not None:
            await self._emptied.wait()


class Direct:
    """A connection past the application's queues: an extension of ASGI, ``realtime.direct``."""

    __slots__ = ("answer",)

    #: Writes a text at once if nothing waits before it, and returns whether it did. None where
    #: the server cannot do that.
    write: Callable[[str], bool] | None = None

    def __init__(self) -> None:
        #: Gets a text that arrives while the application waits for one, and returns whether the
        #: text is answered: then the application does not receive it.
        self.answer: Callable[[str], bool] | None = None

    def end(self) -> None:
        """Forget the application, which refers to this: the client is gone."""
        self.answer = None


class Inbox:
    """Messages for the application. While it is full, the socket is not read.

    A text that the application's ``answer`` accepts is no message: to wake the application up
    would cost more than the answer. This happens only while the application waits for its next
    message, so nothing is overtaken.

    Daphne's queue has no bound: a client that sends faster than the application receives fills the
    memory. A queue of asyncio's takes three kilobytes while it is empty.
    """

    __slots__ = ("_bytes", "_direct", "_filled", "_full", "_messages", "_transport")

    def __init__(self, transport: Any, direct: Direct) -> None:
        self._transport = transport
        self._direct = direct
        self._messages: list[dict[str, Any]] = []
        self._bytes = 0
        self._full = False
        #: Only while the application waits.
        self._filled: asyncio.Future[None] | None = None

    def put_nowait(self, message: dict[str, Any]) -> None:
        """Append a message, unless it is answered."""
        filled = self._filled
        if filled is not None and filled.done():
            filled = None
        if filled is not None and self._is_answered(message):
            return
        self._messages.append(message)
        self._bytes += _cost(message)
        if self._bytes > INBOX_BYTES and not self._full and message["type"] == "websocket.receive":
            self._full = True
            self._transport.pauseProducing()
        if filled is not None:
            filled.set_result(None)

    def _is_answered(self, message: dict[str, Any]) -> bool:
        answer, text = self._direct.answer, message.get("text")
        return answer is not None and text is not None and answer(text)

    async def get(self) -> dict[str, Any]:
        """Return the next message. Only one task may wait."""
        while not self._messages:
            self._filled = asyncio.get_running_loop().create_future()
            try:
                await self._filled
            finally:
                self._filled = None
        message = self._messages.pop(0)
        self._bytes -= _cost(message)
        if self._full and self._bytes <= INBOX_BYTES // 2:
            self._full = False
            self._transport.resumeProducing()
        return message


def _cost(message: dict[str, Any]) -> int:
    return MESSAGE_BYTES + len(message.get("text") or message.get("bytes") or "")
