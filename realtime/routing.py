"""The WebSocket side: ``application = realtime.routing.application(get_asgi_application())``."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, cast

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.urls import path

from .web.access.identity import SessionUserMiddleware
from .web.paths import SOCKET_PATH
from .web.reconciler import reconciler
from .web.websocket import TaskConsumer

# These functions return another one's coroutine: a coroutine of their own would take a quarter of a
# kilobyte as long as the connection lasts.


def _consumer(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    """Serve one WebSocket, with the user in its scope."""
    return TaskConsumer()(scope, receive, send)


cast(Any, _consumer).consumer_class = TaskConsumer  # as Channels' `as_asgi` does, for system checks
_with_user: Final[Any] = SessionUserMiddleware(_consumer)


def _serve(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    """Serve one WebSocket, and start this process's reconciler if it does not run.

    A scope without a user gets the user of its session.
    """
    reconciler.start_if_served(scope)
    application = _consumer if "user" in scope else _with_user
    served: Awaitable[None] = application(scope, receive, send)
    return served


#: For a project with a router of its own: add this to its routes.
websocket_urlpatterns: list[Any] = [path(SOCKET_PATH, cast(Any, _serve))]
# A server starts it before the first connection; other processes, such as tests, do not.
reconciler.start_in_server()


def application(django_application: Any, *, websocket: Any = None) -> ProtocolTypeRouter:
    """Return an ASGI application: Django for HTTP, the service for WebSockets.

    ``websocket`` is the project's own ASGI application for all other WebSockets, such as a
    ``URLRouter``. Instead of the Django application, a ``ProtocolTypeRouter`` may be given; its
    routes stay as they are.
    """
    routed: dict[str, Any] = {"http": django_application}
    if isinstance(django_application, ProtocolTypeRouter):
        routed = dict(django_application.application_mapping)
        websocket = websocket or routed.get("websocket")
    routed["websocket"] = _websocket(websocket or _refuse)
    if "http" in routed:
        routed["http"] = _reconciling(routed["http"])
    return ProtocolTypeRouter(routed)


def _reconciling(http: Any) -> Any:
    """Return an application that also starts its process's reconciler."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        reconciler.start_if_served(scope)
        await http(scope, receive, send)

    return serve


def _websocket(other: Any) -> Any:
    # No URLRouter for the one path: it would keep a copy of the scope for each connection.
    def serve(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        prefix = _script_prefix(scope)
        if scope["path"].removeprefix(prefix).lstrip("/") == SOCKET_PATH:
            return _serve(scope, receive, send)
        if not scope["path"].startswith(prefix.rstrip("/") + "/"):
            prefix = ""  # the proxy has removed it; with it a URLRouter would find no route
        return _serve_other(other, {**scope, "root_path": prefix}, receive, send)

    return serve


async def _serve_other(other: Any, scope: Any, receive: Any, send: Any) -> None:
    try:
        await other(scope, receive, send)
    except ValueError as error:
        if not str(error).startswith("No route found for path"):  # channels/routing.py
            raise
        await _refuse(scope, receive, send)


def _script_prefix(scope: Any) -> str:
    """Return the prefix of the site's paths, by Django's rule for requests."""
    return settings.FORCE_SCRIPT_NAME or scope.get("root_path", "") or ""


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a handshake for any other path with HTTP 403 instead of an error."""
    await receive()
    await send({"type": "websocket.close"})
