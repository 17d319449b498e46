"""The usual way in the worker: a receiver for each signal, with `async_to_sync(group_send)`."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from celery import signals
from channels.layers import get_channel_layer


def tell(task_id: str, state: str, result: Any = None) -> None:
    """Send a state to the task's group."""
    status = {"task_id": task_id, "state": state, "result": result}
    layer: Any = get_channel_layer("pubsub")
    async_to_sync(layer.group_send)(task_id, {"type": "task.update", "status": status})


@signals.task_prerun.connect
def on_prerun(task_id: str, **_kwargs: Any) -> None:
    """It begins."""
    tell(task_id, "STARTED")


@signals.task_success.connect
def on_success(sender: Any, result: Any, **_kwargs: Any) -> None:
    """It ended well."""
    tell(sender.request.id, "SUCCESS", result)


@signals.task_failure.connect
def on_failure(task_id: str, exception: Any, **_kwargs: Any) -> None:
    """It did not."""
    tell(task_id, "FAILURE", str(exception))
