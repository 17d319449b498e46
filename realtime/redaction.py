"""What a task says, as JSON, after ``REALTIME["REDACT"]`` has taken out what must stay inside.

Everything that a task says in its own words passes through here: the messages of its errors, its
progress messages and its results. Arguments, tracebacks and local variables are never looked at.
"""

from __future__ import annotations

from typing import Any, Final

from django.utils.module_loading import import_string

from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.logs import get_logger

logger = get_logger("realtime.redaction")

#: The first argument of the function.
ERROR: Final = "error"
PROGRESS: Final = "progress"
RESULT: Final = "result"

#: Said instead of a text that the function failed at.
WITHHELD: Final = "withheld"


def encode_error(exception: object) -> str:
    """Return ``{"type", "message"}`` of an exception, as JSON."""
    name = type(exception).__name__ if isinstance(exception, BaseException) else "Error"
    return encode_told_error(name, exception)


def encode_told_error(name: object, message: object) -> str:
    """Return the same of an error that is told in two texts."""
    return jsontext.encode_error(name, _redacted_text(ERROR, message))


def encode_progress(current: object, total: object = None, message: object = None) -> str:
    """Return ``{"current", "total", "message"}`` as JSON, or null where there is no number."""
    told = None if message is None else _redacted_text(PROGRESS, message)
    return jsontext.encode_progress(current, total, told)


def encode_result(value: Any, *, limit: int | None = None) -> tuple[str, bool]:
    """Return a result as JSON text, and whether it had to be left out."""
    try:
        told = _redacted(RESULT, value)
    except Exception as error:  # noqa: BLE001 - a user's function, about a user's object
        _complain(RESULT, error)
        return jsontext.NULL, True
    return jsontext.encode_result(told, limit=limit)


def result_fields(value: Any) -> dict[str, str]:
    """Return what a status says of a result: itself, or that it had to be left out."""
    text, truncated = encode_result(value, limit=conf().MAX_RESULT_BYTES)
    return {"result": text, "truncated": "true" if truncated else "false"}


def _redacted_text(kind: str, value: object) -> object:
    if not conf().REDACT:
        return value
    try:
        return _redacted(kind, str(value))
    except Exception as error:  # noqa: BLE001 - as above
        _complain(kind, error)
        return WITHHELD


def _redacted(kind: str, value: Any) -> Any:
    path = conf().REDACT
    return import_string(path)(kind, value) if path else value


def _complain(kind: str, error: BaseException) -> None:
    # Not what it says: that may hold the very thing.
    logger.error("redact_failed kind=%s error=%s", kind, type(error).__name__)
