"""This service: the server of `make run`, and the functions that `set_progress` calls."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.sockets import Hello
from project.run import page_answers, web_command
from tests.client.octets import frame, handshake

from .base import Peer, Publish, Server


class Realtime(Peer):
    """A task belongs to the user of the clients, and is published before they subscribe."""

    way = "realtime"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._samples: dict[str, Any] = {}

    def command(self, port: int, directory: Path) -> list[str]:
        return web_command()

    def environment(self, port: int) -> Mapping[str, str]:
        return {"BENCHMARKS_WAY": self.way, "HOST": "127.0.0.1", "PORT": str(port)}

    def answers(self, port: int) -> bool:
        return page_answers("127.0.0.1", port)

    def ident(self) -> str:
        from benchmarks.sample import Sample

        sample = Sample(os.environ["BENCHMARKS_OWNER"])
        self._samples[sample.task_id] = sample
        return sample.task_id

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        subscribe = json.dumps({"type": "subscribe", "id": 1, "topic": f"task:{ident}"})
        return [
            (handshake(server.port, cookie=cookie), b'"welcome"'),
            (frame(subscribe), b'"subscribed"'),
        ]

    def publisher(self, ident: str, task: Any = None) -> Publish:
        if ident not in self._samples:  # another process began the task
            from benchmarks.sample import Sample

            self._samples[ident] = Sample.known(ident, os.environ["BENCHMARKS_OWNER"])
        publish: Publish = self._samples[ident].publish
        return publish

    def check(self, ident: str) -> None:
        self._samples[ident].check()
