"""What the hub knows of each topic that its process watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from realtime.core.event import Event
from realtime.core.position import Head, Position, Step, next_digest, step
from realtime.core.states import SUCCESS
from realtime.core.status import Status
from realtime.core.topics import Topic
from realtime.store.base import Reading

from .subscription import BACKLOG, Subscription

#: Seconds in which topics to look at are gathered, so that one read serves them all.
_GATHER: Final = 0.05


class Watched:
    """A topic that this process watches: its subscriptions, and where they all stand."""

    __slots__ = (
        "backlog",
        "head",
        "name",
        "owner",
        "repair",
        "state",
        "subscriptions",
        "topic",
    )

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.name = str(topic)
        self.subscriptions: set[Subscription] = set()
        self.head: Head | None = None
        #: Events that wait for the head to be known.
        self.backlog: list[Event] = []
        self.repair: asyncio.Task[None] | None = None
        #: The last known state, for a topic of one task; "" while that is not known.
        self.state = ""
        #: Whose task it was at the last reading.
        self.owner: str | None = None

    def wait(self, event: Event) -> None:
        """Keep an event until the head is known."""
        if len(self.backlog) >= BACKLOG:
            # What is left does not follow on, so the topic is looked at again.
            del self.backlog[: BACKLOG // 2]
        self.backlog.append(event)

    def learn(self, item: Event | Reading) -> None:
        """Take note of where this leads to, and of the state of a topic of one task."""
        if isinstance(item, Event):
            digest = self.head.digest if self.head else 0
            self.head = Head(item.position, next_digest(digest, item.text))
            self.state = item.state
        else:
            self.head = item.head
            self.owner = item.owner
            if not self.topic.holds_many:
                self.state = Status.from_json(item.texts[-1]).state if item.texts else ""

    @property
    def position(self) -> Position | None:
        return self.head and self.head.position

    def differs(self, known: Head | None, found: Head | None) -> bool:
        """Return whether the store, asked when this stood at ``known``, is elsewhere than this."""
        if known is None or found in (known, self.head):
            return False
        if found is None or step(known.position, found.position) is Step.DROP:
            return True  # it lost the topic; or it went back, as a failover does
        now = self.position
        # Behind it is where the events arrived while the hub looked, and more.
        return now == found.position or step(now, found.position) is not Step.DROP

    @property
    def is_unknown(self) -> bool:
        """Whether this is a task that nobody had published, or whose record had expired."""
        return not self.topic.holds_many and not self.state

    @property
    def can_change(self) -> bool:
        return self.topic.holds_many or self.state != SUCCESS


class Suspects:
    """Topics to look at soon, gathered with those that are due at about the same time."""

    def __init__(self, look: Callable[[list[str]], object]) -> None:
        self._look = look
        self._due: dict[float, set[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))

    def add(self, name: str, delay: float) -> None:
        """Look at a topic after ``delay`` seconds."""
        loop = asyncio.get_running_loop()
        due = round((loop.time() + delay) / _GATHER) * _GATHER
        names = self._due.get(due)
        if names is None:
            names = self._due[due] = set()
            loop.call_at(due, self._look_at, due)
        names.add(name)

    def clear(self) -> None:
        """Look at nothing more."""
        self._due.clear()

    def _look_at(self, due: float) -> None:
        if names := self._due.pop(due, None):
            self._look(list(names))
