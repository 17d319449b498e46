"""The base of every way: a publisher and, for ways with clients, a server and its hello."""

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
Tell = Callable[[str], None]


class Missing(Exception):
    """A way cannot be measured here; the message has the reason."""


@dataclass
class Server:
    """A running server; its cost is that of these processes."""

    port: int
    pids: list[int] = field(default_factory=list)


class Peer:
    """One way. Its calls in a worker run in a process with BENCHMARKS_WAY=`way`."""

    #: Modules that it needs.
    needs: ClassVar[tuple[str, ...]] = ()
    #: The project of its processes; see settings.py.
    way = "peer"
    #: Whether its clients get a plain stream instead of WebSocket frames.
    stream = False
    #: Whether the server starts processes that do its work.
    forks = False

    def __init__(self, name: str) -> None:
        self.name = name

    def check_present(self) -> None:
        """Raise Missing if it is not installed."""
        for module in self.needs:
            if find_spec(module) is None:
                raise Missing(f"{module} is not installed")

    def command(self, port: int, directory: Path) -> list[str]:
        """Return the command of its server."""
        raise NotImplementedError

    def environment(self, port: int) -> Mapping[str, str]:
        """Return additional environment variables of its server."""
        return {"BENCHMARKS_WAY": self.way}

    def answers(self, port: int) -> bool:
        """Return whether its server accepts connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def ident(self) -> str:
        """Return the id of a new task."""
        return str(uuid.uuid4())

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        """Return the texts by which a client subscribes to a task."""
        raise NotImplementedError

    def publisher(self, ident: str, task: Any = None) -> Tell:
        """Return a function that publishes progress, as in a worker; `task` is the caller's."""
        raise NotImplementedError

    def check(self, ident: str) -> None:
        """Raise unless every publish for a task was accepted."""


def daphne(port: int, application: str) -> list[str]:
    """Daphne as shipped."""
    return [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), application]


def uvicorn(port: int, application: str) -> list[str]:
    """uvicorn as shipped, with what `uvicorn[standard]` brings."""
    return [sys.executable, "-m", "uvicorn", "--port", str(port), application]
