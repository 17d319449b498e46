"""Running one client's requests: apart from the loop that reads its frames, which answers pings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

#: Seconds in which a request is answered, whatever it has to wait for.
TIME_LIMIT: Final = 8.0
#: Requests of one client that are worked on at once.
RUNNING: Final = 4
#: Requests of one client that are not answered yet, at most.
OUTSTANDING: Final = 256
#: Seconds that the next frame waits for the answer to the one before it, so that answers come in
#: the order of the frames as long as nothing is slow.
_ORDERED: Final = 1.0


class Requests:
    """One client's requests that are not answered yet. Those about one topic stay in order."""

    __slots__ = ("_last", "_may_run", "_running", "_tasks", "_waiting")

    def __init__(self, may_run: Callable[[int], bool]) -> None:
        #: Whether one more may begin, while so many run.
        self._may_run = may_run
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()
        #: The last request about each topic.
        self._last: dict[str, asyncio.Task[None]] = {}
        #: Those that wait for their turn.
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(
        self, topic: str, work: Callable[[], Awaitable[None]], too_late: Callable[[], None]
    ) -> None:
        """Begin a request; return when it is answered, or others need not wait for it.

        ``too_late`` answers in place of ``work``, which is cancelled after ``TIME_LIMIT``.
        """
        running = self._run(self._last.get(topic), work, too_late)
        task = asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        self._last[topic] = task
        task.add_done_callback(partial(self._forget, topic))
        if len(self._tasks) == 1:
            await asyncio.wait((task,), timeout=_ORDERED)

    async def cancel(self) -> None:
        """End all of them."""
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
        too_late: Callable[[], None],
    ) -> None:
        try:
            async with asyncio.timeout(TIME_LIMIT):
                if before is not None:
                    await asyncio.wait((before,))
                await self._take_turn(work)
        except TimeoutError:
            too_late()

    async def _take_turn(self, work: Callable[[], Awaitable[None]]) -> None:
        while self._running and not (self._running < RUNNING and self._may_run(self._running)):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._running += 1
        try:
            await work()
        finally:
            self._running -= 1
            waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if not turn.done():
                    turn.set_result(None)
