"""What became of a task: its status, its history, and waiting for either."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from asgiref.sync import async_to_sync

import realtime
from realtime.conf import conf
from realtime.core.position import Position
from realtime.core.status import Status
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.web.hub import Subscription, get_hub

#: Seconds until a test gives up waiting for a task.
SECONDS = 60


def wait(task_id: Any) -> Status:
    """Wait for a task's ending and return it."""
    return async_to_sync(realtime.wait)(str(task_id), timeout=SECONDS)


@async_to_sync
async def history(task_id: Any) -> list[Status]:
    """Return every status of a task so far, oldest first."""
    store = get_store()
    topic = Topic("task", str(task_id))
    epoch = (await store.read(topic)).position.epoch
    reading = await store.read(topic, Position(epoch, 0))
    assert reading.recovered
    await store.close()
    return [Status.from_json(text) for text in reading.texts]


def running_status(**fields: Any) -> Status:
    """Make the status of a task that runs, with other fields where they are given."""
    given = {
        "state": "STARTED",
        "version": 3,
        "run": 1,
        "attempt": 0,
        "truncated": False,
        "cancelling": False,
    }
    rest: dict[str, Any] = dict.fromkeys(Status.__dataclass_fields__)
    return Status(**(rest | given | fields))


def ended(task_id: Any) -> list[Status]:
    """Wait for the ending and return every status; check the rules for every task."""
    wait(task_id)
    statuses = history(task_id)
    assert [status.version for status in statuses] == list(range(1, len(statuses) + 1))
    for before, after in pairwise(statuses):
        assert (after.run, after.attempt) >= (before.run, before.attempt)
    return statuses


def states(statuses: Iterable[Status]) -> list[str]:
    """Return the states of these statuses."""
    return [status.state for status in statuses]


def is_throttled(statuses: list[Status]) -> bool:
    """Return whether a task's progress was published no more often than its rate allows."""
    last = statuses[-1]
    assert last.started_at is not None
    assert last.finished_at is not None
    started, finished = map(datetime.datetime.fromisoformat, (last.started_at, last.finished_at))
    # At once, then at the rate, and the last one with the ending.
    most = 2 + conf().PROGRESS_RATE * (finished - started).total_seconds()
    return states(statuses).count("PROGRESS") <= most


def only_after_pending(found: list[str]) -> list[str]:
    """Return the states without PENDING, which a quick worker makes stale before it is stored."""
    return found[1:] if found[0] == "PENDING" else found


@async_to_sync
async def reached(task_id: str, state: str) -> None:
    """Return when a task has been in this state. Raises TimeoutError."""
    found = asyncio.Event()

    def check(texts: Iterable[str]) -> None:
        if any(Status.from_json(text).state == state for text in texts):
            found.set()

    topic, hub = Topic("task", task_id), get_hub()
    subscription = Subscription(
        lambda event: check([event.text]), lambda reading: check(reading.texts)
    )
    reading, begin = await hub.subscribe(topic, subscription)
    check(reading.texts)
    begin()
    async with asyncio.timeout(SECONDS):
        await found.wait()
    await hub.unsubscribe(topic, subscription)
    await hub.close()
