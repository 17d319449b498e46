"""The solution of the Channels tutorial, for the second table.

A receiver of each signal calls `async_to_sync(group_send)`; a consumer for each task calls
`send_json`. It has the better channel layer, and a worker that stores what has started.
"""

from __future__ import annotations

import os
from typing import Any

import django
from asgiref.sync import async_to_sync
from celery import Celery, signals
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

from tests.tutorial_consumer import TutorialConsumer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.faults.tutorial_settings")
django.setup()

app = Celery("tutorial")
app.config_from_object("django.conf:settings", namespace="CELERY")


def publish(task_id: str, state: str, attempt: int, result: Any = None) -> None:
    status = {"task_id": task_id, "state": state, "attempt": attempt, "result": result}
    layer = get_channel_layer()
    async_to_sync(layer.group_send)(task_id, {"type": "task.update", "status": status})


@signals.task_prerun.connect
def on_prerun(task_id: str, task: Any, **_kwargs: Any) -> None:
    publish(task_id, "STARTED", task.request.retries)


@signals.task_success.connect
def on_success(sender: Any, result: Any, **_kwargs: Any) -> None:
    publish(sender.request.id, "SUCCESS", sender.request.retries, result)


@signals.task_failure.connect
def on_failure(task_id: str, sender: Any, **_kwargs: Any) -> None:
    publish(task_id, "FAILURE", sender.request.retries or 0)


@signals.task_retry.connect
def on_retry(request: Any, **_kwargs: Any) -> None:
    publish(request.id, "RETRY", request.retries)


@signals.task_revoked.connect
def on_revoked(request: Any, **_kwargs: Any) -> None:
    publish(request.id, "REVOKED", request.retries)


urlpatterns = [path("", lambda request: HttpResponse("tutorial"))]
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("ws/<group>/", TutorialConsumer.as_asgi())]),
    }
)
