"""Receivers in a process that publishes a task: a view, a beat, or a task that starts others.

``before_task_publish`` writes the message's header. ``after_task_publish`` publishes PENDING of the
task, and of the tasks that wait for it.

The header of a message is one of these (celery/canvas.py, celery/app/task.py,
celery/backends/base.py):

- A message with the running task's id is its next attempt, or a task that replaces it. It keeps the
  publication and the owner.
- A message that carries the running task's id replaces the running task by a canvas. It keeps both.
- A dependent of the running task keeps both too: it was announced with the running task.
- Every other message is a new publication. The messages of one group or chord share it.
"""

from __future__ import annotations

import inspect
import secrets
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Task

from realtime.core import jsontext
from realtime.core.change import Change, Dependent
from realtime.core.states import PENDING, RETRY
from realtime.ownership import current_owner
from realtime.results import redaction

from . import canvas
from .messages import (
    HEADER,
    change_of,
    chord_of,
    dependents_of,
    embed_of,
    header_of,
    header_text,
    identity_fields,
)
from .runs import Run, current_run, warn_of_thread_without_task
from .selection import excluded, is_pushed, pushed
from .time_limits import repeat_soft_timeout

#: The requests that MAIN has received, by task id. MAIN has no current task when it publishes error
#: callbacks and when it receives signals of failures; here it finds the task's message.
received_requests: Final[WeakValueDictionary[str, Any]] = WeakValueDictionary()


@dataclass(slots=True)
class _Plan:
    """The PENDING changes to publish after a message is sent."""

    headers: Mapping[str, Any]
    header: Mapping[str, Any]
    announces_itself: bool
    dependents: tuple[Dependent, ...]


#: Set between the two signals of one message.
_plan: Final[ContextVar[_Plan | None]] = ContextVar("realtime_plan", default=None)


def on_before_publish(
    headers: MutableMapping[str, Any] | None = None, body: Any = None, **_kwargs: Any
) -> None:
    """Write a message's header: its publication and its owner."""
    _plan.set(None)
    if not headers or "id" not in headers:
        return  # message protocol 1
    try:
        header = _header_of_message(headers, body)
    except SoftTimeLimitExceeded:
        repeat_soft_timeout(current_run())
        header = _header_of_message(headers, body)
    if header:
        headers[HEADER] = header
    else:
        headers.pop(HEADER, None)  # copied from another task's message


def on_after_publish(headers: Mapping[str, Any] | None = None, **_kwargs: Any) -> None:
    """Publish PENDING of a task, and of the tasks that wait for it."""
    plan = _plan.get()
    if plan is None or plan.headers is not headers:
        return
    try:
        _announce(plan, headers)
    except SoftTimeLimitExceeded:
        repeat_soft_timeout(current_run())
        _announce(plan, headers)  # harmless if it was done
    _plan.set(None)


def _announce(plan: _Plan, headers: Mapping[str, Any]) -> None:
    header, changes = plan.header, []
    if plan.announces_itself:
        fields = identity_fields(headers.get("task"), headers, header)
        eta = jsontext.timestamp_of(headers.get("eta"))
        attempt = headers.get("retries") or 0
        changes.append(_pending(headers["id"], fields, eta, attempt, header))
    for task_id, name in canvas.unannounced(plan.dependents):
        fields = identity_fields(name, {**headers, "parent_id": None}, header)
        changes.append(_pending(task_id, fields, jsontext.NULL, 0, header))
    canvas.announce(changes)


def _pending(
    task_id: str, fields: dict[str, str], eta: str, attempt: int, header: Mapping[str, Any]
) -> Change:
    fields = fields | {"eta": eta, "updated_at": jsontext.timestamp()}
    return change_of(task_id, PENDING, fields, header, attempt=attempt)


def _header_of_message(headers: Mapping[str, Any], body: Any) -> dict[str, Any]:
    """Return a message's header, and plan the PENDING changes."""
    run, embed = current_run(), embed_of(body)
    if run is None:
        inherited = _republished_message(headers)
        if inherited is not None:
            return inherited
    elif run.task_id == headers["id"]:
        return _next_message(run, headers, embed)
    if run is not None and headers["id"] in run.dependent_ids:
        return _dependent_message(run)
    scope = canvas.publication() or secrets.token_urlsafe(9)
    chord = chord_of(headers.get("task"), body[0] if embed else (), embed.get("chord"))
    waiting = dependents_of(embed.get("chain"), chord, scope)
    if run is not None and any(task_id == run.task_id for task_id, _ in waiting):
        return _replacement(run, headers, waiting)
    is_shown = is_pushed(headers.get("task"))
    dependents = pushed(waiting)
    header: dict[str, Any] = {}
    if is_shown or dependents:
        header = {
            "publication": scope,
            "owner": canvas.owner(lambda: _owner(run, headers)),
            "published_at": _now(),
        }
    elif run is not None and run.owner:
        header = {"owner": run.owner}  # of the tasks that this one will start
    if run is not None and run.dependent_ids:
        dependents = tuple(each for each in dependents if each.task_id not in run.dependent_ids)
    if dependents:
        canvas.add_body(embed.get("chain"), chord, header)
    header = _with_plan(headers, header, waiting, is_shown, dependents)
    if run is not None and not run.is_pushed and "publication" in header:
        header["excluded"] = [run.task_id, *header.get("excluded", ())]
    return header


def _with_plan(
    headers: Mapping[str, Any],
    header: dict[str, Any],
    waiting: tuple[Dependent, ...],
    announces_itself: bool,
    dependents: tuple[Dependent, ...],
) -> dict[str, Any]:
    left_out = excluded(waiting)
    if not is_pushed(headers.get("task")):
        left_out = [headers["id"], *left_out]
    if left_out and "publication" in header:
        header["excluded"] = left_out
    if announces_itself or dependents:
        _plan.set(_Plan(headers, header, announces_itself, dependents))
    return header


def _republished_message(headers: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the header of a message that MAIN publishes again after its process was lost."""
    request = received_requests.get(headers["id"])
    if request is None or not (headers.get("retries") or 0) > (
        request.request_dict.get("retries") or 0
    ):
        return None
    return {"published_at": _now(), **header_of(request.request_dict)}


def _next_message(run: Run, headers: Mapping[str, Any], embed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of the running task's next attempt, or of the task that replaces it."""
    header = {"published_at": _now(), **run.header}
    if (headers.get("retries") or 0) > run.request.retries:
        # Published before the message is sent: at ``task_retry`` the next attempt may be running.
        eta = headers.get("eta")
        retry_at = jsontext.timestamp_of(eta) if eta else jsontext.timestamp()
        run.finish(RETRY, retry_fields(_retry_reason(), retry_at))
        return header
    run.mark_replaced()
    waiting = dependents_of(embed.get("chain"), embed.get("chord"), run.publication)
    new = tuple(each for each in waiting if each.task_id not in run.dependent_ids)
    return _with_plan(headers, header, waiting, False, pushed(new)) if new else header


def _dependent_message(run: Run) -> dict[str, Any]:
    """Return the header of a dependent of the running task."""
    # It was announced with the running task, whose header has the ids of those that were not.
    return {**run.header, "published_at": _now()}


def _replacement(
    run: Run, headers: Mapping[str, Any], waiting: tuple[Dependent, ...]
) -> dict[str, Any]:
    """Return the header of a canvas that replaces the running task and carries its id."""
    run.mark_replaced()
    header = {**run.header, "published_at": _now()}
    known = run.dependent_ids | {run.task_id}
    new = tuple(each for each in waiting if each.task_id not in known)
    return _with_plan(headers, header, waiting, is_pushed(headers.get("task")), pushed(new))


def _owner(run: Run | None, headers: Mapping[str, Any]) -> str:
    owner = current_owner()
    if owner is not None:
        return owner
    if run is not None:
        return run.owner
    if (request := _failed_request(headers.get("parent_id"))) is not None:
        return header_text(header_of(request.request_dict), "owner")
    if threading.current_thread() is not threading.main_thread():
        warn_of_thread_without_task("publish")
    return ""


def _failed_request(task_id: Any) -> Any:
    """Return the request in MAIN whose error callback is published with this parent id.

    The parent is the failed task, or the body of its chord.
    """
    if not task_id or not received_requests:
        return None
    found = received_requests.get(task_id)
    if found is not None:
        return found
    for request in list(received_requests.values()):
        if any(each.task_id == task_id for each in dependents_of(None, request.chord)):
            return request
    return None


def _retry_reason() -> BaseException | None:
    """Return the exception for which the running task asks to be retried.

    ``Task.retry(exc=…)`` has it in a local variable until the message is sent, and Celery sends no
    signal in between, so it is read from that function's frame. Otherwise it is the exception that
    is being handled.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is _RETRY_CODE:
            given = frame.f_locals.get("exc")
            if isinstance(given, BaseException):
                return given
        frame = frame.f_back
    return sys.exc_info()[1]


_RETRY_CODE: Final = getattr(Task.retry, "__code__", None)


def retry_fields(reason: BaseException | None, retry_at: str) -> dict[str, str]:
    """Return the fields of a status in RETRY."""
    if reason is None:
        error = '{"type":"Retry","message":"the task asked to run again"}'
    else:
        error = redaction.encode_failure(reason)
    return {"error": error, "retry_at": retry_at, "updated_at": jsontext.timestamp()}


def _now() -> str:
    return jsontext.timestamp().strip('"')
