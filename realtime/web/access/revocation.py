"""Until when a connection may see what it was granted: checks, regularly and after a change.

A message about a change may be lost, and a change may come without a signal
(``QuerySet.update()``), so each connection of a signed-in user is checked once in
``ACCESS_INTERVAL`` seconds. One task checks all connections, in batches: a task for each would
cost memory per socket, and a query to the database per connection.
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

from .identity import check_users, user_key
from .signals import MESSAGE_TYPE

logger = get_logger("realtime.access")

#: Connections in one batch: all lookups wait for the one thread of the database.
_BATCH: Final = 20
#: Seconds between two attempts to receive messages.
_PAUSE: Final = 1.0
#: Rounds of regular checks in ``ACCESS_INTERVAL``; each checks its share of the connections.
_ROUNDS: Final = 30
#: Seconds that a batch waits until its members have used the results.
_MEMBER_TIMEOUT: Final = 0.25
#: The part of ``ACCESS_INTERVAL`` in which all are checked; the rest is for checks that take long.
_MARGIN: Final = 0.8


class Member(Protocol):
    """A connection to be checked. The methods are called in the event loop."""

    #: The fingerprint of its session (``sessions.session_fingerprint``), "" without a session.
    session: str
    scope: Any

    @property
    def user(self) -> Any:
        """The user as of the last check."""
        ...

    @property
    def has_rights(self) -> bool:
        """Whether it sees anything by a right that can be withdrawn."""
        ...

    async def user_checked(self, result: Any) -> None:
        """Use a result of ``identity.check_users``: a user or a close code."""
        ...

    def sign_out(self) -> None:
        """End the connection: its session has ended."""
        ...

    def expect_new_session_key(self) -> None:
        """Note that the session continues under a key that this connection does not have."""
        ...


class AccessChecker:
    """The connections of one event loop, a task that receives messages, and one that checks."""

    def __init__(self) -> None:
        #: By user key: two users may have one owner, and a user may have none.
        self._members: dict[str, set[Member]] = {}
        self._keys: dict[Member, str] = {}
        #: In the order of the regular checks.
        self._queue: dict[Member, None] = {}
        #: To be checked at once.
        self._urgent: dict[Member, None] = {}
        #: The calls of ``user_checked`` that have not returned.
        self._deliveries: dict[Member, asyncio.Task[None]] = {}
        self._is_urgent = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def join(self, member: Member) -> None:
        """Check a member from now on, if it has a user: a visitor has no rights to lose."""
        key = user_key(member.user)
        if not key:
            return
        self._keys[member] = key
        self._members.setdefault(key, set()).add(member)
        self._queue[member] = None
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(each) for each in (self._receive(), self._run())]

    def leave(self, member: Member) -> None:
        """Check a member no more; also one that never joined."""
        key = self._keys.pop(member, "")
        members = self._members.get(key, set())
        members.discard(member)
        if not members:
            self._members.pop(key, None)
        self._queue.pop(member, None)
        self._urgent.pop(member, None)

    async def close(self) -> None:
        """End the tasks; the next member to join starts them again."""
        tasks, self._tasks = [*self._tasks, *self._deliveries.values()], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Receiving

    async def _receive(self) -> None:
        while True:
            try:
                layer = get_layer()
                channel = await layer.new_channel()
                await layer.group_add(access_group(), channel)
                while True:
                    self._on_message(await layer.receive(channel))
            except Exception as error:  # noqa: BLE001 - anybody who can publish can send anything
                logger.warning("access_receive_failed error=%r", error)
                await asyncio.sleep(_PAUSE)

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message.get("type") != MESSAGE_TYPE:
            return
        key, sessions = message.get("user"), message.get("sessions")
        if not isinstance(key, str) or not isinstance(sessions, list):
            return  # anybody who can publish can send anything
        if not key:
            self._check_soon([member for member in self._queue if member.has_rights])
        for member in tuple(self._members.get(key, ())):
            if not sessions:
                self._check_soon([member])
            elif member.session and member.session in sessions:
                if message.get("renewed") is True:
                    member.expect_new_session_key()
                else:
                    member.sign_out()

    def _check_soon(self, members: Sequence[Member]) -> None:
        self._urgent.update(dict.fromkeys(members))
        self._is_urgent.set()

    # Checking

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        last, share = loop.time(), 0.0
        while True:
            interval = _MARGIN * conf().ACCESS_INTERVAL
            with suppress(TimeoutError):
                async with asyncio.timeout(interval / _ROUNDS):
                    await self._is_urgent.wait()
            self._is_urgent.clear()
            now = loop.time()
            share = min(1.0, share + (now - last) / interval)
            last, count = now, int(share * len(self._queue))
            if count:
                share -= count / len(self._queue)
            due = [m for m in islice(self._queue, count) if m not in self._urgent]
            members = [*self._urgent, *due]
            self._urgent = {}
            for start in range(0, len(members), _BATCH):
                try:
                    await self._check(members[start : start + _BATCH])
                except Exception as error:  # noqa: BLE001 - the next check may succeed
                    logger.warning("access_check_failed error=%r", error)

    async def _check(self, members: Sequence[Member]) -> None:
        for member in members:
            if member in self._queue:
                del self._queue[member]
                self._queue[member] = None
        pairs = [(member.scope, member.user) for member in members]
        results = await database_sync_to_async(check_users)(pairs)
        tasks = [self._deliver(member, each) for member, each in zip(members, results, strict=True)]
        # A member may call CAN_SUBSCRIBE, which may be slow: the next batch does not wait for it.
        if deliveries := [task for task in tasks if task is not None]:
            await asyncio.wait(deliveries, timeout=_MEMBER_TIMEOUT)

    def _deliver(self, member: Member, result: Any) -> asyncio.Task[None] | None:
        """Call a member with a result; no second time while it uses the last one."""
        if member in self._deliveries and not isinstance(result, CloseCode):
            return None
        task = asyncio.get_running_loop().create_task(_deliver(member, result))
        self._deliveries[member] = task
        task.add_done_callback(lambda done: self._delivered(member, done))
        return task

    def _delivered(self, member: Member, task: asyncio.Task[None]) -> None:
        if self._deliveries.get(member) is task:
            del self._deliveries[member]


async def _deliver(member: Member, result: Any) -> None:
    try:
        if isinstance(result, Exception):
            raise result
        await member.user_checked(result)
    except Exception as error:  # noqa: BLE001 - databases fail in many ways
        logger.warning("access_check_failed user=%s error=%r", user_key(member.user), error)


_checkers: WeakKeyDictionary[asyncio.AbstractEventLoop, AccessChecker] = WeakKeyDictionary()


def get_access_checker() -> AccessChecker:
    """Return the running event loop's checker."""
    return _checkers.setdefault(asyncio.get_running_loop(), AccessChecker())
