"""The tasks of which the rate is measured, and the tasks that measure inside a worker."""

from __future__ import annotations

import os
import time
from typing import Any

import redis

from .celery import app
from .peers import peer_named
from .peers.base import Publish
from .sample import next_message

_WARM_UP = 20
#: Seconds to wait after each event of the warm-up.
_PAUSE = 0.01
#: Calls whose Redis commands are counted.
_COUNTED = 20


@app.task(name="no-op")
def no_op() -> float:
    """Return the present time."""
    return time.monotonic()


@app.task(name="50 ms")
def nap() -> float:
    """Work for 50 ms; return the time of the end."""
    time.sleep(0.05)
    return time.monotonic()


@app.task(bind=True)
def publish(self: Any, way: str, calls: int) -> dict[str, float]:
    """Publish `calls` times from a task; return the cost of a call in µs and in Redis commands."""
    peer = peer_named(way)
    ident = peer.ident()
    send = peer.publisher(ident, self)
    for _ in range(_WARM_UP):
        send(next_message())
    walls = []
    # The CPU time of the whole process: async_to_sync works in another thread.
    cpu = time.process_time_ns()
    for _ in range(calls):
        message = next_message()
        began = time.perf_counter_ns()
        send(message)
        walls.append((time.perf_counter_ns() - began) / 1000)
    cpu = time.process_time_ns() - cpu
    peer.check(ident)
    walls.sort()
    sent, inside = _commands(send)
    return {
        "p50": walls[calls // 2],
        "p99": walls[calls * 99 // 100],
        "cpu": cpu / calls / 1000,
        "sent": sent,
        "inside": inside,
    }


def _commands(send: Publish) -> tuple[float, float]:
    """Return how many commands a call sends to Redis, and how many its scripts run there."""
    sent = inside = 0
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client, client.monitor() as monitor:
        client.echo("begin")
        for _ in range(_COUNTED):
            send(next_message())
        client.echo("end")
        for command in monitor.listen():
            if command["command"] == "ECHO begin":
                sent = inside = 0
            if command["command"] == "ECHO end":
                return sent / _COUNTED, inside / _COUNTED
            # Not the worker's own commands: it always waits for tasks.
            if not command["command"].startswith(("ECHO", "BRPOP", "PING")):
                inside += command["client_type"] == "lua"
                sent += command["client_type"] != "lua"
    raise AssertionError("unreachable")


@app.task(bind=True)
def pace(self: Any, way: str, ident: str, count: int, gap: float) -> list[tuple[str, float, float]]:
    """Publish `count` messages, `gap` seconds apart.

    Returns each message with its time by the monotonic and by the wall clock. Clients also receive
    the events of the warm-up, which are not returned.
    """
    send = peer_named(way).publisher(ident, self)
    for _ in range(_WARM_UP):
        # Clients do not count messages without "row". They sort before the others.
        send(next_message().replace("row", "new"))
        time.sleep(_PAUSE)
    sent = []
    for _ in range(count):
        time.sleep(gap)
        message = next_message()
        sent.append((message, time.perf_counter(), time.time()))
        send(message)
    return sent
