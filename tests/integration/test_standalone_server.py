"""The server without the rest of the service, and with libraries that are not as they were."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.asyncio.client import connect

from project.processes import Process, free_port, lock_environment
from tests.client.octets import HOST, handshake
from tests.raw import DEADLINE, answer, head
from tests.until import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

#: An import that the server must do without.
FORBIDDEN = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        ours = name.startswith("realtime.")
        allowed = name.split(".")[1:2] in (["server"], ["core"]) if ours else True
        if not allowed or name.split(".")[0] in ("django", "channels", "celery", "redis"):
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Forbidden())
"""

#: `python -c ECHO PORT [library old new]`: send everything back.
ECHO = """
import sys
if sys.argv[2:]:
    from tests.renamed import rename
    rename(*sys.argv[2:])
from realtime.server.options import Options
from realtime.server.server import serve
from tests.echo import echo

serve(echo, "127.0.0.1", int(sys.argv[1]), Options(max_body_bytes=1000))
"""


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[Process, int]]]:
    """Start a program; return its process and its port."""
    lock_environment()
    with ExitStack() as stack:

        def begin(program: str, *arguments: str) -> tuple[Process, int]:
            port = free_port()
            command = [sys.executable, "-c", program, str(port), *arguments]
            process = Process("server", command, env={"PATH": "", "PYTHONPATH": "."})
            stack.callback(process.kill)
            process.start()
            process.wait_ready(lambda: "Listening on TCP" in process.log(), timeout=DEADLINE)
            return process, port

        yield begin


def post(port: int, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=DEADLINE)
    try:
        connection.request("POST", "/", body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def echoed(port: int, *messages: str | bytes) -> list[str | bytes]:
    """Send messages one by one; return what comes back for each."""
    async with connect(f"ws://{HOST}:{port}/", compression=None, proxy=None) as client:
        replies: list[Any] = []
        for message in messages:
            await client.send(message)
            replies.append(await client.recv())
        return replies


#: The same, with pings after a second of silence.
IMPATIENT = ECHO.replace("max_body_bytes=1000", "ping_interval=1.0, ping_timeout=2.0")


@pytest.mark.parametrize("renamed", [(), ("autobahn", "send_queue", "outgoing")], ids=["fast", ""])
async def test_a_silent_client_is_pinged_and_ends_if_it_does_not_answer(
    start: Callable[..., tuple[Process, int]], renamed: tuple[str, ...]
) -> None:
    _, port = start(IMPATIENT, *renamed)
    with socket.create_connection((HOST, port), DEADLINE) as mute:
        async with connect(f"ws://{HOST}:{port}/", compression=None, proxy=None) as answering:
            mute.sendall(handshake(port))
            received = await asyncio.to_thread(answer, mute)
            assert received.partition(b"\r\n\r\n")[2][:1] == b"\x89", "a ping, then the end"
            await answering.send("still here")
            assert await answering.recv() == "still here"


#: The same without a garbage collector; "how many" is answered with the connections in memory.
UNCOLLECTED = ECHO.replace(
    "\nserve(echo",
    """
import gc
gc.disable()

async def counting(scope, receive, send):
    async def count(message):
        if message.get("text") == "how many":
            alive = [type(each).__qualname__ for each in gc.get_objects()]
            text = str([alive.count(name) for name in ("Socket", "Channel")])
            message = {**message, "text": text}
        await send(message)

    await echo(scope, receive, count)

serve(counting""",
)


async def test_a_connection_that_ended_is_freed_without_the_garbage_collector(
    start: Callable[..., tuple[Process, int]],
) -> None:
    _, port = start(UNCOLLECTED)
    async with connect(f"ws://{HOST}:{port}/", compression=None, proxy=None) as last:
        for _ in range(3):
            assert await echoed(port, "hello") == ["hello"]
            with socket.create_connection((HOST, port), DEADLINE) as dropped:
                dropped.sendall(handshake(port))
                assert head(dropped).startswith(b"HTTP/1.1 101 ")
        alive: Any = ""
        async with asyncio.timeout(DEADLINE):
            while alive != "[1, 0]":  # only this one, and not its handshake
                await last.send("how many")
                alive = await last.recv()


#: Show what Daphne's own server was given.
SHOW = """
import daphne.server
run = daphne.server.Server.run

def show(self):
    print("given", self.websocket_timeout, self.websocket_handshake_timeout, flush=True)
    run(self)

daphne.server.Server.run = show
"""
SHOWING = ECHO.replace("\nserve(", f"\n{SHOW}\nserve(")

MESSAGES = ["a", b"\x00\xff", "ä" * 40_000, b"x" * 70_000]


async def test_it_serves_any_application_without_django_and_the_rest_of_the_service(
    start: Callable[..., tuple[Process, int]],
) -> None:
    process, port = start(FORBIDDEN + ECHO)
    assert post(port, b"hello") == (200, b"hello")
    assert post(port, b"x" * 1001) == (413, b"The request is too large.\n")
    assert await echoed(port, *MESSAGES, "") == [*MESSAGES, ""]
    os.kill(process.pid, signal.SIGTERM)
    assert until(lambda: process.returncode is not None, DEADLINE)
    assert process.returncode == 0
    assert "library_unknown" not in process.log()
    assert "Traceback" not in process.log()


@pytest.mark.parametrize(
    ("renamed", "module"),
    [
        (("daphne", "http_factory", "http_maker"), "server"),
        (("daphne", "application_instance", "application_task"), "server"),
        (("twisted", "gotLength", "got_length"), "http"),
        (("daphne", "serverClose", "server_close"), "websocket"),
        (("autobahn", "CONFIG_ATTRS", "OPTIONS"), "fast_websocket"),
        (("autobahn", "_dataReceived", "_data_received"), "fast_websocket"),
        (("autobahn", "send_queue", "outgoing"), "fast_websocket"),
        (("twisted", "_tempDataBuffer", "_pending"), "fast_websocket"),
        (("autobahn", "current_frame", "frame_now"), "fast_websocket"),
        (("daphne", "last_ping", "last_heard"), "fast_websocket"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
async def test_where_a_library_has_changed_its_own_class_serves_and_one_line_is_logged(
    start: Callable[..., tuple[Process, int]], renamed: tuple[str, ...], module: str
) -> None:
    process, port = start(ECHO, *renamed)
    assert post(port, b"hello") == (200, b"hello")
    assert await echoed(port, *MESSAGES) == MESSAGES
    lines = [line for line in process.log().splitlines() if "library_unknown" in line]
    assert len(lines) == 1
    assert f"library_unknown module={module} " in lines[0]
    assert renamed[1] in lines[0]
    assert "Traceback" not in process.log()


def test_daphnes_own_server_closes_no_websocket_after_a_day(
    start: Callable[..., tuple[Process, int]],
) -> None:
    # With the code 1000, after which no client would reconnect.
    process, _ = start(SHOWING, "daphne", "http_factory", "http_maker")
    assert "library_unknown module=server " in process.log()
    assert "given -1 9.0" in process.log()
