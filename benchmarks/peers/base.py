"""What every way has: a publisher, and where clients are served, a server and its hello."""

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

#: Tells a progress message.
Tell = Callable[[str], None]


class Missing(Exception):
    """A way cannot be measured here; the text says why."""


@dataclass
class Server:
    """A server that runs; what it costs is what these processes cost."""

    port: int
    pids: list[int] = field(default_factory=list)


class Peer:
    """One way. What is called in a worker runs in a process with BENCHMARKS_WAY=`way`."""

    #: Modules without which it is not measured.
    needs: ClassVar[tuple[str, ...]] = ()
    #: Whose project its processes are; see settings.py.
    way = "peer"
    #: Whether its clients get a plain stream, and no WebSocket's frames.
    stream = False
    #: Processes that the server starts by itself and that do its work.
    forks = False

    def __init__(self, name: str) -> None:
        self.name = name

    def check_present(self) -> None:
        """Raise Missing if it is not installed."""
        for module in self.needs:
            if find_spec(module) is None:
                raise Missing(f"{module} is not installed")

    def command(self, port: int, directory: Path) -> list[str]:
        """Return what serves it."""
        raise NotImplementedError

    def environment(self, port: int) -> Mapping[str, str]:
        """Return what its server finds in the environment besides."""
        return {"BENCHMARKS_WAY": self.way}

    def answers(self, port: int) -> bool:
        """Whether it serves."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def ident(self) -> str:
        """Return the id of a task that nobody has spoken of yet."""
        return str(uuid.uuid4())

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        """Return what a client says to be told of a task."""
        raise NotImplementedError

    def publisher(self, ident: str, task: Any = None) -> Tell:
        """Return what tells of a task, as a worker would call it; `task` is the one it runs in."""
        raise NotImplementedError

    def check(self, ident: str) -> None:
        """Raise unless everything that was told of a task was taken for news."""


def daphne(port: int, application: str) -> list[str]:
    """Daphne as shipped."""
    return [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), application]


def uvicorn(port: int, application: str) -> list[str]:
    """uvicorn as shipped, with what `uvicorn[standard]` brings."""
    return [sys.executable, "-m", "uvicorn", "--port", str(port), application]
