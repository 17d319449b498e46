"""django-eventstream with Redis, on Daphne: a channel for each task, by Server-Sent Events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.sockets import Hello

from .base import Peer, Publish, Server, daphne


class EventStream(Peer):
    """`send_event` in the worker, and the library's view."""

    needs = ("django_eventstream",)
    stream = True

    def command(self, port: int, directory: Path) -> list[str]:
        return daphne(port, "benchmarks.peers.tutorial_app:application")

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        request = (
            f"GET /events/{ident}/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            f"Accept: text/event-stream\r\nCookie: sessionid={cookie}\r\n\r\n"
        )
        return [(request.encode(), b"stream-open")]

    def publisher(self, ident: str, task: Any = None) -> Publish:
        from django_eventstream import send_event

        from benchmarks.sample import status_of

        def publish(message: str) -> None:
            send_event(f"task-{ident}", "message", status_of(ident, message))

        return publish
