"""Daphne, made fit for many sockets that strangers hold: ``serve(application, host, port)``.

Every class here overrides one of Daphne's, Twisted's or autobahn's in a few small places; each
place says what it answers.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import resource
import signal
import sys
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Final

from daphne.access import AccessLogGenerator
from daphne.http_protocol import HTTPFactory, WebRequest, http
from daphne.server import Server as DaphneServer
from daphne.server import defer, reactor, twisted_loop  # those that it chose
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from realtime.conf import conf
from realtime.core.codes import CloseCode
from realtime.core.logs import LineFormatter, escaped, get_logger
from realtime.web.drain import drain, is_draining
from realtime.web.reconciler import reconciler
from realtime.web.registry import is_full

logger = get_logger("realtime.server")

#: Connections that the kernel keeps while the process is busy. Daphne's 50 make a burst of
#: browsers wait for TCP's retries.
BACKLOG: Final = 4096
#: Seconds that an idle HTTP connection is kept for the next request.
KEEP_ALIVE: Final = 60.0
#: Seconds in which the rest of a refused body is read and thrown away. Closing at once would
#: reset the connection, and the client would never read the answer.
LINGER: Final = 30.0
#: Seconds that the other end has for its part of a close, before it is cut off.
CLOSE_TIMEOUT: Final = 3.0
#: Seconds that each step of an orderly end may take.
GRACE: Final = 2.0
#: Bytes that wait for the application, over one connection, before its socket is left unread.
INBOX_BYTES: Final = 64 * 1024
#: What a message costs in memory besides its bytes.
MESSAGE_BYTES: Final = 512
#: Fragments of one message.
FRAGMENTS: Final = 256
#: Seconds after which a client that finds no room is asked to come back.
RETRY_AFTER: Final = 10
#: Characters of an address that the access log shows.
LOGGED: Final = 1000


class Flow:
    """Whether a transport takes more: Twisted says so to a push producer (daphne#170)."""

    #: There while the buffer is full: an event is a kilobyte.
    _emptied: asyncio.Event | None = None

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The buffer is full."""
        if self._emptied is None:
            self._emptied = asyncio.Event()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The buffer is empty."""
        if self._emptied is not None:
            self._emptied.set()
            self._emptied = None

    #: Nobody reads any more, so nobody is to wait either.
    stopProducing = resumeProducing  # noqa: N815 - Twisted's name

    async def wait(self) -> None:
        """Return when the transport takes more."""
        while self._emptied is not None:
            await self._emptied.wait()


class Inbox:
    """What waits for the application: when it is full, the socket is left unread.

    Daphne's queue has no bound: who sends faster than is answered fills the memory. And one of
    asyncio's takes three kilobytes while it is empty.
    """

    __slots__ = ("_bytes", "_filled", "_full", "_messages", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._messages: list[dict[str, Any]] = []
        self._bytes = 0
        self._full = False
        #: There while the application waits.
        self._filled: asyncio.Future[None] | None = None

    def put_nowait(self, message: dict[str, Any]) -> None:
        """Append a message."""
        self._messages.append(message)
        self._bytes += _cost(message)
        if self._bytes > INBOX_BYTES and not self._full and message["type"] == "websocket.receive":
            self._full = True
            self._transport.pauseProducing()
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)

    async def get(self) -> dict[str, Any]:
        """Return the next message, to the one application that there is."""
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


class Channel(http.HTTPChannel):  # type: ignore[misc]
    """One HTTP connection, with an end to the patience for whoever sends slowly.

    As shipped every byte buys another 60 seconds.
    """

    _head: Any = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Expect a request's head."""
        super().connectionMade()
        self._await_head()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take a part of a request, and expect the next one soon."""
        if self.timeOut is not None:
            self.setTimeout(conf().REQUEST_TIMEOUT)
        if self.line_mode and self._head is None:
            self._await_head()
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:  # noqa: N802 - Twisted's name
        """The head is complete."""
        self._end_head()
        super().allHeadersReceived()

    def requestDone(self, request: Any) -> None:  # noqa: N802 - Twisted's name
        """A request is answered: who keeps the connection may take a while to use it again."""
        super().requestDone(request)
        if self.timeOut is not None:
            self.setTimeout(KEEP_ALIVE)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """The client is gone."""
        self._end_head()
        super().connectionLost(reason)

    def _await_head(self) -> None:
        self._head = self.callLater(conf().REQUEST_TIMEOUT, self.timeoutConnection)

    def _end_head(self) -> None:
        if self._head is not None and self._head.active():
            self._head.cancel()
        self._head = None


class Request(WebRequest):  # type: ignore[misc]
    """A request, or a handshake, that is refused as soon as it is known to be a bad one."""

    #: Made when the response is a stream.
    flow: Flow | None = None
    _taken = 0
    _cut: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would parse the form too, in ten times its size of memory, for nobody.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """Look at the length that the headers announce, before any of the body.

        As shipped the whole body is taken in, on disk and then in memory, before the
        application hears of it: a view can refuse it only when it is too late.
        """
        # A body without a length (chunked) is counted as it comes.
        super().gotLength(length)
        if length is not None and length > conf().MAX_BODY_BYTES:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take a part of the body, or throw it away."""
        self._taken += len(data)
        if self._taken > conf().MAX_BODY_BYTES and self._cut is None:
            self._refuse_body()
        if self._cut is None:
            super().handleContentChunk(data)

    def process(self) -> Any:
        """The request is complete."""
        if self._cut is not None:
            return self.channel.loseConnection()
        # Daphne believes it from anybody: the paths that Django makes would begin with it.
        self.requestHeaders.removeHeader(b"Daphne-Root-Path")
        if re.search(rb"[^!-~]", self.uri):  # it would reach the log, and a terminal
            return self.basic_error(400, b"Bad Request", "Invalid characters in path")
        if self._is_handshake():
            if is_draining():
                return self._send_on("The server restarts", seconds=1)
            if is_full():  # said before it costs an upgrade and a look at the session
                return self._send_on("No room for more connections", seconds=RETRY_AFTER)
            # Daphne answers 500, with the exception's text.
            if not all(value.isascii() for value in self._values(b"Sec-WebSocket-Protocol")):
                return self.basic_error(400, b"Bad Request", "Invalid subprotocol")
        return super().process()

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Write a part of the response; for a stream, learn when the client is too slow."""
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
        # Who asks whether to go on is not to be told so.
        self.requestHeaders.removeHeader(b"Expect")
        self.content.close()
        body = f"{self.server.too_large}\n".encode()
        self.channel.transport.write(
            b"HTTP/1.1 413 Content Too Large\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: %d\r\n"
            b"Connection: close\r\n"
            b"\r\n%b" % (len(body), body)
        )
        self._cut = self.channel.callLater(LINGER, self.channel.transport.abortConnection)

    def _send_on(self, reason: str, *, seconds: int) -> None:
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
        """One connection."""
        self.timeOut = conf().REQUEST_TIMEOUT
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = Request
        return protocol


class Socket(WebSocketProtocol):  # type: ignore[misc]
    """One WebSocket."""

    _cut: Any = None
    _fragments = 0

    def _connectionMade(self) -> None:  # noqa: N802 - autobahn's name
        """Copy autobahn's options to this server's class, once.

        As shipped they are copied to each connection, and made into a text for a log line that
        nobody reads.
        """
        for name in self.CONFIG_ATTRS:
            option = getattr(self.factory, name)
            setattr(type(self), name, staticmethod(option) if callable(option) else option)
        type(self).CONFIG_ATTRS = []
        super()._connectionMade()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """The handshake begins."""
        super().connectionMade()
        self.flow = Flow()
        # Twisted leaves the HTTP connection's there.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.flow, True)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """The client is gone."""
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        self.flow.stopProducing()
        super().connectionLost(reason)

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802 - autobahn's name
        """End; and who does not take what is left to be sent is not waited for."""
        super().dropConnection(abort)
        if not abort and self._cut is None:
            self._cut = reactor.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)

    def failHandshake(  # noqa: N802 - autobahn's name
        self,
        reason: str,
        code: int = 400,
        responseHeaders: Any = None,  # noqa: N803
    ) -> None:
        """Refuse the handshake. As shipped the reason is an exception's text and what was sent."""
        headers = [*(responseHeaders or ()), ("Content-Length", "0"), ("Connection", "close")]
        if reason.startswith("HTTP Origin header"):  # it cannot be read: nobody's own page
            code = HTTPStatus.FORBIDDEN
        super().failHandshake(HTTPStatus(code).phrase, code, headers)

    def onOpen(self) -> None:  # noqa: N802 - autobahn's name
        """Drop what autobahn would keep of the handshake: the application has it in its scope."""
        self.http_headers = self.request.headers = {}
        self.http_request_data = self.http_response_data = b""
        super().onOpen()

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N802, N803
        """Tell the application, if the handshake came so far that there is one."""
        if hasattr(self, "server"):
            super().onClose(wasClean, code, reason)

    def onMessageBegin(self, isBinary: bool) -> None:  # noqa: N802, N803 - autobahn's names
        """A message begins."""
        self._fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802 - autobahn's name
        """Count a message's fragments: empty ones are under every limit of bytes."""
        super().onMessageFrameBegin(length)
        self._fragments += 1
        if self._fragments == FRAGMENTS + 1:
            self._fail_connection(self.CLOSE_STATUS_CODE_MESSAGE_TOO_BIG, "too many fragments")

    # autobahn's own ways make, each time, the coloured text of a log line that nobody reads.

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take what has come."""
        self._dataReceived(data)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802 - autobahn's name
        """Send the handshake's answer, or a frame."""
        if sync or chopsize or self.send_queue:
            super().sendData(data, sync, chopsize)
        elif not self._write_at_once(data):
            self.transport.write(data)

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Act on the application's message. As shipped an empty message is not sent."""
        text, binary = message.get("text"), message.get("bytes")
        if message.get("type") == "websocket.send" and not (text or binary):
            if self.state == self.STATE_OPEN and (text, binary) != (None, None):
                self.serverSend("" if binary is None else b"", binary is not None)
            return
        super().handle_reply(message)

    def sendMessage(self, payload: bytes, isBinary: bool = False, **options: Any) -> None:  # noqa: N802, N803 - autobahn's names
        """Send one message."""
        if self.state != self.STATE_OPEN:
            return  # the client is gone; the application will be told, if it was not yet
        if isBinary or options or self.send_queue:
            super().sendMessage(payload, isBinary, **options)
            return
        self.sendData(text_frame(payload))

    def write_text(self, text: str) -> bool:
        """Send a text at once where nothing waits before it; return whether it was taken."""
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
            sent = 0  # it does not take any, or is gone: the next write meets it again
        if sent != len(frame):
            transport.write(frame[sent:])
        return True

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802 - Daphne's name
        """Close. autobahn's `sendClose` refuses 1012 and 1013, which are newer than it knows."""
        self.sendCloseFrame(code=1000 if code is None else code)


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


class Server(DaphneServer):  # type: ignore[misc]
    """Daphne's server, with backpressure, limits, lifespan and an orderly end."""

    #: Said to who sends a body that is too large.
    too_large = "The request is too large."

    def __init__(self, application: Any, **options: Any) -> None:
        super().__init__(application, **options)
        #: Whether it could not do its work.
        self.failed = False
        self._ending: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop = twisted_loop

    # `run` makes Daphne's own factories and has no place to give it others.

    @property
    def http_factory(self) -> RequestFactory:
        """What makes HTTP connections."""
        return self._http_factory

    @http_factory.setter
    def http_factory(self, _shipped: HTTPFactory) -> None:
        self._http_factory = RequestFactory(self)

    @property
    def ws_factory(self) -> WebSocketFactory:
        """What makes WebSockets."""
        return self._ws_factory

    @ws_factory.setter
    def ws_factory(self, shipped: WebSocketFactory) -> None:
        shipped.protocol = type("Socket", (Socket,), {})  # with this server's options
        # A close code where the protocol allows one, instead of a reset. autobahn offers no
        # compression unless it is asked to: a few bytes would become a megabyte.
        shipped.setProtocolOptions(failByDrop=False, closeHandshakeTimeout=CLOSE_TIMEOUT)
        self._ws_factory = shipped

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends at once."""
        self._lifespan = Lifespan(self.application)
        try:
            self._loop.run_until_complete(self._lifespan.start())
        except LifespanError as error:
            logger.error("startup_failed %s", error)
            self.failed = True
            return
        # What was loaded stays. To look through all of it, every now and then, for what can be
        # thrown away would stop the loop for a tenth of a second each time.
        gc.collect()
        gc.freeze()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._asked_to_end)
        super().run()

    def listen_error(self, failure: Any) -> None:
        """Nothing can be served: Daphne would still end with exit code 0."""
        self.failed = True
        super().listen_error(failure)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Start the application for a connection; for a WebSocket, with a bounded queue."""
        if not isinstance(protocol, Socket):
            return super().create_application(protocol, scope)
        inbox = Inbox(protocol.transport)
        scope["asgi"] = {"version": "3.0"}
        scope["realtime.write"] = protocol.write_text
        running = self.application(scope, inbox.get, partial(self.handle_reply, protocol))
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(running)
        return inbox

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Send, and return when the client's connection takes more (daphne#170)."""
        await super().handle_reply(protocol, message)
        may_be_more = message["type"] == "websocket.send" or message.get("more_body")
        if may_be_more and protocol.flow is not None:
            await protocol.flow.wait()

    def log_action(self, protocol: Any, action: str, details: dict[str, Any]) -> None:
        """Write the access log's line: one, of a bounded length, whatever a stranger put in it."""
        if action == "connecting":
            return  # whether it connected is said in a moment
        shown = {
            key: escaped(value)[:LOGGED] if isinstance(value, str) else value
            for key, value in details.items()
        }
        super().log_action(protocol, action, shown)

    def kill_all_applications(self) -> Any:
        """End what still runs. Daphne's fails while a connection has no application any more."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if not tasks:
            return None
        return defer.Deferred.fromFuture(asyncio.ensure_future(asyncio.wait(tasks, timeout=GRACE)))

    def _asked_to_end(self) -> None:
        if self._ending is not None:
            sys.stdout.flush()
            os._exit(1)
        self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        """Drain: Daphne drops its sockets without a close frame, and their `disconnect`."""
        logger.info("draining connections=%d", len(self._running()))
        try:
            await drain(conf().DRAIN_SECONDS)
            await self._finish_applications()
            for protocol in list(self.connections):
                # Who is no consumer of ours, or reads too slowly to have been told.
                if isinstance(protocol, Socket) and protocol.state == Socket.STATE_OPEN:
                    protocol.serverClose(CloseCode.RESTART)
            await self._finish_applications()
            await self._lifespan.stop()
        finally:
            self.stop()

    async def _finish_applications(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GRACE
        while (running := self._running()) and (left := deadline - loop.time()) > 0:
            await asyncio.wait(running, timeout=left)

    def _running(self) -> list[asyncio.Future[None]]:
        started = [each.get("application_instance") for each in self.connections.values()]
        return [each for each in started if each is not None and not each.done()]


class LifespanError(Exception):
    """The application said that it cannot start."""


class Lifespan:
    """Tells the application of its beginning and its end (ASGI lifespan; Daphne has none)."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._told: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._heard: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the application is ready. Raises LifespanError when it says it is not."""
        self._task = asyncio.create_task(self._run())
        await self._tell("startup")

    async def stop(self) -> None:
        """Return when the application has cleaned up, or did not for a while."""
        try:
            async with asyncio.timeout(GRACE):
                await self._tell("shutdown")
        except (LifespanError, TimeoutError) as error:
            logger.warning("shutdown_failed error=%r", error)

    async def _tell(self, what: str) -> None:
        if self._task is None or self._task.done():
            return
        self._told.put_nowait({"type": f"lifespan.{what}"})
        answer = await self._heard.get()
        if answer["type"] == f"lifespan.{what}.failed":
            raise LifespanError(answer.get("message", ""))

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        try:
            await self._application(scope, self._told.get, self._heard.put)
        except Exception as error:  # noqa: BLE001 - the specification: it then has no lifespan
            logger.debug("no_lifespan error=%r", error)
        finally:
            self._heard.put_nowait({"type": "over"})


def serve(application: Any, host: str, port: int, *, server_class: type[Server] = Server) -> None:
    """Serve an ASGI application until SIGTERM, then drain and return.

    Raises SystemExit when it cannot listen or the application cannot start.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)-15s %(levelname)-8s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    _take_all_descriptors()
    interface = host.strip("[]").replace(":", r"\:")
    patience = conf().REQUEST_TIMEOUT
    server = server_class(
        application,
        endpoints=[f"tcp:port={port}:interface={interface}:backlog={BACKLOG}"],
        signal_handlers=False,
        action_logger=AccessLogGenerator(sys.stdout),
        websocket_connect_timeout=patience,
        websocket_handshake_timeout=patience,
        # Daphne's closes after a day, with the code that asks the client to stay away.
        websocket_timeout=-1,
        server_name="",
    )
    reconciler.start()
    server.run()
    if server.failed:
        sys.exit(1)


def _take_all_descriptors() -> None:
    # A socket is a descriptor, and many systems give 1,024 to whoever does not ask for more.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
