"""Repeat a soft time limit that was raised inside a receiver.

Celery logs an exception of a receiver and continues (celery/utils/dispatch/signal.py), so the task
would miss its limit. A task that publishes many others spends much of its time in receivers.
"""

from __future__ import annotations

import signal
import threading
from typing import Final

from billiard import pool

from .runs import Run, is_active
from .timer import timer

#: Seconds until the limit is raised again, outside of the receiver.
_DELAY: Final = 0.005


def repeat_soft_timeout(run: Run | None) -> None:
    """Raise a run's soft time limit again after a moment, if the task still runs then."""
    number = pool.SIG_SOFT_TIMEOUT
    if run is None or number is None:
        return

    def send_signal() -> None:
        handler = signal.getsignal(number)
        if is_active(run) and handler is pool.soft_timeout_sighandler:
            signal.pthread_kill(threading.main_thread().ident or 0, number)

    timer.call_later(_DELAY, send_signal)
