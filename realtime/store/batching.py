"""Batch requests: calls made while one batch is in flight share the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

#: Requests in a batch, at most. Redis serves no other client before it has answered a batch: a
#: hundred tasks are read in 3 ms.
MAX_REQUESTS: Final = 100
#: Their costs together, at most; one request may cost more. 200 statuses of a list take Redis 2 ms.
MAX_COST: Final = 200
#: A request that costs more than this does not delay others.
SMALL: Final = 20


class _Waiting(NamedTuple):
    """A request that was not sent yet."""

    request: Any
    cost: int
    #: Gets the reply.
    reply: asyncio.Future[Any]
    on_send: Callable[[], None] | None


class Batcher:
    """One event loop's requests to a server that answers many in one round trip.

    ``send`` takes requests and returns the reply to each, in their order; an exception is a reply
    too. While a full batch waits, up to ``in_flight`` batches are sent before a reply comes, so
    that the server is not idle meanwhile. A request without a reply after ``timeout`` seconds
    raises TimeoutError.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]],
        *,
        in_flight: int = 1,
        timeout: float | None = None,
    ) -> None:
        self._send = send
        self._in_flight = in_flight
        self._timeout = timeout
        #: The oldest first, apart: small ones must not wait behind all large ones.
        self._small: deque[_Waiting] = deque()
        self._large: deque[_Waiting] = deque()
        #: Each sends batch after batch, until nothing waits.
        self._tasks: set[asyncio.Task[None]] = set()
        #: When each reply is due, the first one first. They share a timer: one for each would cost
        #: as much as all else that a request costs here.
        self._due: dict[asyncio.Future[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def request(
        self, request: Any, *, cost: int = 1, on_send: Callable[[], None] | None = None
    ) -> Any:
        """Return the reply. Raises it where it is an exception, and what ``send`` raises.

        ``on_send`` is called just before the request is sent.
        """
        loop = asyncio.get_running_loop()
        reply = loop.create_future()
        waiting = self._small if cost <= SMALL else self._large
        waiting.append(_Waiting(request, cost, reply, on_send))
        self._start()
        if self._timeout is None:
            return await reply
        self._due[reply] = loop.time() + self._timeout
        if self._timer is None:
            self._timer = loop.call_later(self._timeout, self._fail_late)
        try:
            return await reply
        finally:
            del self._due[reply]

    async def close(self) -> None:
        """Stop. Callers that wait for a reply get a ConnectionError."""
        waiting = [*self._small, *self._large]
        self._small.clear()
        self._large.clear()
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _fail(waiting)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail_late(self) -> None:
        """Fail the requests whose replies are late, and come again when the next one is due."""
        loop = asyncio.get_running_loop()
        self._timer, now = None, loop.time()
        for reply, due in self._due.items():
            if due > now:
                self._timer = loop.call_at(due, self._fail_late)
                break
            if not reply.done():
                reply.set_exception(TimeoutError())

    def _start(self) -> None:
        """Begin to send, unless enough batches are in flight for what waits."""
        is_full = bool(self._large) or len(self._small) >= MAX_REQUESTS
        if not self._tasks or (is_full and len(self._tasks) < self._in_flight):
            self._tasks.add(asyncio.get_running_loop().create_task(self._run()))

    async def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._start()
                await self._send_batch(batch)
        finally:
            # Not in a callback: a request in between would wait for nobody.
            self._tasks.discard(cast(asyncio.Task[None], asyncio.current_task()))

    async def _send_batch(self, batch: Sequence[_Waiting]) -> None:
        for each in batch:
            if each.on_send is not None:
                each.on_send()
        try:
            replies = await self._send([each.request for each in batch])
        except Exception as error:  # noqa: BLE001 - each caller gets it
            replies = [error] * len(batch)
        except asyncio.CancelledError:
            _fail(batch)
            raise
        for each, reply in zip(batch, replies, strict=True):
            if each.reply.done():  # the caller was cancelled
                continue
            if isinstance(reply, Exception):
                each.reply.set_exception(reply)
            else:
                each.reply.set_result(reply)

    def _next_batch(self) -> list[_Waiting]:
        """Remove the oldest requests whose callers still wait, within the limits of a batch.

        Where both kinds wait, the batch has some of each, so that neither waits for all others.
        """
        batch: list[_Waiting] = []
        left = MAX_COST
        reserved = MAX_COST // 2 if _skip_done(self._large) else 0
        for waiting, least in ((self._small, reserved), (self._large, 0)):
            must = 1
            while _skip_done(waiting) and (must or len(batch) < MAX_REQUESTS):
                if not must and waiting[0].cost > left - least:
                    break
                must = 0
                batch.append(waiting.popleft())
                left -= batch[-1].cost
        return batch


def _skip_done(waiting: deque[_Waiting]) -> bool:
    """Remove the first ones whose callers wait no more; return whether others are left."""
    while waiting and waiting[0].reply.done():
        waiting.popleft()
    return bool(waiting)


def _fail(requests: Iterable[_Waiting]) -> None:
    for each in requests:
        if not each.reply.done():
            each.reply.set_exception(ConnectionError("closed"))
