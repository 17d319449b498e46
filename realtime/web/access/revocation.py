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
from typing import Any, Final
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async

from realtime.conf import conf
from realtime.core.codes import CloseCode
from realtime.core.logs import get_logger
from realtime.groups.layer import access_group, get_layer
from realtime.web.registry import Connection, get_registry

from .identity import check_users
from .signals import MESSAGE_TYPE

logger = get_logger("realtime.access")

#: Connections in one batch: all lookups wait for the one thread of the database.
_BATCH: Final = 20
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
#: Seconds that a handshake may take between the lookup of its user and its end.
_HANDSHAKE: Final = 10.0


class AccessChecker:
    """A task that receives messages, and one that checks the connections of an event loop."""

    def __init__(self) -> None:
        self._registry = get_registry()
        #: To be checked at once.
        self._urgent: dict[Connection, None] = {}
        #: Set once the group was joined, or could not be joined at first.
        self._tried_to_join = asyncio.Event()
        #: The users of the newest messages, and when these came.
        self._recent: dict[str, float] = {}
        #: The calls of ``user_checked`` that have not returned.
        self._deliveries: dict[Connection, asyncio.Task[None]] = {}
        self._is_urgent = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Check the registry's connections that have a user from now on."""
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(each) for each in (self._receive(), self._run())]

    async def ready(self) -> None:
        """Return when messages are received, or after half a second.

        A message that comes between the first connection of a process and the joining of the group
        would be missed.
        """
        if not self._tried_to_join.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_JOIN_TIMEOUT):
                    await self._tried_to_join.wait()

    def joined(self, connection: Connection) -> None:
        """Check a connection at once if a message about its user came during its handshake."""
        now = asyncio.get_running_loop().time()
        came = max(self._recent.get(key, float("-inf")) for key in (connection.user_key, ""))
        if now - came < _HANDSHAKE:
            self._check_soon([connection])

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
        self._remember(key)
        if not key:
            self._check_soon([each for each in self._registry.signed_in() if each.has_rights])
        for connection in self._registry.of_user(key):
            if not sessions:
                self._check_soon([connection])
            elif connection.session and connection.session in sessions:
                if message.get("renewed") is True:
                    connection.expect_new_session_key()
                else:
                    connection.sign_out()

    def _remember(self, key: str) -> None:
        now = asyncio.get_running_loop().time()
        self._recent.pop(key, None)
        self._recent[key] = now
        while now - self._recent[oldest := next(iter(self._recent))] > _HANDSHAKE:
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
            connections = [*(each for each in self._urgent if each in self._registry), *due]
            self._urgent = {}
            for start in range(0, len(connections), _BATCH):
                try:
                    await self._check(connections[start : start + _BATCH])
                except Exception as error:  # noqa: BLE001 - the next check may succeed
                    logger.warning("access_check_failed error=%r", error)

    async def _check(self, connections: Sequence[Connection]) -> None:
        for connection in connections:
            self._registry.mark_checked(connection)
        pairs = [(connection.scope, connection.user) for connection in connections]
        results = await database_sync_to_async(check_users)(pairs)
        tasks = [
            self._deliver(connection, each)
            for connection, each in zip(connections, results, strict=True)
        ]
        # A connection may call CAN_SUBSCRIBE, which may be slow: the next batch does not wait.
        if deliveries := [task for task in tasks if task is not None]:
            await asyncio.wait(deliveries, timeout=_CONNECTION_TIMEOUT)

    def _deliver(self, connection: Connection, result: Any) -> asyncio.Task[None] | None:
        """Call a connection with a result; no second time while it uses the last one."""
        if connection in self._deliveries and not isinstance(result, CloseCode):
            return None
        task = asyncio.get_running_loop().create_task(_deliver(connection, result))
        self._deliveries[connection] = task
        task.add_done_callback(lambda done: self._delivered(connection, done))
        return task

    def _delivered(self, connection: Connection, task: asyncio.Task[None]) -> None:
        if self._deliveries.get(connection) is task:
            del self._deliveries[connection]


async def _deliver(connection: Connection, result: Any) -> None:
    try:
        if isinstance(result, Exception):
            raise result
        await connection.user_checked(result)
    except Exception as error:  # noqa: BLE001 - databases fail in many ways
        logger.warning("access_check_failed user=%s error=%r", connection.user_key, error)


_checkers: WeakKeyDictionary[asyncio.AbstractEventLoop, AccessChecker] = WeakKeyDictionary()


def get_access_checker() -> AccessChecker:
    """Return the running event loop's checker."""
    return _checkers.setdefault(asyncio.get_running_loop(), AccessChecker())
