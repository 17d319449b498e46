"""The service's web process: the server with the settings, limits and drain of the service.

To import this module chooses Twisted's reactor.
"""

from __future__ import annotations

from typing import Any, Final

from realtime.conf import conf
from realtime.server import server
from realtime.server.options import Options
from realtime.web.drain import drain
from realtime.web.reconciler import reconciler
from realtime.web.registry import is_full

#: Seconds by which the server's pings come later than a client's own.
PING_GRACE: Final = 5.0
#: Seconds that a client has to answer the server's ping.
PING_TIMEOUT: Final = 20.0


def serve(
    application: Any, host: str, port: int, *, too_large: str = "The request is too large."
) -> None:
    """Serve an ASGI application with the service's limits until SIGTERM, then drain and return.

    ``too_large`` is the text that answers a body above ``MAX_BODY_BYTES``. Raises SystemExit when
    it cannot listen or the application cannot start.
    """
    settings = conf()
    options = Options(
        request_timeout=settings.REQUEST_TIMEOUT,
        # The clients of the service send pings of their own, so that the server sends none.
        ping_interval=settings.PING_INTERVAL + PING_GRACE,
        ping_timeout=PING_TIMEOUT,
        max_body_bytes=settings.MAX_BODY_BYTES,
        too_large=too_large,
        is_full=is_full,
        drain=lambda: drain(settings.DRAIN_SECONDS),
        on_start=reconciler.start,
    )
    server.serve(application, host, port, options)
