"""The hub over a layer that loses, duplicates, delays and forges messages."""

import asyncio
import contextlib
import copy
import json
import random
import time

import pytest
from channels.layers import InMemoryChannelLayer
from django.conf import settings
from django.test import override_settings
from redis.exceptions import ReadOnlyError

from realtime.core.change import Change
from realtime.core.event import Event
from realtime.core.position import Position
from realtime.core.topics import Topic
from realtime.groups import layer as layer_module
from realtime.store import get_store
from realtime.store import memory as memory_module
from realtime.web import head_checks as checks_module
from realtime.web import hub as hub_module
from realtime.web import layer_link as link_module
from realtime.web import recall as recall_module
from realtime.web.hub import Hub, Subscription
from realtime.web.registry import get_registry
from realtime.web.subscription import BACKLOG
from tests.client.subscriber import TOPIC, Client, Subscriber
from tests.until import auntil


class FaultyLayer(InMemoryChannelLayer):
    """An in-memory layer whose ``fault`` turns each message into those that arrive."""

    def __init__(self):
        super().__init__(capacity=100_000)
        self.fault = lambda message: [message]
        self.is_silent = False

    async def send(self, channel, message):
        if message["type"] != "realtime.heartbeat" or not self.is_silent:
            await super().send(channel, message)

    async def group_send(self, group, message):
        for each in self.fault(message):
            await super().group_send(group, each)


@pytest.fixture
async def world(monkeypatch):
    """A hub, a memory store and a faulty layer between them, with quick checks."""
    layer = FaultyLayer()
    # These modules are imported above: imported here, they would keep this test's layer.
    monkeypatch.setattr(layer_module, "get_layer", lambda: layer)
    monkeypatch.setattr(memory_module, "get_layer", lambda: layer)
    monkeypatch.setattr(link_module, "get_layer", lambda: layer)
    monkeypatch.setattr(hub_module, "_PAUSE", 0.01)
    monkeypatch.setattr(checks_module, "_PAUSE", 0.01)
    monkeypatch.setattr(link_module, "_PAUSE", 0.01)
    given = {"STORE": "realtime.store.memory.MemoryStore", "CHECK_INTERVAL": 0.2}
    with override_settings(REALTIME={**settings.REALTIME, **given}):
        hub = Hub()
        yield hub, get_store(), layer
        await hub.close()


def begin(store, task_id="t", owner=""):
    store.accept(Change(task_id=task_id, state="STARTED", run_id="a", begins=True, owner=owner))


def progress(store, counter, task_id="t"):
    store.accept(Change(task_id=task_id, state="PROGRESS", run_id="a", counter=counter))


def succeed(store, task_id="t"):
    store.accept(Change(task_id=task_id, state="SUCCESS", run_id="a"))


def fail(store, task_id="t"):
    store.accept(Change(task_id=task_id, state="FAILURE", run_id="a"))


def keep(store):
    """Copy the store's data; return a function that restores it."""
    names = ("_records", "_logs", "_recent")
    kept = copy.deepcopy([getattr(store, name) for name in names])

    def go_back():
        for name, value in zip(names, copy.deepcopy(kept), strict=True):
            setattr(store, name, value)

    return go_back


def offsets(received):
    return [offset for _, offset, _ in received]


async def test_events_arrive_in_order_each_once(world):
    hub, store, _ = world
    subscriber = await Subscriber().join(hub)
    begin(store)
    for counter in range(1, 20):
        progress(store, counter)
    succeed(store)
    await subscriber.until(lambda received: received and received[-1][2] == "SUCCESS")
    assert offsets(subscriber.received) == list(range(1, 22))


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.5, 1.0])
async def test_events_arrive_in_order_though_the_layer_loses_messages(world, loss):
    hub, store, layer = world
    chance = random.Random(4711)
    layer.fault = lambda message: [] if chance.random() < loss else [message]
    subscribers = [await Subscriber().join(hub) for _ in range(3)]
    begin(store)
    for counter in range(1, 40):
        progress(store, counter)
        await asyncio.sleep(0)
    succeed(store)
    for subscriber in subscribers:
        await subscriber.until(lambda received: received and received[-1][2] == "SUCCESS")
        assert offsets(subscriber.received) == list(range(1, 42))


async def test_duplicated_and_shuffled_messages_are_delivered_once_in_order(world):
    hub, store, layer = world
    kept = []

    def shuffle(message):
        kept.append(message)
        if len(kept) < 5:
            return []
        mixed, kept[:] = [*kept, *kept], []
        random.Random(1).shuffle(mixed)
        return mixed

    layer.fault = shuffle
    subscriber = await Subscriber().join(hub)
    begin(store)
    for counter in range(1, 30):
        progress(store, counter)
        await asyncio.sleep(0)
    succeed(store)
    await subscriber.until(lambda received: received and received[-1][2] == "SUCCESS")
    assert offsets(subscriber.received) == list(range(1, 32))


async def test_a_gap_that_is_longer_than_the_history_becomes_a_snapshot(world):
    hub, store, layer = world
    with override_settings(REALTIME={**settings.REALTIME, "MAX_HISTORY_EVENTS": 3}):
        subscriber = await Subscriber().join(hub)
        layer.fault = lambda message: [message] if message["state"] == "SUCCESS" else []
        begin(store)
        for counter in range(1, 10):
            progress(store, counter)
        succeed(store)
        await subscriber.until(bool)
    assert subscriber.received == [("snapshot", 11, ["SUCCESS"])]


async def test_a_store_that_was_emptied_begins_a_new_epoch(world):
    hub, store, _ = world
    begin(store)
    subscriber = await Subscriber().join(hub)
    assert subscriber.first.position.offset == 1
    store._records.clear()
    store._logs.clear()
    await subscriber.until(bool)
    assert subscriber.received == [("snapshot", 0, [])]
    begin(store)
    succeed(store)
    await subscriber.until(lambda received: received[-1][2] == "SUCCESS")
    assert subscriber.received[1:] == [("event", 1, "STARTED"), ("event", 2, "SUCCESS")]


async def test_an_ending_that_an_emptied_store_lost_is_recalled_from_the_backend(
    world, monkeypatch
):
    hub, store, layer = world

    async def stored(task_id):
        layer.fault = lambda message: [message]
        store.accept(Change(task_id=task_id, state="SUCCESS", stored=True))
        return True

    monkeypatch.setattr(recall_module, "arecall", stored)
    subscriber = await Subscriber().join(hub)
    begin(store)
    await subscriber.until(lambda received: received == [("event", 1, "STARTED")])
    layer.fault = lambda message: []  # its ending is accepted, and lost with the store
    succeed(store)
    store._records.clear()
    store._logs.clear()
    await subscriber.until(lambda received: received[-1] == ("event", 1, "SUCCESS"))
    assert subscriber.received[1:] == [("snapshot", 0, []), ("event", 1, "SUCCESS")]


async def test_a_store_that_went_back_continues_in_a_new_epoch(world):
    hub, store, _ = world
    begin(store)
    go_back = keep(store)
    progress(store, 1)
    progress(store, 2)
    subscriber, client = await Subscriber().join(hub), await Client().join(hub)
    before = subscriber.first.position
    go_back()
    await subscriber.until(bool)
    assert subscriber.received == [("snapshot", 1, ["STARTED"])]
    assert client.position.offset == 1
    assert client.position.epoch != before.epoch
    fail(store)  # of a lower version than the clients received
    await subscriber.until(lambda received: received[-1] == ("event", 2, "FAILURE"))
    assert client.news[-1] == ("t", "FAILURE")
    back = await Client().join(hub, since=Position(before.epoch, 1))
    assert not back.first.recovered
    assert back.news == [("t", "FAILURE")]


@pytest.mark.parametrize("arrives", [True, False], ids=["arrives", "lost"])
@pytest.mark.parametrize("known", ["as events", "by a first reading"])
@pytest.mark.parametrize("more", [0, 1, 2])
async def test_an_ending_is_delivered_though_its_offset_was_another_events_before(
    world, arrives, known, more
):
    hub, store, layer = world
    user = Topic("user", "42")
    begin(store, "t", owner="42")
    begin(store, "other", owner="42")
    go_back = keep(store)
    if known == "as events":
        client, mine = await Client().join(hub), await Client().join(hub, user)
    progress(store, 1)
    if known == "by a first reading":
        client, mine = await Client().join(hub), await Client().join(hub, user)
    await mine.until(lambda _: mine.news[-1] == ("t", "PROGRESS") or known != "as events")
    go_back()
    if not arrives:
        layer.fault = lambda _message: []
    fail(store)  # the same version at the same offset as the progress that is lost
    for counter in range(more):
        progress(store, counter + 1, "other")
    layer.fault = lambda message: [message]
    await client.until(lambda _: client.news[-1] == ("t", "FAILURE"))
    await mine.until(lambda _: ("t", "FAILURE") in mine.news)


@contextlib.asynccontextmanager
async def gone_back(world):
    """A client that is ahead of a store that went back, and a hub with no check due."""
    hub, store, _ = world
    with override_settings(REALTIME={**settings.REALTIME, "CHECK_INTERVAL": 1000.0}):
        begin(store)
        go_back = keep(store)
        progress(store, 1)
        client = await Client().join(hub)
        lasting = len(hub.link._tasks)
        # The checks that follow a join are over.
        await auntil(lambda: not hub._rechecks and len(hub.link._tasks) == lasting)
        go_back()
        yield client


async def test_an_offset_that_comes_twice_is_checked_at_once(world):
    async with gone_back(world) as client:
        fail(world[1])
        await client.until(lambda _: client.news[-1] == ("t", "FAILURE"))


async def test_a_subscriber_that_joins_a_store_that_went_back_is_soon_in_the_new_epoch(world):
    hub, store, _ = world
    async with gone_back(world) as old:
        new = await Subscriber().join(hub)
        assert new.first.position == Position(old.position.epoch, 1)
        await new.until(bool)
        fail(store)
        await new.until(lambda received: received[-1][2] == "FAILURE")
    assert new.received == [("snapshot", 1, ["STARTED"]), ("event", 2, "FAILURE")]
    assert old.news[-2:] == [("t", "STARTED"), ("t", "FAILURE")]


async def test_two_processes_make_one_new_epoch_for_a_store_that_went_back(world):
    hub, store, _ = world
    begin(store)
    go_back = keep(store)
    progress(store, 1)
    hubs = [hub, Hub()]
    clients = [await Client().join(each) for each in hubs]
    before = clients[0].position.epoch
    go_back()
    for client in clients:
        await client.until(lambda _, client=client: client.position.epoch != before)
    assert clients[0].position == clients[1].position
    await asyncio.gather(*(each.check_all() for each in hubs))
    assert clients[0].position == clients[1].position == (await store.read(TOPIC)).position
    await hubs[1].close()


async def test_the_position_that_a_client_sends_changes_nothing_for_others(world):
    hub, store, _ = world
    begin(store)
    subscriber = await Subscriber().join(hub)
    position = subscriber.first.position
    for offset in (2, 10**9, 10**30):
        other = await Subscriber().join(hub, since=Position(position.epoch, offset))
        assert not other.first.recovered
        assert other.first.position == position
    await hub.check_all()
    succeed(store)
    await subscriber.until(bool)
    assert subscriber.received == [("event", 2, "SUCCESS")]


async def test_a_forged_message_is_dropped_and_disturbs_nothing(world):
    hub, store, layer = world
    begin(store)
    subscriber = await Subscriber().join(hub)
    epoch = subscriber.first.position.epoch
    for position in (Position(epoch, 10**9), Position("forged", 2)):
        forged = Event("task:t", position, "t", "SUCCESS", '{"state":"SUCCESS"}')
        await layer.group_send("realtime.task.t", layer_module.to_message(forged))
    await layer.group_send("realtime.task.t", {"type": "realtime.event", "topic": "task:t"})
    await layer.group_send("realtime.task.t", {"type": "something.else"})
    progress(store, 1)
    succeed(store)
    await subscriber.until(lambda received: received and received[-1][2] == "SUCCESS")
    assert [item for item in subscriber.received if item[0] == "event"] == [
        ("event", 2, "PROGRESS"),
        ("event", 3, "SUCCESS"),
    ]


def forge(offset, epoch, state="SUCCESS", task_id="t"):
    text = json.dumps({"task_id": task_id, "state": state}, separators=(",", ":"))
    return layer_module.to_message(Event("task:t", Position(epoch, offset), task_id, state, text))


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": "2"},
        {"offset": None},
        {"epoch": 7},
        {"status": 7},
        {"status": {}},
        {"task_id": None},
        {"task_id": "other"},
        {"status": '{"task_id":"other","state":"SUCCESS"}'},
        # What redis-py makes of the rest of a connection and the beginning of the next one.
        {"status": '{"task_id":"t","state":"SUCC>3\r\n$7\r\nmess}'},
        {"status": '{"task_id":"t","state":"SUCCESS">'},
    ],
)
async def test_an_invalid_event_is_dropped_and_the_next_one_arrives(world, wrong):
    hub, store, layer = world
    begin(store)
    subscriber = await Subscriber().join(hub)
    await layer.group_send("realtime.task.t", forge(2, subscriber.first.position.epoch) | wrong)
    succeed(store)
    await subscriber.until(lambda received: received)
    assert subscriber.received == [("event", 2, "SUCCESS")]
    assert not hub.link.receiver.done()


@pytest.mark.parametrize("message", [7, None, "type", ["type"], {1: 2}, {"type": ["t"]}])
def test_an_invalid_message_is_no_event(message):
    assert layer_module.from_message(message) is None


async def test_a_forged_ending_is_replaced_by_a_snapshot(world):
    hub, store, layer = world
    begin(store)
    subscriber = await Subscriber().join(hub)
    await layer.group_send("realtime.task.t", forge(2, subscriber.first.position.epoch))
    await subscriber.until(lambda received: len(received) == 2)
    assert subscriber.received == [("event", 2, "SUCCESS"), ("snapshot", 1, ["STARTED"])]


async def test_two_events_at_one_position_are_followed_by_a_snapshot_of_the_store(world):
    hub, store, layer = world
    begin(store)
    subscriber = await Subscriber().join(hub)
    layer.fault = lambda message: [forge(2, subscriber.first.position.epoch, "PROGRESS"), message]
    succeed(store)
    await subscriber.until(lambda received: len(received) == 2)
    assert subscriber.received == [("event", 2, "PROGRESS"), ("snapshot", 2, ["SUCCESS"])]


async def test_a_subscriber_that_joins_while_events_come_gets_each_exactly_once(world):
    hub, store, _ = world
    begin(store)

    async def publish():
        for counter in range(1, 300):
            progress(store, counter)
            await asyncio.sleep(0)
        succeed(store)

    publishing = asyncio.create_task(publish())
    subscribers = []
    while not publishing.done():
        subscribers.append(await Subscriber().join(hub))
        await asyncio.sleep(0)
    await publishing
    for subscriber in subscribers:
        last = subscriber.first.position.offset
        if last < 301:
            await subscriber.until(lambda received: received and received[-1][2] == "SUCCESS")
        assert offsets(subscriber.received) == list(range(last + 1, 302))
    assert len(subscribers) > 10


async def test_a_store_that_is_away_for_a_while_delays_and_loses_nothing(world, monkeypatch):
    hub, store, layer = world
    subscriber = await Subscriber().join(hub)
    layer.fault = lambda _message: []
    real, failures = store.heads, 0

    async def away(topics):
        nonlocal failures
        failures += 1
        if failures < 5:
            raise ConnectionError("away")
        return await real(topics)

    monkeypatch.setattr(store, "heads", away)
    begin(store)
    succeed(store)
    await subscriber.until(lambda received: received and received[-1][2] == "SUCCESS")
    assert offsets(subscriber.received) == [1, 2]
    assert failures >= 5


async def test_topics_that_do_not_change_are_compared_once_in_ten_checks(world, monkeypatch):
    hub, store, _ = world
    begin(store)
    topics = [Topic("task", str(number)) for number in range(3)]
    for topic in topics:
        await Subscriber().join(hub, topic)
    await at_rest(hub)
    checks, compared = 0, {str(topic): [] for topic in topics}
    real, since = store.heads, store.heads_since

    async def note(names):
        for name in set(names) & compared.keys():
            compared[name].append(checks)
        return await real(names)

    async def count(place, most):
        nonlocal checks
        checks += 1
        return await since(place, most)

    monkeypatch.setattr(store, "heads", note)
    monkeypatch.setattr(store, "heads_since", count)
    with override_settings(REALTIME={**settings.REALTIME, "CHECK_INTERVAL": 0.01}):
        await auntil(lambda: min(map(len, compared.values())) >= 4)
    for numbers in compared.values():
        first, second, third, fourth = numbers[:4]
        # The first check that is counted may be the hub's first, which compares all.
        assert fourth - third == third - second == 10 or second - first == 10


async def test_an_event_that_the_store_did_not_list_lets_the_hub_compare_all_topics(
    world, monkeypatch
):
    """A process of a release that lists none published it: the next message may be lost."""
    hub, store, layer = world
    subscribers = [await Subscriber().join(hub, Topic("task", name)) for name in "ab"]
    begin(store, "listed")
    await hub_checks(hub, store, monkeypatch, 3)
    monkeypatch.setattr(store._recent, "add", lambda *_args: None)
    begin(store, "a")
    await subscribers[0].until(bool)
    await hub_checks(hub, store, monkeypatch, 2)
    layer.fault = lambda _message: []
    begin(store, "b")
    await hub_checks(hub, store, monkeypatch, 2)
    await subscribers[1].until(bool)
    assert hub._checks._plan._all_until > 100


async def test_a_change_that_a_check_finds_during_a_recovery_is_delivered_after_it(
    world, monkeypatch
):
    hub, store, layer = world
    real, has_read, goes_on = store.read_since, asyncio.Event(), asyncio.Event()

    async def slow(topic, head):
        reading = await real(topic, head)
        has_read.set()
        await goes_on.wait()
        return reading

    with override_settings(REALTIME={**settings.REALTIME, "CHECK_INTERVAL": 1000.0}):
        begin(store)
        subscriber = await Subscriber().join(hub)
        await at_rest(hub)
        await hub._checks.check_changed()
        layer.fault = lambda _message: []
        monkeypatch.setattr(store, "read_since", slow)
        progress(store, 1)
        await hub._checks.check_changed()
        async with asyncio.timeout(5):
            await has_read.wait()
        progress(store, 2)
        await hub._checks.check_changed()
        goes_on.set()
        await subscriber.until(lambda received: len(received) == 2)
    assert offsets(subscriber.received) == [2, 3]


async def hub_checks(hub, store, monkeypatch, number):
    """Wait for the store's answers to some of the hub's checks."""
    since, count = store.heads_since, 0

    async def counted(place, most):
        nonlocal count
        count += 1
        return await since(place, most)

    with monkeypatch.context() as patch:
        patch.setattr(store, "heads_since", counted)
        await auntil(lambda: count >= number)


async def test_a_layer_that_was_silent_is_noticed_and_its_events_recovered_at_once(
    world, monkeypatch
):
    hub, store, layer = world
    monkeypatch.setattr(link_module, "HEARTBEAT", 0.05)
    with override_settings(REALTIME={**settings.REALTIME, "CHECK_INTERVAL": 1000.0}):
        subscriber = await Subscriber().join(hub)
        await at_rest(hub)
        layer.is_silent, layer.fault = True, lambda _message: []
        begin(store)
        await auntil(lambda: not hub.is_receiving)
        assert subscriber.received == []
        layer.is_silent = False
        await subscriber.until(bool)
    assert offsets(subscriber.received) == [1]
    assert hub.is_receiving


async def test_a_gap_is_recovered_at_once_and_not_at_the_next_check(world):
    hub, store, layer = world
    with override_settings(REALTIME={**settings.REALTIME, "CHECK_INTERVAL": 1000.0}):
        subscriber = await Subscriber().join(hub)
        await at_rest(hub)
        layer.fault = lambda message: [message] if message["state"] == "PROGRESS" else []
        begin(store)
        progress(store, 1)
        await subscriber.until(lambda received: len(received) == 2)
    assert offsets(subscriber.received) == [1, 2]


async def test_a_group_that_hangs_delays_no_topic_that_comes_later(world, monkeypatch):
    hub, _, layer = world
    monkeypatch.setattr(link_module, "_TIMEOUT", 0.05)
    await Subscriber().join(hub)
    group_add, may_join = layer.group_add, asyncio.Event()

    async def hang(group, channel):
        await may_join.wait()
        await group_add(group, channel)

    monkeypatch.setattr(layer, "group_add", hang)
    with pytest.raises(TimeoutError):
        await Subscriber().join(hub, Topic("task", "hangs"))
    may_join.set()
    await Subscriber().join(hub, Topic("task", "later"))
    assert layer.groups["realtime.task.later"]


async def test_a_layer_that_stays_silent_is_replaced(world, monkeypatch):
    hub, store, layer = world
    monkeypatch.setattr(link_module, "HEARTBEAT", 0.05)
    subscriber = await Subscriber().join(hub)
    layer.is_silent, layer.fault = True, lambda _message: []
    fresh = FaultyLayer()
    monkeypatch.setattr(link_module, "make_layer", lambda _on_message: fresh)
    monkeypatch.setattr(memory_module, "get_layer", lambda: fresh)
    await auntil(lambda: not hub.is_receiving)
    joining = asyncio.create_task(Subscriber().join(hub, Topic("task", "meanwhile")))
    await auntil(lambda: hub.is_receiving)
    await joining
    begin(store)
    await subscriber.until(bool)
    assert fresh.groups["realtime.task.t"]
    assert fresh.groups["realtime.task.meanwhile"]
    assert not layer.groups
    assert offsets(subscriber.received) == [1]


async def test_messages_of_a_layer_that_calls_back_are_received_until_it_is_replaced(
    world, monkeypatch
):
    hub, store, layer = world
    monkeypatch.setattr(link_module, "HEARTBEAT", 0.05)
    given, passed = [], []

    def make_layer(on_message):
        given.append(on_message)
        return FaultyLayer()

    def through(number):
        def give(message):
            given[number](message)
            passed.append(number)
            return []

        return give

    monkeypatch.setattr(link_module, "make_layer", make_layer)
    hub.link.layer = hub.link._make_layer()
    subscriber = await Subscriber().join(hub)
    layer.fault = through(0)
    begin(store)
    await auntil(lambda: passed == [0])
    assert offsets(subscriber.received) == [1]
    hub.link.layer.is_silent = True
    await auntil(lambda: len(given) == 2 and hub.is_receiving)
    monkeypatch.setattr(store, "heads", lambda _topics: asyncio.Event().wait())
    progress(store, 1)
    await auntil(lambda: passed == [0, 0])
    assert offsets(subscriber.received) == [1]
    layer.fault = through(1)
    progress(store, 2)
    await subscriber.until(lambda received: len(received) == 3)
    assert offsets(subscriber.received) == [1, 2, 3]


async def test_a_layer_that_delivers_other_messages_is_not_silent(world, monkeypatch):
    hub, store, layer = world
    monkeypatch.setattr(link_module, "HEARTBEAT", 0.05)
    await Subscriber().join(hub)
    begin(store)
    states = []

    real = layer.send

    async def send(channel, message):
        if message["type"] != "realtime.heartbeat":
            await real(channel, message)
        elif len(states) < 20:  # the heartbeat waits behind another message
            progress(store, len(states) + 1)
            states.append(hub.is_receiving)

    monkeypatch.setattr(layer, "send", send)
    await auntil(lambda: len(states) == 20)
    assert all(states)


async def test_a_process_too_busy_to_receive_does_not_replace_its_layer(world, monkeypatch):
    hub, _, layer = world
    monkeypatch.setattr(link_module, "HEARTBEAT", 0.05)
    await Subscriber().join(hub)
    layer.is_silent = True
    for _ in range(20):
        await asyncio.sleep(0)
        time.sleep(0.07)  # noqa: ASYNC251 - the loop stands still
    assert hub.is_receiving


async def at_rest(hub):
    """Return when the checks that follow a join are over."""
    await auntil(lambda: not hub._rechecks)
    for _ in range(10):  # the last one may still run
        await asyncio.sleep(0)


async def test_the_last_subscription_to_end_leaves_the_group(world):
    hub, store, layer = world
    one, two = await Subscriber().join(hub), await Subscriber().join(hub)
    await hub.unsubscribe(TOPIC, one.subscription)
    begin(store)
    await two.until(bool)
    assert one.received == []
    await hub.unsubscribe(TOPIC, two.subscription)
    assert not layer.groups.get("realtime.task.t")
    assert not hub._watched
    three = await Subscriber().join(hub)
    succeed(store)
    await three.until(lambda received: received and received[-1][2] == "SUCCESS")


async def test_a_topic_that_is_left_during_a_check_disturbs_no_other(world, monkeypatch):
    hub, store, layer = world
    layer.fault = lambda _message: []
    one, other = await Subscriber().join(hub), await Subscriber().join(hub, Topic("task", "other"))
    check = asyncio.create_task(hub._checks.check(["task:other", "task:t"]))
    await hub.unsubscribe(Topic("task", "other"), other.subscription)
    begin(store)
    await check
    await one.until(bool)


# Closing


async def test_a_hub_that_closed_while_the_store_was_away_leaves_no_client_without_notice(
    world, monkeypatch
):
    hub, store, _ = world
    monkeypatch.setattr(link_module, "HEARTBEAT", 0.05)
    real = store.heads

    async def away(topics):
        raise ConnectionError("away")

    monkeypatch.setattr(store, "heads", away)
    early, late = Member(), Member()
    get_registry().join(early)
    hub.start()
    await auntil(lambda: early.received == [False])
    await hub.close()
    monkeypatch.setattr(store, "heads", real)
    following = Hub()
    following.start()
    get_registry().join(late)
    await auntil(lambda: early.received == late.received == [False, True])
    await following.close()
    for member in (early, late):
        get_registry().leave(member)


@pytest.mark.parametrize("step", ["new_channel", "group_add", "read"])
async def test_a_subscription_that_is_joining_as_the_hub_closes_is_refused_and_starts_nothing(
    world, monkeypatch, caplog, step
):
    hub, store, layer = world
    entered, leave = asyncio.Event(), asyncio.Event()
    where = store if step == "read" else layer
    real = getattr(where, step)

    async def slow(*args, **keys):
        entered.set()
        await leave.wait()
        return await real(*args, **keys)

    before = asyncio.all_tasks()
    monkeypatch.setattr(where, step, slow)
    joining = asyncio.create_task(Subscriber().join(hub))
    await entered.wait()
    await hub.close()
    leave.set()
    with pytest.raises(ConnectionError):
        await joining
    assert hub._watched == {}
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert "store_unreachable" not in caplog.text


async def test_a_closed_hub_delivers_nothing_that_waited(world):
    hub, store, _ = world
    subscriber = Subscriber()
    _, begin_deliveries = await hub.subscribe(TOPIC, subscriber.subscription)
    watched = hub._watched[str(TOPIC)]
    begin(store)
    await auntil(lambda: subscriber.subscription._backlog)
    await hub.close()
    begin_deliveries()
    hub.resume(TOPIC, subscriber.subscription)
    hub.refresh(TOPIC, subscriber.subscription)
    assert watched.subscriptions
    assert subscriber.received == []


async def test_closing_the_hub_does_not_cancel_a_caller_that_unsubscribes(world, monkeypatch):
    hub, _, layer = world
    subscriber, entered = await Subscriber().join(hub), asyncio.Event()

    async def group_discard(group, channel):
        entered.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(layer, "group_discard", group_discard)
    leaving = asyncio.create_task(hub.unsubscribe(TOPIC, subscriber.subscription))
    await entered.wait()
    await hub.close()
    await leaving


async def test_a_closed_hub_starts_again(world):
    hub, store, _ = world
    await Subscriber().join(hub)
    await hub.close()
    subscriber = await Subscriber().join(hub)
    begin(store)
    await subscriber.until(bool)


# Subscribers that fail


@pytest.mark.parametrize("fails", ["an event", "a snapshot"])
async def test_a_subscriber_that_raises_gets_a_reading_and_others_miss_nothing(
    world, caplog, fails
):
    hub, store, _ = world
    begin(store)
    failures = 0

    class Failing(Subscriber):
        def _receive(self, item):
            nonlocal failures
            if not failures and item[0] == fails.split(" ")[1]:
                failures += 1
                raise RuntimeError("canary")
            super()._receive(item)

    failing, other = await Failing().join(hub), await Subscriber().join(hub)
    if fails == "a snapshot":
        store._logs.clear()  # all get a reading
        await hub.check_all()
        await other.until(bool)
    progress(store, 1)
    succeed(store)
    await other.until(lambda received: received and received[-1][2] == "SUCCESS")
    await failing.until(lambda received: received and received[-1][2] in ("SUCCESS", ["SUCCESS"]))
    assert failures == 1
    assert "subscriber_failed topic=task:t" in caplog.text
    assert "canary" in caplog.text


async def test_a_subscriber_that_always_raises_is_retried_less_and_less_often(world, monkeypatch):
    hub, store, _ = world
    pauses = []
    real = asyncio.sleep

    async def sleep(seconds):
        pauses.append(seconds)
        await real(min(seconds, 0.001))

    def fail(_item):
        raise RuntimeError

    subscription = Subscription(fail, fail)
    _, begin_reading = await hub.subscribe(TOPIC, subscription)
    begin_reading()
    monkeypatch.setattr(hub_module.asyncio, "sleep", sleep)
    begin(store)
    await auntil(lambda: pauses.count(hub_module._MAX_PAUSE) > 1)
    monkeypatch.undo()
    await hub.unsubscribe(TOPIC, subscription)


async def test_a_subscriber_of_the_old_log_gets_a_reading_before_an_event_of_the_new_log(
    world, monkeypatch
):
    hub, store, _ = world
    begin(store)
    real = store.read
    kept, release = [], asyncio.Event()

    async def late(topic, since=None, **keys):
        reading = await real(topic, since, **keys)
        if not kept:
            kept.append(reading)
            await release.wait()
        return reading

    monkeypatch.setattr(store, "read", late)
    joining = asyncio.create_task(Subscriber().join(hub))
    await auntil(lambda: kept)
    store._logs.clear()  # a new log, which the second subscriber is the first to read
    other = await Subscriber().join(hub)
    release.set()
    first = await joining
    assert first.first.position.epoch != other.first.position.epoch
    progress(store, 1)
    await first.until(
        lambda received: received[-1:] and received[-1][2] in ("PROGRESS", ["PROGRESS"])
    )
    assert first.received[0][0] == "snapshot"


async def test_events_that_wait_for_a_store_are_bounded_and_recovered(world, monkeypatch):
    hub, store, layer = world
    subscriber = await Subscriber().join(hub)
    real, away = store.read_since, True

    async def read_since(*args):
        if away:
            raise ConnectionError("away")
        return await real(*args)

    monkeypatch.setattr(store, "read_since", read_since)
    layer.fault = lambda _message: []
    begin(store)
    layer.fault = lambda message: [message]
    (watched,) = hub._watched.values()
    for counter in range(1, 1000):
        progress(store, counter)
        if counter % 50 == 0:
            await asyncio.sleep(0)
            assert len(watched.backlog) <= BACKLOG
    succeed(store)
    away = False
    await subscriber.until(
        lambda received: received and received[-1][2] in ("SUCCESS", ["SUCCESS"])
    )


async def test_events_that_wait_for_a_first_reading_are_bounded(world):
    hub, store, _ = world
    subscriber = Subscriber()
    _, begin_reading = await hub.subscribe(TOPIC, subscriber.subscription)
    begin(store)
    for counter in range(1, 1000):
        progress(store, counter)
        await asyncio.sleep(0)
    assert len(subscriber.subscription._backlog) <= BACKLOG
    begin_reading()
    succeed(store)
    await subscriber.until(
        lambda received: received and received[-1][2] in ("SUCCESS", ["SUCCESS"])
    )


# The link


async def test_a_new_layer_whose_third_group_fails_joins_all_and_the_old_layer_is_closed(
    world, monkeypatch
):
    hub, store, layer = world
    monkeypatch.setattr(link_module, "HEARTBEAT", 0.05)
    subscribers = [await Subscriber().join(hub, Topic("task", name)) for name in "abcd"]
    failures = []

    class Failing(FaultyLayer):
        async def group_add(self, group, channel):
            if len(self.groups) == 2 and len(failures) < 3:
                failures.append(group)
                raise ConnectionError("away")
            await super().group_add(group, channel)

    fresh = Failing()
    layer.is_silent, layer.fault = True, lambda _message: []
    monkeypatch.setattr(link_module, "make_layer", lambda _on_message: fresh)
    monkeypatch.setattr(memory_module, "get_layer", lambda: fresh)
    await auntil(lambda: len(fresh.groups) == 4)
    await auntil(lambda: not layer.groups and not layer.channels)
    for name in "abcd":
        begin(store, name)
    for subscriber in subscribers:
        await subscriber.until(bool)
    assert len(failures) == 3


async def test_a_new_layer_that_cannot_be_used_is_closed_and_another_one_tried(world, monkeypatch):
    hub, store, layer = world
    monkeypatch.setattr(link_module, "HEARTBEAT", 0.05)
    subscriber = await Subscriber().join(hub)
    made, closed = [], []

    class Dead(FaultyLayer):
        async def new_channel(self, prefix="specific"):
            raise ConnectionError("away")

        async def flush(self):
            closed.append(self)

    def make_layer(_on_message):
        made.append(Dead() if len(made) < 2 else FaultyLayer())
        monkeypatch.setattr(memory_module, "get_layer", lambda: made[-1])
        return made[-1]

    monkeypatch.setattr(link_module, "make_layer", make_layer)
    layer.is_silent, layer.fault = True, lambda _message: []
    await auntil(lambda: len(made) == 3 and hub.is_receiving)
    assert closed == made[:2]
    begin(store)
    await subscriber.until(bool)


async def test_the_hub_reconnects_to_a_store_that_became_a_replica(world, monkeypatch):
    hub, store, layer = world
    made, closed = [], []
    real = store.read

    async def read(*args, **keys):
        if not closed:
            raise ReadOnlyError("You can't write against a read only replica.")
        return await real(*args, **keys)

    async def close():
        closed.append(store)

    def make_layer(_on_message):
        made.append(FaultyLayer())
        monkeypatch.setattr(memory_module, "get_layer", lambda: made[-1])
        return made[-1]

    await Subscriber().join(hub, Topic("task", "other"))
    monkeypatch.setattr(store, "read", read)
    monkeypatch.setattr(store, "close", close)
    monkeypatch.setattr(link_module, "make_layer", make_layer)
    with pytest.raises(ReadOnlyError):
        await Subscriber().join(hub)
    await auntil(lambda: made and not layer.groups)
    subscriber = await Subscriber().join(hub)
    begin(store)
    await subscriber.until(bool)


class Member:
    """A connection that records what it is notified of."""

    address = user_key = ""

    def __init__(self):
        self.received = []

    def store_changed(self, available):
        self.received.append(available)


async def test_every_connection_is_notified_once_when_the_store_goes_away_and_comes_back(
    world, monkeypatch
):
    hub, store, _ = world
    monkeypatch.setattr(link_module, "HEARTBEAT", 0.05)
    received = []

    class Member:
        address = user_key = ""

        def store_changed(self, available):
            received.append(available)
            if len(received) == 1:
                raise RuntimeError("canary")

    members = [Member(), Member()]
    hub.start()
    for member in members:
        get_registry().join(member)
    await auntil(lambda: hub.link.channel)
    real = store.heads

    async def away(topics):
        raise ConnectionError("away")

    monkeypatch.setattr(store, "heads", away)
    await auntil(lambda: received == [False, False])
    late = Member()
    get_registry().join(late)
    assert received == [False] * 3
    monkeypatch.setattr(store, "heads", real)
    await auntil(lambda: received == [False] * 3 + [True] * 3)
    for member in (*members, late):
        get_registry().leave(member)
