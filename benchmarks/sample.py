"""A task that is far from its end. Both ways tell the same of it."""

from __future__ import annotations

import uuid
from typing import Any

from realtime.broker import get_broker
from realtime.core.acceptance import Change
from realtime.core.jsontext import dumps, timestamp

_TOTAL = 1_000_000


class Sample:
    """A task that has started, and then only makes progress."""

    def __init__(self) -> None:
        self.task_id = str(uuid.uuid4())
        self.version = 0
        published = {"name": "tasks.imports.import_csv", "root_id": self.task_id}
        self._accept("PENDING", published | {"published_at": timestamp()})
        self._accept("STARTED", {"started_at": timestamp()}, begins=True)
        status = get_broker().status(self.task_id)
        assert status is not None
        self._status = status.as_dict()

    def accept(self) -> None:
        """Tell the next progress our way: kept, logged and published to two topics."""
        self._accept("PROGRESS", self._progress())

    def next_status(self) -> dict[str, Any]:
        """Return the next progress as a status, to be told in another way."""
        self.version += 1
        new = {"state": "PROGRESS", "version": self.version, **self._progress()}
        return self._status | new

    def _progress(self) -> dict[str, Any]:
        progress = {"current": self.version, "total": _TOTAL, "message": "reading rows"}
        return {"progress": progress, "updated_at": timestamp()}

    def _accept(self, state: str, fields: dict[str, Any], *, begins: bool = False) -> None:
        change = Change(
            task_id=self.task_id,
            state=state,
            token="" if state == "PENDING" else "a-run-token",
            begins=begins,
            owner="1",
            fields={key: dumps(value) for key, value in fields.items()},
        )
        version = get_broker().accept(change)
        # A stale change costs less, and would make us look better than we are.
        if version != self.version + 1:
            raise RuntimeError(f"version {version} came after {self.version}")
        self.version = version
