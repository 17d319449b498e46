"""Calls that may take long (a result backend, Celery's broker), a few at a time.

They run in threads of the event loop's pool. A backend that does not answer blocks its few threads
and no more: other calls still find a free one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

#: Threads that one function uses at once, in one event loop.
THREADS: Final = 4

T = TypeVar("T")


class SlowCalls(Generic[T]):
    """One function with one text as its argument, called in threads.

    Callers with the same argument share the call in progress.
    """

    def __init__(self, function: Callable[[str], T]) -> None:
        self._function = function
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()

    async def __call__(self, argument: str) -> T:
        """Return what the function returns, or raise what it raises.

        If the caller is cancelled, the call goes on, and its thread still counts.
        """
        running = asyncio.get_running_loop()
        loop = self._loops.setdefault(running, _Loop())
        task = loop.calls.get(argument)
        if task is None:
            task = loop.calls[argument] = running.create_task(self._call(loop, argument))
            task.add_done_callback(_retrieve)
        result: T = await asyncio.shield(task)
        return result

    async def _call(self, loop: _Loop, argument: str) -> T:
        try:
            async with loop.free:
                return await sync_to_async(self._function, thread_sensitive=False)(argument)
        finally:
            loop.calls.pop(argument, None)
            if not loop.calls:  # it would keep the event loop alive
                self._loops.pop(asyncio.get_running_loop(), None)


class _Loop:
    """The calls in progress in one event loop."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(THREADS)
        self.calls: dict[str, asyncio.Task[Any]] = {}


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception, which asyncio would log if all callers were cancelled."""
    if not task.cancelled():
        task.exception()
