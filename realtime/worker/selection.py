"""Select the tasks whose states are pushed.

``REALTIME["TASKS"]`` and ``@shared_task(realtime=False)`` exclude tasks. Some of Celery's own are
never pushed.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from celery import current_app
from django.core.signals import setting_changed

from realtime.conf import conf
from realtime.core.change import Dependent

#: Celery's own tasks that are never pushed. ``celery.accumulate`` is pushed: it ends a task that a
#: group replaced, under that task's id. So are ``celery.map``, ``celery.starmap`` and
#: ``celery.chunks``, which run a user's code.
CHORD_UNLOCK: Final = "celery.chord_unlock"
ACCUMULATE: Final = "celery.accumulate"
_HIDDEN: Final = frozenset({CHORD_UNLOCK, "celery.backend_cleanup"})


def is_pushed(name: object, task: Any = None) -> bool:
    """Return whether the states of a task with this name are pushed.

    Without ``task``, the task is looked up by its name. In a process where it is not registered,
    the name decides alone.
    """
    if not isinstance(name, str):
        return True
    if task is None:
        task = current_app.tasks.get(name)
    return getattr(task, "realtime", True) is not False and _is_selected(name)


def pushed(dependents: tuple[Dependent, ...]) -> tuple[Dependent, ...]:
    """Return those of the tasks whose states are pushed."""
    return _split(dependents)[0] if dependents else ()


def excluded(dependents: tuple[Dependent, ...]) -> list[str]:
    """Return the ids of those of the tasks whose states are not pushed."""
    return _split(dependents)[1] if dependents else []


@lru_cache(maxsize=64)
def _split(dependents: tuple[Dependent, ...]) -> tuple[tuple[Dependent, ...], list[str]]:
    # Cached, since all members of a chord have the same dependents.
    excluded_ids = [task_id for task_id, name in dependents if not is_pushed(name)]
    if not excluded_ids:
        return dependents, excluded_ids
    return tuple(each for each in dependents if each.task_id not in excluded_ids), excluded_ids


@lru_cache(maxsize=4096)
def _is_selected(name: str) -> bool:
    if name in _HIDDEN:
        return False
    patterns = conf().TASKS
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    included = [pattern for pattern in patterns if not pattern.startswith("!")]
    return not any(fnmatchcase(name, pattern) for pattern in excluded) and (
        not included or any(fnmatchcase(name, pattern) for pattern in included)
    )


def _reset(*, setting: str, **_kwargs: object) -> None:
    if setting == "REALTIME":
        _is_selected.cache_clear()
        _split.cache_clear()


setting_changed.connect(_reset)
