"""What waits for the application of one connection, and what is answered without it."""

import asyncio

import pytest

from realtime.server.flow import Direct, Inbox


class Transport:
    """Notes whether it is read."""

    is_read = True

    def pauseProducing(self):  # noqa: N802 - Twisted's name
        self.is_read = False

    def resumeProducing(self):  # noqa: N802 - Twisted's name
        self.is_read = True


class AnsweringDirect(Direct):
    """Notes what it answers."""

    __slots__ = ("answered",)


@pytest.fixture
def direct():
    direct = AnsweringDirect()
    direct.answered = []

    def answer(text):
        if text == "ping":
            direct.answered.append(text)
        return text == "ping"

    direct.answer = answer
    return direct


@pytest.fixture
def inbox(direct):
    return Inbox(Transport(), direct)


def text(content):
    return {"type": "websocket.receive", "text": content}


async def waiting(inbox):
    """Return a task that waits for the next message."""
    task = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    return task


async def test_a_ping_is_answered_without_waking_the_application(inbox, direct):
    application = await waiting(inbox)
    for _ in range(3):
        inbox.put_nowait(text("ping"))
    await asyncio.sleep(0)
    assert direct.answered == ["ping"] * 3
    assert not application.done()
    inbox.put_nowait(text("more"))
    assert await application == text("more")


async def test_a_ping_while_the_application_is_busy_is_a_message_like_others(inbox, direct):
    inbox.put_nowait(text("ping"))
    assert direct.answered == []
    assert await inbox.get() == text("ping")


async def test_a_ping_overtakes_no_message(inbox, direct):
    application = await waiting(inbox)
    inbox.put_nowait(text("first"))
    inbox.put_nowait(text("ping"))
    assert direct.answered == []
    assert [await application, await inbox.get()] == [text("first"), text("ping")]


async def test_only_texts_are_answered(inbox, direct):
    direct.answer = lambda _text: True
    for message in (
        {"type": "websocket.receive", "bytes": b"ping"},
        {"type": "websocket.disconnect", "code": 1000},
    ):
        application = await waiting(inbox)
        inbox.put_nowait(message)
        assert await application == message


async def test_without_an_answer_every_text_is_a_message(inbox, direct):
    direct.answer = None
    application = await waiting(inbox)
    inbox.put_nowait(text("ping"))
    assert await application == text("ping")


async def test_texts_that_nobody_receives_stop_the_reading_until_they_are_received(inbox):
    lot = text("x" * 40_000)
    inbox.put_nowait(lot)
    assert inbox._transport.is_read
    inbox.put_nowait(lot)
    assert not inbox._transport.is_read
    await inbox.get()
    await inbox.get()
    assert inbox._transport.is_read
