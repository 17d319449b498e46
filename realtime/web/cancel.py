"""Cancel a task: publish that it is being cancelled, and revoke it."""

from __future__ import annotations

from typing import Final

from celery import current_app

from realtime.core import jsontext
from realtime.core.change import Change
from realtime.store import get_store

from .slow_calls import SlowCalls


def _cancel(task_id: str) -> None:
    fields = {"cancelling": "true", "updated_at": jsontext.timestamp()}
    if get_store().accept(Change(task_id=task_id, fields=fields)):
        current_app.control.revoke(task_id, terminate=True)


_calls: Final = SlowCalls(_cancel)


async def request_cancel(task_id: str) -> None:
    """Publish that a task is being cancelled, and revoke it; do nothing if it has ended.

    Revoking sends SIGTERM to the process of a running task; a worker skips a waiting one. Raises
    what the store and Celery's broker raise.
    """
    await _calls(task_id)
