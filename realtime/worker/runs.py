"""One run of a task, in the process that runs it: the changes that it publishes, in their order."""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, Final

from celery import current_app
from django.core.signals import setting_changed

from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.change import Change, Dependent
from realtime.core.logs import get_logger
from realtime.core.process import process
from realtime.core.states import CUSTOM_RANK, SUCCESS, TERMINAL_RANK, rank

from .leases import lease
from .messages import header_text
from .publisher import SentChange, publisher
from .selection import pushed
from .serialized_calls import SerializedCalls
from .timer import timer

logger = get_logger("realtime.worker")

_ATTRIBUTE: Final = "realtime_run"
#: Tasks of other processes whose newest progress may be delayed in this one.
_MAX_REPORTS: Final = 256

_LONG_AGO: Final = float("-inf")
_ANY: Final = float("inf")
_NO_TASKS: Final[frozenset[str]] = frozenset()

Fields = Mapping[str, str]


class Reports:
    """The custom states of one task that one process publishes, at a limited rate.

    At most ``PROGRESS_RATE`` a second are sent. An earlier one is delayed: a newer one replaces it,
    and the timer sends the newest as soon as the rate allows. A report with another state is sent
    at once, up to ``PROGRESS_RATE`` in a row.
    """

    def __init__(self) -> None:
        self._calls = SerializedCalls()
        self._sent_at = _LONG_AGO
        self._sent_state = ""
        #: How many reports with another state may be sent at once.
        self._allowance = _ANY
        self._delayed: tuple[str, Fields] | None = None
        #: The process whose timer will send it; 0 for none. A fork copies no timer.
        self._timer_pid = 0

    def report(self, state: str, progress: str) -> None:
        """Publish a custom state with its progress, now or as soon as the rate allows."""
        self._calls.call(
            self._report, state, {"progress": progress, "updated_at": jsontext.timestamp()}
        )

    def release(self) -> None:
        """Publish the delayed report, if there is one."""
        self._calls.call(self._release)

    def _report(self, state: str, fields: Fields) -> None:
        rate, now = conf().PROGRESS_RATE, time.monotonic()
        due = self._sent_at + 1 / rate
        is_new = state != self._sent_state and self._allowance >= 1
        if now < due and not is_new:
            self._delayed = state, fields
            if self._timer_pid != process.pid and timer.call_later(due - now, self._on_timer):
                self._timer_pid = process.pid
            return
        if self._delayed is not None and is_new:
            self._release()  # the last one with the state before
        self._delayed = None
        self._send_report(state, fields)

    def _on_timer(self) -> None:
        """Send the delayed report; the timer calls this."""
        self._timer_pid = 0
        self.release()

    def _release(self) -> None:
        if self._delayed is not None:
            self._send_report(*self._delayed)
            self._delayed = None  # only now: a time limit may interrupt before

    def _send_report(self, state: str, fields: Fields) -> None:
        rate, now = conf().PROGRESS_RATE, time.monotonic()
        refilled = self._allowance + (now - self._sent_at) * rate
        self._allowance = max(0.0, min(max(1.0, rate), refilled) - 1)
        self._sent_at, self._sent_state = now, state
        self._publish_report(state, fields)

    def _publish_report(self, state: str, fields: Fields) -> None:
        raise NotImplementedError


class Run(Reports):
    """One run of a task; the task's request refers to it."""

    def __init__(
        self,
        request: Any,
        header: Mapping[str, Any],
        identity: Fields,
        *,
        redelivery_timeout: int = 0,
        dependents: tuple[Dependent, ...] = (),
        is_pushed: bool = True,
    ) -> None:
        super().__init__()
        self.run_id = secrets.token_urlsafe(9)
        self.request = request
        self.task_id: str = request.id
        self.header = header
        self.publication = header_text(header, "publication")
        self.owner = header_text(header, "owner")
        #: The ids of the tasks that wait for this run; its message carries them.
        self.dependent_ids = (
            frozenset([task_id for task_id, _ in dependents]) if dependents else _NO_TASKS
        )
        #: Whether the run has published its last state (an ending or a retry), or was replaced.
        self.finished = False
        #: Whether that state is an ending.
        self.ended = False
        #: Whether the states of the task are published.
        self.is_pushed = is_pushed
        self._identity = identity
        self._redelivery_timeout = redelivery_timeout
        self._dependents = pushed(dependents)
        #: The last change that announced the run.
        self._announced: SentChange | None = None
        self._counter = 0
        self._pid = process.pid

    def publish(self, state: str, fields: Fields) -> None:
        """Publish a state of this run."""
        self._calls.call(self._publish, state, fields)

    def finish(self, state: str, fields: Fields) -> None:
        """Publish this run's last state, unless it has published one."""
        if not self.finished:
            self._calls.call(self._finish, state, fields)

    def fail(self, state: str, fields: Fields) -> None:
        """Publish this run's failure, also after a retry or a replacement that was not sent."""
        if not self.ended:
            self._calls.call(self._fail, state, fields)

    def report(self, state: str, progress: str) -> None:
        if not self.finished and self.is_pushed:
            super().report(state, progress)

    def mark_replaced(self) -> None:
        """Note that another task continues under this id."""
        self.release()
        self.finished = True

    def resume(self) -> None:
        """Make again the calls that a time limit interrupted."""
        self._calls.run()

    def _publish(self, state: str, fields: Fields) -> None:
        self._release()
        self._send(state, fields)

    def _finish(self, state: str, fields: Fields) -> None:
        if not self.finished:
            self._publish(state, fields)
            # Only now: a time limit may interrupt before.
            self.ended = rank(state) == TERMINAL_RANK
            self.finished = True

    def _fail(self, state: str, fields: Fields) -> None:
        if not self.ended:
            self._publish(state, fields)
            self.ended = self.finished = True

    def _report(self, state: str, fields: Fields) -> None:
        if not self.finished:
            super()._report(state, fields)

    def _publish_report(self, state: str, fields: Fields) -> None:
        self._send(state, fields)

    def _send(self, state: str, fields: Fields) -> None:
        if not self.is_pushed:
            return
        if self._pid != process.pid:
            # The task has forked this process, which has the run's id but not its counter.
            publisher.send(reports_of(self.task_id).change(state, fields))
            return
        counter = None
        if rank(state) == CUSTOM_RANK:
            self._counter += 1
            counter = self._counter
        # Until the store has acknowledged one, each change may be the first of this run to arrive.
        announced = self._announced
        if announced is not None and not announced.acknowledged:
            publisher.read_replies()
        begins = announced is None or not announced.acknowledged
        sent = publisher.send(
            Change(
                task_id=self.task_id,
                state=state,
                attempt=self.request.retries,
                run_id=self.run_id,
                begins=begins,
                counter=counter,
                publication=self.publication,
                stored=state == SUCCESS,  # Celery stores a result before its signal
                owner=self.owner,
                worker=lease.name if begins else "",
                redelivery_timeout=self._redelivery_timeout if begins else 0,
                dependents=self._dependents if begins else (),
                fields={**self._identity, **fields} if begins else fields,
            )
        )
        if begins:
            self._announced = sent


class ForeignReports(Reports):
    """The custom states that this process publishes of a task that it does not run."""

    def __init__(self, task_id: str) -> None:
        super().__init__()
        self.task_id = task_id

    def _publish_report(self, state: str, fields: Fields) -> None:
        publisher.send(self.change(state, fields))

    def change(self, state: str, fields: Fields) -> Change:
        """Return a change of the task, numbered among all such changes of this process."""
        return Change(
            task_id=self.task_id,
            state=state,
            sender=_sender.name,
            counter=next(_sender.numbers) if rank(state) == CUSTOM_RANK else None,
            fields=fields,
        )


class _Sender:
    """This process as a sender of reports on tasks that it does not run."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.name = secrets.token_urlsafe(9)
        self.numbers = count(1)
        self.reports: OrderedDict[str, ForeignReports] = OrderedDict()


_sender: Final = _Sender()


def reports_of(task_id: str) -> ForeignReports:
    """Return this process's reports on a task that it does not run."""
    reports = _sender.reports
    found = reports.get(task_id)
    if found is None:
        found = reports[task_id] = ForeignReports(task_id)
        while len(reports) > _MAX_REPORTS:
            reports.popitem(last=False)[1].release()
    return found


def release_reports() -> None:
    """Publish the delayed reports on tasks that this process does not run."""
    reports = _sender.reports
    while reports:
        reports.popitem(last=False)[1].release()


# In a script no worker signal calls it, and the timer ends with the process.
atexit.register(release_reports)

# Which run this code is part of.

#: The runs that this code is part of, the innermost last. Threads and asyncio tasks with a copy of
#: the context are part of the same run.
_entered: Final[ContextVar[tuple[Run, ...]]] = ContextVar("realtime_runs", default=())
#: The runs of this process that have not ended.
_active: Final[set[Run]] = set()


def begin(run: Run) -> None:
    """Enter a run that begins, and let its request refer to it."""
    setattr(run.request, _ATTRIBUTE, run)
    _active.add(run)
    _entered.set((*_entered.get(), run))


def end(run: Run) -> None:
    """Leave a run that has ended."""
    _active.discard(run)
    # The two refer to each other: only the garbage collector would free them.
    vars(run.request).pop(_ATTRIBUTE, None)
    _entered.set(tuple(each for each in _entered.get() if each is not run))


def is_active(run: Run) -> bool:
    """Return whether a run of this process has not ended."""
    return run in _active


@contextmanager
def entered(run: Run) -> Iterator[None]:
    """Make the code inside part of a run."""
    _entered.set((*_entered.get(), run))
    try:
        yield
    finally:
        _entered.set(_entered.get()[:-1])


def run_of(request: Any) -> Run | None:
    """Return the run whose request this is; None in a process that does not run it."""
    run = getattr(request, _ATTRIBUTE, None)
    # A task that is called as a function gets a copy of the request.
    return run if run is not None and run.request is request else None


def current_run() -> Run | None:
    """Return the run that this code is part of; None outside of a task.

    A task that is called as a function, or by ``apply()``, is part of the run that calls it.
    """
    runs = _entered.get()
    if runs:
        return runs[-1]
    task = current_app.current_worker_task  # where the context is empty
    return getattr(task.request, _ATTRIBUTE, None) if task else None


# Threads that belong to no run.


class _Warned:
    """Whether this process has logged the warning below."""

    logged = False


def warn_of_thread_without_task(what: str) -> None:
    """Log once that a thread without a task acts like one while tasks run in this process."""
    if _Warned.logged or not _active:
        return
    _Warned.logged = True
    logger.warning(
        "thread_without_task what=%s thread=%r remedy=%r",
        what,
        threading.current_thread().name,
        "a new thread has no task: pass realtime.this_task() to it and use it there "
        "(`with task:`), or start it with contextvars.copy_context().run or asyncio.to_thread",
    )


def _reset(*, setting: str, **_kwargs: object) -> None:
    if setting == "REALTIME":
        _Warned.logged = False
        _sender.reports.clear()


setting_changed.connect(_reset)
