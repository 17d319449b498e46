"""Receivers for Celery's signals in a worker: each publishes one change.

MAIN below is the worker's own process, the child is the one that runs the task. Receivers are
module-level functions, since Celery refers to them weakly; each accepts ``**kwargs``, since signals
gain arguments. Which signal comes when, and from where, is read in celery/app/trace.py,
celery/worker/request.py and celery/worker/consumer/consumer.py.
"""

from __future__ import annotations

import secrets
import signal
import sys
from typing import Any, Final

from billiard.exceptions import SoftTimeLimitExceeded
from celery import signals
from celery.app.task import Context
from celery.exceptions import Retry

from realtime.core import jsontext
from realtime.core.change import Change
from realtime.core.jsontext import NULL
from realtime.core.logs import get_logger
from realtime.core.states import FAILURE, LOST, RECEIVED, RETRY, REVOKED, STARTED, SUCCESS
from realtime.core.status import ending
from realtime.ownership import current_owner
from realtime.results import redaction
from realtime.store import get_store

from . import canvas, task
from .delivery import is_acknowledged_late, redelivery_timeout
from .endings import end_dependents, publish_from_main, stored_success
from .leases import lease, on_worker_init, on_worker_shutdown
from .messages import (
    HEADER,
    chord_of,
    dependents_of,
    embed_of,
    header_of,
    header_text,
    identity_fields,
    is_excluded,
)
from .publisher import publisher
from .publishing import on_after_publish, on_before_publish, received, retry_fields
from .runs import Run, begin, current_run, end, release_reports, run_of
from .selection import is_pushed, pushed
from .time_limits import repeat_soft_timeout
from .timer import timer

logger = get_logger("realtime.worker")

#: Seconds that an ending process waits for its last changes to be sent.
_FLUSH_TIMEOUT: Final = 1.0
#: Seconds after which a PENDING of an excluded task is withdrawn: it may arrive after the message.
_WITHDRAW_AFTER: Final = (0.0, 1.0, 10.0)
_SHUT_DOWN: Final = (
    '{"type":"WorkerShutdown","message":"the worker was shut down while the task ran"}'
)


def connect() -> None:
    """Connect every receiver and wrapper. Doing it again changes nothing."""
    for each, receiver in _RECEIVERS:
        each.connect(receiver, weak=False, dispatch_uid=f"realtime.{receiver.__name__}")
    canvas.connect()
    task.connect()


# Receiving: in MAIN.


def on_received(request: Any = None, **_kwargs: Any) -> None:
    """Publish RECEIVED: a worker has the task in memory, perhaps until its ETA."""
    received[request.id] = request
    headers = request.request_dict
    header = header_of(headers)
    publication = header_text(header, "publication")
    if not is_pushed(request.task.name, request.task):
        if publication and not is_excluded(request.id, header):
            _withdraw(request.id, publication)
        return
    embed = embed_of(request.message.payload)
    # Not `request.name`, which is the name for the logs where there is one (`shadow`).
    fields = identity_fields(request.task.name, headers, header) | {
        "eta": jsontext.timestamp_of(headers.get("eta")),
        "updated_at": jsontext.timestamp(),
    }
    publisher.publish(
        Change(
            task_id=request.id,
            state=RECEIVED,
            attempt=headers.get("retries") or 0,
            publication=publication,
            owner=header_text(header, "owner"),
            worker=lease.name,
            redelivery_timeout=redelivery_timeout(request.task, begun=False) if lease.name else 0,
            dependents=pushed(dependents_of(embed.get("chain"), embed.get("chord"), publication)),
            fields=fields,
        )
    )


def on_unknown(message: Any = None, id: str = "", name: str = "", **_kwargs: Any) -> None:  # noqa: A002
    """Publish FAILURE of a message whose task this worker does not know."""
    if id:
        error = f'{{"type":"NotRegistered","message":{jsontext.encode_text(name)}}}'
        fields = {"name": jsontext.encode_text(name), **ending(), "error": error}
        request = Context(message.headers, **embed_of(message.payload))
        end_dependents(request, FAILURE, error)
        if is_pushed(name):
            publish_from_main(id, FAILURE, fields, header_of(request))


def on_revoked(
    request: Any = None,
    terminated: bool = False,
    expired: bool = False,
    sender: Any = None,
    **_kwargs: Any,
) -> None:
    """Publish REVOKED: cancelled while it waited or ran, or expired before it could run."""
    how = "expired" if expired else "terminated" if terminated else "revoked"
    error = f'{{"type":"TaskRevokedError","message":"{how}"}}'
    end_dependents(request, REVOKED, error)
    header = header_of(request)
    if is_pushed(request.task, sender):
        fields = identity_fields(request.task, vars(request), header) | ending() | {"error": error}
        publish_from_main(request.id, REVOKED, fields, header, attempt=request.retries)


def _withdraw(task_id: str, publication: str, tried: int = 0) -> None:
    """Remove what a process announced that does not know that the task is excluded."""

    def withdraw() -> None:
        try:
            gone = get_store().withdraw(task_id, publication)
        except Exception as error:  # noqa: BLE001 - it is tried again, and expires
            logger.debug("not_withdrawn id=%s error=%r", task_id, error)
            gone = False
        if not gone and tried + 1 < len(_WITHDRAW_AFTER):
            _withdraw(task_id, publication, tried + 1)

    timer.call_later(_WITHDRAW_AFTER[tried], withdraw)


# Running: in the child, but for endings that the child could not publish.


def on_started(task: Any = None, **_kwargs: Any) -> None:
    """Publish STARTED, in the name of a new run."""
    try:
        _start(task)
    except SoftTimeLimitExceeded:
        if run_of(task.request) is None:
            _start(task)
        repeat_soft_timeout(run_of(task.request))


def _start(task: Any) -> None:
    request = task.request
    if request.is_eager:
        outer = current_run()
        if outer is not None and not task.app.conf.task_always_eager:
            return  # called by `apply()` inside a task, and so a part of it
        _stamp_eager(request, outer)
    header = header_of(request)
    chord = chord_of(task.name, request.args, request.chord)
    run = Run(
        request,
        header,
        identity_fields(task.name, vars(request), header),
        redelivery_timeout=redelivery_timeout(task) if lease.name else 0,
        dependents=dependents_of(request.chain, chord, header_text(header, "publication")),
        is_pushed=is_pushed(task.name, task),
    )
    begin(run)
    if not run.is_pushed:
        return
    now = jsontext.timestamp()
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
    run.publish(STARTED, fields)


def _stamp_eager(request: Any, outer: Run | None) -> None:
    """Give an eager task the header that its message would have, unless it is a retry's."""
    if not header_of(request) or not request.retries:
        owner = current_owner() if is_pushed(request.task) else ""
        header = {
            "publication": secrets.token_urlsafe(9),
            "owner": outer.owner if owner is None and outer else owner or "",
            "published_at": jsontext.timestamp().strip('"'),
        }
        # An eager retry keeps these headers (celery/app/task.py, `signature_from_request`).
        request.headers = {**(request.headers or {}), HEADER: header}


def on_success(sender: Any = None, result: Any = None, **_kwargs: Any) -> None:
    """Publish SUCCESS, with the result where it is small enough."""
    run = run_of(sender.request)
    if run is not None:
        run.finish(SUCCESS, _success_fields(sender, run, result))


def on_failure(
    sender: Any = None, task_id: str = "", exception: Any = None, **_kwargs: Any
) -> None:
    """Publish FAILURE: raised in the child, or found in MAIN (limits, lost processes)."""
    request = sender.request if sender is not None else None
    run = run_of(request)
    if run is not None and run.task_id == task_id:
        _end(run, FAILURE, redaction.encode_error(exception))
    elif task_id and not (request is not None and request.is_eager):
        _fail_from_main(sender, task_id, redaction.encode_error(exception))


def _fail_from_main(task: Any, task_id: str, error: str) -> None:
    # MAIN knows that the process is gone, not that it had stored its result before.
    request = received.get(task_id)
    header = header_of(request.request_dict) if request is not None else {}
    stored = stored_success(task_id, header_text(header, "published_at"))
    if stored is not None:
        if task is None or is_pushed(task.name, task):
            publish_from_main(task_id, SUCCESS, stored, header, stored=True)
        return
    if request is not None:
        context = request._context  # noqa: SLF001 - as Celery hands it to other signals
        end_dependents(context, FAILURE, error)
    if task is None or is_pushed(task.name, task):
        publish_from_main(task_id, FAILURE, ending() | {"error": error}, header)


def on_retry(sender: Any = None, request: Any = None, reason: Any = None, **_kwargs: Any) -> None:
    """Publish RETRY where that was not done when the next attempt was published.

    That is so in MAIN, which gives no reason when it gives up its tasks at a shutdown. Nothing runs
    those again that were acknowledged before they ran: they are lost.
    """
    run = run_of(request)
    if run is not None:
        run.finish(RETRY, retry_fields(getattr(reason, "exc", None), NULL))
        return
    if request.is_eager:
        return
    header = header_of(request)
    if reason is None and not is_acknowledged_late(sender):
        end_dependents(request, LOST, _SHUT_DOWN)
        state, fields = LOST, ending() | {"error": _SHUT_DOWN}
    else:
        state, fields = RETRY, retry_fields(getattr(reason, "exc", None), NULL)
    if is_pushed(request.task, sender):
        publish_from_main(request.id, state, fields, header, attempt=request.retries)


def on_postrun(
    task: Any = None, state: str | None = None, retval: Any = None, **_kwargs: Any
) -> None:
    """Publish, after the run, the ending that no other signal announced."""
    run = run_of(task.request)
    if run is None:
        return
    run.resume()
    if not run.finished or state == "REJECTED":
        _publish_rest(run, task, state, retval)
    end(run)
    release_reports()


def _publish_rest(run: Run, task: Any, state: str | None, retval: Any) -> None:
    if state == SUCCESS:  # the result could not be stored, and so was not announced
        run.finish(SUCCESS, _success_fields(task, run, retval))
    elif state == FAILURE:
        _end(run, FAILURE, redaction.encode_failure(retval))
    elif state == "IGNORED":
        # Celery stores nothing, so for it the task runs for ever. It has ended, without a result.
        _end(run, REVOKED, '{"type":"Ignore","message":"the task asked to be ignored"}')
    elif state is None and (error := _left_by_itself(run.request.is_eager)):
        _end(run, FAILURE, redaction.encode_failure(error))
    elif state == "REJECTED" and not getattr(retval, "requeue", False):
        # Celery rejects a task that asks to be retried when it can't publish the next attempt.
        reason = getattr(retval, "reason", None)
        error = reason if isinstance(reason, BaseException) else retval
        _end(run, FAILURE, redaction.encode_failure(error))


def _end(run: Run, state: str, error: str) -> None:
    """Publish that a run did not succeed, and before that what will never run because of it."""
    end_dependents(run.request, state, error)
    run.fail(state, ending() | {"error": error})


def _left_by_itself(is_eager: bool) -> BaseException | None:
    """Return the SystemExit that ends this run, unless a signal made it.

    Celery 5.6 announces none, and 5.7 only that the process is gone. A process that receives
    SIGTERM raises SystemExit as well (billiard/common.py, ``_shutdown_cleanup``), and MAIN
    publishes why. An eager task may raise anything in its caller (``task_eager_propagates``).
    """
    error = sys.exc_info()[1]
    if is_eager and isinstance(error, Exception):
        return error.exc if isinstance(error, Retry) and error.exc else error
    if not isinstance(error, SystemExit):
        return None
    by_signal = isinstance(error.code, int) and -256 <= error.code < -256 + signal.NSIG
    return None if by_signal else error


def flush(**_kwargs: Any) -> None:
    """Give the last changes of an ending process a moment to be sent."""
    release_reports()
    publisher.flush(_FLUSH_TIMEOUT)


_RECEIVERS: Final = (
    (signals.before_task_publish, on_before_publish),
    (signals.after_task_publish, on_after_publish),
    (signals.task_received, on_received),
    (signals.task_unknown, on_unknown),
    (signals.task_revoked, on_revoked),
    (signals.task_prerun, on_started),
    (signals.task_success, on_success),
    (signals.task_failure, on_failure),
    (signals.task_retry, on_retry),
    (signals.task_postrun, on_postrun),
    (signals.worker_init, on_worker_init),
    (signals.worker_shutdown, on_worker_shutdown),
    (signals.worker_process_shutdown, flush),
    (signals.worker_shutdown, flush),
)


# The fields of a change.


def _success_fields(task: Any, run: Run, result: Any) -> dict[str, str]:
    if not run.is_pushed:
        return {}
    if run.request.ignore_result or task.ignore_result:
        # The project asked for it: no backend stores the result.
        return ending() | {"result": NULL, "truncated": "false"}
    return ending() | redaction.result_fields(result)
