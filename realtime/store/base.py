"""The contract of a store: the source of truth about each task.

Deciding on a change, keeping it and publishing it are one atomic step, so the order of events on
every topic is the order of versions. Each method exists once, on the side that needs it: Celery's
processes and views call the synchronous ones, the hub the others.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

from realtime.core.change import Change
from realtime.core.frames import PAGE
from realtime.core.position import Head, Position
from realtime.core.status import Status
from realtime.core.topics import Topic

from .reading import Ownership, Page, Reading, Running, Waiting
from .recent import Place, Recent


class Store(abc.ABC):
    """Keeps records, logs and lists, and publishes events to the Channels groups."""

    def accept(self, change: Change) -> int:
        """Keep and publish a change; return its version, or 0 if it is stale. May take seconds."""
        return self.send(change)()

    @abc.abstractmethod
    def send(self, change: Change) -> Callable[[], int]:
        """Send a change, and return a function that waits for its version.

        Sending takes PUBLISH_TIMEOUT at most. The same process calls the function, once: only then
        do later changes arrive later.
        """

    def send_all(self, changes: Sequence[Change]) -> Callable[[], Sequence[int]]:
        """Send changes in their order, and return a function that waits for all versions."""
        versions = [self.send(change)() for change in changes]
        return lambda: versions

    @abc.abstractmethod
    def status(self, task_id: str, *, owner: str | None = None) -> Status | None:
        """Return a task's status; None for an unknown task, or one that is not the owner's."""

    @abc.abstractmethod
    def statuses(self, topic: Topic) -> list[Status]:
        """Return the statuses of a topic's tasks, newest first."""

    # Tasks that have not ended.

    @abc.abstractmethod
    def renew_lease(self, worker: str, seconds: float) -> None:
        """Note that a worker is alive, for some seconds."""

    @abc.abstractmethod
    def end_lease(self, worker: str) -> None:
        """Note that a worker has ended in order."""

    @abc.abstractmethod
    def elect(self, candidate: str, seconds: float) -> bool:
        """Return whether the candidate leads all processes of this store for the next seconds."""

    @abc.abstractmethod
    async def has_leader(self) -> bool:
        """Return whether a process leads."""

    @abc.abstractmethod
    def running(self, *, received: bool = True) -> list[Running]:
        """Return all running tasks, and those that a known worker has received.

        With ``received`` false, without the latter while the worker's lease is valid: there may be
        100,000 of them, which wait for their ETA. The state and the seconds of a run whose worker
        is alive may then be those of an earlier call.
        """

    @abc.abstractmethod
    def running_ids(self) -> list[str]:
        """Return the ids of all of them, without reading records."""

    @abc.abstractmethod
    def waiting(self, limit: int) -> list[Waiting]:
        """Return tasks that neither run nor have ended: first those not returned for longest."""

    @abc.abstractmethod
    def waiting_ids(self) -> list[str]:
        """Return the ids of all of them, also of expired ones, without reading records."""

    @abc.abstractmethod
    def unfinished(self, task_ids: Sequence[str]) -> list[Waiting]:
        """Return those of the tasks that have not ended."""

    # Moving and removing records.

    @abc.abstractmethod
    def withdraw(self, task_id: str, publication: str) -> bool:
        """Remove a task if nothing but its publication is known; return whether it was removed."""

    @abc.abstractmethod
    def forget(self, task_id: str) -> bool:
        """Remove a task; later changes of its publications are stale."""

    @abc.abstractmethod
    def forget_owner(self, owner: str) -> int:
        """Forget all tasks of an owner; return how many there were."""

    @abc.abstractmethod
    def adopt(self, visitor: str, owner: str) -> int:
        """Move at most 100 of a visitor's tasks to an owner; return how many were moved.

        Call it until it returns 0; repeating it is harmless. Later tasks of the visitor are the
        owner's at once. A visitor whose tasks were moved to another owner before stays theirs.
        """

    # For the web process.

    @abc.abstractmethod
    async def ownership(self, task_id: str) -> Ownership | None:
        """Return a task's owner; None for an unknown task."""

    @abc.abstractmethod
    async def moved_to(self, visitor: str) -> str | None:
        """Return the owner to whom a visitor's tasks were moved, if they were."""

    @abc.abstractmethod
    async def page(self, topic: Topic, after: str, limit: int) -> Page:
        """Read a page of a topic of many tasks, from ``Reading.next`` or ``Page.next`` on.

        Raises ValueError if ``after`` is not such a text.
        """

    @abc.abstractmethod
    async def read(
        self, topic: Topic, since: Position | None = None, *, limit: int = PAGE
    ) -> Reading:
        """Read the events since a position if the log has all of them, else a page of statuses.

        A topic without events gets its epoch, so that its first event follows on. ``since`` comes
        from clients and is not trusted: it changes nothing.
        """

    @abc.abstractmethod
    async def read_since(self, topic: Topic, head: Head) -> Reading:
        """Read the events since a head that this store returned, else a page of statuses.

        If the topic cannot have come from there, the store went back to older data and counts the
        same offsets again: the topic begins a new epoch.
        """

    @abc.abstractmethod
    async def heads(self, topics: Sequence[str]) -> list[Head | None]:
        """Return each topic's head; None for a topic of which nothing is kept."""

    @abc.abstractmethod
    async def heads_since(self, since: Place | None, most: int) -> Recent:
        """Return the heads that were set since an earlier answer's place, at most ``most``."""

    @abc.abstractmethod
    async def expire(self, topics: Sequence[str]) -> None:
        """Remove expired tasks from lists; a topic that loses one begins a new epoch."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the running event loop's connections."""

    @abc.abstractmethod
    def disconnect(self) -> None:
        """Close the connections that no thread of this process uses; later calls reconnect."""
