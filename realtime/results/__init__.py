"""Read Celery's result backend as data: endings by task id, endings since a time, whole results.

========================  ==========================  =========================
kind of backend           endings and results by id   endings since a time
========================  ==========================  =========================
key-value (Redis, …)      one ``mget`` per PAGE ids   none
SQLAlchemy                one query per PAGE ids      one query, in pages
django-celery-results     one query per PAGE ids      one query, in pages
others, or none           none                        none
========================  ==========================  =========================

"None" means that the functions return nothing. They raise what the backend raises.

Celery itself would import and build the exception that a stored failure names
(celery/backends/base.py, ``exception_to_python``), and unpickle what an older release stored in a
database (celery/backends/database, ``_decode_stored_result``). Here the accepted serializers decode
what is stored, and nothing in it is executed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from celery import current_app

from realtime.core import jsontext
from realtime.core.chunks import chunks
from realtime.core.states import FAILURE, REVOKED, SUCCESS
from realtime.core.status import ending
from realtime.results import redaction

from .backends import PAGE, UNREADABLE, Row, reader_of
from .failures import error_of

__all__ = [
    "PAGE",
    "Ending",
    "Row",
    "ended_since",
    "is_readable",
    "is_searchable",
    "stored_ending",
    "stored_endings",
    "stored_result",
]

_ENDINGS: Final = (SUCCESS, FAILURE, REVOKED)
#: Versions of UUIDs that are unique; the others are derived from a name.
_UNIQUE_VERSIONS: Final = frozenset({1, 4, 6, 7})


class Ending(NamedTuple):
    """How a task ended, as its result backend stored it."""

    state: str
    #: The fields of the status, as JSON text by key.
    fields: dict[str, str]
    #: When the backend stored it; None where the backend stores no time.
    stored_at: datetime | None

    def belongs_to(self, task_id: str, *, again: bool, published_at: str | None) -> bool:
        """Return whether this is the ending of the task's current publication.

        ``again`` means that the id was published before. A unique id that was published once has
        one ending at most, so no clock is compared. For any other id the backend may still store
        the ending of an earlier publication: then the ending must have been stored after
        ``published_at``. That time is None if the publisher does not use this service.
        """
        if not again and (_is_unique(task_id) or published_at is None):
            return True
        published = jsontext.moment_of(published_at)
        if self.stored_at is None or published is None:
            return False
        # `published` has milliseconds, and MySQL stores whole seconds in Celery's own table.
        step = timedelta(milliseconds=1) if self.stored_at.microsecond else timedelta(seconds=-1)
        return self.stored_at - step >= published


def _is_unique(task_id: str) -> bool:
    """Return whether an id belongs to one task only: a random UUID, as Celery makes them."""
    try:
        return uuid.UUID(task_id).version in _UNIQUE_VERSIONS
    except ValueError:
        return False


def is_readable(backend: type) -> bool:
    """Return whether this service can read a class of result backends."""
    return reader_of(backend) is not None


def is_searchable() -> bool:
    """Return whether :func:`ended_since` works: the backend is a database."""
    reader = reader_of(type(current_app.backend))
    return reader is not None and reader.ended is not None


def stored_ending(task_id: str) -> Ending | None:
    """Return the stored ending of one task; None if there is none."""
    return stored_endings([task_id]).get(task_id)


def stored_endings(task_ids: Sequence[str]) -> dict[str, Ending]:
    """Return the stored endings of many tasks, by id; tasks without one are left out."""
    return {
        task_id: _ending(meta)
        for task_id, meta in _metas(task_ids).items()
        if meta.get("status") in _ENDINGS
    }


def stored_result(
    task_id: str, *, again: bool = False, published_at: str | None = None
) -> tuple[bool, Any]:
    """Return whether the backend stores a readable result of a successful task, and that result.

    It must belong to the task's current publication: see :meth:`Ending.belongs_to`.
    """
    meta = _metas([task_id]).get(task_id, {})
    result = meta.get("result")
    success = Ending(SUCCESS, {}, _moment(meta.get("date_done")))
    found = meta.get("status") == SUCCESS and result is not UNREADABLE
    return found and success.belongs_to(task_id, again=again, published_at=published_at), result


def ended_since(since: datetime) -> Iterator[Sequence[Row]]:
    """Yield pages of the endings that a database has stored since a time, without their results.

    The stored times come from the workers' clocks.
    """
    backend = current_app.backend
    reader = reader_of(type(backend))
    if reader is not None and reader.ended is not None:
        yield from reader.ended(backend, since, _ENDINGS)


def _metas(task_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the backend's data of these tasks, by id: "status", "result", "date_done"."""
    backend = current_app.backend
    reader = reader_of(type(backend))
    metas: dict[str, Mapping[str, Any]] = {}
    if reader is not None:
        for some in chunks(task_ids, PAGE):
            metas |= dict(reader.metas(backend, some))
    return metas


def _ending(meta: Mapping[str, Any]) -> Ending:
    stored_at = _moment(meta.get("date_done"))
    fields = ending("" if stored_at is None else jsontext.timestamp(stored_at))
    if meta["status"] == SUCCESS:
        fields |= redaction.result_fields(meta.get("result"))
    else:
        fields["error"] = redaction.encode_error_text(*error_of(meta))
    return Ending(meta["status"], fields, stored_at)


def _moment(done: Any) -> datetime | None:
    """Return a stored time with its time zone, which is UTC if none was stored."""
    try:
        moment = datetime.fromisoformat(done) if isinstance(done, str) else done
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (AttributeError, TypeError, ValueError):
        return None
