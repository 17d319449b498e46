"""Report the progress of the running task: ``set_progress``, ``track``, ``this_task``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from celery import current_app

from realtime.core.interruption import interrupts_task
from realtime.core.logs import get_logger
from realtime.core.states import PROGRESS
from realtime.results import redaction

from .runs import Run, current_run, entered, warn_of_thread_without_task
from .task import push_state

logger = get_logger("realtime.worker")

T = TypeVar("T")


def set_progress(
    current: float | None, total: float | None = None, *, message: str | None = None
) -> None:
    """Report the progress of the running task as ``current`` of ``total``.

    Call it as often as you like: about ten calls a second are sent, and always the newest. Outside
    of a task it does nothing. It never raises and never stops the task. A value that is not a
    finite number is shown as unknown.
    """
    _report(current_run(), current, total, message)


def track(
    rows: Iterable[T], *, total: int | None = None, message: str | None = None
) -> Iterator[T]:
    """Yield the rows, and report after each one how many are done.

    The default of ``total`` is ``len(rows)`` if the rows have a length. A row is done when the next
    one is requested.
    """
    return _track(current_run(), rows, total, message)


def this_task() -> ThisTask:
    """Return a handle of the running task, to pass to new threads, which have no task.

    Outside of a task its methods do nothing.
    """
    return ThisTask(current_run())


class ThisTask:
    """A running task, for use in any thread of its process.

    As a context manager it makes the code inside part of the task: ``set_progress`` and ``track``
    report its progress, and tasks that are started there belong to its owner.
    """

    def __init__(self, run: Run | None) -> None:
        self._run = run

    @property
    def task_id(self) -> str | None:
        """The task's id; None outside of a task."""
        return self._run.task_id if self._run is not None else None

    def set_progress(
        self, current: float | None, total: float | None = None, *, message: str | None = None
    ) -> None:
        """Report the progress of this task, as :func:`set_progress` does."""
        if self._run is not None:
            _report(self._run, current, total, message)

    def track(
        self, rows: Iterable[T], *, total: int | None = None, message: str | None = None
    ) -> Iterator[T]:
        """Yield the rows and report for this task, as :func:`track` does."""
        return _track(self._run, rows, total, message)

    def update_state(self, state: str, meta: Any = None) -> None:
        """Store and push a state, as ``Task.update_state`` does."""
        run = self._run
        if run is None:
            return
        task = current_app.tasks.get(run.request.task)
        if task is not None:
            task.backend.store_result(run.task_id, meta, state, request=run.request)
        with entered(run):
            push_state(None, run.task_id, state, meta)

    def __enter__(self) -> ThisTask:
        stack = ExitStack()
        if self._run is not None:
            stack.enter_context(entered(self._run))
        _opened.set((*_opened.get(), stack))
        return self

    def __exit__(self, *_exception: object) -> None:
        *before, stack = _opened.get()
        _opened.set(tuple(before))
        stack.close()


#: What each `with task:` has entered. Many threads may use the same handle.
_opened: Final[ContextVar[tuple[ExitStack, ...]]] = ContextVar("realtime_opened", default=())


def _report(run: Run | None, current: Any, total: Any, message: Any) -> None:
    if run is None:
        warn_of_thread_without_task("set_progress")
        return
    if run.finished or not run.is_pushed:
        return
    try:
        run.report(PROGRESS, redaction.encode_progress(current, total, message))
    except Exception as error:
        if interrupts_task(error):
            raise
        logger.exception("progress_not_pushed id=%s", run.task_id)


def _track(
    run: Run | None, rows: Iterable[T], total: int | None, message: str | None
) -> Iterator[T]:
    run = run or current_run()  # again, since the generator may be made outside of the task
    if total is None:
        total = _length(rows)
    _report(run, 0, total, message)
    for done, row in enumerate(rows, start=1):
        yield row
        _report(run, done, total, message)


def _length(rows: Iterable[Any]) -> int | None:
    """Return the number of rows; None if they have no length, or it raises."""
    try:
        return len(rows)  # type: ignore[arg-type]
    except Exception as error:
        if interrupts_task(error):
            raise
        return None
