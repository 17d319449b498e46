"""What waits for one connection, in which order, and what a slow reader is spared."""

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
from realtime.web.cursor import Cursor
from realtime.web.outbox import Outbox
from tests.until import until

DEADLINE = 30  # seconds
ROOM = 4


@pytest.fixture(autouse=True)
def _small_room():
    with override_settings(REALTIME={"MAX_OUTBOX_EVENTS": ROOM}):
        yield


class Reader:
    """The other end: takes one frame at a time, when it likes to."""

    def __init__(self):
        self.sent = asyncio.Queue()
        self.free = asyncio.Event()
        self.free.set()

    write = None

    async def send(self, text):
        await self._take({"type": "websocket.send", "text": text})

    async def close(self, code):
        await self._take({"type": "websocket.close", "code": code})

    async def _take(self, message):
        await self.free.wait()
        self.sent.put_nowait(message)

    async def read(self, count):
        async with asyncio.timeout(DEADLINE):
            messages = [await self.sent.get() for _ in range(count)]
        return [json.loads(m["text"]) if "text" in m else m for m in messages]


@pytest.fixture
async def reader():
    return Reader()


@pytest.fixture
async def outbox(reader):
    outbox = Outbox(reader)
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


def told(messages):
    return [
        (m["offset"], m["status"]["state"], m.get("merged", 0))
        for m in messages
        if m["type"] == "event"
    ]


async def test_frames_leave_in_the_order_they_came(outbox, reader, at):
    outbox.put(frames.pong(1))
    outbox.put_event(at["task:a"], event(1))
    outbox.put(frames.pong(2))
    messages = await reader.read(3)
    assert [m.get("id", m.get("offset")) for m in messages] == [1, 1, 2]


async def test_a_reader_that_keeps_up_gets_every_event(outbox, reader, at):
    outbox.put_reading(
        at["task:a"], Position("e", 0), frames.snapshot("task:a", Position("e", 0), [])
    )
    await reader.read(1)
    for offset in range(1, 20):
        outbox.put_event(at["task:a"], event(offset))
        assert told(await reader.read(1)) == [(offset, "PROGRESS", 0)]


async def test_a_slow_reader_gets_the_newest_progress_and_how_much_it_replaces(outbox, reader, at):
    reader.free.clear()
    outbox.put_reading(
        at["task:a"], Position("e", 0), frames.snapshot("task:a", Position("e", 0), [])
    )
    for offset in range(1, 11):
        outbox.put_event(at["task:a"], event(offset))
    outbox.put_event(at["task:a"], event(11, "SUCCESS"))
    assert len(outbox) <= ROOM + 1
    reader.free.set()
    messages = await reader.read(len(outbox))
    events = told(messages)
    assert events[-1][:2] == (11, "SUCCESS")
    assert sum(merged for _, _, merged in events) + len(events) == 11, "every offset is accounted"


async def test_the_newest_progress_is_not_merged_away_while_nothing_replaces_it(outbox, reader, at):
    reader.free.clear()
    outbox.put(frames.pong(0))
    for offset in range(1, 11):
        outbox.put_event(at["task:a"], event(offset))
    reader.free.set()
    assert told(await reader.read(len(outbox)))[-1] == (10, "PROGRESS", 7)


async def test_what_a_person_waits_for_is_never_merged_away(outbox, reader, at):
    reader.free.clear()
    outbox.put(frames.pong(0))
    states = ["STARTED", "RETRY", "STARTED", "FAILURE", "STARTED", "REVOKED", "STARTED", "LOST"]
    offset = 0
    for state in states * 3:
        outbox.put_event(at["task:a"], event(offset := offset + 1, "PROGRESS"))
        outbox.put_event(at["task:a"], event(offset := offset + 1, state))
    reader.free.set()
    events = told((await reader.read(len(outbox)))[1:])
    assert [state for _, state, _ in events if state != "PROGRESS"] == states * 3


async def test_progress_of_one_task_does_not_take_that_of_another(outbox, reader, at):
    reader.free.clear()
    place = Position("e", 0)
    outbox.put_reading(at["user:me"], place, frames.snapshot("user:me", place, []))
    for offset in range(1, 41):
        task = "ab"[offset % 2]
        outbox.put_event(at["user:me"], event(offset, task=task, topic="user:1"))
    reader.free.set()
    messages = (await reader.read(len(outbox)))[1:]
    newest = {m["status"]["task_id"]: m["offset"] for m in messages}
    assert newest == {"a": 40, "b": 39}
    assert sum(m.get("merged", 0) + 1 for m in messages) == 40


async def test_one_task_under_two_topics_is_merged_in_each_by_itself(outbox, reader, at):
    reader.free.clear()
    outbox.put(frames.pong(0))
    for offset in range(1, 21):
        outbox.put_event(at["task:a"], event(offset))
        outbox.put_event(at["user:me"], event(offset + 100, topic="user:1"))
    reader.free.set()
    messages = (await reader.read(len(outbox)))[1:]
    newest = {m["topic"]: m["offset"] for m in messages}
    assert newest == {"task:a": 20, "user:me": 120}


async def test_the_count_of_the_merged_begins_anew_at_a_snapshot(outbox, reader, at):
    place = Position("e", 50)
    outbox.put_event(at["task:a"], event(1))
    outbox.put_reading(at["task:a"], place, frames.snapshot("task:a", place, []))
    outbox.put_event(at["task:a"], event(51))
    assert told(await reader.read(3)) == [(1, "PROGRESS", 0), (51, "PROGRESS", 0)]


async def test_an_event_has_the_name_by_which_the_client_subscribed(outbox, reader, at):
    outbox.put_event(at["user:me"], event(1, topic="user:17"))
    (message,) = await reader.read(1)
    assert message["topic"] == "user:me"


async def test_closing_is_said_after_all_that_waits_and_then_done(outbox, reader, at):
    reader.free.clear()
    outbox.put(frames.pong(1))
    outbox.put_event(at["task:a"], event(1, "SUCCESS"))
    outbox.close(CloseCode.IDLE, "nothing was subscribed")
    reader.free.set()
    *messages, closing, closed = await reader.read(4)
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


async def test_who_takes_nothing_for_too_long_is_told_and_closed(reader):
    with override_settings(REALTIME={"SLOW_TIMEOUT": 0.1}):
        outbox = Outbox(reader)
    reader.free.clear()
    outbox.put(frames.pong(1))
    outbox.put(frames.pong(2))
    await asyncio.to_thread(until, lambda: outbox.closed, DEADLINE)
    reader.free.set()
    assert ends(await reader.read(2)) == SLOW
    outbox.put(frames.pong(3))
    assert len(outbox) == 0, "nothing is kept for somebody who is gone"


async def test_who_takes_the_last_word_neither_is_closed_all_the_same():
    closed = asyncio.Event()

    class Dead(Reader):
        async def send(self, text):
            await asyncio.Event().wait()

        async def close(self, code):
            closed.set()

    with override_settings(REALTIME={"SLOW_TIMEOUT": 0.1}):
        outbox = Outbox(Dead())
    outbox.put(frames.pong(1))
    async with asyncio.timeout(DEADLINE):
        await closed.wait()


async def test_a_reader_that_takes_a_little_now_and_then_is_not_slow(reader, monkeypatch):
    loop, ahead = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + ahead)
    with override_settings(REALTIME={"SLOW_TIMEOUT": 3000}):
        outbox = Outbox(reader)
    for number in range(8):
        reader.free.clear()
        outbox.put(frames.pong(number))
        ahead += 1000.0  # no machine is so slow that it decides
        await asyncio.sleep(0.01)  # what is due by now happens
        reader.free.set()
        assert (await reader.read(1))[0]["id"] == number
    assert not outbox.closed
    await outbox.stop()


async def test_endings_that_fill_the_outbox_are_given_up_all_together(reader, at):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 1000}):
        outbox = Outbox(reader)
    reader.free.clear()
    offset = 0
    while not outbox.closed:
        assert offset < 100
        outbox.put_event(at["user:me"], event(offset := offset + 1, "SUCCESS", task=f"t{offset}"))
    await asyncio.sleep(0)
    reader.free.set()
    assert ends(await reader.read(2)) == SLOW


async def test_progress_that_fills_the_outbox_is_merged_before_it_is_given_up(reader, at):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 1000, "MAX_OUTBOX_EVENTS": 1_000_000}):
        outbox = Outbox(reader)
    reader.free.clear()
    for offset in range(1, 501):
        outbox.put_event(at["task:a"], event(offset))
    assert not outbox.closed
    reader.free.set()
    assert told(await reader.read(len(outbox)))[-1][0] == 500
    await outbox.stop()


async def test_who_takes_no_answers_waits_with_the_next_question(reader):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 100}):
        outbox = Outbox(reader)
    reader.free.clear()
    outbox.put(json.dumps("x" * 101))
    await asyncio.sleep(0)  # it is on its way
    await outbox.wait_for_room()
    outbox.put(json.dumps("x" * 101))
    asking = asyncio.create_task(outbox.wait_for_room())
    done, _ = await asyncio.wait([asking], timeout=0)
    assert not done
    reader.free.set()
    async with asyncio.timeout(DEADLINE):
        await asking
    await outbox.stop()


@given(st.lists(st.sampled_from(["PROGRESS", "PROGRESS", "STARTED", "RETRY", "SUCCESS"])))
def test_whatever_comes_every_offset_is_sent_or_counted_and_they_rise(states):
    async def read_all():
        reader = Reader()
        outbox = Outbox(reader)
        at = Cursors()
        place = Position("e", 0)
        outbox.put_reading(at["task:a"], place, frames.snapshot("task:a", place, []))
        for offset, state in enumerate(states, 1):
            outbox.put_event(at["task:a"], event(offset, state))
        outbox.close(CloseCode.RESTART, "bye")
        sent = []
        while {"type": "websocket.close", "code": CloseCode.RESTART} not in sent:
            sent += await reader.read(1)
        return sent[1:-2]

    last = 0
    for message in asyncio.run(read_all()):
        assert message["offset"] == last + message.get("merged", 0) + 1
        last = message["offset"]
    assert last == len(states)


async def test_what_waits_of_a_topic_that_may_not_be_seen_any_more_is_not_sent(outbox, reader, at):
    reader.free.clear()
    outbox.put(frames.pong(1))
    await asyncio.sleep(0)  # the first frame is on its way
    for offset in (1, 2):
        outbox.put_event(at["task:a"], event(offset))
        outbox.put_event(at["task:b"], event(offset, task="b", topic="task:b"))
    outbox.drop("task:a")
    outbox.put_event(at["task:b"], event(3, "SUCCESS", task="b", topic="task:b"))
    outbox.put(frames.pong(2))
    reader.free.set()
    sent = await reader.read(5)
    assert [m.get("topic") for m in sent] == [None, "task:b", "task:b", "task:b", None]

    reader.free.clear()
    outbox.put_event(at["task:b"], event(4, task="b", topic="task:b"))
    outbox.drop()
    outbox.close(CloseCode.SIGNED_OUT, "signed out")
    reader.free.set()
    closing, close = await reader.read(2)
    assert (closing["type"], closing["code"]) == ("closing", 4501)
    assert close == {"type": "websocket.close", "code": 4501}


class Socket(Reader):
    """A reader that can also be written to at once, while nothing waits in its buffer."""

    def __init__(self):
        super().__init__()
        self.clear = True

    def write(self, text):
        if self.clear:
            self.sent.put_nowait({"type": "websocket.send", "text": text})
        return self.clear


@pytest.fixture
async def socket():
    return Socket()


@pytest.fixture
async def direct(socket):
    outbox = Outbox(socket)
    yield outbox
    await outbox.stop()


async def test_who_keeps_up_is_written_to_at_once(direct, socket, at):
    direct.put(frames.pong(1))
    direct.put_reading(
        at["task:a"], Position("e", 0), frames.snapshot("task:a", Position("e", 0), [])
    )
    direct.put_event(at["task:a"], event(1))
    assert socket.sent.qsize() == 3
    assert [m["type"] for m in await socket.read(3)] == ["pong", "snapshot", "event"]


async def test_nothing_overtakes_what_waits_or_is_on_its_way(direct, socket, at):
    socket.clear = False
    socket.free.clear()
    direct.put_event(at["task:a"], event(1, "STARTED"))
    socket.clear = True
    direct.put_event(at["task:a"], event(2, "RETRY"))  # the first one waits
    socket.free.set()
    assert [offset for offset, *_ in told(await socket.read(2))] == [1, 2]
    await asyncio.sleep(0)  # nothing is on its way any more

    socket.clear = False
    socket.free.clear()
    direct.put_event(at["task:a"], event(3, "STARTED"))
    await asyncio.sleep(0)  # it is on its way, and nothing waits
    socket.clear = True
    direct.put_event(at["task:a"], event(4, "SUCCESS"))
    socket.free.set()
    assert [offset for offset, *_ in told(await socket.read(2))] == [3, 4]
    await asyncio.sleep(0)
    direct.put_event(at["task:a"], event(5))
    assert socket.sent.qsize() == 1


async def test_the_merged_are_counted_from_what_was_written_at_once(direct, socket, at):
    direct.put_event(at["task:a"], event(1))
    socket.clear = False
    socket.free.clear()
    for number in range(ROOM + 1):
        direct.put(frames.pong(number))
    await asyncio.sleep(0)  # the first one is on its way, the others crowd
    for offset in range(2, 12):
        direct.put_event(at["task:a"], event(offset))
    socket.free.set()
    assert told(await socket.read(ROOM + 3)) == [(1, "PROGRESS", 0), (11, "PROGRESS", 9)]


async def test_nothing_is_written_to_who_was_given_up(socket, at):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 100}):
        outbox = Outbox(socket)
    socket.clear = False
    socket.free.clear()
    while not outbox.closed:
        outbox.put(json.dumps("x" * 101))
    socket.clear = True
    outbox.put_event(at["task:a"], event(1, "SUCCESS"))
    assert socket.sent.qsize() == 0
    await outbox.stop()


async def test_what_sends_is_there_while_something_waits_and_no_longer(direct, socket):
    before = asyncio.all_tasks()
    direct.put(frames.pong(1))
    assert asyncio.all_tasks() == before
    socket.clear = False
    for number in (2, 3):
        direct.put(frames.pong(number))
    (sending,) = asyncio.all_tasks() - before
    assert [m["id"] for m in await socket.read(3)] == [1, 2, 3]
    async with asyncio.timeout(DEADLINE):
        await sending
    direct.put(frames.pong(4))
    assert [m["id"] for m in await socket.read(1)] == [4]


async def test_a_reader_that_is_given_up_as_it_takes_the_last_of_it_is_told_all_the_same(reader):
    with override_settings(REALTIME={"MAX_OUTBOX_BYTES": 100}):
        outbox = Outbox(reader)
    reader.free.clear()
    outbox.put(json.dumps({"type": "x" * 101}))
    await asyncio.sleep(0)  # it is on its way
    reader.free.set()
    outbox.put(json.dumps({"type": "x" * 101}))
    outbox.put(frames.pong(1))  # there is no room for it
    assert outbox.closed
    *_, closing, close = await reader.read(3)
    assert ends([closing, close]) == SLOW
    await outbox.stop()
