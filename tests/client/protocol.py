"""The wire protocol as a client keeps it, without I/O: frames, positions, the gap rule, endings.

`Conversation` is for tests: it numbers requests, and keeps the frames that arrived until
the test asks for them. `Feed` has the data of one topic.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from realtime.core.position import Position, Step, step
from realtime.core.states import TERMINAL

Frame = dict[str, Any]

#: Seconds until a test gives up waiting for a frame.
DEADLINE = 30.0
#: Statuses of a snapshot and of a page: as many as the server allows.
LIMIT = 200

#: Text of the code, which no frame may contain.
INSIDE = re.compile(r"Traceback|File \"|site-packages|\.py\b|Error\(")


def position_in(frame: Frame) -> Frame:
    """Return the position of an answer or an event, as a `since`."""
    return {"epoch": frame["epoch"], "offset": frame["offset"]}


class Conversation(ABC):
    """A client of one connection. Frames that arrive wait in order until a test asks for them."""

    def __init__(self) -> None:
        self.arrived: list[Frame] = []
        self._numbers = itertools.count(1)

    @abstractmethod
    async def _receive(self) -> None:
        """Return when the transport has added a frame to `arrived`."""

    @abstractmethod
    async def send(self, frame: Frame) -> None:
        """Give a frame to the transport."""

    def request(self, type_: str, **keys: Any) -> Frame:
        """Return a request with an id of its own."""
        return {"type": type_, "id": next(self._numbers), **keys}

    async def ask(self, type_: str, **keys: Any) -> Frame:
        """Send a request and return the answer."""
        request = self.request(type_, **keys)
        await self.send(request)
        return await self.answer(request["id"])

    async def subscribe(self, topic: str, **keys: Any) -> Frame:
        """Subscribe and return the answer, also where it is a refusal."""
        return await self.ask("subscribe", topic=topic, **keys)

    async def first(self, wanted: Callable[[Frame], bool]) -> Frame:
        """Return the first frame that is wanted; the others stay. Raises TimeoutError."""
        known = 0
        while True:
            for index in range(known, len(self.arrived)):
                if wanted(self.arrived[index]):
                    return self.arrived.pop(index)
            known = len(self.arrived)
            async with asyncio.timeout(DEADLINE):
                await self._receive()

    async def next(self, type_: str | None = None) -> Frame:
        """Return the next frame, of a type if one is named."""
        return await self.first(lambda frame: type_ in (None, frame["type"]))

    async def answer(self, number: int) -> Frame:
        """Return the answer to the request with this id."""
        return await self.first(lambda frame: frame.get("id") == number)

    async def event(self, topic: str | None = None) -> Frame:
        """Return the next frame that is no answer, of a topic if one is named."""
        return await self.first(
            lambda frame: "id" not in frame and (topic is None or frame.get("topic") == topic)
        )

    async def ending(self, topic: str) -> list[Frame]:
        """Return a topic's events up to the first one that is an ending."""
        events = [await self.event(topic)]
        while events[-1]["status"]["state"] not in TERMINAL:
            events.append(await self.event(topic))
        return events

    async def has_nothing(self) -> bool:
        """Return whether no frame arrived that the test did not ask for, up to a pong."""
        await self.ask("ping")
        return not self.arrived


class Feed:
    """A client's data of one topic. Its methods return the statuses to call back with."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.position: Position | None = None
        self._epoch = ""
        self._versions: dict[str, int] = {}
        #: Versions that a page had: events that were under way come after the page.
        self._paged: dict[str, int] = {}
        #: Each task's last ending, and the epoch in which the client had it last.
        self._endings: dict[str, tuple[str, tuple[int, int, str]]] = {}

    def subscription(self, **keys: Any) -> Frame:
        """Return the keys of a `subscribe` that resumes at this feed's position."""
        keys |= {"topic": self.topic}
        if self.topic.startswith("user:"):
            keys["limit"] = LIMIT
        if self.position is not None:
            keys["since"] = self.position._asdict()
        return keys

    def receive(self, frame: Frame) -> list[Frame]:
        """Apply a frame of this topic; return the statuses that are new.

        Raises ValueError where the server broke the contract.
        """
        kind = frame["type"]
        if kind == "page":
            return self.add_page(frame["snapshot"])
        if kind not in ("subscribed", "snapshot", "event"):
            raise ValueError(f"unexpected {frame}")
        position = Position(frame["epoch"], frame["offset"])
        if kind == "event":
            return self.add_event(position, frame.get("merged", 0), frame["status"])
        if kind == "snapshot" or not frame["recovered"]:
            return self.replace(position, frame["snapshot"])
        news = []
        for event in frame["events"]:
            at = Position(position.epoch, event["offset"])
            news += self.add_event(at, event.get("merged", 0), event["status"])
        if self.position != position:
            raise ValueError(f"{self.topic}: recovered to {self.position}, not {position}")
        return news

    def replace(self, position: Position, statuses: Sequence[Frame]) -> list[Frame]:
        """Apply a snapshot."""
        if position.epoch != self._epoch:
            self._versions.clear()
            self._paged.clear()
            self._epoch = position.epoch
        self.position = position
        return self._newer(statuses)

    def add_page(self, statuses: Sequence[Frame]) -> list[Frame]:
        """Apply the statuses that follow those of a snapshot."""
        self._paged |= {one["task_id"]: one["version"] for one in statuses}
        return self._newer(statuses)

    def add_event(self, position: Position, merged: int, status: Frame) -> list[Frame]:
        """Apply an event. Return its status also where the server sends a version twice.

        Raises ValueError for a duplicate position and for a gap: a server that keeps the contract
        sends neither on one connection.
        """
        last = self.position
        followed = Position(position.epoch, position.offset - merged)
        if step(last, position) is Step.DROP or step(last, followed) is Step.GAP:
            raise ValueError(f"{self.topic}: {position} merged={merged} after {last}")
        self.position = position
        if status["version"] <= self._paged.get(status["task_id"], 0):
            return []
        return [status] if self._is_news(status) else []

    def _newer(self, statuses: Sequence[Frame]) -> list[Frame]:
        newer = [one for one in statuses if one["version"] > self._versions.get(one["task_id"], 0)]
        return [one for one in newer if self._is_news(one, in_snapshot=True)]

    def _is_news(self, status: Frame, *, in_snapshot: bool = False) -> bool:
        """Whether to call back with a status: not with an ending that the client has had.

        Only a snapshot, and another epoch (after a lost log versions start over), may repeat an
        ending. Within an epoch a repeated event is the server's fault, which the oracle must see.
        """
        task, epoch = status["task_id"], self._epoch
        self._versions[task] = status["version"]
        if status["state"] not in TERMINAL:
            self._endings.pop(task, None)
            return True
        ending = status["run"], status["attempt"], status["state"]
        last_epoch, last = self._endings.get(task, ("", None))
        self._endings[task] = epoch, ending
        return ending != last or (epoch == last_epoch and not in_snapshot)


def strict_json(text: str) -> Any:
    """Read JSON. NaN, infinities, doubled keys and text from inside the service are errors."""
    assert not INSIDE.search(text), text
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), "a key is there twice"
    return found
