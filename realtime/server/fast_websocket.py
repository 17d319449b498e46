"""A WebSocket without most of the work of autobahn and Twisted for each frame and connection.

Relied on, of autobahn: ``_connectionMade`` copies the names in ``CONFIG_ATTRS`` from the factory to
the connection, gives it the values with which every connection begins, and makes its
``send_queue`` and ``utf8validator``; ``succeedHandshake`` opens the connection, after which nothing
reads the names in ``_Handshake``; ``state`` is an attribute; ``dataReceived`` writes a log line and
calls ``_dataReceived``, which keeps a part of a frame in ``data``, ``current_frame`` and
``inside_message``; ``sendData(data, sync, chopsize)`` appends to ``send_queue`` or writes at once;
``_fail_connection(code, reason)`` and ``onAutoPingTimeout()`` end a connection. Of Daphne: the
names in ``_Handshake`` that are its own; ``check_timeouts`` is called every two seconds, and
compares ``last_ping`` with the server's ``ping_interval``. Of Twisted: a TCP transport keeps what
it has not sent in ``dataBuffer`` and ``_tempDataBuffer``, and has a ``socket``. Where that is not
so, ``websocket.Socket`` serves: each event then costs about twice as much.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from time import time
from typing import Any, Final

from autobahn.twisted.websocket import WebSocketAdapterProtocol
from autobahn.websocket.protocol import WebSocketProtocol as AutobahnProtocol
from autobahn.websocket.protocol import WebSocketServerProtocol as AutobahnServerProtocol
from autobahn.websocket.utf8validator import Utf8Validator
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet.abstract import FileDescriptor
from twisted.internet.tcp import Connection

from realtime.core.relied_on import Part, are_known

from .flow import Direct
from .rfc6455 import EMPTY_PING, PING, TEXT, text_frame, whole_frame
from .websocket import CLOSE_TIMEOUT, RELIED_ON, Socket

_RELIED_ON: Final = (
    Part(AutobahnProtocol, "_connectionMade", "CONFIG_ATTRS factory send_queue state data"),
    Part(AutobahnProtocol, "_connectionMade", "utf8validator Utf8Validator trafficStats"),
    Part(AutobahnProtocol, "_dataReceived", "data state"),
    Part(AutobahnProtocol, "processData", "data current_frame inside_message"),
    Part(AutobahnProtocol, "onAutoPingTimeout", "wasClean dropConnection"),
    Part(AutobahnProtocol, "sendData", "data sync chopsize send_queue transport"),
    Part(AutobahnProtocol, "_fail_connection", "code reason"),
    Part(AutobahnServerProtocol, "processHandshake", "http_request_data http_headers"),
    Part(AutobahnServerProtocol, "succeedHandshake", "state inside_message current_frame _wskey"),
    Part(WebSocketAdapterProtocol, "dataReceived", "_dataReceived"),
    Part(WebSocketProtocol, "onClose", "request path client_addr"),
    Part(WebSocketProtocol, "check_timeouts", "last_ping ping_interval"),
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


class _Handshake:
    """What an open connection does not need of its handshake: the application has the scope."""

    http_headers = http_request_data = http_response_data = http_status_line = None
    http_request_uri = http_request_path = http_request_params = http_request_host = None
    websocket_protocols = websocket_extensions = websocket_extensions_in_use = None
    websocket_origin = _wskey = _transport_details = _raw_query_string = None
    protocol_to_accept = application_deferred = clean_headers = server_addr = None
    openHandshakeTimeoutCall = websocket_protocol_in_use = is_open = None  # noqa: N815
    path = root_path = _valid_events = _results = peer = None


class _Request:
    """What Daphne's log needs of a handshake."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class FastSocket(_Handshake, Socket):
    """One WebSocket, without the work that a frame does not need."""

    _state: Any = None
    # Between two messages
    inside_message = False
    current_frame: Any = None
    utf8validator: Any = None
    _pinged_at = 0.0
    trafficStats: Any = None  # noqa: N815

    direct: FastDirect
    request: Any

    @property
    def state(self) -> Any:
        """autobahn's name for whether it connects, is open, closes or is closed."""
        return self._state

    @state.setter
    def state(self, state: Any) -> None:
        self._state = state
        self.direct.is_clear = False

    def make_direct(self) -> FastDirect:
        """Return what writes and answers past the application's queues."""
        return FastDirect(self)

    def _connectionMade(self) -> None:  # noqa: N802 - autobahn's name
        """Keep what all connections begin with in the factory's class, once.

        As shipped each connection has a copy of it, and of autobahn's options, which are formatted
        for a log line that no handler gets.
        """
        kind = type(self)
        for name in self.CONFIG_ATTRS:
            option = getattr(self.factory, name)
            setattr(kind, name, staticmethod(option) if callable(option) else option)
        before = set(vars(self)) if kind.CONFIG_ATTRS else ()
        kind.CONFIG_ATTRS = []
        super()._connectionMade()
        # An empty queue takes 760 bytes, and nothing here is ever put into it.
        self.send_queue: Any = ()
        if before:
            # Counts octets, for nobody.
            kind.trafficStats, kind.factory = self.trafficStats, self.factory
            for name in set(vars(self)).difference(before):
                value = vars(self)[name]
                if value is None or isinstance(value, int | bytes | tuple):
                    setattr(kind, name, value)

    def succeedHandshake(self, res: Any) -> None:  # noqa: N802 - autobahn's name
        """Open the connection; then drop what it needs no more."""
        super().succeedHandshake(res)
        kind = type(self)
        self.request = _Request(self.request.path)
        self.trafficStats = kind.trafficStats
        if not self.inside_message:
            self.utf8validator = None
        # A new dictionary: one does not shrink.
        self.__dict__ = {
            name: value
            for name, value in vars(self).items()
            if name not in _HANDSHAKE and getattr(kind, name, self) is not value
        }

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """The client is gone."""
        super().connectionLost(reason)
        self.is_closed = None  # its result is the connection itself, which would not be freed

    # As shipped both methods format the coloured text of a log line that no handler gets.

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Read what has arrived."""
        self.last_ping = time()
        found = whole_frame(data) if self._is_between_messages() else None
        if found is None:
            if self.utf8validator is None:
                self.utf8validator = Utf8Validator()  # type: ignore[no-untyped-call]
            self._dataReceived(data)
            return
        opcode, payload = found
        if opcode == PING:
            self.onPing(payload)
        elif opcode == TEXT:
            self.onMessage(payload, False)

    def _is_between_messages(self) -> bool:
        return not (
            self._state != self.STATE_OPEN
            or self.data
            or self.inside_message
            or self.current_frame is not None
        )

    def check_timeouts(self) -> None:
        """Ping a silent client; end the connection of one that does not answer.

        As shipped each ping has random octets and a timer, though whatever a client sends answers
        it.
        """
        now = time()
        if self._state != self.STATE_OPEN:
            super().check_timeouts()
        elif now - self.last_ping <= self.server.ping_interval:
            return
        elif self._pinged_at <= self.last_ping:
            self._pinged_at = now
            self.sendData(EMPTY_PING)
        elif now - self._pinged_at > self.server.ping_timeout:
            self.onAutoPingTimeout()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802 - autobahn's name
        """Send the handshake's answer, or a frame."""
        if sync or chopsize or self.send_queue:
            self.direct.is_clear = False
            self.send_queue = self.send_queue or deque()
            super().sendData(data, sync, chopsize)
        else:
            self.direct.send(data)

    def sendMessage(self, payload: bytes, isBinary: bool = False, **options: Any) -> None:  # noqa: N802, N803 - autobahn's names
        """Send one message, unless the client is gone: the application will learn of that."""
        if self._state != self.STATE_OPEN:
            return
        if isBinary or options or self.send_queue:
            super().sendMessage(payload, isBinary, **options)
            return
        self.sendData(text_frame(payload))

    def refuse_fragments(self) -> None:
        """Close with 1009."""
        self._fail_connection(self.CLOSE_STATUS_CODE_MESSAGE_TOO_BIG, "too many fragments")


_HANDSHAKE: Final = frozenset(name for name in vars(_Handshake) if not name.startswith("__"))


class FastDirect(Direct):
    """Writes to the socket, past Twisted's buffer: through it, each frame changes epoll twice.

    It refers to the socket itself: with thousands of connections, the time of a delivery depends on
    how many objects it reads, since no cache has all of them.
    """

    __slots__ = ("_protocol", "_send", "is_clear")

    def __init__(self, protocol: FastSocket) -> None:
        super().__init__()
        #: None when the client is gone.
        self._protocol: FastSocket | None = protocol
        self._send = protocol.transport.socket.send
        #: Whether the connection is open, and nothing waits in a buffer.
        self.is_clear = False

    def end(self) -> None:
        """Forget the application and the connection: the client is gone."""
        super().end()
        self.is_clear = False
        self._protocol = None

    def write(self, text: str) -> bool:
        """Send a text at once unless data waits before it; return whether it was sent."""
        if not self.is_clear:
            protocol = self._protocol
            if protocol is None or protocol.state != protocol.STATE_OPEN or _has_data(protocol):
                return False
            self.is_clear = True
        # With thousands of clients each call costs more than what it does: send() and, for the same
        # text, _frame_of() are not called.
        last, frame = _LastFrame.kept
        if text is not last:
            frame = _frame_of(text)
        try:
            sent = self._send(frame)
        except OSError:
            sent = 0  # it accepts none, or is closed: the next write detects that
        if sent != len(frame):
            self._buffer(frame[sent:])
        return True

    def send(self, data: bytes) -> None:
        """Send octets in any state: at once, or after what waits before them."""
        sent = 0
        if self.is_clear or (self._protocol is not None and not _has_data(self._protocol)):
            with suppress(OSError):
                sent = self._send(data)
        if sent != len(data):
            self._buffer(data[sent:])

    def _buffer(self, rest: bytes) -> None:
        self.is_clear = False
        if self._protocol is not None:
            self._protocol.transport.write(rest)


def _has_data(protocol: FastSocket) -> bool:
    """Return whether data waits in a buffer of a connection."""
    transport = protocol.transport
    return bool(protocol.send_queue or transport.dataBuffer or transport._tempDataBuffer)  # noqa: SLF001


class _LastFrame:
    """The last text and its frame: one event's text goes to many sockets in a row."""

    kept = "", text_frame(b"")


def _frame_of(text: str) -> bytes:
    frame = text_frame(text.encode())
    _LastFrame.kept = text, frame
    return frame
