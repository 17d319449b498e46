"""Reads topics by read.lua: from threads at once, from event loops with others' requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from realtime.core.frames import LONGEST_PAGE
from realtime.core.position import Head, Position
from realtime.core.topics import Topic

from .connection import AsyncClient, Client
from .keys import Keys, random_name
from .reading import Reading
from .scripts import load


class Reader:
    """Calls the script: for a list first without its tasks, then with those that it answers."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._script = load("read.lua")

    def read_now(self, topic: Topic, after: str = "") -> Reading:
        """Read a topic's task, or a page of the longest length. It gets no epoch by that."""
        task_ids: Sequence[str] = ()
        while True:
            call = self._keys.read(topic, limit=LONGEST_PAGE, after=after, task_ids=task_ids)
            with self._client.use() as client:
                reply = cast(list[Any], self._script.call(client, *call))
            if reply[0] is not None:
                return _reading(reply)
            task_ids = reply[1:]

    async def read(
        self,
        client: AsyncClient,
        topic: Topic,
        since: Position | Head | None,
        limit: int,
        after: str = "",
    ) -> Reading:
        """Read the events since a position, or a page of statuses.

        Equal readings of a list are shared, since all pages of a user may come back at once.
        """
        epoch = "" if after else random_name()

        async def read(on_send: Callable[[], None] | None = None) -> Reading:
            task_ids: Sequence[str] = ()
            while True:
                keys, args = self._keys.read(
                    topic, since, epoch=epoch, limit=limit, after=after, task_ids=task_ids
                )
                cost = max(1, len(task_ids))
                reply = await client.call(self._script, keys, args, cost=cost, on_send=on_send)
                if reply[0] is not None:
                    return _reading(reply)
                task_ids = reply[1:]

        if not topic.has_list:
            return await read()
        return cast(Reading, await client.readings.call((topic, since, limit, after), read))


def _reading(reply: Sequence[Any]) -> Reading:
    epoch, offset, digest, recovered, owner, total, after, moved, *texts = reply
    return Reading(
        Position(epoch, int(offset)),
        recovered == "1",
        texts,
        int(digest),
        owner=owner,
        total=None if total is None else int(total),
        next=after,
        moved_to=moved,
    )
