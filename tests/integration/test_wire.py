"""The wire contract, frame by frame, against a real server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from realtime.core.status import FIELDS
from realtime.ownership import owned_by
from tasks.imports import import_csv
from tests.client.protocol import DEADLINE, position_in
from tests.client.websocket import connect
from tests.publishing import fresh_id, publish_change, publish_progress, token_for, user
from tests.sample_tasks import retry_until

pytestmark = pytest.mark.integration

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
MAX_HISTORY_EVENTS = 64  #: the default


@pytest.fixture
def session(people: Any) -> str:
    """The session of a user who sees every task."""
    session: str = people.boss.session
    return session


# The first frame, and small talk


async def test_the_first_frame_is_the_welcome(service: Any) -> None:
    async with connect(service) as client:
        assert MOMENT.fullmatch(client.welcome.pop("now"))
        assert client.welcome == {
            "type": "welcome",
            "protocol": 1,
            "ping": 25,
            "limits": {
                "subscriptions": 128,
                "frame_bytes": 16384,
                "frames_per_second": 10,
                "frame_burst": 50,
                "refusals_per_minute": 20,
            },
        }


async def test_a_ping_is_answered_with_its_id(service: Any) -> None:
    async with connect(service) as client:
        for number in (0, -7, 41, 2**53 - 1):
            await client.send({"type": "ping", "id": number})
            assert await client.next() == {"type": "pong", "id": number}


async def test_an_id_of_a_request_may_be_reused(service: Any) -> None:
    async with connect(service) as client:
        for _ in range(3):
            await client.send({"type": "ping", "id": 1})
            assert await client.next() == {"type": "pong", "id": 1}


async def test_unknown_keys_are_ignored(service: Any, session: str) -> None:
    task_id = fresh_id()
    publish_change(task_id, "PENDING")
    async with connect(service, session=session) as client:
        assert await client.ask("ping", colour="red", nested={"a": [1]}) == {
            "type": "pong",
            "id": 1,
        }
        topic = f"task:{task_id}"
        assert (await client.subscribe(topic, mood="good"))["type"] == "subscribed"


async def test_an_unknown_type_is_a_bad_request_that_keeps_its_id(service: Any) -> None:
    async with connect(service) as client:
        answer = await client.ask("publish")
        assert (answer["type"], answer["code"]) == ("error", "bad_request")
        assert answer["message"] == "type must be subscribe, unsubscribe, page, cancel or ping"


async def test_answers_arrive_in_the_order_of_the_requests(service: Any, session: str) -> None:
    known, unknown = fresh_id(), fresh_id()
    publish_change(known, "PENDING")
    async with connect(service, session=session) as client:
        await client.send({"type": "subscribe", "id": 1, "topic": f"task:{known}"})
        await client.send({"type": "subscribe", "id": 2, "topic": f"task:{unknown}"})
        await client.send({"type": "ping", "id": 3})
        await client.send({"type": "unsubscribe", "id": 4, "topic": f"task:{known}"})
        kinds = [(frame["id"], frame["type"]) for frame in [await client.next() for _ in range(4)]]
        assert kinds == [(1, "subscribed"), (2, "error"), (3, "pong"), (4, "unsubscribed")]


# Subscribing


async def test_subscribing_answers_with_a_snapshot_and_then_every_event_follows_on(
    service: Any, session: str
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING", name="tasks.sample")
    publish_change(task_id, "STARTED")
    async with connect(service, session=session) as client:
        answer = await client.subscribe(topic)
        assert set(answer) == {
            "type", "id", "topic", "epoch", "offset", "recovered", "snapshot", "expires_in",
        }  # fmt: skip
        assert answer["type"] == "subscribed"
        assert (answer["topic"], answer["offset"], answer["recovered"]) == (topic, 2, False)
        (status,) = answer["snapshot"]
        assert (status["task_id"], status["state"]) == (task_id, "STARTED")

        publish_progress(task_id, *range(20))
        publish_change(task_id, "SUCCESS", result=42)
        events = await client.ending(topic)

    assert [event["offset"] for event in events] == list(range(3, 24))
    assert [event["status"]["version"] for event in events] == list(range(3, 24))
    assert {event["epoch"] for event in events} == {answer["epoch"]}
    assert all(set(e) == {"type", "topic", "epoch", "offset", "status"} for e in events)
    assert [e["status"]["progress"]["current"] for e in events[:-1]] == list(range(20))
    assert events[-1]["status"]["result"] == 42


async def test_subscribing_after_the_end_gets_the_ending_at_once(
    service: Any, session: str
) -> None:
    task_id = fresh_id()
    publish_change(task_id, "STARTED")
    publish_change(task_id, "FAILURE", error={"type": "ValueError", "message": "no"})
    async with connect(service, session=session) as client:
        answer = await client.subscribe(f"task:{task_id}")
        (status,) = answer["snapshot"]
        assert status["state"] == "FAILURE"
        assert status["error"] == {"type": "ValueError", "message": "no"}
        assert await client.has_nothing()


async def test_a_token_for_a_task_that_is_not_published_yet_waits_for_its_first_event(
    service: Any,
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    async with connect(service) as client:
        answer = await client.subscribe(topic, token=token_for(service, topic))
        assert (answer["type"], answer["snapshot"], answer["offset"]) == ("subscribed", [], 0)
        assert answer["epoch"]
        publish_change(task_id, "PENDING")
        event = await client.event(topic)
        assert (event["epoch"], event["offset"]) == (answer["epoch"], 1)
        assert event["status"]["state"] == "PENDING"


async def test_an_event_goes_to_every_connection_that_subscribed(
    service: Any, session: str
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING")
    async with connect(service, session=session) as one, connect(service, session=session) as two:
        await one.subscribe(topic)
        await two.subscribe(topic)
        publish_change(task_id, "SUCCESS")
        assert await one.event() == await two.event()


async def test_unsubscribing_stops_the_events(service: Any, session: str) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING")
    async with connect(service, session=session) as one, connect(service, session=session) as two:
        await one.subscribe(topic)
        await two.subscribe(topic)
        answer = await one.ask("unsubscribe", topic=topic)
        assert answer == {"type": "unsubscribed", "id": 2, "topic": topic}
        publish_change(task_id, "SUCCESS")
        # One process serves both, in one go: once the other has it, nothing more is to come.
        assert (await two.event())["status"]["state"] == "SUCCESS"
        assert await one.has_nothing()


async def test_unsubscribing_without_a_subscription_is_answered(service: Any) -> None:
    topic = f"task:{fresh_id()}"
    async with connect(service) as client:
        answer = await client.ask("unsubscribe", topic=topic)
        assert answer == {"type": "unsubscribed", "id": 1, "topic": topic}


async def test_subscribing_again_sends_a_new_snapshot_and_each_event_once(
    service: Any, session: str
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING")
    async with connect(service, session=session) as client:
        await client.subscribe(topic)
        again = await client.subscribe(topic)
        assert (again["type"], again["offset"]) == ("subscribed", 1)
        assert again["snapshot"][0]["state"] == "PENDING"
        publish_change(task_id, "STARTED")
        publish_change(task_id, "SUCCESS")
        assert [event["offset"] for event in await client.ending(topic)] == [2, 3]
        assert await client.has_nothing()


async def test_the_129th_subscription_is_refused_until_one_ends(
    start_web: Callable[..., Any],
) -> None:
    # Fewer frames a second would take 11 s.
    service = await asyncio.to_thread(start_web, MAX_FRAMES_PER_SECOND=1000.0, MAX_FRAME_BURST=1000)
    topics = [f"task:{fresh_id()}" for _ in range(129)]
    tokens = [token_for(service, *topics[:64]), token_for(service, *topics[64:])]
    async with connect(service, pace=1000) as client:
        for number, topic in enumerate(topics[:128]):
            answer = await client.subscribe(topic, token=tokens[number // 64])
            assert answer["type"] == "subscribed"
        answer = await client.subscribe(topics[128], token=tokens[1])
        assert (answer["type"], answer["code"]) == ("error", "limit")
        assert "128 subscriptions" in answer["message"]
        again = await client.subscribe(topics[5], token=tokens[0])
        assert again["type"] == "subscribed", "one that stands may be requested again"
        await client.ask("unsubscribe", topic=topics[0])
        assert (await client.subscribe(topics[128], token=tokens[1]))["type"] == "subscribed"


# Coming back


async def test_coming_back_gets_every_missed_event_in_order(service: Any, session: str) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING")
    async with connect(service, session=session) as client:
        before = await client.subscribe(topic)
    publish_change(task_id, "STARTED")
    publish_progress(task_id, 1, 2)
    publish_change(task_id, "SUCCESS", result="done")
    async with connect(service, session=session) as client:
        since = position_in(before)
        answer = await client.subscribe(topic, since=since)
        assert answer["recovered"] is True
        assert "snapshot" not in answer
        assert [event["offset"] for event in answer["events"]] == [2, 3, 4, 5]
        statuses = [event["status"] for event in answer["events"]]
        assert [s["state"] for s in statuses] == ["STARTED", "PROGRESS", "PROGRESS", "SUCCESS"]
        assert [s["version"] for s in statuses] == [2, 3, 4, 5]
        assert answer["offset"] == 5
        assert all(set(event) == {"offset", "status"} for event in answer["events"])


async def test_coming_back_when_nothing_was_missed_recovers_nothing(
    service: Any, session: str
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING")
    async with connect(service, session=session) as client:
        first = await client.subscribe(topic)
        since = {"epoch": first["epoch"], "offset": 1}
        answer = await client.subscribe(topic, since=since)
        assert (answer["recovered"], answer["events"], answer["offset"]) == (True, [], 1)
        publish_change(task_id, "STARTED")
        assert (await client.event(topic))["offset"] == 2


@pytest.mark.parametrize(
    "since",
    [
        pytest.param({"epoch": "never-was", "offset": 1}, id="of another epoch"),
        pytest.param({"offset": 5}, id="beyond the end"),
        pytest.param({"offset": 2**53 - 1}, id="far beyond the end"),
        pytest.param({"epoch": "\u20ac \u0000", "offset": 1}, id="of an epoch nobody gave"),
    ],
)
async def test_a_place_that_is_none_gets_the_snapshot(
    service: Any, session: str, since: dict[str, Any]
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING")
    publish_change(task_id, "STARTED")
    async with connect(service, session=session) as client:
        epoch = (await client.subscribe(topic))["epoch"]
        answer = await client.subscribe(topic, since={"epoch": epoch, **since})
        assert (answer["recovered"], answer["epoch"], answer["offset"]) == (False, epoch, 2)
        assert "events" not in answer
        assert answer["snapshot"][0]["state"] == "STARTED"


@pytest.mark.parametrize(
    ("back", "recovered"), [(MAX_HISTORY_EVENTS, True), (MAX_HISTORY_EVENTS + 1, False)]
)
async def test_recovery_is_whole_or_not_at_all(
    service: Any, session: str, back: int, recovered: bool
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    last = MAX_HISTORY_EVENTS + 10
    publish_progress(task_id, *range(last))
    async with connect(service, session=session) as client:
        epoch = (await client.subscribe(topic))["epoch"]
        answer = await client.subscribe(topic, since={"epoch": epoch, "offset": last - back})
        assert (answer["recovered"], answer["offset"]) == (recovered, last)
        if recovered:
            offsets = [event["offset"] for event in answer["events"]]
            assert offsets == list(range(last - back + 1, last + 1))
        else:
            assert len(answer["snapshot"]) == 1


async def test_recovery_works_on_the_topic_of_a_users_tasks(service: Any, people: Any) -> None:
    alice = people.alice
    first, second = fresh_id(), fresh_id()
    publish_change(first, "PENDING", owner=alice.key)
    async with connect(service, session=alice.session) as client:
        before = await client.subscribe("user:me")
    publish_change(first, "SUCCESS", owner=alice.key)
    publish_change(second, "PENDING", owner=alice.key)
    async with connect(service, session=alice.session) as client:
        since = position_in(before)
        answer = await client.subscribe("user:me", since=since)
        assert answer["recovered"] is True
        seen = [(e["status"]["task_id"], e["status"]["state"]) for e in answer["events"]]
        assert seen == [(first, "SUCCESS"), (second, "PENDING")]


# The status


async def test_every_key_of_the_status_is_there_from_the_first_change(
    service: Any, session: str
) -> None:
    task_id = fresh_id()
    publish_change(task_id, "PENDING")
    async with connect(service, session=session) as client:
        (status,) = (await client.subscribe(f"task:{task_id}"))["snapshot"]
    assert tuple(status) == FIELDS
    set_keys = {"task_id": task_id, "state": "PENDING", "version": 1, "run": 1, "attempt": 0}
    unset_keys = {"truncated": False, "cancelling": False}
    assert status == dict.fromkeys(FIELDS) | set_keys | unset_keys


async def test_text_of_a_task_arrives_as_it_was(service: Any, session: str) -> None:
    task_id = fresh_id()
    message = 'Überfällig \u2028 😀 "quoted" \\ </script> \u0000 \r\n'
    publish_change(task_id, "PROGRESS", progress={"current": 1, "total": 2.5, "message": message})
    async with connect(service, session=session) as client:
        (status,) = (await client.subscribe(f"task:{task_id}"))["snapshot"]
    assert status["progress"] == {"current": 1, "total": 2.5, "message": message}


async def test_a_state_of_the_users_own_is_shown_by_its_name(service: Any, session: str) -> None:
    task_id = fresh_id()
    publish_change(task_id, "UPLOADING")
    async with connect(service, session=session) as client:
        (status,) = (await client.subscribe(f"task:{task_id}"))["snapshot"]
    assert status["state"] == "UPLOADING"


# Real tasks


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A file that takes `import_csv` a while with a pace."""
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "1,2\n" * 500)
    return str(path)


async def test_a_real_task_is_delivered_from_waiting_to_its_result(
    service: Any, people: Any, table: str
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    async with connect(service) as client:
        await client.subscribe(topic, token=token_for(service, topic))
        with owned_by(user(people.alice.key)):
            import_csv.apply_async((table,), {"name": "table.csv"}, task_id=task_id)
        events = await client.ending(topic)

    statuses = [event["status"] for event in events]
    assert [event["offset"] for event in events] == list(range(1, len(events) + 1))
    assert [status["version"] for status in statuses] == list(range(1, len(events) + 1))
    states = list(dict.fromkeys(status["state"] for status in statuses))
    assert states[-3:] == ["STARTED", "PROGRESS", "SUCCESS"]
    assert set(states[:-3]) <= {"PENDING", "RECEIVED"}
    last = statuses[-1]
    assert (last["name"], last["run"], last["attempt"]) == ("tasks.imports.import_csv", 1, 0)
    assert last["result"]["rows"] == 500
    assert last["progress"]["current"] == last["progress"]["total"] == 501
    assert (last["error"], last["truncated"], last["root_id"]) == (None, False, task_id)
    for status in statuses:
        assert tuple(status) == FIELDS
        for key, value in status.items():
            if key.endswith("_at") or key == "eta":
                assert value is None or MOMENT.fullmatch(value), (key, value)
    moments = [last[f"{word}_at"] for word in ("published", "started", "finished")]
    assert None not in moments
    assert all(before <= after for before, after in pairwise(moments))


async def test_a_real_retry_has_its_reason_and_its_time(service: Any) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    async with connect(service) as client:
        await client.subscribe(topic, token=token_for(service, topic))
        retry_until.apply_async((1, 0.2), task_id=task_id)
        events = await client.ending(topic)
    (retry,) = [event["status"] for event in events if event["status"]["state"] == "RETRY"]
    assert retry["error"] == {"type": "ConnectionError", "message": "down"}
    assert MOMENT.fullmatch(retry["retry_at"])
    assert (retry["attempt"], retry["finished_at"]) == (0, None)
    last = events[-1]["status"]
    assert (last["state"], last["attempt"], last["run"]) == ("SUCCESS", 1, 1)
    assert (last["error"], last["retry_at"]) == (None, None)


async def test_a_real_failure_has_type_and_message_and_nothing_else(
    service: Any, tmp_path: Path
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    empty = tmp_path / "canary-7f3a"
    empty.write_bytes(b"")
    async with connect(service) as client:
        await client.subscribe(topic, token=token_for(service, topic))
        import_csv.apply_async((str(empty),), task_id=task_id)
        events = await client.ending(topic)
    status = events[-1]["status"]
    assert (status["state"], status["error"]["type"]) == ("FAILURE", "CsvError")
    assert status["result"] is None
    assert "canary-7f3a" not in json.dumps(events), "arguments stay inside"


# Cancelling


async def test_a_running_task_is_cancelled_by_its_owner(
    service: Any, people: Any, table: str
) -> None:
    alice = people.alice
    async with connect(service, session=alice.session) as client:
        with owned_by(user(alice.key)):
            task_id = import_csv.delay(table, pace=0.05).id
        topic = f"task:{task_id}"
        await client.subscribe(topic)
        async with asyncio.timeout(DEADLINE):
            while (await client.event(topic))["status"]["state"] != "PROGRESS":
                pass
        answer = await client.ask("cancel", task_id=task_id)
        assert answer == {"type": "cancelled", "id": 2, "task_id": task_id}
        events = await client.ending(topic)
    assert any(event["status"]["cancelling"] for event in events)
    last = events[-1]["status"]
    assert (last["state"], last["cancelling"]) == ("REVOKED", False)
    assert last["error"] == {"type": "TaskRevokedError", "message": "terminated"}


async def test_cancelling_an_ended_task_leaves_it_as_it_is(service: Any, session: str) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "SUCCESS", result=1)
    async with connect(service, session=session) as client:
        before = await client.subscribe(topic)
        answer = await client.ask("cancel", task_id=task_id)
        assert answer["type"] == "cancelled"
        after = await client.subscribe(topic)
        assert after["snapshot"] == before["snapshot"]
        assert after["offset"] == before["offset"]
