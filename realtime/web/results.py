"""Reading whole results from Celery's result backend, as data."""

from __future__ import annotations

from typing import Any

from celery import current_app
from celery.backends.base import DisabledBackend, KeyValueStoreBackend

from realtime.core.states import SUCCESS


def stored_result(task_id: str) -> tuple[bool, Any]:
    """Return whether the backend holds a result of a task that succeeded, and that result.

    What a failed task left there is never asked for: Celery would import and build the exception
    that the data names (celery/backends/base.py, ``exception_to_python``).
    """
    backend = current_app.backend
    if isinstance(backend, DisabledBackend):
        return False, None
    if isinstance(backend, KeyValueStoreBackend):
        payload = backend.get(backend.get_key_for_task(task_id))
        meta = backend.decode(payload) if payload else {}
    else:
        meta = backend.get_task_meta(task_id)
    return meta.get("status") == SUCCESS, meta.get("result")
