"""Empty messages over a WebSocket (cases 1.1.1, 1.2.1, 6.1.1 and 6.1.2 of Autobahn's suite)."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect as open_socket

from project.processes import Process, free_port
from tests.client.websocket import connect
from tests.conftest import READY, Service

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """The address of a server that sends each message back."""
    port = free_port()
    process = Process(
        "echo", [sys.executable, "-m", "tests.field.echo_server", str(port)], env=os.environ
    )
    process.start()
    try:
        process.wait_ready(lambda: _answers(port), timeout=READY)
        yield f"ws://127.0.0.1:{port}/"
    finally:
        process.kill()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", ""),
        (b"", b""),
        (["", "", ""], ""),
        ([b"", b""], b""),
        (["", "middle", ""], "middle"),
        ([b"first", b""], b"first"),
    ],
    ids=[
        "empty text",
        "empty binary",
        "three empty fragments of text",
        "two empty fragments of bytes",
        "text between empty fragments",
        "an empty final fragment",
    ],
)
async def test_an_empty_message_or_fragment_reaches_the_application_and_comes_back(
    echo: str, message: str | bytes | list[str] | list[bytes], expected: str | bytes
) -> None:
    async with open_socket(echo, proxy=None) as socket:
        await socket.send(message)
        await socket.send("next")
        assert [await socket.recv(), await socket.recv()] == [expected, "next"]


@pytest.mark.parametrize("message", ["", b"", ["", ""], [b"", b""]], ids=repr)
async def test_the_service_answers_an_empty_message_with_bad_request(
    service: Service, message: str | bytes | list[str] | list[bytes]
) -> None:
    async with connect(service) as client:
        await client.socket.send(message)
        frame = await client.next()
        assert (frame["type"], frame["code"]) == ("error", "bad_request")
        assert (await client.ask("ping"))["type"] == "pong"
