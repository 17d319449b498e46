"""The contract of a broker: it keeps the truth about each task, and publishes a fast copy.

Accepting a change, keeping it and publishing it are one atomic step, so the order of events on
every topic is the order of versions. Each method exists once, on the side that needs it: Celery's
processes and ordinary views call the synchronous ones, the web process's hub the others.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from realtime.core.acceptance import Change
from realtime.core.position import Place, Position
from realtime.core.status import Status
from realtime.core.topics import Topic


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One status as it was accepted, with its place in a topic. ``text`` is the status's JSON.

    Compared by identity, so that what is made of it once is cheaply found again for each reader.
    """

    topic: str
    position: Position
    task_id: str
    state: str
    text: str


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
    mark: int

    @property
    def place(self) -> Place:
        return Place(self.position, self.mark)

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
class Running:
    """A task that runs, as far as anybody knows."""

    task_id: str
    state: str
    run: int
    #: The run's own, for words about this very run.
    token: str
    #: Whether its worker's lease stands; also true where nobody said which worker it is.
    alive: bool
    #: Seconds since it began to run, or since it stalled.
    seconds: float
    #: Seconds that it may be stalled before nothing will run it again.
    patience: int


class Broker(abc.ABC):
    """Keeps statuses and logs, and publishes events to the Channels groups."""

    def accept(self, change: Change) -> int:
        """Keep and publish a change if it is news; return its version, or 0 if it is stale."""
        return self.send(change)()

    @abc.abstractmethod
    def send(self, change: Change) -> Callable[[], int]:
        """Send a change to be accepted; return what waits for that, and returns what it returns.

        That is to be called once, and by the same process: only then is it certain that what is
        sent later comes later.
        """

    @abc.abstractmethod
    def status(self, task_id: str) -> Status | None:
        """Return a task's status, or None for an id that nobody published."""

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
    def lead(self, candidate: str, seconds: float) -> bool:
        """Return whether the candidate leads all the processes of this store, for so long."""

    @abc.abstractmethod
    def running(self) -> list[Running]:
        """Return every task that runs, as far as anybody knows."""

    @abc.abstractmethod
    def waiting(self, limit: int) -> list[str]:
        """Return tasks that neither run nor have ended, those not returned for longest first."""

    # For the web process.

    @abc.abstractmethod
    async def owner(self, task_id: str) -> str | None:
        """Return whose task it is ("" for nobody's), or None for an id that nobody published."""

    @abc.abstractmethod
    async def read(self, topic: Topic, since: Position | None = None) -> Reading:
        """Read a topic: the events since a position if all of them are kept, else its statuses.

        A topic without events is given its epoch here, so that its first event follows on.
        The position is anybody's word, and changes nothing.
        """

    @abc.abstractmethod
    async def follow(self, topic: Topic, place: Place) -> Reading:
        """Read a topic from a place on at which this store said that it stood.

        If it cannot have come from there, it went back, and counts again what it had counted. Then
        the topic goes on in a new epoch, so that nobody takes the one for the other.
        """

    @abc.abstractmethod
    async def places(self, topics: Sequence[str]) -> list[Place | None]:
        """Return where each topic stands; None where nothing is kept of it."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close what the running event loop has opened."""
