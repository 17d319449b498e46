"""Which tasks are pushed: ``REALTIME["TASKS"]``, ``@shared_task(realtime=False)``, Celery's own."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from celery import current_app
from django.core.signals import setting_changed

from realtime.conf import conf
from realtime.core.change import Dependent

#: Celery's own tasks that no user wrote. ``celery.accumulate`` is none of them: it ends a task
#: that was replaced by a group, under that task's id. ``celery.map``, ``celery.starmap`` and
#: ``celery.chunks`` run a user's code.
CHORD_UNLOCK: Final = "celery.chord_unlock"
ACCUMULATE: Final = "celery.accumulate"
_HIDDEN: Final = frozenset({CHORD_UNLOCK, "celery.backend_cleanup"})


def is_pushed(name: object, task: Any = None) -> bool:
    """Return whether the states of a task with this name are pushed.

    ``task`` is the task itself where the caller has it; else it is looked up, and a process that
    does not know it goes by its name alone.
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
    """Return the ids of the others."""
    return _split(dependents)[1] if dependents else []


@lru_cache(maxsize=64)
def _split(dependents: tuple[Dependent, ...]) -> tuple[tuple[Dependent, ...], list[str]]:
    # Remembered: each member of a chord carries the same ones.
    left_out = [task_id for task_id, name in dependents if not is_pushed(name)]
    if not left_out:
        return dependents, left_out
    return tuple(each for each in dependents if each.task_id not in left_out), left_out


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


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting == "REALTIME":
        _is_selected.cache_clear()
        _split.cache_clear()


setting_changed.connect(_forget)
