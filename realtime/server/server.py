"""The server: ``serve(application, host, port)`` listens, drains after SIGTERM, and returns.

Relied on, of Daphne 4.2: ``Server.run`` makes its two factories and assigns them to
``http_factory`` and ``ws_factory``, which are properties here; it keeps its connections in
``connections``, each with the ``application_instance`` that ``create_application`` put there;
``listen_success``, ``listen_error``, ``log_action``, ``kill_all_applications``,
``protocol_disconnected`` and ``application_checker`` are called as methods, the last one each
second; ``daphne.server`` chooses the reactor and names its loop ``twisted_loop``. Where that is not
so, Daphne's own ``Server`` serves: without lifespan, limits and drain.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import resource
import signal
import sys
from functools import partial
from typing import Any, Final

import daphne.server
from daphne.access import AccessLogGenerator
from daphne.http_protocol import HTTPFactory
from daphne.server import Server as DaphneServer
from daphne.ws_protocol import WebSocketFactory

from realtime.core.codes import CloseCode
from realtime.core.logs import LineFormatter, escaped, get_logger
from realtime.core.relied_on import Part, are_known

from . import collector
from .accepting import accept_few
from .fast_websocket import configure
from .flow import Inbox
from .http import http_factory
from .lifespan import Lifespan, LifespanError
from .options import Options
from .websocket import Socket

logger = get_logger("realtime.server")

#: Connections that the kernel keeps while the process is busy. Daphne's 50 make a burst of
#: browsers wait for TCP's retries.
BACKLOG: Final = 4096
#: Seconds that each step of an orderly end may take.
GRACE: Final = 2.0
#: Seconds between two of Daphne's checks for clients that are gone and ended applications.
CHECK_INTERVAL: Final = 1.0
#: Characters of an address that the access log shows.
LOGGED: Final = 1000
#: In the scope of every WebSocket.
_ASGI: Final = {"version": "3.0"}

_RELIED_ON: Final = (
    Part(DaphneServer, "run", "connections http_factory ws_factory kill_all_applications"),
    Part(DaphneServer, "create_application", "connections handle_reply application"),
    Part(DaphneServer, "handle_reply", "connections"),
    Part(DaphneServer, "application_checker", "connections application_instance callLater"),
    Part(DaphneServer, "protocol_disconnected", "connections"),
    Part(DaphneServer, "kill_all_applications"),
    Part(DaphneServer, "listen_error"),
    Part(DaphneServer, "listen_success", "port"),
    Part(DaphneServer, "log_action", "action_logger"),
    Part(DaphneServer, "stop"),
    Part(
        DaphneServer,
        "__init__",
        "endpoints signal_handlers action_logger websocket_connect_timeout"
        " websocket_handshake_timeout websocket_timeout ping_interval ping_timeout server_name"
        " application_close_timeout",
    ),
)


class Server(DaphneServer):  # type: ignore[misc]
    """Daphne's server, with backpressure, limits, lifespan and an orderly end."""

    def __init__(self, application: Any, options: Options, **given: Any) -> None:
        super().__init__(application, **given)
        self.options = options
        #: Whether it could not start.
        self.failed = False
        self._ending: asyncio.Task[None] | None = None
        #: Until when connections are checked for clients that are gone and ended applications.
        self._checks_until = 0.0
        self._on_change = self._note_change
        self._loop: asyncio.AbstractEventLoop = daphne.server.twisted_loop

    # `run` makes Daphne's own factories and accepts no others.

    @property
    def http_factory(self) -> HTTPFactory:
        """What makes HTTP connections."""
        return self._http_factory

    @http_factory.setter
    def http_factory(self, shipped: HTTPFactory) -> None:
        self._http_factory = http_factory(self, shipped)

    @property
    def ws_factory(self) -> WebSocketFactory:
        """What makes WebSockets."""
        return self._ws_factory

    @ws_factory.setter
    def ws_factory(self, shipped: WebSocketFactory) -> None:
        self._ws_factory = configure(shipped)

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to end."""
        return self._ending is not None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends at once."""
        self._lifespan = Lifespan(self.application)
        try:
            self._loop.run_until_complete(self._lifespan.start())
        except LifespanError as error:
            logger.error("startup_failed %s", error)
            self.failed = True
            return
        collector.relieve()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_signal)
        super().run()

    def listen_success(self, port: Any) -> None:
        """Listen from now on."""
        super().listen_success(port)
        accept_few(port)

    def listen_error(self, failure: Any) -> None:
        """Nothing can be served: Daphne would still end with exit code 0."""
        self.failed = True
        super().listen_error(failure)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Start the application for a connection; for a WebSocket, with a bounded queue."""
        if not isinstance(protocol, Socket):
            queue = super().create_application(protocol, scope)
            if queue is not None:
                self.connections[protocol]["application_instance"].add_done_callback(
                    self._on_change
                )
            return queue
        inbox = Inbox(protocol.transport, protocol.direct)
        scope["asgi"] = _ASGI
        scope["realtime.direct"] = protocol.direct
        running = self.application(scope, inbox.get, partial(self.handle_reply, protocol))
        instance = asyncio.ensure_future(running)
        self.connections[protocol]["application_instance"] = instance
        instance.add_done_callback(self._on_change)
        return inbox

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Send, and return when the client's connection takes more (daphne#170)."""
        await super().handle_reply(protocol, message)
        may_be_more = message["type"] == "websocket.send" or message.get("more_body")
        if may_be_more and (flow := getattr(protocol, "flow", None)) is not None:
            await flow.wait()

    def protocol_disconnected(self, protocol: Any) -> None:
        """Note that a client is gone."""
        self._note_change()
        super().protocol_disconnected(protocol)

    def _note_change(self, _ended: Any = None) -> None:
        self._checks_until = self._loop.time() + self.application_close_timeout + 2 * CHECK_INTERVAL

    def application_checker(self) -> None:
        """Check all connections after a change. As shipped they are checked each second."""
        if self._loop.time() < self._checks_until:
            super().application_checker()
        else:
            daphne.server.reactor.callLater(CHECK_INTERVAL, self.application_checker)

    def log_action(self, protocol: Any, action: str, details: dict[str, Any]) -> None:
        """Write the access log's line: one, of a bounded length, whatever a client put in it."""
        if action == "connecting":
            return  # the line for "connected" or "rejected" follows
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
        ended = asyncio.ensure_future(asyncio.wait(tasks, timeout=GRACE))
        return daphne.server.defer.Deferred.fromFuture(ended)

    def _on_signal(self) -> None:
        if self._ending is not None:
            sys.stdout.flush()
            os._exit(1)
        self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        """Drain: Daphne drops its sockets without a close frame, and their `disconnect`."""
        logger.info("draining connections=%d", len(self._running()))
        try:
            await self.options.drain()
            await self._finish_applications()
            for protocol in list(self.connections):
                # The application did not close it, or the client reads too slowly to know.
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


def serve(application: Any, host: str, port: int, options: Options | None = None) -> None:
    """Serve an ASGI application until SIGTERM, then drain and return.

    Raises SystemExit when it cannot listen or the application cannot start.
    """
    options = options or Options()
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)-15s %(levelname)-8s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    _raise_descriptor_limit()
    interface = host.strip("[]").replace(":", r"\:")
    given: dict[str, Any] = {
        "endpoints": [f"tcp:port={port}:interface={interface}:backlog={BACKLOG}"],
        "action_logger": AccessLogGenerator(sys.stdout),
        "websocket_connect_timeout": options.request_timeout,
        "websocket_handshake_timeout": options.request_timeout,
        # Daphne closes after a day by default, with a code after which no client reconnects.
        "websocket_timeout": -1,
        "ping_interval": options.ping_interval,
        "ping_timeout": options.ping_timeout,
        "server_name": "",
    }
    options.on_start()
    instead = "Daphne's Server serves, without limits, lifespan and drain"
    if not are_known("server", "daphne", _RELIED_ON, instead=instead):
        taken = inspect.signature(DaphneServer).parameters
        known = {name: value for name, value in given.items() if name in taken}
        DaphneServer(application, **known).run()
        return
    server = Server(application, options, signal_handlers=False, **given)
    server.run()
    if server.failed:
        sys.exit(1)


def _raise_descriptor_limit() -> None:
    # A socket is a descriptor, and many systems allow 1,024 unless a process asks for more.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
