"""One channel a process, one loop that receives, and every subscription of the process behind it.

A consumer has no channel of its own: Channels' dispatch of each message to each consumer is what
makes the usual way slow. The store is the truth and the group message a fast copy, so the hub
also looks at the positions in the store and repairs what did not arrive.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from realtime.broker import get_broker
from realtime.broker.base import Event, Reading
from realtime.broker.layer import ChannelLayer, from_message, make_layer
from realtime.conf import conf
from realtime.core.logs import get_logger
from realtime.core.position import Place, Position, Step, next_mark, step
from realtime.core.states import SUCCESS
from realtime.core.status import Status
from realtime.core.topics import TASK, Topic, group_name

from .recall import arecall

logger = get_logger("realtime.hub")

#: The layer does not wait for Redis to confirm that it joined a group: a topic just joined is
#: looked at again after these seconds.
RECHECKS: Final = (0.25, 1.0)
#: Seconds between two messages that the hub sends to itself, and that each may take: the layer
#: tells nobody when it has lost its connection, and with it messages.
BEAT: Final = 1.0
#: So many beats in a row that did not come back, while the store answers, make the hub join anew.
REJOIN: Final = 3
_JOIN_TIMEOUT: Final = 3.0  #: seconds
_BEAT_TYPE: Final = "realtime.beat"
#: Seconds between two attempts to reach a store that does not answer.
_PAUSE: Final = 0.5
#: Seconds in which topics to look at are gathered, so that one read serves them all.
_GATHER: Final = 0.05


class Subscription:
    """One reader of one topic. Both callbacks are called in the event loop, and must not block."""

    __slots__ = ("_backlog", "_floor", "on_event", "on_snapshot")

    def __init__(
        self,
        on_event: Callable[[Event], None],
        on_snapshot: Callable[[Position, Sequence[str]], None],
    ) -> None:
        self.on_event = on_event
        self.on_snapshot = on_snapshot
        #: What arrives while the first reading is under way.
        self._backlog: list[Event | Reading] | None = []
        self._floor = Position("", 0)

    def take(self, item: Event | Reading, before: Position | None = None) -> None:
        """Pass on what this reader does not know yet; whoever stands at ``before`` does not."""
        if self._backlog is not None:
            self._backlog.append(item)
        elif isinstance(item, Reading):
            self._floor = item.position
            self.on_snapshot(item.position, item.texts)
        elif self._floor is before or step(self._floor, item.position) is not Step.DROP:
            self._floor = item.position
            self.on_event(item)

    def begin(self, position: Position) -> None:
        """Pass on, from the first reading's position on, what arrived meanwhile."""
        backlog, self._backlog = self._backlog or (), None
        self._floor = position
        for item in backlog:
            if step(position, item.position) is not Step.DROP:
                self.take(item)


class _Watched:
    """A topic that this process watches: its subscriptions, and where they all stand."""

    __slots__ = (
        "backlog",
        "name",
        "place",
        "repair",
        "state",
        "subscriptions",
        "topic",
    )

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.name = str(topic)
        self.subscriptions: set[Subscription] = set()
        self.place: Place | None = None
        #: Events that wait for the place to be known.
        self.backlog: list[Event] = []
        self.repair: asyncio.Task[None] | None = None
        #: The last known state, for a topic of one task.
        self.state = ""

    def deliver(self, item: Event | Reading) -> None:
        before = self.position
        self.learn(item)
        for subscription in tuple(self.subscriptions):
            subscription.take(item, before)

    def learn(self, item: Event | Reading) -> None:
        """Take note of where this leads to, and of the state of a topic of one task."""
        if isinstance(item, Event):
            mark = self.place.mark if self.place else 0
            self.place = Place(item.position, next_mark(mark, item.text))
            self.state = item.state
        else:
            self.place = item.place
            if not self.topic.holds_many:
                self.state = Status.from_json(item.texts[-1]).state if item.texts else ""

    @property
    def position(self) -> Position | None:
        return self.place and self.place.position

    @property
    def can_change(self) -> bool:
        return self.topic.holds_many or self.state != SUCCESS


class Hub:
    """What one event loop watches."""

    def __init__(self) -> None:
        self._broker = get_broker()
        self._layer = self._make_layer()
        self._channel = ""
        self._watched: dict[str, _Watched] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._suspects: dict[float, set[str]] = {}
        self._starting = asyncio.Lock()
        #: Whether the last look at the store succeeded.
        self.healthy = True
        #: Whether the layer brings anything: at least what the hub sends to itself.
        self.hearing = True
        self._heard = asyncio.Event()
        self._receiving: asyncio.Task[None] | None = None

    async def subscribe(
        self, topic: Topic, subscription: Subscription, since: Position | None = None
    ) -> tuple[Reading, Callable[[], None]]:
        """Join a topic and read it; return the reading, and what starts the flow of later events.

        Raises what the broker raises; the subscription is then not there.
        """
        await self._start()
        watched = self._watched.get(str(topic))
        if watched is None:
            watched = self._watched[str(topic)] = _Watched(topic)
        watched.subscriptions.add(subscription)
        try:
            # Join first, then read: the other order can lose the event in between.
            await self._layer.group_add(group_name(watched.name), self._channel)
            reading = await self._broker.read(topic, since)
        except BaseException:
            await self.unsubscribe(topic, subscription)
            raise
        self._settle(watched, reading)
        for delay in RECHECKS:
            self._suspect(watched.name, delay)
        return reading, lambda: subscription.begin(reading.position)

    async def unsubscribe(self, topic: Topic, subscription: Subscription) -> None:
        """Leave a topic; the last one to leave takes the process out of its group."""
        watched = self._watched.get(str(topic))
        if watched is None:
            return
        watched.subscriptions.discard(subscription)
        if not watched.subscriptions:
            del self._watched[watched.name]
            if watched.repair is not None:
                watched.repair.cancel()
            await self._layer.group_discard(group_name(watched.name), self._channel)
            if watched.name in self._watched:
                # Somebody joined while this one left: the group is theirs now.
                await self._layer.group_add(group_name(watched.name), self._channel)

    async def close(self) -> None:
        """Stop everything. Subscriptions get nothing more; the next one begins anew."""
        self._channel = ""
        tasks = {watched.repair for watched in self._watched.values() if watched.repair}
        tasks |= self._tasks
        self._watched.clear()
        self._suspects.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self) -> None:
        async with self._starting:
            if not self._channel:
                self._channel = await self._layer.new_channel()
                self._receiving = self._spawn(self._receive())
                self._spawn(self._check_regularly())
                self._spawn(self._listen_to_itself())
                self._spawn(self._close_with_loop())

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _close_with_loop(self) -> None:
        """Close the connections when the event loop ends, as one made for a single call soon does.

        ``asyncio.run()``, and so ``async_to_sync()``, cancels every task that is left.
        """
        try:
            await asyncio.Event().wait()
        finally:
            await self._broker.close()

    # Events

    def _make_layer(self) -> ChannelLayer:
        def hear(message: Any) -> None:
            if layer is self._layer:  # and not one that was left, whose connection still ends
                self._hear(message)

        layer = make_layer(hear)
        return layer

    async def _receive(self) -> None:
        """Receive from a layer that does not call :meth:`_hear` by itself."""
        while True:
            try:
                message = await self._layer.receive(self._channel)
            except Exception as error:  # noqa: BLE001 - whoever can publish can send anything
                logger.warning("message_unreadable error=%r", error)
                await asyncio.sleep(0)
                continue
            self._hear(message)

    def _hear(self, message: Any) -> None:
        self._heard.set()
        if event := from_message(message):
            self._dispatch(event)

    def _dispatch(self, event: Event) -> None:
        watched = self._watched.get(event.topic)
        if watched is not None:
            self._follow(watched, event)

    def _follow(self, watched: _Watched, event: Event) -> None:
        if watched.place is None or watched.repair is not None:
            watched.backlog.append(event)
            return
        match step(watched.position, event.position):
            case Step.DELIVER:
                watched.deliver(event)
                if not watched.can_change:
                    # Nobody looks at it again: a last time, whether it is true.
                    self._suspect(watched.name, RECHECKS[0])
            case Step.DROP:
                # Late or doubled; or else it is forged, or the one before it was, or the store
                # went back and counts this offset again. A look at the store tells.
                self._suspect(watched.name, RECHECKS[0])
            case Step.GAP:
                watched.backlog.append(event)
                self._repair(watched)

    def _settle(self, watched: _Watched, reading: Reading) -> None:
        """Take a first reading into account for the topic as a whole."""
        if watched.place is None:
            watched.learn(reading)
            self._replay(watched)
        elif step(watched.position, reading.position) is not Step.DROP:
            # The others are behind what was just read. Should the message that brings them there
            # be lost, the next look at the positions finds out.
            self._suspect(watched.name, RECHECKS[0])

    def _replay(self, watched: _Watched) -> None:
        backlog, watched.backlog = watched.backlog, []
        for event in backlog:
            self._follow(watched, event)

    # Repairs

    def _repair(self, watched: _Watched) -> None:
        if watched.repair is None and watched.place is not None:
            bridging = self._bridge(watched, watched.place)
            watched.repair = asyncio.get_running_loop().create_task(bridging)

    async def _bridge(self, watched: _Watched, place: Place) -> None:
        """Bring a topic's subscriptions from where they stand to where the store is."""
        while True:
            try:
                reading = await self._broker.follow(watched.topic, place)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, the gap is still there
                self._unhealthy(error)
                await asyncio.sleep(_PAUSE)
        watched.repair = None
        if not reading.recovered:
            watched.deliver(reading)
            if not reading.texts and watched.topic.kind == TASK:
                # The store lost it, perhaps with an ending that nobody here was told. Should the
                # result backend hold that, it comes back as an event.
                self._spawn(arecall(watched.topic.ident))
        for event in reading.events(watched.name):
            watched.deliver(event)
        # The store is the truth: what still does not follow on is looked at again, not believed.
        backlog, watched.backlog = watched.backlog, []
        for event in backlog:
            match step(watched.position, event.position):
                case Step.DELIVER:
                    watched.deliver(event)
                case Step.GAP:
                    self._suspect(watched.name, RECHECKS[0])

    async def _check_regularly(self) -> None:
        """Look, every now and then, at where every topic that can still change stands."""
        while True:
            pause = conf().CHECK_INTERVAL * random.uniform(0.8, 1.2)  # noqa: S311
            await asyncio.sleep(pause)
            await self._check_all()

    async def _check_all(self) -> None:
        await self._check([name for name, topic in self._watched.items() if topic.can_change])

    async def _listen_to_itself(self) -> None:
        """Notice that the layer is deaf, and look at everything as soon as it hears again.

        A layer that reconnects does so within a second or two. One whose connection is half-open
        never does: where the store answers all the same, the hub joins anew.
        """
        loop, deaf = asyncio.get_running_loop(), 0
        while True:
            due = loop.time() + BEAT
            await asyncio.sleep(BEAT)
            if loop.time() - due > BEAT / 4:
                continue  # who is too busy to hear anything in time is not deaf
            self._heard.clear()
            try:
                async with asyncio.timeout(BEAT):
                    await self._layer.send(self._channel, {"type": _BEAT_TYPE})
                    await self._heard.wait()
            except Exception as error:  # noqa: BLE001 - a layer fails in many ways, all the same
                if self.hearing:
                    logger.warning("layer_deaf error=%r", error)
                self.hearing = False
                deaf = deaf + 1 if await self._store_answers() else 0
                if deaf >= REJOIN:
                    await self._rejoin()
                continue
            deaf = 0
            if not self.hearing:
                self.hearing = True
                await self._check_all()

    async def _store_answers(self) -> bool:
        try:
            async with asyncio.timeout(BEAT / 4):
                await self._broker.places(["ready"])
        except Exception:  # noqa: BLE001 - it may be away in many ways
            return False
        return True

    async def _rejoin(self) -> None:
        """Join every group again, over connections of a new layer's, and leave the old one."""
        logger.warning("layer_rejoined topics=%d", len(self._watched))
        old, receiving, layer = self._layer, self._receiving, self._make_layer()
        try:
            async with asyncio.timeout(_JOIN_TIMEOUT):
                channel = await layer.new_channel()
            # Both at once: who subscribes meanwhile joins the new one.
            self._layer, self._channel = layer, channel
            self._receiving = self._spawn(self._receive())
            if receiving is not None:
                receiving.cancel()
            for name in list(self._watched):
                async with asyncio.timeout(_JOIN_TIMEOUT):
                    await layer.group_add(group_name(name), channel)
            if old is not layer:
                async with asyncio.timeout(_JOIN_TIMEOUT):
                    await old.flush()
        except Exception as error:  # noqa: BLE001 - the next beats will tell, and try again
            logger.warning("rejoin_failed error=%r", error)

    def _suspect(self, name: str, delay: float) -> None:
        """Look at one topic after ``delay`` seconds, together with its neighbours in time."""
        loop = asyncio.get_running_loop()
        due = round((loop.time() + delay) / _GATHER) * _GATHER
        names = self._suspects.get(due)
        if names is None:
            names = self._suspects[due] = set()
            loop.call_at(due, self._check_suspects, due)
        names.add(name)

    def _check_suspects(self, due: float) -> None:
        names = self._suspects.pop(due, ())
        if names:
            self._spawn(self._check(list(names)))

    async def _check(self, names: Sequence[str]) -> None:
        while names := [name for name in names if name in self._watched]:
            known = {name: self._watched[name].place for name in names}
            try:
                places = await self._broker.places(names)
            except Exception as error:  # noqa: BLE001 - the store may be away in many ways
                self._unhealthy(error)
                # Messages may have been lost meanwhile: look again as soon as it answers.
                await asyncio.sleep(_PAUSE)
                continue
            self.healthy = True
            for name, place in zip(names, places, strict=True):
                self._compare(self._watched.get(name), known[name], place)
            return

    def _compare(self, watched: _Watched | None, known: Place | None, found: Place | None) -> None:
        if watched is None or known is None or found in (known, watched.place):
            return
        if found is not None and step(known.position, found.position) is not Step.DROP:
            now = watched.position
            if now != found.position and step(now, found.position) is Step.DROP:
                return  # the events arrived while we looked, and more
        # The store is ahead; or it lost the topic; or it went back, as a failover does.
        self._repair(watched)

    def _unhealthy(self, error: BaseException) -> None:
        if self.healthy:
            logger.warning("store_unreachable error=%r", error)
        self.healthy = False


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """Return the running event loop's hub."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    return hub
