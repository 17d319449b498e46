"""Which frames wait for a client, in which order, and what is merged for a slow one."""

import asyncio
import json

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from realtime.core import frames
from realtime.core.codes import CloseCode
from realtime.core.event import Event
from realtime.core.position import Position
from realtime.web import outbox as outbox_module
from realtime.web.cursor import Cursor
from realtime.web.outbox import Outbox
from tests.until import until

DEADLINE = 30  # seconds
ROOM = 4


@pytest.fixture(autouse=True)
def _small_room(monkeypatch):
    monkeypatch.setattr(outbox_module, "_CLOSING_TIMEOUT", DEADLINE)
    with override_settings(REALTIME={"MAX_OUTBOX_EVENTS": ROOM}):
        yield


class QueueingSink:
    """A sink that accepts one frame at a time, while ``accepts`` is set."""

    def __init__(self):
        self.sent = asyncio.Queue()
        self.accepts = asyncio.Event()
        self.accepts.set()

    write = None

    async def send(self, text):
        await self._accept({"type": "websocket.send", "text": text})

    async def close(self, code):
        await self._accept({"type": "websocket.close", "code": code})

    async def _accept(self, message):
        await self.accepts.wait()
        self.sent.put_nowait(message)

    async def read(self, count):
        async with asyncio.timeout(DEADLINE):
            messages = [await self.sent.get() for _ in range(count)]
        return [json.loads(m["text"]) if "text" in m else m for m in messages]


async def nothing():
    """Release nothing."""


def make_outbox(sink, on_failure=nothing):
    return Outbox(sink, on_failure)


@pytest.fixture
async def sink():
    return QueueingSink()


@pytest.fixture
async def outbox(sink):
    outbox = make_outbox(sink)
    yield outbox
    await outbox.stop()


class Cursors(dict):
    """A cursor for each name by which a client subscribed."""

    def __missing__(self, topic):
        return self.setdefault(topic, Cursor(topic))


@pytest.fixture
def at():
    return Cursors()


def event(offset, state="PROGRESS", task="a", topic="task:a"):
    text = json.dumps({"task_id": task, "state": state})
    return Event(topic, Position("e", offset), task, state, text)


def events_in(messages):
    return [
        (m["offset"], m["status"]["state"], m.get("merged", 0))
        for m in messages
        if m["type"] == "event"
    ]


async def test_frames_are_sent_in_the_order_they_were_put(outbox, sink, at):
    outbox.put(frames.pong(1))
    outbox.put_event(at["task:a"], event(1))
    outbox.put(frames.pong(2))
    messages = await sink.read(3)
    assert [m.get("id", m.get("offset")) for m in messages] == [1, 1, 2]


async def test_a_client_that_keeps_up_gets_every_event(outbox, sink, at):
    outbox.put_reading(
        at["task:a"], Position("e", 0), frames.snapshot("task:a", Position("e", 0), [])
    )
    await sink.read(1)
    for offset in range(1, 20):
        outbox.put_event(at["task:a"], event(offset))
        assert events_in(await sink.read(1)) == [(offset, "PROGRESS", 0)]


async def test_a_slow_client_gets_the_newest_progress_and_the_number_of_replaced_events(
    outbox, sink, at
):
    sink.accepts.clear()
    outbox.put_reading(
        at["task:a"], Position("e", 0), frames.snapshot("task:a", Position("e", 0), [])
    )
    for offset in range(1, 11):
        outbox.put_event(at["task:a"], event(offset))
    outbox.put_event(at["task:a"], event(11, "SUCCESS"))
    assert len(outbox) <= ROOM + 1
    sink.accepts.set()
    messages = await sink.read(len(outbox))
    events = events_in(messages)
    assert events[-1][:2] == (11, "SUCCESS")
    assert sum(merged for _, _, merged in events) + len(events) == 11, (
        "every offset is sent or counted"
    )


async def test_the_newest_progress_is_not_merged_away_while_nothing_replaces_it(outbox, sink, at):
    sink.accepts.clear()
    outbox.put(frames.pong(0))
    for offset in range(1, 11):
        outbox.put_event(at["task:a"], event(offset))
    sink.accepts.set()
    assert events_in(await sink.read(len(outbox)))[-1] == (10, "PROGRESS", 7)


async def test_endings_starts_and_retries_are_never_merged(outbox, sink, at):
    sink.accepts.clear()
    outbox.put(frames.pong(0))
    states = ["STARTED", "RETRY", "STARTED", "FAILURE", "STARTED", "REVOKED", "STARTED", "LOST"]
    offset = 0
    for state in states * 3:
        outbox.put_event(at["task:a"], event(offset := offset + 1, "PROGRESS"))
        outbox.put_event(at["task:a"], event(offset := offset + 1, state))
    sink.accepts.set()
    events = events_in((await sink.read(len(outbox)))[1:])
    assert [state for _, state, _ in events if state != "PROGRESS"] == states * 3


async def test_progress_of_one_task_replaces_none_of_another(outbox, sink, at):
    sink.accepts.clear()
    place = Position("e", 0)
    outbox.put_reading(at["user:me"], place, frames.snapshot("user:me", place, []))
    for offset in range(1, 41):
        task = "ab"[offset % 2]
        outbox.put_event(at["user:me"], event(offset, task=task, topic="user:1"))
    sink.accepts.set()
    messages = (await sink.read(len(outbox)))[1:]
    newest = {m["status"]["task_id"]: m["offset"] for m in messages}
    assert newest == {"a": 40, "b": 39}
    assert sum(m.get("merged", 0) + 1 for m in messages) == 40


async def test_one_task_under_two_topics_is_merged_in_each_separately(outbox, sink, at):
    sink.accepts.clear()
    outbox.put(frames.pong(0))
    for offset in range(1, 21):
        outbox.put_event(at["task:a"], event(offset))
        outbox.put_event(at["user:me"], event(offset + 100, topic="user:1"))
    sink.accepts.set()
    messages = (await sink.read(len(outbox)))[1:]
    newest = {m["topic"]: m["offset"] for m in messages}
    assert newest == {"task:a": 20, "user:me": 120}


async def test_a_snapshot_resets_the_count_of_merged_events(outbox, sink, at):
    place = Position("e", 50)
    outbox.put_event(at["task:a"], event(1))
    outbox.put_reading(at["task:a"], place, frames.snapshot("task:a", place, []))
    outbox.put_event(at["task:a"], event(51))
    assert events_in(await sink.read(3)) == [(1, "PROGRESS", 0), (51, "PROGRESS", 0)]


async def test_an_event_has_the_name_by_which_the_client_subscribed(outbox, sink, at):
    outbox.put_event(at["user:me"], event(1, topic="user:17"))
    (message,) = await sink.read(1)
    assert message["topic"] == "user:me"


async def test_closing_is_sent_after_all_that_waits_and_then_the_sink_closes(outbox, sink, at):
    sink.accepts.clear()
    outbox.put(frames.pong(1))
    outbox.put_event(at["task:a"], event(1, "SUCCESS"))
    outbox.close(CloseCode.IDLE, "nothing was subscribed")
    sink.accepts.set()
    *messages, closing, closed = await sink.read(4)
    assert [m["type"] for m in messages] == ["pong", "event"]
    assert closing == {
        "type": "closing",
        "code": 4000,
        "message": "nothing was subscribed",
        "reconnect": True,
    }
    assert closed == {"type": "websocket.close", "code": 4000}


SLOW = [("closing", 4001), ("websocket.close", 4001)]


def ends(messages):
    return [(m["type"], m["code"]) for m in messages]


async def test_a_client_that_accepts_nothing_for_too_long_gets_the_reason_and_is_closed(sink):
    with override_settings(REALTIME={"SLOW_TIMEOUT": 0.1}):
        outbox = make_outbox(sink)
    sink.accepts.clear()
    outbox.put(frames.pong(1))
    outbox.put(frames.pong(2))
    await asyncio.to_thread(until, lambda: outbox.closed, DEADLINE)
    sink.accepts.set()
    assert ends(await sink.read(2)) == SLOW
    outbox.put(frames.pong(3))
    assert len(outbox) == 0, "nothing is kept for a client that was dropped"


async def test_a_client_that_does_not_accept_the_reason_is_closed_all_the_same(monkeypatch):
    monkeypatch.setattr(outbox_module, "_CLOSING_TIMEOUT", 0.1)
    closed = asyncio.Event()

    class Dead(QueueingSink):
        async def send(self, text):
            await asyncio.Event().wait()

        async def close(self, code):
            closed.set()

    with override_settings(REALTIME={"SLOW_TIMEOUT": 0.1}):
        outbox = make_outbox(Dead())
    outbox.put(frames.pong(1))
    async with asyncio.timeout(DEADLINE):
        await closed.wait()


async def test_a_client_that_accepts_a_frame_now_and_then_is_not_slow(sink, monkeypatch):
    loop, ahead = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + ahead)
    with override_settings(REALTIME={"SLOW_TIMEOUT": 3000}):
        outbox = make_outbox(sink)
    for number in range(8):
        sink.accepts.clear()
        outbox.put(frames.pong(number))
        ahead += 1000.0  # more than any machine delays
        await asyncio.sleep(0.01)  # the timers that are due run
        sink.accepts.set()
        assert (await sink.read(1))[0]["id"] == number
    assert not outbox.closed
    await outbox.stop()


async def test_endings_that_fill_the_outbox_close_the_client(sink, at):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 1000}):
        outbox = make_outbox(sink)
    sink.accepts.clear()
    offset = 0
    while not outbox.closed:
        assert offset < 100
        outbox.put_event(at["user:me"], event(offset := offset + 1, "SUCCESS", task=f"t{offset}"))
    await asyncio.sleep(0)
    sink.accepts.set()
    assert ends(await sink.read(2)) == SLOW


async def test_progress_that_fills_the_outbox_is_merged_and_closes_no_connection(sink, at):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 1000, "MAX_OUTBOX_EVENTS": 1_000_000}):
        outbox = make_outbox(sink)
    sink.accepts.clear()
    for offset in range(1, 501):
        outbox.put_event(at["task:a"], event(offset))
    assert not outbox.closed
    sink.accepts.set()
    assert events_in(await sink.read(len(outbox)))[-1][0] == 500
    await outbox.stop()


async def test_a_client_that_accepts_no_answers_waits_with_the_next_request(sink):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 100}):
        outbox = make_outbox(sink)
    sink.accepts.clear()
    outbox.put(json.dumps("x" * 101))
    await asyncio.sleep(0)  # it is being sent
    await outbox.wait_for_room()
    outbox.put(json.dumps("x" * 101))
    waiting = asyncio.create_task(outbox.wait_for_room())
    done, _ = await asyncio.wait([waiting], timeout=0)
    assert not done
    sink.accepts.set()
    async with asyncio.timeout(DEADLINE):
        await waiting
    await outbox.stop()


@given(st.lists(st.sampled_from(["PROGRESS", "PROGRESS", "STARTED", "RETRY", "SUCCESS"])))
def test_every_offset_is_sent_or_counted_and_offsets_rise(states):
    async def read_all():
        sink = QueueingSink()
        outbox = make_outbox(sink)
        at = Cursors()
        place = Position("e", 0)
        outbox.put_reading(at["task:a"], place, frames.snapshot("task:a", place, []))
        for offset, state in enumerate(states, 1):
            outbox.put_event(at["task:a"], event(offset, state))
        outbox.close(CloseCode.RESTART, "bye")
        sent = []
        while {"type": "websocket.close", "code": CloseCode.RESTART} not in sent:
            sent += await sink.read(1)
        return sent[1:-2]

    last = 0
    for message in asyncio.run(read_all()):
        assert message["offset"] == last + message.get("merged", 0) + 1
        last = message["offset"]
    assert last == len(states)


async def test_dropped_frames_of_a_topic_are_not_sent(outbox, sink, at):
    sink.accepts.clear()
    outbox.put(frames.pong(1))
    await asyncio.sleep(0)  # the first frame is being sent
    for offset in (1, 2):
        outbox.put_event(at["task:a"], event(offset))
        outbox.put_event(at["task:b"], event(offset, task="b", topic="task:b"))
    outbox.drop("task:a")
    outbox.put_event(at["task:b"], event(3, "SUCCESS", task="b", topic="task:b"))
    outbox.put(frames.pong(2))
    sink.accepts.set()
    sent = await sink.read(5)
    assert [m.get("topic") for m in sent] == [None, "task:b", "task:b", "task:b", None]

    sink.accepts.clear()
    outbox.put_event(at["task:b"], event(4, task="b", topic="task:b"))
    outbox.drop()
    outbox.close(CloseCode.SIGNED_OUT, "signed out")
    sink.accepts.set()
    closing, close = await sink.read(2)
    assert (closing["type"], closing["code"]) == ("closing", 4501)
    assert close == {"type": "websocket.close", "code": 4501}


class WritingSink(QueueingSink):
    """A sink that can also be written to at once, while ``has_room``."""

    def __init__(self):
        super().__init__()
        self.has_room = True

    def write(self, text):
        if self.has_room:
            self.sent.put_nowait({"type": "websocket.send", "text": text})
        return self.has_room


@pytest.fixture
async def writing_sink():
    return WritingSink()


@pytest.fixture
async def direct(writing_sink):
    outbox = make_outbox(writing_sink)
    yield outbox
    await outbox.stop()


async def test_frames_are_written_at_once_while_nothing_waits(direct, writing_sink, at):
    direct.put(frames.pong(1))
    direct.put_reading(
        at["task:a"], Position("e", 0), frames.snapshot("task:a", Position("e", 0), [])
    )
    direct.put_event(at["task:a"], event(1))
    assert writing_sink.sent.qsize() == 3
    assert [m["type"] for m in await writing_sink.read(3)] == ["pong", "snapshot", "event"]


async def test_nothing_overtakes_a_frame_that_waits_or_is_being_sent(direct, writing_sink, at):
    writing_sink.has_room = False
    writing_sink.accepts.clear()
    direct.put_event(at["task:a"], event(1, "STARTED"))
    writing_sink.has_room = True
    direct.put_event(at["task:a"], event(2, "RETRY"))  # the first one waits
    writing_sink.accepts.set()
    assert [offset for offset, *_ in events_in(await writing_sink.read(2))] == [1, 2]
    await asyncio.sleep(0)  # nothing is being sent any more

    writing_sink.has_room = False
    writing_sink.accepts.clear()
    direct.put_event(at["task:a"], event(3, "STARTED"))
    await asyncio.sleep(0)  # it is being sent, and nothing waits
    writing_sink.has_room = True
    direct.put_event(at["task:a"], event(4, "SUCCESS"))
    writing_sink.accepts.set()
    assert [offset for offset, *_ in events_in(await writing_sink.read(2))] == [3, 4]
    await asyncio.sleep(0)
    direct.put_event(at["task:a"], event(5))
    assert writing_sink.sent.qsize() == 1


async def test_merged_events_are_counted_from_the_last_written_event(direct, writing_sink, at):
    direct.put_event(at["task:a"], event(1))
    writing_sink.has_room = False
    writing_sink.accepts.clear()
    for number in range(ROOM + 1):
        direct.put(frames.pong(number))
    await asyncio.sleep(0)  # the first one is being sent, and the others fill the outbox
    for offset in range(2, 12):
        direct.put_event(at["task:a"], event(offset))
    writing_sink.accepts.set()
    assert events_in(await writing_sink.read(ROOM + 3)) == [(1, "PROGRESS", 0), (11, "PROGRESS", 9)]


async def test_nothing_is_written_after_a_client_was_dropped(writing_sink, at):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 100}):
        outbox = make_outbox(writing_sink)
    writing_sink.has_room = False
    writing_sink.accepts.clear()
    while not outbox.closed:
        outbox.put(json.dumps("x" * 101))
    writing_sink.has_room = True
    outbox.put_event(at["task:a"], event(1, "SUCCESS"))
    assert writing_sink.sent.qsize() == 0
    await outbox.stop()


async def test_the_sending_task_exists_only_while_something_waits(direct, writing_sink):
    before = asyncio.all_tasks()
    direct.put(frames.pong(1))
    assert asyncio.all_tasks() == before
    writing_sink.has_room = False
    for number in (2, 3):
        direct.put(frames.pong(number))
    (sending,) = asyncio.all_tasks() - before
    assert [m["id"] for m in await writing_sink.read(3)] == [1, 2, 3]
    async with asyncio.timeout(DEADLINE):
        await sending
    direct.put(frames.pong(4))
    assert [m["id"] for m in await writing_sink.read(1)] == [4]


async def test_a_client_dropped_as_it_accepts_the_last_frame_gets_the_reason_all_the_same(sink):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 100}):
        outbox = make_outbox(sink)
    sink.accepts.clear()
    outbox.put(json.dumps({"type": "x" * 101}))
    await asyncio.sleep(0)  # it is being sent
    sink.accepts.set()
    outbox.put(json.dumps({"type": "x" * 101}))
    outbox.put(frames.pong(1))  # there is no room for it
    assert outbox.closed
    *_, closing, close = await sink.read(3)
    assert ends([closing, close]) == SLOW
    await outbox.stop()
