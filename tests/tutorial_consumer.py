"""The consumer of the Channels tutorial, for the benchmarks and the faults."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer


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
        await self.send_json(message["status"])
