"""HTTP with bounds: how long a request may take, and how large its body may be.

Relied on, of Daphne 4.2: ``WebRequest`` makes the application in ``process``, hands a handshake to
``server.ws_factory`` there, and writes each message of the application in ``handle_reply``; an
error of its own goes through ``basic_error``. Of Twisted 25.5 to 26: ``http.Request`` announces the
body's length in ``gotLength`` and each part of it in ``handleContentChunk``, and takes
``parsePOSTFormSubmission``; ``http.HTTPChannel`` reads by ``dataReceived``, keeps its idle timeout
in ``timeOut`` and its requests in ``requests``, and calls ``requestDone`` after each response.
Where that is not so, Daphne's ``HTTPFactory`` serves: without these bounds.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, Final

from daphne.http_protocol import HTTPFactory, WebRequest, http

from realtime.core.relied_on import Part, are_known

from .flow import Flow
from .options import Options

#: Seconds that an idle connection is kept for the next request.
KEEP_ALIVE: Final = 60.0
#: Seconds in which the rest of a refused body is read and dropped. Closing at once would reset the
#: connection, and the client would never read the answer.
LINGER: Final = 30.0
#: The ``Retry-After`` of a process that has no room, in seconds.
RETRY_AFTER: Final = 10

_RELIED_ON: Final = (
    Part(WebRequest, "process", "create_application ws_factory content uri transport"),
    Part(WebRequest, "handle_reply", "more_body finish"),
    Part(WebRequest, "basic_error", "handle_reply"),
    Part(WebRequest, "finish"),
    Part(WebRequest, "connectionLost"),
    Part(HTTPFactory, "__init__", "server"),
    Part(HTTPFactory, "buildProtocol", "requestFactory"),
    Part(http.Request, "__init__", "parsePOSTFormSubmission"),
    Part(http.Request, "gotLength", "content"),
    Part(http.Request, "handleContentChunk", "content"),
    Part(http.Request, "registerProducer"),
    Part(http.Request, "unregisterProducer"),
    Part(http.HTTPChannel, "connectionMade", "timeOut setTimeout"),
    Part(http.HTTPChannel, "dataReceived"),
    Part(http.HTTPChannel, "allHeadersReceived"),
    Part(http.HTTPChannel, "requestDone", "requests"),
    Part(http.HTTPChannel, "connectionLost"),
    Part(http.HTTPChannel, "timeoutConnection"),
    Part(http.HTTPChannel, "loseConnection"),
)


def http_factory(server: Any, shipped: HTTPFactory) -> HTTPFactory:
    """Return what makes the server's HTTP connections: Daphne's own where it is unknown."""
    instead = "Daphne's HTTPFactory serves, without bounds of time and of a body's size"
    known = are_known("http", "daphne", _RELIED_ON, instead=instead)
    return RequestFactory(server) if known else shipped


class Channel(http.HTTPChannel):  # type: ignore[misc]
    """One HTTP connection, whose client has a bounded time for each request.

    Daphne's own class waits another 60 seconds after every byte.
    """

    _head: Any = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Wait for a request's head."""
        super().connectionMade()
        self._await_head()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Read a part of a request; the next one must arrive in time."""
        if self.timeOut is not None:
            self.setTimeout(self._patience)
        if self.line_mode and self._head is None:
            self._await_head()
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:  # noqa: N802 - Twisted's name
        """The head is complete."""
        self._end_head()
        super().allHeadersReceived()

    def requestDone(self, request: Any) -> None:  # noqa: N802 - Twisted's name
        """A request is answered: the client may keep the connection idle for a while."""
        super().requestDone(request)
        if self.timeOut is not None:
            self.setTimeout(KEEP_ALIVE)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """The client is gone."""
        self._end_head()
        super().connectionLost(reason)

    @property
    def _patience(self) -> float:
        seconds: float = self.factory.server.options.request_timeout
        return seconds

    def _await_head(self) -> None:
        self._head = self.callLater(self._patience, self.timeoutConnection)

    def _end_head(self) -> None:
        if self._head is not None and self._head.active():
            self._head.cancel()
        self._head = None


class Request(WebRequest):  # type: ignore[misc]
    """A request, or a handshake, that is refused as soon as it breaks a rule."""

    #: Made when the response is a stream.
    flow: Flow | None = None
    content: Any
    _body_bytes = 0
    _cut: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would parse the form too, in ten times its size of memory, and Django does not
        # use what it finds.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)

    @property
    def _options(self) -> Options:
        options: Options = self.server.options
        return options

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """Check the length that the headers announce, before the body is read.

        As shipped the whole body is stored, on disk and then in memory, before the application
        starts: a view can refuse it only when it is too late.
        """
        # A body without a length (chunked) is counted as it comes.
        super().gotLength(length)
        if length is not None and length > self._options.max_body_bytes:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Store a part of the body, or drop it."""
        self._body_bytes += len(data)
        if self._body_bytes > self._options.max_body_bytes and self._cut is None:
            self._refuse_body()
        if self._cut is None:
            super().handleContentChunk(data)

    def process(self) -> Any:
        """The request is complete."""
        if self._cut is not None:
            return self.channel.loseConnection()
        # Daphne trusts it from any client: the paths that Django makes would begin with it.
        self.requestHeaders.removeHeader(b"Daphne-Root-Path")
        if re.search(rb"[^!-~]", self.uri):  # it would reach the log, and a terminal
            return self.basic_error(400, b"Bad Request", "Invalid characters in path")
        if self._is_handshake():
            if self.server.is_draining:
                return self._send_away("The server restarts", seconds=1)
            if self._options.is_full():  # before it costs an upgrade and a read of the session
                return self._send_away("No room for more connections", seconds=RETRY_AFTER)
            # Daphne answers 500, with the exception's text.
            if not all(value.isascii() for value in self._values(b"Sec-WebSocket-Protocol")):
                return self.basic_error(400, b"Bad Request", "Invalid subprotocol")
        channel, processed = self.channel, super().process()
        if self.transport is None:  # a WebSocket has it now
            # Request and channel refer to each other: they would wait for a full collection.
            channel.requests.clear()
        return processed

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Write a part of the response; for a stream, register to learn of a slow client."""
        if message.get("more_body") and self.flow is None and self.channel is not None:
            self.flow = Flow()
            self.registerProducer(self.flow, True)
        super().handle_reply(message)

    def finish(self) -> None:
        """The response is complete."""
        if self.flow is not None:
            self.unregisterProducer()
        super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """The client is gone."""
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        if self.flow is not None:
            self.flow.stopProducing()
        super().connectionLost(reason)

    def _refuse_body(self) -> None:
        # Drop `Expect: 100-continue`, or Twisted invites the body that was just refused.
        self.requestHeaders.removeHeader(b"Expect")
        self.content.close()
        self.content = BytesIO()  # Twisted rewinds it when the rest of the body has come
        body = f"{self._options.too_large}\n".encode()
        self.channel.transport.write(
            b"HTTP/1.1 413 Content Too Large\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: %d\r\n"
            b"Connection: close\r\n"
            b"\r\n%b" % (len(body), body)
        )
        self._cut = self.channel.callLater(LINGER, self.channel.transport.abortConnection)

    def _send_away(self, reason: str, *, seconds: int) -> None:
        self.responseHeaders.setRawHeaders(b"Retry-After", [b"%d" % seconds])
        self.basic_error(503, b"Service Unavailable", reason)

    def _is_handshake(self) -> bool:
        return [value.lower() for value in self._values(b"Upgrade")[:1]] == [b"websocket"]

    def _values(self, name: bytes) -> list[bytes]:
        return list(self.requestHeaders.getRawHeaders(name, ()))


class RequestFactory(HTTPFactory):  # type: ignore[misc]
    """Makes these connections and requests."""

    protocol = Channel

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        """Return a new connection."""
        self.timeOut = self.server.options.request_timeout
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = Request
        return protocol
