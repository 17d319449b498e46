"""The same faults for the solution of the Channels tutorial."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence

from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import WebSocketException

from tests.client.watcher import Reader

from .away import Away
from .family import Family
from .gone import Killed, Overtaken
from .links import Links
from .plain import Plain
from .unreliable import Unreliable


class TutorialClient(Reader):
    """A page of the tutorial: a socket for each task, which reconnects."""

    def __init__(
        self, name: str, url: str, topics: Mapping[str, Sequence[str]], rng: random.Random
    ) -> None:
        super().__init__(name, topics, rng)
        self.url = url
        self.is_open = True
        self._open: set[str] = set()
        self._group: asyncio.TaskGroup | None = None

    @property
    def stands(self) -> bool:
        return self._open >= set(self.watches)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            for task in self.watches:
                self._group.create_task(self._follow(task))
            await asyncio.Event().wait()

    async def join(self, _topic: str, tasks: Sequence[str]) -> None:
        self.watches += tasks
        assert self._group is not None
        for task in tasks:
            self._group.create_task(self._follow(task))

    async def _follow(self, task: str) -> None:
        while True:
            try:
                async with open_socket(
                    f"{self.url}{task}/", compression=None, ping_interval=None, proxy=None
                ) as socket:
                    self._open.add(task)
                    async for text in socket:
                        self.call_back(json.loads(text), at=time.monotonic())
            except (OSError, TimeoutError, WebSocketException):
                pass
            await asyncio.sleep(self.rng.uniform(0, 0.5))


class Usual(Family):
    """The rows of a family for the tutorial: its processes and its clients."""

    contrast = True

    def begin(self) -> None:
        self.stage.env["DJANGO_SETTINGS_MODULE"] = "tests.faults.tutorial_settings"
        self.stage.celery_app = "tests.faults.tutorial:app"
        self.stage.asgi_application = "tests.faults.tutorial:application"
        self.stage.client = TutorialClient
        self.stage.is_contrast = True
        super().begin()


# It keeps nothing, so there is nothing to empty (12) and no history to come back to (22).


class UsualPlain(Usual, Plain):
    name = "usual-plain"
    lane = "usual"
    picks = ("1", "2", "6", "7", "7b", "8", "24")
    more = ("9", "19", "26")


class UsualUnreliable(Usual, Unreliable):
    name = "usual-unreliable"
    lane = "usual"
    picks = ("18b", "18c")
    more = ("18a",)


class UsualLinks(Usual, Links):
    name = "usual-links"
    lane = "usual"
    picks = ()
    more = ("16a", "16b", "17a", "17b")


class UsualAway(Usual, Away):
    name = "usual-away"
    lane = "overtaken"
    picks = ("11", "14a")
    more = ("14b", "15")


class UsualKilled(Usual, Killed):
    name = "usual-killed"
    lane = "killed"
    picks = ()
    more = ("3", "4")


class UsualOvertaken(Usual, Overtaken):
    name = "usual-overtaken"
    lane = "overtaken"
    picks = ()
    more = ("5", "10")
