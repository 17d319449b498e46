"""Subscribers of a hub in this process: one records, one applies the rules of a client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from realtime.core.event import Event
from realtime.core.position import Position, Step, step
from realtime.core.topics import Topic
from realtime.web.hub import Hub, Subscription

from .protocol import DEADLINE

#: The topic of a subscriber that names none.
TOPIC = Topic("task", "t")


class Subscriber:
    """A subscription that records its events and readings."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.arrived = asyncio.Event()
        self.subscription = Subscription(self._event, self._snapshot)

    async def join(self, hub: Hub, topic: Topic = TOPIC, since: Position | None = None) -> Any:
        """Subscribe to a topic; return itself."""
        self.first, begin = await hub.subscribe(topic, self.subscription, since)
        self._begin(topic)
        begin()
        return self

    async def until(self, condition: Callable[[list[Any]], Any]) -> None:
        """Return when a condition of what was received is true. Raises TimeoutError."""
        async with asyncio.timeout(DEADLINE):
            while not condition(self.received):
                self.arrived.clear()
                await self.arrived.wait()

    def _begin(self, topic: Topic) -> None:
        """Apply the first reading."""

    def _event(self, event: Event) -> None:
        self._receive(("event", event.position.offset, json.loads(event.text)["state"]))

    def _snapshot(self, reading: Any) -> None:
        states = [json.loads(text)["state"] for text in reading.texts]
        self._receive(("snapshot", reading.position.offset, states))

    def _receive(self, item: Any) -> None:
        self.received.append(item)
        self.arrived.set()


class Client(Subscriber):
    """A client that applies the rules of the protocol, as the JavaScript one does."""

    def __init__(self) -> None:
        super().__init__()
        self.position: Position | None = None
        #: (task id, state) of each status that was new.
        self.news: list[tuple[str, str]] = []
        self._versions: dict[str, int] = {}

    async def join(self, hub: Hub, topic: Topic = TOPIC, since: Position | None = None) -> Any:
        """Subscribe to a topic, from a position on; return itself."""
        self.position = since
        return await super().join(hub, topic, since)

    def _begin(self, topic: Topic) -> None:
        if not self.first.recovered:
            self._snapshot(self.first)
            return
        for event in self.first.events(str(topic)):
            self._event(event)

    def _event(self, event: Event) -> None:
        assert step(self.position, event.position) is not Step.GAP
        if step(self.position, event.position) is Step.DELIVER:
            self.position = event.position
            self._accept(event.text)

    def _snapshot(self, reading: Any) -> None:
        if self.position is None or reading.position.epoch != self.position.epoch:
            self._versions = {}
        self.position = reading.position
        for text in reading.texts:
            self._accept(text)

    def _accept(self, text: str) -> None:
        status = json.loads(text)
        if status["version"] > self._versions.get(status["task_id"], 0):
            self._versions[status["task_id"]] = status["version"]
            self.news.append((status["task_id"], status["state"]))
        self._receive(status["state"])
