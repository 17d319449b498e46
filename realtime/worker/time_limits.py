"""Repeat a soft time limit that was raised inside a receiver.

Celery logs an exception of a receiver and continues (celery/utils/dispatch/signal.py), so the task
would miss its limit. A task that publishes many others spends much of its time in receivers.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import Final

from billiard import pool
from celery.utils.dispatch import Signal

from .runs import Run, is_active
from .timer import timer

#: Seconds until the limit is raised again, and between two looks if it would be lost.
_DELAY: Final = 0.005
#: Functions that log or print any exception, and continue.
_SWALLOWING: Final = frozenset({Signal.send.__code__, logging.Handler.handle.__code__})


def repeat_soft_timeout(run: Run | None) -> None:
    """Raise a run's soft time limit again as soon as the main thread has left the receiver.

    Do nothing if the task has ended by then.
    """
    number = pool.SIG_SOFT_TIMEOUT
    if run is None or number is None:
        return

    def send_signal() -> None:
        if not is_active(run) or signal.getsignal(number) is not pool.soft_timeout_sighandler:
            return
        thread_id = threading.main_thread().ident or 0
        if _swallows_exceptions(thread_id):
            timer.call_later(_DELAY, send_signal)
        else:
            signal.pthread_kill(thread_id, number)

    timer.call_later(_DELAY, send_signal)


def _swallows_exceptions(thread_id: int) -> bool:
    """Return whether an exception that is raised in a thread now would be logged and forgotten."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - public in spite of its name
    while frame is not None:
        if frame.f_code in _SWALLOWING:
            return True
        frame = frame.f_back
    return False
