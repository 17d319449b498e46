"""The WebSocket side: ``application = realtime.routing.application(get_asgi_application())``."""

from __future__ import annotations

from typing import Any, cast

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path

from .web.consumers import TaskConsumer
from .web.reconciler import reconciler
from .web.sign_in import SignInMiddleware

#: For a project that routes WebSockets of its own, beside its own routes.
websocket_urlpatterns: list[Any] = [path("realtime/ws/", cast(Any, TaskConsumer.as_asgi()))]


def application(django_application: Any) -> ProtocolTypeRouter:
    """Return an ASGI application: Django for HTTP, the service for WebSockets.

    The process that makes it also begins to look after tasks whose ending nobody announced.
    """
    reconciler.start()
    sockets = URLRouter([*websocket_urlpatterns, re_path(r"", cast(Any, _refuse))])
    websocket = cast(Any, SignInMiddleware(cast(Any, sockets)))
    return ProtocolTypeRouter({"http": django_application, "websocket": websocket})


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a handshake for any other path with HTTP 403 instead of an error."""
    await receive()
    await send({"type": "websocket.close"})
