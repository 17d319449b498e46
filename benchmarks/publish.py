"""What one publish costs a task: measured inside one, in a prefork child of a real worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from asgiref.sync import async_to_sync
from celery import shared_task
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer
from django.conf import settings

from .report import Comparison
from .sample import Sample

#: The group that the tutorial way sends to.
GROUP = "group"
WARM_UP = 20
DEADLINE = 60.0  # seconds for one round


def compare(*, rounds: int, calls: int) -> Comparison:
    """Measure every way in each round, through a worker that runs."""
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, results in found.items():
            results.append(measure.delay(way, calls).get(timeout=DEADLINE))
    return Comparison(
        title=f"One publish from a prefork child, {calls} a round",
        columns=("wall p50 µs", "wall p99 µs", "CPU µs"),
        target=10,
        rounds=found,
    )


@shared_task
def measure(way: str, calls: int) -> list[float]:
    """Publish so many times; return the wall time's p50 and p99 and the mean CPU time, in µs."""
    publish = WAYS[way]()
    for _ in range(WARM_UP):
        publish()
    walls = []
    # Of the whole process, as async_to_sync works in another thread.
    cpu = time.process_time_ns()
    for _ in range(calls):
        began = time.perf_counter_ns()
        publish()
        walls.append((time.perf_counter_ns() - began) / 1000)
    cpu = time.process_time_ns() - cpu
    walls.sort()
    return [walls[calls // 2], walls[calls * 99 // 100], cpu / calls / 1000]


def _ours() -> Callable[[], None]:
    return Sample().accept


def _pubsub_layer() -> Callable[[], None]:
    sample = Sample()

    def publish() -> None:
        message = {"type": "task.update", "status": sample.next_status()}
        async_to_sync(cast(Any, get_channel_layer()).group_send)(GROUP, message)

    return publish


def _core_layer() -> Callable[[], None]:
    hosts = [{"address": settings.REDIS_URL, "socket_timeout": None}]
    # Nobody takes the messages away: at the usual capacity it would begin to drop them.
    layer = RedisChannelLayer(hosts=hosts, capacity=1_000_000)
    # An empty group would cost it two of its three steps only.
    async_to_sync(layer.group_add)(GROUP, "a-channel")
    sample = Sample()

    def publish() -> None:
        message = {"type": "task.update", "status": sample.next_status()}
        async_to_sync(layer.group_send)(GROUP, message)

    return publish


#: By name, ours first: what makes a function that publishes the next progress.
WAYS: dict[str, Callable[[], Callable[[], None]]] = {
    "realtime, two topics": _ours,
    "async_to_sync(group_send), Pub/Sub layer": _pubsub_layer,
    "async_to_sync(group_send), core layer": _core_layer,
}
