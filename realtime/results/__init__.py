"""Celery's result backend, read as data, and never more than that.

Celery would import and build the exception that a failed task's data names
(celery/backends/base.py, ``exception_to_python``), and unpickle what an older one left in a
database (celery/backends/database, ``_decode_stored_result``): here what is stored is decoded by
the serializers that are accepted, and nothing in it is believed to be code.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from celery import current_app

from realtime.core import jsontext
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
    "is_unique",
    "stored_endings",
    "stored_metas",
    "stored_result",
]

_ENDINGS: Final = (SUCCESS, FAILURE, REVOKED)
#: Versions of UUIDs of which no two are equal: the others are made from a name.
_UNIQUE_VERSIONS: Final = frozenset({1, 4, 6, 7})


class Ending(NamedTuple):
    """How a task ended, as its result backend stored it."""

    state: str
    #: The fields of the status, as JSON text by key.
    fields: dict[str, str]
    #: When the backend stored it; None where that is not stored.
    stored_at: datetime | None

    def is_of(self, task_id: str, *, again: bool, published_at: str | None) -> bool:
        """Return whether this is the ending of the publication that is known of the task.

        ``again`` means that the id was published before. A random id that was published once has
        one ending at most, and no clock decides. Of any other id the backend may still store an
        earlier ending: believe the one that was stored after the task was published. (Of a task
        whose publisher does not know this service, nobody knows when that was.)
        """
        if not again and (is_unique(task_id) or published_at is None):
            return True
        published = jsontext.moment_of(published_at)
        if self.stored_at is None or published is None:
            return False
        # The other time has milliseconds, and MySQL stores whole seconds in Celery's own table.
        step = timedelta(milliseconds=1) if self.stored_at.microsecond else timedelta(seconds=-1)
        return self.stored_at - step >= published


def is_unique(task_id: str) -> bool:
    """Return whether an id was made at random, as Celery makes them, and so belongs to one task."""
    try:
        return uuid.UUID(task_id).version in _UNIQUE_VERSIONS
    except ValueError:
        return False


def is_readable(backend: type) -> bool:
    """Return whether a class of result backends can be asked about many tasks, as data."""
    return reader_of(backend) is not None


def is_searchable() -> bool:
    """Return whether the backend can list what ended since a time: whether it is a database."""
    reader = reader_of(type(current_app.backend))
    return reader is not None and reader.ended is not None


def stored_metas(task_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return what the backend stores of these tasks, by id: "status", "result", "date_done".

    Of a backend that :func:`is_readable` denies, and of none, nothing is returned. The backend is
    asked about :data:`PAGE` tasks at once. Raises what the backend raises.
    """
    backend = current_app.backend
    reader = reader_of(type(backend))
    metas: dict[str, Mapping[str, Any]] = {}
    if reader is not None:
        for start in range(0, len(task_ids), PAGE):
            metas |= dict(reader.metas(backend, task_ids[start : start + PAGE]))
    return metas


def stored_endings(task_ids: Sequence[str]) -> dict[str, Ending]:
    """Return the endings that the backend stores of these tasks, by id."""
    return {
        task_id: _ending(meta)
        for task_id, meta in stored_metas(task_ids).items()
        if meta.get("status") in _ENDINGS
    }


def ended_since(since: datetime) -> Iterator[Sequence[Row]]:
    """Yield, in pages, what a database stored since a time of endings, without their results.

    The times are those of the workers' clocks. Of other backends nothing is yielded.
    """
    backend = current_app.backend
    reader = reader_of(type(backend))
    if reader is not None and reader.ended is not None:
        yield from reader.ended(backend, since, _ENDINGS)


def stored_result(task_id: str) -> tuple[bool, Any]:
    """Return whether the backend stores a result of a task that succeeded, and that result."""
    meta = stored_metas([task_id]).get(task_id, {})
    result = meta.get("result")
    return meta.get("status") == SUCCESS and result is not UNREADABLE, result


def _ending(meta: Mapping[str, Any]) -> Ending:
    stored_at = _moment(meta.get("date_done"))
    fields = ending("" if stored_at is None else jsontext.timestamp(stored_at))
    if meta["status"] == SUCCESS:
        fields |= redaction.result_fields(meta.get("result"))
    else:
        fields["error"] = redaction.encode_error_text(*error_of(meta))
    return Ending(meta["status"], fields, stored_at)


def _moment(done: Any) -> datetime | None:
    """Return a time that was stored, with its time zone: UTC where none was stored."""
    try:
        moment = datetime.fromisoformat(done) if isinstance(done, str) else done
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (AttributeError, TypeError, ValueError):
        return None
