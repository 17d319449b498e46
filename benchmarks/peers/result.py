"""Polling: the task stores its progress in the result backend, and a view reads `AsyncResult`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .base import Peer, Publish, daphne


class Result(Peer):
    """`update_state`, and the view of urls.py: the first solution of most projects."""

    path = "/result/{}/"

    def command(self, port: int, directory: Path) -> list[str]:
        return daphne(port, "benchmarks.peers.tutorial_app:application")

    def publisher(self, ident: str, task: Any = None) -> Publish:
        from benchmarks.sample import progress_of

        def publish(message: str) -> None:
            meta = progress_of(message)["progress"]
            task.update_state(task_id=ident, state="PROGRESS", meta=meta)

        return publish
