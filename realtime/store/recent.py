"""The recent heads of a store: hubs find the topics that have changed there.

Every head that is set is appended, in the same step as its event is published. The list is bounded,
so a hub's place in it may be gone; and the store may have gone back to a copy in which other heads
have the same numbers. The hub then compares the heads of all its topics.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from realtime.core.position import Head, Position

from .record import new_name

#: When the list has this length, it is cut to the next. An element has about 140 bytes: the heads
#: that one call has set, mostly of a task and of its owner.
MAX_RECENT: Final = 6_000
KEPT_RECENT: Final = 1_000
#: Elements that one call returns, at most.
_BATCH: Final = 1_000


class Place(NamedTuple):
    """A place in the recent heads of a store."""

    epoch: str
    #: Counts the elements since the list was begun.
    number: int
    #: What is there. It differs where the store went back and gave the number again.
    text: str


class Found(NamedTuple):
    """What a store answers about a place in its recent heads."""

    #: None where there is no list: it was lost, or only earlier releases have written heads.
    newest: Place | None
    #: The element at the place and the next ones; none where the list does not have the place.
    texts: Sequence[str]


class Recent(NamedTuple):
    """What changed since a place."""

    #: The newest place.
    place: Place | None
    #: The heads that were set, by topic, the newest of each; None where that is not known.
    heads: Mapping[str, Head] | None


def texts_after(place: Place, found: Found, most: int) -> Sequence[str] | None:
    """Return the elements after a place; None if they are not known, or more than ``most``."""
    if found.newest is None or found.newest.number - place.number > most:
        return None
    if not found.texts or found.texts[0] != place.text:
        return None
    return found.texts[1:]


async def read_recent(
    find: Callable[[Place, int], Awaitable[Found]],
    since: Place | None,
    most: int,
    *,
    prefix: str = "",
) -> Recent:
    """Return what changed since a place, call by call; ``find`` returns a number of elements.

    ``prefix`` stands before the name of each topic.
    """
    place = since or Place("", 0, "")
    heads: dict[str, Head] = {}
    while True:
        found = await find(place, _BATCH)
        texts = texts_after(place, found, most)
        if texts is None or found.newest is None:
            return Recent(found.newest, None)
        for text in texts:
            for line in text.split("\n"):
                epoch, offset, digest, name = line.split(" ", 3)
                heads[name.removeprefix(prefix)] = Head(Position(epoch, int(offset)), int(digest))
        most -= len(texts)
        if texts:
            place = Place(place.epoch, place.number + len(texts), texts[-1])
        if not texts or place.number >= found.newest.number:
            return Recent(place, heads)


class RecentInMemory:
    """The recent heads of the store in memory."""

    def __init__(self) -> None:
        self._epoch = new_name()
        self._number = 0
        self._texts: deque[str] = deque(maxlen=MAX_RECENT)

    def add(self, topic: str, head: Head | None) -> None:
        """Append the head that a topic was given; None for a topic that was removed."""
        (epoch, offset), digest = head or Head(Position(new_name(), 0), 0)
        self._texts.append(f"{epoch} {offset} {digest} {topic}")
        self._number += 1

    async def find(self, place: Place, count: int) -> Found:
        """Return what is at a place, and after it."""
        if not self._texts:
            return Found(None, ())
        index = place.number - (self._number - len(self._texts)) - 1
        known = place.epoch == self._epoch and index >= 0
        return Found(
            Place(self._epoch, self._number, self._texts[-1]),
            list(islice(self._texts, index, index + count)) if known else (),
        )
