"""What the store returns about topics and tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from realtime.core.change import Dependent
from realtime.core.event import Event
from realtime.core.position import Head, Position
from realtime.core.status import Status

#: Bytes of statuses in a page, at most; the first status of a page may be longer.
PAGE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What a topic has at ``position``.

    If ``recovered``, the texts are all events since the requested position, in order; else they are
    the current statuses of the topic's tasks, newest first.
    """

    position: Position
    recovered: bool
    texts: Sequence[str]
    #: The digest of all events up to ``position``.
    digest: int
    #: The task's owner, "" for nobody; None for a topic of many tasks, for an unknown task, and for
    #: one whose owner no publication has named.
    owner: str | None = None
    #: For a topic of many tasks: their number, and what continues the page; None at its end.
    total: int | None = None
    next: str | None = None
    #: The owner to whom a visitor's tasks were moved; the visitor's topic stays empty.
    moved_to: str | None = None

    @property
    def head(self) -> Head:
        """The position with its digest."""
        return Head(self.position, self.digest)

    def events(self, topic: str) -> Iterator[Event]:
        """Yield the recovered events, oldest first."""
        if not self.recovered:
            return
        first = self.position.offset - len(self.texts) + 1
        for offset, text in enumerate(self.texts, first):
            status = Status.from_json(text)
            position = Position(self.position.epoch, offset)
            yield Event(topic, position, status.task_id, status.state, text)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a topic's tasks, newest first."""

    texts: Sequence[str]
    total: int
    #: What continues it, for :meth:`Store.page`; None at the end.
    next: str | None


class Ownership(NamedTuple):
    """A task's owner, "" for nobody."""

    owner: str
    #: When the task came to this owner from another one, in seconds since 1970 by the store's
    #: clock; else 0. Tokens that were made earlier are void for the task.
    since: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that neither runs nor has ended, as far as the store knows."""

    task_id: str
    state: str
    publication: str
    #: Whether the id was published before: then a stored ending may be an earlier one's.
    republished: bool
    published_at: str | None


@dataclass(frozen=True, slots=True)
class Running:
    """A task that runs, or that a worker with a lease has received."""

    task_id: str
    state: str
    run: int
    run_id: str
    #: Whether its worker's lease is valid, or the worker is not known.
    alive: bool
    #: Seconds since it began to run, or since it stalled.
    seconds: float
    #: Seconds for which it may be stalled and still be delivered again.
    redelivery_timeout: int
    publication: str = ""
    #: As in :class:`Waiting`.
    republished: bool = False
    published_at: str | None = None
    dependents: tuple[Dependent, ...] = ()
