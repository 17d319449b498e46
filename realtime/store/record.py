"""What the store in memory keeps: a record of each task and a log of each topic."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from realtime.conf import conf
from realtime.core.change import Change, Dependent
from realtime.core.decide import Accepted
from realtime.core.event import Event
from realtime.core.position import Head, Position, next_digest
from realtime.core.states import CUSTOM_RANK, RECEIVED, STARTED, rank
from realtime.core.status import compose


@dataclass(slots=True)
class Record:
    """What is kept of one task."""

    kept: Accepted
    owner: str | None = None
    #: When the task came to another owner.
    owner_since: float = 0.0
    redelivery_timeout: int = 0
    dependents: tuple[Dependent, ...] = ()
    #: When the task began to run, or to wait, or stalled.
    since: float = 0.0
    life: str = ""
    version: int = 0
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether the task was not forgotten."""
        return bool(self.kept.state)

    @property
    def runs(self) -> bool:
        """Whether a worker runs the task, or has received it and is known."""
        kept = self.kept
        received = kept.rank == rank(RECEIVED) and bool(kept.worker)
        return received or rank(STARTED) <= kept.rank <= CUSTOM_RANK

    @property
    def text(self) -> str:
        """The status's JSON."""
        return compose(self.texts)

    @property
    def entry(self) -> tuple[str, int]:
        """What a topic compares before it applies the status."""
        return self.life, self.version

    def keep(self, kept: Accepted, change: Change) -> None:
        """Keep an accepted change, but for the owner, the life and the time."""
        self.kept = kept
        self.version += 1
        if change.worker:
            self.redelivery_timeout = change.redelivery_timeout
        if change.dependents:
            self.dependents = change.dependents
        self.texts |= change.fields
        for key, number in (
            ("version", self.version),
            ("run", kept.run),
            ("attempt", kept.attempt),
        ):
            self.texts[key] = str(number)
        self.texts["state"] = f'"{kept.state}"'


@dataclass(slots=True)
class Log:
    """What is kept of one topic."""

    epoch: str = field(default_factory=lambda: new_name())
    offset: int = 0
    digest: int = 0
    texts: deque[str] = field(default_factory=lambda: deque(maxlen=conf().MAX_HISTORY_EVENTS))
    #: The topic's tasks and the offsets at which they came, oldest first.
    tasks: dict[str, int] = field(default_factory=dict)
    #: Life and version of the status that each task has here.
    entries: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def position(self) -> Position:
        """The newest event's."""
        return Position(self.epoch, self.offset)

    @property
    def head(self) -> Head:
        """The newest position, with its digest."""
        return Head(self.position, self.digest)

    def has(self, task_id: str, record: Record) -> bool:
        """Return whether the status of a record, or a later one of its life, was applied."""
        life, version = self.entries.get(task_id, ("", 0))
        return life == record.life and version >= record.version

    def is_of_another_life(self, task_id: str, record: Record) -> bool:
        """Return whether what the topic has of a task is of another life than the record."""
        entry = self.entries.get(task_id)
        return entry is not None and entry[0] != record.life

    def append(self, topic: str, task_id: str, record: Record) -> Event:
        """Append a record's status; list its task, and on top if it is new or of another life."""
        if self.is_of_another_life(task_id, record):
            self.tasks.pop(task_id, None)
        text = record.text
        self.offset += 1
        self.digest = next_digest(self.digest, text)
        self.texts.append(text)
        self.tasks.setdefault(task_id, self.offset)
        self.entries[task_id] = record.entry
        while len(self.tasks) > conf().MAX_LIST_TASKS:
            oldest = next(iter(self.tasks))
            del self.tasks[oldest], self.entries[oldest]
        return Event(topic, self.position, task_id, record.kept.state, text)

    def missed(self, since: Position | None) -> list[str] | None:
        """Return the events after a position; None if the log does not have all of them."""
        if since is None or since.epoch != self.epoch:
            return None
        count = self.offset - since.offset
        if not 0 <= count <= len(self.texts):
            return None
        return list(self.texts)[len(self.texts) - count :]

    def remove_tasks(self, task_ids: Sequence[str]) -> None:
        """Remove tasks; the topic's subscribers read it again."""
        for task_id in task_ids:
            self.tasks.pop(task_id, None)
            self.entries.pop(task_id, None)
        self.restart()

    def restart(self) -> None:
        """Begin a new epoch, so that the topic's subscribers read it again."""
        self.epoch = new_name()
        self.texts.clear()


def new_name() -> str:
    """Return a name that no other epoch of a topic has, and no other life of a task."""
    return secrets.token_urlsafe(6)
