"""Remove what the service keeps of a task, or of all tasks of a user."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from realtime.conf import conf
from realtime.core.logs import get_logger
from realtime.ownership import owner_of_user
from realtime.store import get_store

from .breaker import store_breaker

logger = get_logger("realtime.access")

#: Seconds that the deletion of a user waits for the removal, which then continues by itself.
_TIME_LIMIT: Final = 1.0
#: Users that are compared with a deleted one: with REALTIME["OWNER"] many may share an owner.
_COMPARED: Final = 10_000


def forget(*, user: Any = None, task_id: str = "", owner: str = "") -> int:
    """Remove what is kept of a task, or of all tasks of a user or owner; return how many.

    Exactly one of the three must be given; ``owner`` is the ident of a ``user:`` topic, for users
    who no longer exist. Subscribers receive an empty snapshot, and later changes of these
    publications are dropped. Results in Celery's result backend stay. Raises what the store raises.
    """
    if sum((user is not None, bool(task_id), bool(owner))) != 1:
        raise TypeError("give one of user, task_id and owner")
    if task_id:
        return int(get_store().forget(task_id))
    if user is not None:
        owner = owner_of_user(user)
    return get_store().forget_owner(owner) if owner else 0


def forget_deleted(owner: str, model: Any) -> None:
    """Remove what is kept of the tasks of a deleted user. Never raises."""
    if not owner or _is_shared(owner, model):
        return
    if store_breaker.run("forget", lambda: forget(owner=owner), _TIME_LIMIT) is None:
        logger.warning("forget_unfinished owner=%s remedy=%r", owner, "manage.py forget_realtime")


def _is_shared(owner: str, model: Any) -> bool:
    """Return whether another user has the same owner, or may have it."""
    if not conf().OWNER:
        return False
    users = model._base_manager.iterator(chunk_size=500)  # noqa: SLF001 - Django's
    compared = 0
    for user in islice(users, _COMPARED):
        if owner_of_user(user) == owner:
            return True
        compared += 1
    if compared == _COMPARED:
        logger.warning("forget_skipped owner=%s reason=%r", owner, "too many users to compare")
    return compared == _COMPARED
