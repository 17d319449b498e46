"""A Redis that comes back with an older copy of its data: its last seconds are lost."""

import asyncio

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import override_settings

from project.redis_server import answers, embedded_redis
from realtime.core.change import Change
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.web.hub import Hub
from tests.client.subscriber import Client
from tests.conftest import using_redis

pytestmark = pytest.mark.integration

#: Two topics of the same events.
TOPICS = (Topic("task", "t"), Topic("user", "42"))
QUICK = {"CHECK_INTERVAL": 0.3}


@pytest.mark.parametrize("lost", [1, 3], ids=["a progress", "the whole run"])
async def test_an_ending_is_delivered_after_redis_lost_its_last_seconds(tmp_path, lost):
    server, url = await sync_to_async(embedded_redis)(tmp_path, keep=False)
    hub = None
    try:
        with using_redis(url), override_settings(REALTIME=settings.REALTIME | QUICK):
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
                await client.until(lambda _, client=client: ("t", "LOADING") in client.news)
            before = clients[0].position
            server.kill()
            server.start()
            await asyncio.to_thread(server.wait_ready, lambda: answers(url))
            # At once: the store was not read since, and its message may be lost.
            version = await accept(Change(state="FAILURE", **run))
            assert version == 5 - lost
            for client in clients:
                await client.until(lambda _, client=client: ("t", "FAILURE") in client.news)
            assert clients[0].position.offset == version
            assert clients[0].position.epoch != before.epoch
            await accept(Change(task_id="next", state="PENDING", owner="42"))
            await clients[1].until(lambda _: ("next", "PENDING") in clients[1].news)
    finally:
        if hub is not None:
            await hub.close()
        await sync_to_async(server.stop)()


def save(url):
    with redis.Redis.from_url(url) as client:
        client.save()
