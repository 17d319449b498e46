"""The base of every peer: a publisher and, for ways with clients, a server and a hello."""

from __future__ import annotations

import socket
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.sockets import Hello

#: Publishes a progress message.
Publish = Callable[[str], None]


class Missing(Exception):
    """A way cannot be measured on this machine; the message has the reason."""


@dataclass
class Server:
    """A running server. Its cost is the cost of these processes."""

    port: int
    pids: list[int] = field(default_factory=list)


class Peer:
    """The code of one way."""

    #: The modules that must be installed.
    needs: ClassVar[tuple[str, ...]] = ()
    #: BENCHMARKS_WAY of its server and workers; see settings.py.
    way = "peer"
    #: Whether its clients receive a plain stream, and not WebSocket frames.
    stream = False
    #: Whether its server's work is done by child processes.
    forks = False

    def __init__(self, name: str) -> None:
        self.name = name

    def check_present(self) -> None:
        """Raise Missing unless the way can be measured on this machine."""
        for module in self.needs:
            if find_spec(module) is None:
                raise Missing(f"{module} is not installed")

    def command(self, port: int, directory: Path) -> list[str]:
        """Return the command that starts the server."""
        raise NotImplementedError

    def environment(self, port: int) -> Mapping[str, str]:
        """Return the environment variables that the server needs in addition."""
        return {"BENCHMARKS_WAY": self.way}

    def answers(self, port: int) -> bool:
        """Return whether the server accepts connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def ident(self) -> str:
        """Return the id of a new task."""
        return str(uuid.uuid4())

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        """Return what a client sends to subscribe to a task, and the answers that it waits for."""
        raise NotImplementedError

    def publisher(self, ident: str, task: Any = None) -> Publish:
        """Return a function that publishes progress; `task` is the Celery task that calls it."""
        raise NotImplementedError

    def check(self, ident: str) -> None:
        """Raise unless every publish for a task had its effect."""


def daphne(port: int, application: str) -> list[str]:
    """Return the command of Daphne, as shipped."""
    return [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), application]


def uvicorn(port: int, application: str) -> list[str]:
    """Return the command of uvicorn, as shipped with the libraries of `uvicorn[standard]`."""
    return [sys.executable, "-m", "uvicorn", "--port", str(port), application]
