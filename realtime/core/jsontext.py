"""Encodes any object of a task as strict JSON."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
import time
import uuid
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any, Final

from .interruption import interrupts_task

NULL: Final = "null"

#: The deepest nesting. Python's parser fails somewhere below its recursion limit of 1,000.
DEPTH: Final = 200
_BRACKETS: Final = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*"')

#: Made once: `json.dumps()` makes one for each call, which costs as much as encoding most texts.
_ENCODER: Final = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))

#: The most characters of the messages of exceptions and progress.
MESSAGE_LENGTH: Final = 500
#: The most bytes of a progress' ``meta``.
META_BYTES: Final = 1024


def dumps(value: Any) -> str:
    """Encode a value of the service itself: strict, compact, with unescaped UTF-8."""
    return _ENCODER.encode(value)


def encode_result(value: Any, *, limit: int | None = None) -> tuple[str, bool]:
    """Return a task's result as JSON text, and whether it was left out.

    Dates, times, UUIDs and decimals become text, sets become lists. A result that JSON cannot
    express (NaN, bytes, a lone surrogate, an object that contains itself) gives ``("null", True)``:
    no result prevents its ending. With a ``limit``, in bytes, so does a longer result, and one that
    is nested so deeply that a parser could fail at its status.
    """
    if value is None:
        return NULL, False
    try:
        text = _RESULT_ENCODER.encode(value)
        size = len(text.encode())
    except Exception as error:  # a user's object may raise any exception
        if interrupts_task(error):
            raise
        return NULL, True
    # Each level has two brackets, so a shorter text cannot exceed the depth.
    if limit is not None and (size > limit or (size > 2 * DEPTH and depth_of(text) > DEPTH)):
        return NULL, True
    return text, False


def depth_of(text: str) -> int:
    """Return the depth of nesting of a JSON text, without parsing it."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


def _nearest(value: Any) -> Any:
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID | decimal.Decimal):
        return str(value)
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_RESULT_ENCODER: Final = json.JSONEncoder(
    allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_nearest
)


def encode_text(value: object, *, limit: int = MESSAGE_LENGTH) -> str:
    """Return any object's text as a JSON string of at most ``limit`` characters."""
    if type(value) is str and len(value) <= limit and value.isascii():
        return encode_basestring(value)
    return encode_basestring(plain_text(value)[:limit])


def plain_text(value: object) -> str:
    """Return any object's text as a plain ``str`` that UTF-8 can encode."""
    if type(value) is str and value.isascii():
        return value
    try:
        text = str.__str__(value) if isinstance(value, str) else str(value)
        text = "".join((text,))  # a copy, without methods of a subclass
        # A lone surrogate is legal in a str and illegal in UTF-8.
        return text if text.isascii() else text.encode(errors="replace").decode()
    except Exception as error:  # a user's exception may fail to describe itself
        if interrupts_task(error):
            raise
        return f"<unprintable {type_name(value)}>"


def type_name(value: object) -> str:
    """Return the name of an object's class, also if the class raises an exception."""
    try:
        return str(type(value).__name__)
    except Exception as error:  # a metaclass may raise any exception
        if interrupts_task(error):
            raise
        return "object"


def encode_error(name: object, message: object) -> str:
    """Return ``{"type", "message"}``: never arguments, tracebacks or local variables."""
    return f'{{"type":{encode_text(name)},"message":{encode_text(message)}}}'


def encode_progress(
    current: object = None, total: object = None, message: object = None, meta: str = NULL
) -> str:
    """Return ``{"current", "total", "message", "meta"}``, or null if all of them are unknown.

    ``meta`` is JSON text.
    """
    number, whole = _number(current), _number(total)
    text = NULL if message is None else encode_text(message)
    text = NULL if text == '""' else text
    if number == whole == text == meta == NULL:
        return NULL
    return f'{{"current":{number},"total":{whole},"message":{text},"meta":{meta}}}'


def encode_meta(value: object, *, limit: int = META_BYTES) -> str:
    """Return a mapping as a JSON object of at most ``limit`` bytes, otherwise null."""
    if not isinstance(value, Mapping) or not value:
        return NULL
    text, _ = encode_result(dict(value), limit=limit)
    return text


def _number(value: object) -> str:
    try:
        if isinstance(value, int):  # also bool, which JSON would otherwise call true
            whole = int(value)
            return str(whole) if abs(whole) < 2**53 else NULL
        number = float(value)  # type: ignore[arg-type]
    except Exception as error:  # a user's object may raise any exception: it is not a number
        if interrupts_task(error):
            raise
        return NULL
    return repr(number) if math.isfinite(number) else NULL


def timestamp(moment: datetime.datetime | None = None) -> str:
    """Return a time as JSON text: ISO 8601, UTC, milliseconds. For display, never for ordering.

    A time without a zone is taken as UTC. Without a time, return the present one.
    """
    if moment is None:
        return _now()
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    else:
        moment = moment.astimezone(datetime.UTC)
    return f'"{moment.isoformat(timespec="milliseconds")[:-6]}Z"'  # without its "+00:00"


#: The second of the last timestamp, and its text.
_second: tuple[int, str] = (0, "1970-01-01T00:00:00")


def _now() -> str:
    # Each change has one or two timestamps; with datetime they would cost more than the rest.
    global _second
    moment = time.time()
    whole = int(moment)
    second, text = _second
    if second != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _second = whole, text
    return f'"{text}.{int((moment - whole) * 1000):03d}Z"'


def timestamp_of(text: str | None) -> str:
    """Return the timestamp of an ISO 8601 text, such as the ETA of a message; else null."""
    moment = moment_of(text)
    return NULL if moment is None else timestamp(moment)


def moment_of(text: str | None) -> datetime.datetime | None:
    """Return the time of an ISO 8601 text in UTC; None for other text."""
    if not text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=datetime.UTC)
        return moment.astimezone(datetime.UTC)
    except (TypeError, ValueError, OverflowError):  # the last: year 9999, west of Greenwich
        return None
