"""Endings that no run publishes: of the tasks that will never run, and of lost processes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from redis.exceptions import RedisError

from realtime.core.states import FAILURE, LOST, SUCCESS
from realtime.results import stored_ending
from realtime.store import get_store

from .messages import dependents_of, header_of, header_text, never_run
from .publisher import publisher
from .selection import is_pushed

#: Every member of a chord has the same dependents. Their ending is published once by a process,
#: which remembers so many of them.
_MAX_ENDED: Final = 4096
#: By publication and id, oldest first.
_ended: Final[OrderedDict[tuple[str, str], None]] = OrderedDict()


def end_dependents(request: Any, state: str, error: str) -> None:
    """Publish the endings of the tasks that wait for one that did not succeed: they will never run.

    Celery sends no signal for them. It stores some of these endings
    (celery/backends/base.py, ``mark_as_failure``), and none after a revoked task. A chord's body
    always fails.
    """
    header = header_of(request)
    publication = header_text(header, "publication")
    body_state = LOST if state == LOST else FAILURE
    states = dict.fromkeys(dependents_of(None, request.chord, publication), body_state)
    states |= dict.fromkeys(dependents_of(request.chain, None, publication), state)
    changes = []
    for (task_id, name), its_state in states.items():
        if not is_pushed(name) or (publication, task_id) in _ended:
            continue
        if publication:
            _ended[publication, task_id] = None
        changes.append(never_run(task_id, name, its_state, error, header))
    while len(_ended) > _MAX_ENDED:
        _ended.popitem(last=False)
    if changes:
        publisher.send_all(changes)


def stored_success(task_id: str, published_at: str) -> dict[str, str] | None:
    """Return the fields of a success, if the result backend stores one of this publication."""
    try:
        found = stored_ending(task_id)
    except Exception:  # noqa: BLE001 - each backend fails in its own way
        return None
    if found is None or found.state != SUCCESS:
        return None
    try:
        again = any(known.republished for known in get_store().unfinished([task_id]))
    except (RedisError, OSError):
        again = False
    is_its_own = found.belongs_to(task_id, again=again, published_at=published_at or None)
    return found.fields if is_its_own else None
