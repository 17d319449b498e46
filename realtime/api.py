"""The public functions for views and scripts: read a status, list tasks, wait for an ending."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from django.http import HttpRequest

from realtime.core.event import Event
from realtime.core.status import Status
from realtime.core.topics import TASK, USER, Topic
from realtime.exceptions import TaskNotFound, WaitTimeout
from realtime.ownership import owner_of_request
from realtime.store import get_store
from realtime.store.reading import Reading

from .web.access.tokens import make_token
from .web.forgetting import forget
from .web.hub import Subscription, get_hub
from .web.recall import arecall, recall

__all__ = ["forget", "make_token", "own_task", "status", "tasks_of", "wait"]

#: Where a request keeps the tasks that were read for it.
_READ: Final = "_realtime_tasks"
#: In place of a task id: the store has failed in this request.
_STORE_IS_AWAY: Final = ""


def status(task_id: str) -> Status | None:
    """Return a task's status; None for an id that is not known.

    If the record has expired, the ending comes from the result backend, where one is stored.
    """
    found = get_store().status(task_id)
    return get_store().status(task_id) if found is None and recall(task_id) else found


def tasks_of(request: HttpRequest) -> list[Status]:
    """Return the tasks that a request's user or visitor started, newest first, at most 1,000."""
    owner = owner_of_request(request)
    found = get_store().statuses(Topic(USER, owner)) if owner else []
    _read_tasks(request).update({status.task_id: status for status in found})
    return found


def own_task(request: HttpRequest, task_id: str) -> Status | None:
    """Return a task if the request's user or visitor started it. Each is read once per request.

    Raises what the store raises, once per request; after that the result is None.
    """
    owner, known = owner_of_request(request), _read_tasks(request)
    if not owner or _STORE_IS_AWAY in known:
        return None
    if task_id not in known:
        known[_STORE_IS_AWAY] = None  # until the store has answered
        known[task_id] = get_store().status(task_id, owner=owner)
        del known[_STORE_IS_AWAY]
    return known[task_id]


def _read_tasks(request: HttpRequest) -> dict[str, Status | None]:
    """Return the tasks that were read for a request, by task id."""
    known: dict[str, Status | None] = request.__dict__.setdefault(_READ, {})
    return known


async def wait(task_id: str, *, timeout: float) -> Status:  # noqa: ASYNC109 - an answer, not a cancel
    """Wait until a task has ended, at most ``timeout`` seconds, and return its status.

    The ending is pushed; nothing is polled. A failure does not raise: check ``status.successful``
    and ``status.error``. Synchronous code calls
    ``async_to_sync(realtime.wait)(task_id, timeout=5)``.

    Raises TaskNotFound for an id that nobody published. Raises WaitTimeout, which has the newest
    status, when the task has not ended in time.
    """
    latest: list[Status] = []
    ended = asyncio.Event()

    def receive(texts: Sequence[str]) -> None:
        if texts:
            latest[:] = [Status.from_json(texts[-1])]
            if latest[0].terminal:
                ended.set()

    def on_event(event: Event) -> None:
        receive([event.text])

    def on_reading(reading: Reading) -> None:
        receive(reading.texts)

    topic, hub = Topic(TASK, task_id), get_hub()
    subscription = Subscription(on_event, on_reading)
    try:
        async with asyncio.timeout(timeout):
            reading, begin = await hub.subscribe(topic, subscription)
            receive(reading.texts)
            begin()
            if not latest and not await arecall(task_id):
                raise TaskNotFound(task_id)
            await ended.wait()
    except TimeoutError:
        raise WaitTimeout(task_id, timeout, latest[0] if latest else None) from None
    finally:
        await hub.unsubscribe(topic, subscription)
    return latest[0]
