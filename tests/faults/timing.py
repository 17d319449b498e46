"""The cost of the service for a task: its receivers of Celery's signals, and its calls.

Imported by the settings, so before any other receiver is connected.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import signals

from .oracle import write

#: Costs below this many seconds are ignored.
WORTH_TELLING = 0.02

_AROUND = (
    signals.task_prerun,
    signals.task_success,
    signals.task_failure,
    signals.task_retry,
    signals.task_postrun,
)
_started = 0.0
_total = 0.0


def first(signal: Any = None, **_kwargs: Any) -> None:
    global _started, _total
    if signal is signals.task_prerun:
        _total = 0.0
    _started = time.monotonic()


def last(signal: Any = None, task_id: str = "", **_kwargs: Any) -> None:
    global _total
    _total += time.monotonic() - _started
    if signal is signals.task_postrun and _total > WORTH_TELLING:
        write("cost", task_id, durable=False, seconds=_total)


@contextmanager
def counted() -> Iterator[None]:
    """Count the calls of a task too."""
    global _total
    began = time.monotonic()
    try:
        yield
    finally:
        _total += time.monotonic() - began


def connect_last(**_kwargs: Any) -> None:
    """In a child, after everything else was connected."""
    for signal in _AROUND:
        signal.connect(last, weak=False)


for each in _AROUND:
    each.connect(first, weak=False)
signals.worker_process_init.connect(connect_last, weak=False)
