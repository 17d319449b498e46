"""Many tasks at once, and clients that come before, while and after they run."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from asgiref.sync import sync_to_async

from realtime.core.states import TERMINAL
from realtime.ownership import owner_from
from tests import sample_tasks
from tests.client.protocol import LIMIT, Feed
from tests.client.websocket import connect
from tests.publishing import fresh_id, token_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

TASKS = 400
CLIENTS = 30
SECONDS = 120


class Viewer:
    """One client's statuses of one visitor's tasks, checked against the contract."""

    def __init__(self, topic):
        self.feed = Feed(topic)
        self.latest = {}
        self.endings = Counter()

    def receive(self, frame):
        """Apply a frame. Raises ValueError for a gap and for a duplicate."""
        for status in self.feed.receive(frame):
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
    viewer = Viewer(topic)
    answer = await client.subscribe(topic, token=token)
    viewer.receive(answer)

    async def read():
        frame = answer
        while viewer.ended < TASKS:
            if after := frame.get("next"):
                await client.send(client.request("page", topic=topic, after=after, limit=LIMIT))
            frame = await client.next()
            viewer.receive(frame)

    return viewer, asyncio.create_task(read())


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
