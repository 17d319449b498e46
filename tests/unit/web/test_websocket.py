"""A WebSocket's timeouts and failures; its other cases are tested with a real server."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from asgiref.testing import ApplicationCommunicator
from django.test import override_settings

from realtime.core.change import Change
from realtime.store import get_store
from realtime.web.access.revocation import get_access_checker
from realtime.web.access.tokens import make_token
from realtime.web.registry import get_registry
from realtime.web.session import ClientSession
from realtime.web.websocket import TaskConsumer
from tests.until import auntil

DEADLINE = 30  # seconds
SCOPE = {
    "type": "websocket",
    "path": "/realtime/ws/",
    "headers": [(b"host", b"testserver"), (b"origin", b"http://testserver")],
}


@pytest.fixture(autouse=True)
def idle_timeout(request):
    """Seconds, as a test names them by `parametrize`."""
    seconds = getattr(request, "param", 60)
    with override_settings(
        ALLOWED_HOSTS=["testserver"],
        REALTIME={"STORE": "realtime.store.memory.MemoryStore", "IDLE_TIMEOUT": seconds},
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    ):
        yield


async def receive(connection):
    message = await connection.receive_output(DEADLINE)
    return json.loads(message["text"]) if "text" in message else message


async def ask(connection, **frame):
    """Send a frame; return the next frame."""
    await connection.send_input({"type": "websocket.receive", "text": json.dumps(frame)})
    return await receive(connection)


async def subscribe(connection):
    """Subscribe to a task by a token; return the answer."""
    token = make_token(["task:a"])[0]
    return await ask(connection, type="subscribe", id=1, topic="task:a", token=token)


@pytest.fixture
async def connection():
    """A connection and its consumer, after the welcome."""
    consumer = TaskConsumer()
    connection = ApplicationCommunicator(consumer, SCOPE)
    await connection.send_input({"type": "websocket.connect"})
    assert await receive(connection) == {"type": "websocket.accept"}
    assert (await receive(connection))["type"] == "welcome"
    yield connection, consumer
    await connection.send_input({"type": "websocket.disconnect", "code": 1000})
    await connection.wait(DEADLINE)
    if consumer.session is not None:
        await consumer.session._hub.close()


@pytest.mark.parametrize("idle_timeout", [0.05], indirect=True)
async def test_a_connection_without_a_subscription_gets_the_reason_and_is_closed(connection):
    socket, _ = connection
    assert await receive(socket) == {
        "type": "closing",
        "code": 4000,
        "message": "nothing was subscribed",
        "reconnect": True,
    }
    assert await receive(socket) == {"type": "websocket.close", "code": 4000}


@pytest.mark.parametrize("idle_timeout", [1.0], indirect=True)
@pytest.mark.parametrize("ends", [False, True])
async def test_a_connection_that_has_subscribed_may_be_silent(connection, ends):
    socket, consumer = connection
    assert consumer.session._idle is not None
    due = consumer.session._idle.when()
    assert (await subscribe(socket))["type"] == "subscribed"
    if ends:
        answer = await ask(socket, type="unsubscribe", id=2, topic="task:a")
        assert answer["type"] == "unsubscribed"
    await asyncio.sleep(due - asyncio.get_running_loop().time() + 0.01)
    assert await ask(socket, type="ping", id=3) == {"type": "pong", "id": 3}


@pytest.mark.parametrize("idle_timeout", [0.05], indirect=True)
async def test_a_connection_whose_request_waits_for_its_answer_is_not_idle(connection, monkeypatch):
    socket, consumer = connection
    store, may_read, checks = get_store(), asyncio.Event(), []
    read, check = store.read, consumer.session._watch_idle

    async def read_later(*args, **options):
        await may_read.wait()
        return await read(*args, **options)

    def counted(session):
        checks.append(session)
        check()

    monkeypatch.setattr(store, "read", read_later)
    monkeypatch.setattr(ClientSession, "_watch_idle", counted)
    token = make_token(["task:a"])[0]
    subscribe = {"type": "subscribe", "id": 1, "topic": "task:a", "token": token}
    await socket.send_input({"type": "websocket.receive", "text": json.dumps(subscribe)})
    await auntil(lambda: len(checks) > 1)
    may_read.set()
    assert (await receive(socket))["type"] == "subscribed"


async def test_a_right_that_is_lost_while_subscribing_is_noticed():
    get_store().accept(Change(task_id="hers", state="STARTED", owner="7"))
    consumer = TaskConsumer()
    user = SimpleNamespace(pk=7, is_authenticated=True, is_staff=False)
    socket = ApplicationCommunicator(consumer, {**SCOPE, "user": user})
    await socket.send_input({"type": "websocket.connect"})
    assert await receive(socket) == {"type": "websocket.accept"}
    assert (await receive(socket))["type"] == "welcome"
    hub, subscriptions = consumer.session._hub, consumer.session.subscriptions
    join = hub.subscribe

    async def lose_and_join(*args):
        await subscriptions.check_access(None)
        return await join(*args)

    hub.subscribe = lose_and_join
    answer = await ask(socket, type="subscribe", id=1, topic="task:hers")
    assert (answer["type"], answer["code"]) == ("error", "not_found")
    assert (hub._watched, len(subscriptions)) == ({}, 0)
    await socket.send_input({"type": "websocket.disconnect", "code": 1000})
    await socket.wait(DEADLINE)
    await hub.close()
    await get_access_checker().close()


async def test_an_internal_error_shows_a_reference_alone(connection, caplog):
    socket, consumer = connection

    async def fail(*_args):
        raise RuntimeError("canary")

    consumer.session._hub.subscribe = fail
    error = await subscribe(socket)
    assert (error["type"], error["code"], error["id"]) == ("error", "internal", 1)
    assert "canary" not in json.dumps(error)
    assert f"ref={error['ref']}" in caplog.text
    assert "canary" in caplog.text


@pytest.mark.parametrize("empty", [{"text": ""}, {"bytes": b""}, {"text": None, "bytes": b""}, {}])
async def test_an_empty_message_is_a_bad_request(connection, empty):
    socket, _ = connection
    await socket.send_input({"type": "websocket.receive", **empty})
    error = await receive(socket)
    assert (error["type"], error["code"]) == ("error", "bad_request")
    assert await ask(socket, type="ping", id=3) == {"type": "pong", "id": 3}


async def test_a_server_that_refuses_the_code_1012_closes_with_one_that_lets_clients_reconnect():
    received, sent = asyncio.Queue(), []

    async def send(message):
        if message.get("code") in (1011, 1012, 1013):
            raise ValueError("invalid close code")  # as Daphne does without our server
        sent.append(message)

    consumer = TaskConsumer()
    serving = asyncio.create_task(consumer(SCOPE, received.get, send))
    received.put_nowait({"type": "websocket.connect"})
    await auntil(lambda: consumer.session is not None and len(get_registry()) == 1)
    consumer.session.restart()
    await auntil(lambda: sent[-1] == {"type": "websocket.close", "code": 4000})
    assert json.loads(sent[-2]["text"])["code"] == 1012
    received.put_nowait({"type": "websocket.disconnect", "code": 4000})
    await serving
    assert len(get_registry()) == 0
    await consumer.session._hub.close()


async def test_a_connection_that_cannot_send_is_closed_so_that_the_client_reconnects():
    received, sent = asyncio.Queue(), []

    async def send(message):
        if "pong" in message.get("text", ""):
            raise RuntimeError("canary")
        sent.append(message)

    consumer = TaskConsumer()
    serving = asyncio.create_task(consumer(SCOPE, received.get, send))
    received.put_nowait({"type": "websocket.connect"})
    received.put_nowait({"type": "websocket.receive", "text": '{"type":"ping","id":3}'})
    await auntil(lambda: sent and sent[-1] == {"type": "websocket.close", "code": 1011})
    await auntil(lambda: len(get_registry()) == 0)
    received.put_nowait({"type": "websocket.disconnect", "code": 1011})
    await serving
    await consumer.session._hub.close()
