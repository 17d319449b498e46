"""Many tasks at once, and clients that come before, while and after they run."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from asgiref.sync import sync_to_async

from realtime.core.states import TERMINAL
from realtime.ownership import owner_from
from tests import sample_tasks
from tests.client.websocket import connect
from tests.publishing import fresh_id, token_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

TASKS = 400
CLIENTS = 30
SECONDS = 120


class Viewer:
    """One client's picture of one visitor's tasks, held to what is promised."""

    def __init__(self):
        self.latest = {}
        self.endings = Counter()
        self.offset = None
        self.epoch = None
        #: The version of each task that a page showed: its event may come later.
        self.paged = {}

    def take(self, frame):
        if frame["type"] == "subscribed":
            self.epoch, self.offset = frame["epoch"], frame["offset"]
            for status in frame["snapshot"]:
                self._status(status)
        elif frame["type"] == "page":  # read a moment later, so it may be behind or ahead
            for status in frame["snapshot"]:
                if (
                    status["version"]
                    > self.latest.get(status["task_id"], {"version": 0})["version"]
                ):
                    self._status(status)
                    self.paged[status["task_id"]] = status["version"]
        else:
            assert frame["type"] == "event", frame
            assert frame["epoch"] == self.epoch
            assert frame["offset"] - frame.get("merged", 0) == self.offset + 1
            self.offset = frame["offset"]
            if frame["status"]["version"] > self.paged.get(frame["status"]["task_id"], 0):
                self._status(frame["status"])

    def _status(self, status):
        before = self.latest.get(status["task_id"], {"version": 0})
        assert status["version"] > before["version"], (before, status)
        self.latest[status["task_id"]] = status
        if status["state"] in TERMINAL:
            self.endings[status["task_id"], status["run"]] += 1

    @property
    def ended(self):
        return sum(status["state"] in TERMINAL for status in self.latest.values())


async def watch(stack, service, topic, token):
    client = await stack.enter_async_context(connect(service))
    viewer = Viewer()
    answer = await client.subscribe(topic, token=token)
    viewer.take(answer)

    async def follow():
        frame = answer
        while viewer.ended < TASKS:
            if after := frame.get("next"):
                page = {"type": "page", "id": 2, "topic": topic, "after": after, "limit": 200}
                await client.socket.send(json.dumps(page))
            frame = json.loads(await client.socket.recv())
            viewer.take(frame)

    return viewer, asyncio.create_task(follow())


def start(owner):
    """Start the tasks; return what each one must end with."""
    expected = {}
    with owner_from(lambda: owner):
        for number in range(TASKS):
            if number % 10 == 0:
                expected[sample_tasks.fail.delay(f"no {number}").id] = ("FAILURE", None)
            else:
                expected[sample_tasks.add.delay(number, 1).id] = ("SUCCESS", number + 1)
    return expected


async def test_every_client_sees_every_true_ending_once_whenever_it_came(service):
    owner = f"visitor-{fresh_id()}"
    topic = f"user:{owner}"
    token = token_for(service, topic)
    async with AsyncExitStack() as stack, asyncio.timeout(SECONDS):
        early = [await watch(stack, service, topic, token) for _ in range(CLIENTS // 3)]
        starting = asyncio.create_task(sync_to_async(start)(owner))
        during = []
        for _ in range(CLIENTS // 3):
            during.append(await watch(stack, service, topic, token))
            await asyncio.sleep(0.05)  # spread over the run; what they see is checked all the same
        expected = await starting
        await asyncio.gather(*(following for _, following in early + during))
        late = CLIENTS - len(early) - len(during)
        after = [await watch(stack, service, topic, token) for _ in range(late)]
        await asyncio.gather(*(following for _, following in after))

    viewers = [viewer for viewer, _ in early + during + after]
    assert len(viewers) == CLIENTS
    for viewer in viewers:
        truth = {key: (s["state"], s["result"]) for key, s in viewer.latest.items()}
        assert truth == expected
        assert set(viewer.endings.values()) == {1}
