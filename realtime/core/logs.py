"""The service's loggers: one event is one line, whatever a stranger has put into it."""

from __future__ import annotations

import logging
import re
import traceback
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final

#: Characters of a line, at most: with every one of them escaped it is still under 2 KiB.
LINE_LENGTH: Final = 2000

#: Line ends, terminal sequences and other controls (C0, DEL, C1), what some viewers break a line
#: at, what turns the direction of writing, and half a surrogate pair, which no file can hold.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def get_logger(name: str) -> logging.Logger:
    """Return a logger whose messages are escaped and cut before any handler sees them."""
    logger = logging.getLogger(name)
    logger.addFilter(_one_line)  # doing it again changes nothing
    return logger


def _one_line(record: logging.LogRecord) -> bool:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - a stranger's object may fail to describe itself
        text = str(record.msg)
    if record.exc_info and record.exc_info[1] is not None:
        # The places in one line: a traceback's own text ends with the exception's, line ends and
        # all, and shows the code of everything on the way.
        error, trace = record.exc_info[1:]
        text += f" error={_described(error)} at={_places(trace)}"
        record.exc_info = None
    record.msg, record.args = escaped(text), ()
    return True


class LineFormatter(logging.Formatter):
    """Writes what any logger says in one line of at most 2 KiB, as the service's own say it.

    For a handler of the project: a stranger's path or host in a line of Django's is as long as the
    head of a request may be. An exception's traceback follows, in lines of its own, cut as well.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Escape and cut the message, and put it into the format."""
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - as above
        """Escape and cut each line of a traceback: the last one is the exception's own words."""
        return "\n".join(map(escaped, super().formatException(ei).splitlines()))


def escaped(text: str) -> str:
    """Return a text in one line of at most 2 KiB, with what is no print character escaped."""
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
    except Exception:  # noqa: BLE001 - as above
        return type(error).__name__


def _places(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)[-12:]
    return ",".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames)
