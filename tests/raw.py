"""Bytes to and from a web process, for requests that no client makes.

    web = start_web(SLOW_TIMEOUT=2.0)
    connection = dial(web)
    upgrade(connection, web)
    connection.sendall(frame(b"hello"))

Every wait has a deadline, and no answer may show the inside of the service.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project.processes import Process
from tests.client.octets import HOST, PATH, handshake
from tests.client.protocol import INSIDE
from tests.until import until

DEADLINE = 20.0  #: seconds
MIB = 1024 * 1024


@dataclass
class Site:
    """A site on this machine, as clients know it."""

    port: int
    data_dir: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{HOST}:{self.port}{PATH}"


@dataclass
class Web(Site):
    """A web process."""

    process: Process

    def memory(self) -> int:
        """Bytes of memory of the process."""
        return memory(self.process)

    def logged(self, text: str, count: int = 1) -> bool:
        """Whether its log has a text, at least so many times."""
        return self.process.log().count(text) >= count

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        os.kill(self.process.pid, number)

    def exit_code(self) -> int | None:
        until(lambda: self.process.returncode is not None, DEADLINE)
        return self.process.returncode


def web_of(service: Any) -> Web:
    """The web process of a service."""
    return Web(service.port, service.data_dir, service.web)


def memory(process: Process, what: str = "VmRSS") -> int:
    """Bytes of memory of a process; with `VmHWM` its peak."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) * 1024


def answer(connection: socket.socket) -> bytes:
    """Return all bytes until the other end closes."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return _harmless(b"".join(parts))


def head(connection: socket.socket) -> bytes:
    """Return the bytes up to the end of a head."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(1)
        assert part, data
        data += part
    return _harmless(data)


def upgrade(connection: socket.socket, web: Web, *headers: str) -> bytes:
    """Make a connection a WebSocket; return the head of the answer to the handshake."""
    connection.sendall(handshake(web.port, *headers))
    answered = head(connection)
    assert answered.startswith(b"HTTP/1.1 101 "), answered
    return answered


def body(connection: socket.socket) -> bytes:
    """Return the bytes after a head: to the last chunk, or to the close."""
    data = b""
    with suppress(ConnectionResetError):
        while not data.endswith(b"0\r\n\r\n") and (part := connection.recv(65536)):
            data += part
    return _harmless(data)


def _harmless(data: bytes) -> bytes:
    assert not INSIDE.search(data.decode("latin-1")), data
    return data
