"""Ids that are published again, expire or change their owner: no owner sees another's task."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async
from celery import current_app, uuid
from django.conf import settings
from django.test import AsyncClient, override_settings
from kombu import Producer

import realtime
from realtime.core.change import Change
from realtime.core.states import STALLED, TERMINAL
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.web import recall, views
from realtime.web.access.revocation import get_access_checker
from realtime.web.access.tokens import make_token
from realtime.web.hub import get_hub
from tests.client.session import SessionClient
from tests.policies import Gate
from tests.until import until

#: Checking a right may close a connection to the database, where the process has one.
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def person(key: int, *, sees_all: bool = False) -> Any:
    return SimpleNamespace(
        pk=key, is_authenticated=True, is_staff=sees_all, has_perm=lambda _name: sees_all
    )


def publish(task_id: str, publication: str, owner: str, *states: str) -> None:
    """Let a publication of a task come so far."""
    for state in ("PENDING", *states):
        runs = state not in ("PENDING", "RECEIVED")
        get_store().accept(
            Change(
                task_id=task_id,
                state=state,
                attempt=0,
                publication=publication,
                owner=owner,
                run_id=f"{publication}-runs" if runs else "",
                begins=state == "STARTED",
                fields={"name": json.dumps(f"of {owner}")},
            )
        )


apublish = sync_to_async(publish, thread_sensitive=False)


def expire(url: str, *task_ids: str) -> None:
    """Let the records' time be over."""
    with redis.Redis.from_url(url) as client:
        for task_id in task_ids:
            client.delete(f"realtime:task:{task_id}")
            client.delete(f"realtime:head:task:{task_id}", f"realtime:log:task:{task_id}")


async def test_an_expired_id_that_another_user_publishes_is_shown_to_that_user_alone(
    clean_redis: str, open_client: Callable[..., Any]
) -> None:
    topic = "task:nightly"
    await apublish("nightly", "monday", "7", "STARTED", "SUCCESS")
    owner, holder, staff, early = [
        await open_client(user) for user in (person(7), None, person(9, sees_all=True), None)
    ]
    token = make_token([topic])[0]
    await early.ask("subscribe", topic="task:later", token=make_token(["task:later"])[0])
    for client, keys in ((owner, {}), (holder, {"token": token}), (staff, {})):
        answer = await client.ask("subscribe", topic=topic, **keys)
        assert answer["snapshot"][0]["name"] == "of 7"
    expire(clean_redis, "nightly")
    for client in (owner, holder, staff):
        assert (await client.next("snapshot"))["snapshot"] == []
    await apublish("nightly", "tuesday", "8", "STARTED")
    await apublish("later", "tuesday", "8", "STARTED")
    for client in (owner, holder):
        ended = await client.next("unsubscribed")
        assert (ended["topic"], ended["code"]) == (topic, "not_found")
        assert "of 8" not in json.dumps(list(client.arrived))
    assert (await staff.next("snapshot"))["snapshot"][0]["name"] == "of 8"
    # A token for a task that does not exist yet is valid for any later owner.
    states = [(await early.next("event"))["status"]["state"] for _ in range(2)]
    assert states == ["PENDING", "STARTED"]


async def test_a_list_never_shows_an_expired_id_that_is_another_owners_by_now(
    clean_redis: str,
) -> None:
    store = get_store()
    for task_id in ("nightly", "mine"):
        await apublish(task_id, "monday", "7", "STARTED", "SUCCESS")
    expire(clean_redis, "nightly", "mine")
    await apublish("nightly", "tuesday", "8", "STARTED")
    await apublish("mine", "tuesday", "7", "STARTED")
    for owner, task_id in (("7", "mine"), ("8", "nightly")):
        reading = await store.read(Topic("user", owner))
        assert [json.loads(text)["task_id"] for text in reading.texts] == [task_id]
        assert reading.total == 1
    await store.close()


async def test_a_record_that_was_evicted_leaves_nothing_of_its_life_to_the_next_owner(
    clean_redis: str,
) -> None:
    store, topic = get_store(), Topic("task", "nightly")
    await apublish("nightly", "monday", "7", "STARTED", "SUCCESS")
    before = (await store.read(topic)).position
    with redis.Redis.from_url(clean_redis) as client:
        client.delete("realtime:task:nightly")
    await apublish("nightly", "tuesday", "8")
    reading = await store.read(topic, before)
    assert not reading.recovered
    assert reading.position.epoch != before.epoch
    await store.close()


def test_a_visitor_who_became_one_user_becomes_no_other(clean_redis: str) -> None:
    store = get_store()
    publish("early", "p", "visitor-v", "STARTED")
    assert store.adopt("visitor-v", "7") == 1
    assert store.adopt("visitor-v", "7") == 0
    publish("in flight", "q", "visitor-v", "STARTED")
    assert store.adopt("visitor-v", "8") == 0, "a copied cookie"
    publish("later", "r", "visitor-v", "STARTED")
    found = {owner: store.statuses(Topic("user", owner)) for owner in ("7", "8", "visitor-v")}
    ids = {owner: {status.task_id for status in found[owner]} for owner in found}
    assert ids == {"7": {"early", "in flight", "later"}, "8": set(), "visitor-v": set()}


# Any order of what two owners and a visitor publish, run, repeat and remove

IDS = ("nightly", "weekly")
OWNERS = ("7", "8", "visitor-v", "")
STATES = ("", "PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", STALLED, *sorted(TERMINAL))


class Publications:
    """What Celery would send about some publications of two ids, in any order and repeated."""

    def __init__(self, random: Random) -> None:
        self._random = random
        #: Whose each publication is.
        self.owners: dict[str, str] = {}
        self._sent: list[Change] = []
        self._runs = 0

    def change(self) -> Change:
        """Return a change, often an old one again."""
        random = self._random
        if self._sent and random.random() < 0.2:
            return random.choice(self._sent)
        known = [*self.owners]
        if not known or random.random() < 0.15:
            publication, state = f"p{len(known)}", "PENDING"
            self.owners[publication] = random.choice(OWNERS)
        else:
            publication = random.choice(known[-4:])
            state = random.choice(STATES)
        task_id = IDS[int(publication[1:]) % len(IDS)]
        beside = state in ("PENDING", "RECEIVED", "LOST", "") or random.random() < 0.1
        if state == "STARTED" and random.random() < 0.7:
            self._runs += 1
        run = "" if beside else f"{publication}-{self._runs}"
        change = Change(
            task_id=task_id,
            state=state,
            attempt=random.choice([None, 0, 0, 1]),
            publication=publication,
            owner=self.owners[publication],
            run_id=run,
            begins=state == "STARTED",
            counter=random.choice([None, 1, 2]) if state == "PROGRESS" else None,
            sender="s" if state == "PROGRESS" and not run else "",
            worker=random.choice(["", "w"]) if state in ("RECEIVED", "STARTED") else "",
            stored=state == "SUCCESS" and random.random() < 0.2,
            fields={"name": json.dumps(publication)},
        )
        self._sent.append(change)
        return change


class Store:
    """A store, and the statuses that it returned to each owner."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self._since: dict[str, Any] = {}

    async def shown_to(self, owner: str) -> list[list[str]]:
        """Return all that an owner can read by now, a list for each way to read it."""
        topics = [Topic("user", owner)] if owner else []
        for task_id in IDS:
            owned = await self.store.ownership(task_id)
            if owned is not None and owned.owner == owner:
                topics.append(Topic("task", task_id))
        shown = []
        for topic in topics:
            key = f"{owner} {topic}"
            for since in (None, self._since.get(key)):
                reading = await self.store.read(topic, since)
                shown.append(list(reading.texts))
            self._since[key] = reading.position
        return shown

    def lists(self) -> tuple[Any, ...]:
        """Return which tasks run and wait; assert that the records agree."""
        running, waiting = self.store.running(), self.store.unfinished(self.store.waiting_ids())
        kept = {task_id: self.store.status(task_id) for task_id in IDS}
        ended = {task_id for task_id, status in kept.items() if status and status.terminal}
        listed = sorted([each.task_id for each in (*running, *waiting)])
        assert listed == sorted({*(i for i in IDS if kept[i])} - ended)
        runs = [dataclasses.replace(run, seconds=0.0) for run in running]
        return sorted(runs, key=str), sorted(waiting, key=str)


def _beside(random: Random) -> Callable[[Any], Any]:
    """Pick a call of the store between two changes."""
    task_id, owner = random.choice(IDS), random.choice(("7", "8"))
    return random.choices(
        [
            lambda store: None,
            lambda store: store.forget(task_id),
            lambda store: store.forget_owner(owner),
            lambda store: store.adopt("visitor-v", owner),
            lambda store: store.withdraw(task_id, "p0"),
        ],
        [80, 5, 3, 7, 5],
    )[0]


@pytest.mark.parametrize("expires", [False, True])
async def test_no_owner_sees_anothers_life_in_any_order_of_publishing_and_removing(
    clean_redis: str, amount: Callable[[int, int], int], expires: bool
) -> None:
    in_memory = {
        "REALTIME": settings.REALTIME | {"STORE": "realtime.store.memory.MemoryStore"},
        "CHANNEL_LAYERS": {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    }
    redis_broker, looked_at = get_store(), 0
    for seed in range(amount(8, 100)):
        random = Random(seed)
        with redis.Redis.from_url(clean_redis) as client:
            client.flushdb()
        sent, stores = Publications(random), [Store(redis_broker)]
        with override_settings(**in_memory):
            if not expires:  # nothing expires in memory
                stores.append(Store(get_store()))
            moved_to, versions = "", dict.fromkeys(IDS, 0)
            for _ in range(60):
                if expires and random.random() < 0.05:
                    task_id = random.choice(IDS)
                    expire(clean_redis, task_id)
                    versions[task_id] = 0
                ask = _beside(random)
                (*_, answer) = answers = [ask(store.store) for store in stores]
                assert len(set(answers)) == 1, seed
                moved_to = moved_to or await redis_broker.moved_to("visitor-v") or ""
                change = sent.change()
                came = [store.store.accept(change) for store in stores]
                assert len(set(came)) == 1, (seed, change)
                if answer is not None:
                    versions = dict.fromkeys(IDS, 0)  # one that was removed begins anew
                if came[0]:
                    assert came[0] > versions[change.task_id], (seed, change)
                    versions[change.task_id] = came[0]
                lists = [store.lists() for store in stores]
                assert all(each == lists[0] for each in lists), (seed, change)
                for owner in OWNERS:
                    shown = [await store.shown_to(owner) for store in stores]
                    assert all(each == shown[0] for each in shown), (seed, change, owner)
                    for text in itertools.chain.from_iterable(shown[0]):
                        whose = sent.owners[json.loads(text)["name"]]
                        mine = {owner, "visitor-v" if owner == moved_to else owner}
                        assert whose in mine, (seed, change, owner, text)
                        looked_at += 1
    print(f"statuses shown in lives of others: 0 of {looked_at}")
    await redis_broker.close()


# Headers that another producer wrote


HEADERS: dict[str, Any] = {
    "no mapping": "text",
    "spaces": {"publication": "a b a", "owner": "o n e", "published_at": "yesterday"},
    "no texts": {"publication": 7, "owner": [1], "published_at": 5, "excluded": 3},
    "control characters": {"publication": "a\nb", "owner": "me\x00", "published_at": "\x00"},
    "long": {"publication": "p" * 100_000, "owner": "o" * 256, "published_at": "9" * 10_000},
    "no time zone": {"publication": "q", "owner": "7", "published_at": "2026-11-28T08:00:00"},
    "half a pair": {"publication": "\ud83d", "owner": "\ud83d", "published_at": "\ud83d"},
    "deep": {"publication": {"a": {}}, "owner": None, "excluded": [[[]], {}]},
}


def send_raw(name: str, header: Any, *args: Any, task_id: str = "") -> str:
    """Send a task's message as a producer would that does not know the service."""
    task_id = task_id or f"own {uuid()}"
    message = current_app.amqp.as_task_v2(task_id, name, args)
    with current_app.connection_for_write() as connection:
        Producer(connection).publish(
            message.body,
            routing_key="celery",
            headers={**message.headers, "realtime": header},
            **message.properties,
        )
    return task_id


def test_tasks_with_foreign_headers_are_published_to_their_endings(
    service: Any,
) -> None:
    sent = [
        (send_raw(f"tests.sample_tasks.{name}", header, *args), state, header)
        for name, args, state, some in (
            ("add", (1, 2), "SUCCESS", HEADERS),
            ("vanish", (), "FAILURE", ("spaces", "no time zone")),
        )
        for header in (HEADERS[each] for each in some)
    ]
    for task_id, state, header in sent:
        status = until(lambda: (s := realtime.status(task_id)) and s.terminal and s)  # noqa: B023
        assert status, header
        assert status.state == state, header
        whose = header.get("owner") if isinstance(header, dict) else ""
        if isinstance(whose, str) and whose in ("o n e", "7"):
            listed = get_store().statuses(Topic("user", whose))
            assert task_id in [each.task_id for each in listed]


def test_publications_of_any_text_are_distinguished(service: Any) -> None:
    task_id = f"own {uuid()}"
    for run, publication in enumerate(("x", "a b a", "b", "a", "\ud83d", "a b", "x" * 70_000), 1):
        header = {"publication": publication, "owner": "7"}
        send_raw("tests.sample_tasks.add", header, run, 0, task_id=task_id)
        status = until(lambda: (s := realtime.status(task_id)) and s.result == run and s)  # noqa: B023
        assert status, publication
        assert (status.state, status.run) == ("SUCCESS", run)


# A policy of the project's own that takes long


async def test_a_policy_that_does_not_answer_delays_only_clients_that_need_it(
    clean_redis: str,
) -> None:
    policy = {"CAN_SUBSCRIBE": "tests.policies.gated"}
    Gate.opened.clear()
    with override_settings(REALTIME={**settings.REALTIME, **policy}):
        await apublish("theirs", "monday", "7", "STARTED")
        asking = [await SessionClient(person(number)).open() for number in range(100, 106)]
        staff = await SessionClient(person(9, sees_all=True)).open()
        try:
            for client in asking:
                client.post("subscribe", topic="task:theirs")
            assert await asyncio.to_thread(Gate.entered.wait, 30)
            assert (await staff.ask("subscribe", topic="task:theirs"))["type"] == "subscribed"
            assert not any(client.arrived for client in asking)
            Gate.opened.set()
            for client in asking:
                assert (await client.next("subscribed"))["snapshot"][0]["name"] == "of 7"
        finally:
            Gate.opened.set()
            for client in (*asking, staff):
                await client.leave()
            await get_access_checker().close()
            await get_hub().close()


async def test_a_result_read_while_the_id_changes_its_owner_reaches_no_other_user(
    clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = recall._whole_result

    def late(task_id: str) -> str | None:
        publish(task_id, "tuesday", "8", "STARTED", "SUCCESS")
        return result(task_id)

    monkeypatch.setattr(views, "whole_result", sync_to_async(late, thread_sensitive=False))
    await apublish("nightly", "monday", "7", "STARTED", "SUCCESS")
    headers = {"Authorization": f"Bearer {make_token(['task:nightly'])[0]}"}
    answer = await AsyncClient().get("/realtime/tasks/nightly/result/", headers=headers)
    assert answer.status_code == 404
    await get_store().close()
    await get_hub().close()


async def test_an_open_list_loses_a_task_whose_record_expires(
    clean_redis: str, open_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.web.head_checks.EXPIRE_EVERY", 2)
    await apublish("old", "monday", "7", "STARTED", "SUCCESS")
    await apublish("new", "monday", "7", "STARTED")
    client = await open_client(person(7))
    answer = await client.ask("subscribe", topic="user:me")
    assert [each["task_id"] for each in answer["snapshot"]] == ["new", "old"]
    expire(clean_redis, "old")
    with redis.Redis.from_url(clean_redis) as store:
        store.zadd("realtime:expiry:user:7", {"old": 1})
    frame = await client.next("snapshot")
    assert [each["task_id"] for each in frame["snapshot"]] == ["new"]
    assert frame["total"] == 1
