"""A floor: one PUBLISH in the worker, and a server that only passes messages on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import redis

from benchmarks.sockets import Hello
from tests.client.octets import handshake

from .base import Peer, Publish, Server


class Bare(Peer):
    """redis-py in the worker; the protocols of asyncio in the server."""

    server = "bare_server"

    def command(self, port: int, directory: Path) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.peers.{self.server}", str(port)]

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        return [(handshake(server.port, path=f"/{ident}", cookie=cookie), b"\r\n\r\n")]

    def publisher(self, ident: str, task: Any = None) -> Publish:
        from benchmarks.sample import status_of
        from realtime.core.jsontext import dumps

        client = redis.Redis.from_url(os.environ["REDIS_URL"])

        def publish(message: str) -> None:
            client.publish(ident, dumps(status_of(ident, message)))

        return publish
