"""python-socketio on uvicorn: a room for each task, and a write-only manager in the worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.sockets import Hello
from tests.client.octets import frame, handshake

from .base import Peer, Publish, Server, uvicorn


class SocketIO(Peer):
    """A client sends a request to enter the room of its task, and receives an acknowledgement."""

    needs = ("socketio", "uvicorn")

    def command(self, port: int, directory: Path) -> list[str]:
        return uvicorn(port, "benchmarks.peers.socket_io_app:application")

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        path = "/socket.io/?EIO=4&transport=websocket"
        return [
            (handshake(server.port, path=path, cookie=cookie), b'"sid"'),  # Engine.IO is connected
            (frame("40"), b'40{"sid"'),  # the namespace is connected
            (frame(f'421["watch","{ident}"]'), b"431["),  # the request is acknowledged
        ]

    def publisher(self, ident: str, task: Any = None) -> Publish:
        import socketio

        from benchmarks.sample import status_of

        manager = socketio.RedisManager(os.environ["REDIS_URL"], write_only=True)

        def publish(message: str) -> None:
            manager.emit("status", status_of(ident, message), room=ident)

        return publish
