"""The tutorial in the worker: receivers that call `async_to_sync(group_send)`."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from celery import signals
from channels.layers import get_channel_layer


def send(task_id: str, state: str, result: Any = None) -> None:
    """Send the state of a task to its group."""
    status = {"task_id": task_id, "state": state, "result": result}
    layer: Any = get_channel_layer("pubsub")
    async_to_sync(layer.group_send)(task_id, {"type": "task.update", "status": status})


@signals.task_prerun.connect
def on_prerun(task_id: str, **_kwargs: Any) -> None:
    """Send that the task begins."""
    send(task_id, "STARTED")


@signals.task_success.connect
def on_success(sender: Any, result: Any, **_kwargs: Any) -> None:
    """Send that the task has succeeded, with its result."""
    send(sender.request.id, "SUCCESS", result)


@signals.task_failure.connect
def on_failure(task_id: str, exception: Any, **_kwargs: Any) -> None:
    """Send that the task has failed, with the exception's text."""
    send(task_id, "FAILURE", str(exception))
