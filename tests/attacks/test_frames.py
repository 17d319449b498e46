"""Frames that a broken or hostile client may send."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.client.octets import frame
from tests.client.websocket import Client, connect
from tests.publishing import fresh_id, publish_change, token_for
from tests.raw import answer, upgrade, web_of

pytestmark = pytest.mark.integration

MAX_FRAME_BYTES = 16 * 1024

NO_FRAMES = {
    "empty": "",
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
    "topic with a line feed": {"type": "subscribe", "topic": "task:a\n"},
    "topic with half a surrogate pair": {"type": "subscribe", "topic": "task:\ud800"},
    "topic with a line separator": {"type": "subscribe", "topic": "task:a\u2028"},
    "topic with a null": {"type": "subscribe", "topic": "task:\0"},
    "topic with a C1 control": {"type": "subscribe", "topic": "task:\x85"},
    "topic of 256 characters": {"type": "subscribe", "topic": "task:" + "a" * 256},
    "topic with a NUL": {"type": "subscribe", "topic": "task:a\x00"},
    "topic with a control character": {"type": "subscribe", "topic": "task:a\x9f"},
    "topic with an id of 256 characters": {"type": "subscribe", "topic": "task:" + "a" * 256},
    "limit 0": {"type": "subscribe", "topic": "user:me", "limit": 0},
    "limit 201": {"type": "subscribe", "topic": "user:me", "limit": 201},
    "limit true": {"type": "subscribe", "topic": "user:me", "limit": True},
    "limit a string": {"type": "subscribe", "topic": "user:me", "limit": "5"},
    "detail of no kind": {"type": "subscribe", "topic": "task:a", "detail": "all"},
    "detail a list": {"type": "subscribe", "topic": "task:a", "detail": ["tasks"]},
    "page without topic": {"type": "page", "after": "x"},
    "page without after": {"type": "page", "topic": "user:me"},
    "page with an empty after": {"type": "page", "topic": "user:me", "after": ""},
    "page of a task": {"type": "page", "topic": "task:a", "after": "x"},
    "page with a long after": {"type": "page", "topic": "user:me", "after": "x" * 513},
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
    "token long": {"type": "subscribe", "topic": "task:a", "token": "t" * 12_289},
    "token with half a surrogate pair": {
        "type": "subscribe", "topic": "task:a", "token": "a:b:\udfff",
    },
    "unsubscribe without topic": {"type": "unsubscribe"},
    "unsubscribe with a star": {"type": "unsubscribe", "topic": "*"},
    "cancel without task": {"type": "cancel"},
    "cancel a number": {"type": "cancel", "task_id": 5},
    "cancel empty": {"type": "cancel", "task_id": ""},
    "cancel 256 characters": {"type": "cancel", "task_id": "a" * 256},
    "cancel with half a surrogate pair": {"type": "cancel", "task_id": "\ud800"},
    "cancel with a line feed": {"type": "cancel", "task_id": "a\n"},
}  # fmt: skip


@asynccontextmanager
async def after_one_bad_frame(service: Any) -> AsyncIterator[Client]:
    async with connect(service) as client:
        yield client
        assert await client.ask("ping") == {"type": "pong", "id": 1}
        assert client.arrived == []


@pytest.mark.parametrize("frame", NO_FRAMES.values(), ids=NO_FRAMES)
async def test_a_message_that_is_no_frame_is_a_bad_request_and_the_connection_continues(
    service: Any, frame: str | bytes
) -> None:
    async with after_one_bad_frame(service) as client:
        await client.send(frame)
        answer = await client.next()
        assert (answer["type"], answer["code"]) == ("error", "bad_request")
        assert answer["message"]
        assert "id" not in answer


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES)
async def test_a_frame_with_a_mistake_is_a_bad_request_under_its_id(
    service: Any, frame: dict[str, Any]
) -> None:
    async with after_one_bad_frame(service) as client:
        await client.send({**frame, "id": 77})
        answer = await client.next()
        assert (answer["type"], answer["code"], answer["id"]) == ("error", "bad_request", 77)
        assert answer["message"]


#: Valid ids with a meaning elsewhere: in Redis, Lua, paths or text.
STRANGE_IDS = (
    "*", "{a}", "a b", "a:b", "ä", "\u0661\u0662", "'", '"', "\\", "[a-z]", "?", "%s", "..",
    "x/result", "realtime:task:{id}", "user:me", "{id}*", "a" * 255,
)  # fmt: skip


async def test_a_strange_id_is_an_id_like_others_and_reaches_no_other_key_or_group(
    service: Any, people: Any
) -> None:
    hers = fresh_id()
    publish_change(hers, "STARTED", owner=people.alice.key)
    for strange in STRANGE_IDS:
        task_id = strange.replace("{id}", hers)
        async with connect(service, session=people.bob.session) as bob:
            for request in (
                {"type": "subscribe", "topic": f"task:{task_id}"},
                {"type": "cancel", "task_id": task_id},
                {"type": "subscribe", "topic": f"user:{task_id}"},
            ):
                await bob.send({**request, "id": 77})
                answered = await bob.answer(77)
                if request.get("topic") != "user:me":
                    assert answered["code"] == "not_found", request
            token = token_for(service, f"task:{task_id}")
            answered = await bob.subscribe(f"task:{task_id}", token=token)
            assert answered["snapshot"] == [], task_id
            publish_change(hers, "PROGRESS", owner=people.alice.key)
            assert await bob.has_nothing(), task_id
            mine = f"{task_id[:240]}-{fresh_id()[:8]}"
            await bob.subscribe(f"task:{mine}", token=token_for(service, f"task:{mine}"))
            publish_change(mine, "SUCCESS", owner=people.bob.key)
            assert (await bob.event(f"task:{mine}"))["status"]["task_id"] == mine


async def test_the_fifth_bad_request_in_ten_seconds_ends_the_connection(service: Any) -> None:
    async with connect(service) as client:
        bad: list[Any] = ["hello", b"\x00", "[" * 9_000, {"type": "no", "id": 4}, {"type": "no"}]
        for frame in bad[:4]:
            await client.send(frame)
        assert await client.ask("ping") == {"type": "pong", "id": 1}, "four are forgiven"
        await client.send(bad[4])
        await client.send({"type": "ping", "id": 99})
        assert await client.close_code() == 4500
        *errors, closing = client.arrived
        assert [frame["code"] for frame in errors] == ["bad_request"] * 5
        assert closing == {
            "type": "closing",
            "code": 4500,
            "message": closing["message"],
            "reconnect": False,
        }


async def test_refusals_are_no_bad_requests(service: Any) -> None:
    async with connect(service) as client:
        for _ in range(6):
            assert (await client.subscribe(f"task:{fresh_id()}"))["code"] == "not_found"
        assert (await client.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize("letter", ["a", "ä"])
async def test_a_frame_of_one_byte_too_many_ends_the_connection(service: Any, letter: str) -> None:
    def frame(size: int) -> str:
        empty = '{"type":"ping","id":1,"x":""}'
        rest = size - len(empty)
        padding = letter * (rest // len(letter.encode()))
        padding += "b" * (rest - len(padding.encode()))
        text = empty[:-2] + padding + '"}'
        assert len(text.encode()) == size
        return text

    async with connect(service) as client:
        await client.send(frame(MAX_FRAME_BYTES))
        assert await client.next() == {"type": "pong", "id": 1}
        await client.send(frame(MAX_FRAME_BYTES + 1))
        assert await client.close_code() == 4509
        error, closing = client.arrived
        assert (error["type"], error["code"]) == ("error", "too_large")
        assert "16384" in error["message"]
        assert (closing["type"], closing["code"], closing["reconnect"]) == ("closing", 4509, False)


@pytest.mark.parametrize("frame", ["[" * 200_000, "x" * 1_000_000, b"\x00" * 100_000])
async def test_a_huge_frame_ends_nothing_but_its_connection(
    service: Any, frame: str | bytes
) -> None:
    async with connect(service) as client:
        await client.send(frame)
        assert await client.close_code() == 4509
        assert [each["type"] for each in client.arrived] == ["error", "closing"]


# Below the frames of the protocol: those of the WebSocket itself (RFC 6455, section 5)

UNMASKED = b"\x81\x05hello"
BROKEN = {
    "unmasked": (UNMASKED, 1002),
    "a reserved bit": (frame(b"hello", 0xC1), 1002),
    "all reserved bits": (frame(b"hello", 0xF1), 1002),
    "a reserved opcode": (frame(b"hello", 0x83), 1002),
    "a reserved control opcode": (frame(b"", 0x8B), 1002),
    "a ping of 126 bytes": (frame(b"x" * 126, 0x89), 1002),
    "a ping in fragments": (frame(b"x", 0x09), 1002),
    "what continues nothing": (frame(b"x", 0x80), 1002),
    "a text within a text": (frame(b"x", 0x01) + frame(b"x"), 1002),
    "no UTF-8": (frame(b"\xff\xfe"), 1007),
    "no UTF-8 over two fragments": (frame(b"\xce", 0x01) + frame(b"\x20", 0x80), 1007),
    "an overlong slash": (frame(b"\xc0\xaf"), 1007),
    "half a surrogate pair": (frame(b"\xed\xa0\x80"), 1007),
}


@pytest.mark.parametrize("code", [b"", b"\x03", b"\x03\xed"])
def test_a_close_without_a_code_or_with_a_forbidden_one_ends_the_connection(
    service: Any, dial: Callable[..., socket.socket], code: bytes
) -> None:
    web = web_of(service)
    connection = dial(web)
    upgrade(connection, web)
    connection.sendall(frame(code, 0x88))
    with suppress(ConnectionResetError):  # the server has sent its last frame
        while connection.recv(1000):
            pass


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_malformed_websocket_frame_ends_the_connection(
    service: Any, dial: Callable[..., socket.socket], case: tuple[bytes, int]
) -> None:
    web = web_of(service)
    connection = dial(web)
    upgrade(connection, web)
    connection.sendall(case[0])
    received = b""
    while b"\x88" not in received:  # the head of a close
        part = connection.recv(1000)
        assert part, received
        received += part
    with suppress(ConnectionError):  # the server does not wait for the rest
        connection.sendall(frame(struct.pack("!H", 1000), 0x88))
    received += answer(connection)
    assert received.partition(b"\x88")[2][1:3] == struct.pack("!H", case[1])
