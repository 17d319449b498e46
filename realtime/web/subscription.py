"""One reader of one topic, as the hub sees it: what it has seen, and what waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from realtime.core.event import Event
from realtime.core.position import Position, Step, step
from realtime.store.base import PAGE, Reading

#: Events that wait for a reading. If more arrive, they are dropped, and the topic is read anew.
BACKLOG: Final = 256


class Subscription:
    """Delivers a topic's readings and events in order, each once.

    Both callbacks are called in the event loop, and must not block. Where one raises, the hub reads
    the topic anew for this subscription alone.
    """

    __slots__ = (
        "_backlog",
        "_floor",
        "_lost",
        "admits",
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
        limit: int = PAGE,
        admits: Callable[[Reading], bool] = lambda _reading: True,
    ) -> None:
        self.on_event = on_event
        self.on_reading = on_reading
        #: Whether its reader may see what is the owner's of a reading. Asked before the events of
        #: a reading are delivered; a reading itself is for ``on_reading`` to judge.
        self.admits = admits
        #: Statuses in a reading of a topic of many tasks, at most.
        self.limit = limit
        #: What arrives before the reading that it follows; None while it is delivered at once.
        self._backlog: list[Event | Reading] | None = []
        #: Whether some of that was dropped.
        self._lost = False
        self._floor = Position("", 0)
        #: Whether the hub reads the topic for this subscription alone.
        self.refreshing = False

    def take(self, item: Event | Reading, before: Position | None = None) -> bool:
        """Deliver the item unless this reader has seen it.

        ``before`` is where the readers stand that have missed nothing. Return whether all is well;
        if not, the reader needs a fresh reading.
        """
        if self._backlog is not None:
            if len(self._backlog) < BACKLOG:
                self._backlog.append(item)
            else:
                self._lost = True
            return True
        if isinstance(item, Reading):
            if item.total is not None and self.limit != PAGE:
                return False  # it is a page of another length
            self._floor = item.position
            self.on_reading(item)
            return True
        if self._floor is not before:
            following = step(self._floor, item.position)
            if following is not Step.DELIVER:
                return following is Step.DROP
        self._floor = item.position
        self.on_event(item)
        return True

    def pause(self) -> None:
        """Deliver nothing until :meth:`proceed` or :meth:`resume`."""
        if self._backlog is None:
            self._backlog = []

    def _is_paused(self) -> bool:
        return self._backlog is not None

    def begin_at(self, position: Position) -> None:
        """Note the position of the first reading, which its reader has delivered by itself."""
        self._floor = position

    def resume(self, reading: Reading) -> bool:
        """Deliver a reading, and what arrived after it; return as :meth:`take` does."""
        backlog, lost = self._backlog or [], self._lost
        self._backlog, self._lost = None, False
        self._floor = reading.position
        self.on_reading(reading)
        if self._is_paused():
            return True  # by its reader
        self._backlog, self._lost = backlog, lost
        return self.proceed()

    def proceed(self) -> bool:
        """Deliver what arrived during a pause; return as :meth:`take` does."""
        backlog, lost = self._backlog or (), self._lost
        self._backlog, self._lost = None, False
        if lost:
            return False
        for item in backlog:
            following = step(self._floor, item.position)
            if following is Step.DROP:
                continue
            if isinstance(item, Reading) and item.position.epoch != self._floor.epoch:
                return False  # it may be older than the reader's own
            if not self.take(item):
                return False
        return True
