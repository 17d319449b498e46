"""Exceptions that interrupt a task at any point, also while the service handles other exceptions.

A soft time limit raises its exception in the main thread, wherever that is. Most handlers of the
service are for exceptions of a user's object or of a library; they must raise this one again, or
the task never learns of its limit. ``core`` does not import Celery: the worker registers the class.
"""

from __future__ import annotations

from typing import Final

_CLASSES: Final[list[type[BaseException]]] = []


def register(exception_class: type[BaseException]) -> None:
    """Let a class of exceptions interrupt a task."""
    if exception_class not in _CLASSES:
        _CLASSES.append(exception_class)


def interrupts_task(error: BaseException) -> bool:
    """Return whether an exception interrupts the task: its time limit, or the process' end."""
    return isinstance(error, tuple(_CLASSES)) or not isinstance(error, Exception)
