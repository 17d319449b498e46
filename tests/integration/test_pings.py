"""Pings: the client's frames, and those of the WebSocket protocol."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from realtime.core.codes import CloseCode
from tests.client import octets
from tests.client.octets import CLOSE, FIN, PING, PONG, TEXT, frame, handshake
from tests.client.websocket import connect
from tests.publishing import fresh_id, token_for
from tests.raw import DEADLINE, MIB, Web, head, web_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONTINUATION = 0


class Raw:
    """A connection of which a test writes and reads the octets."""

    def __init__(self, link: socket.socket, port: int) -> None:
        self._link = link
        link.settimeout(DEADLINE)
        link.sendall(handshake(port))
        assert head(link).startswith(b"HTTP/1.1 101 ")
        self._read = b""

    def send(self, *parts: bytes) -> None:
        """Send octets in one piece."""
        self._link.sendall(b"".join(parts))

    def next(self) -> tuple[int, Any]:
        """Return the opcode of the next frame and its payload; a text as the object that it is."""
        while (found := octets.parse(self._read)) is None:
            data = self._link.recv(65536)
            assert data, "the connection has ended"
            self._read += data
        opcode, payload, end = found
        self._read = self._read[end:]
        return opcode, json.loads(payload) if opcode == TEXT else payload

    def rest(self) -> list[tuple[int, Any]]:
        """Return all frames until the server ends the connection."""
        found = []
        with suppress(AssertionError, ConnectionResetError):
            while True:
                found.append(self.next())
        return found


@pytest.fixture
def raw(service: Any, dial: Callable[..., socket.socket]) -> Raw:
    web = web_of(service)
    connection = Raw(dial(web), web.port)
    assert connection.next()[1]["type"] == "welcome"
    return connection


def ping(number: int) -> str:
    return json.dumps({"type": "ping", "id": number})


def pong(number: int) -> tuple[int, dict[str, Any]]:
    return TEXT, {"type": "pong", "id": number}


def test_pings_in_one_piece_are_answered_in_order(raw: Raw) -> None:
    raw.send(*(frame(ping(number)) for number in range(10)))
    assert [raw.next() for _ in range(10)] == [pong(number) for number in range(10)]


def test_a_ping_in_pieces_is_answered_once(raw: Raw) -> None:
    whole = frame(ping(1))
    for at in range(len(whole)):
        raw.send(whole[at : at + 1])
        time.sleep(0.002)  # so that they arrive one by one
    raw.send(frame(ping(2)))
    assert [raw.next(), raw.next()] == [pong(1), pong(2)]


def test_a_ping_in_fragments_is_answered_once_with_control_frames_between_them(raw: Raw) -> None:
    text = ping(1)
    raw.send(frame(text[:5], TEXT))
    raw.send(frame(b"between", FIN | PING))
    raw.send(frame(text[5:9], CONTINUATION))
    raw.send(frame(text[9:], FIN | CONTINUATION))
    raw.send(frame(ping(2)))
    assert [raw.next() for _ in range(3)] == [(PONG, b"between"), pong(1), pong(2)]


def test_a_text_inside_a_message_in_fragments_is_a_violation_also_if_it_is_a_ping(raw: Raw) -> None:
    raw.send(frame(ping(1)[:5], TEXT))
    raw.send(frame(ping(2)))
    (closed,) = raw.rest()
    assert (closed[0], closed[1][:2]) == (CLOSE, struct.pack("!H", 1002))


def test_a_short_text_that_is_not_utf8_closes_with_1007(raw: Raw) -> None:
    raw.send(frame(b'{"type":"ping","id":\xff}'))
    (closed,) = raw.rest()
    assert (closed[0], closed[1][:2]) == (CLOSE, struct.pack("!H", 1007))


def test_a_ping_as_a_binary_message_is_a_bad_request(raw: Raw) -> None:
    raw.send(frame(ping(1), FIN | 2), frame(ping(2)))
    (_, error), answer = raw.next(), raw.next()
    assert (error["type"], error["code"]) == ("error", "bad_request")
    assert answer == pong(2)


def test_after_the_clients_close_nothing_is_answered(raw: Raw) -> None:
    raw.send(frame(struct.pack("!H", 1000), FIN | CLOSE), frame(ping(1)), frame(b"x", FIN | PING))
    assert [opcode for opcode, _ in raw.rest()] == [CLOSE]


def test_after_the_servers_close_no_ping_is_answered(raw: Raw) -> None:
    for _ in range(5):
        raw.send(frame("no frame"))
    while raw.next()[0] != CLOSE:
        pass
    raw.send(frame(ping(1)))
    raw.send(frame(b"x", FIN | PING))
    assert raw.rest() == []


def test_a_flood_of_pings_ends_the_connection_as_one_of_other_frames_does(
    start_web: Callable[..., Web], dial: Callable[..., socket.socket]
) -> None:
    web = start_web(MAX_FRAME_BURST=20, MAX_FRAMES_PER_SECOND=0.001)
    raw = Raw(dial(web), web.port)
    for number in range(40):
        raw.send(frame(ping(number)))
    welcome, *frames = raw.rest()
    assert welcome[1]["type"] == "welcome"
    *pongs, error, closing, closed = frames
    assert pongs == [pong(number) for number in range(20)]
    assert (error[1]["type"], error[1]["code"]) == ("error", "limit")
    assert closing[1]["code"] == CloseCode.RATE
    assert closed == (CLOSE, struct.pack("!H", CloseCode.RATE))


def test_the_protocols_pings_of_a_client_that_does_not_read_take_no_memory(
    start_web: Callable[..., Web], dial: Callable[..., socket.socket]
) -> None:
    web = start_web()
    connection = dial(web, window=4096)
    Raw(connection, web.port)
    before = web.memory()
    pings = frame(b"x" * 125, FIN | PING) * 1000
    for _ in range(24 * MIB // len(pings)):
        connection.sendall(pings)
    assert web.memory() - before < 12 * MIB


async def test_a_ping_after_a_request_is_answered_after_it(service: Any) -> None:
    topic = f"task:{fresh_id()}"
    async with connect(service) as client:
        subscribe = {"type": "subscribe", "id": 1, "topic": topic}
        await client.socket.send(json.dumps({**subscribe, "token": token_for(service, topic)}))
        await client.socket.send(ping(2))
        assert [(await client.next())["type"] for _ in range(2)] == ["subscribed", "pong"]
