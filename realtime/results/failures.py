"""The type and the message of a stored failure, equal to those of the exception that was raised.

The exception is not built again. Celery stores the name of its class, its arguments, and the text
of its traceback, which ends with ``str(exception)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

#: The class that Celery stores if neither an exception nor any of its base classes can be pickled.
#: Its arguments are (module, class, arguments, text).
_WRAPPER: Final = "UnpickleableExceptionWrapper"


def error_of(meta: Mapping[str, Any]) -> tuple[str, object]:
    """Return the type and the message of a failure, from the backend's data of the task."""
    result = meta.get("result")
    if not isinstance(result, Mapping):
        return meta["status"], result
    name, module = str(result.get("exc_type", meta["status"])), result.get("exc_module")
    arguments, traceback = result.get("exc_message", ""), meta.get("traceback")
    if name == _WRAPPER and isinstance(arguments, list | tuple) and len(arguments) == 4:
        module, name, arguments, _ = arguments
        traceback = None  # it is the wrapper's
    name, module = str(name), str(module)
    last_line = _last_line(traceback, module, name)
    message = _text_of(arguments, module, name) if last_line is None else last_line
    return name.rpartition(".")[2], message


def _last_line(traceback: object, module: str, name: str) -> str | None:
    """Return the message that a traceback ends with."""
    if not isinstance(traceback, str):
        return None
    heading = name if module in ("builtins", "__main__", "None") else f"{module}.{name}"
    _, found, message = f"\n{traceback.rstrip()}".rpartition(f"\n{heading}: ")
    return message if found else None


def _text_of(arguments: object, module: str, name: str) -> object:
    """Return what ``str()`` returns of an exception with these arguments."""
    if not isinstance(arguments, Sequence) or isinstance(arguments, str):
        return arguments
    if module == "billiard.exceptions" and name.endswith("TimeLimitExceeded"):
        return f"{name}{tuple(arguments)}"
    if len(arguments) > 1:
        return str(tuple(arguments))
    if not arguments:
        return ""
    return repr(arguments[0]) if name == "KeyError" else arguments[0]
