"""Read the result backend for one task: an ending whose record has expired, a whole result."""

from __future__ import annotations

from typing import Final

from realtime.core.change import Change
from realtime.core.jsontext import dumps
from realtime.core.logs import get_logger
from realtime.results import stored_ending, stored_result
from realtime.results.redaction import encode_result
from realtime.store import get_store

from .slow_calls import SlowCalls

logger = get_logger("realtime.recall")


def recall(task_id: str) -> bool:
    """Return whether a task without a record is known, and accept its stored ending if it is.

    Only for callers who may see the task with any owner: the backend does not store the owner.
    """
    try:
        found = stored_ending(task_id)
    except Exception as error:  # noqa: BLE001 - each backend fails in its own way
        logger.warning("recall_failed task=%s error=%r", task_id, error)
        return False
    if found is None:
        return False
    if get_store().status(task_id) is not None:
        return True  # published while the backend answered: the ending is an earlier one's
    change = Change(task_id=task_id, state=found.state, stored=True, fields=found.fields)
    return bool(get_store().accept(change))


#: :func:`recall` in a thread, for event loops.
arecall: Final = SlowCalls(recall)


async def recall_quietly(task_id: str) -> None:
    """Recall a task for which nobody waits: subscribers receive the ending as an event."""
    try:
        await arecall(task_id)
    except Exception as error:  # noqa: BLE001 - stores fail in many ways
        logger.warning("recall_failed task=%s error=%r", task_id, error)


def _whole_result(task_id: str) -> str | None:
    """Return a task's whole result as JSON; None if it has none.

    The record decides whether there is one: what the backend stores under this id may be the
    result of an earlier publication, which belonged to somebody else.
    """
    status = get_store().status(task_id)
    if status is None or not status.successful:
        return None
    if not status.truncated:
        return dumps(status.result)
    again = status.run > 1 and status.published_at is not None
    found, value = stored_result(task_id, again=again, published_at=status.published_at)
    return encode_result(value)[0] if found else None


#: A task's whole result as JSON, or None; in a thread, for event loops.
whole_result: Final = SlowCalls(_whole_result)
