"""The contract of a store: it keeps the truth about each task, and publishes a fast copy.

Accepting a change, keeping it and publishing it are one atomic step, so the order of events on
every topic is the order of versions. Each method exists once, on the side that needs it: Celery's
processes and ordinary views call the synchronous ones, the web process's hub the others.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from realtime.core.change import Change, Dependent
from realtime.core.event import Event
from realtime.core.frames import LONGEST_PAGE, PAGE
from realtime.core.position import Head, Position
from realtime.core.status import Status
from realtime.core.topics import Topic

__all__ = ["LONGEST_PAGE", "PAGE"]

#: Bytes of statuses in a page, but for a first one.
PAGE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What a topic holds at ``position``.

    With ``recovered`` the texts are the events since the asked position, every one of them, in
    order; without, they are the current statuses of the topic's tasks, newest first.
    """

    position: Position
    recovered: bool
    texts: Sequence[str]
    #: Of the history that led to ``position``.
    digest: int
    #: Whose task it is now ("" for nobody's); None for a topic of many tasks, for a task that is
    #: not known, and where no publication has said whose it is.
    owner: str | None = None
    #: For a topic of many tasks: how many it holds, and what continues the page; None at its end.
    total: int | None = None
    next: str | None = None
    #: The owner that a visitor's topic was moved to; the topic stays empty from then on.
    moved_to: str | None = None

    @property
    def head(self) -> Head:
        return Head(self.position, self.digest)

    def events(self, topic: str) -> Iterator[Event]:
        """Yield what was recovered as events, oldest first."""
        if not self.recovered:
            return
        first = self.position.offset - len(self.texts) + 1
        for offset, text in enumerate(self.texts, first):
            status = Status.from_json(text)
            position = Position(self.position.epoch, offset)
            yield Event(topic, position, status.task_id, status.state, text)


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a topic's tasks, newest first."""

    texts: Sequence[str]
    total: int
    #: What continues it, for :meth:`Store.page`; None at the end.
    next: str | None


class Ownership(NamedTuple):
    """Whose task it is ("" for nobody's)."""

    owner: str
    #: When a later publication made it theirs, in seconds since 1970 by the store's clock; 0 for a
    #: task that never had another owner. A token made before then is void for it.
    since: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that neither runs nor has ended, as far as anybody knows."""

    task_id: str
    state: str
    publication: str
    #: Whether the id was published before, so that a stored ending may be an earlier one's.
    again: bool
    published_at: str | None


@dataclass(frozen=True, slots=True)
class Running:
    """A task that runs, or that a worker holds (RECEIVED, and names its lease)."""

    task_id: str
    state: str
    run: int
    #: The run's own, for words about this very run.
    run_id: str
    #: Whether its worker's lease stands; also true where nobody said which worker it is.
    alive: bool
    #: Seconds since it began to run, or since it stalled.
    seconds: float
    #: Seconds that it may be stalled before nothing will run it again.
    redelivery_timeout: int
    publication: str = ""
    #: As in :class:`Waiting`.
    again: bool = False
    published_at: str | None = None
    dependents: tuple[Dependent, ...] = ()


class Store(abc.ABC):
    """Keeps statuses and logs, and publishes events to the Channels groups."""

    def accept(self, change: Change) -> int:
        """Keep and publish a change if it is news; return its version, or 0 if it is stale.

        Patient: for whoever has seconds, as a task has not.
        """
        return self.send(change)()

    @abc.abstractmethod
    def send(self, change: Change) -> Callable[[], int]:
        """Send a change to be accepted; return what waits for that, and returns what it returns.

        Impatient: what a task reports itself may take PUBLISH_TIMEOUT and no longer.

        That is to be called once, and by the same process: only then is it certain that what is
        sent later comes later.
        """

    def send_all(self, changes: Sequence[Change]) -> Callable[[], Sequence[int]]:
        """Do the same with many changes, in their order; what waits returns a version for each."""
        answers = [self.send(change) for change in changes]
        return lambda: [answer() for answer in answers]

    @abc.abstractmethod
    def status(self, task_id: str, *, owner: str | None = None) -> Status | None:
        """Return a task's status, or None for an id that nobody published.

        With an owner also None for a task that is not theirs.
        """

    @abc.abstractmethod
    def statuses(self, topic: Topic) -> list[Status]:
        """Return the statuses of a topic's tasks, newest first."""

    # Looking after what has not ended.

    @abc.abstractmethod
    def renew_lease(self, worker: str, seconds: float) -> None:
        """Note that a worker is alive, for so long."""

    @abc.abstractmethod
    def end_lease(self, worker: str) -> None:
        """Note that a worker has ended as it should."""

    @abc.abstractmethod
    def elect(self, candidate: str, seconds: float) -> bool:
        """Return whether the candidate leads all the processes of this store, for so long."""

    @abc.abstractmethod
    async def has_leader(self) -> bool:
        """Return whether some process leads."""

    @abc.abstractmethod
    def running(self, *, received: bool = True) -> list[Running]:
        """Return every task that runs, as far as anybody knows.

        With ``held`` false, leave out those that a worker has received and not begun, as long as
        its lease stands: there may be 100,000 that wait for their ETA.
        """

    def running_ids(self) -> list[str]:
        """Return their ids, without reading records."""
        raise NotImplementedError

    @abc.abstractmethod
    def waiting(self, limit: int) -> list[Waiting]:
        """Return tasks that neither run nor have ended, those not returned for longest first."""

    @abc.abstractmethod
    def waiting_ids(self) -> list[str]:
        """Return the ids of all tasks that neither run nor have ended, without reading records.

        There may be 100,000 of them, and the reconciler needs them at every look. Some of their
        records may have expired: :meth:`waiting` removes those.
        """

    @abc.abstractmethod
    def unfinished(self, task_ids: Sequence[str]) -> list[Waiting]:
        """Return those of the tasks that have not ended, whether they wait or run."""

    # Moving and removing what is kept.

    @abc.abstractmethod
    def withdraw(self, task_id: str, publication: str) -> bool:
        """Remove a task of which nothing but its publishing is known; return whether it was."""

    @abc.abstractmethod
    def forget(self, task_id: str) -> bool:
        """Remove all that is kept of a task, and what its publication still sends."""

    @abc.abstractmethod
    def forget_owner(self, owner: str) -> int:
        """Do the same with all tasks of an owner; return how many there were."""

    @abc.abstractmethod
    def adopt(self, visitor: str, owner: str) -> int:
        """Make a visitor's tasks the owner's, and those that are still to come.

        Return how many were moved, at most 100 a call: call it until there are none. Calling it
        again, after a failure too, is harmless. Nothing is moved of a visitor who became another
        owner before: what is still to come is that owner's.
        """

    # For the web process.

    @abc.abstractmethod
    async def ownership(self, task_id: str) -> Ownership | None:
        """Return whose task it is, or None for an id that nobody published."""

    @abc.abstractmethod
    async def moved_to(self, visitor: str) -> str | None:
        """Return the owner that a visitor's tasks were moved to, if they were."""

    @abc.abstractmethod
    async def page(self, topic: Topic, after: str, limit: int) -> Page:
        """Read a page of a topic of many tasks, from where ``Reading.next`` or ``Page.next`` says.

        Raises ValueError for an ``after`` that is no such text.
        """

    @abc.abstractmethod
    async def read(
        self, topic: Topic, since: Position | None = None, *, limit: int = PAGE
    ) -> Reading:
        """Read a topic: the events since a position if all of them are kept, else its statuses.

        Of a topic of many tasks at most ``limit`` statuses, and at most ``PAGE_BYTES``.

        A topic without events is given its epoch here, so that its first event follows on.
        The position is anybody's word, and changes nothing.
        """

    @abc.abstractmethod
    async def read_since(self, topic: Topic, head: Head) -> Reading:
        """Read a topic from a head on that this store returned before.

        If it cannot have come from there, it went back, and counts again what it had counted. Then
        the topic goes on in a new epoch, so that nobody takes the one for the other.
        """

    @abc.abstractmethod
    async def heads(self, topics: Sequence[str]) -> list[Head | None]:
        """Return where each topic stands; None where nothing is kept of it."""

    @abc.abstractmethod
    async def expire(self, topics: Sequence[str]) -> None:
        """Take what has expired off these topics' lists; what loses a task begins a new epoch."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close what the running event loop has opened."""

    @abc.abstractmethod
    def disconnect(self) -> None:
        """Close the connections that no thread of this process uses; calls open them again."""
