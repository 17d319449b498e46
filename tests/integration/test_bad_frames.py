"""What a broken or hostile client may send, and that nobody else notices."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from websockets.exceptions import ConnectionClosed

from tests import unsayable_tasks
from tests.sample_tasks import echo
from tests.wire import Client, connect, fresh_id, request, say, strict_json, token_for

pytestmark = pytest.mark.integration

FRAME_BYTES = 16 * 1024


@pytest.fixture
async def neighbour(service: Any) -> AsyncIterator[Callable[[], Any]]:
    """A healthy client beside; what is yielded holds that it still gets its events in time."""
    task_id = fresh_id()
    topic = f"task:{task_id}"
    async with connect(service) as client:
        await client.subscribe(topic, token=token_for(service, topic))
        yield lambda: say(task_id, "PROGRESS")
        version = say(task_id, "SUCCESS")
        events = await client.ending(topic)
        assert [event["offset"] for event in events] == list(range(1, version + 1))
        assert await client.has_nothing()


NO_FRAMES = {
    "not JSON": "hello",
    "half an object": '{"type":"ping","id":1',
    "two objects": '{"type":"ping","id":1}{"type":"ping","id":2}',
    "single quotes": "{'type':'ping','id':1}",
    "a list": '[{"type":"ping","id":1}]',
    "a number": "7",
    "a string": '"ping"',
    "null": "null",
    "true": "true",
    "blanks": "  \n ",
    "a very deep list": "[" * 16_000,
    "very deep objects": '{"a":' * 3_000,
    "very deep inside a frame": '{"type":"ping","id":1,"x":' + "[" * 8_000 + "]" * 8_000 + "}",
    "a number of 5,000 digits": '{"type":"ping","id":' + "9" * 5_000 + "}",
    "a number of 5,000 digits beside": '{"type":"ping","id":1,"x":' + "9" * 5_000 + "}",
    "NaN": '{"type":"ping","id":NaN}',
    "NaN beside": '{"type":"ping","id":1,"x":NaN}',
    "minus infinity": '{"type":"ping","id":1,"x":-Infinity}',
    "a doubled key": '{"type":"ping","id":1,"id":2}',
    "a doubled key deep inside": '{"type":"ping","id":1,"x":[{"a":1,"a":1}]}',
    "a byte order mark": '\ufeff{"type":"ping","id":1}',
    "no id": '{"type":"ping"}',
    "id null": '{"type":"ping","id":null}',
    "id true": '{"type":"ping","id":true}',
    "id a float": '{"type":"ping","id":1.0}',
    "id a string": '{"type":"ping","id":"1"}',
    "id over what JavaScript counts": '{"type":"ping","id":9007199254740992}',
    "id under it": '{"type":"ping","id":-9007199254740992}',
    "binary": b'{"type":"ping","id":1}',
    "binary that is no UTF-8": b"\xff\xfe\x00",
    "empty binary": b"",
}

#: Frames with a good id that are bad otherwise.
BAD_FRAMES: dict[str, dict[str, Any]] = {
    "no type": {},
    "type null": {"type": None},
    "type a list": {"type": ["ping"]},
    "type in capitals": {"type": "PING"},
    "an internal type": {"type": "task.update"},
    "another internal type": {"type": "websocket.disconnect", "code": 1000},
    "the type of group messages": {"type": "realtime.event", "topic": "task:1", "status": "{}"},
    "the server's own type": {"type": "welcome"},
    "no topic": {"type": "subscribe"},
    "topic a number": {"type": "subscribe", "topic": 5},
    "topic a list": {"type": "subscribe", "topic": ["task:1"]},
    "topic empty": {"type": "subscribe", "topic": ""},
    "topic without an id": {"type": "subscribe", "topic": "task:"},
    "topic of no kind": {"type": "subscribe", "topic": "colour:red"},
    "topic with a star": {"type": "subscribe", "topic": "task:*"},
    "topic with braces": {"type": "subscribe", "topic": "task:{a}"},
    "topic with a blank": {"type": "subscribe", "topic": "task:a b"},
    "topic with a line feed": {"type": "subscribe", "topic": "task:a\n"},
    "topic with a colon": {"type": "subscribe", "topic": "task:a:b"},
    "topic not ASCII": {"type": "subscribe", "topic": "task:ä"},
    "topic with other digits": {"type": "subscribe", "topic": "task:\u0661\u0662"},
    "topic with half a surrogate pair": {"type": "subscribe", "topic": "task:\ud800"},
    "topic of 101 characters": {"type": "subscribe", "topic": "task:" + "a" * 96},
    "since a number": {"type": "subscribe", "topic": "task:a", "since": 4},
    "since a list": {"type": "subscribe", "topic": "task:a", "since": ["e", 4]},
    "since without offset": {"type": "subscribe", "topic": "task:a", "since": {"epoch": "e"}},
    "since without epoch": {"type": "subscribe", "topic": "task:a", "since": {"offset": 1}},
    "offset below 0": {
        "type": "subscribe", "topic": "task:a", "since": {"epoch": "e", "offset": -1},
    },
    "offset true": {
        "type": "subscribe", "topic": "task:a", "since": {"epoch": "e", "offset": True},
    },
    "offset a float": {
        "type": "subscribe", "topic": "task:a", "since": {"epoch": "e", "offset": 1.5},
    },
    "offset huge": {
        "type": "subscribe", "topic": "task:a", "since": {"epoch": "e", "offset": 2**53},
    },
    "epoch a number": {
        "type": "subscribe", "topic": "task:a", "since": {"epoch": 1, "offset": 1},
    },
    "epoch empty": {
        "type": "subscribe", "topic": "task:a", "since": {"epoch": "", "offset": 1},
    },
    "epoch long": {
        "type": "subscribe", "topic": "task:a", "since": {"epoch": "e" * 65, "offset": 1},
    },
    "epoch with half a surrogate pair": {
        "type": "subscribe", "topic": "task:a", "since": {"epoch": "\ud800", "offset": 1},
    },
    "token a number": {"type": "subscribe", "topic": "task:a", "token": 1},
    "token long": {"type": "subscribe", "topic": "task:a", "token": "t" * 4097},
    "token with half a surrogate pair": {
        "type": "subscribe", "topic": "task:a", "token": "a:b:\udfff",
    },
    "unsubscribe without topic": {"type": "unsubscribe"},
    "unsubscribe with a star": {"type": "unsubscribe", "topic": "*"},
    "cancel without task": {"type": "cancel"},
    "cancel a number": {"type": "cancel", "task_id": 5},
    "cancel empty": {"type": "cancel", "task_id": ""},
    "cancel with a star": {"type": "cancel", "task_id": "*"},
    "cancel with half a surrogate pair": {"type": "cancel", "task_id": "\ud800"},
    "cancel 101 characters": {"type": "cancel", "task_id": "a" * 101},
}  # fmt: skip


@asynccontextmanager
async def after_one_bad_frame(service: Any) -> AsyncIterator[Client]:
    async with connect(service) as client:
        yield client
        assert await client.ask("ping") == {"type": "pong", "id": 1}
        assert client.waiting() == []


@pytest.mark.parametrize("frame", NO_FRAMES.values(), ids=NO_FRAMES)
async def test_what_is_no_frame_is_a_bad_request_and_the_connection_goes_on(
    service: Any, neighbour: Callable[[], Any], frame: str | bytes
) -> None:
    async with after_one_bad_frame(service) as client:
        await client.send(frame)
        answer = await client.next()
        assert (answer["type"], answer["code"]) == ("error", "bad_request")
        assert answer["message"]
        assert "id" not in answer
        neighbour()


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES)
async def test_a_frame_with_a_mistake_is_a_bad_request_under_its_id(
    service: Any, frame: dict[str, Any]
) -> None:
    async with after_one_bad_frame(service) as client:
        await client.send({**frame, "id": 77})
        answer = await client.next()
        assert (answer["type"], answer["code"], answer["id"]) == ("error", "bad_request", 77)
        assert answer["message"]


async def test_an_empty_text_frame_disturbs_nothing(service: Any) -> None:
    async with connect(service) as client:
        await client.send("")
        await client.send({"type": "ping", "id": 1})
        frames = [await client.next()]
        if frames[0]["type"] == "error":  # a server may as well pass it on
            assert frames[0]["code"] == "bad_request"
            frames.append(await client.next())
        assert frames[-1] == {"type": "pong", "id": 1}


async def test_the_fifth_bad_request_in_ten_seconds_ends_the_connection(
    service: Any, neighbour: Callable[[], Any]
) -> None:
    async with connect(service) as client:
        bad: list[Any] = ["hello", b"\x00", "[" * 9_000, {"type": "no", "id": 4}, {"type": "no"}]
        for frame in bad[:4]:
            await client.send(frame)
        assert await client.ask("ping") == {"type": "pong", "id": 1}, "four are forgiven"
        await client.send(bad[4])
        await client.send({"type": "ping", "id": 99})
        assert await client.close_code() == 4500
        *errors, closing = client.waiting()
        assert [frame["code"] for frame in errors] == ["bad_request"] * 5
        assert closing == {
            "type": "closing",
            "code": 4500,
            "message": closing["message"],
            "reconnect": False,
        }
        neighbour()


async def test_refusals_are_no_bad_requests(service: Any) -> None:
    async with connect(service) as client:
        for _ in range(6):
            assert (await client.subscribe(f"task:{fresh_id()}"))["code"] == "not_found"
        assert (await client.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize("letter", ["a", "ä"])
async def test_a_frame_of_one_byte_too_many_ends_the_connection(
    service: Any, neighbour: Callable[[], Any], letter: str
) -> None:
    def frame(size: int) -> str:
        empty = '{"type":"ping","id":1,"x":""}'
        rest = size - len(empty)
        padding = letter * (rest // len(letter.encode()))
        padding += "b" * (rest - len(padding.encode()))
        text = empty[:-2] + padding + '"}'
        assert len(text.encode()) == size
        return text

    async with connect(service) as client:
        await client.send(frame(FRAME_BYTES))
        assert await client.next() == {"type": "pong", "id": 1}
        await client.send(frame(FRAME_BYTES + 1))
        assert await client.close_code() == 4509
        error, closing = client.waiting()
        assert (error["type"], error["code"]) == ("error", "too_large")
        assert "16384" in error["message"]
        assert (closing["type"], closing["code"], closing["reconnect"]) == ("closing", 4509, False)
        neighbour()


@pytest.mark.parametrize("frame", ["[" * 200_000, "x" * 1_000_000, b"\x00" * 100_000])
async def test_a_huge_frame_ends_nothing_but_its_connection(
    service: Any, neighbour: Callable[[], Any], frame: str | bytes
) -> None:
    async with connect(service) as client:
        await client.send(frame)
        assert await client.close_code() == 4509
        assert [each["type"] for each in client.waiting()] == ["error", "closing"]
        neighbour()


async def test_text_that_is_no_utf_8_ends_nothing_but_its_connection(
    service: Any, neighbour: Callable[[], Any]
) -> None:
    async with connect(service) as client:
        await client.socket.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed):
            await client.next()
        neighbour()


async def test_nothing_of_this_was_an_error_of_the_server(service: Any) -> None:
    async with connect(service) as client:
        frames: list[Any] = [*NO_FRAMES.values()]
        frames += [{**bad, "id": 1} for bad in BAD_FRAMES.values()]
        for frame in frames:
            async with connect(service) as other:
                await other.send(frame)
                await other.next()
        assert (await client.ask("ping"))["type"] == "pong"
    log = service.web.log()
    assert "frame_failed" not in log
    assert "Traceback" not in log


# Results that JSON cannot say

DEEP: Any = 1
for _ in range(60):
    DEEP = [DEEP]

#: What a task returns; what its status says, and whether that is all.
RESULTS: dict[str, tuple[Any, Any, bool]] = {
    "a datetime": (datetime(2026, 11, 22, 8, tzinfo=UTC), "2026-11-22T08:00:00+00:00", False),
    "a UUID": (UUID(int=5), "00000000-0000-0000-0000-000000000005", False),
    "a Decimal": (Decimal("1.10"), "1.10", False),
    "2^64": (2**64, 2**64, False),
    "bytes": (b"\x00\xff", None, True),
    "NaN": (float("nan"), None, True),
    "infinity": ({"x": [float("inf")]}, None, True),
    "half a surrogate pair": ("\ud800", None, True),
    "nested deeply": (DEEP, DEEP, False),
    "text": ("Überfällig \u2028 😀 </script>", "Überfällig \u2028 😀 </script>", False),
    "just small enough": ("x" * 4094, "x" * 4094, False),
    "one byte too large": ("x" * 4095, None, True),
    "a megabyte": ("x" * 1_000_000, None, True),
    "nothing": (None, None, False),
}


@pytest.mark.parametrize("case", RESULTS.values(), ids=RESULTS)
async def test_whatever_a_task_returns_its_ending_arrives_as_strict_json(
    service: Any, case: tuple[Any, Any, bool]
) -> None:
    value, result, truncated = case
    task_id = fresh_id()
    topic = f"task:{task_id}"
    token = token_for(service, topic)
    async with connect(service) as client:
        await client.subscribe(topic, token=token)
        echo.apply_async((value,), task_id=task_id)
        status = (await client.ending(topic))[-1]["status"]
        again = await client.subscribe(topic, token=token)
    assert (status["state"], status["result"], status["truncated"]) == (
        "SUCCESS",
        result,
        truncated,
    )
    assert again["snapshot"] == [status]
    whole = request(service, "GET", f"/realtime/tasks/{task_id}/result/", token=token)
    assert whole.code == 200
    expected = value if truncated and _sayable(value) else result
    assert strict_json(whole.body.decode()) == expected


async def test_what_the_result_backend_cannot_say_ends_the_task_as_the_backend_says(
    start_service: Callable[..., Any],
) -> None:
    service = start_service(WORKERS="1", CELERY_IMPORTS=unsayable_tasks.__name__)
    heard, stored = {}, {}
    async with connect(service) as client:
        for what in unsayable_tasks.MAKERS:
            task_id = fresh_id()
            topic = f"task:{task_id}"
            await client.subscribe(topic, token=token_for(service, topic))
            unsayable_tasks.give.apply_async((what,), task_id=task_id)
            status = (await client.ending(topic))[-1]["status"]
            heard[what] = status["state"], status["truncated"]
            stored[what] = unsayable_tasks.give.AsyncResult(task_id).state
            assert status["result"] is None
            assert bool(status["error"]) == (status["state"] == "FAILURE")
        assert await client.has_nothing()
    assert {what: state for what, (state, _) in heard.items()} == stored
    assert {what for what, (state, _) in heard.items() if state == "SUCCESS"} == {
        "one deeper than a reader may stand",
        "bytes",
        "ten megabytes",
    }
    assert all(truncated == (state == "SUCCESS") for state, truncated in heard.values())


def _sayable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return True
