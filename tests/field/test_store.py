"""What is kept and published: other projects on one Redis, ids of any text, slow and failing
servers, releases that run side by side, and pages of many tasks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import override_settings

import realtime
from project.redis_server import embedded_redis
from realtime.core.change import Change
from realtime.core.position import Position
from realtime.core.topics import Topic
from realtime.groups import layer
from realtime.groups.layer import from_message, get_layer, group_of
from realtime.store import connection, get_store
from realtime.web.hub import Hub, Subscription
from tests.client.over_http import request
from tests.client.watcher import LoopThread
from tests.client.websocket import connect
from tests.conftest import using_redis
from tests.faults.proxy import Proxy
from tests.publishing import fresh_id, token_for
from tests.until import auntil, until

pytestmark = pytest.mark.integration


def with_settings(**given: Any) -> Any:
    """More keys of REALTIME than what is set already."""
    return override_settings(REALTIME={**settings.REALTIME, **given})


@pytest.fixture(scope="module")
def two_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two Redis servers that belong to this file alone."""
    with_stop = [embedded_redis(tmp_path_factory.mktemp("redis"), keep=False) for _ in range(2)]
    yield with_stop[0][1], with_stop[1][1]
    for server, _ in with_stop:
        server.stop()


@pytest.fixture
def servers(two_servers: tuple[str, str]) -> tuple[str, str]:
    for url in two_servers:
        with redis.Redis.from_url(url) as client:
            client.replicaof("NO", "ONE")
            client.config_set("repl-diskless-sync-delay", 0)  # else a replica waits for 5 s
            client.flushall()
    return two_servers


@pytest.fixture(scope="module")
def loop_thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture
def link(servers: tuple[str, str], loop_thread: LoopThread) -> Iterator[Proxy]:
    """A host name that leads to the first server."""
    proxy = Proxy(loop_thread, servers[0], random.Random(0))
    yield proxy

    async def end() -> None:
        proxy.close()
        # Its connections end, and their transports a turn of the loop later.
        await auntil(lambda: len(asyncio.all_tasks()) == 1)
        await asyncio.sleep(0.01)

    loop_thread.call(end())


def life(task_id: str, publication: str, owner: str = "", *, run: str = "a") -> list[Change]:
    common: dict[str, Any] = {"task_id": task_id, "publication": publication, "owner": owner}
    result = {"result": json.dumps(owner)}
    return [
        Change(state="PENDING", attempt=0, **common),
        Change(state="STARTED", attempt=0, run_id=run, begins=True, **common),
        Change(state="SUCCESS", attempt=0, run_id=run, fields=result, **common),
    ]


# T5: other projects


class Listener:
    """A project's own member of some topics' groups."""

    async def join(self, *topics: str) -> Listener:
        """Return when Redis has the subscriptions: joining a group does not wait for that."""
        self._layer, self._end = get_layer(), fresh_id()
        self._channel = await self._layer.new_channel()
        for topic in (*topics, f"task:{self._end}"):
            await self._layer.group_add(group_of(topic), self._channel)
        await self.received()
        return self

    async def received(self) -> list[Any]:
        """Return the events that arrived up to now."""
        events: list[Any] = []
        while True:
            beat = Change(task_id=self._end, state="BEAT")
            version = await sync_to_async(get_store().accept)(beat)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    while True:
                        event = from_message(await self._layer.receive(self._channel))
                        assert event is not None
                        if event.task_id != self._end:
                            events.append(event)
                        elif json.loads(event.text)["version"] == version:
                            return events

    async def leave(self) -> None:
        await self._layer.flush()


@pytest.mark.parametrize(
    "projects",
    [
        [(0, "realtime"), (1, "realtime")],
        [(2, "one"), (2, "two")],
        [(1, "a"), (0, "a.1")],
        [(0, "a b"), (0, "a c")],
    ],
    ids=["databases", "prefixes", "a prefix that ends as a database", "odd prefixes"],
)
async def test_two_projects_on_one_server_never_receive_each_others_events(
    servers: tuple[str, str], projects: list[tuple[int, str]]
) -> None:
    @contextlib.contextmanager
    def in_project(number: int) -> Iterator[None]:
        database, prefix = projects[number]
        with using_redis(f"{servers[0][:-1]}{database}"), with_settings(PREFIX=prefix):
            yield

    def publish(publication: str) -> None:
        for change in life("t", publication, "1", run=publication):
            assert get_store().accept(change)

    for here in (0, 1):
        with in_project(here):
            listener = await Listener().join("task:t", "user:1")
            with in_project(1 - here):
                await sync_to_async(publish)(f"there{here}")
            assert await listener.received() == []
            await sync_to_async(publish)(f"here{here}")
            assert {event.topic for event in await listener.received()} == {"task:t", "user:1"}
            await listener.leave()


# T6: an id that is published again


async def test_an_id_that_is_published_again_begins_a_new_life_of_its_new_owner(
    clean_redis: str,
) -> None:
    store = get_store()
    accept = sync_to_async(store.accept)
    for change in life("nightly", "monday", "1"):
        await accept(change)
    monday = await store.read(Topic("task", "nightly"))
    assert await store.ownership("nightly") == ("1", 0)
    theirs = (await store.read(Topic("user", "1"))).position
    for change in life("other", "other", "2"):
        await accept(change)

    pending, *rest = life("nightly", "tuesday", "2", run="b")
    assert await accept(pending) == 4
    tuesday = await store.read(Topic("task", "nightly"), monday.position)
    assert not tuesday.recovered
    assert tuesday.position.epoch != monday.position.epoch
    assert tuesday.position.offset == 1
    (status,) = map(json.loads, tuesday.texts)
    assert (status["state"], status["run"], status["result"]) == ("PENDING", 2, None)
    assert tuesday.owner == "2"
    owned = await store.ownership("nightly")
    assert owned is not None
    assert owned.owner == "2"
    assert abs(owned.since - time.time()) < 600
    # It has left the first owner's list, and no client resumes where the log still had it.
    assert store.statuses(Topic("user", "1")) == []
    assert not (await store.read(Topic("user", "1"), theirs)).recovered
    assert [each.task_id for each in store.statuses(Topic("user", "2"))] == ["nightly", "other"]

    late = Change(task_id="nightly", state="SUCCESS", run_id="a", publication="monday", stored=True)
    assert await accept(late) == 0
    assert await accept(late._replace(publication="")) == 0
    assert [await accept(change) for change in rest] == [5, 6]
    await store.close()


def test_published_again_by_its_owner_a_task_moves_to_the_top(clean_redis: str) -> None:
    store, topic = get_store(), Topic("user", "1")
    for task_id in ("nightly", "newer"):
        for change in life(task_id, f"first-{task_id}", "1"):
            store.accept(change)
    assert [status.task_id for status in store.statuses(topic)] == ["newer", "nightly"]
    store.accept(life("nightly", "second", "1")[0])
    assert [(each.task_id, each.state) for each in store.statuses(topic)] == [
        ("nightly", "PENDING"),
        ("newer", "SUCCESS"),
    ]
    assert [task.republished for task in store.unfinished(["nightly"])] == [True]


# T10: updates from other processes


def test_six_children_report_on_their_parent_which_goes_on(clean_redis: str) -> None:
    store, common = get_store(), {"task_id": "parent", "publication": "p"}
    _, started, _ = life("parent", "p")
    store.accept(started)
    own = Change(state="PROGRESS", run_id="a", **common)
    foreign = Change(task_id="parent", state="PROGRESS")
    for number in range(1, 4):
        for child in range(6):
            change = foreign._replace(sender=f"child{child}", counter=number)
            assert store.accept(change)
            assert not store.accept(change), "sent again after a timeout"
        assert store.accept(own._replace(counter=number))
        assert not store.accept(own._replace(counter=number))
    assert not store.accept(foreign._replace(sender="child0", counter=1)), "late"
    assert store.accept(foreign), "an earlier release numbers nothing"


# T13: ids of any text

IDS = [
    "2026/11/28", "a b", " ", "a:b", "#1", "..", "%2F", '"', "\\", "\\/", "</script>", "%s %d",
    "user:7 realtime.user.7 many", "żółć", "😀" * 255, "x" * 255, "\u202e", "*", "null", "1 1",
]  # fmt: skip


@pytest.mark.parametrize("ident", IDS)
async def test_ids_and_owners_of_any_text_are_kept_listed_and_published(
    clean_redis: str, ident: str
) -> None:
    store, topics = get_store(), [Topic.parse(f"task:{ident}"), Topic.parse(f"user:{ident}")]
    listener = await Listener().join(*map(str, topics))
    accept = sync_to_async(store.accept)
    assert [await accept(change) for change in life(ident, "p", ident)] == [1, 2, 3]
    events = await listener.received()
    assert {event.task_id for event in events} == {ident}
    for name in map(str, topics):
        numbered = [(each.position.offset, each.state) for each in events if each.topic == name]
        assert numbered == [(1, "PENDING"), (2, "STARTED"), (3, "SUCCESS")]
    for topic in topics:
        reading = await store.read(topic)
        assert [json.loads(text)["task_id"] for text in reading.texts] == [ident]
        assert await store.heads([str(topic)]) == [reading.head]
    status = store.status(ident)
    assert status is not None
    assert (status.task_id, status.result) == (ident, ident)
    await listener.leave()
    await store.close()


# T17, T19: limits


@contextlib.contextmanager
def reached_by(link: Proxy, query: str = "", **given: Any) -> Iterator[None]:
    with using_redis(link.url + query), with_settings(**given):
        yield


def test_an_address_does_not_override_how_long_a_task_waits(link: Proxy) -> None:
    query = "?socket_timeout=300&socket_connect_timeout=300&retry_on_timeout=yes&max_connections=1"
    with reached_by(link, query, PUBLISH_TIMEOUT=1.0):
        store = get_store()
        store.accept(Change(task_id="t", state="PENDING"))
        store.send(Change(task_id="t", state="RECEIVED"))()
        link.swallows = True
        for attempt in (store.send, lambda change: lambda: store.accept(change)):
            began = time.monotonic()
            with pytest.raises(redis.exceptions.TimeoutError):
                attempt(Change(task_id="t", state="STARTED", run_id="a", begins=True))()
            # Far from the promise, as the machine may be busy; farther from the address's.
            assert time.monotonic() - began < 60


async def test_an_address_does_not_override_how_long_the_web_process_waits(link: Proxy) -> None:
    with reached_by(link, "?socket_timeout=300&health_check_interval=1", CHECK_INTERVAL=0.5):
        store = get_store()
        await store.heads(["task:t"])
        link.swallows = True
        async with asyncio.timeout(60):
            with pytest.raises((redis.exceptions.TimeoutError, TimeoutError)):
                await store.heads(["task:t"])
        (host,) = layer._own_config()["hosts"]
        assert host["socket_timeout"] is None, "a subscriber idles for hours"
        await store.close()


def test_only_a_tasks_own_updates_are_impatient_with_a_redis_that_is_far_away(link: Proxy) -> None:
    with reached_by(link, PUBLISH_TIMEOUT=0.1, CHECK_INTERVAL=60.0):
        store = get_store()
        pending, started, ended = life("t", "p", "1")
        link.delay = 0.1
        with pytest.raises(redis.exceptions.TimeoutError):
            store.send(pending)()
        assert store.accept(started)
        assert store.status("t").state == "STARTED"  # type: ignore[union-attr]
        assert [each.task_id for each in store.statuses(Topic("user", "1"))] == ["t"]
        assert [run.task_id for run in store.running()] == ["t"]
        assert store.waiting_ids() == []
        assert store.elect("me", 60)
        store.renew_lease("w", 60)
        assert store.accept(ended)


# T18: failover behind one host name


def fail_over(link: Proxy, servers: tuple[str, str]) -> None:
    """The second server becomes the primary, and the first its replica; the name leads there."""
    old, new = (redis.Redis.from_url(url) for url in servers)
    with old, new:
        host, port = servers[1].split("//")[1].split("/")[0].split(":")
        old.replicaof(host, port)
        assert until(lambda: old.info("replication")["master_link_status"] == "up")
    link.switch(servers[1])


def test_a_process_leaves_a_server_that_became_a_replica(
    link: Proxy, servers: tuple[str, str]
) -> None:
    with reached_by(link, CHECK_INTERVAL=60.0):
        store = get_store()
        changes = [Change(task_id=f"t{n}", state="PENDING") for n in range(8)]
        # Connections of each kind, and more than one of those that are past the pool.
        answers = [store.send(change) for change in changes[:3]]
        assert [answer() for answer in answers] == [1, 1, 1]
        store.accept(changes[3])
        store.renew_lease("w", 60)
        fail_over(link, servers)
        for attempt in (
            lambda: store.send(changes[4])(),
            lambda: store.accept(changes[5]),
            lambda: store.send_all(changes[6:])(),
            lambda: store.renew_lease("w", 60),
        ):
            failures = 0
            while True:
                try:
                    attempt()  # type: ignore[no-untyped-call]
                    break
                except redis.exceptions.ReadOnlyError:
                    failures += 1
                    assert failures == 1, "the next try is to resolve the host anew"
        answers = [store.send(change._replace(state="RECEIVED")) for change in changes[:3]]
        assert all(answer() for answer in answers), "each of the connections"


async def test_a_web_process_that_only_reads_leaves_a_server_that_became_a_replica(
    link: Proxy, servers: tuple[str, str]
) -> None:
    with reached_by(link, CHECK_INTERVAL=0.5):
        store = get_store()
        hub = Hub()
        topic, arrived = Topic("task", "t"), asyncio.Event()
        subscription = Subscription(lambda event: arrived.set(), lambda reading: arrived.set())
        _, begin = await hub.subscribe(topic, subscription)
        begin()
        await sync_to_async(fail_over)(link, servers)
        # The replica is cut off, so that only the new primary has what comes now.
        with redis.Redis.from_url(servers[0]) as old:
            old.replicaof("127.0.0.1", "1")
        with using_redis(servers[1]):
            await sync_to_async(get_store().accept)(Change(task_id="t", state="PENDING"))
        async with asyncio.timeout(60):
            await arrived.wait()
        await hub.close()
        await store.close()


# W1: releases that run side by side


async def test_a_status_of_a_later_release_passes_through_this_one(service: Any) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    more = {"flow_id": '"f-1"', "labels": '{"a":[1,2]}'}
    shown = {"flow_id": "f-1", "labels": {"a": [1, 2]}}
    with using_redis(service.redis_url):
        accept = sync_to_async(get_store().accept)
        token = token_for(service, topic)
        common: dict[str, Any] = {"task_id": task_id, "publication": "p", "run_id": "a"}
        async with connect(service) as client:
            await client.subscribe(topic, token=token)
            await accept(Change(state="PAUSED", begins=True, counter=1, fields=more, **common))
            event = await client.event(topic)
            assert event["status"].items() >= shown.items()
            assert event["status"]["state"] == "PAUSED"
            waiting = asyncio.create_task(realtime.wait(task_id, timeout=60))
            # The next status of this release keeps the keys that it does not know.
            await accept(Change(state="SUCCESS", fields={"result": "7"}, **common))
            ending = (await client.ending(topic))[-1]
            assert ending["status"].items() >= {**shown, "result": 7}.items()
            since = {"epoch": ending["epoch"], "offset": ending["offset"] - 1}
            again = await client.subscribe(topic, token=token, since=since)
            assert again["events"][0]["status"] == ending["status"]
        async with connect(service) as client:
            snapshot = (await client.subscribe(topic, token=token))["snapshot"]
            assert snapshot == [ending["status"]]
        status = await waiting
        assert (status.extra, status.as_dict()) == (shown, ending["status"])
        assert realtime.status(task_id) == status
        answer = request(service, "GET", f"/realtime/tasks/{task_id}/", token=token)
        assert answer.json()["status"] == ending["status"]


async def test_a_status_without_a_key_that_this_release_has_is_read(clean_redis: str) -> None:
    """An earlier release's: its texts are in the logs, and its events arrive."""
    store, topic = get_store(), Topic("task", "t")
    start = (await store.read(topic)).position
    await sync_to_async(store.accept)(Change(task_id="t", state="PENDING"))
    with redis.Redis.from_url(clean_redis) as client:
        (text,) = client.lrange("realtime:log:task:t", 0, -1)
        status = json.loads(text)
        for key in ("group_id", "truncated", "attempt"):
            del status[key]
        client.lset("realtime:log:task:t", 0, json.dumps(status))
    (event,) = (await store.read(topic, start)).events("task:t")
    read = realtime.Status.from_json(event.text)
    assert (read.group_id, read.truncated, read.attempt) == (None, False, 0)
    await store.close()


async def test_a_later_schema_is_logged_once_and_stops_nothing(
    clean_redis: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = get_store()
    monkeypatch.setattr(connection, "_warned", False)
    with redis.Redis.from_url(clean_redis) as client:
        store.renew_lease("w", 60)
        assert client.get("realtime:schema") == b"1"
        client.set("realtime:schema", 2)
        with caplog.at_level(logging.WARNING, "realtime.store"):
            for _ in range(2):
                store.renew_lease("w", 60)
                assert await store.heads(["task:t"]) == [None]
        (record,) = caplog.records
        assert "update this process" in record.getMessage()
        assert client.get("realtime:schema") == b"2"
    assert store.accept(Change(task_id="t", state="PENDING"))
    await store.close()


# W8, T4: many tasks, and tasks that are no more


async def test_a_list_of_many_tasks_is_read_page_by_page_while_it_changes(
    clean_redis: str, amount: Callable[[int, int], int]
) -> None:
    store, topic, count = get_store(), Topic("user", "1"), amount(230, 900)
    accept = sync_to_async(store.accept)
    for number in range(count):
        await accept(Change(task_id=f"t{number}", state="PENDING", owner="1"))
    reading = await store.read(topic)
    assert (len(reading.texts), reading.total) == (50, count)
    seen = [json.loads(text)["task_id"] for text in reading.texts]
    after = reading.next
    while after is not None:
        # New tasks go to the top; tasks that change or are removed move no other.
        await accept(Change(task_id=f"new{len(seen)}", state="PENDING", owner="1"))
        await sync_to_async(store.forget)(seen[-1])
        page = await store.page(topic, after, 77)
        seen += [json.loads(text)["task_id"] for text in page.texts]
        after = page.next
    assert seen == [f"t{number}" for number in reversed(range(count))]
    assert len(store.statuses(topic)) == (await store.read(topic)).total
    for wrong in ("", "x", "-1", "1 2", "1" * 17, "inf", "(1"):
        with pytest.raises(ValueError, match="after"):
            await store.page(topic, wrong, 50)
    await store.close()


async def test_a_page_is_bounded_in_bytes_but_has_one_status(clean_redis: str) -> None:
    store, topic = get_store(), Topic("user", "1")
    for number, size in enumerate([10, 100_000, 100_000, 100_000, 300_000]):
        fields = {"result": json.dumps("x" * size)}
        change = Change(task_id=f"t{number}", state="SUCCESS", owner="1", fields=fields)
        await sync_to_async(store.accept)(change)
    pages, reading = [], await store.read(topic)
    texts, after = reading.texts, reading.next
    while True:
        pages.append([json.loads(text)["task_id"] for text in texts])
        if after is None:
            break
        page = await store.page(topic, after, 50)
        texts, after = page.texts, page.next
    assert pages == [["t4"], ["t3", "t2"], ["t1", "t0"]]
    await store.close()


async def test_tasks_whose_time_is_over_are_no_longer_counted(clean_redis: str) -> None:
    with with_settings(RECORD_TTL=1, UNFINISHED_TTL=3600):
        store, topic = get_store(), Topic("user", "1")
        accept = sync_to_async(store.accept)
        await accept(Change(task_id="waits", state="PENDING", owner="1"))
        for number in range(60):
            await accept(Change(task_id=f"t{number}", state="SUCCESS", owner="1"))
        assert (await store.read(topic)).total == 61

        async def one_is_left() -> bool:
            return (await store.read(topic, limit=1)).total == 1

        await auntil(one_is_left)
        assert [status.task_id for status in store.statuses(topic)] == ["waits"]
        with redis.Redis.from_url(clean_redis) as client:
            assert client.zcard("realtime:expiry:user:1") == 1
        await store.close()


class Snapshots:
    """The snapshots of one subscription."""

    def __init__(self) -> None:
        self.texts: list[list[str]] = []
        self._arrived = asyncio.Event()

    async def join(self, hub: Hub, topic: Topic) -> Snapshots:
        _, begin = await hub.subscribe(topic, Subscription(lambda event: None, self._snapshot))
        begin()
        return self

    def _snapshot(self, reading: Any) -> None:
        self.texts.append([json.loads(text)["task_id"] for text in reading.texts])
        self._arrived.set()

    async def until(self, *task_ids: str) -> None:
        async with asyncio.timeout(60):
            while list(task_ids) not in self.texts:
                self._arrived.clear()
                await self._arrived.wait()


async def test_subscribers_of_a_forgotten_task_or_owner_get_a_snapshot_without_it(
    clean_redis: str,
) -> None:
    with with_settings(CHECK_INTERVAL=0.3):
        hub, store = Hub(), get_store()
        for task_id in ("t1", "t2", "t3"):
            for change in life(task_id, "p", "1"):
                await sync_to_async(store.accept)(change)
        task, user = [
            await Snapshots().join(hub, Topic.parse(name)) for name in ("task:t2", "user:1")
        ]
        assert await sync_to_async(store.forget)("t2")
        await user.until("t3", "t1")
        assert await sync_to_async(store.forget_owner)("1") == 2
        await user.until()
        del task
        await hub.close()


async def test_subscribers_of_tasks_that_were_purged_get_an_empty_snapshot_in_the_end(
    clean_redis: str,
) -> None:
    with with_settings(CHECK_INTERVAL=0.3, UNFINISHED_TTL=1):
        hub, store = Hub(), get_store()
        await sync_to_async(store.accept)(Change(task_id="t", state="PENDING", owner="1"))
        both = [await Snapshots().join(hub, Topic.parse(name)) for name in ("task:t", "user:1")]
        for each in both:
            await each.until()
        assert store.waiting(10) == []
        assert store.waiting_ids() == []
        await hub.close()


def test_later_changes_of_a_forgotten_task_are_refused(clean_redis: str) -> None:
    store = get_store()
    pending, started, ended = life("t", "p", "1")
    store.accept(pending)
    store.accept(started)
    assert store.forget("t")
    assert not store.forget("t")
    assert not store.accept(ended)
    assert not store.accept(Change(task_id="t", state="SUCCESS", stored=True)), "found by id"
    assert store.status("t") is None
    assert store.running() == []
    assert store.accept(life("t", "q", "2")[0]) == 1
    with redis.Redis.from_url(clean_redis) as client:
        assert all(client.ttl(key) > 0 for key in client.scan_iter("realtime:task:*"))


async def test_a_hundred_thousand_waiting_tasks_are_read_in_short_steps(
    clean_redis: str, amount: Callable[[int, int], int]
) -> None:
    store, count = get_store(), amount(25_000, 100_000)
    with redis.Redis.from_url(clean_redis) as client:
        for start in range(0, count, 5000):
            members = {f"task-{number:036d}": start for number in range(start, start + 5000)}
            client.zadd("realtime:waiting", members)
        client.config_resetstat()
        assert len(set(store.waiting_ids())) == count
        stats = client.info("commandstats")["cmdstat_zrange"]
    assert stats["calls"] == -(-count // 10_000) + 1, "no step reads more than 10,000 ids"


# P13: a visitor signs in


async def test_a_visitors_tasks_move_in_pages_and_those_in_flight_follow(
    clean_redis: str, amount: Callable[[int, int], int]
) -> None:
    store, count = get_store(), amount(230, 1100)
    accept = sync_to_async(store.accept)
    visitor, theirs = Topic("user", "visitor-v"), Topic("user", "42")
    changes = [life(f"t{n}", f"p{n}", "visitor-v") for n in range(count)]
    for pending, *_ in changes:
        await accept(pending)
    before = (await store.read(visitor)).position
    page = (await store.read(theirs)).position
    moved = []
    while not moved or moved[-1]:
        moved.append(await sync_to_async(store.adopt)("visitor-v", "42"))
        assert moved[-1] <= 100
    assert sum(moved) == count
    assert await store.moved_to("visitor-v") == "42"
    # A page of the user's sees them arrive, oldest first, and the list is in their order.
    kept = settings.REALTIME.get("MAX_LIST_TASKS", 1000)
    assert (await store.read(theirs, page)).position == Position(page.epoch, min(count, kept))
    ids = [status.task_id for status in await sync_to_async(store.statuses)(theirs)]
    assert ids == [f"t{n}" for n in reversed(range(count))][:kept]
    # The visitor's list is empty from now on, and names the new owner.
    left = await store.read(visitor, before)
    assert (left.recovered, left.texts, left.total, left.moved_to) == (False, [], 0, "42")
    assert await store.ownership("t0") == ("42", 0)
    # What was in flight, and what is published later, is the user's.
    await accept(changes[0][1])
    await accept(life("late", "late", "visitor-v")[0])
    assert await store.ownership("late") == ("42", 0)
    assert (await store.read(visitor)).total == 0
    assert await sync_to_async(store.adopt)("visitor-v", "42") == 0
    await store.close()


def test_only_a_visitors_tasks_can_be_moved(clean_redis: str) -> None:
    with pytest.raises(ValueError, match="visitor"):
        get_store().adopt("42", "43")
