"""Receivers for Celery's signals: each makes one change and hands it to the publisher.

MAIN below is the worker's own process, the child is the one that runs the task. Receivers are
module-level functions, since Celery holds them weakly; each takes ``**kwargs``, since signals gain
arguments. Which signal comes when, and from where, is read in celery/app/trace.py,
celery/worker/request.py and celery/worker/consumer/consumer.py.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final
from weakref import WeakValueDictionary

from celery import current_task, signals
from celery.app.task import Context

from realtime import redaction
from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.acceptance import Change
from realtime.core.jsontext import NULL
from realtime.core.states import (
    FAILURE,
    PENDING,
    RECEIVED,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
)
from realtime.core.status import ending
from realtime.ownership import current_owner
from realtime.results import stored_endings

from .leases import on_worker_init, on_worker_shutdown
from .publisher import publisher
from .runs import Run, remember, run_of

#: The message header that carries the owner and the time of publishing.
HEADER: Final = "realtime"

#: Kombu's defaults (kombu/transport/redis.py): seconds until a message is overdue, between two
#: turns, and turns between two looks for what is overdue.
_TRANSPORT: Final = {
    "visibility_timeout": 3600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 10,
}
#: Seconds that an ending process waits for its last changes to be sent.
_FLUSH_TIMEOUT: Final = 1.0

#: What MAIN holds, by task id: its signal of a failure carries nothing of the message.
_received: Final[WeakValueDictionary[str, Any]] = WeakValueDictionary()

#: Signatures that are no tasks, and which of their arguments hold some (celery/canvas.py).
_CANVASES: Final = {
    "celery.chain": ("tasks",),
    "celery.group": ("tasks",),
    "celery.chord": ("header", "body"),
}


def connect() -> None:
    """Connect every receiver. Doing it again changes nothing."""
    for each, receiver in _RECEIVERS:
        each.connect(receiver, weak=False, dispatch_uid=f"realtime.{receiver.__name__}")


# Publishing: in a view, a beat, or a task that starts others.


def stamp_message(
    headers: MutableMapping[str, Any] | None = None, body: Any = None, **_kwargs: Any
) -> None:
    """Stamp a message with its owner, and say RETRY where it is the running task's next attempt.

    RETRY is said here, before the message leaves: ``task_retry`` comes after it, when the next
    attempt may have begun.
    """
    if not headers or "id" not in headers:
        return  # message protocol 1
    published_at = jsontext.timestamp().strip('"')
    run = _publishing_run(headers)
    if run is None:
        headers[HEADER] = {"owner": _owner_to_stamp(), "published_at": published_at}
        _hand_over(body)
        return
    headers[HEADER] = {"published_at": published_at, **_header(run.request)}
    if headers.get("retries", 0) > run.request.retries:
        reason = run.retry_reason or sys.exc_info()[1]
        eta = headers.get("eta")
        retry_at = jsontext.timestamp_of(eta) if eta else jsontext.timestamp()
        run.finish(RETRY, _retry_fields(reason, retry_at))
    else:
        run.finished = True  # task.replace(): another task goes on under this id


def say_pending(headers: Mapping[str, Any] | None = None, body: Any = None, **_kwargs: Any) -> None:
    """Say PENDING of a published task, and of those that its message carries for later."""
    if not headers or "id" not in headers or _publishing_run(headers) is not None:
        return
    _publish_pending(headers["id"], headers.get("retries", 0), headers)
    carried = dict(_carried(body))
    if carried and current_task:
        # What the running task's own message carries was said when that one was published.
        request = current_task.request
        for task_id, _ in _followers(request.chain, request.chord):
            carried.pop(task_id, None)
    for task_id, name in carried.items():
        _publish_pending(task_id, 0, {**headers, "task": name, "parent_id": None, "eta": None})


def _owner_to_stamp() -> str:
    owner = current_owner()
    if owner is None and current_task:
        owner = _header(current_task.request).get("owner")
    return owner or ""


def _publishing_run(headers: Mapping[str, Any]) -> Run | None:
    """Return the running task's run where the message is about that very task."""
    if current_task and current_task.request.id == headers["id"]:
        return run_of(current_task.request)
    return None


def _publish_pending(task_id: str, attempt: int, headers: Mapping[str, Any]) -> None:
    fields = _identity(headers.get("task"), headers) | {
        "eta": jsontext.timestamp_of(headers.get("eta")),
        "updated_at": jsontext.timestamp(),
    }
    _publish(task_id, PENDING, fields, attempt=attempt, owner=_header(headers).get("owner", ""))


def _hand_over(body: Any) -> None:
    """Note that the running task is replaced, where a message carries its id for later.

    That is so when it is replaced by more than one task (celery/app/task.py, ``replace``): the
    last of them goes on under its id.
    """
    run = run_of(current_task.request) if current_task else None
    if run is not None and run.request.id in dict(_carried(body)):
        run.finished = True


def _carried(body: Any) -> Iterator[tuple[str, str]]:
    """Yield (id, name) of the tasks that wait inside a message: a chain's rest, a chord's body.

    Message protocol 2: the body is ``(args, kwargs, {"chain", "chord", …})``, the chain reversed.
    """
    embed = _embedded(body)
    yield from _followers(embed.get("chain"), embed.get("chord"))


def _embedded(body: Any) -> Mapping[str, Any]:
    embed = body[2] if isinstance(body, list | tuple) and len(body) == 3 else None
    return embed if isinstance(embed, Mapping) else {}


def _followers(chain: Any, chord: Any) -> Iterator[tuple[str, str]]:
    """Yield (id, name) of what waits for a task: its chain's rest, its chord's body."""
    for signature in (*reversed(chain or ()), chord):
        yield from _tasks_of(signature)


def _tasks_of(signature: Any) -> Iterator[tuple[str, str]]:
    """Yield (id, name) of each task that a signature holds, and of what waits for it in turn.

    A member of a chord names the same body as the next one: what is yielded may be so twice.
    """
    if not isinstance(signature, Mapping):
        return
    name, options = signature.get("task", ""), signature.get("options") or {}
    if name in _CANVASES:
        for key in _CANVASES[name]:
            held = (signature.get("kwargs") or {}).get(key)
            for each in (held,) if isinstance(held, Mapping) else held or ():
                yield from _tasks_of(each)
    elif task_id := options.get("task_id"):
        yield str(task_id), name
    yield from _followers(options.get("chain"), options.get("chord"))


# Receiving: in MAIN.


def say_received(request: Any = None, **_kwargs: Any) -> None:
    """Say RECEIVED: a worker holds the task, perhaps until its ETA."""
    _received[request.id] = request
    headers = request.request_dict
    fields = _identity(request.name, headers) | {
        "eta": jsontext.timestamp_of(headers.get("eta")),
        "updated_at": jsontext.timestamp(),
    }
    attempt = headers.get("retries", 0)
    owner = _header(headers).get("owner", "")
    _publish(request.id, RECEIVED, fields, attempt=attempt, owner=owner)


def say_unknown(message: Any = None, id: str = "", name: str = "", **_kwargs: Any) -> None:  # noqa: A002
    """Say FAILURE of a message whose task this worker does not know."""
    if id:
        error = f'{{"type":"NotRegistered","message":{jsontext.encode_text(name)}}}'
        fields = {"name": jsontext.encode_text(name), **ending(), "error": error}
        _publish(id, FAILURE, fields)
        _say_of_followers(Context(message.headers, **_embedded(message.payload)), FAILURE, error)


def say_revoked(
    request: Any = None, terminated: bool = False, expired: bool = False, **_kwargs: Any
) -> None:
    """Say REVOKED: cancelled while it waited or ran, or expired before it could run."""
    how = "expired" if expired else "terminated" if terminated else "revoked"
    error = f'{{"type":"TaskRevokedError","message":"{how}"}}'
    fields = _identity(request.task, vars(request)) | ending() | {"error": error}
    owner = _header(request).get("owner", "")
    _publish(request.id, REVOKED, fields, attempt=request.retries, owner=owner)
    _say_of_followers(request, REVOKED, error)


# Running: in the child, but for endings that the child could not tell.


def say_started(task: Any = None, **_kwargs: Any) -> None:
    """Say STARTED, in the name of a new run."""
    request = task.request
    now = jsontext.timestamp()
    owner = _header(request).get("owner", "")
    run = Run(request, _identity(task.name, vars(request)), owner, _patience(task))
    remember(run)
    fields = {
        "started_at": now,
        "updated_at": now,
        "progress": NULL,
        "result": NULL,
        "truncated": "false",
        "error": NULL,
        "eta": NULL,
        "retry_at": NULL,
        "cancelling": "false",
        "finished_at": NULL,
    }
    run.say(STARTED, fields)


def say_success(sender: Any = None, result: Any = None, **_kwargs: Any) -> None:
    """Say SUCCESS, with the result where it is small enough."""
    run = run_of(sender.request)
    if run is not None:
        run.finish(SUCCESS, _success_fields(sender, run, result))


def say_failure(
    sender: Any = None, task_id: str = "", exception: Any = None, **_kwargs: Any
) -> None:
    """Say FAILURE: raised in the child, or found in MAIN (time limit, lost process, rejected)."""
    error = redaction.encode_error(exception)
    run = run_of(sender.request) if sender is not None else None
    if run is not None and run.request.id == task_id:
        _end(run, FAILURE, error)
    elif task_id:
        # MAIN knows that the process is gone, not that it had stored its result before.
        state, stored = _stored_ending(task_id)
        if state == SUCCESS:
            publisher.publish(Change(task_id=task_id, state=SUCCESS, stored=True, fields=stored))
        else:
            _publish(task_id, FAILURE, ending() | {"error": error})
            if request := _received.get(task_id):
                context = request._context  # noqa: SLF001 - as Celery hands it to other signals
                _say_of_followers(context, FAILURE, error)


def say_retry(request: Any = None, reason: Any = None, **_kwargs: Any) -> None:
    """Say RETRY where it was not said when the next attempt was published.

    That is so in MAIN, which tells it without a reason when it gives up its tasks at a shutdown.
    """
    run = run_of(request)
    fields = _retry_fields(getattr(reason, "exc", None), NULL)
    if run is not None:
        run.finish(RETRY, fields)
    else:
        _publish(request.id, RETRY, fields, attempt=request.retries)


def say_rest(
    task: Any = None, state: str | None = None, retval: Any = None, **_kwargs: Any
) -> None:
    """Say, after the run, the ending that no other signal told."""
    run = run_of(task.request)
    if run is None or run.finished:
        return
    if state == SUCCESS:  # the result could not be stored, and so was not announced
        run.finish(SUCCESS, _success_fields(task, run, retval))
    elif state == FAILURE:
        _end(run, FAILURE, redaction.encode_error(retval))
    elif state == "IGNORED":
        # Celery stores nothing, so for it the task runs for ever. It has ended, without a result.
        _end(run, REVOKED, '{"type":"Ignore","message":"the task asked to be ignored"}')
    elif state is None and (error := _left_by_itself()):
        _end(run, FAILURE, redaction.encode_error(error))
    elif state == "REJECTED" and not getattr(retval, "requeue", False):
        _end(run, FAILURE, redaction.encode_error(retval))


def _end(run: Run, state: str, error: str) -> None:
    """Say that a run did not succeed, and so that what waits for it never will run."""
    run.finish(state, ending() | {"error": error})
    _say_of_followers(run.request, state, error)


def _left_by_itself() -> BaseException | None:
    """Return the SystemExit that ends this run, unless a signal made it.

    Celery 5.6 tells nothing of one, and 5.7 only that the process is gone. A process that is
    told to end raises SystemExit as well (billiard/common.py, ``_shutdown_cleanup``), and MAIN
    says why.
    """
    error = sys.exc_info()[1]
    if not isinstance(error, SystemExit):
        return None
    by_signal = isinstance(error.code, int) and -256 <= error.code < -256 + signal.NSIG
    return None if by_signal else error


def flush(**_kwargs: Any) -> None:
    """Give the last changes of an ending process a moment to be sent."""
    publisher.flush(_FLUSH_TIMEOUT)


_RECEIVERS: Final = (
    (signals.before_task_publish, stamp_message),
    (signals.after_task_publish, say_pending),
    (signals.task_received, say_received),
    (signals.task_unknown, say_unknown),
    (signals.task_revoked, say_revoked),
    (signals.task_prerun, say_started),
    (signals.task_success, say_success),
    (signals.task_failure, say_failure),
    (signals.task_retry, say_retry),
    (signals.task_postrun, say_rest),
    (signals.worker_init, on_worker_init),
    (signals.worker_shutdown, on_worker_shutdown),
    (signals.worker_process_shutdown, flush),
    (signals.worker_shutdown, flush),
)


# What a change says.


def _publish(
    task_id: str,
    state: str,
    fields: Mapping[str, str],
    *,
    attempt: int | None = None,
    owner: str = "",
) -> None:
    """Publish a word from beside the run."""
    publisher.publish(
        Change(task_id=task_id, state=state, attempt=attempt, owner=owner, fields=fields)
    )


def _header(source: Any) -> Mapping[str, str]:
    header = source.get(HEADER)
    return header if isinstance(header, Mapping) else {}


def _identity(name: object, headers: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that never change, from a message's headers or a request's attributes."""
    texts = {
        "name": name,
        "root_id": headers.get("root_id"),
        "parent_id": headers.get("parent_id"),
        "group_id": headers.get("group"),
        "published_at": _header(headers).get("published_at"),
    }
    return {key: jsontext.encode_text(text) for key, text in texts.items() if text}


def _success_fields(task: Any, run: Run, result: Any) -> dict[str, str]:
    if run.request.ignore_result or task.ignore_result:
        # Asked for: nobody keeps it.
        return ending() | {"result": NULL, "truncated": "false"}
    return ending() | redaction.result_fields(result)


def _patience(task: Any) -> int:
    """Return how many seconds after its worker's death a task may still be delivered again."""
    acks_late = task.app.conf.task_acks_late if task.acks_late is None else task.acks_late
    if not acks_late:
        return conf().LOST_AFTER  # its message is gone from the broker
    options = task.app.conf.broker_transport_options
    overdue, interval, throttle = (int(options.get(key, _TRANSPORT[key])) for key in _TRANSPORT)
    return conf().LOST_AFTER + overdue + interval * throttle


def _say_of_followers(request: Any, state: str, error: str) -> None:
    """Say of the tasks that wait for one that did not succeed that they never will run.

    Celery stores that without a signal (celery/backends/base.py, ``mark_as_failure``); not of
    all of them, and of what follows a revoked task not at all. A chord's body always fails.
    """
    fields, owner = ending() | {"error": error}, _header(request).get("owner", "")
    said = dict.fromkeys(_tasks_of(request.chord), FAILURE)
    said |= dict.fromkeys(_followers(request.chain, None), state)
    for (task_id, name), theirs in said.items():
        named = {"name": jsontext.encode_text(name)}
        _publish(task_id, theirs, fields | named, owner=owner)


def _stored_ending(task_id: str) -> tuple[str, dict[str, str]]:
    try:
        found = stored_endings([task_id]).get(task_id)
    except Exception:  # noqa: BLE001 - each backend fails in its own way
        found = None
    return (found.state, found.fields) if found else ("", {})


def _retry_fields(reason: BaseException | None, retry_at: str) -> dict[str, str]:
    if reason is None:
        error = '{"type":"Retry","message":"the task asked to run again"}'
    else:
        error = redaction.encode_error(reason)
    return {"error": error, "retry_at": retry_at, "updated_at": jsontext.timestamp()}
