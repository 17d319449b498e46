"""What one connection does by the clock; all else is held against a real server."""

import asyncio
import json

import pytest
from asgiref.testing import ApplicationCommunicator
from django.test import override_settings

from realtime.web.consumers import TaskConsumer
from realtime.web.tokens import make_token

DEADLINE = 5  # seconds
SCOPE = {
    "type": "websocket",
    "path": "/realtime/ws/",
    "headers": [(b"host", b"testserver"), (b"origin", b"http://testserver")],
}


@pytest.fixture(autouse=True)
def _quick():
    with override_settings(
        ALLOWED_HOSTS=["testserver"],
        REALTIME={"BROKER": "realtime.broker.memory.MemoryBroker", "IDLE_TIMEOUT": 0.05},
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    ):
        yield


async def receive(connection):
    message = await connection.receive_output(DEADLINE)
    return json.loads(message["text"]) if "text" in message else message


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
    if hasattr(consumer, "hub"):
        await consumer.hub.close()


async def test_a_connection_without_a_subscription_is_told_so_and_closed(connection):
    socket, _ = connection
    assert await receive(socket) == {
        "type": "closing",
        "code": 4000,
        "message": "nothing was subscribed",
        "reconnect": True,
    }
    assert await receive(socket) == {"type": "websocket.close", "code": 4000}


async def test_a_connection_with_a_subscription_may_be_silent(connection):
    socket, consumer = connection
    subscribe = {
        "type": "subscribe",
        "id": 1,
        "topic": "task:a",
        "token": make_token(["task:a"])[0],
    }
    await socket.send_input({"type": "websocket.receive", "text": json.dumps(subscribe)})
    assert (await receive(socket))["type"] == "subscribed"
    _, watching = consumer.tasks
    async with asyncio.timeout(DEADLINE):
        await watching
    await socket.send_input({"type": "websocket.receive", "text": '{"type":"ping","id":2}'})
    assert await receive(socket) == {"type": "pong", "id": 2}


async def test_what_fails_inside_is_told_by_a_reference_alone(connection, caplog):
    socket, consumer = connection

    async def fail(*_args):
        raise RuntimeError("canary")

    consumer.hub.subscribe = fail
    subscribe = {
        "type": "subscribe",
        "id": 1,
        "topic": "task:a",
        "token": make_token(["task:a"])[0],
    }
    await socket.send_input({"type": "websocket.receive", "text": json.dumps(subscribe)})
    error = await receive(socket)
    assert (error["type"], error["code"], error["id"]) == ("error", "internal", 1)
    assert "canary" not in json.dumps(error)
    assert f"ref={error['ref']}" in caplog.text
    assert "canary" in caplog.text
