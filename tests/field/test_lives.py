"""Ids that are published again, expire and change hands: nobody sees what is another owner's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import override_settings

from realtime.broker import get_broker
from realtime.core.acceptance import Change
from realtime.core.topics import Topic
from realtime.web.hub import get_hub
from realtime.web.tokens import make_token
from realtime.web.watch import get_watch
from tests.sinks import SessionClient

pytestmark = pytest.mark.integration


def person(key: int, *, sees_all: bool = False) -> Any:
    return SimpleNamespace(
        pk=key, is_authenticated=True, is_staff=sees_all, has_perm=lambda _name: sees_all
    )


def publish(task_id: str, publication: str, owner: str, *states: str) -> None:
    """Let a publication of a task come so far."""
    for state in ("PENDING", *states):
        runs = state not in ("PENDING", "RECEIVED")
        get_broker().accept(
            Change(
                task_id=task_id,
                state=state,
                attempt=0,
                publication=publication,
                owner=owner,
                token=f"{publication}-runs" if runs else "",
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
            client.delete(f"realtime:place:task:{task_id}", f"realtime:log:task:{task_id}")


@pytest.fixture
async def open_client(clean_redis: str) -> AsyncIterator[Callable[..., Any]]:
    """Open clients of sessions in this process."""
    clients = []

    async def opened(user: Any = None) -> SessionClient:
        clients.append(await SessionClient(user).open())
        return clients[-1]

    changed = {"REFUSALS": 100_000, "CHECK_INTERVAL": 0.5}
    with override_settings(REALTIME={**settings.REALTIME, **changed}):
        yield opened
        for client in clients:
            await client.leave()
        await get_watch().close()
        await get_hub().close()


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
    # A token for a task that is still to come is good for whoever publishes it.
    states = [(await early.next("event"))["status"]["state"] for _ in range(2)]
    assert states == ["PENDING", "STARTED"]


async def test_a_list_never_shows_an_expired_id_that_is_another_owners_by_now(
    clean_redis: str,
) -> None:
    broker = get_broker()
    for task_id in ("nightly", "mine"):
        await apublish(task_id, "monday", "7", "STARTED", "SUCCESS")
    expire(clean_redis, "nightly", "mine")
    await apublish("nightly", "tuesday", "8", "STARTED")
    await apublish("mine", "tuesday", "7", "STARTED")
    for owner, task_id in (("7", "mine"), ("8", "nightly")):
        reading = await broker.read(Topic("user", owner))
        assert [json.loads(text)["task_id"] for text in reading.texts] == [task_id]
        assert reading.total == 1
    await broker.close()


async def test_a_record_that_was_evicted_leaves_nothing_of_its_life_to_the_next_owner(
    clean_redis: str,
) -> None:
    broker, topic = get_broker(), Topic("task", "nightly")
    await apublish("nightly", "monday", "7", "STARTED", "SUCCESS")
    before = (await broker.read(topic)).position
    with redis.Redis.from_url(clean_redis) as client:
        client.delete("realtime:task:nightly")
    await apublish("nightly", "tuesday", "8")
    reading = await broker.read(topic, before)
    assert not reading.recovered
    assert reading.position.epoch != before.epoch
    await broker.close()


def test_a_visitor_who_became_one_user_becomes_no_other(clean_redis: str) -> None:
    broker = get_broker()
    publish("early", "p", "visitor-v", "STARTED")
    assert broker.adopt("visitor-v", "7") == 1
    assert broker.adopt("visitor-v", "7") == 0
    publish("in flight", "q", "visitor-v", "STARTED")
    assert broker.adopt("visitor-v", "8") == 0, "a copied cookie"
    publish("later", "r", "visitor-v", "STARTED")
    found = {owner: broker.statuses(Topic("user", owner)) for owner in ("7", "8", "visitor-v")}
    ids = {owner: {status.task_id for status in found[owner]} for owner in found}
    assert ids == {"7": {"early", "in flight", "later"}, "8": set(), "visitor-v": set()}
