"""One subscriber of one topic, as the hub sees it: its cursor, and what waits for a reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from realtime.core.event import Event
from realtime.core.position import Position, Step, step
from realtime.store.base import PAGE, Reading

from .cursor import Cursor

#: Events that wait for a reading. If more arrive, they are dropped, and the topic is read anew.
BACKLOG: Final = 256


class Subscription:
    """Delivers a topic's readings and events in order, each once.

    Both callbacks are called in the event loop, and must not block. Where one raises, the hub reads
    the topic anew for this subscription alone.
    """

    __slots__ = (
        "_backlog",
        "_lost",
        "admits",
        "cursor",
        "limit",
        "on_event",
        "on_reading",
        "refreshing",
    )

    def __init__(
        self,
        on_event: Callable[[Event], None],
        on_reading: Callable[[Reading], None],
        *,
        cursor: Cursor | None = None,
        limit: int = PAGE,
        admits: Callable[[Reading], bool] = lambda _reading: True,
    ) -> None:
        self.on_event = on_event
        self.on_reading = on_reading
        self.cursor = cursor or Cursor()
        #: Whether its reader may see what is the owner's of a reading. Asked before the events of
        #: a reading are delivered; a reading itself is for ``on_reading`` to judge.
        self.admits = admits
        #: Statuses in a reading of a topic of many tasks, at most.
        self.limit = limit
        #: What arrives before the reading that it follows; None while it is delivered at once.
        self._backlog: list[Event | Reading] | None = []
        #: Whether some of that was dropped.
        self._lost = False
        #: Whether the hub reads the topic for this subscription alone.
        self.refreshing = False

    def deliver(self, event: Event) -> bool:
        """Deliver an event, unless the subscriber has it.

        Return whether nothing is missing; if something is, the subscriber needs a fresh reading.
        """
        if self._backlog is not None:
            return self._defer(event)
        cursor, position = self.cursor, event.position
        last = cursor.position
        # The common case of step(): a call costs as much as all else here.
        if position.offset != last.offset + 1 or position.epoch != last.epoch:
            return step(last, position) is Step.DROP
        cursor.position = position
        self.on_event(event)
        return True

    def deliver_reading(self, reading: Reading) -> bool:
        """Deliver a reading that was made for all subscribers; return as :meth:`deliver` does."""
        if self._backlog is not None:
            return self._defer(reading)
        if reading.total is not None and self.limit != PAGE:
            return False  # it is a page of another length
        self.cursor.position = reading.position
        self.on_reading(reading)
        return True

    def _defer(self, item: Event | Reading) -> bool:
        if self._backlog is not None and len(self._backlog) < BACKLOG:
            self._backlog.append(item)
        else:
            self._lost = True
        return True

    def pause(self) -> None:
        """Deliver nothing until :meth:`proceed` or :meth:`resume`."""
        if self._backlog is None:
            self._backlog = []

    def _is_paused(self) -> bool:
        return self._backlog is not None

    def begin_at(self, position: Position) -> None:
        """Note the position of the first reading, which its reader has delivered by itself."""
        self.cursor.position = position

    def resume(self, reading: Reading) -> bool:
        """Deliver a reading, and what arrived after it; return as :meth:`deliver` does."""
        backlog, lost = self._backlog or [], self._lost
        self._backlog, self._lost = None, False
        self.cursor.position = reading.position
        self.on_reading(reading)
        if self._is_paused():
            return True  # by its reader
        self._backlog, self._lost = backlog, lost
        return self.proceed()

    def proceed(self) -> bool:
        """Deliver what arrived during a pause; return as :meth:`deliver` does."""
        backlog, lost = self._backlog or (), self._lost
        self._backlog, self._lost = None, False
        if lost:
            return False
        for item in backlog:
            if isinstance(item, Event):
                is_complete = self.deliver(item)
            elif item.position.epoch != self.cursor.position.epoch:
                return False  # it may be older than the subscriber's own
            elif step(self.cursor.position, item.position) is Step.DROP:
                continue
            else:
                is_complete = self.deliver_reading(item)
            if not is_complete:
                return False
        return True
