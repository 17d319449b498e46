"""python-socketio with its Redis manager, on uvicorn: rooms, and a manager that only writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.sockets import Hello
from tests.client.octets import frame, handshake

from .base import Peer, Server, Tell, uvicorn


class SocketIO(Peer):
    """A room for each task; the client requests to enter it, and receives a confirmation."""

    needs = ("socketio", "uvicorn")

    def command(self, port: int, directory: Path) -> list[str]:
        return uvicorn(port, "benchmarks.peers.socket_io_app:application")

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        path = "/socket.io/?EIO=4&transport=websocket"
        return [
            (handshake(server.port, path=path, cookie=cookie), b'"sid"'),  # Engine.IO is open
            (frame("40"), b'40{"sid"'),  # the namespace is
            (frame(f'421["watch","{ident}"]'), b"431["),  # acknowledged
        ]

    def publisher(self, ident: str, task: Any = None) -> Tell:
        import socketio

        from benchmarks.sample import status_of

        manager = socketio.RedisManager(os.environ["REDIS_URL"], write_only=True)

        def tell(message: str) -> None:
            manager.emit("status", status_of(ident, message), room=ident)

        return tell
