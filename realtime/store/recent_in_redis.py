"""Heads as Redis has them: a text each, and a list of the recent ones."""

from __future__ import annotations

from realtime.core.position import Head, Position

from .connection import AsyncClient
from .keys import Keys
from .recent import Found, Place, Recent, read_recent
from .scripts import load


def head_in(text: str) -> Head:
    """Return a head that a key has."""
    epoch, offset, digest = text.split(" ")
    return Head(Position(epoch, int(offset)), int(digest))


class RecentInRedis:
    """Reads the recent heads."""

    def __init__(self, keys: Keys) -> None:
        self._key, self._prefix = keys.recent, keys.head("")
        self._script = load("recent_since.lua")

    async def since(self, client: AsyncClient, since: Place | None, most: int) -> Recent:
        """Return what changed since a place; see :meth:`Store.heads_since`."""

        async def find(place: Place, count: int) -> Found:
            args = (place.epoch, place.number, count)
            reply = await client.call(self._script, [self._key], args)
            if not reply:
                return Found(None, ())
            epoch, number, newest, *texts = reply
            return Found(Place(epoch, int(number), newest), texts)

        return await read_recent(find, since, most, prefix=self._prefix)
