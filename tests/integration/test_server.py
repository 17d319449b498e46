"""The server itself: slow readers, clients that break the protocol, and an orderly end."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from project.processes import ROOT, free_port
from tests.client.octets import HOST, frame
from tests.client.over_http import request
from tests.client.websocket import connect
from tests.publishing import fresh_id, publish_change, token_for
from tests.raw import DEADLINE, MIB, Web, answer, head, upgrade
from tests.until import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def flood(task_id: str, count: int, size: int = 50_000) -> None:
    """Publish progress, each with so much text."""
    for current in range(count):
        progress = {"current": current, "total": count, "message": "x" * size}
        assert publish_change(task_id, "PROGRESS", progress=progress)


LOT = 100 * MIB


def pour(connection: socket.socket, data: bytes) -> int:
    """Send this until the server reads no more, or a lot is sent; return how many bytes."""
    sent = 0
    with suppress(TimeoutError):
        while sent < LOT:
            sent += connection.send(data)
    return sent


# Slow readers


def stuck(web: Web, connection: socket.socket, topic: str) -> None:
    """Connect and subscribe as a client that does not read."""
    upgrade(connection, web)
    token = token_for(web, topic)
    subscribe = {"type": "subscribe", "id": 1, "topic": topic, "token": token}
    connection.sendall(frame(json.dumps(subscribe).encode()))


async def test_readers_that_never_read_cost_little_and_are_cut_while_others_notice_nothing(
    start_web: Callable[..., Web], dial: Callable[..., socket.socket]
) -> None:
    readers, events = 20, 150
    web = start_web(SLOW_TIMEOUT=2.0)
    task_id = fresh_id()
    topic = f"task:{task_id}"
    for _ in range(readers):
        stuck(web, dial(web, window=4096), topic)
    async with connect(web) as healthy:
        await healthy.subscribe(topic, token=token_for(web, topic))
        before, most = web.memory(), 0
        for offset in range(1, events + 1):
            flood(task_id, 1)
            assert (await healthy.event(topic))["offset"] == offset
            most = max(most, web.memory() - before)
        assert await asyncio.to_thread(until, lambda: web.logged("connection_closed", readers))
        assert (await healthy.ask("ping"))["type"] == "pong"
    assert web.logged("connection_slow", readers)
    assert most < 64 * MIB, f"{events} events of 50 kB for {readers} readers"


def test_a_slow_reader_receives_the_reason_and_a_close_code_to_reconnect(
    start_web: Callable[..., Web], dial: Callable[..., socket.socket]
) -> None:
    web = start_web(SLOW_TIMEOUT=1.0)
    task_id = fresh_id()
    connection = dial(web, window=4096)
    stuck(web, connection, f"task:{task_id}")
    assert until(lambda: flood(task_id, 5) or web.logged("connection_slow"), DEADLINE)
    *_, closing, closed = answer(connection).rpartition(b'{"type":"closing"')
    payload, _, _ = closed.partition(b"}")
    assert closing
    assert json.loads(b'{"type":"closing"' + payload + b"}")["code"] == 4001
    assert b'"reconnect":true' in payload
    assert closed.endswith(b"\x88\x02" + struct.pack("!H", 4001))


def test_a_client_that_reads_no_answers_is_not_read_either(
    start_web: Callable[..., Web], dial: Callable[..., socket.socket]
) -> None:
    web = start_web(MAX_FRAME_BURST=1_000_000_000, SLOW_TIMEOUT=60.0)
    task_id = fresh_id()
    connection = dial(web, window=4096)
    stuck(web, connection, f"task:{task_id}")
    flood(task_id, 150)
    before = web.memory()
    connection.settimeout(2.0)
    assert pour(connection, frame(b'{"type":"ping","id":1}') * 5_000) < LOT
    assert web.memory() - before < 32 * MIB


# The end


async def test_sigterm_under_two_hundred_sockets_closes_each_with_1012(
    start_web: Callable[..., Web],
) -> None:
    web = start_web(DRAIN_SECONDS=2.0, IDLE_TIMEOUT=60.0)
    count = 200

    async def stay() -> tuple[int, dict[str, Any]]:
        async with connect(web) as client:
            opened.release()
            return await client.close_code(), client.arrived[-1]

    opened = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        staying = [group.create_task(stay()) for _ in range(count)]
        for _ in range(count):
            await opened.acquire()
        web.end()
    codes = [task.result()[0] for task in staying]
    assert codes == [1012] * count
    for task in staying:
        closing = task.result()[1]
        assert (closing["type"], closing["code"], closing["reconnect"]) == ("closing", 1012, True)
    assert await asyncio.to_thread(web.exit_code) == 0
    assert "Traceback" not in web.process.log()
    assert "destroyed" not in web.process.log()


def test_without_connections_the_server_ends_at_once(start_web: Callable[..., Web]) -> None:
    web = start_web(DRAIN_SECONDS=3600.0)
    assert request(web, "GET", "/realtime/healthz").code == 200
    web.end()
    assert web.exit_code() == 0


async def test_while_it_drains_it_is_not_ready_and_a_second_signal_ends_it_at_once(
    start_web: Callable[..., Web],
) -> None:
    web = start_web(DRAIN_SECONDS=3600.0)
    assert (await asyncio.to_thread(request, web, "GET", "/realtime/readyz")).code == 200
    async with connect(web) as one, connect(web) as other:
        web.end()
        assert await asyncio.to_thread(until, lambda: web.logged("draining"), DEADLINE)
        readyz = await asyncio.to_thread(request, web, "GET", "/realtime/readyz")
        healthz = await asyncio.to_thread(request, web, "GET", "/realtime/healthz")
        assert (readyz.code, healthz.code) == (503, 200)
        with pytest.raises(InvalidStatus) as refused:
            await connect(web).__aenter__()
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"]
        web.end()
        assert await asyncio.to_thread(web.exit_code) == 1
        await one.close_code()
        await other.close_code()


LIFESPAN = """
import asyncio, os, sys
import django
django.setup()
from realtime.serving import serve

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup" and "fail" in sys.argv:
                await send({"type": "lifespan.startup.failed", "message": "no wind"})
                return
            print("received", message["type"], flush=True)
            await send({"type": message["type"] + ".complete"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

serve(application, "127.0.0.1", int(os.environ["PORT"]))
"""


def test_the_application_receives_startup_and_shutdown(
    start_web: Callable[..., Web],
) -> None:
    web = start_web([sys.executable, "-c", LIFESPAN])
    assert until(lambda: web.logged("received lifespan.startup"), DEADLINE)
    assert not web.logged("received lifespan.shutdown")
    web.end()
    assert web.exit_code() == 0
    assert until(lambda: web.logged("received lifespan.shutdown"), DEADLINE)


def test_an_application_that_cannot_start_is_not_served(service: Any) -> None:
    env = {**service.web.env, "PORT": str(free_port())}
    command = [sys.executable, "-c", LIFESPAN, "fail"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no wind" in done.stderr


# Keeping a connection


def test_a_connection_is_kept_between_requests(
    start_web: Callable[..., Web], dial: Callable[..., socket.socket]
) -> None:
    web = start_web(REQUEST_TIMEOUT=1.0)
    connection = dial(web)
    ask = f"GET /realtime/healthz HTTP/1.1\r\nHost: {HOST}:{web.port}\r\n\r\n".encode()
    for _ in range(2):
        connection.sendall(ask)
        assert head(connection).startswith(b"HTTP/1.1 200 ")
        while connection.recv(1) != b"\n":
            pass
        connection.settimeout(1.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(DEADLINE)


# manage.py serve


def test_it_serves_and_raises_its_limit_of_descriptors(start_web: Callable[..., Web]) -> None:
    web = start_web([sys.executable, "manage.py", "serve", f"{HOST}:{{port}}"])
    assert request(web, "GET", "/realtime/readyz").code == 200
    limits = Path(f"/proc/{web.process.pid}/limits").read_text()
    soft, hard = re.search(r"Max open files +(\S+) +(\S+)", limits).groups()  # type: ignore[union-attr]
    assert soft == hard == str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    web.end(signal.SIGINT)
    assert web.exit_code() == 0


def serve(service: Any, address: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "serve", address]
    given = {**service.web.env, **env}
    return subprocess.run(
        command, cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("env", "remedy"),
    [
        ({"DJANGO_DEBUG": "1"}, "Set DEBUG = False"),
        ({"DJANGO_SECRET_KEY": "django-insecure-" + "a1b2c3d4e5" * 6}, "50 random characters"),
        ({"DJANGO_SECRET_KEY": "short"}, "50 random characters"),
        ({"DJANGO_ALLOWED_HOSTS": "*"}, "Name the hosts"),
    ],
)
def test_it_refuses_dangerous_settings_and_names_the_remedy(
    service: Any, env: dict[str, str], remedy: str
) -> None:
    done = serve(service, str(free_port()), **env)
    assert done.returncode == 1
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_an_error(service: Any) -> None:
    done = serve(service, service.web.env["PORT"])
    assert done.returncode == 1
    assert "Listen failure" in done.stderr


def test_an_invalid_address_is_an_error(service: Any) -> None:
    done = serve(service, "nowhere")
    assert done.returncode == 1
    assert "no address" in done.stderr
