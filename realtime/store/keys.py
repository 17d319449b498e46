"""The keys that the store has in Redis, and a script's arguments about a change or a topic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from realtime.core.change import Change
from realtime.core.frames import LONGEST_PAGE
from realtime.core.jsontext import dumps
from realtime.core.position import Head, Position
from realtime.core.states import rank
from realtime.core.topics import TASK, USER, VISITOR, Topic
from realtime.groups.layer import group_of

from .connection import Call
from .scripts import FIELD_NUMBERS, LIST_KEYS


class Keys:
    """Names keys. The name of a topic or task is last in a key, since it may be any text."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.running, self.waiting = f"{prefix}running", f"{prefix}waiting"
        self.leader, self.schema = f"{prefix}leader", f"{prefix}schema"
        #: The last key of each script that sets heads.
        self.recent = f"{prefix}recent"
        # Most changes have the task and the owner of an earlier change.
        self._task = lru_cache(maxsize=1024)(self._make_task)
        self._owner = lru_cache(maxsize=1024)(self._make_owner)

    def record(self, task_id: str) -> str:
        """Return the key of a task's record."""
        return f"{self._prefix}task:{task_id}"

    def lease(self, worker: str) -> str:
        """Return the key of a worker's lease."""
        return f"{self._prefix}lease:{worker}"

    def moved(self, visitor: str) -> str:
        """Return the key of the owner to whom a visitor's tasks were moved."""
        return f"{self._prefix}moved:{visitor}"

    def head(self, topic: object) -> str:
        """Return the key of a topic's head."""
        return f"{self._prefix}head:{topic}"

    def of_topic(self, topic: Topic) -> list[str]:
        """Return a topic's keys: as ``lists.lua`` has them, or head, log and record of a task."""
        if topic.has_list:
            return [f"{self._prefix}{kind}:{topic}" for kind in LIST_KEYS]
        return [self.head(topic), f"{self._prefix}log:{topic}", self.record(topic.ident)]

    def accept(self, change: Change, others: Sequence[str]) -> Call:
        """Return the call of accept.lua; ``others`` are more owners than the change's."""
        owner = change.owner
        if owner in others:
            others = [other for other in others if other != owner]
        task_keys, task_group = self._task(change.task_id)
        keys = list(task_keys)
        args: list[Any] = [
            change.task_id,
            change.state,
            rank(change.state),
            "" if change.attempt is None else change.attempt,
            change.run_id,
            "1" if change.begins else "",
            "" if change.counter is None else change.counter,
            "1" if change.stored else "",
            change.publication,
            change.sender,
            owner,
            change.worker,
            random_name(),
            task_group,
            "",
            len(others),
        ]
        if owner:
            owner_keys, args[14] = self._owner(owner)
            keys += owner_keys
        for other in others:
            other_keys, other_group = self._owner(other)
            keys += other_keys
            args += (other, other_group)
        if owner.startswith(VISITOR):
            keys.append(self.moved(owner))
        keys.append(self.recent)
        for field, text in change.fields.items():
            args += (FIELD_NUMBERS.get(field, field), text)
        if change.worker:
            args += ("_redelivery_timeout", change.redelivery_timeout)
        if change.dependents:
            args += ("_dependents", dumps(change.dependents))
        return keys, args

    def read(
        self,
        topic: Topic,
        since: Position | Head | None = None,
        *,
        epoch: str = "",
        limit: int,
        after: str = "",
        task_ids: Sequence[str] = (),
    ) -> Call:
        """Return the call of read.lua, which may read the records of ``task_ids``."""
        keys = self.of_topic(topic)
        visitor = topic.ident if topic.has_list and topic.ident.startswith(VISITOR) else ""
        if visitor:
            keys.append(self.moved(visitor))
        keys += map(self.record, task_ids)
        keys.append(self.recent)
        digest: int | str = ""
        if isinstance(since, Head):
            since, digest = since
        return keys, [
            "1" if topic.has_list else "",
            topic.ident if topic.has_list else "",
            since.epoch if since else "",
            since.offset if since else 0,
            epoch,
            digest,
            min(max(limit, 1), LONGEST_PAGE),
            after,
            "1" if visitor else "",
            *task_ids,
        ]

    def _make_task(self, task_id: str) -> tuple[Sequence[str], str]:
        topic = Topic(TASK, task_id)
        head, log, record = self.of_topic(topic)
        return (record, self.running, self.waiting, head, log), group_of(str(topic))

    def _make_owner(self, owner: str) -> tuple[Sequence[str], str]:
        topic = Topic(USER, owner)
        return self.of_topic(topic), group_of(str(topic))


def random_name() -> str:
    """Return a name that no other epoch of a topic has, and no other life of a task."""
    return os.urandom(6).hex()  # not from `random`, which a task may have seeded
