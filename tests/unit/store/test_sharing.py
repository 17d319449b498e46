"""Equal calls that were not sent yet are one."""

import asyncio

import pytest

from realtime.store.sharing import Sharing


class Server:
    """Gets requests when it may, and replies to each with its number."""

    def __init__(self):
        self.calls = 0
        self.may_send = asyncio.Event()
        self.may_reply = asyncio.Event()
        self.cancelled = 0

    async def work(self, on_send):
        self.calls += 1
        number = self.calls
        try:
            await self.may_send.wait()
            on_send()
            await self.may_reply.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


async def begun(sharing, server, *keys):
    tasks = [asyncio.create_task(sharing.call(key, server.work)) for key in keys]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_equal_calls_are_one_until_it_is_sent():
    server, sharing = Server(), Sharing()
    tasks = await begun(sharing, server, "a", "a", "b")
    assert server.calls == 2
    server.may_send.set()
    tasks += await begun(sharing, server, "a")
    assert server.calls == 2 + 1  # its result must not be older than its request
    server.may_reply.set()
    assert await asyncio.gather(*tasks) == [1, 1, 2, 3]


async def test_each_caller_gets_the_error():
    async def fails(_on_send):
        await asyncio.sleep(0)
        raise OSError("away")

    sharing = Sharing()
    calls = (sharing.call("a", fails), sharing.call("a", fails))
    replies = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(each) for each in replies] == ["away", "away"]


async def test_a_caller_that_is_cancelled_leaves_the_call_to_the_others():
    server, sharing = Server(), Sharing()
    first, second = await begun(sharing, server, "a", "a")
    first.cancel()
    server.may_send.set()
    server.may_reply.set()
    assert await second == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_call_without_callers_is_cancelled_and_nobody_joins_it():
    server, sharing = Server(), Sharing()
    first, second = await begun(sharing, server, "a", "a")
    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    [third] = await begun(sharing, server, "a")
    assert server.cancelled == 1
    server.may_send.set()
    server.may_reply.set()
    assert await third == 2
