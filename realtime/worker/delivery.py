"""Whether and when a broker delivers the message of a dead worker again."""

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
    """Return how long an app's broker takes to deliver an unacknowledged message again."""
    return Redelivery.from_options(app.conf.broker_transport_options).timeout


def redelivery_timeout(task: Any, *, begun: bool = True) -> int:
    """Return how many seconds after its worker's death a task may still be delivered again."""
    if begun and not is_acknowledged_late(task):
        return conf().LOST_TIMEOUT  # its message is gone from the broker
    return conf().LOST_TIMEOUT + _broker_timeout(task.app)
