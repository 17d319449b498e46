"""Tasks that use Celery in ways that few projects do; imported by the field workers."""

from __future__ import annotations

import asyncio
import decimal
import time
from collections.abc import Iterator
from typing import Any

import celery
from celery import chord, shared_task
from celery.exceptions import Ignore, Reject, Retry

from realtime import set_progress, track
from realtime.ownership import owner_from
from tests.sample_tasks import add, echo, total

#: A message with this serializer is not sent: publishing raises, after Celery's signal before it.
UNKNOWN = "no-such-serializer"


class Thing:
    """Only pickle can send it."""

    def __init__(self, value: int) -> None:
        self.value = value


@shared_task
def value_of(thing: Any) -> int:
    return int(thing.value)


@shared_task(bind=True, max_retries=1)
def retry_in_vain(self: Any) -> None:
    """Retry with a message that cannot be published."""
    self.retry(exc=KeyError("the cause"), countdown=0, serializer=UNKNOWN)


@shared_task(bind=True)
def replace_in_vain(self: Any, way: str) -> None:
    broken = add.si(1, 1).set(serializer=UNKNOWN)
    raise self.replace(broken if way == "task" else chord([add.si(1, 1), broken], total.s()))


@shared_task(realtime=False)
def hidden_parent() -> str:
    """Start a child that reports on this task, of which nothing is pushed."""
    return str(report_on_parent.delay().id)


@shared_task(bind=True)
def report_on_parent(self: Any) -> str:
    parent = str(self.request.parent_id)
    self.update_state(task_id=parent, state="PROGRESS", meta={"current": 1, "total": 2})
    return parent


@shared_task(bind=True)
def use_asyncio(self: Any) -> str:
    async def part(number: int) -> str:
        set_progress(number, 2, message="in a coroutine")
        return str((await asyncio.to_thread(add.delay, 1, number)).id)

    async def whole() -> list[str]:
        return await asyncio.gather(part(1), part(2))

    first = asyncio.run(whole())
    return ",".join(first + asyncio.run(whole()))


@shared_task(bind=True)
def odd_meta(self: Any) -> None:
    for meta in (
        None,
        [1, 2],
        "text",
        {"current": "3", "total": "10"},
        {"current": float("nan"), "total": float("inf")},
        {"current": 1e18, "total": 10**30},
        {1: 2, None: 3, "message": "x" * 100_000},
        {"current": True, "total": [1]},
        {"current": 5, "total": 3, "message": "\ud800 \x00 \u2028"},
    ):
        self.update_state(state="PROGRESS", meta=meta)
    set_progress(decimal.Decimal("1.5"), decimal.Decimal(3))  # type: ignore[arg-type]


@shared_task
def nest_tracks() -> int:
    done = 0
    for _ in track([1, 2, 3], message="outer"):
        for _ in track({1, 2}, message="inner"):
            done += 1
        try:
            for _ in track(_async_rows()):  # type: ignore[arg-type]
                pass
        except TypeError:
            done += 1
    for _ in track(_raising()):
        done += 1
        if done > 10:
            break
    return done


async def _async_rows() -> Any:
    yield 1


def _raising() -> Iterator[int]:
    yield 1
    yield 2


class Handlers(celery.Task):  # type: ignore[type-arg]
    """Reports and starts tasks from its handlers."""

    abstract = True

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        set_progress(9, 10, message="on_success")

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        set_progress(9, 10, message="on_failure")
        echo.apply_async(("handler",), task_id=f"{task_id}-handler")

    def after_return(self, *args: Any) -> None:
        set_progress(10, 10, message="after_return")


@shared_task(base=Handlers)
def with_handlers(good: bool) -> str:
    set_progress(1, 10, message="in the task")
    if not good:
        raise ValueError("not good")
    return "good"


@shared_task(bind=True, max_retries=3)
def retry_with_other_arguments(self: Any, number: int) -> int:
    if number < 2:
        raise self.retry(args=(number + 1,), countdown=0)
    return number


@shared_task(autoretry_for=(KeyError,), retry_backoff=0.01, max_retries=2)
def retry_by_itself() -> None:
    raise KeyError("again")


@shared_task(bind=True)
def swallow_retry(self: Any) -> str:
    try:
        self.retry(countdown=0, max_retries=1)
    except Retry:
        if self.request.retries:
            return "second"
        raise ValueError("instead of a retry") from None
    except celery.exceptions.MaxRetriesExceededError:
        pass
    return "second"


@shared_task(bind=True, acks_late=True)
def requeue_once(self: Any) -> str:
    if not self.request.delivery_info["redelivered"]:
        raise Reject("later", requeue=True)
    return "redelivered"


@shared_task(bind=True)
def reject(self: Any) -> None:
    raise Reject(ValueError("no use"), requeue=False)


@shared_task(bind=True)
def ignore(self: Any) -> None:
    raise Ignore


@shared_task(ignore_result=True)
def without_result() -> str:
    set_progress(1, 1)
    return "nobody keeps it"


@shared_task(soft_time_limit=2, time_limit=60)
def meet_limit_while_publishing() -> str:
    """Be in a receiver of the service when the limit strikes, however late that is."""
    strikes: list[int] = []

    def slow() -> str:
        if not strikes:
            strikes.append(1)
            time.sleep(40)  # the limit ends it
        return "slow"

    try:
        with owner_from(slow):
            add.delay(1, 1)
        while True:
            time.sleep(0.01)
    except celery.exceptions.SoftTimeLimitExceeded:
        return "the limit"
