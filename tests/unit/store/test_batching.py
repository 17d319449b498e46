"""Requests made at once share a batch, and each gets its own reply."""

import asyncio

import pytest

from realtime.store.batching import MAX_COST, MAX_REQUESTS, SMALL, Batcher


class Server:
    """Replies with twice each number, once `may_reply` is set."""

    def __init__(self):
        self.batches = []
        self.may_reply = asyncio.Event()

    async def send(self, numbers):
        self.batches.append(list(numbers))
        await self.may_reply.wait()
        return [ValueError(f"{number}") if number < 0 else 2 * number for number in numbers]


async def begun(batcher, *numbers, cost=1):
    tasks = [asyncio.create_task(batcher.request(number, cost=cost)) for number in numbers]
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
    large = SMALL + 1
    costs = [MAX_COST // 2, MAX_COST // 2, large, MAX_COST, 2 * MAX_COST, large, large]
    requests = [batcher.request(number, cost=cost) for number, cost in enumerate(costs)]
    assert await asyncio.gather(*requests) == [0, 2, 4, 6, 8, 10, 12]
    assert server.batches == [[0, 1], [2], [3], [4], [5, 6]]


async def test_a_small_request_waits_for_one_large_one_at_most():
    server = Server()
    batcher = Batcher(server.send)
    large = await begun(batcher, *range(1, 6), cost=MAX_COST)
    small = await begun(batcher, 6, cost=SMALL)
    server.may_reply.set()
    await asyncio.gather(*large, *small)
    assert server.batches == [[1], [6, 2], [3], [4], [5]]


async def test_a_large_request_waits_for_a_bounded_number_of_small_ones():
    server = Server()
    batcher = Batcher(server.send)
    tasks = await begun(batcher, 0)
    small = range(1, 3 * MAX_REQUESTS)
    tasks += await begun(batcher, *small)
    tasks += await begun(batcher, -1, cost=MAX_COST)
    server.may_reply.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert server.batches[1] == [*range(1, MAX_COST // 2 + 1), -1]
    assert [number for batch in server.batches for number in batch if number > 0] == [*small]


async def test_another_batch_is_sent_before_the_reply_only_if_it_is_full():
    server = Server()
    batcher = Batcher(server.send, in_flight=2)
    tasks = [*await begun(batcher, 0), *await begun(batcher, *range(1, MAX_REQUESTS))]
    assert server.batches == [[0]]
    tasks += await begun(batcher, MAX_REQUESTS)
    assert server.batches == [[0], [*range(1, MAX_REQUESTS + 1)]]
    tasks += await begun(batcher, *range(1000, 1000 + MAX_REQUESTS))
    assert len(server.batches) == 2
    server.may_reply.set()
    await asyncio.gather(*tasks)
    assert len(server.batches) == 3


async def test_a_large_request_is_sent_before_the_reply_to_another_one():
    server = Server()
    batcher = Batcher(server.send, in_flight=2)
    tasks = await begun(batcher, 1, 2, 3, cost=MAX_COST)
    assert server.batches == [[1], [2]]
    server.may_reply.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]


async def test_a_request_made_as_the_last_reply_arrives_is_sent():
    server = Server()
    server.may_reply.set()
    batcher = Batcher(server.send, in_flight=2)
    replies = []

    async def one_after_the_other():
        replies.extend([await batcher.request(number) for number in range(20)])

    async with asyncio.timeout(30):
        await asyncio.gather(*(one_after_the_other() for _ in range(5)))
    assert sorted(replies) == sorted(2 * number for number in [*range(20)] * 5)


async def test_the_caller_is_called_just_before_its_request_is_sent():
    server = Server()
    batcher = Batcher(server.send)
    tasks, sent = await begun(batcher, 1), []
    for number in (2, 3):
        request = batcher.request(number, on_send=lambda number=number: sent.append(number))
        tasks.append(asyncio.create_task(request))
    await asyncio.sleep(0)
    assert sent == []
    tasks[1].cancel()
    server.may_reply.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sent == [3]


async def test_closing_fails_what_waits_and_later_requests_are_sent():
    server = Server()
    batcher = Batcher(server.send, in_flight=2)
    tasks = [*await begun(batcher, 1), *await begun(batcher, 2), *await begun(batcher, 3, cost=100)]
    await batcher.close()
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in replies] == [ConnectionError] * 3
    server.may_reply.set()
    assert await batcher.request(4) == 8


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


async def test_requests_without_a_reply_time_out_and_later_ones_have_their_own_time():
    server = Server()
    batcher = Batcher(server.send, timeout=0.01)
    first, second = [*await begun(batcher, 1), *await begun(batcher, 2)]
    for late in (first, second):  # one is in flight, the other one waits
        with pytest.raises(TimeoutError):
            await late
    batcher._timeout = 1000
    server.may_reply.set()
    assert await batcher.request(3) == 6
    assert server.batches == [[1], [3]]


async def test_a_reply_that_was_received_is_not_kept_until_its_time_is_over():
    server = Server()
    server.may_reply.set()
    batcher = Batcher(server.send, timeout=1000)
    assert await batcher.request(1) == 2
    assert not batcher._due
    await batcher.close()
    assert batcher._timer is None
