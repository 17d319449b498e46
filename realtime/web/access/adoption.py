"""Whose a visitor's tasks are after the sign-in: they become the user's."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Final

from django.http import HttpRequest

from realtime.ownership import VISITOR_KEY, is_signed_in, owner_of_user, visitor_of
from realtime.store import get_store
from realtime.web.breaker import store_breaker

#: Seconds that one request spends on moving tasks. The next request of the session continues.
_TIME_LIMIT: Final = 0.5
#: Further seconds after which a call to the store counts as failed.
_GRACE: Final = 0.5


def adopt(request: HttpRequest, user: Any) -> None:
    """Move the tasks of the session's visitor to a user, as many as fit into the time limit.

    The session keeps the visitor id until all tasks are moved. Never raises: a failure is logged,
    and :func:`continue_adoption` tries again.
    """
    visitor, owner = visitor_of(request), owner_of_user(user)
    if not visitor or not owner:
        return
    move_all = partial(_move_all, visitor, owner, time.monotonic() + _TIME_LIMIT)
    if store_breaker.run("adopt", move_all, _TIME_LIMIT + _GRACE):
        request.session.pop(VISITOR_KEY, None)


def _move_all(visitor: str, owner: str, deadline: float) -> bool:
    """Return whether all tasks are moved. One call of the store moves at most 100."""
    store = get_store()
    while store.adopt(visitor, owner):
        if time.monotonic() > deadline:
            return False
    return True


def is_adoption_due(request: HttpRequest) -> bool:
    """Return whether a signed-in session still has a visitor id. Loads no session."""
    session = getattr(request, "session", None)
    if session is None or not getattr(session, "accessed", False) or store_breaker.is_open:
        return False
    return VISITOR_KEY in session and "_auth_user_id" in session


def continue_adoption(request: HttpRequest) -> None:
    """Continue an adoption that :func:`adopt` could not finish. Never raises."""
    user = getattr(request, "user", None)
    if is_signed_in(user):
        adopt(request, user)
