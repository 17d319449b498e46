"""The orderly end of a process, as its connections see it."""

import asyncio
import time
from itertools import pairwise

import pytest

from realtime.web.drain import drain, is_draining
from realtime.web.registry import get_registry, process

SPREAD = 0.4  # seconds


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(monkeypatch):
    monkeypatch.setattr(process, "is_draining", False)


@pytest.fixture
def closed():
    """When each connection was closed, by its number."""
    return {}


@pytest.fixture
async def connect(closed):
    class Connection:
        address = user_key = ""

        def __init__(self, number):
            self.number = number

        def restart(self):
            closed[self.number] = time.monotonic()

    made = []

    def connect(number):
        made.append(Connection(number))
        get_registry().join(made[-1])
        return made[-1]

    yield connect
    for connection in made:
        get_registry().leave(connection)


async def test_connections_are_closed_evenly_over_the_time(connect, closed):
    for number in range(4):
        connect(number)
    assert not is_draining()
    await drain(SPREAD)
    assert is_draining()
    assert sorted(closed) == [0, 1, 2, 3]
    gaps = [after - before for before, after in pairwise(sorted(closed.values()))]
    # A busy machine may close a connection late, and never early.
    assert min(gaps) > 0.9 * SPREAD / 4


async def test_the_first_connection_is_closed_at_once_and_the_others_later(connect, closed):
    for number in range(4):
        connect(number)
    draining = asyncio.create_task(drain(3600))
    await asyncio.sleep(0)
    assert len(closed) == 1
    draining.cancel()


async def test_without_a_connection_draining_ends_at_once():
    async with asyncio.timeout(30):
        await drain(3600)


async def test_draining_does_not_wait_after_the_last_connection(connect, closed):
    connect(1)
    async with asyncio.timeout(30):
        await drain(3600)
    assert closed


async def test_a_connection_that_has_left_is_not_closed(connect, closed):
    get_registry().leave(connect(1))
    await drain(SPREAD)
    assert not closed


async def test_a_connection_that_joins_a_draining_process_is_restarted_at_once(connect, closed):
    await drain(SPREAD)
    connect(1)
    assert closed
