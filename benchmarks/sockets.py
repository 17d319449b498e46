"""The load: thousands of connections that receive frames.

One loop over epoll, which only recognises frames: a client library would use several times the CPU
time of the measured server.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence

from tests.client.octets import CLOSE, FIN, PING, PONG, frame

#: What a client sends to subscribe: each text, and the text that its answer must contain before the
#: client sends the next one.
Hello = Sequence[tuple[bytes, bytes]]

#: The most seconds for all sockets to connect, and for one event to reach them all.
DEADLINE = 120.0
#: Concurrent handshakes by default. Daphne as shipped has a listen backlog of 50.
AT_ONCE = 20
#: Seconds until a socket that was lost while connecting connects again.
PAUSE = 0.5
_CHUNK = 256 * 1024


class LoadError(Exception):
    """A connection was refused, lost or late; the message has the details."""


class LateError(LoadError):
    """Some sockets had not connected by the deadline."""


class Group(list["Socket"]):
    """Sockets that were opened together."""

    #: Why one of the sockets was lost; empty if none was.
    lost = ""


class Socket:
    """One connection. It sends its hello, and then receives events."""

    __slots__ = (
        *("_port", "_texts", "attempts", "began", "buffer", "group", "hello", "is_ready", "link"),
        *("ready_at", "stream", "taken"),
    )

    def __init__(self, port: int, hello: Hello, stream: bool, group: Group) -> None:
        self._port, self._texts = port, hello
        self.group = group
        self.stream = stream  #: whether the server sends plain bytes, without frames
        self.taken = 0
        self.is_ready = False
        self.ready_at = 0.0
        self.attempts = 0
        self.began = time.perf_counter()
        self.connect()

    def connect(self) -> int:
        """Connect, for the first time or again; return the file descriptor."""
        self.attempts += 1
        self.hello = list(self._texts)
        self.buffer = b""
        self.link = socket.socket()
        self.link.setblocking(False)
        # Close without TIME_WAIT, in which tens of thousands of ports would be.
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.link.connect_ex(("127.0.0.1", self._port))
        return self.link.fileno()


class Sockets:
    """All connections of this process, in one thread. Times are seconds of `time.perf_counter`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_fd: dict[int, Socket] = {}
        self._marker = b"\0"
        self._arrivals: list[float] = []
        self._coming = 0
        self._attempts = 1
        #: Sockets that will connect again, each with its time.
        self._again: deque[tuple[float, Socket]] = deque()

    def __len__(self) -> int:
        return len(self._by_fd)

    def open(
        self,
        port: int,
        hellos: Sequence[Hello],
        *,
        at_once: int = AT_ONCE,
        stream: bool = False,
        attempts: int = 1,
        deadline: float = DEADLINE,
        group: Group | None = None,
    ) -> Group:
        """Open a socket for each hello; return them when all have received their answers.

        The sockets join `group`, or a new one. A socket that is lost while connecting connects
        again after PAUSE seconds, up to `attempts` times in all. Raises LateError after
        `deadline` seconds.
        """
        self._attempts = attempts
        opened = Group() if group is None else group
        until = time.monotonic() + deadline
        waiting = list(reversed(hellos))
        while waiting or self._coming:
            while waiting and self._coming < at_once:
                one = Socket(port, waiting.pop(), stream, opened)
                opened.append(one)
                self._coming += 1
                self._by_fd[one.link.fileno()] = one
                self._epoll.register(one.link.fileno(), select.EPOLLOUT)
            self._turn(opened)
            if time.monotonic() > until:
                raise LateError(f"{self._coming} are still connecting after {deadline:.0f} s")
        return opened

    def deliver(
        self, marker: str, publish: Callable[[str], None], to: Group, *, count: int = 0
    ) -> list[float]:
        """Publish an event with a marker, and return the seconds until each socket received it.

        With a count, wait for that many arrivals only.
        """
        self.expect(marker)
        began = time.perf_counter()
        publish(marker)
        return [at - began for at in self.take(count or len(to), to)]

    def expect(self, marker: str) -> None:
        """Count frames that contain this marker, from now on."""
        self._marker = marker.encode()
        self._arrivals = []

    def take(self, count: int, of: Group) -> list[float]:
        """Wait for `count` arrivals, and return their times."""
        until = time.monotonic() + DEADLINE
        while len(self._arrivals) < count:
            self._turn(of)
            if time.monotonic() > until:
                raise LoadError(f"{len(self._arrivals)} of {count} events arrived")
        return self._arrivals

    def ping(self, octets: bytes, answer: str, seconds: float) -> None:
        """Let each socket send a ping, evenly over `seconds`; wait until all are answered."""
        self.expect(answer)
        began, sockets = time.monotonic(), list(self._by_fd.values())
        for number, one in enumerate(sockets):
            self.idle(began + seconds * number / len(sockets) - time.monotonic())
            self._send(one, octets)
        self.idle(began + seconds - time.monotonic())
        self.take(len(sockets), sockets[0].group)

    def idle(self, seconds: float) -> None:
        """Only answer pings, for a while."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for fd, what in self._epoll.poll(left):
                self._handle(fd, what)

    def close(self) -> None:
        """Close every connection."""
        for fd, one in self._by_fd.items():
            self._epoll.unregister(fd)
            one.link.close()
        self._by_fd.clear()
        self._again.clear()
        self._coming = 0

    def _turn(self, group: Group) -> None:
        while self._again and self._again[0][0] <= time.monotonic():
            one = self._again.popleft()[1]
            fd = one.connect()
            self._by_fd[fd] = one
            self._epoll.register(fd, select.EPOLLOUT)
        for fd, what in self._epoll.poll(0.05 if self._again else 1.0, 1024):
            self._handle(fd, what)
        if group.lost:
            raise LoadError(group.lost)

    def _handle(self, fd: int, what: int) -> None:
        one = self._by_fd.get(fd)
        if one is None:
            return  # it was lost earlier in this turn
        if what & select.EPOLLOUT:
            if error := one.link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._lost(one, f"it could not connect, error {error}")
                return
            self._epoll.modify(fd, select.EPOLLIN)
            self._send(one, one.hello[0][0])
            return
        try:
            data = one.link.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(one, str(error))
            return
        now = time.perf_counter()
        if not data:
            self._lost(one, "the server closed it")
            return
        if one.buffer:
            data = one.buffer + data
            one.buffer = b""
        if not one.is_ready:
            self._greet(one, data, now)
        elif one.stream:
            if self._marker in data:
                self._arrived(one, now)
            else:
                one.buffer = data[-len(self._marker) :]
        else:
            self._frames(one, data, now)

    def _send(self, one: Socket, data: bytes) -> None:
        try:
            one.link.send(data)
        except OSError as error:
            self._lost(one, str(error))

    def _lost(self, one: Socket, why: str) -> None:
        fd = one.link.fileno()
        if fd not in self._by_fd:
            return  # already noticed
        self._epoll.unregister(fd)
        del self._by_fd[fd]
        one.link.close()
        if one.is_ready and self._attempts > 1:
            return  # with several attempts only the connecting is measured
        if one.is_ready or one.attempts >= self._attempts:
            one.group.lost = f"a connection was lost: {why}, after the data {one.buffer[-300:]!r}"
            return
        self._again.append((time.monotonic() + PAUSE, one))

    def _greet(self, one: Socket, data: bytes, now: float) -> None:
        _sent, wanted = one.hello[0]
        if wanted not in data:
            if data.startswith(b"HTTP/1.1 ") and data[9:12] not in (b"101", b"200"):
                one.group.lost = f"the handshake was refused: {data[:300]!r}"
            one.buffer = data
            return
        one.hello.pop(0)
        if one.hello:
            self._send(one, one.hello[0][0])
            return
        one.is_ready = True
        one.ready_at = now
        self._coming -= 1

    def _frames(self, one: Socket, data: bytes, now: float) -> None:
        at, end = 0, len(data)
        while end - at >= 2:
            opcode, size, body = data[at] & 15, data[at + 1], at + 2
            if size == 126:
                size, body = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, body = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if end < body + size:
                break
            payload = data[body : body + size]
            at = body + size
            if opcode == PING:  # its octets are random
                self._send(one, frame(payload, FIN | PONG))
            elif self._marker in payload:
                self._arrived(one, now)
            elif opcode == CLOSE:
                one.group.lost = f"the server sent a close frame: {payload!r}"
            elif payload == b"2":  # Engine.IO's ping
                self._send(one, frame("3"))
        one.buffer = data[at:]

    def _arrived(self, one: Socket, now: float) -> None:
        one.taken += 1
        self._arrivals.append(now)
