"""celery-progress: its recorder in the task, and either its consumer or its view."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.sockets import Hello
from tests.client.octets import handshake

from .base import Peer, Server, Tell, daphne
from .result import Result


class CeleryProgress(Peer):
    """WebSocket mode, on the layer that its documentation and that of channels_redis name."""

    needs = ("celery_progress",)

    def command(self, port: int, directory: Path) -> list[str]:
        return daphne(port, "benchmarks.peers.celery_progress_app:application")

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        return [(handshake(server.port, path=f"/ws/progress/{ident}/", cookie=cookie), b"\r\n\r\n")]

    def publisher(self, ident: str, task: Any = None) -> Tell:
        from celery_progress.websockets.backend import WebSocketProgressRecorder

        recorder = WebSocketProgressRecorder(_named(ident, task))

        def tell(message: str) -> None:
            recorder.set_progress(int(message[4:13]), 1_000_000_000, message)

        return tell


class Polling(Result):
    """Its view, which its script requests every 500 ms."""

    needs = ("celery_progress",)
    path = "/celery-progress/{}/"

    def publisher(self, ident: str, task: Any = None) -> Tell:
        from celery_progress.backend import ProgressRecorder

        recorder = ProgressRecorder(_named(ident, task))

        def tell(message: str) -> None:
            recorder.set_progress(int(message[4:13]), 1_000_000_000, message)

        return tell


def _named(ident: str, task: Any) -> Any:
    """Return a task with this id for a recorder."""

    def update_state(state: str, meta: Any) -> None:
        if task is None:  # not in a worker; this is what the method calls
            from benchmarks.celery import app

            app.backend.store_result(ident, meta, state)
        else:
            task.update_state(task_id=ident, state=state, meta=meta)

    return SimpleNamespace(request=SimpleNamespace(id=ident), update_state=update_state)
