"""Requests made at once share a batch, and each gets its own reply."""

import asyncio

import pytest

from realtime.store.batching import MAX_COST, MAX_REQUESTS, Batcher


class Server:
    """Replies with twice each number, once `may_reply` is set."""

    def __init__(self):
        self.batches = []
        self.may_reply = asyncio.Event()

    async def send(self, numbers):
        self.batches.append(list(numbers))
        await self.may_reply.wait()
        return [ValueError(f"{number}") if number < 0 else 2 * number for number in numbers]


async def begun(batcher, *numbers):
    tasks = [asyncio.create_task(batcher.request(number)) for number in numbers]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_requests_made_while_a_batch_is_in_flight_share_the_next():
    server = Server()
    batcher = Batcher(server.send)
    tasks = [*await begun(batcher, 1), *await begun(batcher, 2, 3), *await begun(batcher, 4)]
    assert server.batches == [[1]]
    server.may_reply.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert server.batches == [[1], [2, 3, 4]]
    assert await batcher.request(5) == 10


async def test_a_batch_has_at_most_max_requests():
    server = Server()
    server.may_reply.set()
    batcher = Batcher(server.send)
    numbers = range(2 * MAX_REQUESTS + 1)
    assert await asyncio.gather(*map(batcher.request, numbers)) == [2 * each for each in numbers]
    assert [len(each) for each in server.batches] == [MAX_REQUESTS, MAX_REQUESTS, 1]


async def test_a_batch_costs_at_most_max_cost_unless_one_request_costs_more():
    server = Server()
    server.may_reply.set()
    batcher = Batcher(server.send)
    costs = [MAX_COST // 2, MAX_COST // 2, 1, MAX_COST, 2 * MAX_COST, 1, 1]
    requests = [batcher.request(number, cost=cost) for number, cost in enumerate(costs)]
    assert await asyncio.gather(*requests) == [0, 2, 4, 6, 8, 10, 12]
    assert server.batches == [[0, 1], [2], [3], [4], [5, 6]]


async def test_an_exception_is_the_reply_to_its_own_request_only():
    server = Server()
    server.may_reply.set()
    batcher = Batcher(server.send)
    good, bad = await asyncio.gather(
        batcher.request(1), batcher.request(-1), return_exceptions=True
    )
    assert good == 2
    assert isinstance(bad, ValueError)


async def test_if_sending_fails_every_request_of_the_batch_raises_and_the_next_is_sent():
    fails = True

    async def send(numbers):
        if fails:
            raise OSError("away")
        return numbers

    batcher = Batcher(send)
    replies = await asyncio.gather(batcher.request(1), batcher.request(2), return_exceptions=True)
    assert [str(each) for each in replies] == ["away", "away"]
    fails = False
    assert await batcher.request(3) == 3


async def test_a_cancelled_request_is_not_sent_and_delays_no_other():
    server = Server()
    batcher = Batcher(server.send)
    first, second, third = [*await begun(batcher, 1), *await begun(batcher, 2, 3)]
    first.cancel()
    second.cancel()
    await asyncio.sleep(0)
    server.may_reply.set()
    assert await third == 6
    assert server.batches == [[1], [3]]
    for cancelled in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await cancelled
