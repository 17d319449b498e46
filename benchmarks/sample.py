"""The sample: a long task, of which every way publishes the same statuses."""

from __future__ import annotations

import itertools
import uuid
from typing import Any, Self

from realtime.core.change import Change
from realtime.core.jsontext import dumps, timestamp
from realtime.core.status import FIELDS
from realtime.store import get_store
from realtime.worker.publisher import publisher

_TOTAL = 1_000_000
_NAME = "tasks.imports.import_csv"
_numbers = itertools.count(1)


def next_message() -> str:
    """Return a new progress message, by which clients recognise its event."""
    return f"row {next(_numbers):09d} read"


def progress_of(message: str) -> dict[str, Any]:
    """Return the keys of a status that this progress changes."""
    progress = {"current": int(message[4:13]), "total": _TOTAL, "message": message}
    return {"progress": progress, "updated_at": timestamp()}


def status_of(task_id: str, message: str) -> dict[str, Any]:
    """Return a complete status, for the ways that publish one."""
    now = timestamp()
    known = {"task_id": task_id, "name": _NAME, "root_id": task_id, "run": 1, "attempt": 0}
    known |= {"state": "PROGRESS", "version": int(message[4:13]), "published_at": now}
    known |= {"started_at": now, "truncated": False, "cancelling": False}
    return dict.fromkeys(FIELDS) | known | progress_of(message)


class Sample:
    """The sample as this service publishes it: by the functions that receivers and progress use."""

    def __init__(self, owner: str) -> None:
        self.task_id = str(uuid.uuid4())
        self.owner = owner
        published = {"name": _NAME, "root_id": self.task_id, "published_at": timestamp()}
        publisher.publish(self._change("PENDING", published))
        publisher.publish(self._change("STARTED", {"started_at": timestamp()}, begins=True))
        self.version = 2

    @classmethod
    def known(cls, task_id: str, owner: str) -> Self:
        """Return the sample for a task that another process has begun."""
        sample = cls.__new__(cls)
        sample.task_id, sample.owner = task_id, owner
        status = get_store().status(task_id)
        assert status is not None
        sample.version = status.version
        return sample

    def publish(self, message: str) -> None:
        """Publish progress: the store records it, and appends it to two topics."""
        self.version += 1
        publisher.send(self._change("PROGRESS", progress_of(message)))

    def check(self) -> None:
        """Raise unless the store accepted every change: a stale one costs less."""
        publisher.flush(10)
        status = get_store().status(self.task_id)
        if status is None or status.version != self.version:
            raise RuntimeError(f"{self.version} changes were published, but the store has {status}")

    def _change(self, state: str, fields: dict[str, Any], *, begins: bool = False) -> Change:
        return Change(
            task_id=self.task_id,
            state=state,
            run_id="" if state == "PENDING" else "a-run-id",
            begins=begins,
            owner=self.owner,
            fields={key: dumps(value) for key, value in fields.items()},
        )
