"""A session with sinks in memory: it uses frames, codes and a sink, and no transport."""

import ast
import asyncio
import inspect
import json
from importlib import import_module

import pytest
from django.conf import settings
from django.test import override_settings

from realtime.core import frames
from realtime.core.change import Change
from realtime.core.codes import CloseCode
from realtime.store import get_store
from realtime.web import requests as requests_module
from realtime.web.access.tokens import make_token
from realtime.web.drain import drain
from realtime.web.hub import get_hub
from realtime.web.registry import get_registry, process
from realtime.web.session import ClientSession
from tests.until import auntil

TOPIC = "task:a"


class QueueingSink:
    """Accepts a frame at a time, as a transport with a queue of its own does."""

    write = None

    def __init__(self):
        self.frames = []
        self.closed = None

    async def send(self, text):
        self.frames.append(json.loads(text))

    async def close(self, code):
        self.closed = code


class WritingSink(QueueingSink):
    """Writes at once while it may, as a transport with a buffer does."""

    def __init__(self):
        super().__init__()
        self.has_room = True

    def write(self, text):
        if self.has_room:
            self.frames.append(json.loads(text))
        return self.has_room


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch):
    monkeypatch.setattr(process, "is_draining", False)
    with override_settings(
        REALTIME={"STORE": "realtime.store.memory.MemoryStore"},
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    ):
        yield


@pytest.fixture(params=[QueueingSink, WritingSink])
def sink(request):
    return request.param()


@pytest.fixture
async def session(sink):
    session = ClientSession({"headers": [], "client": ("192.0.2.1", 1), "user": None}, sink)
    assert await session.open()
    yield session
    await session.leave()
    await get_hub().close()


async def ask(session, type_, **keys):
    await session.receive(frames.parse(json.dumps({"type": type_, "id": 1, **keys})))


async def subscribe(session):
    await ask(session, "subscribe", topic=TOPIC, token=make_token([TOPIC])[0])


async def test_a_client_gets_its_answers_and_events_in_order(session, sink):
    get_store().accept(Change(task_id="a", state="STARTED"))
    await subscribe(session)
    get_store().accept(Change(task_id="a", state="SUCCESS"))
    await auntil(lambda: len(sink.frames) == 3)
    await ask(session, "unsubscribe", topic=TOPIC)
    await ask(session, "ping")
    await auntil(lambda: len(sink.frames) == 5)
    types = [frame["type"] for frame in sink.frames]
    assert types == ["welcome", "subscribed", "event", "unsubscribed", "pong"]
    _, subscribed, event, *_ = sink.frames
    assert [status["state"] for status in subscribed["snapshot"]] == ["STARTED"]
    assert event["status"]["state"] == "SUCCESS"
    assert event["offset"] == subscribed["offset"] + 1


async def test_frames_for_which_a_sink_has_no_room_are_sent_later(session, sink):
    get_store().accept(Change(task_id="a", state="STARTED"))
    await subscribe(session)
    sink.has_room = False
    await ask(session, "ping")
    get_store().accept(Change(task_id="a", state="SUCCESS"))
    await auntil(lambda: len(sink.frames) == 4)
    assert [frame["type"] for frame in sink.frames[2:]] == ["pong", "event"]


async def test_a_process_that_ends_closes_the_sink(session, sink):
    await drain(0)
    await auntil(lambda: sink.closed is not None)
    assert sink.closed == CloseCode.RESTART
    assert sink.frames[-1]["type"] == "closing"


async def test_a_call_that_does_not_return_delays_no_ping(session, sink, monkeypatch):
    monkeypatch.setattr(requests_module, "_ORDERED", 0.0)
    never = asyncio.Event()

    async def read(*_args, **_keys):
        await never.wait()

    monkeypatch.setattr(get_store(), "read", read)
    await subscribe(session)
    await ask(session, "ping")
    await auntil(lambda: sink.frames[-1]["type"] == "pong")
    assert [frame["type"] for frame in sink.frames] == ["welcome", "pong"]


async def test_a_session_that_is_left_leaves_nothing_behind(session, sink):
    await subscribe(session)
    registry = get_registry()
    assert session in registry
    await session.leave()
    assert session not in registry
    assert len(session.subscriptions) == 0
    assert get_hub()._watched == {}
    get_store().accept(Change(task_id="a", state="STARTED"))
    assert [frame["type"] for frame in sink.frames] == ["welcome", "subscribed"]


class BrokenSink(QueueingSink):
    """A sink that raises an error to every frame after `is_broken` is set."""

    def __init__(self, *, closes):
        super().__init__()
        self.is_broken = False
        self.closes = closes
        self.close_codes = []

    async def send(self, text):
        if self.is_broken:
            raise RuntimeError("canary")
        await super().send(text)

    async def close(self, code):
        self.close_codes.append(code)
        if not self.closes:
            raise RuntimeError("canary")


class BrokenWritingSink(BrokenSink):
    """A broken sink that writes at once."""

    def write(self, text):
        if self.is_broken:
            raise RuntimeError("canary")
        self.frames.append(json.loads(text))
        return True


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("broken", [BrokenSink, BrokenWritingSink])
async def test_a_sink_that_raises_is_closed_and_nothing_of_its_session_remains(
    broken, closes, caplog
):
    sink = broken(closes=closes)
    session = ClientSession({"headers": [], "client": ("192.0.2.1", 1), "user": None}, sink)
    assert await session.open()
    await subscribe(session)
    watched = get_hub()._watched[TOPIC]
    sink.is_broken = True
    get_store().accept(Change(task_id="a", state="STARTED"))
    await auntil(lambda: session not in get_registry() and TOPIC not in get_hub()._watched)
    assert sink.close_codes == [CloseCode.INTERNAL]
    assert len(session.subscriptions) == 0
    assert not watched.subscriptions
    assert not await session.accepts_frame()
    assert [frame["type"] for frame in sink.frames] == ["welcome", "subscribed"]
    assert "subscriber_failed" not in caplog.text
    await session.leave()
    await get_hub().close()


async def test_a_sink_that_raises_as_it_is_closed_is_closed_once_more(session, sink):
    codes = []

    async def close(code):
        codes.append(code)
        raise RuntimeError("canary")

    sink.close = close
    session.restart()
    await auntil(lambda: session not in get_registry())
    assert codes == [CloseCode.RESTART, CloseCode.INTERNAL]


async def test_a_session_without_room_gets_the_reason_and_joins_nothing(sink, monkeypatch):
    monkeypatch.setattr(process, "open", 10**9)
    session = ClientSession({"headers": [], "client": None, "user": None}, sink)
    assert not await session.open()
    assert [frame["type"] for frame in sink.frames] == ["error", "closing"]
    assert sink.closed == CloseCode.FULL
    assert len(get_registry()) == 0
    await session.leave()


@pytest.mark.parametrize(
    "name",
    ["cursor", "hub", "outbox", "registry", "requests", "session", "subscription", "subscriptions"],
)
def test_a_session_imports_no_transport(name):
    tree = ast.parse(inspect.getsource(import_module(f"realtime.web.{name}")))
    imported = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for part in (getattr(node, "module", "") or "").split(".")
    } | {
        each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names
    }
    assert not imported & {"autobahn", "channels", "daphne", "server", "twisted", "websocket"}


PING = '{"type":"ping","id":7}'


async def test_a_ping_is_answered_at_once_and_counted(session, sink):
    assert session.answer_at_once(PING)
    await auntil(lambda: sink.frames[-1] == {"type": "pong", "id": 7})
    assert not session.answer_at_once('{"type":"unsubscribe","id":8,"topic":"task:a"}')
    limits = {**settings.REALTIME, "MAX_FRAMES_PER_SECOND": 0.001, "MAX_FRAME_BURST": 3}
    with override_settings(REALTIME=limits):
        session._bucket = None
        assert [session.answer_at_once(PING) for _ in range(5)] == [True] * 3 + [False] * 2
        assert not await session.accepts_frame()  # the loop refuses it, and closes
    await auntil(lambda: sink.closed == CloseCode.RATE)


async def test_a_ping_is_not_answered_at_once_while_the_client_reads_no_answers(session, sink):
    session._outbox._size = session._outbox._max_bytes
    assert not session.answer_at_once(PING)


async def test_no_ping_is_answered_after_the_reason_of_a_close(session, sink):
    session.restart()
    assert not session.answer_at_once(PING)
    await auntil(lambda: sink.closed == CloseCode.RESTART)
    assert sink.frames[-1]["type"] == "closing"
    assert not session.answer_at_once(PING)
