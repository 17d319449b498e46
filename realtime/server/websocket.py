"""One WebSocket with bounds, by the methods that autobahn and Daphne offer for overriding.

Relied on, of Daphne 4.2: ``WebSocketProtocol`` puts messages for the application into what
``server.create_application`` returned, and writes the application's by ``handle_reply``,
``serverSend`` and ``serverClose``. Of autobahn: ``dropConnection`` ends a connection,
``failHandshake`` refuses one, ``onMessageFrameBegin`` announces a fragment, and ``sendCloseFrame``
sends any code. Where that is not so, Daphne's own class serves: without backpressure, and without
the close codes 1011 to 1013, which it refuses. What is undocumented beyond that is in
``fast_websocket.py``.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from autobahn.websocket.protocol import WebSocketProtocol as AutobahnProtocol
from autobahn.websocket.protocol import WebSocketServerProtocol as AutobahnServerProtocol
from daphne.server import reactor
from daphne.ws_protocol import WebSocketProtocol

from realtime.core.relied_on import Part

from .flow import Direct, Flow

#: Seconds that the client has for its part of a close, before the connection is cut.
CLOSE_TIMEOUT: Final = 3.0
#: Fragments of one message, at most.
MAX_FRAGMENTS: Final = 256
#: Pings that are answered in a row while the client does not read what was sent before.
MAX_PONGS: Final = 16

RELIED_ON: Final = (
    Part(WebSocketProtocol, "onConnect", "create_application server"),
    Part(WebSocketProtocol, "applicationCreateWorked", "application_queue put_nowait"),
    Part(WebSocketProtocol, "onMessage", "application_queue put_nowait"),
    Part(WebSocketProtocol, "onClose", "application_queue"),
    Part(WebSocketProtocol, "handle_reply", "serverSend serverClose"),
    Part(WebSocketProtocol, "serverSend", "sendMessage"),
    Part(WebSocketProtocol, "serverClose"),
    Part(WebSocketProtocol, "onOpen"),
    Part(AutobahnProtocol, "dropConnection", "abort"),
    Part(AutobahnServerProtocol, "failHandshake", "reason code responseHeaders"),
    Part(AutobahnProtocol, "onPing", "sendPong"),
    Part(AutobahnProtocol, "onMessageBegin"),
    Part(AutobahnProtocol, "onMessageFrameBegin"),
    Part(AutobahnProtocol, "sendCloseFrame", "code"),
    Part(AutobahnProtocol, "sendMessage", "STATE_OPEN state"),
)


class Socket(WebSocketProtocol):  # type: ignore[misc]
    """One WebSocket."""

    _cut: Any = None
    _fragments = _pongs = 0

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """The handshake begins."""
        self.direct = self.make_direct()
        super().connectionMade()
        self.flow = Flow()
        # Twisted leaves the HTTP connection's there.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.flow, True)

    def make_direct(self) -> Direct:
        """Return what answers past the application's queue."""
        return Direct()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """The client is gone."""
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        self.flow.stopProducing()
        super().connectionLost(reason)
        self.direct.end()

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802 - autobahn's name
        """End the connection; cut it where the client does not read what is left."""
        super().dropConnection(abort)
        if not abort and self._cut is None:
            self._cut = reactor.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)

    def failHandshake(  # noqa: N802 - autobahn's name
        self,
        reason: str,
        code: int = 400,
        responseHeaders: Any = None,  # noqa: N803
    ) -> None:
        """Refuse the handshake. As shipped the reason shows an exception's text and the input."""
        headers = [*(responseHeaders or ()), ("Content-Length", "0"), ("Connection", "close")]
        if reason.startswith("HTTP Origin header"):  # not a URL: no page has it
            code = HTTPStatus.FORBIDDEN
        super().failHandshake(HTTPStatus(code).phrase, code, headers)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N802, N803
        """Tell the application, if the handshake came so far that there is one."""
        if hasattr(self, "server"):
            super().onClose(wasClean, code, reason)

    def onPing(self, payload: bytes) -> None:  # noqa: N802 - autobahn's name
        """Answer a ping, and only some of a client that does not read what was sent before."""
        # RFC 6455, section 5.5.3: the answer to one ping may answer several.
        self._pongs = self._pongs + 1 if self.flow.is_full else 0
        if self._pongs <= MAX_PONGS:
            super().onPing(payload)

    def onMessageBegin(self, isBinary: bool) -> None:  # noqa: N802, N803 - autobahn's names
        """A message begins."""
        self._fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802 - autobahn's name
        """Count a message's fragments: empty ones stay below every limit of bytes."""
        super().onMessageFrameBegin(length)
        self._fragments += 1
        if self._fragments == MAX_FRAGMENTS + 1:
            self.refuse_fragments()

    def refuse_fragments(self) -> None:
        """End the connection of a client that sent too many fragments."""
        self.dropConnection(abort=True)

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Send the application's message. As shipped an empty message is not sent."""
        text, binary = message.get("text"), message.get("bytes")
        if message.get("type") == "websocket.send" and not (text or binary):
            if self.state == self.STATE_OPEN and (text, binary) != (None, None):
                self.serverSend("" if binary is None else b"", binary is not None)
            return
        super().handle_reply(message)

    def sendMessage(self, payload: bytes, isBinary: bool = False, **options: Any) -> None:  # noqa: N802, N803 - autobahn's names
        """Send one message, unless the client is gone: the application will learn of that."""
        if self.state == self.STATE_OPEN:
            super().sendMessage(payload, isBinary, **options)

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802 - Daphne's name
        """Close. autobahn's `sendClose` refuses 1011 to 1013: its list has private codes only."""
        self.sendCloseFrame(code=1000 if code is None else code)
