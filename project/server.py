"""Daphne, with a limit on what a request may carry.

As shipped it takes in the whole body of a request, on disk and then in memory, before the
application hears of it: a view can refuse an upload, but only when it is too late.
"""

from __future__ import annotations

from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server

from project.uploads import MAX_BYTES, TOO_LARGE

#: Twice what an upload may have: what is only somewhat too large gets the page's own answer.
MAX_BODY_BYTES = 2 * MAX_BYTES
#: Seconds in which the rest of a refused body is read and thrown away. Closing at once would
#: reset the connection, and the client would never read the answer.
LINGER = 30.0


class LimitedRequest(WebRequest):  # type: ignore[misc]
    """A request that is answered 413 as soon as it is known to be too large."""

    _taken = 0
    _cut: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would parse the form too, in ten times its size of memory, for nobody.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """Look at the length that the headers announce, before any of the body."""
        # A body without a length (chunked) is counted as it comes.
        super().gotLength(length)
        if length is not None and length > MAX_BODY_BYTES:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take a part of the body, or throw it away."""
        self._taken += len(data)
        if self._taken > MAX_BODY_BYTES and self._cut is None:
            self._refuse()
        if self._cut is None:
            super().handleContentChunk(data)

    def process(self) -> Any:
        """The body is complete."""
        if self._cut is None:
            return super().process()
        return self.channel.loseConnection()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """The client is gone."""
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        super().connectionLost(reason)

    def _refuse(self) -> None:
        # Who asks whether to go on is not to be told so.
        self.requestHeaders.removeHeader(b"Expect")
        self.content.close()
        body = f"{TOO_LARGE}\n".encode()
        self.channel.transport.write(
            b"HTTP/1.1 413 Content Too Large\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: %d\r\n"
            b"Connection: close\r\n"
            b"\r\n%b" % (len(body), body)
        )
        self._cut = self.channel.callLater(LINGER, self.channel.transport.abortConnection)


class LimitedFactory(HTTPFactory):  # type: ignore[misc]
    """Makes such requests."""

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        """One connection."""
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = LimitedRequest
        return protocol


class LimitedServer(Server):  # type: ignore[misc]
    """Daphne's server with that factory."""

    @property
    def http_factory(self) -> LimitedFactory:
        """The factory in use."""
        return self._http_factory

    @http_factory.setter
    def http_factory(self, _shipped: HTTPFactory) -> None:
        # `run` makes Daphne's own and has no place to give it another.
        self._http_factory = LimitedFactory(self)
