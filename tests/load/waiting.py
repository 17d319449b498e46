"""Many tasks wait, and one of them ends without a signal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery.utils import uuid

import realtime.results
from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.change import Change
from realtime.store import get_store
from realtime.web.reconciler import Reconciler
from tests.backends import DATABASES, app_with, result_app
from tests.faults.stage import require
from tests.until import until

from .crowd import milliseconds
from .report import Row
from .stage import LoadStage

#: Changes that are sent before the first answer is read.
_TOGETHER = 1000


def waiting(stage: LoadStage) -> Iterator[Row]:
    """100,000 tasks wait: how soon is an ending found, and what does each search cost?"""
    count, ended = (100_000, 10_000) if stage.long else (2_000, 200)
    ids = publish(count)
    with stage.serving():
        yield found(stage, ids[count // 2], f"{count:,} waiting")
    yield search("i2", "Redis", app_with(stage.server.url).backend, f"{count:,} waiting")
    for number, kind in enumerate(DATABASES, 3):
        with result_app(kind, Path(stage.directory)) as app:
            for task_id in ids[:ended]:
                app.backend.store_result(task_id, 7, "SUCCESS")
            size = f"{count:,} waiting, {ended:,} ended"
            yield search(f"i{number}", f"{kind}, SQLite", app.backend, size)


def publish(count: int) -> list[str]:
    """Let so many tasks wait."""
    ids = [uuid() for _ in range(count)]
    fields = {"published_at": jsontext.timestamp()}
    for start in range(0, count, _TOGETHER):
        sent = [
            get_store().send(Change(task_id=task_id, state="PENDING", attempt=0, fields=fields))
            for task_id in ids[start : start + _TOGETHER]
        ]
        for answer in sent:
            answer()
    return ids


def found(stage: LoadStage, task_id: str, size: str) -> Row:
    """How long it takes a web process until the ending that was stored is published."""
    backend = app_with(stage.server.url).backend
    for _ in range(2):  # searches of the web process that are over
        time.sleep(conf().RECONCILE_INTERVAL)
    backend.store_result(task_id, 7, "SUCCESS")
    began = time.monotonic()

    def is_there() -> bool:
        status = get_store().status(task_id)
        return status is not None and status.state == "SUCCESS"

    require(until(is_there, 60), "the ending was not found")
    took = time.monotonic() - began
    # A whole interval, and a search.
    return Row("i1", "waiting tasks: until a stored ending is published", size, f"{took:.1f} s")


def search(number: str, kind: str, backend: Any, size: str) -> Row:
    """The cost of a process's first search, and of each later one."""
    with reading(backend):
        reconciler = Reconciler()
        costs = [cost(reconciler) for _ in range(4)]
        reconciler.stop()
    first, later = costs[0], min(costs[2:])
    measured = f"the first {first[0]:.1f} s ({milliseconds(first[1])} of CPU time)"
    measured += f", later ones {later[0]:.1f} s ({milliseconds(later[1])})"
    return Row(number, f"waiting tasks: a search, with results in {kind}", size, measured)


def cost(reconciler: Reconciler) -> tuple[float, float]:
    """Seconds of a search that is not cut short, and those in which this process worked."""
    began, worked = time.monotonic(), time.process_time()
    reconciler._search([])
    return time.monotonic() - began, time.process_time() - worked


@contextmanager
def reading(backend: Any) -> Iterator[None]:
    """Let the service read this result backend."""
    before = realtime.results.current_app
    realtime.results.current_app = SimpleNamespace(backend=backend)
    try:
        yield
    finally:
        realtime.results.current_app = before
