"""A task that publishes for others, at a steady pace."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from celery import shared_task

from realtime.core.change import Change
from realtime.store import get_store


@shared_task
def publish(ids: Sequence[str], owner: str, rate: float, seconds: float, size: int) -> None:
    """Publish progress of these tasks, in turn, ``rate`` times a second.

    Each message begins with its moment on the machine's monotonic clock, and has ``size`` bytes.
    """
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        message = f"{time.monotonic():.6f} ".ljust(size, ".")
        progress = json.dumps({"current": number, "total": None, "message": message})
        task_id = ids[number % len(ids)]
        change = Change(
            task_id=task_id, state="PROGRESS", owner=owner, fields={"progress": progress}
        )
        get_store().accept(change)
