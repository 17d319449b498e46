"""The WebSocket side: ``application = realtime.routing.application(get_asgi_application())``."""

from __future__ import annotations

from typing import Any, Final, cast

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.urls import path

from .web.access.identity import SessionUserMiddleware
from .web.paths import SOCKET_PATH
from .web.reconciler import reconciler
from .web.websocket import TaskConsumer

_consumer: Final[Any] = TaskConsumer.as_asgi()
_with_user: Final[Any] = SessionUserMiddleware(_consumer)


async def _serve(scope: Any, receive: Any, send: Any) -> None:
    """Serve one WebSocket, and see to it that this process has a reconciler.

    A scope without a user gets the one of its session.
    """
    reconciler.start_if_served(scope)
    chosen = _consumer if "user" in scope else _with_user
    await chosen(scope, receive, send)


#: For a project that routes WebSockets of its own, beside its own routes.
websocket_urlpatterns: list[Any] = [path(SOCKET_PATH, cast(Any, _serve))]
# A server begins before its first connection; any other process, such as a test, does not.
reconciler.start_in_server()


def application(django_application: Any, *, websocket: Any = None) -> ProtocolTypeRouter:
    """Return an ASGI application: Django for HTTP, the service for WebSockets.

    ``websocket`` is the project's own ASGI application for every other WebSocket, such as a
    ``URLRouter``. A ``ProtocolTypeRouter`` is taken as well, in place of the Django application:
    what it routes stays as it is.
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
    """Return an application that also sees to it that its process has a reconciler."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        reconciler.start_if_served(scope)
        await http(scope, receive, send)

    return serve


def _websocket(other: Any) -> Any:
    # The service has but one path, and Channels' router keeps a copy of the scope for each
    # connection.
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        prefix = _script_prefix(scope)
        if scope["path"].removeprefix(prefix).lstrip("/") == SOCKET_PATH:
            await _serve(scope, receive, send)
            return
        if not scope["path"].startswith(prefix.rstrip("/") + "/"):
            prefix = ""  # the proxy has stripped it: a URLRouter would find no route
        try:
            await other({**scope, "root_path": prefix}, receive, send)
        except ValueError as error:
            if not str(error).startswith("No route found for path"):  # channels/routing.py
                raise
            await _refuse(scope, receive, send)

    return serve


def _script_prefix(scope: Any) -> str:
    """Return what comes before the paths of the site, as Django finds it for a request."""
    return settings.FORCE_SCRIPT_NAME or scope.get("root_path", "") or ""


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a handshake for any other path with HTTP 403 instead of an error."""
    await receive()
    await send({"type": "websocket.close"})
