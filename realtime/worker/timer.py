"""The timer of this process: one thread for all delayed calls.

The thread starts with the first call, and sleeps while none is due.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from typing import Final

from realtime.core.logs import get_logger

logger = get_logger("realtime.worker")

_Due = tuple[float, int, Callable[[], object]]


class Timer:
    """Calls functions after a delay, in a daemon thread."""

    def __init__(self) -> None:
        self._numbers = count()
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # threads do not survive a fork

    def _reset(self) -> None:
        # SimpleQueue, as a signal handler may interrupt its put() and call it again. An Event's
        # set() would then block for ever.
        self._calls: SimpleQueue[_Due] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call_later(self, seconds: float, function: Callable[[], object]) -> bool:
        """Call a function after so many seconds; return False if the thread cannot start."""
        self._calls.put((time.monotonic() + seconds, next(self._numbers), function))
        return self._thread is not None or self._start()

    def _start(self) -> bool:
        thread = start_thread(lambda: self._run(self._calls), "realtime-timer")
        self._thread = thread
        return thread is not None

    def _run(self, calls: SimpleQueue[_Due]) -> None:
        due: list[_Due] = []
        while True:
            timeout = max(0.0, due[0][0] - time.monotonic()) if due else None
            with suppress(Empty):
                heapq.heappush(due, calls.get(timeout=timeout))
            while due and due[0][0] <= time.monotonic():
                _, _, function = heapq.heappop(due)
                try:
                    function()
                except Exception:
                    logger.exception("timer_failed")


def start_thread(run: Callable[[], None], name: str) -> threading.Thread | None:
    """Start a thread and return it; None if none can start, as when the interpreter ends."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


#: The timer of this process.
timer: Final = Timer()
