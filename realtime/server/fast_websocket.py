"""A WebSocket without most of the work of autobahn and Twisted for each frame and connection.

Relied on, of autobahn: ``_connectionMade`` copies the names in ``CONFIG_ATTRS`` from the factory to
the connection and makes its ``send_queue``; ``dataReceived`` writes a log line and calls
``_dataReceived``; ``sendData(data, sync, chopsize)`` appends to ``send_queue`` or writes at once;
``_fail_connection(code, reason)`` closes; ``http_headers``, ``http_request_data`` and
``http_response_data`` are used during the handshake only. Of Twisted: a TCP transport keeps what it
has not sent in ``dataBuffer`` and ``_tempDataBuffer``, and has a ``socket``. Where that is not so,
``websocket.Socket`` serves: each event then costs about twice as much.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from autobahn.twisted.websocket import WebSocketAdapterProtocol
from autobahn.websocket.protocol import WebSocketProtocol as AutobahnProtocol
from autobahn.websocket.protocol import WebSocketServerProtocol as AutobahnServerProtocol
from daphne.ws_protocol import WebSocketFactory
from twisted.internet.abstract import FileDescriptor
from twisted.internet.tcp import Connection

from realtime.core.relied_on import Part, are_known

from .websocket import CLOSE_TIMEOUT, RELIED_ON, Socket

_RELIED_ON: Final = (
    Part(AutobahnProtocol, "_connectionMade", "CONFIG_ATTRS factory send_queue"),
    Part(AutobahnProtocol, "_dataReceived", "data"),
    Part(AutobahnProtocol, "sendData", "data sync chopsize send_queue transport"),
    Part(AutobahnProtocol, "_fail_connection", "code reason"),
    Part(AutobahnServerProtocol, "processHandshake", "http_request_data http_headers"),
    Part(WebSocketAdapterProtocol, "dataReceived", "_dataReceived"),
    Part(FileDescriptor, "__init__", "_tempDataBuffer"),
    Part(FileDescriptor, "doWrite", "dataBuffer _tempDataBuffer"),
    Part(FileDescriptor, "write", "_tempDataBuffer"),
    Part(Connection, "__init__", "socket"),
)


def configure(factory: WebSocketFactory) -> WebSocketFactory:
    """Let Daphne's factory make the best WebSockets whose libraries are known; return it."""
    instead = "Daphne's WebSocketProtocol serves, without backpressure"
    if not are_known("websocket", "autobahn", RELIED_ON, instead=instead):
        return factory
    instead = "the WebSocket of autobahn and Twisted serves, more slowly"
    fast = are_known("fast_websocket", "autobahn", _RELIED_ON, instead=instead)
    # A class of this factory's own: the fast one keeps the factory's options.
    factory.protocol = type("Socket", (FastSocket if fast else Socket,), {})
    # A close code where the protocol allows one, instead of a reset. autobahn offers no
    # compression unless it is asked to: a few bytes would become a megabyte.
    factory.setProtocolOptions(failByDrop=False, closeHandshakeTimeout=CLOSE_TIMEOUT)
    return factory


class FastSocket(Socket):
    """One WebSocket, without the work that a frame does not need."""

    def _connectionMade(self) -> None:  # noqa: N802 - autobahn's name
        """Copy autobahn's options to the factory's class, once.

        As shipped they are copied to each connection, and formatted for a log line that no handler
        gets.
        """
        for name in self.CONFIG_ATTRS:
            option = getattr(self.factory, name)
            setattr(type(self), name, staticmethod(option) if callable(option) else option)
        type(self).CONFIG_ATTRS = []
        super()._connectionMade()

    def onOpen(self) -> None:  # noqa: N802 - autobahn's name
        """Drop what autobahn would keep of the handshake: the application has it in its scope."""
        self.http_headers = self.request.headers = {}
        self.http_request_data = self.http_response_data = b""
        super().onOpen()

    # As shipped both methods format the coloured text of a log line that no handler gets.

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Read what has arrived."""
        self._dataReceived(data)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802 - autobahn's name
        """Send the handshake's answer, or a frame."""
        if sync or chopsize or self.send_queue:
            super().sendData(data, sync, chopsize)
        elif not self._write_at_once(data):
            self.transport.write(data)

    def sendMessage(self, payload: bytes, isBinary: bool = False, **options: Any) -> None:  # noqa: N802, N803 - autobahn's names
        """Send one message, unless the client is gone: the application will learn of that."""
        if self.state != self.STATE_OPEN:
            return
        if isBinary or options or self.send_queue:
            super().sendMessage(payload, isBinary, **options)
            return
        self.sendData(text_frame(payload))

    def refuse_fragments(self) -> None:
        """Close with 1009."""
        self._fail_connection(self.CLOSE_STATUS_CODE_MESSAGE_TOO_BIG, "too many fragments")

    def write_text(self, text: str) -> bool:
        """Send a text at once unless data waits before it; return whether it was sent."""
        if self.state != self.STATE_OPEN or self.send_queue:
            return False
        return self._write_at_once(_frame_of(text))

    def _write_at_once(self, frame: bytes) -> bool:
        """Write past Twisted's buffer: through it, each frame changes epoll twice."""
        transport = self.transport
        if transport.dataBuffer or transport._tempDataBuffer:  # noqa: SLF001
            return False
        try:
            sent = transport.socket.send(frame)
        except OSError:
            sent = 0  # it accepts none, or is closed: the next write detects that
        if sent != len(frame):
            transport.write(frame[sent:])
        return True


def text_frame(payload: bytes) -> bytes:
    """Return an unmasked text frame (RFC 6455, section 5.2)."""
    length = len(payload)
    if length < 126:
        return b"\x81%c%b" % (length, payload)
    if length < 1 << 16:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), payload)


@lru_cache(maxsize=1)
def _frame_of(text: str) -> bytes:
    """Return a text's frame: one event's text goes to many sockets in a row."""
    return text_frame(text.encode())
