"""Receivers in the worker's own process (MAIN), which consumes messages and supervises children.

MAIN publishes that a task was received, and the endings that no child can publish: of tasks that
never run, and of tasks whose process is gone.
"""

from __future__ import annotations

from typing import Any, Final

from celery.app.task import Context

from realtime.core import jsontext
from realtime.core.change import Change
from realtime.core.jsontext import NULL
from realtime.core.logs import get_logger
from realtime.core.states import FAILURE, LOST, RECEIVED, RETRY, REVOKED, SUCCESS
from realtime.core.status import ending
from realtime.store import get_store

from .delivery import is_acknowledged_late, redelivery_timeout
from .endings import end_dependents, stored_success
from .leases import lease
from .messages import (
    change_of,
    dependents_of,
    embed_of,
    header_of,
    header_text,
    identity_fields,
    is_excluded,
)
from .publisher import publisher
from .publishing import received_requests, retry_fields
from .selection import is_pushed, pushed
from .timer import timer

logger = get_logger("realtime.worker")

#: Seconds after which a PENDING of an excluded task is withdrawn. It may arrive after the message.
_WITHDRAW_AFTER: Final = (0.0, 1.0, 10.0)
_SHUT_DOWN: Final = (
    '{"type":"WorkerShutdown","message":"the worker was shut down while the task ran"}'
)


def on_received(request: Any = None, **_kwargs: Any) -> None:
    """Publish RECEIVED: a worker has the task in memory, perhaps until its ETA."""
    received_requests[request.id] = request
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
            publisher.publish(change_of(id, FAILURE, fields, header_of(request)))


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
        identity = identity_fields(request.task, vars(request), header)
        fields = identity | ending() | {"error": error}
        attempt = request.retries
        publisher.publish(change_of(request.id, REVOKED, fields, header, attempt=attempt))


def publish_failure(task: Any, task_id: str, error: str) -> None:
    """Publish the ending of a task whose process did not publish it: a time limit, a lost process.

    MAIN knows that the process is gone. Whether it stored a result before is read from the backend.
    """
    request = received_requests.get(task_id)
    header = header_of(request.request_dict) if request is not None else {}
    task_is_pushed = task is None or is_pushed(task.name, task)
    stored = stored_success(task_id, header_text(header, "published_at"))
    if stored is not None:
        if task_is_pushed:
            publisher.publish(change_of(task_id, SUCCESS, stored, header, stored=True))
        return
    if request is not None:
        context = request._context  # noqa: SLF001 - as Celery passes it to other signals
        end_dependents(context, FAILURE, error)
    if task_is_pushed:
        publisher.publish(change_of(task_id, FAILURE, ending() | {"error": error}, header))


def publish_retry(task: Any, request: Any, reason: Any) -> None:
    """Publish RETRY of a task whose next attempt was not published by its own process.

    At a shutdown MAIN gives its tasks back without a reason. A task whose message was acknowledged
    before it ran is not delivered again: it is LOST.
    """
    header = header_of(request)
    if reason is None and not is_acknowledged_late(task):
        end_dependents(request, LOST, _SHUT_DOWN)
        state, fields = LOST, ending() | {"error": _SHUT_DOWN}
    else:
        state, fields = RETRY, retry_fields(getattr(reason, "exc", None), NULL)
    if is_pushed(request.task, task):
        publisher.publish(change_of(request.id, state, fields, header, attempt=request.retries))


def _withdraw(task_id: str, publication: str, tried: int = 0) -> None:
    """Remove the PENDING of a process that did not know that the task is excluded."""

    def withdraw() -> None:
        try:
            gone = get_store().withdraw(task_id, publication)
        except Exception as error:  # noqa: BLE001 - it is tried again, and expires
            logger.debug("not_withdrawn id=%s error=%r", task_id, error)
            gone = False
        if not gone and tried + 1 < len(_WITHDRAW_AFTER):
            _withdraw(task_id, publication, tried + 1)

    timer.call_later(_WITHDRAW_AFTER[tried], withdraw)
