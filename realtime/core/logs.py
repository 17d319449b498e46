"""The service's loggers: one event is one line, also with text from clients in it."""

from __future__ import annotations

import logging
import re
import traceback
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final

from .interruption import interrupts_task

#: The most characters of a line: with all of them escaped it is still below 2 KiB.
LINE_LENGTH: Final = 2000

#: Line ends, terminal sequences and other controls (C0, DEL, C1), separators at which some viewers
#: break a line, marks of writing direction, and half surrogate pairs, which no encoding has.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def get_logger(name: str) -> logging.Logger:
    """Return a logger whose messages are escaped and cut before any handler sees them."""
    logger = logging.getLogger(name)
    logger.addFilter(_one_line)  # adding it again changes nothing
    return logger


def _one_line(record: logging.LogRecord) -> bool:
    try:
        text = record.getMessage()
    except Exception as failure:  # any object may fail to describe itself
        if interrupts_task(failure):
            raise
        text = str(record.msg)
    if record.exc_info and record.exc_info[1] is not None:
        # File names and lines only: a traceback's text has many lines, ends with the unescaped
        # message, and shows source code.
        error, trace = record.exc_info[1:]
        text += f" error={_described(error)} at={_places(trace)}"
        record.exc_info = None
    record.msg, record.args = escaped(text), ()
    return True


class LineFormatter(logging.Formatter):
    """Formats the message of any logger as one line of at most 2 KiB.

    For a handler of the project: in a line of Django's, a client's path or host is as long as the
    head of a request may be. A traceback has further lines, which are cut too.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the formatted message, escaped and cut."""
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - as above
        """Return a traceback, with each line escaped and cut: the last one has the message."""
        return "\n".join(map(escaped, super().formatException(ei).splitlines()))


def escaped(text: str) -> str:
    """Return a text as one line of at most 2 KiB, with unprintable characters escaped."""
    line = _UNPRINTABLE.sub(_escape, text[:LINE_LENGTH])
    data = line.encode()
    if len(text) > LINE_LENGTH or len(data) > LINE_LENGTH:
        line = data[:LINE_LENGTH].decode(errors="ignore") + "…"
    return line


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()


def _described(error: BaseException) -> str:
    try:
        return repr(error)[:500]
    except Exception as failure:  # as above
        if interrupts_task(failure):
            raise
        return type(error).__name__


def _places(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)[-12:]
    return ",".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames)
