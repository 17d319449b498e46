"""Pings of a client that does not read what was sent to it."""

from __future__ import annotations

from types import SimpleNamespace

from realtime.server.websocket import MAX_PONGS, Socket


class Recorded(Socket):
    """An open socket that keeps its pongs."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = SimpleNamespace(is_full=False)
        self.state = self.STATE_OPEN
        self.pongs: list[bytes] = []

    def sendPong(self, payload: bytes | None = None) -> None:  # noqa: N802 - autobahn's name
        self.pongs.append(payload or b"")


def test_a_ping_is_answered_while_the_buffer_is_full_and_not_each_of_many() -> None:
    """A client may wait for the answer to its only ping, and end the connection without one."""
    socket = Recorded()
    socket.flow.is_full = True
    socket.onPing(b"only")
    assert socket.pongs == [b"only"]
    socket.flow.is_full = False
    socket.onPing(b"read")
    socket.flow.is_full = True
    socket.pongs.clear()
    for _ in range(3 * MAX_PONGS):
        socket.onPing(b"full")
    assert socket.pongs == [b"full"] * MAX_PONGS
    socket.flow.is_full = False
    socket.onPing(b"read")
    assert socket.pongs[-1] == b"read"
