"""The tutorial: a group for each task, and a consumer that passes the group's messages on.

The code is that of the Channels tutorial; the servers run as shipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from benchmarks.sockets import Hello
from tests.client.octets import handshake

from .base import Peer, Publish, Server, daphne, uvicorn


class Tutorial(Peer):
    """A consumer that calls `send_json`, on one of two layers and one of two servers."""

    def __init__(self, name: str, *, layer: str = "pubsub", uvicorn: bool = False) -> None:
        super().__init__(name)
        self.layer = layer
        self.uvicorn = uvicorn
        if uvicorn:
            self.needs = ("uvicorn", "websockets")  # type: ignore[misc]
        self._path = f"/{layer}/"

    def command(self, port: int, directory: Path) -> list[str]:
        serve = uvicorn if self.uvicorn else daphne
        return serve(port, "benchmarks.peers.tutorial_app:application")

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        return [(handshake(server.port, path=f"{self._path}{ident}/", cookie=cookie), b"\r\n\r\n")]

    def publisher(self, ident: str, task: Any = None) -> Publish:
        from asgiref.sync import async_to_sync
        from channels.layers import get_channel_layer

        from benchmarks.sample import status_of

        layer: Any = cast(Any, get_channel_layer(self.layer))

        def publish(message: str) -> None:
            status = status_of(ident, message)
            async_to_sync(layer.group_send)(ident, {"type": "task.update", "status": status})

        return publish
