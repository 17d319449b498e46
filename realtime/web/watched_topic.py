"""The hub's data of one topic that its process watches."""

from __future__ import annotations

import asyncio

from realtime.core.event import Event
from realtime.core.position import Head, Position, Step, next_digest, step
from realtime.core.states import SUCCESS
from realtime.core.status import Status
from realtime.core.topics import Topic
from realtime.store.reading import Reading

from .subscription import BACKLOG, BaseSubscription


class WatchedTopic:
    """A topic that this process watches: its last known head, and its subscriptions.

    The cursor of each subscription has its subscriber's position.
    """

    __slots__ = (
        "backlog",
        "head",
        "name",
        "owner",
        "recovery",
        "state",
        "subscriptions",
        "topic",
    )

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.name = str(topic)
        self.subscriptions: set[BaseSubscription] = set()
        #: None until the first reading.
        self.head: Head | None = None
        #: Events that wait for the first reading, or for a recovery.
        self.backlog: list[Event] = []
        #: Reads what is missing since the head.
        self.recovery: asyncio.Task[None] | None = None
        #: The last known state, for a topic of one task; "" while that is not known.
        self.state = ""
        #: The task's owner in the last reading.
        self.owner: str | None = None

    def defer(self, event: Event) -> None:
        """Keep an event until the reading that it follows."""
        if len(self.backlog) >= BACKLOG:
            # The rest does not follow on, which makes the hub read the topic again.
            del self.backlog[: BACKLOG // 2]
        self.backlog.append(event)

    def advance(self, item: Event | Reading) -> None:
        """Set the head to that of an event or reading, and the state of a topic of one task."""
        if isinstance(item, Event):
            digest = self.head.digest if self.head else 0
            self.head = Head(item.position, next_digest(digest, item.text))
            self.state = item.state
        else:
            self.head = item.head
            self.owner = item.owner
            if not self.topic.has_list:
                self.state = Status.from_json(item.texts[-1]).state if item.texts else ""

    @property
    def position(self) -> Position | None:
        """The head's position; None until the first reading."""
        return self.head and self.head.position

    def differs(self, requested: Head | None, stored: Head | None) -> bool:
        """Return whether the store has events that this process lacks, or has lost some.

        ``stored`` is the store's head, and ``requested`` was this one at the time of the request.
        """
        if requested is None or stored in (requested, self.head):
            return False
        if stored is None or step(requested.position, stored.position) is Step.DROP:
            return True  # it lost the topic; or it went back, as a failover does
        now = self.position
        # Events may have arrived meanwhile: then the head is where the store's was, or beyond it.
        return now == stored.position or step(now, stored.position) is not Step.DROP

    @property
    def is_unknown(self) -> bool:
        """Whether this is a task that was never published, or whose record had expired."""
        return not self.topic.has_list and not self.state

    @property
    def can_change(self) -> bool:
        """Whether more events are likely; those of a task that has succeeded are rare."""
        return self.topic.has_list or self.state != SUCCESS
