"""Forged group messages, by an attacker who can publish on Redis."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from channels_redis.pubsub import RedisPubSubChannelLayer

from realtime.core.topics import Topic
from realtime.groups.layer import group_prefix
from tests.client.websocket import Client, connect
from tests.publishing import fresh_id, publish_change, token_for

pytestmark = pytest.mark.integration


def publish(service: Any, group: str, message: Any) -> None:
    """Send a message to a topic's group, past the store."""
    layer = RedisPubSubChannelLayer(hosts=[service.redis_url])
    payload = message if isinstance(message, bytes) else layer.serialize(message)
    with redis.Redis.from_url(service.redis_url) as client:
        assert client.publish(f"{group_prefix()}realtime.{group.replace(':', '.')}", payload)


def forged(topic: str, epoch: Any, offset: Any, **status: Any) -> dict[str, Any]:
    """The message of an event as the script would send it."""
    known = {"task_id": topic.partition(":")[2], "state": "SUCCESS"} | status
    return {
        "type": "realtime.event",
        "topic": topic,
        "epoch": epoch,
        "offset": offset,
        "task_id": known["task_id"],
        "state": known["state"],
        "status": json.dumps(known, separators=(",", ":")),
    }


async def watched(service: Any, client: Client) -> tuple[str, str, dict[str, Any]]:
    """A running task that the client watches: its id, its topic, and its position."""
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "STARTED")
    return task_id, topic, await client.subscribe(topic, token=token_for(service, topic))


async def assert_only_the_truth_follows(client: Client, task_id: str) -> None:
    """End the task; check that the client receives the store's statuses alone."""
    topic = f"task:{task_id}"
    version = publish_change(task_id, "SUCCESS", result="the truth")
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1].get("version") != version:
        frame = await client.event(topic)
        seen += [frame["status"]] if frame["type"] == "event" else frame["snapshot"]
    assert {(each["task_id"], each["state"], each["result"]) for each in seen} <= {
        (task_id, "STARTED", None),
        (task_id, "SUCCESS", "the truth"),
    }


@pytest.mark.parametrize("offset", [10**9, 2**63, 0, -1])
async def test_an_absurd_offset_is_read_again_from_the_store(service: Any, offset: int) -> None:
    async with connect(service) as client:
        task_id, topic, at = await watched(service, client)
        publish(service, topic, forged(topic, at["epoch"], offset, result="a lie"))
        await assert_only_the_truth_follows(client, task_id)


async def test_an_epoch_that_never_was_is_read_again_from_the_store(service: Any) -> None:
    async with connect(service) as client:
        task_id, topic, at = await watched(service, client)
        publish(service, topic, forged(topic, "never", at["offset"] + 1, result="a lie"))
        await assert_only_the_truth_follows(client, task_id)


async def test_a_message_that_is_no_event_is_dropped(service: Any) -> None:
    async with connect(service) as client:
        task_id, topic, at = await watched(service, client)
        good = forged(topic, at["epoch"], at["offset"] + 1)
        for message in (
            b"",
            b"\xc1",
            b"\x93\x01",
            b"cos\nsystem\n(S'true'\ntR.",
            {},
            {"type": "realtime.event"},
            {"type": "websocket.disconnect"},
            {"type": "task.update"},
            {**good, "topic": None},
            {**good, "topic": ["task"]},
            {**good, "offset": "1"},
            {**good, "offset": None},
            {**good, "offset": 1.5},
            {**good, "offset": [1]},
            {**good, "epoch": None},
            {**good, "epoch": 7},
            {**good, "status": None},
            {**good, "status": 7},
            {**good, "status": {"state": "SUCCESS"}},
            {**good, "task_id": None},
            {**good, "state": ["SUCCESS"]},
        ):
            publish(service, topic, message)
        await assert_only_the_truth_follows(client, task_id)


async def test_a_message_for_another_users_task_reaches_no_other_subscriber(
    service: Any, people: Any
) -> None:
    """An attacker would show a victim another task, or the victim's task to another user."""
    async with (
        connect(service, session=people.alice.session) as alice,
        connect(service, session=people.bob.session) as bob,
    ):
        own, others = fresh_id(), fresh_id()
        publish_change(own, "STARTED", owner=people.alice.key)
        publish_change(others, "STARTED", owner=people.bob.key)
        at = await alice.subscribe(f"task:{own}")
        await bob.subscribe(f"task:{others}")
        # Over the one's group, about the other's task.
        publish(
            service,
            f"task:{own}",
            forged(f"task:{own}", at["epoch"], at["offset"] + 1, task_id=others, result="secret"),
        )
        for client, task_id, key in ((alice, own, people.alice.key), (bob, others, people.bob.key)):
            publish_change(task_id, "PROGRESS", owner=key)
            topic = f"task:{task_id}"
            frame = await client.event(topic)
            (status,) = [frame["status"]] if frame["type"] == "event" else frame["snapshot"]
            assert (status["task_id"], status["state"]) == (task_id, "PROGRESS")
            assert await client.has_nothing()


async def test_a_false_ending_is_corrected(service: Any) -> None:
    """Its offset is the next one, so it is delivered, until the store is checked a moment later."""
    async with connect(service) as client:
        task_id, topic, at = await watched(service, client)
        publish(service, topic, forged(topic, at["epoch"], at["offset"] + 1, result="a lie"))
        while (frame := await client.event(topic))["type"] != "snapshot":
            pass
        (status,) = frame["snapshot"]
        assert (status["task_id"], status["state"]) == (task_id, "STARTED")


def test_the_messages_of_these_tests_have_the_format_of_the_service(service: Any) -> None:
    """Otherwise the service could drop these messages for another reason."""
    task_id = fresh_id()
    topic = Topic("task", task_id)
    with redis.Redis.from_url(service.redis_url) as client, client.pubsub() as pubsub:
        pubsub.subscribe(f"{group_prefix()}realtime.task.{task_id}")
        while pubsub.get_message(timeout=5)["type"] != "subscribe":  # type: ignore[index]
            pass
        publish_change(task_id, "STARTED")
        message = pubsub.get_message(timeout=5)
    assert message is not None
    layer = RedisPubSubChannelLayer(hosts=[service.redis_url])
    real = layer.deserialize(message["data"])
    assert set(real) == set(forged(str(topic), "e", 1))
