"""The same faults for the usual way."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence

from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import WebSocketException

from .away import Away
from .oracle import Callback
from .plain import Plain
from .stage import Stage
from .unreliable import Unreliable


class TutorialClient:
    """A page of the usual way: a socket for each task, that comes back."""

    def __init__(
        self, name: str, url: str, topics: Mapping[str, Sequence[str]], rng: random.Random
    ) -> None:
        self.name = name
        self.url = url
        self.watches = [task for tasks in topics.values() for task in tasks]
        self.feeds = topics
        self.callbacks: list[Callback] = []
        self.states: dict[str, str] = {}
        self.violations: list[str] = []
        self.is_open = True
        self._open: set[str] = set()
        self._rng = rng
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
                        said = json.loads(text)
                        self.states[task] = said["state"]
                        self.callbacks.append(
                            Callback(
                                at=time.monotonic(),
                                task=task,
                                epoch="",
                                version=len(self.callbacks),
                                run=1,
                                attempt=said["attempt"],
                                state=said["state"],
                                result=said["result"],
                            )
                        )
            except (OSError, TimeoutError, WebSocketException):
                pass
            await asyncio.sleep(self._rng.uniform(0, 0.5))


def make_usual(stage: Stage) -> None:
    """Let a stage have the usual way's processes and clients."""
    stage.env["DJANGO_SETTINGS_MODULE"] = "tests.faults.tutorial_settings"
    stage.celery_app = "tests.faults.tutorial:app"
    stage.asgi_application = "tests.faults.tutorial:application"
    stage.client = TutorialClient
    stage.is_contrast = True


class UsualPlain(Plain):
    name = "usual-plain"
    lane = "usual"
    contrast = True
    picks = ("1", "2", "6", "7", "8", "24")

    def begin(self) -> None:
        make_usual(self.stage)
        super().begin()


class UsualUnreliable(Unreliable):
    name = "usual-unreliable"
    lane = "usual"
    contrast = True
    picks = ("18b", "18c")

    def begin(self) -> None:
        make_usual(self.stage)
        super().begin()


class UsualAway(Away):
    name = "usual-away"
    lane = "overtaken"
    contrast = True
    picks = ("11", "14a")

    def begin(self) -> None:
        make_usual(self.stage)
        super().begin()
