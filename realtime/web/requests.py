"""One client's requests, run in tasks, so that the loop that reads its frames answers pings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from .gate import Rank, get_gate

#: Seconds until a request is answered with an error, if nothing else has answered it. Those in
#: which it waits for the requests of other clients do not count.
TIME_LIMIT: Final = 8.0
#: Requests of one client that run at once.
RUNNING: Final = 4
#: Requests of one client without an answer, at most.
OUTSTANDING: Final = 256
#: Seconds that the next frame waits for the answer to this one, so that answers have the order
#: of the frames unless something is slow.
_ORDERED: Final = 1.0


class Requests:
    """One client's requests without an answer. Requests about one topic run in order."""

    __slots__ = ("_at_gate", "_last", "_limits", "_may_run", "_running", "_tasks", "_waiting")

    def __init__(self, may_run: Callable[[int], bool]) -> None:
        #: Whether another request may begin, given the number of those that run.
        self._may_run = may_run
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()
        #: The last request about each topic.
        self._last: dict[str, asyncio.Task[None]] = {}
        #: How many wait for requests of other clients.
        self._at_gate = 0
        #: The time limits of requests that wait behind others of this client.
        self._limits: set[asyncio.Timeout] = set()
        #: Of requests that wait to begin.
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(
        self,
        topic: str,
        work: Callable[[], Awaitable[None]],
        on_timeout: Callable[[], None],
        rank: Rank = Rank.FIRST,
    ) -> None:
        """Begin a request; return when it is answered, or after a second at most.

        After ``TIME_LIMIT`` it is cancelled, and ``on_timeout`` answers in its place. By the rank
        it waits for requests of other clients.
        """
        running = self._run(self._last.get(topic), work, on_timeout, rank)
        task = asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        self._last[topic] = task
        task.add_done_callback(partial(self._forget, topic))
        if len(self._tasks) == 1:
            await asyncio.wait((task,), timeout=_ORDERED)

    async def cancel(self) -> None:
        """Cancel all requests."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, topic: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._last.get(topic) is task:
            del self._last[topic]

    async def _run(
        self,
        before: asyncio.Task[None] | None,
        work: Callable[[], Awaitable[None]],
        on_timeout: Callable[[], None],
        rank: Rank,
    ) -> None:
        try:
            async with asyncio.timeout(None if self._at_gate else TIME_LIMIT) as limit:
                self._limits.add(limit)
                try:
                    if before is not None:
                        await asyncio.wait((before,))
                    await self._run_in_turn(work, limit, rank)
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            on_timeout()

    async def _run_in_turn(
        self, work: Callable[[], Awaitable[None]], limit: asyncio.Timeout, rank: Rank
    ) -> None:
        # Further pages of lists leave room for a request that goes before them.
        most = RUNNING - 1 if rank is Rank.PAGE else RUNNING
        while self._running and not (self._running < most and self._may_run(self._running)):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._running += 1
        self._limits.discard(limit)
        try:
            await self._run_with_others(work, limit, rank)
        finally:
            self._running -= 1
            waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if not turn.done():
                    turn.set_result(None)

    async def _run_with_others(
        self, work: Callable[[], Awaitable[None]], limit: asyncio.Timeout, rank: Rank
    ) -> None:
        """Do the work when few enough requests of the process run, whatever the limit is."""
        gate = get_gate()
        if gate.is_free:
            place = await gate.enter()
        else:
            self._at_gate += 1
            self._set_limits(limit, when=None)
            try:
                place = await gate.enter(rank)
            finally:
                self._at_gate -= 1
                due = asyncio.get_running_loop().time() + TIME_LIMIT
                if self._at_gate:
                    limit.reschedule(due)
                else:
                    self._set_limits(limit, when=due)
        try:
            await work()
        finally:
            gate.leave(place)

    def _set_limits(self, own: asyncio.Timeout, *, when: float | None) -> None:
        """Set a request's limit, and those of the requests that wait behind it."""
        for limit in (own, *self._limits):
            if not limit.expired():
                limit.reschedule(when)
