"""Whether and when a broker delivers the message of a dead worker again."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from realtime.conf import conf

#: Kombu's defaults (kombu/transport/redis.py): seconds until a message is overdue, seconds
#: between two rounds of its timer, and rounds between two searches for overdue messages.
_TRANSPORT: Final = {
    "visibility_timeout": 3600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 10,
}


def is_acknowledged_late(task: Any) -> bool:
    """Return whether a task's message stays in the broker until the task has ended."""
    acks_late = task.app.conf.task_acks_late if task.acks_late is None else task.acks_late
    return bool(acks_late)


@lru_cache(maxsize=4)
def _overdue(app: Any) -> int:
    """Return how long an app's broker takes to deliver an unacknowledged message again."""
    options = app.conf.broker_transport_options
    timeout, interval, throttle = (int(options.get(key, _TRANSPORT[key])) for key in _TRANSPORT)
    return timeout + interval * throttle


def redelivery_timeout(task: Any, *, begun: bool = True) -> int:
    """Return how many seconds after its worker's death a task may still be delivered again."""
    if begun and not is_acknowledged_late(task):
        return conf().LOST_TIMEOUT  # its message is gone from the broker
    return conf().LOST_TIMEOUT + _overdue(task.app)
