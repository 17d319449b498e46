"""Endings that are published from beside the run: what MAIN finds, and what will never run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from redis.exceptions import RedisError

from realtime.core import jsontext
from realtime.core.change import Change
from realtime.core.states import FAILURE, LOST, SUCCESS
from realtime.core.status import ending
from realtime.results import stored_endings
from realtime.store import get_store

from .messages import dependents_of, header_of, header_text
from .publisher import publisher
from .selection import is_pushed

#: Dependents whose ending was published by this process: each member of a chord names the same.
_ENDED_KEPT: Final = 4096


def publish_from_main(
    task_id: str,
    state: str,
    fields: Mapping[str, str],
    header: Mapping[str, Any],
    *,
    attempt: int | None = None,
    stored: bool = False,
) -> None:
    """Publish a change from beside the run."""
    publisher.publish(
        Change(
            task_id=task_id,
            state=state,
            attempt=attempt,
            publication=header_text(header, "publication"),
            owner=header_text(header, "owner"),
            stored=stored,
            fields=fields,
        )
    )


#: By publication and id, oldest first.
_ended: Final[OrderedDict[tuple[str, str], None]] = OrderedDict()


def end_dependents(request: Any, state: str, error: str) -> None:
    """Publish of the tasks that wait for one that did not succeed that they will never run.

    Celery stores that without a signal (celery/backends/base.py, ``mark_as_failure``); not of
    all of them, and of what follows a revoked task not at all. A chord's body always fails.
    """
    header = header_of(request)
    scope = header_text(header, "publication")
    body_state = LOST if state == LOST else FAILURE
    states = dict.fromkeys(dependents_of(None, request.chord, scope), body_state)
    states |= dict.fromkeys(dependents_of(request.chain, None, scope), state)
    changes = []
    for (task_id, name), their_state in states.items():
        if not is_pushed(name) or (scope, task_id) in _ended:
            continue
        if scope:
            _ended[scope, task_id] = None
        fields = ending() | {"error": error, "name": jsontext.encode_text(name)}
        changes.append(
            Change(
                task_id=task_id,
                state=their_state,
                publication=scope,
                owner=header_text(header, "owner"),
                fields=fields,
            )
        )
    while len(_ended) > _ENDED_KEPT:
        _ended.popitem(last=False)
    if changes:
        publisher.send_all(changes)


def stored_success(task_id: str, published_at: str) -> dict[str, str] | None:
    """Return the fields of a success that the result backend stores of this publication."""
    try:
        found = stored_endings([task_id]).get(task_id)
    except Exception:  # noqa: BLE001 - each backend fails in its own way
        return None
    if found is None or found.state != SUCCESS:
        return None
    try:
        again = any(known.again for known in get_store().unfinished([task_id]))
    except (RedisError, OSError):
        again = False
    its_own = found.is_of(task_id, again=again, published_at=published_at or None)
    return found.fields if its_own else None
