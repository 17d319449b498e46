"""Until when a connection may see what it was granted: checks, regularly and after a change.

A message about a change may be lost, and a change may come without a signal
(``QuerySet.update()``), so each connection of a signed-in user is checked once in
``ACCESS_INTERVAL`` seconds. One task checks all connections, in batches: a task for each would
cost memory per socket, and a query to the database per connection. Most checks compare the rows of
the session and the user with those of the last check, see ``rows.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from types import MappingProxyType
from typing import Any, Final
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async

from realtime.conf import conf
from realtime.core.chunks import chunks
from realtime.core.codes import CloseCode
from realtime.core.logs import get_logger
from realtime.groups.layer import access_group, get_layer
from realtime.web.registry import Connection, get_registry

from .identity import READ_AT, check_users, find_row_hashes
from .rows import take_row_hash, was_asked
from .signals import MESSAGE_TYPE

logger = get_logger("realtime.access")

#: Connections whose sessions are decoded in one batch: all lookups wait for the one thread of the
#: database.
_BATCH: Final = 20
#: Connections whose rows are compared in one batch.
_ROWS: Final = 1000
#: Seconds between two attempts to receive messages.
_PAUSE: Final = 1.0
#: Rounds of regular checks in ``ACCESS_INTERVAL``; each checks its share of the connections.
_ROUNDS: Final = 30
#: Seconds that a batch waits until its connections have used the results.
_CONNECTION_TIMEOUT: Final = 0.25
#: The part of ``ACCESS_INTERVAL`` in which all are checked; the rest is for checks that take long.
_MARGIN: Final = 0.8
#: Seconds that the first handshakes wait until messages are received.
_JOIN_TIMEOUT: Final = 0.5
#: Seconds that messages are remembered for handshakes whose user was read before.
_HANDSHAKE: Final = 10.0


class AccessChecker:
    """A task that receives messages, and one that checks the connections of an event loop."""

    def __init__(self) -> None:
        self._registry = get_registry()
        #: To be checked at once.
        self._urgent: dict[Connection, None] = {}
        #: Set once the group was joined, or could not be joined at first.
        self._tried_to_join = asyncio.Event()
        #: When the group was joined, by the event loop's clock.
        self._joined_at = float("-inf")
        #: When the newest message about a user ("" for all) and session ("" for all of them) came.
        self._recent: dict[tuple[str, str], tuple[float, Mapping[str, Any]]] = {}
        #: The calls of ``user_checked`` that have not returned.
        self._deliveries: dict[Connection, asyncio.Task[None]] = {}
        self._is_urgent = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Check the registry's connections that have a user from now on.

        Return when messages are received, or after half a second: a message right after the first
        handshake of a process would be missed.
        """
        if not self._tasks:
            self._tried_to_join.clear()
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(each) for each in (self._receive(), self._run())]
        if not self._tried_to_join.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_JOIN_TIMEOUT):
                    await self._tried_to_join.wait()

    def joined(self, connection: Connection) -> None:
        """Use the messages about a connection that came during its handshake.

        Its user was read before, and it was not in the registry yet. Its first check compares the
        rows with those of that lookup.
        """
        self._registry.set_row_hash(connection, take_row_hash(connection.scope))
        read_at = connection.scope.get(READ_AT)
        if read_at is None:  # found by the project's own middleware
            read_at = asyncio.get_running_loop().time() - _HANDSHAKE
        elif read_at <= self._joined_at:
            self._check_soon([connection])  # a message may have been missed
        key, session = connection.user_key, connection.session
        for about in {("", ""), (key, ""), (key, session)}:
            came, message = self._recent.get(about, (float("-inf"), {}))
            if came >= read_at:
                self._use(message, connection)

    async def close(self) -> None:
        """End the tasks, until the next start."""
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
                self._joined_at = asyncio.get_running_loop().time()
                self._tried_to_join.set()
                while True:
                    self._on_message(await layer.receive(channel))
            except Exception as error:  # noqa: BLE001 - anybody who can publish can send anything
                self._tried_to_join.set()
                logger.warning("access_receive_failed error=%r", error)
                await asyncio.sleep(_PAUSE)

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message.get("type") != MESSAGE_TYPE:
            return
        key, sessions = message.get("user"), message.get("sessions")
        if not isinstance(key, str) or not isinstance(sessions, list):
            return  # anybody who can publish can send anything
        for session in sessions or [""]:
            if isinstance(session, str) and (session or not sessions):
                self._remember((key, session), message)
        if not key:
            self._check_soon([each for each in self._registry.signed_in() if each.has_rights])
        for connection in self._registry.of_user(key):
            if not sessions or (connection.session and connection.session in sessions):
                self._use(message, connection)

    def _use(self, message: Mapping[str, Any], connection: Connection) -> None:
        """Use a message about the user of a connection, or about its session."""
        if not message.get("sessions"):
            self._check_soon([connection])
        elif message.get("renewed") is True:
            connection.expect_new_session_key()
        else:
            connection.sign_out()

    def _remember(self, about: tuple[str, str], message: Mapping[str, Any]) -> None:
        now = asyncio.get_running_loop().time()
        self._recent.pop(about, None)
        self._recent[about] = now, message
        while now - self._recent[oldest := next(iter(self._recent))][0] > _HANDSHAKE:
            del self._recent[oldest]

    def _check_soon(self, connections: Sequence[Connection]) -> None:
        self._urgent.update(dict.fromkeys(connections))
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
            signed_in = self._registry.signed_in()
            last, count = now, int(share * len(signed_in))
            if count:
                share -= count / len(signed_in)
            due = [each for each in islice(signed_in, count) if each not in self._urgent]
            urgent = [each for each in self._urgent if each in self._registry]
            self._urgent = {}
            await self._check_all(urgent)
            for batch in chunks(due, _ROWS):
                self._registry.put_last(batch)
                try:
                    changed = await self._find_changed(batch)
                except Exception as error:  # noqa: BLE001 - the next check may succeed
                    logger.warning("access_check_failed error=%r", error)
                else:
                    await self._check_all(list(changed), changed)

    async def _find_changed(
        self, connections: Sequence[Connection]
    ) -> Mapping[Connection, bytes | None]:
        """Return those whose access has to be checked, with the hash of their rows.

        These are the ones whose rows have changed since their last check, and the ones whose rights
        may have changed without that.
        """
        pairs = [(connection.scope, connection.user) for connection in connections]
        hashes = await database_sync_to_async(find_row_hashes)(pairs)
        return {
            connection: row_hash
            for connection, (_, user), row_hash in zip(connections, pairs, hashes, strict=True)
            if row_hash is None
            or row_hash != self._registry.row_hash(connection)
            or connection.has_rights
            or was_asked(user)
        }

    async def _check_all(
        self,
        connections: Sequence[Connection],
        row_hashes: Mapping[Connection, bytes | None] = MappingProxyType({}),
    ) -> None:
        for batch in chunks(connections, _BATCH):
            try:
                await self._check(batch, row_hashes)
            except Exception as error:  # noqa: BLE001 - the next check may succeed
                logger.warning("access_check_failed error=%r", error)

    async def _check(
        self, connections: Sequence[Connection], row_hashes: Mapping[Connection, bytes | None]
    ) -> None:
        self._registry.put_last(connections)
        for connection in connections:
            # What is found now may be of other rows. Without a hash the next check finds out.
            self._registry.set_row_hash(connection, None)
        pairs = [(connection.scope, connection.user) for connection in connections]
        results = await database_sync_to_async(check_users)(pairs)
        tasks = [
            self._deliver(connection, each, row_hashes.get(connection))
            for connection, each in zip(connections, results, strict=True)
        ]
        # A connection may call CAN_SUBSCRIBE, which may be slow: the next batch does not wait.
        if deliveries := [task for task in tasks if task is not None]:
            await asyncio.wait(deliveries, timeout=_CONNECTION_TIMEOUT)

    def _deliver(
        self, connection: Connection, result: Any, row_hash: bytes | None
    ) -> asyncio.Task[None] | None:
        """Call a connection with a result; no second time while it uses the last one."""
        if connection in self._deliveries and not isinstance(result, CloseCode):
            return None
        delivery = self._use_result(connection, result, row_hash)
        task = asyncio.get_running_loop().create_task(delivery)
        self._deliveries[connection] = task
        task.add_done_callback(lambda done: self._delivered(connection, done))
        return task

    def _delivered(self, connection: Connection, task: asyncio.Task[None]) -> None:
        if self._deliveries.get(connection) is task:
            del self._deliveries[connection]

    async def _use_result(
        self, connection: Connection, result: Any, row_hash: bytes | None
    ) -> None:
        try:
            if isinstance(result, Exception):
                raise result
            await connection.user_checked(result)
        except Exception as error:  # noqa: BLE001 - databases fail in many ways
            logger.warning("access_check_failed user=%s error=%r", connection.user_key, error)
        else:
            self._registry.set_row_hash(connection, row_hash)


_checkers: WeakKeyDictionary[asyncio.AbstractEventLoop, AccessChecker] = WeakKeyDictionary()


def get_access_checker() -> AccessChecker:
    """Return the running event loop's checker."""
    return _checkers.setdefault(asyncio.get_running_loop(), AccessChecker())
