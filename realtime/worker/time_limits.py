"""Soft time limits that strike inside a receiver.

Celery logs what a receiver raises and goes on (celery/utils/dispatch/signal.py), so the task would
never learn of its limit: one that publishes many tasks spends a good part of its time in receivers.
"""

from __future__ import annotations

import signal
import threading
from typing import Final

from billiard import pool

from .runs import Run, is_active
from .timer import timer

#: Seconds until a limit strikes again, outside of the receiver.
_AGAIN: Final = 0.005


def repeat_soft_timeout(run: Run | None) -> None:
    """Let the soft time limit of a run strike again in a moment, if the task still runs then."""
    number = pool.SIG_SOFT_TIMEOUT
    if run is None or number is None:
        return

    def strike() -> None:
        handler = signal.getsignal(number)
        if is_active(run) and handler is pool.soft_timeout_sighandler:
            signal.pthread_kill(threading.main_thread().ident or 0, number)

    timer.call_later(_AGAIN, strike)
