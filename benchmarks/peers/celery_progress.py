"""celery-progress: its recorder in the task, and its consumer or its view."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.sockets import Hello
from tests.client.octets import handshake

from .base import Peer, Publish, Server, daphne
from .result import Result


class CeleryProgress(Peer):
    """The WebSocket mode, on the core layer, as the documentation advises."""

    needs = ("celery_progress",)

    def command(self, port: int, directory: Path) -> list[str]:
        return daphne(port, "benchmarks.peers.celery_progress_app:application")

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        return [(handshake(server.port, path=f"/ws/progress/{ident}/", cookie=cookie), b"\r\n\r\n")]

    def publisher(self, ident: str, task: Any = None) -> Publish:
        from celery_progress.websockets.backend import WebSocketProgressRecorder

        recorder = WebSocketProgressRecorder(_named(ident, task))

        def publish(message: str) -> None:
            recorder.set_progress(int(message[4:13]), 1_000_000_000, message)

        return publish


class Polling(Result):
    """The polling mode: its view, which its script requests every 500 ms."""

    needs = ("celery_progress",)
    path = "/celery-progress/{}/"

    def publisher(self, ident: str, task: Any = None) -> Publish:
        from celery_progress.backend import ProgressRecorder

        recorder = ProgressRecorder(_named(ident, task))

        def publish(message: str) -> None:
            recorder.set_progress(int(message[4:13]), 1_000_000_000, message)

        return publish


def _named(ident: str, task: Any) -> Any:
    """Return an object with this task id that a recorder accepts as its task."""

    def update_state(state: str, meta: Any) -> None:
        if task is None:  # not in a worker: call what `Task.update_state` calls
            from benchmarks.celery import app

            app.backend.store_result(ident, meta, state)
        else:
            task.update_state(task_id=ident, state=state, meta=meta)

    return SimpleNamespace(request=SimpleNamespace(id=ident), update_state=update_state)
