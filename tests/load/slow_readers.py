"""Readers that never read."""

from __future__ import annotations

import json
import select
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from realtime.conf import conf
from realtime.web.access.tokens import make_token
from tests.client.octets import HOST, frame, handshake
from tests.client.protocol import Frame
from tests.client.watcher import Watcher
from tests.faults.stage import require
from tests.percentile import percentile
from tests.until import until

from .crowd import MIB, connected, milliseconds
from .report import Row
from .stage import LoadStage


class Timed(Watcher):
    """A client that notes how long each message of `tests.load.tasks.publish` was under way."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.delays: list[float] = []

    def receive(self, message: Frame) -> None:
        """Apply a frame; note the delay of an event."""
        if message["type"] == "event":
            text = message["status"]["progress"]["message"]
            self.delays.append(time.monotonic() - float(text.split()[0]))
        super().receive(message)


class NeverReading:
    """A connection that subscribes, and reads nothing from then on.

    As over a network, and not over the loopback, a segment has at most 1,460 bytes: the kernel
    bases the size of its buffers on that.
    """

    def __init__(self, port: int, topic: str) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
        self.socket.settimeout(15)
        self.socket.connect((HOST, port))
        self.socket.sendall(handshake(port))
        require(
            until(lambda: b'"welcome"' in self.socket.recv(4096, socket.MSG_PEEK)), "no welcome"
        )
        token = make_token([topic])[0]
        subscribe = {"type": "subscribe", "id": 1, "topic": topic, "token": token}
        self.socket.sendall(frame(json.dumps(subscribe)))
        self.closed_at: float | None = None
        self.code = 0

    def read_on(self) -> None:
        """Read up to the close frame, and note its code."""
        self.socket.settimeout(5)
        tail = b""
        with suppress(OSError):
            while data := self.socket.recv(65536):
                tail = (tail + data)[-4:]
                if tail[:2] == b"\x88\x02":
                    self.code = int.from_bytes(tail[2:], "big")
                    return


def slow_readers(stage: LoadStage) -> Iterator[Row]:
    """100 sockets that never read, subscribed to a busy topic, beside 50 healthy clients."""
    count = 100 if stage.long else 20
    healthy = 50 if stage.long else 10
    seconds = 38.0 if stage.long else 6.0
    quick = {} if stage.long else {"SLOW_TIMEOUT": 2.0}
    patience = quick.get("SLOW_TIMEOUT", conf().SLOW_TIMEOUT)
    from . import tasks

    slow: list[float] = []

    def on_line(_name: str, line: str) -> None:
        if "connection_slow" in line:
            slow.append(time.monotonic())

    with stage.serving(on_line=on_line, **quick) as [web]:
        ids = [str(uuid.uuid4()) for _ in range(healthy)]
        busy = [str(uuid.uuid4()) for _ in range(20)]
        clients = [Timed(one, [web.port], {f"task:{one}": [one]}, stage.rng) for one in ids]
        with connected(stage, clients):

            def measure() -> list[float]:
                for client in clients:
                    client.delays.clear()
                arrived = until(lambda: all(client.delays for client in clients))
                require(arrived, "the publishing tasks did not begin")
                time.sleep(seconds - 2.0)
                return [delay for client in clients for delay in client.delays]

            def publish() -> None:
                tasks.publish.delay(ids, "", 100.0, seconds, 100)
                tasks.publish.delay(busy, "crowd", 100.0, seconds, 8000)

            publish()
            before = measure()
            time.sleep(2.0)
            memory = web.rss()
            readers = [NeverReading(web.port, "user:crowd") for _ in range(count)]
            poll = select.poll()
            by_number = {reader.socket.fileno(): reader for reader in readers}
            for number in by_number:
                poll.register(number, 0)  # errors and hang-ups are always reported
            began = time.monotonic()
            peak = 0
            publish()
            with ThreadPoolExecutor(1) as pool:
                measuring = pool.submit(measure)
                # Every second one reads again after its close, for the code.
                reading = readers[::2]
                while not measuring.done() or any(one.closed_at is None for one in readers):
                    now = time.monotonic()
                    if now - began > seconds + (10 if stage.long else 60):
                        break
                    peak = max(peak, web.rss())
                    for number, _ in poll.poll(50):
                        poll.unregister(number)
                        by_number[number].closed_at = now
                    if len(slow) == count and reading:
                        for reader in reading:
                            reader.read_on()
                            reader.closed_at = reader.closed_at or time.monotonic()
                        reading = []
                during = measuring.result()
            for reader in readers:
                reader.socket.close()
    size = f"{count} of {healthy + count} sockets"
    closed = [one.closed_at - began for one in readers if one.closed_at is not None]
    codes = Counter(one.code for one in readers[::2] if one.code)
    grown = (peak - memory) / MIB
    limit = patience + 5
    yield Row(
        "a1",
        "readers that never read: memory of the server",
        size,
        f"+{grown:.1f} MiB",
        "+64 MiB",
        grown <= 64,
    )
    slowest = max(closed, default=float("nan"))
    yield Row(
        "a2",
        "the same: time from the first event to the close",
        size,
        f"{len(closed)} closed, the last after {slowest:.1f} s",
        f"{limit:g} s",
        len(closed) == count and (slowest <= limit or not stage.long),
    )
    yield Row(
        "a3",
        "the same: close code",
        f"{len(readers[::2])} that read the code, {count} in the log",
        ", ".join(f"{n} x {code}" for code, n in codes.items()) + f", {len(slow)} in the log",
        "4001",
        codes == {4001: len(readers[::2])} and len(slow) == count,
    )
    p99s = percentile(before, 0.99), percentile(during, 0.99)
    more = p99s[1] / p99s[0] - 1
    yield Row(
        "a4",
        "the same: p99 of the delay for the other clients",
        f"{len(before):,} / {len(during):,} events",
        f"{milliseconds(p99s[0])} → {milliseconds(p99s[1])} ({more:+.0%})",
        "+20 %",
        more <= 0.2 if stage.long else None,
    )
