"""Reading Celery's result backend as data, and never more than that.

Celery would import and build the exception that a failed task's data names
(celery/backends/base.py, ``exception_to_python``): here the stored bytes are decoded, and nothing
in them is believed to be code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import current_app
from celery.backends.base import BaseKeyValueStoreBackend

from realtime import redaction
from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.states import FAILURE, REVOKED, SUCCESS

_ENDINGS = (SUCCESS, FAILURE, REVOKED)


def stored_metas(task_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return what the backend holds of these tasks, by id.

    Only key-value backends (Redis, Memcached, …) can be read without building exceptions; of any
    other, and of none, nothing is returned. Raises what the backend raises.
    """
    backend = current_app.backend
    if not task_ids or not isinstance(backend, BaseKeyValueStoreBackend):
        return {}
    payloads = backend.mget([backend.get_key_for_task(task_id) for task_id in task_ids])
    found = zip(task_ids, payloads, strict=True)
    return {task_id: backend.decode(payload) for task_id, payload in found if payload}


def stored_endings(task_ids: Sequence[str]) -> dict[str, tuple[str, dict[str, str]]]:
    """Return the endings that the backend holds of these tasks: state and a status's fields."""
    return {
        task_id: (meta["status"], _fields(meta))
        for task_id, meta in stored_metas(task_ids).items()
        if meta.get("status") in _ENDINGS
    }


def stored_result(task_id: str) -> tuple[bool, Any]:
    """Return whether the backend holds a result of a task that succeeded, and that result."""
    meta = stored_metas([task_id]).get(task_id, {})
    return meta.get("status") == SUCCESS, meta.get("result")


def _fields(meta: Mapping[str, Any]) -> dict[str, str]:
    now = jsontext.timestamp()
    finished_at = jsontext.timestamp_of(meta.get("date_done"))
    fields = {
        "error": jsontext.NULL,
        "eta": jsontext.NULL,
        "retry_at": jsontext.NULL,
        "cancelling": "false",
        "finished_at": now if finished_at == jsontext.NULL else finished_at,
        "updated_at": now,
    }
    result = meta.get("result")
    if meta["status"] == SUCCESS:
        text, truncated = redaction.encode_result(result, limit=conf().MAX_RESULT_BYTES)
        return fields | {"result": text, "truncated": jsontext.dumps(truncated)}
    told = result if isinstance(result, Mapping) else {}
    message = told.get("exc_message", result)
    if isinstance(message, list | tuple):  # an exception's arguments
        message = ", ".join(str(each) for each in message)
    name = told.get("exc_type", meta["status"])
    return fields | {"error": redaction.encode_told_error(name, message)}
