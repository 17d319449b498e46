"""One channel a process, one loop that receives, and every subscription of the process behind it.

A consumer has no channel of its own: Channels' dispatch of each message to each consumer is what
makes the usual way slow. The store is the truth and the group message a fast copy, so the hub
also looks at the positions in the store and repairs what did not arrive.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from redis.exceptions import ReadOnlyError

from realtime.conf import conf
from realtime.core.event import Event
from realtime.core.logs import get_logger
from realtime.core.position import Head, Position, Step, step
from realtime.core.topics import TASK, Topic
from realtime.groups.layer import from_message
from realtime.store import get_store
from realtime.store.base import Reading

from .layer_link import Link
from .members import Member, Members
from .recall import recall_quietly
from .subscription import Subscription
from .watched import Suspects, Watched

__all__ = ["Hub", "Member", "Subscription", "get_hub"]

logger = get_logger("realtime.hub")

#: The layer does not wait for Redis to confirm that it joined a group: a topic just joined is
#: looked at again after these seconds.
RECHECKS: Final = (0.25, 1.0)
#: Topics that have ended well are looked at once in so many regular checks: their next event, if
#: there is one, is a new publication of the same id. As often lists lose what has expired.
ENDED_EVERY: Final = 12
#: Seconds between two attempts to reach a store that does not answer.
_PAUSE: Final = 0.5
#: Seconds between two attempts to deliver to a subscriber that raises, at most.
_LONGEST_PAUSE: Final = 60.0
#: Seconds that closing may take when the event loop ends.
_CLOSING: Final = 2.0


class Hub:
    """What one event loop watches."""

    def __init__(self) -> None:
        self._store = get_store()
        self.link = Link(self._store, self)
        self._watched: dict[str, Watched] = {}
        self._members = Members()
        self._suspects = Suspects(lambda names: self._spawn(self._check(names)))
        self._started = False
        #: Whether the last look at the store succeeded.
        self.healthy = True
        self._reconnecting = False

    @property
    def hearing(self) -> bool:
        """Whether the layer brings anything."""
        return self.link.hearing

    def join(self, member: Member) -> None:
        """Tell a connection from now on whether the store is away."""
        self._members.add(member)
        self._start()
        if not self.link.available:
            member.store_changed(False)

    def leave(self, member: Member) -> None:
        """Forget a connection that is over."""
        self._members.discard(member)

    async def subscribe(
        self, topic: Topic, subscription: Subscription, since: Position | None = None
    ) -> tuple[Reading, Callable[[], None]]:
        """Join a topic and read it; return the reading, and what starts the flow of later events.

        Raises what the store raises; the subscription is then not there.
        """
        self._start()
        watched = self._watched.get(str(topic))
        if watched is None:
            watched = self._watched[str(topic)] = Watched(topic)
        watched.subscriptions.add(subscription)
        try:
            # Join first, then read: the other order can lose the event in between.
            await self.link.join(watched.name)
            reading = await self._read(topic, since, limit=subscription.limit)
        except BaseException as error:
            self.drop(topic, subscription)
            if isinstance(error, Exception):
                self._failed(error)
            raise
        self._settle(watched, reading)
        for delay in RECHECKS:
            self._suspects.add(watched.name, delay)
        return reading, lambda: self._begin(watched, subscription, reading.position)

    def drop(self, topic: Topic, subscription: Subscription) -> asyncio.Task[None] | None:
        """End a subscription at once; return what takes the process out of the group, if needed."""
        watched = self._watched.get(str(topic))
        if watched is None:
            return None
        watched.subscriptions.discard(subscription)
        if watched.subscriptions:
            return None
        del self._watched[watched.name]
        if watched.repair is not None:
            watched.repair.cancel()
        return self._spawn(self.link.leave(watched.name))

    async def unsubscribe(self, topic: Topic, subscription: Subscription) -> None:
        """Leave a topic; the last one to leave takes the process out of its group."""
        leaving = self.drop(topic, subscription)
        if leaving is not None:
            await asyncio.shield(leaving)

    async def read_page(self, topic: Topic, after: str, limit: int) -> tuple[Sequence[str], Any]:
        """Return the statuses of a page, and what continues it; None at the end.

        Raises ValueError for an ``after`` that no page gave, and what the store raises.
        """
        page = await self._store.page(topic, after, limit)
        self.link.answers += 1
        return page.texts, page.next

    def refresh(self, topic: Topic, subscription: Subscription) -> None:
        """Deliver a fresh reading to one subscription, and nothing before that."""
        subscription.pause()
        watched = self._watched.get(str(topic))
        if watched is not None and not subscription.refreshing:
            subscription.refreshing = True
            self._spawn(self._refresh(watched, subscription))

    def proceed(self, topic: Topic, subscription: Subscription) -> None:
        """Deliver what arrived while a subscription was paused."""
        if subscription.refreshing:
            return  # the reading comes first
        try:
            complete = subscription.proceed()
        except Exception:
            logger.exception("subscriber_failed topic=%s", topic)
            complete = False
        if not complete:
            self.refresh(topic, subscription)

    def recall(self, task_id: str) -> None:
        """Look for a task's ending in the result backend; if there is one, it comes as an event."""
        self._spawn(recall_quietly(task_id))

    async def close(self) -> None:
        """Stop everything. Subscriptions get nothing more; the next one begins anew."""
        self._started = False
        repairs = {watched.repair for watched in self._watched.values() if watched.repair}
        self._watched.clear()
        self._suspects.clear()
        for task in repairs:
            task.cancel()
        await asyncio.gather(self.link.close(), *repairs, return_exceptions=True)

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self.link.begin()
            self._spawn(self._check_regularly())
            self._spawn(self._close_with_loop())

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        return self.link.spawn(coroutine)

    async def _close_with_loop(self) -> None:
        """Leave nothing behind when the event loop ends, as one made for a single call soon does.

        ``asyncio.run()``, and so ``async_to_sync()``, cancels every task that is left.
        """
        try:
            await asyncio.Event().wait()
        finally:
            loop = asyncio.get_running_loop()
            if _hubs.get(loop) is self:
                del _hubs[loop]  # it refers to the loop
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING):
                    await self.link.disconnect()

    async def _read(self, topic: Topic, since: Position | None, *, limit: int) -> Reading:
        reading = await self._store.read(topic, since, limit=limit)
        self.link.answers += 1
        return reading

    # What the link calls

    def topics(self) -> Collection[str]:
        """Return the topics that this process watches."""
        return self._watched.keys()

    async def availability_changed(self, available: bool) -> None:
        """Tell every connection whether the store is away."""
        await self._members.tell(available)

    def receive(self, message: Any) -> None:
        """Take a message of the layer."""
        if event := from_message(message):
            watched = self._watched.get(event.topic)
            if watched is not None:
                self._follow(watched, event)

    # Events

    def _follow(self, watched: Watched, event: Event) -> None:
        if watched.head is None or watched.repair is not None:
            watched.wait(event)
            return
        match step(watched.position, event.position):
            case Step.DELIVER if watched.is_unknown:
                watched.wait(event)  # whose it is says the store alone
                self._repair(watched)
            case Step.DELIVER:
                self._deliver(watched, event)
                if not watched.can_change:
                    # Nobody looks at it again: a last time, whether it is true.
                    self._suspects.add(watched.name, RECHECKS[0])
            case Step.DROP:
                # Late or doubled; or else it is forged, or the one before it was, or the store
                # went back and counts this offset again. A look at the store tells.
                self._suspects.add(watched.name, RECHECKS[0])
            case Step.GAP:
                watched.wait(event)
                self._repair(watched)

    def _deliver(self, watched: Watched, item: Event | Reading) -> None:
        watched.learn(item)
        deliver: Callable[[Subscription, Any], bool] = (
            Subscription.deliver if isinstance(item, Event) else Subscription.deliver_reading
        )
        for subscription in tuple(watched.subscriptions):
            try:
                if deliver(subscription, item):
                    continue
            except Exception:  # it is this subscriber's alone
                logger.exception("subscriber_failed topic=%s", watched.name)
            self.refresh(watched.topic, subscription)

    def _settle(self, watched: Watched, reading: Reading) -> None:
        """Take a first reading into account for the topic as a whole."""
        if watched.head is None:
            watched.learn(reading)
            self._replay(watched)
        elif step(watched.position, reading.position) is not Step.DROP:
            # The others are behind what was just read. Should the message that brings them there
            # be lost, the next look at the positions finds out.
            self._suspects.add(watched.name, RECHECKS[0])

    def _replay(self, watched: Watched) -> None:
        backlog, watched.backlog = watched.backlog, []
        for event in backlog:
            self._follow(watched, event)

    def _begin(self, watched: Watched, subscription: Subscription, position: Position) -> None:
        subscription.begin_at(position)
        self.proceed(watched.topic, subscription)

    async def _refresh(self, watched: Watched, subscription: Subscription) -> None:
        pause = _PAUSE
        while subscription in watched.subscriptions:
            subscription.pause()
            try:
                reading = await self._read(watched.topic, None, limit=subscription.limit)
            except Exception as error:  # noqa: BLE001 - the store may be away in many ways
                self._failed(error)
                await asyncio.sleep(_PAUSE)
                continue
            if subscription not in watched.subscriptions:
                return
            try:
                subscription.refreshing = False
                if subscription.resume(reading):
                    return
            except Exception:
                logger.exception("subscriber_failed topic=%s", watched.name)
            subscription.refreshing = True
            subscription.pause()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    # Repairs

    def _repair(self, watched: Watched) -> None:
        if watched.repair is None and watched.head is not None:
            bridging = self._bridge(watched, watched.head)
            watched.repair = asyncio.get_running_loop().create_task(bridging)

    async def _bridge(self, watched: Watched, head: Head) -> None:
        """Bring a topic's subscriptions from where they stand to where the store is."""
        while True:
            try:
                reading = await self._store.read_since(watched.topic, head)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, the gap is still there
                self._failed(error)
                await asyncio.sleep(_PAUSE)
        self.link.answers += 1
        watched.repair = None
        changed, watched.owner = watched.owner != reading.owner, reading.owner
        if not reading.recovered:
            self._deliver(watched, reading)
            if not reading.texts and watched.topic.kind == TASK:
                # The store lost it, perhaps with an ending that nobody here was told. Should the
                # result backend hold that, it comes back as an event.
                self.recall(watched.topic.ident)
        elif changed:
            for subscription in tuple(watched.subscriptions):
                if not subscription.admits(reading):
                    self.refresh(watched.topic, subscription)
        for event in reading.events(watched.name):
            self._deliver(watched, event)
        # The store is the truth: what still does not follow on is looked at again, not believed.
        backlog, watched.backlog = watched.backlog, []
        for event in backlog:
            match step(watched.position, event.position):
                case Step.DELIVER:
                    self._deliver(watched, event)
                case Step.GAP:
                    self._suspects.add(watched.name, RECHECKS[0])

    async def _check_regularly(self) -> None:
        """Look, every now and then, at where every topic that can still change stands."""
        number = 0
        while True:
            pause = conf().CHECK_INTERVAL * random.uniform(0.8, 1.2)  # noqa: S311
            await asyncio.sleep(pause)
            number += 1
            if rarely := number % ENDED_EVERY == 0:
                lists = [name for name, each in self._watched.items() if each.topic.holds_many]
                with suppress(Exception):  # the check itself says what is wrong with the store
                    await self._store.expire(lists)
            await self._check_all(ended=rarely)

    async def check_all(self) -> None:
        """Look at where every topic stands, after messages may have been lost."""
        await self._check_all(ended=True)

    async def _check_all(self, *, ended: bool) -> None:
        watched = self._watched.items()
        await self._check([name for name, topic in watched if ended or topic.can_change])

    async def _check(self, names: Sequence[str]) -> None:
        while names := [name for name in names if name in self._watched]:
            known = {name: self._watched[name].head for name in names}
            try:
                heads = await self._store.heads(names)
            except Exception as error:  # noqa: BLE001 - the store may be away in many ways
                self._failed(error)
                # Messages may have been lost meanwhile: look again as soon as it answers.
                await asyncio.sleep(_PAUSE)
                continue
            self.healthy = True
            self.link.answers += 1
            for name, head in zip(names, heads, strict=True):
                watched = self._watched.get(name)
                if watched is not None and watched.differs(known[name], head):
                    self._repair(watched)
            return

    def _failed(self, error: BaseException) -> None:
        if self.healthy:
            logger.warning("store_unreachable error=%r", error)
        self.healthy = False
        if isinstance(error, ReadOnlyError) and not self._reconnecting:
            # Another server took over, and this one became its replica.
            self._reconnecting = True
            self._spawn(self._reconnect())

    async def _reconnect(self) -> None:
        try:
            await self.link.reconnect()
        finally:
            self._reconnecting = False


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """Return the running event loop's hub."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    return hub
