"""Whether and when Celery's broker redelivers the message of a dead worker."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from realtime.conf import conf
from realtime.core.redelivery import Redelivery


def is_acknowledged_late(task: Any) -> bool:
    """Return whether a task's message stays in the broker until the task has ended."""
    acks_late = task.app.conf.task_acks_late if task.acks_late is None else task.acks_late
    return bool(acks_late)


@lru_cache(maxsize=4)
def _broker_timeout(app: Any) -> int:
    """Return the seconds until an app's broker redelivers an unacknowledged message."""
    return Redelivery.from_options(app.conf.broker_transport_options).timeout


def redelivery_timeout(task: Any, *, begun: bool = True) -> int:
    """Return for how many seconds after its worker's death a task may still be redelivered."""
    if begun and not is_acknowledged_late(task):
        return conf().LOST_TIMEOUT  # the broker has deleted its message
    return conf().LOST_TIMEOUT + _broker_timeout(task.app)
