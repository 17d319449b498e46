"""Bounds how many requests of a process run at once, so that each is answered soon after it began.

After a restart thousands of clients subscribe within a second. If all of their requests ran at
once, each would be answered when the last one is, and many only after their time limit.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from typing import Final
from weakref import WeakKeyDictionary

from realtime.core import frames

#: Requests that run at once.
PLACES: Final = 64
#: Seconds after which a request does not count any more: where a database is slow, the others must
#: not wait for it.
SLOW: Final = 1.0


class Rank(enum.IntEnum):
    """The order in which requests are let in; those of one rank in the order of their arrival."""

    FIRST = 0  #: of a client that has a subscription: it does not wait for those that come back
    RETURN = 1  #: of a client that has none, and so knows nothing yet
    PAGE = 2  #: the further pages of a list, whose first page the client has


def rank_of(request: frames.ClientFrame, *, has_subscription: bool) -> Rank:
    """Return the rank of a client's request."""
    if isinstance(request, frames.Page):
        return Rank.PAGE
    return Rank.FIRST if has_subscription else Rank.RETURN


class Gate:
    """So many places; callers wait by their rank, and in order."""

    def __init__(self) -> None:
        #: When each of those that count entered, the first one first.
        self._inside: dict[object, float] = {}
        self._waiting: dict[Rank, deque[asyncio.Future[None]]] = {each: deque() for each in Rank}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_free(self) -> bool:
        """Whether :meth:`enter` would not wait."""
        return len(self._inside) < PLACES and not any(self._waiting.values())

    async def enter(self, rank: Rank = Rank.FIRST) -> object:
        """Wait for a place; return what :meth:`leave` is called with."""
        loop = asyncio.get_running_loop()
        if self.is_free:
            place = object()
            self._inside[place] = loop.time()
            return place
        turn = loop.create_future()
        self._waiting[rank].append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            self.leave(turn)  # it may have been admitted just now
            raise
        return turn

    def leave(self, place: object) -> None:
        """Give a place back, and let the next one enter."""
        self._inside.pop(place, None)
        self._admit()

    def _admit(self) -> None:
        loop, inside = asyncio.get_running_loop(), self._inside
        for waiting in self._waiting.values():
            while waiting and len(inside) < PLACES:
                turn = waiting.popleft()
                if not turn.done():  # its caller was cancelled
                    inside[turn] = loop.time()
                    turn.set_result(None)
            if waiting:
                if self._timer is None:
                    due = next(iter(inside.values())) + SLOW
                    self._timer = loop.call_at(due, self._discount_slow)
                return

    def _discount_slow(self) -> None:
        self._timer, now = None, asyncio.get_running_loop().time()
        for place, entered in tuple(self._inside.items()):
            if now < entered + SLOW:
                break
            del self._inside[place]
        self._admit()


_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, Gate] = WeakKeyDictionary()


def get_gate() -> Gate:
    """Return the running event loop's gate."""
    return _gates.setdefault(asyncio.get_running_loop(), Gate())
