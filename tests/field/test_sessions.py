"""One client's session: permissions, limits, a store that is away, and what must not remain."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import random
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import redis
from asgiref.sync import async_to_sync, sync_to_async
from celery import current_app
from django.conf import settings
from django.test import override_settings

import realtime
from realtime.core.change import Change
from realtime.core.position import Position, Step, step
from realtime.core.topics import Topic
from realtime.exceptions import TaskNotFound
from realtime.store import get_store
from realtime.store.redis import RedisStore
from realtime.web import hub as hub_module
from realtime.web import recall as recall_module
from realtime.web import requests as requests_module
from realtime.web import subscriptions as subscriptions_module
from realtime.web.access import tokens as tokens_module
from realtime.web.access.tokens import make_token
from realtime.web.hub import Hub, get_hub
from tests.client.over_http import request
from tests.client.protocol import position_in
from tests.client.session import SessionClient
from tests.client.watcher import LoopThread
from tests.client.websocket import connect
from tests.conftest import using_redis
from tests.faults.proxy import Proxy
from tests.publishing import fresh_id, publish_change, publish_progress, token_for
from tests.until import auntil, until

#: Asking for a right may close a connection to the database, where the process has one.
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

Amount = Callable[[int, int], int]


@pytest.fixture
def long_log(clean_redis: str) -> Iterator[None]:
    """Keep so many events that no recovery is a snapshot, however late it is read."""
    with override_settings(REALTIME={**settings.REALTIME, "MAX_HISTORY_EVENTS": 20_000}):
        yield


@pytest.fixture
async def client(clean_redis: str) -> AsyncIterator[SessionClient]:
    """A client of a session in this process, with a real Redis."""
    client = await SessionClient().open()
    yield client
    await client.leave()
    await get_hub().close()


def token(*topics: str) -> str:
    return make_token(topics)[0]


def brief_token(topic: str) -> tuple[str, datetime]:
    """Make a token for a second. Overriding the setting would replace the client's store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens_module, "conf", lambda: SimpleNamespace(TOKEN_AGE=1))
        return make_token([topic])


asay = sync_to_async(publish_change, thread_sensitive=False)


# A page that stays open longer than its token (P1)


async def test_a_token_that_ends_ends_nothing_that_the_session_allows(
    service: Any, people: Any
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "STARTED", owner=people.alice.key)
    with override_settings(REALTIME={**settings.REALTIME, "TOKEN_AGE": 2}):
        brief = token_for(service, topic)
    async with (
        connect(service, session=people.alice.session) as owner,
        connect(service) as stranger,
    ):
        for each in (owner, stranger):
            answer = await each.subscribe(topic, token=brief)
            assert answer["expires_in"] in (0, 1, 2)
        ended = await stranger.event(topic)
        assert (ended["type"], ended["code"]) == ("unsubscribed", "unauthorized")
        publish_change(task_id, "SUCCESS", owner=people.alice.key)
        assert (await owner.event(topic))["status"]["state"] == "SUCCESS"
        assert await stranger.has_nothing()
        assert (await owner.subscribe(topic))["expires_in"] is None


async def test_a_renewal_that_the_end_of_the_token_overtakes_is_granted(
    client: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = fresh_id()
    topic, renewed = f"task:{task_id}", token(f"task:{task_id}")
    await asay(task_id, "STARTED", owner="somebody")
    brief, _ = brief_token(topic)
    assert (await client.ask("subscribe", topic=topic, token=brief))["type"] == "subscribed"
    ended = asyncio.Event()
    grant = subscriptions_module.grant

    async def late(named: Any, user: Any, given: str | None = None) -> Any:
        if given == renewed:
            await ended.wait()
        return await grant(named, user, given)

    monkeypatch.setattr(subscriptions_module, "grant", late)
    client.post("subscribe", topic=topic, token=renewed)
    assert (await client.next("unsubscribed"))["code"] == "unauthorized"
    ended.set()
    answer = await client.first(lambda frame: "id" in frame)
    assert answer["type"] == "subscribed", answer
    await asay(task_id, "SUCCESS", owner="somebody")
    assert (await client.next("event"))["status"]["state"] == "SUCCESS"


async def test_a_token_that_ends_during_its_renewal_is_reported_as_ended(
    client: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client renews after `unauthorized`; `not_found` would be an answer for good."""
    task_id = fresh_id()
    topic = f"task:{task_id}"
    brief, ends = brief_token(topic)
    # Nobody has published it yet, so its first reading shows another owner than was granted.
    assert (await client.ask("subscribe", topic=topic, token=brief))["type"] == "subscribed"
    await asay(task_id, "STARTED", owner="somebody")
    await client.next("event")
    over, by_session = asyncio.Event(), itertools.count()
    grant = subscriptions_module.grant

    async def late(named: Any, user: Any, given: str | None = None) -> Any:
        if given is not None:
            await asyncio.sleep(ends.timestamp() - time.time() + 0.01)
        elif next(by_session):
            await over.wait()  # the timer of the token, which asks the session too
        return await grant(named, user, given)

    monkeypatch.setattr(subscriptions_module, "grant", late)
    subscribed = client.session.subscriptions.get(Topic.parse(topic))
    assert subscribed is not None
    get_hub().refresh(subscribed.grant.topic, subscribed)
    assert (await client.next("unsubscribed"))["code"] == "unauthorized"
    over.set()


async def test_renewing_a_token_while_events_come_loses_and_duplicates_nothing(
    long_log: None, client: SessionClient, amount: Amount
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    count = amount(300, 10_000)
    seen: list[int] = []

    def publish() -> None:
        for current in range(count):
            # So few events that none is merged.
            assert until(lambda: current - len(seen) < 40)  # noqa: B023
            publish_progress(task_id, current)
        publish_change(task_id, "SUCCESS")

    answer = await client.ask("subscribe", topic=topic, token=token(topic))
    position = Position(answer["epoch"], answer["offset"])
    publishing = asyncio.create_task(asyncio.to_thread(publish))
    while not seen or seen[-1] <= count:
        frame = await client.first(lambda frame: True)
        for event in frame.get("events", [frame]):
            if "status" not in event:
                continue
            following = step(position, Position(position.epoch, event["offset"]))
            # Those of an answer may repeat what came before it, on its way.
            assert following is Step.DELIVER or "events" in frame
            if following is Step.DELIVER:
                position = Position(position.epoch, event["offset"])
                seen.append(event["offset"])
        if frame["type"] == "event" and frame["offset"] % 10 == 0:
            since = position._asdict()
            client.post("subscribe", topic=topic, token=token(topic), since=since)
    await publishing
    assert seen == list(range(1, count + 2))


# Many refused subscriptions on one page (P2), and the rates (P3)


async def test_a_page_with_25_expired_ids_still_sees_its_running_task_end(
    service: Any, people: Any
) -> None:
    running = fresh_id()
    topic = f"task:{running}"
    publish_change(running, "STARTED", owner=people.alice.key)
    async with connect(service, session=people.alice.session) as client:
        answer = await client.subscribe(topic)
        codes = [(await client.subscribe(f"task:{fresh_id()}")) for _ in range(25)]
        assert [each["code"] for each in codes] == ["not_found"] * 20 + ["limit"] * 5
        assert all(1 <= each["retry_after"] <= 60 for each in codes[20:])
        since = position_in(answer)
        again = await client.subscribe(topic, since=since)
        assert again["recovered"], "what was granted can be requested again"
        publish_change(running, "SUCCESS", owner=people.alice.key)
        assert (await client.event(topic))["status"]["state"] == "SUCCESS"


async def test_the_welcome_carries_the_limits(clean_redis: str) -> None:
    given = {
        "MAX_FRAME_BURST": 20,
        "MAX_FRAMES_PER_SECOND": 5.0,
        "MAX_REFUSALS_PER_MINUTE": 7,
        "MAX_SUBSCRIPTIONS": 3,
    }
    with override_settings(REALTIME={**settings.REALTIME, **given}):
        client = SessionClient()
        assert await client.session.open()
        limits = (await client.next("welcome"))["limits"]
        assert (
            limits.items()
            >= {
                "frame_burst": 20,
                "frames_per_second": 5,
                "refusals_per_minute": 7,
                "subscriptions": 3,
            }.items()
        )
        await client.leave()
        await get_hub().close()


# A store that is away (P17), and links that are half-open (W9)


@pytest.fixture
def link(clean_redis: str) -> Iterator[Proxy]:
    """This process reaches its Redis over a link whose faults the test sets."""
    loop = LoopThread()
    proxy = Proxy(loop, clean_redis, random.Random(1))
    with using_redis(proxy.url):
        yield proxy
    loop.loop.call_soon_threadsafe(proxy.close)
    loop.close()


async def test_a_client_is_notified_that_the_store_is_away_and_a_half_open_connection_is_replaced(
    clean_redis: str, link: Proxy
) -> None:
    with using_redis(clean_redis):
        worker = RedisStore()
        await sync_to_async(worker.status, thread_sensitive=False)("connects")
    task_id = fresh_id()
    topic = f"task:{task_id}"
    await asay(task_id, "PENDING")
    client = await SessionClient().open()
    assert (await client.ask("subscribe", topic=topic, token=token(topic)))["snapshot"]

    link.swallows = True
    assert (await client.next("store"))["available"] is False
    link.swallows = False  # but a connection that lost something stays dead, and nothing reports it
    assert (await client.next("store"))["available"] is True
    for state in ("STARTED", "SUCCESS"):
        change = Change(task_id=task_id, state=state)
        await sync_to_async(worker.accept, thread_sensitive=False)(change)
    states = [(await client.next("event"))["status"]["state"] for _ in range(2)]
    assert states == ["STARTED", "SUCCESS"]
    await client.leave()
    await get_hub().close()


async def test_a_client_that_connects_while_the_store_is_away_is_notified(link: Proxy) -> None:
    first = await SessionClient().open()
    link.swallows = True
    assert (await first.next("store"))["available"] is False
    second = await SessionClient().open()
    assert (await second.next("store"))["available"] is False
    link.swallows = False
    for client in (first, second):
        assert (await client.next("store"))["available"] is True
        await client.leave()
    await get_hub().close()


# What a synchronous view leaves behind (W4)


def count_what_remains(url: str) -> dict[str, int]:
    """Hubs, event loops, threads, and connections to Redis of this process."""
    gc.collect()
    objects = gc.get_objects()
    with redis.Redis.from_url(url) as client:
        connections = len(client.client_list())
    return {
        "hubs": sum(isinstance(each, Hub) for each in objects),
        "loops": sum(isinstance(each, asyncio.AbstractEventLoop) for each in objects),
        "threads": threading.active_count(),
        "connections": connections,
        "known": len(hub_module._hubs),
    }


def wait_in_a_thread(task_id: str) -> Any:
    """Wait as a view of a WSGI server does: in a thread, with no event loop."""
    found: list[Any] = []

    def view() -> None:
        try:
            found.append(async_to_sync(realtime.wait)(task_id, timeout=20).state)
        except TaskNotFound:
            found.append(None)

    thread = threading.Thread(target=view)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("state", ["SUCCESS", None], ids=["ended", "unknown"])
def test_waiting_in_a_synchronous_view_leaves_no_hub_loop_thread_or_connection(
    clean_redis: str, amount: Amount, state: str | None
) -> None:
    task_id = fresh_id()
    if state:
        publish_change(task_id, state)
    assert wait_in_a_thread(task_id) == state
    before = count_what_remains(clean_redis)
    for _ in range(amount(20, 200)):
        assert wait_in_a_thread(task_id) == state
    until(lambda: count_what_remains(clean_redis) == before, 10)
    assert count_what_remains(clean_redis) == before


# A connection that is used for long (W5)


async def test_a_thousand_subscriptions_that_end_leave_nothing_behind(
    client: SessionClient, amount: Amount
) -> None:
    hub, outbox = get_hub(), client.session._outbox
    kept = client.session.subscriptions
    keys = {"topic": "task:first", "token": token("task:first")}
    await client.ask("subscribe", **keys)
    await client.ask("unsubscribe", topic="task:first")
    (layer,) = hub.link.layer._layers.values()
    for number in range(amount(1000, 20_000)):
        topic = f"task:{number}"
        await client.ask("subscribe", topic=topic, token=token(topic))
        await client.ask("unsubscribe", topic=topic)
    await auntil(lambda: not (hub._rechecks or layer.groups))
    assert (len(kept), outbox._progress, len(outbox)) == (0, {}, 0)
    assert hub._watched == {}
    assert len(kept.granted()) <= 128
    assert len(kept._tasks or ()) == 0
    assert len(client.session._requests or ()) == 0
    assert len(hub.link._tasks) < 10


async def test_a_client_that_disconnects_while_it_subscribes_leaves_no_subscription(
    clean_redis: str, amount: Amount
) -> None:
    hub = get_hub()
    for number in range(amount(50, 1000)):
        client = await SessionClient().open()
        for each in range(5):
            topic = f"task:{number}-{each}"
            client.post("subscribe", topic=topic, token=token(topic))
        await asyncio.sleep(random.random() / 200)
        await client.leave()
        assert hub._watched == {}
    await hub.close()


# An id that is published again for another owner (T6), and a visitor who signs in (P13)


def person(key: int, *, sees_all: bool = False) -> Any:
    """A user, as a session has it."""
    rights = {"is_staff": sees_all, "has_perm": lambda _name: sees_all}
    return SimpleNamespace(pk=key, is_authenticated=True, is_active=True, **rights)


def publish(task_id: str, publication: str, owner: str, *more: str) -> None:
    """Publish an id, and go through more states. Every status names its owner."""
    for number, state in enumerate(("PENDING", *more)):
        change = Change(
            task_id=task_id,
            state=state,
            publication=publication,
            owner=owner,
            run_id=f"{publication} runs" if number else "",
            begins=number == 1,
            fields={"name": f'"of {owner}"'},
        )
        assert get_store().accept(change)


apublish = sync_to_async(publish, thread_sensitive=False)


async def test_an_id_published_for_another_owner_ends_the_first_owners_subscription(
    open_client: Callable[..., Any],
) -> None:
    topic = "task:nightly"
    await apublish("nightly", "monday", "7", "STARTED", "SUCCESS")
    early = token(topic)
    owner, holder, staff = [
        await open_client(user) for user in (person(7), None, person(9, sees_all=True))
    ]
    for client, keys in ((owner, {}), (holder, {"token": early}), (staff, {})):
        answer = await client.ask("subscribe", topic=topic, **keys)
        assert answer["snapshot"][0]["name"] == "of 7"
    await asyncio.sleep(0.05)  # tokens are made by another clock than the store's
    await apublish("nightly", "tuesday", "8", "STARTED")
    for client in (owner, holder):
        ended = await client.next("unsubscribed")
        assert (ended["topic"], ended["code"]) == (topic, "not_found")
        assert "of 8" not in json.dumps(list(client.arrived))
    assert (await owner.ask("subscribe", topic=topic))["code"] == "not_found"
    refused = await holder.ask("subscribe", topic=topic, token=early)
    assert refused["code"] == "unauthorized"
    # Staff keep it, the new owner sees it, and so does a client with a new token.
    assert (await staff.next("snapshot"))["snapshot"][0]["name"] == "of 8"
    await asyncio.sleep(0.05)
    for client, keys in ((await open_client(person(8)), {}), (holder, {"token": token(topic)})):
        answer = await client.ask("subscribe", topic=topic, **keys)
        assert answer["snapshot"][0]["name"] == "of 8"
    await asay_more("nightly", "tuesday", "8")
    assert (await staff.next("event"))["status"]["state"] == "SUCCESS"


asay_more = sync_to_async(
    lambda task_id, publication, owner: get_store().accept(
        Change(
            task_id=task_id,
            state="SUCCESS",
            publication=publication,
            owner=owner,
            run_id=f"{publication} runs",
        )
    ),
    thread_sensitive=False,
)


async def test_no_race_shows_the_first_owner_a_status_of_the_second(
    open_client: Callable[..., Any], amount: Amount
) -> None:
    first, second = await open_client(person(7)), await open_client(person(8))
    for number in range(amount(40, 2000)):
        task_id = f"nightly-{number}"
        topic = f"task:{task_id}"
        await apublish(task_id, "monday", "7", "STARTED", "SUCCESS")
        answer = await first.ask("subscribe", topic=topic)
        since = position_in(answer)
        again = asyncio.create_task(apublish(task_id, "tuesday", "8", "STARTED"))
        await asyncio.sleep(random.random() / 100)
        first.post("subscribe", topic=topic, since=since)
        second.post("subscribe", topic=topic)
        await again
        while (await second.ask("subscribe", topic=topic))["type"] == "error":
            pass
        await second.ask("unsubscribe", topic=topic)
        await first.ask("unsubscribe", topic=topic)
        received = json.dumps(list(first.arrived))
        assert "of 8" not in received
        first.arrived.clear()
        second.arrived.clear()


async def test_a_visitor_who_signs_in_ends_the_tokens_for_the_visitors_topic(
    open_client: Callable[..., Any],
) -> None:
    topic = "user:visitor-a"
    await apublish("theirs", "monday", "visitor-a", "STARTED")
    granted = token(topic)
    client = await open_client()
    answer = await client.ask("subscribe", topic="user:me", token=granted)
    assert [each["task_id"] for each in answer["snapshot"]] == ["theirs"]
    assert await sync_to_async(get_store().adopt, thread_sensitive=False)("visitor-a", "7")
    ended = await client.next("unsubscribed")
    assert (ended["topic"], ended["code"]) == ("user:me", "unauthorized")
    refused = await client.ask("subscribe", topic=topic, token=granted)
    assert refused["code"] == "unauthorized"
    user = await open_client(person(7))
    answer = await user.ask("subscribe", topic="user:me")
    assert [each["task_id"] for each in answer["snapshot"]] == ["theirs"]


# Long lists (W8)


async def test_a_list_arrives_as_one_page_and_the_rest_on_request(
    open_client: Callable[..., Any],
) -> None:
    def start() -> None:
        for number in range(130):
            publish_change(f"task-{number:03}", "STARTED", owner="7")

    await asyncio.to_thread(start)
    client = await open_client(person(7))
    answer = await client.ask("subscribe", topic="user:me")
    assert (len(answer["snapshot"]), answer["total"]) == (50, 130)
    found = [each["task_id"] for each in answer["snapshot"]]
    following, sizes = answer["next"], []
    while following:
        page = await client.ask("page", topic="user:me", after=following, limit=60)
        assert page.keys() == {"type", "id", "topic", "snapshot", "next"}
        found += [each["task_id"] for each in page["snapshot"]]
        sizes.append(len(page["snapshot"]))
        following = page["next"]
    assert sizes == [60, 20]
    assert found == [f"task-{number:03}" for number in reversed(range(130))]
    few = await client.ask("subscribe", topic="user:me", limit=3)
    assert (len(few["snapshot"]), few["total"]) == (3, 130)
    error = await client.ask("page", topic="user:me", after="no such text")
    assert (error["type"], error["code"]) == ("error", "bad_request")
    stranger = await open_client(person(8))
    error = await stranger.ask("page", topic="user:7", after=answer["next"])
    assert (error["type"], error["code"]) == ("error", "not_found")


def test_a_list_is_read_page_by_page_over_http_too(service: Any, people: Any) -> None:
    owner = f"visitor-{fresh_id()}"
    for number in range(5):
        publish_change(f"{owner}-{number}/ü", "STARTED", owner=owner)
    allowed = {"token": token_for(service, f"user:{owner}")}
    path = "/realtime/topics/user:me/"
    first = request(service, "GET", f"{path}?limit=2", **allowed).json()
    assert first.keys() == {"epoch", "offset", "snapshot", "total", "next"}
    assert (len(first["snapshot"]), first["total"]) == (2, 5)
    after = quote(first["next"])
    rest = request(service, "GET", f"{path}?limit=200&after={after}", **allowed).json()
    assert (len(rest["snapshot"]), rest["next"]) == (3, None)
    task_id = first["snapshot"][0]["task_id"]
    name = urlsafe_b64encode(task_id.encode()).decode().rstrip("=")
    one = request(service, "GET", f"/realtime/topics/task:~{name}/", **allowed).json()
    assert one.keys() == {"epoch", "offset", "snapshot"}
    assert one["snapshot"] == first["snapshot"][:1]
    answers = {
        f"{path}?limit=0": 400,
        f"{path}?limit=201": 400,
        f"{path}?after=nonsense": 400,
        "/realtime/topics/colour:red/": 400,
        f"/realtime/topics/task:~{name}/?after=x": 400,
        "/realtime/topics/user:somebody/": 401,
    }
    assert {each: request(service, "GET", each, **allowed).code for each in answers} == answers
    bob = people.bob.session
    assert request(service, "GET", f"/realtime/topics/user:{owner}/", session=bob).code == 404


# Slow backends (W6)


async def test_a_celery_broker_that_does_not_answer_delays_the_cancel_alone(
    client: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "TIME_LIMIT", 2.0)
    released = threading.Event()
    monkeypatch.setattr(current_app.control, "revoke", lambda *_, **__: released.wait(60))
    task_id, other = fresh_id(), fresh_id()
    for each in (task_id, other):
        await asay(each, "STARTED")
    both = token(f"task:{task_id}", f"task:{other}")
    await client.ask("subscribe", topic=f"task:{task_id}", token=both)
    client.post("cancel", task_id=task_id)
    try:
        assert (await client.ask("ping"))["type"] == "pong"
        answer = await client.ask("subscribe", topic=f"task:{other}", token=both)
        assert answer["type"] == "subscribed"
        assert not [frame for frame in client.arrived if "id" in frame], "the cancel still waits"
        error = await client.next("error")
        assert (error["code"], error["id"]) == ("internal", 2)
        assert (await client.ask("ping"))["type"] == "pong"
    finally:
        released.set()


async def test_a_result_backend_that_does_not_answer_delays_no_ping_and_no_subscription(
    client: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def stored_ending(task_id: Any) -> None:
        released.wait(60)

    monkeypatch.setattr(recall_module, "stored_ending", stored_ending)
    try:
        for number in range(20):  # more than a process has threads for it
            topic = f"task:{number}"
            answer = await client.ask("subscribe", topic=topic, token=token(topic))
            assert answer["type"] == "subscribed"
        assert (await client.ask("ping"))["type"] == "pong"
        assert await asyncio.to_thread(lambda: "there is still a thread")
    finally:
        released.set()


async def test_requests_about_one_topic_are_answered_in_order_however_slow_some_are(
    client: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, read = get_store(), get_store().read

    async def slowly(*args: Any, **keys: Any) -> Any:
        await asyncio.sleep(random.random() / 20)
        return await read(*args, **keys)

    monkeypatch.setattr(requests_module, "_ORDERED", 0.0)
    monkeypatch.setattr(store, "read", slowly)
    for _ in range(10):
        for topic in ("task:a", "task:b", "task:c"):
            client.post("subscribe", topic=topic, token=token(topic))
            client.post("unsubscribe", topic=topic)
    answers = [await client.first(lambda frame: "id" in frame) for _ in range(60)]
    for topic in ("task:a", "task:b", "task:c"):
        numbers = [each["id"] for each in answers if each["topic"] == topic]
        assert numbers == sorted(numbers)
    assert len(client.session.subscriptions) == 0
