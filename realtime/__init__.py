"""Live status of Celery tasks in the browser, through Django Channels. The public names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import forget, make_token, status, tasks_of, wait
    from .core.status import Status
    from .exceptions import RealtimeError, TaskNotFound, WaitTimeout
    from .ownership import owned_by, owner_topic
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

#: The public names of each module. A module is imported when a name is used: Django imports an
#: app's package before the settings are ready, and a worker needs nothing of the web process.
_MODULES = {
    "api": ("forget", "make_token", "status", "tasks_of", "wait"),
    "core.status": ("Status",),
    "exceptions": ("RealtimeError", "TaskNotFound", "WaitTimeout"),
    "ownership": ("owned_by", "owner_topic"),
    "worker.progress": ("ThisTask", "set_progress", "this_task", "track"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
