"""Passing on the wish to cancel a task."""

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
    """Show that a task is being cancelled, and tell every worker; an ended task stays as it is.

    A running task's process gets SIGTERM, a waiting one is skipped when its turn comes. Raises
    what Celery's broker and the store raise.
    """
    await _calls(task_id)
