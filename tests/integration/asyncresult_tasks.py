"""Tasks of a project that uses `AsyncResult`, for `test_from_asyncresult.py`.

They have a worker of their own, with the options
`--include tests.integration.asyncresult_tasks --queues asyncresult`.
"""

from __future__ import annotations

from typing import Any

import redis
from celery import Task, current_app, shared_task

QUEUE = "asyncresult"
PATIENCE = 30  #: seconds


@shared_task
def add(a: int, b: int) -> int:
    return a + b


@shared_task
def large(size: int) -> str:
    return "x" * size


@shared_task
def fail(message: str) -> None:
    raise ValueError(message)


@shared_task(track_started=False)
def hold(gate: str) -> str:
    """Run until the test opens the gate."""
    pass_gate(gate)
    return "held"


@shared_task(bind=True)
def report_the_celery_way(self: Task[..., Any], gate: str) -> None:
    self.update_state(
        state="UPLOADING", meta={"current": 3, "total": 4, "status": "part 3", "bucket": "b1"}
    )
    pass_gate(gate)


@shared_task(bind=True, max_retries=1)
def fail_once(self: Task[..., Any]) -> str:
    if self.request.retries == 0:
        raise self.retry(exc=ConnectionError("busy"), countdown=0)
    return "done"


def pass_gate(gate: str) -> None:
    """Note that the gate is reached, and wait until it is opened."""
    with gate_server() as server:
        server.rpush(f"{gate}:reached", 1)
        assert server.blpop([f"{gate}:opened"], PATIENCE)


def wait_reached(gate: str) -> None:
    with gate_server() as server:
        assert server.blpop([f"{gate}:reached"], PATIENCE), "no task has reached the gate"


def open_gate(gate: str) -> None:
    with gate_server() as server:
        server.rpush(f"{gate}:opened", 1)


def gate_server() -> redis.Redis:
    # None: a task may wait at its gate for longer than redis-py's own timeout.
    return redis.Redis.from_url(current_app.conf.broker_url, socket_timeout=None)
