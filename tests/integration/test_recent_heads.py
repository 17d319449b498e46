"""One regular check finds every event whose message was lost, by the recent heads in Redis."""

import asyncio
from contextlib import asynccontextmanager
from random import Random

import pytest
import redis
from asgiref.sync import sync_to_async

from project.redis_server import answers, embedded_redis
from realtime.core.change import Change
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.store.recent import KEPT_RECENT, MAX_RECENT
from realtime.store.redis import RedisStore
from realtime.store.scripts import Script
from realtime.web.check_plan import EVERY, UNLISTED_CHECKS
from realtime.web.hub import Hub
from tests.client.subscriber import Client
from tests.conftest import using_redis
from tests.until import auntil

pytestmark = pytest.mark.integration

KEY = "realtime:recent"


@asynccontextmanager
async def a_hub(loses=lambda _message: True):
    """A hub that loses messages, and makes no regular check but those of the test."""

    async def nothing():
        pass

    hub = Hub()
    receive = hub.receive
    hub.receive = lambda message: None if loses(message) else receive(message)
    hub._checks.run = nothing
    hub.check_all = nothing  # what the link calls after a silence
    try:
        yield hub
    finally:
        await hub.close()


async def begin(task_id, owner=""):
    change = Change(task_id=task_id, state="STARTED", run_id="a", begins=True, owner=owner)
    return await sync_to_async(get_store().accept)(change)


async def progress(task_id, counter):
    change = Change(task_id=task_id, state="PROGRESS", run_id="a", counter=counter)
    return await sync_to_async(get_store().accept)(change)


async def succeed(task_id):
    return await sync_to_async(get_store().accept)(
        Change(task_id=task_id, state="SUCCESS", run_id="a")
    )


async def join(hub, *topics):
    """Subscribe to topics, and wait until the checks of the new subscriptions are over."""
    clients = [await Client().join(hub, Topic.parse(topic)) for topic in topics]
    await auntil(lambda: not hub._rechecks)
    await hub._checks.check_changed()  # the first one compares all
    return clients


async def reads_of(hub, monkeypatch):
    """Make one check; return how many heads it read."""
    names, real = [], get_store().heads

    async def note(topics):
        if list(topics) != ["ready"]:
            names.extend(topics)
        return await real(topics)

    with monkeypatch.context() as patch:
        patch.setattr(get_store(), "heads", note)
        await hub._checks.check_changed()
    return len(names)


@pytest.mark.parametrize("loss", [0.1, 0.5, 1.0])
async def test_after_one_check_every_subscriber_has_what_was_lost(clean_redis, loss):
    chance = Random(4711)
    names = [f"t{number}" for number in range(20)]
    async with a_hub(lambda _message: chance.random() < loss) as hub:
        topics = [*(f"task:{name}" for name in names), "user:1", "user:2"]
        clients = await join(hub, *topics)
        for turn in range(6):
            for name in chance.sample(names, 12):
                if turn == 0:
                    await begin(name, owner=chance.choice("12"))
                else:
                    await progress(name, turn)
            await hub._checks.check_changed()
            heads = await get_store().heads(topics)
            for client, head in zip(clients, heads, strict=True):
                at = client.position if head is None else head.position
                await auntil(lambda client=client, at=at: client.position == at)


async def test_a_check_reads_the_heads_that_changed_and_a_tenth_of_the_others(
    clean_redis, monkeypatch
):
    async with a_hub() as hub:
        clients = await join(hub, *(f"task:{number}" for number in range(100)))
        await begin("unwatched")
        await hub._checks.check_changed()
        reads = [await reads_of(hub, monkeypatch) for _ in range(EVERY)]
        assert sum(reads) == 100
        await begin("7")
        assert await reads_of(hub, monkeypatch) < 50
        await clients[7].until(lambda _: ("7", "STARTED") in clients[7].news)


async def test_more_changes_than_topics_let_the_hub_compare_all(clean_redis, monkeypatch):
    async with a_hub() as hub:
        (client,) = await join(hub, "task:t")
        await begin("t")
        for number in range(3):
            await begin(f"other{number}")
        assert await reads_of(hub, monkeypatch) == 1
        await client.until(lambda _: ("t", "STARTED") in client.news)


async def test_the_list_is_bounded_and_a_hub_whose_place_was_cut_off_compares_all(
    clean_redis, monkeypatch
):
    async with a_hub() as hub:
        with redis.Redis.from_url(clean_redis, decode_responses=True) as client:
            watched = await join(hub, *(f"task:{number}" for number in range(40)))
            await begin("first")
            await hub._checks.check_changed()
            place = hub._checks._plan.place
            client.rpush(KEY, *(f"e {number} 0 realtime:head:x" for number in range(MAX_RECENT)))
            await begin("7")
            assert client.llen(KEY) == KEPT_RECENT + 1
            assert await reads_of(hub, monkeypatch) == 40
            await watched[7].until(lambda _: ("7", "STARTED") in watched[7].news)
            after = hub._checks._plan.place
            assert (after.epoch, after.number) == (place.epoch, place.number + MAX_RECENT + 1)
            assert client.ttl(KEY) > 0
            await begin("8")
            assert await reads_of(hub, monkeypatch) < 20, "its new place is known"
            await watched[8].until(lambda _: ("8", "STARTED") in watched[8].news)


async def test_a_list_that_redis_evicted_lets_the_hub_compare_all(clean_redis, monkeypatch):
    async with a_hub() as hub:
        watched = await join(hub, *(f"task:{number}" for number in range(40)))
        await begin("7")
        with redis.Redis.from_url(clean_redis) as client:
            client.delete(KEY)
        await begin("other")
        assert await reads_of(hub, monkeypatch) == 40
        await watched[7].until(lambda _: ("7", "STARTED") in watched[7].news)


async def test_a_head_that_redis_evicted_is_missed_within_ten_checks(clean_redis):
    async with a_hub() as hub:
        await begin("7")
        watched = await join(hub, *(f"task:{number}" for number in range(40)))
        epoch = watched[7].position.epoch
        with redis.Redis.from_url(clean_redis) as client:
            client.delete("realtime:head:task:7", "realtime:log:task:7")
        for _ in range(EVERY):
            await hub._checks.check_changed()
        await auntil(lambda: watched[7].position.epoch != epoch)
        await progress("7", 1)
        await hub._checks.check_changed()
        await watched[7].until(lambda _: ("7", "PROGRESS") in watched[7].news)


async def test_an_evicted_head_that_got_another_event_is_listed(clean_redis):
    async with a_hub() as hub:
        await begin("7")
        watched = await join(hub, *(f"task:{number}" for number in range(40)))
        with redis.Redis.from_url(clean_redis) as client:
            client.delete("realtime:head:task:7")
        await progress("7", 1)
        await hub._checks.check_changed()
        await watched[7].until(lambda _: ("7", "PROGRESS") in watched[7].news)


async def test_forgotten_moved_and_expired_tasks_are_listed(clean_redis):
    store = get_store()
    visitor = "visitor-x"
    async with a_hub() as hub:
        await begin("mine", owner="1")
        await begin("late", owner="2")
        await begin("seen", owner=visitor)
        clients = await join(hub, "task:mine", "user:1", "user:2", f"user:{visitor}")
        epochs = [client.position.epoch for client in clients]
        await sync_to_async(store.forget)("mine")
        with redis.Redis.from_url(clean_redis) as client:
            client.delete("realtime:task:late")
            client.zadd("realtime:expiry:user:2", {"late": 1})
        await store.expire(["user:2"])
        await sync_to_async(store.adopt)(visitor, "1")
        await hub._checks.check_changed()
        for client, epoch in zip(clients, epochs, strict=True):
            # A snapshot without tasks notifies no waiter.
            await auntil(lambda client=client, epoch=epoch: client.position.epoch != epoch)


@pytest.mark.parametrize("later", [0, 1, 9], ids=["fewer heads", "as many", "more"])
async def test_a_redis_that_went_back_lets_the_hub_compare_all(tmp_path, later):
    """After it the list may be shorter than the hub's place, or have other heads there."""
    server, url = await sync_to_async(embedded_redis)(tmp_path, keep=False)
    try:
        with using_redis(url):
            await begin("t")
            await begin("other")
            await asyncio.to_thread(save, url)
            async with a_hub() as hub:
                await progress("t", 1)
                watched = await join(hub, *(f"task:{name}" for name in ("t", *range(20))))
                server.kill()
                server.start()
                await asyncio.to_thread(server.wait_ready, lambda: answers(url))
                for number in range(later):
                    await progress("other", number + 1)
                await succeed("t")
                await hub._checks.check_changed()
                await watched[0].until(lambda _: ("t", "SUCCESS") in watched[0].news)
    finally:
        await sync_to_async(server.stop)()


def save(url):
    with redis.Redis.from_url(url) as client:
        client.save()


class EarlierStore(RedisStore):
    """The store of the release before: its scripts list no heads."""

    def __init__(self):
        super().__init__()
        self._accepting = Script(self._accepting.source.replace("if recent then", "if false then"))


async def test_beside_an_earlier_release_all_heads_are_compared(clean_redis, monkeypatch):
    """Both while only the earlier one has written, and after one of its events has arrived."""
    earlier, lost = EarlierStore(), [False]

    async def publish(task_id):
        await sync_to_async(earlier.accept)(
            Change(task_id=task_id, state="STARTED", run_id="a", begins=True)
        )

    async with a_hub(lambda _message: lost[0]) as hub:
        clients = await join(hub, *(f"task:{number}" for number in range(40)))
        for _ in range(2):
            assert await reads_of(hub, monkeypatch) == 40, "there is no list"
        await begin("0")
        await clients[0].until(lambda _: clients[0].news)
        for _ in range(2):
            await hub._checks.check_changed()
        assert await reads_of(hub, monkeypatch) < 40
        await publish("1")
        await clients[1].until(lambda _: clients[1].news)
        await hub._checks.check_changed()
        lost[0] = True
        await publish("2")
        assert await reads_of(hub, monkeypatch) == 40
        await clients[2].until(lambda _: clients[2].news)
        for _ in range(UNLISTED_CHECKS):
            await hub._checks.check_changed()
        assert await reads_of(hub, monkeypatch) < 40, "the update is over"
    earlier.disconnect()  # not by the garbage collector, which may destroy the socket first
