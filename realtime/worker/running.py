"""Receivers in the process that runs the task (the child): its start, its endings, its retries.

MAIN sends some of the same signals for a process that is gone; those changes are published by
consuming.py.
"""

from __future__ import annotations

import secrets
import signal
import sys
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Retry

from realtime.core import jsontext
from realtime.core.change import Dependent
from realtime.core.jsontext import NULL
from realtime.core.states import FAILURE, RETRY, REVOKED, STARTED, SUCCESS
from realtime.core.status import ending
from realtime.ownership import current_owner
from realtime.results import redaction

from .consuming import publish_failure, publish_retry
from .delivery import redelivery_timeout
from .endings import end_dependents
from .leases import lease
from .messages import HEADER, chord_of, dependents_of, header_of, header_text, identity_fields
from .publishing import retry_fields
from .runs import Run, begin, current_run, end, release_reports, run_of
from .selection import is_pushed
from .time_limits import repeat_soft_timeout


def on_started(task: Any = None, **_kwargs: Any) -> None:
    """Publish STARTED, as the first change of a new run."""
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
            return  # called by `apply()` inside a task, and so part of that task's run
        _stamp_eager(request, outer)
    header = header_of(request)
    chain, chord = request.chain, chord_of(task.name, request.args, request.chord)
    waiting: tuple[Dependent, ...] = ()
    if chain or chord:
        waiting = dependents_of(chain, chord, header_text(header, "publication"))
    run = Run(
        request,
        header,
        identity_fields(task.name, vars(request), header),
        redelivery_timeout=redelivery_timeout(task) if lease.name else 0,
        dependents=waiting,
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
    """Give an eager task the header that its message would have. A retry has its header already."""
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
    """Publish SUCCESS, with the result if it is small enough."""
    run = run_of(sender.request)
    if run is not None:
        run.finish(SUCCESS, _success_fields(sender, run, result))


def on_failure(
    sender: Any = None, task_id: str = "", exception: Any = None, **_kwargs: Any
) -> None:
    """Publish FAILURE: an exception in the child; in MAIN a hard time limit or a lost process."""
    request = sender.request if sender is not None else None
    run = run_of(request)
    if run is not None and run.task_id == task_id:
        _end(run, FAILURE, redaction.encode_error(exception))
    elif task_id and not (request is not None and request.is_eager):
        publish_failure(sender, task_id, redaction.encode_error(exception))


def on_retry(sender: Any = None, request: Any = None, reason: Any = None, **_kwargs: Any) -> None:
    """Publish RETRY, unless that was done when the next attempt was published."""
    run = run_of(request)
    if run is not None:
        run.finish(RETRY, retry_fields(getattr(reason, "exc", None), NULL))
    elif not request.is_eager:
        publish_retry(sender, request, reason)


def on_postrun(
    task: Any = None, state: str | None = None, retval: Any = None, **_kwargs: Any
) -> None:
    """Publish, after the run, an ending for which Celery sent no other signal."""
    run = run_of(task.request)
    if run is None:
        return
    run.resume()
    if not run.finished or state == "REJECTED":
        _publish_unannounced(run, task, state, retval)
    end(run)
    release_reports()


def _publish_unannounced(run: Run, task: Any, state: str | None, retval: Any) -> None:
    if state == SUCCESS:  # the result could not be stored, and so was not announced
        run.finish(SUCCESS, _success_fields(task, run, retval))
    elif state == FAILURE:
        _end(run, FAILURE, redaction.encode_failure(retval))
    elif state == "IGNORED":
        # Celery stores nothing, so it reports the task as running for ever. The task has ended.
        _end(run, REVOKED, '{"type":"Ignore","message":"the task asked to be ignored"}')
    elif state is None and (error := _own_exit(run.request.is_eager)):
        _end(run, FAILURE, redaction.encode_failure(error))
    elif state == "REJECTED" and not getattr(retval, "requeue", False):
        # Celery rejects a task that asks to be retried when it can't publish the next attempt.
        reason = getattr(retval, "reason", None)
        error = reason if isinstance(reason, BaseException) else retval
        _end(run, FAILURE, redaction.encode_failure(error))


def _end(run: Run, state: str, error: str) -> None:
    """Publish the endings of the tasks that wait for a run, and then that it did not succeed."""
    end_dependents(run.request, state, error)
    run.fail(state, ending() | {"error": error})


def _own_exit(is_eager: bool) -> BaseException | None:
    """Return the SystemExit by which the task ended its run; None if a signal caused it.

    Celery 5.6 sends no signal for it, and 5.7 reports only that the process is gone. A process
    that receives SIGTERM raises SystemExit as well (billiard/common.py, ``_shutdown_cleanup``);
    MAIN publishes the reason. An eager task may raise anything in its caller
    (``task_eager_propagates``).
    """
    error = sys.exc_info()[1]
    if is_eager and isinstance(error, Exception):
        return error.exc if isinstance(error, Retry) and error.exc else error
    if not isinstance(error, SystemExit):
        return None
    by_signal = isinstance(error.code, int) and -256 <= error.code < -256 + signal.NSIG
    return None if by_signal else error


def _success_fields(task: Any, run: Run, result: Any) -> dict[str, str]:
    if not run.is_pushed:
        return {}
    if run.request.ignore_result or task.ignore_result:
        # The project asks that no backend stores the result.
        return ending() | {"result": NULL, "truncated": "false"}
    return ending() | redaction.result_fields(result)
