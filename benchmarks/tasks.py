"""The measured tasks, and the tasks that measure inside a worker."""

from __future__ import annotations

import os
import time
from typing import Any

import redis

from .celery import app
from .peers import peer_named
from .peers.base import Tell
from .sample import next_message

_WARM_UP = 20
#: Seconds after each warm-up event.
_PAUSE = 0.01
#: Calls for which Redis' commands are counted.
_COUNTED = 20


@app.task(name="no-op")
def no_op() -> float:
    """Return the time."""
    return time.monotonic()


@app.task(name="50 ms")
def nap() -> float:
    """Work for 50 ms; return the time of the end."""
    time.sleep(0.05)
    return time.monotonic()


@app.task(bind=True)
def publish(self: Any, way: str, calls: int) -> dict[str, float]:
    """Publish so many times from a task; return the cost of a call, in µs and Redis commands."""
    peer = peer_named(way)
    ident = peer.ident()
    tell = peer.publisher(ident, self)
    for _ in range(_WARM_UP):
        tell(next_message())
    walls = []
    # Of the whole process, as async_to_sync works in another thread.
    cpu = time.process_time_ns()
    for _ in range(calls):
        message = next_message()
        began = time.perf_counter_ns()
        tell(message)
        walls.append((time.perf_counter_ns() - began) / 1000)
    cpu = time.process_time_ns() - cpu
    peer.check(ident)
    walls.sort()
    sent, inside = _commands(tell)
    return {
        "p50": walls[calls // 2],
        "p99": walls[calls * 99 // 100],
        "cpu": cpu / calls / 1000,
        "sent": sent,
        "inside": inside,
    }


def _commands(tell: Tell) -> tuple[float, float]:
    """Return how many commands a call sends to Redis, and how many scripts there add to them."""
    sent = inside = 0
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client, client.monitor() as monitor:
        client.echo("begin")
        for _ in range(_COUNTED):
            tell(next_message())
        client.echo("end")
        for command in monitor.listen():
            if command["command"] == "ECHO begin":
                sent = inside = 0
            if command["command"] == "ECHO end":
                return sent / _COUNTED, inside / _COUNTED
            # A worker polls its broker for tasks all the time.
            if not command["command"].startswith(("ECHO", "BRPOP", "PING")):
                inside += command["client_type"] == "lua"
                sent += command["client_type"] != "lua"
    raise AssertionError("unreachable")


@app.task(bind=True)
def pace(self: Any, way: str, ident: str, count: int, gap: float) -> list[tuple[str, float, float]]:
    """Publish at a pace; return each message with its times by the monotonic and the wall clock.

    Some are told before, to warm: clients get them too, but they are not returned.
    """
    tell = peer_named(way).publisher(ident, self)
    for _ in range(_WARM_UP):
        # These are not counted as rows, and sort before them.
        tell(next_message().replace("row", "new"))
        time.sleep(_PAUSE)
    told = []
    for _ in range(count):
        time.sleep(gap)
        message = next_message()
        told.append((message, time.perf_counter(), time.time()))
        tell(message)
    return told
