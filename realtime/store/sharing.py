"""Share calls: equal calls that wait for their turn are one, and each caller gets its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

#: Does the call, given what it calls just before its first request is sent.
Work = Callable[[Callable[[], None]], Coroutine[Any, Any, Any]]


class _Call:
    """A call, and the number of its callers."""

    def __init__(self) -> None:
        self.callers = 0
        self.task: asyncio.Task[Any]


class Sharing:
    """One event loop's calls that others may join.

    A caller joins an equal call only before the server got its first request: its result must not
    be older than the caller's own request.
    """

    def __init__(self) -> None:
        self._open: dict[Hashable, _Call] = {}

    async def call(self, key: Hashable, work: Work) -> Any:
        """Return the result of ``work``, or of the call with the same key that was not sent yet.

        Raises what the call raises. A call that lost all its callers is cancelled.
        """
        shared = self._open.get(key)
        if shared is None:
            shared = self._open[key] = _Call()
            sent = work(lambda: self._close(key, shared))
            shared.task = asyncio.get_running_loop().create_task(sent)
            shared.task.add_done_callback(lambda _task: self._close(key, shared))
        shared.callers += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.callers -= 1
            if not shared.callers and not shared.task.done():
                self._close(key, shared)  # at once, so that nobody joins what is cancelled
                shared.task.cancel()

    def _close(self, key: Hashable, shared: _Call) -> None:
        """Let no more callers join."""
        if self._open.get(key) is shared:
            del self._open[key]
