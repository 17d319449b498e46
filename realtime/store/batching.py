"""Asking once for many: what is asked while an answer is awaited is asked together, after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

#: Questions that are asked in one go; who comes alone does not wait for more than that.
MAX_BATCH: Final = 20


class Batcher:
    """One event loop's questions to whoever can answer many at once.

    ``ask`` returns an answer for each question, in their order; an exception is an answer too.
    """

    def __init__(self, ask: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]) -> None:
        self._ask = ask
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def request(self, question: Any) -> Any:
        """Return the answer. Raises it where it is an exception, and what ``ask`` raises."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self._waiting.append((question, answer))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return await answer

    async def close(self) -> None:
        """Give up what is asked. Those who wait for it get a ConnectionError."""
        task, waiting, self._waiting = self._task, self._waiting, []
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        _give_up(waiting)

    async def _run(self) -> None:
        try:
            while self._waiting:
                waiting = [
                    each for each in self._waiting if not each[1].done()
                ]  # who is still there
                some, self._waiting = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
                try:
                    answers = await self._ask([question for question, _ in some])
                except Exception as error:  # noqa: BLE001 - theirs, each by itself
                    answers = [error] * len(some)
                except asyncio.CancelledError:
                    _give_up(some)
                    raise
                for (_, future), answer in zip(some, answers, strict=True):
                    if future.done():  # whoever asked has gone
                        continue
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        finally:
            self._task = None


def _give_up(waiting: Sequence[tuple[Any, asyncio.Future[Any]]]) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(ConnectionError("closed"))
