"""Tasks that write their outcome for the oracle before they return to Celery."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import celery
from celery import chain, group, shared_task
from celery.exceptions import Ignore, Reject

from realtime import set_progress
from tests.until import until

from .oracle import write
from .timing import counted


def began(task: Any) -> str:
    """Note that a run begins, and return the task's id."""
    write("began", task.request.id, durable=False, pid=os.getpid())
    return str(task.request.id)


@shared_task(bind=True)
def work(self: Any, seconds: float, value: Any = None) -> Any:
    """Run for so long."""
    task_id = began(self)
    time.sleep(seconds)
    write("SUCCESS", task_id, result=value)
    return value


@shared_task(bind=True, acks_late=True, reject_on_worker_lost=True)
def work_less_and_less(self: Any, path: str, first: float, later: float) -> int:
    """Run for `first` seconds when it is the first run, else for `later` seconds.

    Returns its process, which distinguishes the runs.
    """
    task_id = began(self)
    try:
        os.close(os.open(f"{path}/{task_id}", os.O_CREAT | os.O_EXCL))
        seconds = first
    except FileExistsError:
        seconds = later
    time.sleep(seconds)
    write("SUCCESS", task_id, result=os.getpid())
    return os.getpid()


@shared_task(bind=True, acks_late=True, reject_on_worker_lost=True)
def work_until_ended(self: Any, path: str) -> int:
    """Run until the file `<path>/<id>.<run>` exists: each run of a task has its own.

    Returns its process, as `work_less_and_less`.
    """
    task_id, run = began(self), 1
    while True:
        try:
            os.close(os.open(f"{path}/{task_id}-{run}", os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            run += 1
    # A third run, which a slow machine may add, ends as the second does.
    until(lambda: os.path.exists(f"{path}/{task_id}.{min(run, 2)}"), 300)  # noqa: PTH110
    write("SUCCESS", task_id, result=os.getpid())
    return os.getpid()


@shared_task(bind=True)
def noop(self: Any, value: Any) -> Any:
    write("SUCCESS", self.request.id, result=value)
    return value


@shared_task(bind=True)
def end_at(self: Any, moment: float) -> float:
    """End at this moment of the monotonic clock, or at once if it is past."""
    while (left := moment - time.monotonic()) > 0:
        time.sleep(left if left > 0.002 else 0)
    write("SUCCESS", self.request.id, result=moment)
    return moment


@shared_task(bind=True)
def report(self: Any, seconds: float, steps: int) -> int:
    """Report progress all the time."""
    task_id = began(self)
    for step in range(1, steps + 1):
        time.sleep(seconds / steps)
        with counted():
            set_progress(step, steps)
    write("SUCCESS", task_id, result=steps)
    return steps


@shared_task(bind=True)
def report_until(self: Any, path: str, pause: float) -> int:
    """Report progress at this pace until the file exists."""
    task_id, step = began(self), 0
    while not os.path.exists(path):  # noqa: PTH110
        time.sleep(pause)
        step += 1
        with counted():
            set_progress(step)
    write("SUCCESS", task_id, result=step)
    return step


@shared_task(bind=True)
def name_a_state(self: Any, state: str) -> str:
    """Report progress under a name of its own."""
    task_id = began(self)
    for current in (1, 2):
        self.update_state(state=state, meta={"current": current, "total": 2})
    write("SUCCESS", task_id, result=state)
    return state


@shared_task(bind=True, ignore_result=True)
def keep_no_result(self: Any) -> None:
    write("SUCCESS", self.request.id, result=None)


@shared_task(bind=True)
def fail(self: Any) -> None:
    write("FAILURE", self.request.id)
    raise ValueError("no luck")


@shared_task(bind=True, max_retries=None)
def retry(self: Any, attempts: int) -> int:
    if self.request.retries < attempts:
        raise self.retry(exc=ConnectionError("down"), countdown=0)
    write("SUCCESS", self.request.id, result=attempts)
    return attempts


@shared_task(bind=True, autoretry_for=(ConnectionError,), max_retries=10, default_retry_delay=0)
def retry_by_itself(self: Any, attempts: int) -> int:
    if self.request.retries < attempts:
        raise ConnectionError("down")
    write("SUCCESS", self.request.id, result=attempts)
    return attempts


@shared_task(bind=True, soft_time_limit=1)
def exceed_softly(self: Any) -> None:
    try:
        time.sleep(20)
    finally:
        write("FAILURE", self.request.id)


@shared_task(bind=True, time_limit=1)
def exceed_hard(self: Any) -> None:
    write("FAILURE", self.request.id)  # in a second, and cannot write it then
    time.sleep(20)


@shared_task(bind=True)
def leave(self: Any) -> None:
    write("FAILURE", self.request.id)
    raise SystemExit(1)


@shared_task(bind=True)
def vanish(self: Any) -> None:
    write("FAILURE", self.request.id)
    os._exit(1)


@shared_task(bind=True)
def return_what_no_json_can_say(self: Any) -> Any:
    write("FAILURE", self.request.id)  # as Celery calls it
    return object()


@shared_task(bind=True)
def ignore(self: Any) -> None:
    write("REVOKED", self.request.id)  # as the service calls it
    raise Ignore


@shared_task(bind=True, acks_late=True)
def reject(self: Any) -> None:
    write("FAILURE", self.request.id)
    raise Reject("not wanted", requeue=False)


@shared_task(bind=True)
def replace(self: Any, value: Any) -> Any:
    return self.replace(noop.s(value))


@shared_task(bind=True, max_retries=None)
def retry_and_fail(self: Any, attempts: int) -> None:
    if self.request.retries < attempts:
        raise self.retry(exc=ConnectionError("down"), countdown=0)
    write("FAILURE", self.request.id)
    raise ValueError("no luck after all")


@shared_task(bind=True)
def replace_by(self: Any, how: str) -> Any:
    """Replace the task by a canvas; the task that ends under its id shows the outcome."""
    canvas = {
        "task": noop.si("new"),
        "chain": chain(add.si(1, 2), noop.si("new")),
        "group": group(add.si("a", ""), add.si("b", "")),
        "broken chain": chain(fail.si(), noop.si("never")),
        "broken group": group(add.si(1, 2), fail.si()),
    }
    return self.replace(canvas[how])


@shared_task
def add(x: Any, y: Any) -> Any:
    """Do nothing: a part of a canvas, whose id no client knows."""
    return x + y


class _KilledAfterStoring:
    """A result backend that kills the process as soon as the result of a success is stored."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def mark_as_done(self, *args: Any, **kwargs: Any) -> None:
        self._backend.mark_as_done(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)


class _DiesUnannounced(celery.Task):
    """A task whose process dies between the result and the signal."""

    @property
    def backend(self) -> Any:
        return _KilledAfterStoring(self.app.backend)


@shared_task(bind=True, base=_DiesUnannounced)
def die_unannounced(self: Any, value: Any) -> Any:
    write("SUCCESS", began(self), result=value)
    return value
