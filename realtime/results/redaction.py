"""Encode a task's texts and results as JSON, after ``REALTIME["REDACT"]`` has removed secrets.

All of a task's own content passes through here: the messages of its errors, its progress messages,
the other keys of its progress, and its results. Arguments, tracebacks and local variables are never
read.
"""

from __future__ import annotations

from typing import Any, Final

from celery.utils.serialization import (
    UnpickleableExceptionWrapper,
    ensure_serializable,
    get_pickleable_exception,
)
from django.utils.module_loading import import_string
from kombu.utils import json

from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.interruption import interrupts_task
from realtime.core.logs import get_logger

logger = get_logger("realtime.results.redaction")

#: Values of the function's first argument.
ERROR: Final = "error"
PROGRESS: Final = "progress"
RESULT: Final = "result"
META: Final = "meta"

#: Published instead of a text if the function raises.
WITHHELD: Final = "withheld"


def encode_error(exception: object) -> str:
    """Return ``{"type", "message"}`` of an exception, as JSON.

    Both equal those that are read from the result backend of the same failure
    (realtime/results/failures.py). For an exception that Celery wrapped, since it cannot be
    pickled, the type is the original one.
    """
    if isinstance(exception, UnpickleableExceptionWrapper):
        return encode_error_text(exception.exc_cls_name, _text_of_arguments(exception.exc_args))
    if not isinstance(exception, BaseException):
        return encode_error_text("Error", exception)
    # With its notes, as at the end of a traceback.
    parts = (exception, *vars(exception).get("__notes__", ()))
    message = "\n".join(map(jsontext.plain_text, parts))
    return encode_error_text(jsontext.type_name(exception), message)


def encode_failure(exception: object) -> str:
    """Return the same for an exception as it was raised, before Celery has made it pickleable."""
    if isinstance(exception, Exception):
        exception = get_pickleable_exception(exception)
    return encode_error(exception)


def encode_error_text(name: object, message: object) -> str:
    """Return the same for an error that is given as two texts."""
    return jsontext.encode_error(name, _redacted_text(ERROR, message))


def encode_progress(
    current: object = None, total: object = None, message: object = None, meta: object = None
) -> str:
    """Return ``{"current", "total", "message", "meta"}`` as JSON; null if all are unknown."""
    redacted = None if message is None else _redacted_text(PROGRESS, message)
    return jsontext.encode_progress(current, total, redacted, _encode_meta(meta))


def _encode_meta(meta: object) -> str:
    if meta is None or not conf().PROGRESS_META:
        return jsontext.NULL
    try:
        return jsontext.encode_meta(_redacted(META, meta))
    except Exception as error:  # a user's function, about a user's object
        if interrupts_task(error):
            raise
        _log_failure(META, error)
        return jsontext.NULL


def _text_of_arguments(arguments: Any) -> object:
    """Return the text of an exception's arguments, as the result backend stores them."""
    # If one of them is not JSON, Celery stores the text of all (celery/utils/serialization).
    (stored,) = ensure_serializable([arguments], json.dumps)
    return jsontext.plain_text(Exception(*stored)) if isinstance(stored, tuple | list) else stored


def encode_result(value: Any, *, limit: int | None = None) -> tuple[str, bool]:
    """Return a result as JSON text, and whether it was left out."""
    try:
        redacted = _redacted(RESULT, value)
    except Exception as error:  # a user's function, about a user's object
        if interrupts_task(error):
            raise
        _log_failure(RESULT, error)
        return jsontext.NULL, True
    return jsontext.encode_result(redacted, limit=limit)


def result_fields(value: Any) -> dict[str, str]:
    """Return the fields of a status for a result: its JSON, and whether it was left out."""
    text, truncated = encode_result(value, limit=conf().MAX_RESULT_BYTES)
    return {"result": text, "truncated": "true" if truncated else "false"}


def _redacted_text(kind: str, value: object) -> object:
    if not conf().REDACT:
        return value
    try:
        redacted = _redacted(kind, str(value))
    except Exception as error:  # as above
        if interrupts_task(error):
            raise
        _log_failure(kind, error)
        return WITHHELD
    return "" if redacted is None else redacted


def _redacted(kind: str, value: Any) -> Any:
    path = conf().REDACT
    return import_string(path)(kind, value) if path else value


def _log_failure(kind: str, error: BaseException) -> None:
    # Without the error's message, which may contain the secret.
    logger.error("redact_failed kind=%s error=%s", kind, jsontext.type_name(error))
