"""Live status of Celery tasks in the browser, through Django Channels. The public names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import status, tasks_of, wait
    from .core.status import Status
    from .exceptions import RealtimeError, TaskNotFound, WaitTimeout
    from .ownership import owned_by, owner_topic
    from .web.access.tokens import make_token
    from .web.forgetting import forget
    from .worker.progress import ThisTask, set_progress, this_task, track

__version__ = "0.1.0"

__all__ = [
    "RealtimeError",
    "Status",
    "TaskNotFound",
    "ThisTask",
    "WaitTimeout",
    "forget",
    "make_token",
    "owned_by",
    "owner_topic",
    "set_progress",
    "status",
    "tasks_of",
    "this_task",
    "track",
    "wait",
]

#: Loaded when used: an app's package is imported before Django is set up.
_PLACES = {
    "RealtimeError": "exceptions",
    "Status": "core.status",
    "TaskNotFound": "exceptions",
    "ThisTask": "worker.progress",
    "WaitTimeout": "exceptions",
    "forget": "web.forgetting",
    "make_token": "web.access.tokens",
    "owned_by": "ownership",
    "owner_topic": "ownership",
    "set_progress": "worker.progress",
    "status": "api",
    "tasks_of": "api",
    "this_task": "worker.progress",
    "track": "worker.progress",
    "wait": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
