"""Serialized calls without a lock for which a thread could wait for ever.

A lock would block for ever where a signal handler publishes: the code that it interrupted may have
acquired the lock. Here a call that comes while another one runs is left to the thread
that runs that one. It makes the calls of others for a moment only, then the timer goes on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from billiard.exceptions import SoftTimeLimitExceeded

from realtime.core.logs import get_logger
from realtime.core.process import process

from .timer import timer

logger = get_logger("realtime.worker")

#: Seconds for which a thread makes the calls of others.
_LONGEST: Final = 0.02
#: Calls that may wait before those who add more wait too, and seconds that they wait.
_MANY: Final = 64
_WAIT: Final = 0.05


class SerializedCalls:
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
            self._renew()  # the parent makes its calls itself; the lock may be acquired
        self._calls.append((function, args))
        self.run()

    def run(self) -> None:
        """Make the calls that wait, unless another thread makes them."""
        if not self._calls:
            return
        # Where many threads publish, each makes some of the calls, lest they become ever more.
        lock = self._try_to_lock
        if len(self._calls) > _MANY:
            lock = partial(self._lock.acquire, True, _WAIT)
        until = None
        # A time limit strikes between two bytecodes: after a call of `acquire`, and before the
        # `try`, it would leave the lock acquired for ever. Python handles signals after a call, but
        # not where a loop gets its next value.
        for _ in iter(lock, False):
            try:
                while self._calls:
                    function, args = self._calls[0]
                    try:
                        function(*args)
                    except Exception as error:
                        if interrupts_task(error):
                            raise
                        logger.exception("internal_error function=%s", function.__qualname__)
                    self._calls.popleft()
                    if self._calls:
                        now = time.monotonic()
                        until = until or now + _LONGEST
                        if now > until:
                            break
            finally:
                self._lock.release()
            # Check again after the lock is released: a call may have come just before that.
            if not self._calls:
                return
            if until and time.monotonic() > until and timer.call_later(0, self.run):
                return

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Make no call meanwhile. It waits, and so is for background threads only."""
        with self._lock:
            yield
        self.run()

    def __bool__(self) -> bool:
        """Return whether calls wait."""
        return bool(self._calls)


def interrupts_task(error: BaseException) -> bool:
    """Return whether an exception is meant for the task: its time limit, the process's end."""
    return isinstance(error, SoftTimeLimitExceeded) or not isinstance(error, Exception)
