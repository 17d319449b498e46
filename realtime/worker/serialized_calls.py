"""Serialized calls for which no thread blocks on a lock.

A signal handler may publish, and the code that it interrupted may have acquired the lock: the
handler would block for ever. Here a call that comes during another one is queued, and the thread
that makes the other one makes it too. A thread makes the calls of other threads for a limited time;
then the timer continues.
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

from realtime.core.interruption import interrupts_task, register
from realtime.core.logs import get_logger
from realtime.core.process import process

from .timer import timer

logger = get_logger("realtime.worker")

register(SoftTimeLimitExceeded)

#: Seconds for which a thread makes the calls of other threads.
_MAX_SECONDS: Final = 0.02
#: Queued calls above which a thread that adds one waits for its turn, and the seconds it waits.
_MAX_QUEUED: Final = 64
_WAIT: Final = 0.05


class SerializedCalls:
    """Makes calls one at a time, in the order in which they come."""

    __slots__ = ("_calls", "_lock", "_pid", "_try_to_lock")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._lock = threading.Lock()
        self._try_to_lock = partial(self._lock.acquire, False)
        self._pid = process.pid

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Make a call after all earlier ones: now, or in the thread that makes those.

        Raises only what interrupts the task. The next :meth:`run` then makes the call again.
        """
        if self._pid != process.pid:
            self._reset()  # the parent makes its own calls; its lock may be acquired
        self._calls.append((function, args))
        self.run()

    def run(self) -> None:
        """Make the queued calls, unless another thread is making them."""
        if not self._calls:
            return
        # If many threads publish, each makes some of the calls, so that the queue does not grow.
        lock = self._try_to_lock
        if len(self._calls) > _MAX_QUEUED:
            lock = partial(self._lock.acquire, True, _WAIT)
        until = None
        # A time limit interrupts between two bytecodes. Between a call of `acquire` and the `try`
        # it would leave the lock acquired for ever. Python handles signals after a call, but not
        # when a loop gets its next value.
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
                        until = until or now + _MAX_SECONDS
                        if now > until:
                            break
            finally:
                self._lock.release()
            # Check again after the release: a call may have been queued just before it.
            if not self._calls:
                return
            if until and time.monotonic() > until and timer.call_later(0, self.run):
                return

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Make no calls inside. It blocks until it may begin: for background threads only."""
        with self._lock:
            yield
        self.run()

    def __bool__(self) -> bool:
        """Return whether calls are queued."""
        return bool(self._calls)
