"""A Redis that comes back with an older copy of its data: its last seconds are lost."""

import asyncio
import json

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import override_settings

from project.redis_server import answers, embedded_redis
from realtime.core.change import Change
from realtime.core.position import Step, step
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.web.hub import Hub, Subscription
from tests.conftest import speaking_to

pytestmark = pytest.mark.integration

#: Two topics of the same events.
TOPICS = (Topic("task", "t"), Topic("user", "42"))
QUICK = {"CHECK_INTERVAL": 0.3}


class Client:
    """A subscriber that takes what the contract lets it take."""

    def __init__(self):
        self.news = []
        self._versions = {}
        self._arrived = asyncio.Event()

    async def join(self, hub, topic):
        reading, begin = await hub.subscribe(topic, Subscription(self._event, self._snapshot))
        self._snapshot(reading)
        begin()
        return self

    def _event(self, event):
        if step(self.position, event.position) is Step.DELIVER:
            self.position = event.position
            self._take(json.loads(event.text))

    def _snapshot(self, reading):
        self.position = reading.position
        for text in reading.texts:
            self._take(json.loads(text))

    def _take(self, status):
        of = self.position.epoch, status["task_id"]
        if status["version"] > self._versions.get(of, 0):
            self._versions[of] = status["version"]
            self.news.append((status["task_id"], status["state"]))
        self._arrived.set()

    async def told(self, *item):
        async with asyncio.timeout(10):
            while item not in self.news:
                self._arrived.clear()
                await self._arrived.wait()


@pytest.mark.parametrize("lost", [1, 3], ids=["a progress", "the whole run"])
async def test_an_ending_is_delivered_after_redis_lost_its_last_seconds(tmp_path, lost):
    server, url = await sync_to_async(embedded_redis)(tmp_path, keep=False)
    hub = None
    try:
        with speaking_to(url), override_settings(REALTIME=settings.REALTIME | QUICK):
            accept, hub = sync_to_async(get_store().accept), Hub()
            run = {"task_id": "t", "run_id": "a"}
            await accept(Change(task_id="t", state="PENDING", owner="42"))
            clients = [await Client().join(hub, topic) for topic in TOPICS]
            words = [
                Change(state="STARTED", begins=True, **run),
                Change(state="PROGRESS", counter=1, **run),
                Change(state="LOADING", counter=2, **run),
            ]
            for number, word in enumerate(words):
                if number == len(words) - lost:
                    await asyncio.to_thread(save, url)
                await accept(word)
            for client in clients:
                await client.told("t", "LOADING")
            before = clients[0].position
            server.kill()
            server.start()
            await asyncio.to_thread(server.wait_ready, lambda: answers(url))
            # At once: the store was not read since, and its message may be lost.
            version = await accept(Change(state="FAILURE", **run))
            assert version == 5 - lost
            for client in clients:
                await client.told("t", "FAILURE")
            assert clients[0].position.offset == version
            assert clients[0].position.epoch != before.epoch
            await accept(Change(task_id="next", state="PENDING", owner="42"))
            await clients[1].told("next", "PENDING")
    finally:
        if hub is not None:
            await hub.close()
        await sync_to_async(server.stop)()


def save(url):
    with redis.Redis.from_url(url) as client:
        client.save()
