"""The cost of the service for a task: its receivers of Celery's signals, and its calls.

Imported by the settings, so before any other receiver is connected. Time in which the task waited
for a processor does not count: how long that is depends on the machine alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
#: The kernel's figures of a thread; the second is the nanoseconds that it waited for a processor.
_FIGURES = Path("/proc/thread-self/schedstat")
_started = 0.0
_total = 0.0


def now() -> float:
    """Seconds on a clock that stands still while this thread waits for a processor."""
    waited = int(_FIGURES.read_text().split()[1]) if _FIGURES.exists() else 0
    return time.monotonic() - waited / 1e9


def first(signal: Any = None, **_kwargs: Any) -> None:
    global _started, _total
    if signal is signals.task_prerun:
        _total = 0.0
    _started = now()


def last(signal: Any = None, task_id: str = "", **_kwargs: Any) -> None:
    global _total
    _total += now() - _started
    if signal is signals.task_postrun and _total > WORTH_TELLING:
        write("cost", task_id, durable=False, seconds=_total)


@contextmanager
def counted() -> Iterator[None]:
    """Count the calls of a task too."""
    global _total
    began = now()
    try:
        yield
    finally:
        _total += now() - began


def connect_last(**_kwargs: Any) -> None:
    """In a child, after everything else was connected."""
    for signal in _AROUND:
        signal.connect(last, weak=False)


for each in _AROUND:
    each.connect(first, weak=False)
signals.worker_process_init.connect(connect_last, weak=False)
