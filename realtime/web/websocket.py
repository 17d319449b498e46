"""The WebSocket adapter of a client's session: the handshake, and messages into requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from realtime.conf import conf
from realtime.core import frames
from realtime.core.codes import CloseCode, ErrorCode
from realtime.core.logs import get_logger
from realtime.exceptions import FrameError

from .access.origins import is_allowed_origin
from .session import ClientSession

logger = get_logger("realtime.connection")

_Send = Callable[[Any], Awaitable[None]]
#: In the scope, if the server can write and answer texts past its own queues
#: (``realtime.server.flow.Direct``).
DIRECT: Final = "realtime.direct"
#: Codes that Daphne as shipped refuses with an exception, which would leave the connection open.
_REFUSED: Final = (CloseCode.INTERNAL, CloseCode.RESTART, CloseCode.FULL)
#: The code in place of these: clients reconnect after it too, and ``closing`` has the right one.
_IN_PLACE: Final = 4000


class _WebSocketSink:
    """Sends a session's frames over a WebSocket."""

    __slots__ = ("_send", "write")

    def __init__(self, send: _Send, write: Callable[[str], bool] | None) -> None:
        self._send = send
        self.write = write

    async def send(self, text: str) -> None:
        """Send a text frame."""
        await self._send({"type": "websocket.send", "text": text})

    async def close(self, code: int) -> None:
        """Close the connection."""
        try:
            await self._send({"type": "websocket.close", "code": code})
        except Exception:
            if code not in _REFUSED:
                raise
            await self._send({"type": "websocket.close", "code": _IN_PLACE})


class TaskConsumer(AsyncConsumer):
    """One WebSocket."""

    #: No channel, no group and no layer loop of its own: the process's hub has them.
    channel_layer_alias = None  # type: ignore[assignment]
    session: ClientSession | None = None

    async def __call__(
        self,
        scope: Any,
        receive: Callable[[], Awaitable[Any]],
        send: _Send,
    ) -> None:
        """Serve the connection, and end its session however it ends.

        This replaces Channels' own loop. That one waits for each message in a new task, for the
        channel that this consumer does not have. It also calls each handler through a thread that
        closes database connections; here the code that queries the database does that.
        """
        self.scope, self.base_send = scope, send
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        finally:
            # Channels calls no disconnect handler after a handler has failed (channels#1466).
            if self.session is not None:
                await self.session.leave()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler of a message."""
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Open a session, if the Origin is allowed; else answer the handshake with 403."""
        if not is_allowed_origin(self.scope):
            await self.send({"type": "websocket.close"})
            raise StopConsumer
        await self.send({"type": "websocket.accept"})
        direct: Any = self.scope.get(DIRECT)
        write = None if direct is None else direct.write
        self.session = ClientSession(self.scope, _WebSocketSink(self.base_send, write))
        if not await self.session.open():
            raise StopConsumer
        if direct is not None:
            direct.answer = self.session.answer_at_once

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Parse a frame, and let the session answer the request."""
        session = self.session
        if session is None or not await session.accepts_frame():
            return
        text = message.get("text")
        binary = message.get("bytes") or b""
        if len(binary if text is None else text.encode()) > conf().MAX_FRAME_BYTES:
            limit = f"a frame has at most {conf().MAX_FRAME_BYTES} bytes"
            session.refuse(CloseCode.TOO_LARGE, ErrorCode.TOO_LARGE, limit)
        elif text is None:
            session.bad_request("a frame must be text, not binary", None)
        else:
            try:
                request = frames.parse(text)
            except FrameError as error:
                session.bad_request(str(error), error.frame_id)
            else:
                await session.receive(request)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End; :meth:`__call__` ends the session."""
        logger.info("connection_closed code=%s", message.get("code"))
        raise StopConsumer
