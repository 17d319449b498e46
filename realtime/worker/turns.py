"""Serialized calls without a lock that anybody waits for.

A lock would block for ever where a signal handler publishes: the code that it interrupted may be
the one that holds the lock. Here a call that comes while another one runs is left to whoever runs
that one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded

from realtime.core.logs import get_logger
from realtime.core.process import process

logger = get_logger("realtime.worker")


class Turns:
    """Runs calls one at a time, in the order in which they came."""

    __slots__ = ("_calls", "_lock", "_pid", "_try_to_lock")

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._lock = threading.Lock()
        self._try_to_lock = partial(self._lock.acquire, False)
        self._pid = process.pid

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Run a call after all earlier ones: now, or in the thread that runs those.

        Raises only what is meant for the task; the call is then made again by the next :meth:`run`.
        """
        if self._pid != process.pid:
            self._renew()  # the parent process makes its calls itself, and may hold the lock
        self._calls.append((function, args))
        self.run()

    def run(self) -> None:
        """Make the calls that wait, unless somebody is at it, who will make them all."""
        if not self._calls:
            return
        # A time limit strikes between two bytecodes: after a call of `acquire`, and before the
        # `try`, it would leave the lock held for ever. Python looks for signals after a call, but
        # not where a loop takes its next value.
        for _ in iter(self._try_to_lock, False):
            try:
                while self._calls:
                    function, args = self._calls[0]
                    try:
                        function(*args)
                    except Exception as error:
                        if is_for_the_task(error):
                            raise
                        logger.exception("internal_error function=%s", function.__qualname__)
                    self._calls.popleft()
            finally:
                self._lock.release()
            # Look again after the lock is released: a call may have come just before that.
            if not self._calls:
                return

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Make no call meanwhile. It waits, and so is for background threads only."""
        with self._lock:
            yield
        self.run()

    def __bool__(self) -> bool:
        """Return whether calls wait."""
        return bool(self._calls)


def is_for_the_task(error: BaseException) -> bool:
    """Return whether an exception is meant for the task: its time limit, the process's end."""
    return isinstance(error, SoftTimeLimitExceeded) or not isinstance(error, Exception)
