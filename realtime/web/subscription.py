"""One subscriber of one topic, as the hub sees it: its cursor, and what waits for a reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from realtime.core.event import Event
from realtime.core.frames import PAGE
from realtime.core.position import Position, Step, step
from realtime.store.reading import Reading

from .cursor import Cursor

#: Events that wait for a reading. If more arrive they are dropped, and the topic is read again.
BACKLOG: Final = 256


class BaseSubscription(Cursor):
    """Delivers a topic's readings and events to one subscriber, in order and each once.

    ``on_event`` and ``on_reading`` are called in the event loop, and must not block. If one raises,
    the hub reads the topic again for this subscription alone.

    It is the subscriber's cursor itself: with thousands of subscribers, the time of a delivery
    depends on how many objects it reads, since no cache has all of them.
    """

    __slots__ = ("_backlog", "_overflowed", "is_refreshing", "limit")

    def __init__(self, topic: str = "", *, limit: int = PAGE) -> None:
        super().__init__(topic)
        #: Statuses in a reading of a list topic, at most.
        self.limit = limit
        #: What waits for a reading or for :meth:`resume`; None while events are delivered at once.
        self._backlog: list[Event | Reading] | None = []
        #: Whether more arrived than can wait.
        self._overflowed = False
        #: Whether the hub reads the topic for this subscription alone.
        self.is_refreshing = False

    def on_event(self, event: Event) -> None:
        """Get the next event."""
        raise NotImplementedError

    def on_reading(self, reading: Reading) -> None:
        """Get a reading that replaces everything before it."""
        raise NotImplementedError

    def admits(self, _reading: Reading) -> bool:
        """Return whether the subscriber may see the tasks of a reading's owner.

        Called before the events of a reading are delivered; for a reading without events,
        ``on_reading`` decides.
        """
        return True

    def deliver(self, event: Event) -> bool:
        """Deliver an event, unless the subscriber has it.

        Return whether nothing is missing; if something is, the subscriber needs a fresh reading.
        """
        if self._backlog is not None:
            return self._defer(event)
        position, last = event.position, self.position
        # The common case of step(): a call costs as much as all else here.
        if position.offset != last.offset + 1 or position.epoch != last.epoch:
            return step(last, position) is Step.DROP
        self.position = position
        self.on_event(event)
        return True

    def deliver_reading(self, reading: Reading) -> bool:
        """Deliver a reading that all subscribers get; return as :meth:`deliver` does."""
        if self._backlog is not None:
            return self._defer(reading)
        if reading.total is not None and self.limit != PAGE:
            return False  # its page has another length
        self.position = reading.position
        self.on_reading(reading)
        return True

    def _defer(self, item: Event | Reading) -> bool:
        if self._backlog is not None and len(self._backlog) < BACKLOG:
            self._backlog.append(item)
        else:
            self._overflowed = True
        return True

    def pause(self) -> None:
        """Deliver nothing until :meth:`resume` or :meth:`restart`."""
        if self._backlog is None:
            self._backlog = []

    def _is_paused(self) -> bool:
        return self._backlog is not None

    def begin_at(self, position: Position) -> None:
        """Set the position of the first reading, which the caller has delivered."""
        self.position = position

    def restart(self, reading: Reading) -> bool:
        """Deliver a reading, and what arrived after it; return as :meth:`deliver` does."""
        backlog, overflowed = self._backlog or [], self._overflowed
        self._backlog, self._overflowed = None, False
        self.position = reading.position
        self.on_reading(reading)
        if self._is_paused():
            return True  # ``on_reading`` has paused it
        self._backlog, self._overflowed = backlog, overflowed
        return self.resume()

    def resume(self) -> bool:
        """Deliver what arrived during a pause; return as :meth:`deliver` does."""
        backlog, overflowed = self._backlog or (), self._overflowed
        self._backlog, self._overflowed = None, False
        if overflowed:
            return False
        for item in backlog:
            if isinstance(item, Event):
                is_complete = self.deliver(item)
            elif item.position.epoch != self.position.epoch:
                return False  # it may be older than the subscriber's own
            elif step(self.position, item.position) is Step.DROP:
                continue
            else:
                is_complete = self.deliver_reading(item)
            if not is_complete:
                return False
        return True


class Subscription(BaseSubscription):
    """A subscription that calls functions."""

    __slots__ = ("on_event", "on_reading")

    def __init__(
        self, on_event: Callable[[Event], None], on_reading: Callable[[Reading], None]
    ) -> None:
        super().__init__()
        self.on_event = on_event  # type: ignore[assignment, method-assign]
        self.on_reading = on_reading  # type: ignore[assignment, method-assign]
