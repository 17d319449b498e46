"""Batch requests: calls made while one batch is in flight share the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

#: Requests in a batch, at most.
MAX_REQUESTS: Final = 20
#: Their costs together, at most; one request may cost more. Redis serves no other client before it
#: has answered a batch: 200 statuses of a list take it 2 ms.
MAX_COST: Final = 200


class Batcher:
    """One event loop's requests to a server that answers many in one round trip.

    ``send`` takes requests and returns the reply to each, in their order; an exception is a reply
    too.
    """

    def __init__(self, send: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]) -> None:
        self._send = send
        #: Each request with its cost and the future that gets its reply, the oldest first.
        self._waiting: deque[tuple[Any, int, asyncio.Future[Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def request(self, request: Any, *, cost: int = 1) -> Any:
        """Return the reply. Raises it where it is an exception, and what ``send`` raises."""
        loop = asyncio.get_running_loop()
        reply = loop.create_future()
        self._waiting.append((request, cost, reply))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return await reply

    async def close(self) -> None:
        """Stop. Callers that wait for a reply get a ConnectionError."""
        task, waiting, self._waiting = self._task, self._waiting, deque()
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        _fail(future for _, _, future in waiting)

    async def _run(self) -> None:
        try:
            while batch := self._next_batch():
                try:
                    replies = await self._send([request for request, _ in batch])
                except Exception as error:  # noqa: BLE001 - each caller gets it
                    replies = [error] * len(batch)
                except asyncio.CancelledError:
                    _fail(future for _, future in batch)
                    raise
                for (_, future), reply in zip(batch, replies, strict=True):
                    if future.done():  # the caller was cancelled
                        continue
                    if isinstance(reply, Exception):
                        future.set_exception(reply)
                    else:
                        future.set_result(reply)
        finally:
            self._task = None

    def _next_batch(self) -> list[tuple[Any, asyncio.Future[Any]]]:
        """Remove the oldest requests whose callers still wait, within the limits of a batch."""
        batch: list[tuple[Any, asyncio.Future[Any]]] = []
        waiting, left = self._waiting, MAX_COST
        while waiting and len(batch) < MAX_REQUESTS:
            request, cost, future = waiting[0]
            if future.done():
                waiting.popleft()
                continue
            if batch and cost > left:
                break
            waiting.popleft()
            left -= cost
            batch.append((request, future))
        return batch


def _fail(futures: Any) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(ConnectionError("closed"))
