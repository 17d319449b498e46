"""The hub's two connections: to the channel layer, which delivers events, and to the store.

A layer does not report that it lost its connection, and messages with it. A half-open connection
never fails: nothing arrives. So the hub sends a heartbeat to itself and a request to the store
every half second, and replaces both connections after three checks without an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from realtime.core.chunks import chunks
from realtime.core.logs import get_logger
from realtime.groups.joining import join_all
from realtime.groups.layer import ChannelLayer, get_layer, group_of, make_layer
from realtime.store.base import Store
from realtime.store.batching import MAX_REQUESTS, Batcher

logger = get_logger("realtime.hub")

#: Seconds that the layer and the store have to answer. A check begins half of this time
#: after the last one, and a quarter of it after one that failed.
HEARTBEAT: Final = 1.0
#: Failed checks in a row after which the clients are notified: one failure may be a
#: connection that was lost and restored. With the pauses between them that is at most 2.75 s.
_FAILURES_UNTIL_AWAY: Final = 2
#: Failed checks in a row after which the connections are replaced: at most 4 s.
_FAILURES_UNTIL_RECONNECT: Final = 3
#: Seconds that joining or leaving one group may take, and ending a connection.
_TIMEOUT: Final = 3.0
#: Seconds between two attempts to complete what failed.
_PAUSE: Final = 0.5
_HEARTBEAT_TYPE: Final = "realtime.heartbeat"


class LinkUser(Protocol):
    """What a link calls: the hub."""

    def receive(self, message: Any) -> None:
        """Receive a message of the layer."""
        ...

    def topics(self) -> Collection[str]:
        """Return the topics whose groups are to be joined."""
        ...

    async def check_all(self) -> None:
        """Find out what was lost while nothing arrived."""
        ...

    async def availability_checked(self, available: bool) -> None:
        """Notify the clients if this is a change."""
        ...


class Link:
    """One event loop's channel of the layer, and the state of both connections."""

    def __init__(self, store: Store, user: LinkUser) -> None:
        self._store = store
        self._user = user
        self.layer = self._make_layer()
        self.channel = ""
        #: Whether the layer delivers anything: at least the heartbeats.
        self.is_receiving = True
        self._received = asyncio.Event()
        #: Counts the store's answers to all callers.
        self.answer_count = 0
        self.receiver: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        #: The topics to join: those that come at once are one command.
        self._joins = Batcher(self._join_some)
        #: Topics whose groups could not be left.
        self._to_leave: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_checking = False

    def start_checks(self) -> None:
        """Check the connections from now on."""
        if not self._is_checking:
            self._is_checking = True
            self.spawn(self._check_connections())

    async def open(self) -> None:
        """Open the channel, if there is none.

        Raises what the layer raises, and ConnectionError if the link is closed meanwhile.
        """
        self.start_checks()
        async with asyncio.timeout(_TIMEOUT), self._opening:
            layer = self.layer
            channel = "" if self.channel else await layer.new_channel()
            if not self._is_checking:
                raise ConnectionError("closed")
            if channel and layer is self.layer:
                self.channel = channel
                self.receiver = self.spawn(self._receive(layer, channel))

    async def join(self, topic: str) -> None:
        """Receive a topic's events. Raises what :meth:`open` raises."""
        await self._joins.request(topic)

    async def _join_some(self, topics: Sequence[str]) -> Sequence[None]:
        await self.open()
        # A command that hangs would delay all later topics, also those of a layer that replaces it.
        async with asyncio.timeout(_TIMEOUT):
            await join_all(self.layer, [*map(group_of, topics)], self.channel)
        return [None] * len(topics)

    async def leave(self, topic: str) -> None:
        """Leave the group of a topic that has no subscription left."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self.layer.group_discard(group_of(topic), self.channel)
                if topic in self._user.topics():
                    # A subscription joined while this one left: the group is needed again.
                    await self.layer.group_add(group_of(topic), self.channel)
        except Exception as error:  # noqa: BLE001 - layers fail in many ways
            logger.warning("leave_failed topic=%s error=%r", topic, error)
            self._to_leave.add(topic)

    async def close(self) -> None:
        """End everything; the next :meth:`open` starts again."""
        self.channel, self._is_checking = "", False
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(self._joins.close(), *tasks, return_exceptions=True)
        self.receiver = self._joining = None
        self._to_leave.clear()

    async def disconnect(self) -> None:
        """Close both connections, except a layer in memory, which the whole process shares."""
        if self.layer is not get_layer():
            await self._succeeds(self.layer.flush())
        with suppress(Exception):
            async with asyncio.timeout(_TIMEOUT):
                await self._store.close()

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        """Run a coroutine until it returns, or the link is closed."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Receiving

    def _make_layer(self) -> ChannelLayer:
        def on_message(message: Any) -> None:
            if layer is self.layer:  # not a replaced one, whose connection is about to end
                self._on_message(message)

        layer = make_layer(on_message)
        return layer

    async def _receive(self, layer: ChannelLayer, channel: str) -> None:
        """Receive from a layer that does not call :meth:`_on_message` itself."""
        while True:
            try:
                message = await layer.receive(channel)
            except Exception as error:  # noqa: BLE001 - anybody who can publish can send anything
                logger.warning("message_unreadable error=%r", error)
                await asyncio.sleep(0)
                continue
            self._on_message(message)

    def _on_message(self, message: Any) -> None:
        self._received.set()
        self._user.receive(message)

    # Checking

    async def _check_connections(self) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            due = loop.time() + (HEARTBEAT / 4 if failures else HEARTBEAT / 2)
            await asyncio.sleep(due - loop.time())
            late = loop.time() - due
            began = loop.time()
            layer_ok, store_ok = await asyncio.gather(self._layer_delivers(), self._store_answers())
            is_busy = max(late, loop.time() - began - HEARTBEAT) > HEARTBEAT / 4
            if not (layer_ok and store_ok) and is_busy:
                continue  # this process may have been too busy to notice an answer
            failures = 0 if layer_ok and store_ok else failures + 1
            try:
                await self._use_check(failures, layer_ok=layer_ok, store_ok=store_ok)
            except Exception:  # the checks must go on
                logger.exception("check_failed")

    async def _use_check(self, failures: int, *, layer_ok: bool, store_ok: bool) -> None:
        if not layer_ok and self.is_receiving:
            logger.warning("layer_silent")
        is_back, self.is_receiving = layer_ok and not self.is_receiving, layer_ok
        if failures >= _FAILURES_UNTIL_AWAY or not failures:
            await self._user.availability_checked(not failures)
        if is_back:
            self.spawn(self._user.check_all())
        if failures and failures % _FAILURES_UNTIL_RECONNECT == 0:
            await self.reconnect(layer_ok=layer_ok, store_ok=store_ok)
        for topic in tuple(self._to_leave) if layer_ok else ():
            self._to_leave.discard(topic)
            if topic not in self._user.topics():
                await self.leave(topic)

    async def _layer_delivers(self) -> bool:
        """Send a heartbeat to the own channel; return whether any message arrives in time."""
        self._received.clear()
        try:
            async with asyncio.timeout(HEARTBEAT):
                await self.open()
                await self.layer.send(self.channel, {"type": _HEARTBEAT_TYPE})
                await self._received.wait()
        except Exception:  # noqa: BLE001 - layers fail in many ways
            return self._received.is_set()
        return True

    async def _store_answers(self) -> bool:
        """Call the store; return whether it answers this or any other call in time."""
        before = self.answer_count
        try:
            async with asyncio.timeout(HEARTBEAT):
                await self._store.heads(["ready"])
        except Exception:  # noqa: BLE001 - stores fail in many ways
            return self.answer_count != before
        return True

    # Connecting again

    async def reconnect(self, *, layer_ok: bool = False, store_ok: bool = False) -> None:
        """Replace the connections that do not answer."""
        if not store_ok:
            with suppress(Exception):
                async with asyncio.timeout(_TIMEOUT):
                    await self._store.close()
            store_ok = await self._store_answers()
        if store_ok and not layer_ok:
            # While even a new connection to the store fails, one to the layer would fail as well.
            await self._replace_layer()

    async def _replace_layer(self) -> None:
        """Join every group again, over the connections of a new layer, and leave the old one."""
        logger.warning("layer_replaced topics=%d", len(self._user.topics()))
        old, receiver, layer = self.layer, self.receiver, self._make_layer()
        try:
            async with asyncio.timeout(_TIMEOUT):
                channel = await layer.new_channel()
        except Exception as error:  # noqa: BLE001 - the next checks try again
            logger.warning("join_failed error=%r", error)
            if layer is not old:
                await self._succeeds(layer.flush())
            return
        # Both at once: a subscription that comes meanwhile joins the new one.
        self.layer, self.channel = layer, channel
        self._to_leave.clear()
        self.receiver = self.spawn(self._receive(layer, channel))
        for task in (receiver, self._joining):
            if task is not None:
                task.cancel()
        if old is not layer:
            self.spawn(self._succeeds(old.flush()))
        self._joining = self.spawn(self._join_all(layer, channel, tuple(self._user.topics())))

    async def _join_all(self, layer: ChannelLayer, channel: str, topics: Sequence[str]) -> None:
        """Join every group, each until it succeeds; then find out what was lost meanwhile."""
        for some in chunks(topics, MAX_REQUESTS):
            while some := [topic for topic in some if topic in self._user.topics()]:
                if await self._succeeds(join_all(layer, [*map(group_of, some)], channel)):
                    break
                await asyncio.sleep(_PAUSE)
        await self._user.check_all()

    async def _succeeds(self, attempt: Awaitable[None]) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT):
                await attempt
        except Exception as error:  # noqa: BLE001 - layers fail in many ways
            logger.warning("join_failed error=%r", error)
            return False
        return True
