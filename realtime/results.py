"""Reading Celery's result backend as data, and never more than that.

Celery would import and build the exception that a failed task's data names
(celery/backends/base.py, ``exception_to_python``), and unpickle what an older one left in a
database (celery/backends/database, ``_decode_stored_result``): here what is stored is decoded by
the serializers that are accepted, and nothing in it is believed to be code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

from celery import current_app
from celery.backends.base import BaseKeyValueStoreBackend
from django.db import close_old_connections

from realtime import redaction
from realtime.core import jsontext
from realtime.core.states import FAILURE, REVOKED, SUCCESS
from realtime.core.status import ending

_ENDINGS: Final = (SUCCESS, FAILURE, REVOKED)


class _Unreadable:
    """A result that no accepted serializer can read, such as a pickle. JSON cannot say it."""

    def __str__(self) -> str:
        return "it cannot be read as data"


_UNREADABLE: Final = _Unreadable()


def stored_metas(task_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return what the backend holds of these tasks, by id: "status", "result", "date_done".

    Of a backend that :func:`is_readable` denies, and of none, nothing is returned. Raises what
    the backend raises.
    """
    read = _reader(type(current_app.backend))
    return dict(read(current_app.backend, task_ids)) if task_ids and read else {}


def is_readable(backend: type) -> bool:
    """Return whether a class of result backends can be asked about many tasks, as data."""
    return _reader(backend) is not None


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
    result = meta.get("result")
    return meta.get("status") == SUCCESS and result is not _UNREADABLE, result


def _fields(meta: Mapping[str, Any]) -> dict[str, str]:
    finished_at = jsontext.timestamp_of(meta.get("date_done"))
    fields = ending("" if finished_at == jsontext.NULL else finished_at)
    result = meta.get("result")
    if meta["status"] == SUCCESS:
        return fields | redaction.result_fields(result)
    told = result if isinstance(result, Mapping) else {}
    message = told.get("exc_message", result)
    if isinstance(message, list | tuple):  # an exception's arguments
        message = ", ".join(str(each) for each in message)
    name = told.get("exc_type", meta["status"])
    return fields | {"error": redaction.encode_told_error(name, message)}


# One reader for each kind of backend: one question about many tasks.

_Metas = Iterable[tuple[str, Mapping[str, Any]]]


def _from_keys(backend: Any, task_ids: Sequence[str]) -> _Metas:
    keys = [backend.get_key_for_task(task_id) for task_id in task_ids]
    payloads = backend.mget(keys)
    if isinstance(payloads, Mapping):  # as Memcached's clients answer
        payloads = [payloads.get(key) for key in keys]
    for task_id, payload in zip(task_ids, payloads, strict=True):
        meta = _decoded(backend.decode, payload) if payload else None
        if isinstance(meta, Mapping):
            yield task_id, meta


def _from_sqlalchemy(backend: Any, task_ids: Sequence[str]) -> _Metas:
    from sqlalchemy import LargeBinary, type_coerce  # there, since the backend is

    row = backend.task_cls
    # Until 5.7 Celery has this column unpickled when it is read.
    result = type_coerce(row.result, LargeBinary)
    with closing(backend.ResultSession()) as session:
        rows = session.query(row.task_id, row.status, result, row.date_done)
        for task_id, status, payload, done in rows.filter(row.task_id.in_(task_ids)):
            yield task_id, _meta(status, _decoded(backend.decode, payload), done)


def _from_django(backend: Any, task_ids: Sequence[str]) -> _Metas:
    rows = backend.TaskModel._default_manager.filter(task_id__in=task_ids)  # noqa: SLF001 - Django's
    try:
        for row in rows.only("task_id", "status", "result", "content_encoding", "date_done"):
            result = _decoded(backend.decode_content, row, row.result)
            yield row.task_id, _meta(row.status, result, row.date_done)
    finally:
        close_old_connections()  # the thread that asks is none of a request's


def _meta(status: str, result: Any, done: Any) -> dict[str, Any]:
    return {"status": status, "result": result, "date_done": done and done.isoformat()}


def _decoded(decode: Callable[..., Any], *stored: Any) -> Any:
    try:
        return decode(*stored)
    except Exception:  # noqa: BLE001 - one that cannot be read must not hide the others
        return _UNREADABLE


#: By the names of classes, since two of them come with packages that may not be there.
_READERS: Final[Mapping[str, Callable[[Any, Sequence[str]], _Metas]]] = {
    "celery.backends.base.BaseKeyValueStoreBackend": _from_keys,
    "celery.backends.database.DatabaseBackend": _from_sqlalchemy,
    "django_celery_results.backends.database.DatabaseBackend": _from_django,
}


def _reader(backend: type) -> Callable[[Any, Sequence[str]], _Metas] | None:
    if getattr(backend, "mget", None) is BaseKeyValueStoreBackend.mget:
        return None  # it says that it cannot (S3)
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in backend.__mro__)
    return next((_READERS[name] for name in names if name in _READERS), None)
