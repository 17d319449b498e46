"""The WebSocket side: ``application = realtime.routing.application(get_asgi_application())``."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, cast

from channels.routing import ProtocolTypeRouter
from django.urls import path

from .web.consumers import TaskConsumer
from .web.reconciler import reconciler
from .web.sign_in import SignInMiddleware

_PATH: Final = "realtime/ws/"
_consumer: Final[Any] = TaskConsumer.as_asgi()
#: For a project that routes WebSockets of its own, beside its own routes.
websocket_urlpatterns: list[Any] = [path(_PATH, _consumer)]


def application(django_application: Any) -> ProtocolTypeRouter:
    """Return an ASGI application: Django for HTTP, the service for WebSockets.

    The process that makes it also begins to look after tasks whose ending nobody announced.
    """
    reconciler.start()
    websocket = cast(Any, _websocket(SignInMiddleware(_consumer)))
    return ProtocolTypeRouter({"http": django_application, "websocket": websocket})


def _websocket(application: Any) -> Any:
    # There is but one path, and Channels' router keeps a copy of the scope for each connection.
    def serve(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        chosen: Any = application if path.lstrip("/") == _PATH else _refuse
        served: Awaitable[None] = chosen(scope, receive, send)
        return served

    return serve


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a handshake for any other path with HTTP 403 instead of an error."""
    await receive()
    await send({"type": "websocket.close"})
