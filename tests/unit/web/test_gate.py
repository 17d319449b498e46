"""The requests of a process that run at once, and those that wait for them."""

import asyncio

import pytest

from realtime.core.frames import Page, Subscribe
from realtime.core.topics import Topic
from realtime.web import gate as gate_module
from realtime.web import requests as requests_module
from realtime.web.gate import PLACES, Gate, Rank, get_gate, rank_of
from realtime.web.requests import RUNNING, Requests
from tests.until import auntil


@pytest.fixture
def nothing_is_slow(monkeypatch):
    monkeypatch.setattr(gate_module, "SLOW", 1000.0)


async def filled(gate):
    return [await gate.enter() for _ in range(PLACES)]


async def waiting(gate, entered, *names, rank=Rank.FIRST):
    async def enter(name):
        place = await gate.enter(rank)
        entered.append(name)
        return place

    tasks = [asyncio.create_task(enter(name)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_so_many_enter_at_once_and_the_others_in_their_order(nothing_is_slow):
    gate, entered = Gate(), []
    places = await filled(gate)
    tasks = await waiting(gate, entered, "a", "b", "c")
    assert not entered
    gate.leave(places.pop())
    gate.leave(places.pop())
    gate.leave(await tasks[0])
    gate.leave(await tasks[1])
    await tasks[2]
    assert entered == ["a", "b", "c"]


async def test_a_caller_that_is_cancelled_takes_no_place(nothing_is_slow):
    gate, entered = Gate(), []
    places = await filled(gate)
    waits, admitted, last = await waiting(gate, entered, "a", "b", "c")
    waits.cancel()
    gate.leave(places.pop())
    admitted.cancel()  # it has its place, and did not run since
    async with asyncio.timeout(30):
        gate.leave(await last)
    assert entered == ["c"]
    assert gate.is_free


async def test_requests_enter_by_their_rank(nothing_is_slow):
    gate, entered = Gate(), []
    places = await filled(gate)
    tasks = await waiting(gate, entered, "page", rank=Rank.PAGE)
    tasks += await waiting(gate, entered, "back", "back, too", rank=Rank.RETURN)
    tasks += await waiting(gate, entered, "first")
    for place in places[:4]:
        gate.leave(place)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert entered == ["first", "back", "back, too", "page"]


async def test_a_request_waits_by_the_rank_that_it_was_given(nothing_is_slow):
    gate, entered = get_gate(), []
    places = await filled(gate)

    async def run(rank):
        async def work():
            entered.append(rank)

        await Requests(lambda _running: True).run("a", work, lambda: None, rank)

    tasks = [asyncio.create_task(run(rank)) for rank in reversed(Rank)]
    await auntil(lambda: all(gate._waiting.values()))
    for place in places:
        gate.leave(place)
    await asyncio.gather(*tasks)
    assert entered == list(Rank)


def test_a_client_that_knows_nothing_yet_goes_before_further_pages_and_after_the_others():
    topic = Topic("user", "me")
    subscribe, page = Subscribe(1, topic), Page(2, topic, "7")
    assert rank_of(subscribe, has_subscription=True) == Rank.FIRST
    assert rank_of(subscribe, has_subscription=False) == Rank.RETURN
    assert rank_of(page, has_subscription=True) == rank_of(page, has_subscription=False)
    assert rank_of(page, has_subscription=True) == Rank.PAGE


async def test_who_is_slow_does_not_keep_the_others_waiting(monkeypatch):
    monkeypatch.setattr(gate_module, "SLOW", 0.01)
    gate, entered = Gate(), []
    places = await filled(gate)
    await waiting(gate, entered, *range(2 * PLACES))
    await auntil(lambda: len(entered) == 2 * PLACES)
    for place in places:
        gate.leave(place)


async def test_the_time_limit_of_a_request_begins_when_it_may_run(nothing_is_slow, monkeypatch):
    monkeypatch.setattr(requests_module, "TIME_LIMIT", 0.01)
    gate, answers = get_gate(), []
    places = await filled(gate)

    async def work():
        answers.append("answered")

    running = Requests(lambda _running: True).run("a", work, lambda: answers.append("too late"))
    task = asyncio.create_task(running)
    await asyncio.sleep(0.05)
    assert answers == []
    for place in places:
        gate.leave(place)
    await task
    assert answers == ["answered"]


async def test_the_limits_of_requests_behind_one_at_the_gate_begin_later_too(
    nothing_is_slow, monkeypatch
):
    monkeypatch.setattr(requests_module, "TIME_LIMIT", 0.01)
    gate, answers, late = get_gate(), [], []
    places = await filled(gate)
    requests = Requests(lambda _running: True)

    async def work():
        answers.append("answered")

    topics = ["a", "a", *"bcdefg"]  # some wait for the topic, some for the client's number
    begun = [
        asyncio.create_task(requests.run(each, work, lambda: late.append(1))) for each in topics
    ]
    await asyncio.sleep(0.05)
    assert (answers, late) == ([], [])
    monkeypatch.setattr(requests_module, "TIME_LIMIT", 60.0)
    for place in places:
        gate.leave(place)
    await auntil(lambda: len(answers) + len(late) == len(topics))
    assert late == []
    await asyncio.gather(*begun)


async def test_a_request_that_comes_to_a_full_gate_lifts_the_limits_of_those_behind_it(
    nothing_is_slow,
):
    gate, may_end, requests = get_gate(), asyncio.Event(), Requests(lambda _running: True)

    def begin(topic):
        return asyncio.create_task(requests.run(topic, may_end.wait, may_end.clear))

    begun = [begin(f"runs {number}") for number in range(RUNNING)]
    begun += [begin(f"waits {number}") for number in range(RUNNING + 1)]
    await auntil(lambda: len(requests._limits) == RUNNING + 1)
    assert None not in [limit.when() for limit in requests._limits]
    places = [await gate.enter() for _ in range(PLACES - RUNNING)]
    others = await waiting(gate, [], *range(RUNNING))  # they get the places of those that run
    may_end.set()
    await auntil(lambda: len(requests._limits) == 1)
    assert [limit.when() for limit in requests._limits] == [None]
    for place in [*places, *[await other for other in others]]:
        gate.leave(place)
    await asyncio.gather(*begun)


async def test_further_pages_leave_room_for_a_request_that_goes_first(nothing_is_slow):
    gate, entered = get_gate(), []
    places = await filled(gate)
    requests = Requests(lambda _running: True)

    def work(name):
        async def run():
            entered.append(name)

        return run

    def begin(topic, name, rank):
        return asyncio.create_task(requests.run(topic, work(name), entered.clear, rank))

    begun = [begin(f"page {number}", "page", Rank.PAGE) for number in range(RUNNING + 2)]
    begun.append(begin("cancel", "cancel", Rank.FIRST))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.leave(places.pop())
    await auntil(lambda: entered)
    assert entered[0] == "cancel"
    for place in places:
        gate.leave(place)
    await asyncio.gather(*begun)


async def test_a_request_that_takes_too_long_gives_its_place_back(nothing_is_slow, monkeypatch):
    monkeypatch.setattr(requests_module, "TIME_LIMIT", 0.01)
    gate, answers = get_gate(), []
    places = await filled(gate)
    gate.leave(places.pop())
    requests = Requests(lambda _running: True)
    await requests.run("a", asyncio.Event().wait, lambda: answers.append("too late"))
    assert answers == ["too late"]
    assert gate.is_free
