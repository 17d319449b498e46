"""The requests of a process that run at once, and those that wait for them."""

import asyncio

import pytest

from realtime.web import gate as gate_module
from realtime.web import requests as requests_module
from realtime.web.gate import PLACES, Gate, get_gate
from realtime.web.requests import Requests
from tests.until import auntil


@pytest.fixture
def nothing_is_slow(monkeypatch):
    monkeypatch.setattr(gate_module, "SLOW", 1000.0)


async def filled(gate):
    return [await gate.enter() for _ in range(PLACES)]


async def waiting(gate, entered, *names, is_new=False):
    async def enter(name):
        place = await gate.enter(is_new=is_new)
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


async def test_new_clients_wait_until_the_others_have_entered(nothing_is_slow):
    gate, entered = Gate(), []
    places = await filled(gate)
    new = await waiting(gate, entered, "new", "newer", is_new=True)
    others = await waiting(gate, entered, "other")
    gate.leave(places.pop())
    gate.leave(await others[0])
    await new[0]
    gate.leave(places.pop())
    await new[1]
    assert entered == ["other", "new", "newer"]


async def test_a_client_is_new_until_it_has_a_subscription(nothing_is_slow):
    gate, entered = get_gate(), []
    places = await filled(gate)

    async def work(name):
        entered.append(name)

    async def run(name, is_new):
        requests = Requests(lambda _running: True, is_new)
        await requests.run("a", lambda: work(name), lambda: None)

    tasks = [
        asyncio.create_task(run("new", lambda: True)),
        asyncio.create_task(run("other", lambda: False)),
    ]
    await auntil(lambda: len(gate._new) == len(gate._waiting) == 1)
    for place in places:
        gate.leave(place)
    await asyncio.gather(*tasks)
    assert entered == ["other", "new"]


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


async def test_a_request_that_takes_too_long_gives_its_place_back(nothing_is_slow, monkeypatch):
    monkeypatch.setattr(requests_module, "TIME_LIMIT", 0.01)
    gate, answers = get_gate(), []
    places = await filled(gate)
    gate.leave(places.pop())
    requests = Requests(lambda _running: True)
    await requests.run("a", asyncio.Event().wait, lambda: answers.append("too late"))
    assert answers == ["too late"]
    assert gate.is_free
