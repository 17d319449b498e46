"""The rate of tasks of a worker, with the receivers of each way and without any.

The tasks wait in a queue until the worker begins to consume it. Each task returns the time of its
end. The rate is that of the last nine tenths of the tasks.
"""

from __future__ import annotations

import json
import os
import time
import uuid

import redis

from benchmarks import peers
from benchmarks.report import Table
from benchmarks.stage import Stage

NAME = "tasks"
CHILDREN = 2
DEADLINE = 120.0
#: Parts of a round: the ways take turns within it.
PARTS = 4
#: The name of each way, its receivers (BENCHMARKS_WAY), and the options of its worker.
WAYS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("off", "off", ()),
    (peers.REALTIME, "realtime", ()),
    (peers.TUTORIAL, "tutorial", ()),
    ("Celery's events (-E)", "off", ("-E",)),
)
#: The names of the tasks in tasks.py.
NO_OP, NAP = "no-op", "50 ms"


def run(stage: Stage) -> Table:
    """Measure every way. The ways take turns, round by round."""
    size = stage.size
    table = Table(
        NAME,
        f"Tasks a second, {CHILDREN} prefork children, every event on",
        ("tasks/s",),
        cases="task",
    )
    ways = WAYS[:3] if size.quick else WAYS
    nodes = {}
    for number, (way, listener, options) in enumerate(ways):
        nodes[way] = f"tasks{number}"
        stage.worker(listener, nodes[way], *options, children=CHILDREN)
    # So many tasks that a part of a round lasts about half a second with each way.
    counts = {way: round(rate([node], NO_OP, 200) / 2) for way, node in nodes.items()}
    naps = dict.fromkeys(nodes, 15 if size.quick else 30)
    for kind, each in ((NO_OP, counts), (NAP, naps)):
        for _ in range(size.rounds):
            for way, found in _round(nodes, kind, each).items():
                table.add(way, [found], kind)
    return table


def _round(nodes: dict[str, str], kind: str, counts: dict[str, int]) -> dict[str, float]:
    """Return the tasks per second of each way in one round. The ways take turns, part by part.

    The speed of the machine changes within seconds, by more than some of the ways differ.
    """
    seconds = dict.fromkeys(nodes, 0.0)
    for _ in range(PARTS):
        for way, node in nodes.items():
            seconds[way] += 1 / rate([node], kind, counts[way])
    return {way: PARTS / taken for way, taken in seconds.items()}


def rate(nodes: list[str], kind: str, count: int) -> float:
    """Let idle workers run `count` tasks; return the tasks per second."""
    from benchmarks.celery import app

    queue, destination = f"{nodes[0]}-waiting", [f"{node}@benchmarks" for node in nodes]
    task_ids = [str(uuid.uuid4()) for _ in range(count)]
    # Not by `apply_async`: it would subscribe this process to each result, and this process must be
    # idle while the worker is busy.
    with app.producer_pool.acquire(block=True) as producer:
        for task_id in task_ids:
            message = app.amqp.create_task_message(task_id, kind, args=(), kwargs={})
            app.amqp.send_task_message(producer, kind, message, queue=queue)
    app.control.add_consumer(queue, destination=destination, reply=True, timeout=5)
    try:
        done = sorted(_results(task_ids))
    finally:
        app.control.cancel_consumer(queue, destination=destination, reply=True, timeout=5)
    first = count // 10
    return (count - 1 - first) / (done[-1] - done[first])


def _results(task_ids: list[str]) -> list[float]:
    """Wait until all tasks have ended; return their results."""
    keys = [f"celery-task-meta-{task_id}" for task_id in task_ids]
    until = time.monotonic() + DEADLINE
    with redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as client:
        # The last one first, to read less while the tasks run.
        for some in (keys[-1:], keys):
            while True:
                kept = [json.loads(text or "{}") for text in client.mget(some)]
                if all(each.get("status") == "SUCCESS" for each in kept):
                    break
                if time.monotonic() > until:
                    raise RuntimeError("the worker did not run all tasks in time")
                time.sleep(0.05)
    return [each["result"] for each in kept]
