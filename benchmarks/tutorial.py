"""The usual way: a group per task, and a consumer that forwards what the group is sent.

Written as the Channels tutorial has it, to be served by Daphne as shipped.
"""

from __future__ import annotations

import os
from typing import Any, cast

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class TutorialConsumer(AsyncJsonWebsocketConsumer):
    """Joins the group in its path, and sends on each message's status."""

    async def connect(self) -> None:
        """Join, then accept."""
        self.group = self.scope["url_route"]["kwargs"]["group"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leave."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def task_update(self, message: dict[str, Any]) -> None:
        """Send a status on."""
        await self.send_json(message)


routes: list[Any] = [path("<slug:group>/", cast(Any, TutorialConsumer.as_asgi()))]
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AuthMiddlewareStack(URLRouter(routes)),
    }
)
