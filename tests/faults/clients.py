"""Clients that come back, and that log every callback a page would get.

The rules are the wire contract's and the JavaScript client's: where a reader stands decides what
is delivered, and each version is told at most once. What the server may not send is noted too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import WebSocketException
from websockets.typing import Origin

from realtime.core.position import Position, Step, step
from realtime.core.states import TERMINAL
from realtime.web.access.tokens import make_token

from .oracle import Callback

Frame = dict[str, Any]

#: Seconds until an answer is given up, and the connection with it.
PATIENCE = 10.0
#: Statuses of a snapshot and of a page: as many as the server allows.
LIMIT = 200
#: Topics that one connection subscribes to.
TOPICS = 40


class Feed:
    """What a client knows of one topic."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.position: Position | None = None
        self._epoch = ""
        self._versions: dict[str, int] = {}
        #: Versions that a page had: events that were under way then come after it.
        self._paged: dict[str, int] = {}
        #: The last ending that was told of each task, and the epoch in which it was had last.
        self._endings: dict[str, tuple[str, tuple[int, int, str]]] = {}

    def replace(self, position: Position, statuses: Sequence[Frame]) -> list[Frame]:
        """Take a whole picture; return what of it is news."""
        if position.epoch != self._epoch:
            self._versions.clear()
            self._paged.clear()
            self._epoch = position.epoch
        self.position = position
        return self._take_all(statuses)

    def add_page(self, statuses: Sequence[Frame]) -> list[Frame]:
        """Take the statuses that follow those of a snapshot; return what of it is news."""
        self._paged |= {one["task_id"]: one["version"] for one in statuses}
        return self._take_all(statuses)

    def _take_all(self, statuses: Sequence[Frame]) -> list[Frame]:
        fresh = [one for one in statuses if one["version"] > self._versions.get(one["task_id"], 0)]
        return [one for one in fresh if self._is_news(one, after_all=True)]

    def take(self, position: Position, merged: int, status: Frame) -> list[Frame]:
        """Take an event that follows on; return it, also where the server says the same again."""
        last = self.position
        followed = Position(position.epoch, position.offset - merged)
        if step(last, position) is Step.DROP or step(last, followed) is Step.GAP:
            # A server that keeps the contract sends neither on one connection.
            raise ValueError(f"{self.topic}: {position} merged={merged} after {last}")
        self.position = position
        if status["version"] <= self._paged.get(status["task_id"], 0):
            return []
        return [status] if self._is_news(status) else []

    def _is_news(self, status: Frame, *, after_all: bool = False) -> bool:
        """Whether a status is to be called back; an ending is not that was told before.

        Only in a snapshot, and in another epoch (after the log was lost versions start over),
        may it be found again. Within an epoch events follow one another, and whatever was told
        twice there is the server's doing: the oracle is to see it.
        """
        task, epoch = status["task_id"], self._epoch
        self._versions[task] = status["version"]
        if status["state"] not in TERMINAL:
            self._endings.pop(task, None)
            return True
        ending = status["run"], status["attempt"], status["state"]
        last_epoch, last = self._endings.get(task, ("", None))
        self._endings[task] = epoch, ending
        return ending != last or (epoch == last_epoch and not after_all)


class Watcher:
    """One client: a connection that comes back, and its subscriptions."""

    def __init__(
        self, name: str, url: str, topics: Mapping[str, Sequence[str]], rng: random.Random
    ) -> None:
        self.name = name
        self.url = url
        #: The tasks of which it is to hear everything.
        self.watches: list[str] = []
        self.feeds: dict[str, Feed] = {}
        for topic, tasks in topics.items():
            self._add(topic, tasks)
        self.callbacks: list[Callback] = []
        #: What the server sent against the contract.
        self.violations: list[str] = []
        #: (moment, topic, recovered) of each `subscribed`; (moment, topic) of each `snapshot`.
        self.subscribed: list[tuple[float, str, bool]] = []
        self.snapshots: list[tuple[float, str]] = []
        #: The newest state of each task.
        self.states: dict[str, str] = {}
        self.standing: set[str] = set()
        self.codes: list[int] = []
        #: While it is clear the client stays away.
        self.wanted = asyncio.Event()
        self.wanted.set()
        #: Its own, so that it does the same again whatever the others do.
        self._rng = random.Random(rng.getrandbits(64))
        self._numbers = itertools.count(1)
        self._socket: ClientConnection | None = None
        self._welcomed = False
        self._asked: dict[int, Feed] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._refused: asyncio.Queue[Feed] = asyncio.Queue()

    async def run(self) -> None:
        """Connect, and come back until cancelled."""
        attempt = 0
        while True:
            await self.wanted.wait()
            try:
                async with open_socket(
                    self.url,
                    origin=Origin(f"http://{urlsplit(self.url).netloc}"),
                    compression=None,
                    max_size=None,
                    max_queue=None,
                    ping_interval=None,
                    open_timeout=PATIENCE,
                    close_timeout=0.1,
                    proxy=None,
                ) as socket:
                    self._socket = socket
                    welcome = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))
                    attempt, self._welcomed = 0, True
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._subscribe(socket))
                        group.create_task(self._listen(socket, welcome["ping"]))
            except* (OSError, TimeoutError, WebSocketException, EOFError):
                pass
            if self._socket is not None and self._socket.close_code is not None:
                self.codes.append(self._socket.close_code)
            self._welcomed = False
            self._refused = asyncio.Queue()
            self.standing.clear()
            await asyncio.sleep(self._wait(attempt))
            attempt += 1

    @property
    def stands(self) -> bool:
        """Whether it is subscribed to all its topics."""
        return len(self.standing) == len(self.feeds)

    @property
    def is_open(self) -> bool:
        """Whether the server has said welcome."""
        return self._welcomed

    async def join(self, topic: str, tasks: Sequence[str]) -> None:
        """Subscribe to one more topic, now."""
        feed = self._add(topic, tasks)
        if self._socket is not None and self._welcomed:
            await self._ask(self._socket, feed)

    def _add(self, topic: str, tasks: Sequence[str]) -> Feed:
        self.watches += tasks
        feed = self.feeds[topic] = Feed(topic)
        return feed

    async def leave(self) -> None:
        """Go away, until `wanted` is set again."""
        self.wanted.clear()
        if self._socket is not None:
            await self._socket.close()

    async def _subscribe(self, socket: ClientConnection) -> None:
        for number, feed in enumerate(self.feeds.values()):
            if number >= TOPICS:
                await asyncio.sleep(1 / 8)  # the pace that the server allows
            await self._ask(socket, feed)
        # What the service could not answer is asked again.
        refusals = 0
        while True:
            feed = await self._refused.get()
            await asyncio.sleep(self._wait(refusals))
            refusals += 1
            await self._ask(socket, feed)

    async def _ask(self, socket: ClientConnection, feed: Feed) -> None:
        number = next(self._numbers)
        self._asked[number] = feed
        frame = subscribe_frame(number, feed)
        frame["token"] = make_token([feed.topic])[0]
        if feed.position is not None:
            frame["since"] = feed.position._asdict()
        await socket.send(json.dumps(frame))

    def _send_soon(self, frame: Frame) -> None:
        """Send a frame after those that are under way."""
        if self._socket is not None:
            sending = asyncio.get_running_loop().create_task(self._socket.send(json.dumps(frame)))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    def _wait(self, attempt: int) -> float:
        return self._rng.uniform(0, min(20.0, 0.5 * 2**attempt))

    async def _listen(self, socket: ClientConnection, ping: float) -> None:
        while True:
            try:
                text = await asyncio.wait_for(socket.recv(), ping)
            except TimeoutError:
                await socket.send(json.dumps({"type": "ping", "id": next(self._numbers)}))
                text = await asyncio.wait_for(socket.recv(), PATIENCE)
            try:
                self._take(json.loads(text))
            except (ValueError, KeyError, AssertionError) as error:
                self.violations.append(f"{error!r} at {text!r}")

    def _take(self, frame: Frame) -> None:
        at = time.monotonic()
        kind = frame["type"]
        feed = self.feeds.get(frame.get("topic", ""))
        if kind in ("pong", "closing", "store"):
            return
        if kind == "error" and frame["code"] == "internal":
            self._refused.put_nowait(self._asked[frame["id"]])
            return
        if feed is None:
            raise ValueError(f"unexpected {frame}")
        if kind in ("subscribed", "snapshot", "page") and frame.get("next"):
            number, after = next(self._numbers), frame["next"]
            self._send_soon(
                {"type": "page", "id": number, "topic": feed.topic, "after": after, "limit": LIMIT}
            )
        if kind == "page":
            self._tell(at, feed, feed.add_page(frame["snapshot"]))
            return
        position = Position(frame["epoch"], frame["offset"])
        if kind == "subscribed":
            self.standing.add(feed.topic)
            self.subscribed.append((at, feed.topic, frame["recovered"]))
            if frame["recovered"]:
                news = []
                for event in frame["events"]:
                    place = Position(frame["epoch"], event["offset"])
                    news += feed.take(place, event.get("merged", 0), event["status"])
                if feed.position != position:
                    raise ValueError(f"{feed.topic}: recovered to {feed.position}, not {position}")
            else:
                news = feed.replace(position, frame["snapshot"])
        elif kind == "snapshot":
            self.snapshots.append((at, feed.topic))
            news = feed.replace(position, frame["snapshot"])
        elif kind == "event":
            news = feed.take(position, frame.get("merged", 0), frame["status"])
        else:
            raise ValueError(f"unexpected {frame}")
        self._tell(at, feed, news)

    def _tell(self, at: float, feed: Feed, news: Sequence[Frame]) -> None:
        for status in news:
            self.states[status["task_id"]] = status["state"]
            self.callbacks.append(
                Callback(
                    at=at,
                    task=status["task_id"],
                    epoch=f"{feed.topic} {feed.position.epoch if feed.position else ''}",
                    version=status["version"],
                    run=status["run"],
                    attempt=status["attempt"],
                    state=status["state"],
                    result=status["result"],
                )
            )


def subscribe_frame(number: int, feed: Feed) -> Frame:
    """Return what subscribes to a topic, without a token and a position."""
    frame: Frame = {"type": "subscribe", "id": number, "topic": feed.topic}
    if feed.topic.startswith("user:"):
        frame["limit"] = LIMIT
    return frame


class LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, Any], timeout: float = 60.0) -> Any:
        """Run a coroutine in the loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def start(self, watchers: Collection[Any]) -> Callable[[], None]:
        """Let clients run; return what ends them."""

        async def begin() -> list[asyncio.Task[None]]:
            return [asyncio.create_task(watcher.run()) for watcher in watchers]

        tasks = self.call(begin())

        async def end() -> None:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(result, asyncio.CancelledError):
                    raise result if isinstance(result, BaseException) else RuntimeError(result)

        return lambda: self.call(end())

    def close(self) -> None:
        """Stop it, with all that runs in it."""

        async def cancel_all() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
