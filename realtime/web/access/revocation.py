"""Looking again at what connections may see: regularly, and at once where a change was heard of.

A message may be lost, and a change may come without a signal (``QuerySet.update()``), so every
connection of a signed-in user is looked at once in ``ACCESS_INTERVAL`` seconds. One task looks at
all of them, some at a time: a task for each would cost each socket memory, and each look a
connection to the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async

from realtime.conf import conf
from realtime.core.codes import CloseCode
from realtime.core.logs import get_logger
from realtime.groups.layer import access_group, get_layer

from .announcements import MESSAGE_TYPE
from .identity import look_up_all, user_key

logger = get_logger("realtime.access")

#: Connections that are looked at in one go: all lookups wait for the one thread of the database.
_BATCH: Final = 20
#: Seconds between two attempts to listen.
_PAUSE: Final = 1.0
#: So many times in ``ACCESS_INTERVAL`` some connections have their turn.
_TURNS: Final = 30
#: Seconds that a look waits for its members to judge what was found.
_TOLD_WITHIN: Final = 0.25
#: What is left of ``ACCESS_INTERVAL`` for a look that takes its time.
_HASTE: Final = 0.8


class Member(Protocol):
    """A connection. The methods are called in the event loop."""

    #: What names its session (``access.session_name``), "" where it has none.
    session: str
    scope: Any

    @property
    def user(self) -> Any:
        """Who the user is, as far as is known."""
        ...

    @property
    def sees_more(self) -> bool:
        """Whether it sees anything by a right that can be withdrawn."""
        ...

    async def looked(self, found: Any) -> None:
        """Take what ``look_up`` has found of its user."""
        ...

    def sign_out(self) -> None:
        """Its session has ended."""
        ...

    def expect_other_key(self) -> None:
        """Its session goes on under another key, which this connection does not have."""
        ...


class Watch:
    """The members of one event loop, the task that listens for them, and the one that looks."""

    def __init__(self) -> None:
        #: By what names their user: two users may have one owner, and a user may have none.
        self._members: dict[str, set[Member]] = {}
        self._keys: dict[Member, str] = {}
        #: Whose turn is next comes first.
        self._turns: dict[Member, None] = {}
        #: Who is looked at without a turn.
        self._soon: dict[Member, None] = {}
        #: Those that still judge what was found of them.
        self._telling: dict[Member, asyncio.Task[None]] = {}
        self._heard = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def join(self, member: Member) -> None:
        """Look at a member from now on, if it has a user: a visitor has no rights to lose."""
        key = user_key(member.user)
        if not key:
            return
        self._keys[member] = key
        self._members.setdefault(key, set()).add(member)
        self._turns[member] = None
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(each) for each in (self._listen(), self._look())]

    def leave(self, member: Member) -> None:
        """Look at it no more; also where it never joined."""
        key = self._keys.pop(member, "")
        members = self._members.get(key, set())
        members.discard(member)
        if not members:
            self._members.pop(key, None)
        self._turns.pop(member, None)
        self._soon.pop(member, None)

    async def close(self) -> None:
        """Stop; the next one to join begins anew."""
        tasks, self._tasks = [*self._tasks, *self._telling.values()], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Hearing

    async def _listen(self) -> None:
        while True:
            try:
                layer = get_layer()
                channel = await layer.new_channel()
                await layer.group_add(access_group(), channel)
                while True:
                    self._hear(await layer.receive(channel))
            except Exception as error:  # noqa: BLE001 - whoever can publish can send anything
                logger.warning("listen_failed error=%r", error)
                await asyncio.sleep(_PAUSE)

    def _hear(self, message: Mapping[str, Any]) -> None:
        if message.get("type") != MESSAGE_TYPE:
            return
        key, sessions = message.get("user"), message.get("sessions")
        if not isinstance(key, str) or not isinstance(sessions, list):
            return  # whoever can publish can send anything
        if not key:
            self._look_soon([member for member in self._turns if member.sees_more])
        for member in tuple(self._members.get(key, ())):
            if not sessions:
                self._look_soon([member])
            elif member.session and member.session in sessions:
                if message.get("renewed") is True:
                    member.expect_other_key()
                else:
                    member.sign_out()

    def _look_soon(self, members: Sequence[Member]) -> None:
        self._soon.update(dict.fromkeys(members))
        self._heard.set()

    # Looking

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        last, share = loop.time(), 0.0
        while True:
            interval = _HASTE * conf().ACCESS_INTERVAL
            with suppress(TimeoutError):
                async with asyncio.timeout(interval / _TURNS):
                    await self._heard.wait()
            self._heard.clear()
            now = loop.time()
            share = min(1.0, share + (now - last) / interval)
            last, count = now, int(share * len(self._turns))
            if count:
                share -= count / len(self._turns)
            members = [*self._soon, *(m for m in islice(self._turns, count) if m not in self._soon)]
            self._soon = {}
            for start in range(0, len(members), _BATCH):
                try:
                    await self._look_at(members[start : start + _BATCH])
                except Exception as error:  # noqa: BLE001 - the next look may succeed
                    logger.warning("look_failed error=%r", error)

    async def _look_at(self, members: Sequence[Member]) -> None:
        for member in members:
            if member in self._turns:
                del self._turns[member]
                self._turns[member] = None
        asked = [(member.scope, member.user) for member in members]
        found = await database_sync_to_async(look_up_all)(asked)
        tasks = [self._tell(member, each) for member, each in zip(members, found, strict=True)]
        # What a member asks the project's policy may take long: others are looked at meanwhile.
        if telling := [task for task in tasks if task is not None]:
            await asyncio.wait(telling, timeout=_TOLD_WITHIN)

    def _tell(self, member: Member, found: Any) -> asyncio.Task[None] | None:
        """Tell a member what was found; not again while it still judges what was found before."""
        if member in self._telling and not isinstance(found, CloseCode):
            return None
        task = asyncio.get_running_loop().create_task(_tell(member, found))
        self._telling[member] = task
        task.add_done_callback(lambda done: self._told(member, done))
        return task

    def _told(self, member: Member, task: asyncio.Task[None]) -> None:
        if self._telling.get(member) is task:
            del self._telling[member]


async def _tell(member: Member, found: Any) -> None:
    try:
        if isinstance(found, Exception):
            raise found
        await member.looked(found)
    except Exception as error:  # noqa: BLE001 - the database may be away in many ways
        logger.warning("look_failed user=%s error=%r", user_key(member.user), error)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = WeakKeyDictionary()


def get_watch() -> Watch:
    """Return the running event loop's watch."""
    return _watches.setdefault(asyncio.get_running_loop(), Watch())
