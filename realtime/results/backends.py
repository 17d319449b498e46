"""Readers for each kind of result backend, which read many tasks in one query.

A key-value store is read by id. A database can also be searched for endings since a time, which
costs less than a query that names 100,000 waiting tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from celery.backends.base import BaseKeyValueStoreBackend
from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

#: Tasks in one query, and rows that are read at once.
PAGE: Final = 1000


class _Unreadable:
    """Stands for a result that no accepted serializer can read, such as a pickle."""

    def __str__(self) -> str:
        return "it cannot be read as data"


UNREADABLE: Final = _Unreadable()


class Row(NamedTuple):
    """An ending that a database stores, without its result."""

    task_id: str
    stored_at: datetime | None


_Metas = Iterable[tuple[str, Mapping[str, Any]]]


class Reader(NamedTuple):
    """The queries for one kind of backend."""

    #: The stored data of tasks, by id.
    metas: Callable[[Any, Sequence[str]], _Metas]
    #: The rows that were stored since a time in one of these states; None if it reads by id only.
    ended: Callable[[Any, datetime, Sequence[str]], Iterator[Sequence[Row]]] | None = None


def reader_of(backend: type) -> Reader | None:
    """Return the reader for a class of backends; None where there is none."""
    if getattr(backend, "mget", None) is BaseKeyValueStoreBackend.mget:
        return None  # not implemented (S3)
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in backend.__mro__)
    return next((_READERS[name] for name in names if name in _READERS), None)


# Key-value stores


def _from_keys(backend: Any, task_ids: Sequence[str]) -> _Metas:
    keys = [backend.get_key_for_task(task_id) for task_id in task_ids]
    payloads = backend.mget(keys)
    if isinstance(payloads, Mapping):  # from Memcached's clients
        payloads = [payloads.get(key) for key in keys]
    for task_id, payload in zip(task_ids, payloads, strict=True):
        meta = _decoded(backend.decode, payload) if payload else None
        if isinstance(meta, Mapping):
            yield task_id, meta


# Celery's own tables. They store local times of the app's time zone.


def _from_sqlalchemy(backend: Any, task_ids: Sequence[str]) -> _Metas:
    from sqlalchemy import LargeBinary, type_coerce  # installed, as the backend needs it

    row = backend.task_cls
    # Before 5.7 Celery unpickles this column when it is read.
    result = type_coerce(row.result, LargeBinary)
    with closing(backend.ResultSession()) as session:
        done = _done(session, row)
        rows = session.query(row.task_id, row.status, result, done, row.traceback)
        for task_id, status, payload, at, traceback in rows.filter(row.task_id.in_(task_ids)):
            at = aware(at, backend.app.timezone)
            yield task_id, _meta(status, _decoded(backend.decode, payload), at, traceback)


def _ended_in_sqlalchemy(
    backend: Any, since: datetime, states: Sequence[str]
) -> Iterator[Sequence[Row]]:
    row, zone = backend.task_cls, backend.app.timezone
    with closing(backend.ResultSession()) as session:
        rows = session.query(row.task_id, _done(session, row))
        # Passed as Celery passes the times that it stores, so the driver converts both alike.
        rows = rows.filter(row.date_done >= _earliest(since, zone), row.status.in_(states))
        for page in session.execute(rows.statement).partitions(PAGE):
            yield [Row(task_id, aware(at, zone)) for task_id, at in page]


def _done(session: Any, row: Any) -> Any:
    """Return the column of times, with the time zone if the database has it.

    PostgreSQL converts a time without a zone to the session's zone.
    """
    from sqlalchemy import DateTime, cast

    if session.get_bind().dialect.name == "postgresql":
        return cast(row.date_done, DateTime(timezone=True))
    return row.date_done


# The tables of django-celery-results. With ``USE_TZ = False`` they store local times of Django's
# time zone.


def _from_django(backend: Any, task_ids: Sequence[str]) -> _Metas:
    rows = backend.TaskModel._default_manager.filter(task_id__in=task_ids)  # noqa: SLF001 - Django's
    columns = ("task_id", "status", "result", "content_encoding", "date_done", "traceback")
    try:
        for row in rows.only(*columns).order_by():
            result = _decoded(backend.decode_content, row, row.result)
            at = aware(row.date_done, timezone.get_default_timezone())
            yield row.task_id, _meta(row.status, result, at, row.traceback)
    finally:
        close_old_connections()  # Django does so only for the threads of requests


def _ended_in_django(
    backend: Any, since: datetime, states: Sequence[str]
) -> Iterator[Sequence[Row]]:
    zone = timezone.get_default_timezone()
    earliest = since if settings.USE_TZ else _earliest(since, zone).replace(tzinfo=None)
    manager = backend.TaskModel._default_manager  # noqa: SLF001 - Django's
    rows = manager.filter(date_done__gte=earliest, status__in=states).order_by()
    try:
        page = []
        for task_id, at in rows.values_list("task_id", "date_done").iterator(PAGE):
            page.append(Row(task_id, aware(at, zone)))
            if len(page) == PAGE:
                yield page
                page = []
        yield page
    finally:
        close_old_connections()


# Times


def aware(moment: datetime | None, zone: tzinfo) -> datetime | None:
    """Return a stored local time with its zone.

    A zone repeats an hour in autumn. In it, return the later time that is not in the future.
    """
    if moment is None or moment.tzinfo is not None:
        return moment
    first, second = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return second if second <= datetime.now(UTC) + timedelta(minutes=1) else first


def _earliest(since: datetime, zone: tzinfo) -> datetime:
    """Return the earliest local time that clocks of a zone have shown since a moment.

    In autumn that may be an hour before the moment.
    """
    local, now = since.astimezone(zone), datetime.now(zone)
    back = (local.utcoffset() or timedelta()) - (now.utcoffset() or timedelta())
    return local - max(back, timedelta())


def _meta(status: str, result: Any, done: datetime | None, traceback: Any) -> dict[str, Any]:
    return {"status": status, "result": result, "date_done": done, "traceback": traceback}


def _decoded(decode: Callable[..., Any], *stored: Any) -> Any:
    try:
        return decode(*stored)
    except Exception:  # noqa: BLE001 - one unreadable result must not hide the others
        return UNREADABLE


#: By class name, since two of the classes belong to optional packages.
_READERS: Final[Mapping[str, Reader]] = {
    "celery.backends.base.BaseKeyValueStoreBackend": Reader(_from_keys),
    "celery.backends.database.DatabaseBackend": Reader(_from_sqlalchemy, _ended_in_sqlalchemy),
    "django_celery_results.backends.database.DatabaseBackend": Reader(
        _from_django, _ended_in_django
    ),
}
