"""Remembering, from the result backend, a task whose record has expired."""

from __future__ import annotations

from typing import Final

from realtime.core.change import Change
from realtime.core.logs import get_logger
from realtime.results import stored_endings
from realtime.store import get_store

from .slow_calls import SlowCalls

logger = get_logger("realtime.recall")


def recall(task_id: str) -> bool:
    """Return whether a task without a record is known: accept the ending that its backend stores.

    Only for callers who may see the task whoever started it: the backend does not know that.
    """
    try:
        found = stored_endings([task_id]).get(task_id)
    except Exception as error:  # noqa: BLE001 - each backend fails in its own way
        logger.warning("recall_failed task=%s error=%r", task_id, error)
        return False
    if found is None:
        return False
    if get_store().status(task_id) is not None:
        return True  # it was published while the backend was asked: this ending is not its own
    change = Change(task_id=task_id, state=found.state, stored=True, fields=found.fields)
    return bool(get_store().accept(change))


#: The same from an event loop, in a thread.
arecall: Final = SlowCalls(recall)


async def recall_quietly(task_id: str) -> None:
    """Do the same where nobody waits for the answer: an ending that is found comes as an event."""
    try:
        await arecall(task_id)
    except Exception as error:  # noqa: BLE001 - the store may be away in many ways
        logger.warning("recall_failed task=%s error=%r", task_id, error)
