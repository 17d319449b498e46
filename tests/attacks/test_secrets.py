"""What must stay inside: nothing of it is in a frame, an answer, a log or a group message."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests import secretive_tasks
from tests.client.over_http import request
from tests.client.websocket import connect
from tests.publishing import fresh_id, publish_change, token_for
from tests.until import until

pytestmark = pytest.mark.integration


@contextmanager
def group_messages(url: str) -> Iterator[list[bytes]]:
    """Every message of every group, as it is on Redis."""
    messages: list[bytes] = []
    with redis.Redis.from_url(url) as client, client.pubsub() as pubsub:
        pubsub.psubscribe("asgi*")
        stopped = threading.Event()

        def listen() -> None:
            # At the end, read what has arrived.
            while (message := pubsub.get_message(timeout=0.05)) or not stopped.is_set():
                if message:
                    messages.append(repr(message).encode())

        thread = threading.Thread(target=listen)
        thread.start()
        assert until(lambda: messages), "subscribed"
        try:
            yield messages
        finally:
            stopped.set()
            thread.join()


def log_so_far(service: Any) -> str:
    """The web process's log, with everything in it that was logged until now."""
    mark = f"mark-{secrets.token_hex(8)}"
    request(service, "GET", f"/{mark}")
    # The server's own line, and Django's about a page that is not there.
    assert until(lambda: service.web.log().count(mark) >= 2)
    return str(service.web.log())


def everything_kept(url: str) -> str:
    """All that the service keeps on Redis."""
    read = {"hash": "hgetall", "list": "lrange", "zset": "zrange", "string": "get"}
    found = []
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter("realtime:*"):
            kind = client.type(key).decode()
            limits = (0, -1) if kind in ("list", "zset") else ()
            found.append(repr((key, getattr(client, read[kind])(key, *limits))))
    assert found
    return "\n".join(found)


async def run_all(service: Any, *tasks: tuple[Any, tuple[Any, ...], dict[str, Any]]) -> list[str]:
    """Run tasks while a client is subscribed; return all that it and HTTP received."""
    answers = []
    async with connect(service) as client:
        for task, args, kwargs in tasks:
            task_id = fresh_id()
            topic = f"task:{task_id}"
            token = token_for(service, topic)
            await client.subscribe(topic, token=token)
            task.apply_async(args, kwargs, task_id=task_id)
            answers.append(repr(await client.ending(topic)))
            answers.append(repr(await client.subscribe(topic, token=token)))
            for path in ("", "result/"):
                answer = request(service, "GET", f"/realtime/tasks/{task_id}/{path}", token=token)
                answers.append(answer.body.decode())
    return answers


async def test_arguments_locals_and_tracebacks_are_nowhere(
    start_service: Callable[..., Any],
) -> None:
    service = start_service(WORKERS="1", CELERY_IMPORTS=secretive_tasks.__name__)
    canary = f"canary-{secrets.token_hex(8)}"
    with group_messages(service.redis_url) as groups:
        answers = await run_all(
            service,
            (secretive_tasks.keep_secret, (canary,), {"also": {"secret": canary}}),
            (secretive_tasks.keep_result, (canary,), {}),
        )
    text = "\n".join(answers)
    assert "2 things are wrong" in text
    assert "RETRY" in text
    assert len(groups) >= 8
    assert service.redis is not None
    places = {
        "frames and answers": text,
        "group messages": "\n".join(map(repr, groups)),
        "kept": everything_kept(service.redis_url),
        "the web process's log": log_so_far(service),
        "the worker's log": service.worker.log(),
        "Redis' log": service.redis.log(),
    }
    for place, text in places.items():
        assert text, place
        assert canary not in text, place
    for place in ("frames and answers", "group messages", "kept"):
        assert "Traceback" not in places[place], place
        assert "secretive_tasks.py" not in places[place], place


async def test_texts_of_a_task_are_shown_unless_the_function_removes_them(
    start_service: Callable[..., Any],
) -> None:
    service = start_service(
        WORKERS="1",
        CELERY_IMPORTS=secretive_tasks.__name__,
        REALTIME='{"REDACT": "tests.policies.redact"}',
    )
    with group_messages(service.redis_url) as groups:
        answers = await run_all(
            service,
            (secretive_tasks.tell, ("the canary",), {}),
            (secretive_tasks.cry, ("the canary",), {}),
        )
    sent = "\n".join(answers)
    for words in ("found the …", "not allowed: the …", '"the …"'):
        assert words in sent
    for text in (sent, "\n".join(map(repr, groups)), everything_kept(service.redis_url)):
        assert "canary" not in text
    assert "canary" not in log_so_far(service)


async def test_tokens_and_sessions_are_in_no_log(service: Any, people: Any) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING", owner=people.alice.key)
    token = token_for(service, topic)
    async with connect(service, session=people.alice.session) as client:
        await client.subscribe(topic, token=token)
        await client.subscribe(topic, token=token[:-1])
    request(service, "GET", f"/realtime/tasks/{task_id}/", token=token)
    log = log_so_far(service)
    assert "connection_opened" in log
    assert task_id in log
    assert token[:-1] not in log
    assert people.alice.session not in log


async def test_texts_of_a_task_forge_no_line_of_the_log_and_fill_none(
    service: Any, people: Any
) -> None:
    mark = secrets.token_hex(4)
    evil = f"{mark}\r\nFORGED\x1b[31m\u2028\x00\x9b" + "x" * 1_000_000
    task_id = fresh_id()
    topic = f"task:{task_id}"
    words = evil[:100_000]  # a worker cuts them
    publish_change(task_id, "STARTED", owner=people.alice.key, name=evil)
    async with connect(service, session=people.alice.session) as client:
        answer = await client.subscribe(topic)
        assert answer["snapshot"][0]["name"] == evil, "to its owner, as it is"
        publish_change(
            task_id,
            "FAILURE",
            owner=people.alice.key,
            error={"type": words, "message": words},
            progress={"current": 1, "total": None, "message": words},
        )
        assert (await client.event(topic))["status"]["error"]["message"] == words
        for text in (evil[:10_000], f'{{"type":"{mark}"}}'):
            await client.send(text)
            assert (await client.next())["code"] == "bad_request"
    request(service, "POST", "/realtime/tokens/", body={"topics": [evil[:10_000]]})
    request(service, "GET", "/realtime/healthz", headers={"User-Agent": f"{mark}\x1b[31mFORGED"})
    for line in log_so_far(service).splitlines():
        assert not line.startswith("FORGED")
        if mark in line:
            assert "\x1b" not in line
            assert len(line.encode()) <= 2500, "2 KiB and a prefix"


def test_text_of_a_stranger_forges_no_line_of_the_log(service: Any) -> None:
    address = urlsplit(service.url)
    mark = secrets.token_hex(4)
    forged = f"FORGED-{mark}"
    evil = f"%0d%0a{forged}%1b[31m"
    host = f"HTTP/1.1\r\nHost: {address.netloc}\r\n"
    handshake = (
        f"Origin: {service.url}{evil}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    requests = [
        f"GET /{mark}{evil} {host}",
        f"GET /{mark}?x={evil} {host}User-Agent: \x1b[31m{forged}\r\n",
        f"GET /{mark}\x1b[31m\x0b{forged} {host}",
        f"GET /{mark}{'x' * 10_000} {host}",
        f"GET /{mark}{'x' * 1_000_000} {host}",
        f"GET /realtime/ws/{mark}{evil} {host}{handshake}",
    ]
    for text in requests:
        with (
            socket.create_connection((address.hostname, address.port), timeout=10) as raw,
            suppress(ConnectionError),  # what is too long is cut off
        ):
            raw.sendall(f"{text}Connection: close\r\n\r\n".encode())
            while raw.recv(65536):
                pass
    log = log_so_far(service)
    assert f"Not Found: /{mark}xxx" in log
    for line in log.splitlines():
        assert not line.startswith(forged)
        if mark in line:
            assert "\x1b" not in line
            assert len(line.encode()) <= 2500, "2 KiB and a prefix"
