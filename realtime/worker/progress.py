"""What a task calls to say how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from realtime import redaction
from realtime.core.states import PROGRESS

from .runs import current_run

T = TypeVar("T")


def set_progress(current: float, total: float | None = None, *, message: str | None = None) -> None:
    """Say how far the running task is, as ``current`` of ``total``.

    Any number of calls is fine: about ten a second are sent, the last one always is. Outside of
    a task it does nothing. It never raises and never stops the task: what is no finite number is
    shown as unknown.
    """
    run = current_run()
    if run is None or run.finished:
        return
    progress = redaction.encode_progress(current, total, message)
    run.report(PROGRESS, progress, final=total is not None and current == total)


def track(
    rows: Iterable[T], *, total: int | None = None, message: str | None = None
) -> Iterator[T]:
    """Yield the rows, and report after each how many are done.

    ``total`` is taken from ``len(rows)`` where there is one. A row counts as done when the next
    one is asked for.
    """
    if total is None and isinstance(rows, Sized):
        total = len(rows)
    set_progress(0, total, message=message)
    for done, row in enumerate(rows, start=1):
        yield row
        set_progress(done, total, message=message)
