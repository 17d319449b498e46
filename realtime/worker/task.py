"""Push the states that existing code sets by ``update_state``, in tasks of every class."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

import celery.app.task
from celery.contrib.django.task import DjangoTask

from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.interruption import interrupts_task
from realtime.core.logs import get_logger
from realtime.core.states import CUSTOM_RANK, FAILURE, PROGRESS, SUCCESS, TERMINAL, rank
from realtime.core.status import ending
from realtime.results import redaction

from .messages import is_excluded
from .publisher import publisher
from .runs import current_run, reports_of, warn_of_thread_without_task

logger = get_logger("realtime.worker")

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_MARK: Final = "realtime_wrapped"
#: Keys of ``meta`` that may have the message; the first that is not empty is used.
_MESSAGES: Final = ("message", "status", "description")
_KNOWN: Final = frozenset({"current", "total", *_MESSAGES})


class Task(DjangoTask):  # type: ignore[type-arg]
    """Django's task class, for existing code: ``task_cls="realtime.worker.task:Task"``."""

    abstract = True


def connect() -> None:
    """Wrap ``Task.update_state``, for which Celery has no signal. Calling it again changes nothing.

    It still stores the state in the result backend. A mapping's ``current``, ``total`` and
    ``message`` (or ``status``, ``description``) become the progress.
    """
    base = celery.app.task.Task
    original = base.update_state
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def update_state(
        self: Any, task_id: Any = None, state: Any = None, meta: Any = None, **kwargs: Any
    ) -> Any:
        result = original(self, task_id=task_id, state=state, meta=meta, **kwargs)
        if state:
            own_id = self.request.id
            push_state(None if task_id in (None, own_id) else task_id, own_id, state, meta)
        return result

    setattr(update_state, _MARK, True)
    base.update_state = update_state  # type: ignore[method-assign]


def push_state(task_id: Any, own_id: Any, state: Any, meta: Any) -> None:
    """Push a state of a task; if ``task_id`` is None, of the task that this code is part of.

    Raises only what interrupts the task.
    """
    try:
        _push(task_id, own_id, state, meta)
    except Exception as error:
        if interrupts_task(error):
            raise
        logger.exception("state_not_pushed id=%.100r", task_id or own_id)


def _push(task_id: Any, own_id: Any, state: Any, meta: Any) -> None:
    run = current_run()
    if run is not None and task_id not in (None, run.task_id):
        run = None
    task_id = task_id or own_id
    if run is None and task_id is None:
        warn_of_thread_without_task("update_state")
        return
    if run is not None and not run.is_pushed:
        return
    if run is None and _is_excluded_parent(task_id):
        return
    given = meta if isinstance(meta, Mapping) else {}
    name = str.__str__(state) if isinstance(state, str) else ""
    if not _NAME.fullmatch(name):
        name = PROGRESS
    if rank(name) == CUSTOM_RANK:
        progress = _progress(given)
        if run is not None:
            run.report(name, progress)
        else:
            reports_of(task_id).report(name, progress)
        return
    fields = _outcome(name, given) | {"updated_at": jsontext.timestamp()}
    if run is None:
        publisher.publish(reports_of(task_id).change(name, fields))
    elif not run.finished:
        run.publish(name, fields)


def _is_excluded_parent(task_id: Any) -> bool:
    """Return whether this task published the running one, and is not pushed."""
    run = current_run()
    return run is not None and is_excluded(task_id, run.header)


def _progress(meta: Mapping[Any, Any]) -> str:
    messages = [_get(meta, key) for key in _MESSAGES]
    message = next((each for each in messages if not _is_empty(each)), None)
    rest = _copy(meta) if conf().PROGRESS_META else {}
    for key in _KNOWN:
        rest.pop(key, None)
    current, total = _get(meta, "current"), _get(meta, "total")
    return redaction.encode_progress(current, total, message, rest or None)


def _get(meta: Mapping[Any, Any], key: str) -> Any:
    try:
        return meta.get(key)
    except Exception as error:
        if interrupts_task(error):
            raise
        return None


def _copy(meta: Mapping[Any, Any]) -> dict[Any, Any]:
    try:
        return dict(meta)
    except Exception as error:
        if interrupts_task(error):
            raise
        return {}


def _is_empty(message: object) -> bool:
    return message is None or (isinstance(message, str) and not message)


def _outcome(state: str, meta: Mapping[Any, Any]) -> dict[str, str]:
    fields = ending() if state in TERMINAL else {}
    if state == SUCCESS:
        fields |= redaction.result_fields(_copy(meta))
    elif state == FAILURE:
        name, message = _get(meta, "exc_type"), _get(meta, "exc_message")
        name = FAILURE if name is None else name
        fields["error"] = redaction.encode_error_text(name, "" if message is None else message)
    return fields
