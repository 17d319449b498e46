"""Tasks that end in every way that a task can end. The tests' workers import them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import chain, group, shared_task
from celery.exceptions import Ignore, Reject

from realtime import set_progress, track
from tests.until import until


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def echo(value: Any) -> Any:
    return value


@shared_task(ignore_result=True)
def forget(value: Any) -> Any:
    return value


@shared_task
def fail(message: str = "no luck") -> None:
    raise ValueError(message)


@shared_task
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@shared_task
def hold(path: str) -> str:
    """Run until the file is there."""
    for _ in range(3000):
        if Path(path).exists():
            return "released"
        time.sleep(0.01)
    raise TimeoutError("nobody released it")


@shared_task
def hold_and_fail(path: str) -> None:
    raise ValueError(hold(path))


@shared_task
def count(rows: int) -> int:
    return sum(1 for _ in track(range(rows), message="counting"))


@shared_task
def count_and_fail(rows: int) -> None:
    for row in range(1, rows):
        set_progress(row, rows)
    raise ValueError("almost")


@shared_task(bind=True)
def report_the_old_way(self: Any) -> str:
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 3, "status": "one"})
    self.update_state(state="COMPRESSING", meta={"current": 2, "total": 3})
    self.update_state(state="ODD", meta="no mapping")
    return "done"


@shared_task(bind=True)
def fail_the_old_way(self: Any) -> None:
    self.update_state(state="FAILURE", meta={"exc_type": "Refused", "exc_message": "not today"})
    raise Ignore


@shared_task(bind=True, max_retries=10)
def retry_until(self: Any, attempts: int, countdown: float = 0) -> int:
    if self.request.retries < attempts:
        raise self.retry(exc=ConnectionError("down"), countdown=countdown)
    return int(self.request.retries)


@shared_task(bind=True, autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0)
def retry_by_itself(self: Any, attempts: int) -> int:
    if self.request.retries < attempts:
        raise ConnectionError("down again")
    return int(self.request.retries)


@shared_task(soft_time_limit=1)
def exceed_softly() -> None:
    time.sleep(20)


@shared_task(time_limit=1)
def exceed_hard() -> None:
    time.sleep(20)


@shared_task
def leave() -> None:
    raise SystemExit(1)


@shared_task
def vanish() -> None:
    os._exit(1)


@shared_task
def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(bind=True, acks_late=True, reject_on_worker_lost=True)
def kill_itself_once(self: Any, path: str) -> str:
    marker = Path(path)
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second time"


@shared_task
def ignore() -> None:
    raise Ignore


@shared_task(acks_late=True)
def reject() -> None:
    raise Reject("not wanted", requeue=False)


@shared_task(bind=True)
def replace(self: Any, x: int, y: int) -> Any:
    return self.replace(add.s(x, y))


@shared_task
def start_another() -> str:
    return str(add.delay(1, 2).id)


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task
def secret(password: str) -> None:
    hidden = password[::-1]
    raise RuntimeError(f"could not sign in ({len(hidden)} characters)")


@shared_task
def return_an_object() -> object:
    return object()


@shared_task(bind=True)
def replace_by_chain(self: Any, x: int, y: int) -> Any:
    return self.replace(chain(add.s(x, y), add.s(1)))


@shared_task(bind=True)
def replace_by_group(self: Any, x: int, y: int) -> Any:
    return self.replace(group(echo.s(x), echo.s(y)))


@shared_task(soft_time_limit=0.2)
def pass_softly() -> None:
    time.sleep(0.5)


@shared_task(time_limit=0.2)
def pass_hard() -> None:
    time.sleep(0.5)


_met: set[int] = set()


@shared_task
def meet(size: int, number: int) -> int:
    """Report progress while all the others do, in one process."""
    set_progress(0, 3, message=f"task {number}")
    _met.add(number)
    if not until(lambda: len(_met) == size):
        raise TimeoutError("the others did not begin")
    for step in range(1, 4):
        set_progress(step, 3, message=f"task {number}")
        time.sleep(0.01)
    return number
