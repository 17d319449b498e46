"""What is asked at once is asked together, and each gets its own answer."""

import asyncio

import pytest

from realtime.store.batching import MAX_BATCH, Batcher


class Oracle:
    """Answers with twice the number, when it may."""

    def __init__(self):
        self.asked = []
        self.may_answer = asyncio.Event()

    async def ask(self, numbers):
        self.asked.append(list(numbers))
        await self.may_answer.wait()
        return [ValueError(f"{number}") if number < 0 else 2 * number for number in numbers]


async def begun(batcher, *numbers):
    tasks = [asyncio.create_task(batcher.request(number)) for number in numbers]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_who_comes_while_an_answer_is_awaited_is_asked_for_after_it_and_together():
    oracle = Oracle()
    batcher = Batcher(oracle.ask)
    tasks = [*await begun(batcher, 1), *await begun(batcher, 2, 3), *await begun(batcher, 4)]
    assert oracle.asked == [[1]]
    oracle.may_answer.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert oracle.asked == [[1], [2, 3, 4]]
    assert await batcher.request(5) == 10


async def test_no_go_is_larger_than_its_bound():
    oracle = Oracle()
    oracle.may_answer.set()
    batcher = Batcher(oracle.ask)
    numbers = range(2 * MAX_BATCH + 1)
    assert await asyncio.gather(*map(batcher.request, numbers)) == [2 * each for each in numbers]
    assert [len(each) for each in oracle.asked] == [MAX_BATCH, MAX_BATCH, 1]


async def test_an_exception_is_the_answer_to_its_own_question_only():
    oracle = Oracle()
    oracle.may_answer.set()
    batcher = Batcher(oracle.ask)
    good, bad = await asyncio.gather(
        batcher.request(1), batcher.request(-1), return_exceptions=True
    )
    assert good == 2
    assert isinstance(bad, ValueError)


async def test_where_asking_fails_all_that_were_asked_hear_of_it_and_the_next_are_asked_again():
    fails = True

    async def ask(numbers):
        if fails:
            raise OSError("away")
        return numbers

    batcher = Batcher(ask)
    answers = await asyncio.gather(batcher.request(1), batcher.request(2), return_exceptions=True)
    assert [str(each) for each in answers] == ["away", "away"]
    fails = False
    assert await batcher.request(3) == 3


async def test_who_has_gone_is_not_asked_for_and_keeps_nobody_from_an_answer():
    oracle = Oracle()
    batcher = Batcher(oracle.ask)
    first, second, third = [*await begun(batcher, 1), *await begun(batcher, 2, 3)]
    first.cancel()
    second.cancel()
    await asyncio.sleep(0)
    oracle.may_answer.set()
    assert await third == 6
    assert oracle.asked == [[1], [3]]
    for gone in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await gone
