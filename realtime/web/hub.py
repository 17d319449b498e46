"""One channel per process, one loop that receives, and all subscriptions of the process behind it.

A consumer has no channel of its own: Channels would dispatch each message to each consumer, which
makes the consumers of its tutorial slow. The store is the truth and a group message a fast copy, so
the hub also compares its heads with the store's, and recovers what did not arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from redis.exceptions import ReadOnlyError

from realtime.core.event import Event
from realtime.core.logs import get_logger
from realtime.core.position import Head, Position, Step, step
from realtime.core.topics import TASK, Topic
from realtime.groups.layer import from_message
from realtime.store import get_store
from realtime.store.reading import Reading

from .head_checks import HeadChecks
from .layer_link import Link
from .recall import recall_quietly
from .rechecks import Rechecks
from .registry import get_registry
from .subscription import BaseSubscription, Subscription
from .watched_topic import WatchedTopic

__all__ = ["Hub", "Subscription", "get_hub"]

logger = get_logger("realtime.hub")

#: The layer does not wait for Redis to confirm that it joined a group: a topic just joined is
#: checked again after these seconds.
RECHECKS: Final = (0.25, 1.0)
#: Seconds between two calls of a store that does not answer.
_PAUSE: Final = 0.5
#: Seconds between two deliveries to a subscriber that raises, at most.
_MAX_PAUSE: Final = 60.0
#: Seconds that closing may take when the event loop ends.
_CLOSE_TIMEOUT: Final = 2.0


class Hub:
    """The topics that one event loop watches, and their subscriptions."""

    def __init__(self) -> None:
        self._store = get_store()
        self.link = Link(self._store, self)
        self._watched: dict[str, WatchedTopic] = {}
        self._checks = HeadChecks(
            self._store,
            self._watched,
            on_different=self._start_recovery,
            on_answer=self._store_answered,
            on_failure=self._store_failed,
        )
        self._rechecks = Rechecks(lambda names: self._spawn(self._checks.check(names)))
        self._is_started = False
        #: Whether the store answered the last call.
        self._store_answers = True
        self._is_reconnecting = False

    @property
    def is_receiving(self) -> bool:
        """Whether the layer delivers anything."""
        return self.link.is_receiving

    def start(self) -> None:
        """Check the store, the layer and the topics from now on."""
        if not self._is_started:
            self._is_started = True
            self.link.start_checks()
            self._spawn(self._checks.run())
            self._spawn(self._close_with_loop())

    async def subscribe(
        self, topic: Topic, subscription: BaseSubscription, since: Position | None = None
    ) -> tuple[Reading, Callable[[], None]]:
        """Join a topic and read it; return the reading, and a call that starts the deliveries.

        Raises what the layer and the store raise, and ConnectionError if the hub is closed
        meanwhile; there is no subscription then.
        """
        self.start()
        watched = self._watched.get(str(topic))
        if watched is None:
            watched = self._watched[str(topic)] = WatchedTopic(topic)
        watched.subscriptions.add(subscription)
        try:
            # Join first, then read: the other order can lose the event in between.
            await self.link.join(watched.name)
            reading = await self._read(topic, since, limit=subscription.limit)
            if self._watched.get(watched.name) is not watched:
                raise ConnectionError("closed")
        except BaseException as error:
            self.drop(topic, subscription)
            if isinstance(error, Exception):
                self._store_failed(error)
            raise
        self._use_first_reading(watched, reading)
        for delay in RECHECKS:
            self._rechecks.add(watched.name, delay)
        return reading, lambda: self._begin(watched, subscription, reading.position)

    def drop(self, topic: Topic, subscription: BaseSubscription) -> asyncio.Task[None] | None:
        """End a subscription at once; return the task that leaves the group, if it was the last."""
        watched = self._watched.get(str(topic))
        if watched is None:
            return None
        watched.subscriptions.discard(subscription)
        if watched.subscriptions:
            return None
        del self._watched[watched.name]
        if watched.recovery is not None:
            watched.recovery.cancel()
        return self._spawn(self.link.leave(watched.name))

    async def unsubscribe(self, topic: Topic, subscription: BaseSubscription) -> None:
        """End a subscription; return when the process has left the group, if it was the last."""
        leaving = self.drop(topic, subscription)
        if leaving is not None:
            await asyncio.wait((leaving,))

    async def read_page(self, topic: Topic, after: str, limit: int) -> tuple[Sequence[str], Any]:
        """Return the statuses of a page, and the ``after`` of the next one; None at the end.

        Raises ValueError for an ``after`` that no page returned, and what the store raises.
        """
        page = await self._store.page(topic, after, limit)
        self.link.answer_count += 1
        return page.texts, page.next

    def refresh(self, topic: Topic, subscription: BaseSubscription) -> None:
        """Deliver a new reading to one subscription, and nothing before that."""
        subscription.pause()
        watched = self._watched.get(str(topic))
        if watched is not None and not subscription.is_refreshing:
            subscription.is_refreshing = True
            self._spawn(self._refresh(watched, subscription))

    def resume(self, topic: Topic, subscription: BaseSubscription) -> None:
        """Deliver what arrived while a subscription was paused."""
        watched = self._watched.get(str(topic))
        if watched is None or subscription not in watched.subscriptions:
            return  # it has ended
        if subscription.is_refreshing:
            return  # the reading comes first
        try:
            is_complete = subscription.resume()
        except Exception:
            logger.exception("subscriber_failed topic=%s", topic)
            is_complete = False
        if not is_complete:
            self.refresh(topic, subscription)

    def recall(self, task_id: str) -> None:
        """Search the result backend for a task's ending; one that is found comes as an event."""
        self._spawn(recall_quietly(task_id))

    async def close(self) -> None:
        """End everything: subscriptions get nothing more, and the next one starts the hub again."""
        self._is_started = False
        recoveries = {watched.recovery for watched in self._watched.values() if watched.recovery}
        self._watched.clear()
        self._rechecks.clear()
        for task in recoveries:
            task.cancel()
        await asyncio.gather(self.link.close(), *recoveries, return_exceptions=True)

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        return self.link.spawn(coroutine)

    async def _close_with_loop(self) -> None:
        """Close the connections when the event loop ends; one made for a single call soon does.

        ``asyncio.run()``, and so ``async_to_sync()``, cancels every task that is left.
        """
        try:
            await asyncio.Event().wait()
        finally:
            loop = asyncio.get_running_loop()
            if _hubs.get(loop) is self:
                del _hubs[loop]  # it refers to the loop
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self.link.disconnect()

    async def _read(self, topic: Topic, since: Position | None, *, limit: int) -> Reading:
        reading = await self._store.read(topic, since, limit=limit)
        self.link.answer_count += 1
        return reading

    # What the link calls

    def topics(self) -> Collection[str]:
        """Return the topics that this process watches."""
        return self._watched.keys()

    async def availability_checked(self, available: bool) -> None:
        """Notify all connections if the store is away now, or back."""
        registry = get_registry()
        if available != registry.store_available:
            logger.warning("store_available=%s", available)
            await registry.set_store_available(available)

    def receive(self, message: Any) -> None:
        """Receive a message of the layer."""
        if event := from_message(message):
            watched = self._watched.get(event.topic)
            if watched is not None:
                self._receive_event(watched, event)

    # Delivering

    def _receive_event(self, watched: WatchedTopic, event: Event) -> None:
        if watched.head is None or watched.recovery is not None:
            watched.defer(event)
            return
        following = step(watched.position, event.position)
        if following is Step.DROP:
            # It is late or a duplicate; or this event or the one before it is forged; or the
            # store went back and counts this offset again. Only a reading can show which.
            self._rechecks.add(watched.name, RECHECKS[0])
            return
        self._checks.note_event(watched.name)
        if following is Step.GAP or watched.is_unknown:  # only the store knows the task's owner
            watched.defer(event)
            self._start_recovery(watched)
        else:
            self._deliver(watched, event)
            if not watched.can_change:
                # Clients end their subscriptions at SUCCESS: verify soon that it is true.
                self._rechecks.add(watched.name, RECHECKS[0])

    def _deliver(self, watched: WatchedTopic, item: Event | Reading) -> None:
        watched.advance(item)
        deliver: Callable[[BaseSubscription, Any], bool] = (
            BaseSubscription.deliver
            if isinstance(item, Event)
            else BaseSubscription.deliver_reading
        )
        for subscription in tuple(watched.subscriptions):
            try:
                if deliver(subscription, item):
                    continue
            except Exception:  # the others get it all the same
                logger.exception("subscriber_failed topic=%s", watched.name)
            self.refresh(watched.topic, subscription)

    def _use_first_reading(self, watched: WatchedTopic, reading: Reading) -> None:
        """Set the head, if this is the topic's first subscription; else compare the two."""
        if watched.head is None:
            watched.advance(reading)
            backlog, watched.backlog = watched.backlog, []
            for event in backlog:
                self._receive_event(watched, event)
        elif step(watched.position, reading.position) is not Step.DROP:
            # The head is behind this reading. The check finds out whether the message that
            # brings the other subscriptions there was lost.
            self._rechecks.add(watched.name, RECHECKS[0])

    def _begin(
        self, watched: WatchedTopic, subscription: BaseSubscription, position: Position
    ) -> None:
        subscription.begin_at(position)
        self.resume(watched.topic, subscription)

    async def _refresh(self, watched: WatchedTopic, subscription: BaseSubscription) -> None:
        pause = _PAUSE
        while subscription in watched.subscriptions:
            subscription.pause()
            try:
                reading = await self._read(watched.topic, None, limit=subscription.limit)
            except Exception as error:  # noqa: BLE001 - stores fail in many ways
                self._store_failed(error)
                await asyncio.sleep(_PAUSE)
                continue
            if subscription not in watched.subscriptions:
                return
            try:
                subscription.is_refreshing = False
                if subscription.restart(reading):
                    return
            except Exception:
                logger.exception("subscriber_failed topic=%s", watched.name)
            subscription.is_refreshing = True
            subscription.pause()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE)

    # Recovering

    def _start_recovery(self, watched: WatchedTopic) -> None:
        if watched.recovery is not None:
            # It may have read the topic already, before the change that was found now.
            self._rechecks.add(watched.name, RECHECKS[0])
        elif watched.head is not None:
            recovery = self._recover(watched, watched.head)
            watched.recovery = asyncio.get_running_loop().create_task(recovery)

    async def _recover(self, watched: WatchedTopic, head: Head) -> None:
        """Deliver what the store has since ``head``: the events, or else a reading."""
        while True:
            try:
                reading = await self._store.read_since(watched.topic, head)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, the gap is still there
                self._store_failed(error)
                await asyncio.sleep(_PAUSE)
        self.link.answer_count += 1
        watched.recovery = None
        owner_changed, watched.owner = watched.owner != reading.owner, reading.owner
        if not reading.recovered:
            self._deliver(watched, reading)
            if not reading.texts and watched.topic.kind == TASK:
                # The store lost the task, perhaps with an ending that did not arrive here. If the
                # result backend stores that, it comes back as an event.
                self.recall(watched.topic.ident)
        elif owner_changed:
            for subscription in tuple(watched.subscriptions):
                if not subscription.admits(reading):
                    self.refresh(watched.topic, subscription)
        for event in reading.events(watched.name):
            self._deliver(watched, event)
        # The store is the truth: a message that still does not follow on is checked, not believed.
        backlog, watched.backlog = watched.backlog, []
        for event in backlog:
            match step(watched.position, event.position):
                case Step.DELIVER:
                    self._deliver(watched, event)
                case Step.GAP:
                    self._rechecks.add(watched.name, RECHECKS[0])

    # Checking

    async def check_all(self) -> None:
        """Check every topic, after messages may have been lost."""
        await self._checks.check(tuple(self._watched))

    def _store_answered(self) -> None:
        self._store_answers = True
        self.link.answer_count += 1

    def _store_failed(self, error: BaseException) -> None:
        if not self._is_started:
            return  # the error is the hub's own end
        if self._store_answers:
            logger.warning("store_unreachable error=%r", error)
        self._store_answers = False
        if isinstance(error, ReadOnlyError) and not self._is_reconnecting:
            # Another server took over, and this one became its replica.
            self._is_reconnecting = True
            self._spawn(self._reconnect())

    async def _reconnect(self) -> None:
        try:
            await self.link.reconnect()
        finally:
            self._is_reconnecting = False


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """Return the running event loop's hub."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    return hub
