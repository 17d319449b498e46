"""The hub's two connections: to the channel layer, which brings events, and to the store.

A layer tells nobody that it has lost its connection, and messages with it. A connection that is
half-open never fails: nothing arrives. So the hub sends a message to itself every second, and asks
the store something, and makes both connections anew when nothing comes back for a few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol

from realtime.core.logs import get_logger
from realtime.groups.layer import ChannelLayer, get_layer, group_of, make_layer
from realtime.store.base import Store

logger = get_logger("realtime.hub")

#: Seconds that the layer and the store have to answer. A check begins half of it after the last
#: one, and a quarter of it after one that failed.
BEAT: Final = 1.0
#: So many failed checks in a row, and the clients are told: one may be a connection that was cut
#: and is there again. With the pauses between them that is at most 2.75 s.
AWAY: Final = 2
#: So many, and the connections are made anew: at most 4 s.
REJOIN: Final = 3
#: Seconds that joining or leaving one group may take, and ending a connection.
_TIMEOUT: Final = 3.0
#: Seconds between two attempts to complete what failed.
_PAUSE: Final = 0.5
_BEAT_TYPE: Final = "realtime.beat"


class Owner(Protocol):
    """What a link is made for: the hub."""

    def receive(self, message: Any) -> None:
        """Take a message."""
        ...

    def topics(self) -> Collection[str]:
        """Return the topics whose groups are to be joined."""
        ...

    async def check_all(self) -> None:
        """Find out what was lost while nothing arrived."""
        ...

    async def availability_changed(self, available: bool) -> None:
        """Tell the clients."""
        ...


class Link:
    """One event loop's channel of the layer, and what is known of both connections."""

    def __init__(self, store: Store, owner: Owner) -> None:
        self._store = store
        self._owner = owner
        self.layer = self._make_layer()
        self.channel = ""
        #: Whether the layer brings anything: at least what the hub sends to itself.
        self.hearing = True
        #: Whether both connections answer, as the clients were told.
        self.available = True
        self._heard = asyncio.Event()
        #: Counts what the store has answered, to anybody.
        self.answers = 0
        self.receiving: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        #: Topics whose groups could not be left.
        self._unleft: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._checking = False

    def begin(self) -> None:
        """Check the connections from now on."""
        if not self._checking:
            self._checking = True
            self.spawn(self._check_connections())

    async def start(self) -> None:
        """Open the channel, if there is none. Raises what the layer raises."""
        self.begin()
        async with asyncio.timeout(_TIMEOUT), self._starting:
            layer = self.layer
            channel = "" if self.channel else await layer.new_channel()
            if channel and layer is self.layer:
                self.channel = channel
                self.receiving = self.spawn(self._receive(layer, channel))

    async def join(self, topic: str) -> None:
        """Receive a topic's events. Raises what the layer raises."""
        await self.start()
        await self.layer.group_add(group_of(topic), self.channel)

    async def leave(self, topic: str) -> None:
        """Receive them no more, if nobody wants them any more."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self.layer.group_discard(group_of(topic), self.channel)
                if topic in self._owner.topics():
                    # Somebody joined while this one left: the group is theirs now.
                    await self.layer.group_add(group_of(topic), self.channel)
        except Exception as error:  # noqa: BLE001 - a layer fails in many ways, all the same
            logger.warning("leave_failed topic=%s error=%r", topic, error)
            self._unleft.add(topic)

    async def close(self) -> None:
        """End everything; the next start begins anew."""
        self.channel, self._checking = "", False
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.receiving = self._joining = None
        self._unleft.clear()

    async def disconnect(self) -> None:
        """Close both connections, but for a layer in memory, which is everybody's."""
        if self.layer is not get_layer():
            await self._is_done(self.layer.flush())
        with suppress(Exception):
            async with asyncio.timeout(_TIMEOUT):
                await self._store.close()

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        """Run something until it is over, or the link is closed."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Receiving

    def _make_layer(self) -> ChannelLayer:
        def take(message: Any) -> None:
            if layer is self.layer:  # and not one that was left, whose connection still ends
                self._take(message)

        layer = make_layer(take)
        return layer

    async def _receive(self, layer: ChannelLayer, channel: str) -> None:
        """Receive from a layer that does not call :meth:`_take` by itself."""
        while True:
            try:
                message = await layer.receive(channel)
            except Exception as error:  # noqa: BLE001 - whoever can publish can send anything
                logger.warning("message_unreadable error=%r", error)
                await asyncio.sleep(0)
                continue
            self._take(message)

    def _take(self, message: Any) -> None:
        self._heard.set()
        self._owner.receive(message)

    # Checking

    async def _check_connections(self) -> None:
        loop, failed = asyncio.get_running_loop(), 0
        while True:
            due = loop.time() + (BEAT / 4 if failed else BEAT / 2)
            await asyncio.sleep(due - loop.time())
            late = loop.time() - due
            began = loop.time()
            heard, answers = await asyncio.gather(self._is_heard(), self._store_answers())
            if not (heard and answers) and max(late, loop.time() - began - BEAT) > BEAT / 4:
                continue  # a process that is too busy to notice an answer learns nothing from this
            failed = 0 if heard and answers else failed + 1
            try:
                await self._judge(failed, heard=heard, answers=answers)
            except Exception:  # it must go on
                logger.exception("check_failed")

    async def _judge(self, failed: int, *, heard: bool, answers: bool) -> None:
        if not heard and self.hearing:
            logger.warning("layer_deaf")
        again, self.hearing = heard and not self.hearing, heard
        if failed >= AWAY or not failed:
            await self._tell(not failed)
        if again:
            self.spawn(self._owner.check_all())
        if failed and failed % REJOIN == 0:
            await self.reconnect(heard=heard, answers=answers)
        for topic in tuple(self._unleft) if heard else ():
            self._unleft.discard(topic)
            if topic not in self._owner.topics():
                await self.leave(topic)

    async def _tell(self, available: bool) -> None:
        if available != self.available:
            self.available = available
            logger.warning("store_available=%s", available)
            await self._owner.availability_changed(available)

    async def _is_heard(self) -> bool:
        """Send a message to the own channel; return whether that, or any other, has arrived."""
        self._heard.clear()
        try:
            async with asyncio.timeout(BEAT):
                await self.start()
                await self.layer.send(self.channel, {"type": _BEAT_TYPE})
                await self._heard.wait()
        except Exception:  # noqa: BLE001 - a layer fails in many ways, all the same
            return self._heard.is_set()
        return True

    async def _store_answers(self) -> bool:
        """Ask the store; return whether that, or anything else, was answered in time."""
        before = self.answers
        try:
            async with asyncio.timeout(BEAT):
                await self._store.heads(["ready"])
        except Exception:  # noqa: BLE001 - it may be away in many ways
            return self.answers != before
        return True

    # Connecting anew

    async def reconnect(self, *, heard: bool = False, answers: bool = False) -> None:
        """Make new connections in place of those that do not answer."""
        if not answers:
            with suppress(Exception):
                async with asyncio.timeout(_TIMEOUT):
                    await self._store.close()
            answers = await self._store_answers()
        if answers and not heard:
            # While even a new connection to the store fails, one to the layer would fail as well.
            await self._rejoin()

    async def _rejoin(self) -> None:
        """Join every group again, over the connections of a new layer, and leave the old one."""
        logger.warning("layer_rejoined topics=%d", len(self._owner.topics()))
        old, receiving, layer = self.layer, self.receiving, self._make_layer()
        try:
            async with asyncio.timeout(_TIMEOUT):
                channel = await layer.new_channel()
        except Exception as error:  # noqa: BLE001 - the next checks start over
            logger.warning("rejoin_failed error=%r", error)
            if layer is not old:
                await self._is_done(layer.flush())
            return
        # Both at once: a subscription that comes meanwhile joins the new one.
        self.layer, self.channel = layer, channel
        self._unleft.clear()
        self.receiving = self.spawn(self._receive(layer, channel))
        for task in (receiving, self._joining):
            if task is not None:
                task.cancel()
        if old is not layer:
            self.spawn(self._is_done(old.flush()))
        self._joining = self.spawn(self._join_all(layer, channel, tuple(self._owner.topics())))

    async def _join_all(self, layer: ChannelLayer, channel: str, topics: Iterable[str]) -> None:
        """Join every group, however often one fails, then find out what was lost meanwhile."""
        for topic in topics:
            while topic in self._owner.topics():
                if await self._is_done(layer.group_add(group_of(topic), channel)):
                    break
                await asyncio.sleep(_PAUSE)
        await self._owner.check_all()

    async def _is_done(self, attempt: Awaitable[None]) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT):
                await attempt
        except Exception as error:  # noqa: BLE001 - a layer fails in many ways, all the same
            logger.warning("rejoin_failed error=%r", error)
            return False
        return True
