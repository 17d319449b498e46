"""Whose task it is: the user who started it, or the visitor who is not signed in.

An owner is the ident of a ``user:`` topic. It is stamped on the task's message when it is
published, and tasks that are started by tasks inherit it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final

from django.http import HttpRequest

NOBODY: Final = ""
_VISITOR_KEY: Final = "realtime_visitor"

#: Asked when a task is published, so that a request that starts none never looks at its user.
_current: ContextVar[Callable[[], str] | None] = ContextVar("realtime_owner", default=None)


def owner_of_user(user: Any) -> str:
    """Return the owner that stands for a user object; nobody for None and anonymous users."""
    if user is None or not getattr(user, "is_authenticated", False):
        return NOBODY
    ident = str(user.pk)
    # Topics hold few characters; a primary key may hold any.
    if re.fullmatch(r"(?!visitor-|sha256-|me$)[A-Za-z0-9._-]{1,64}", ident, re.ASCII):
        return ident
    return f"sha256-{hashlib.sha256(ident.encode(errors='replace')).hexdigest()}"


def owner_of_request(request: HttpRequest, *, create: bool = False) -> str:
    """Return the owner that stands for a request's user, or for its visitor.

    With ``create`` a visitor who has no id yet is given one in the session; without, nobody.
    """
    owner = owner_of_user(getattr(request, "user", None))
    session = getattr(request, "session", None)
    if owner or session is None:
        return owner
    visitor = session.get(_VISITOR_KEY)
    if visitor is None and create:
        visitor = session[_VISITOR_KEY] = f"visitor-{secrets.token_urlsafe(16)}"
    return visitor or NOBODY


def owner_topic(request: HttpRequest) -> str:
    """Return the topic of all that a request's user or visitor started: ``user:<id>``.

    A visitor who has no id yet is given one in the session; "" where there is no session.
    """
    owner = owner_of_request(request, create=True)
    return f"user:{owner}" if owner else ""


@contextlib.contextmanager
def owned_by(user: Any) -> Iterator[None]:
    """Make the tasks published inside belong to ``user``: a user object, or None for nobody.

    For code that runs outside of a request: a management command, a scheduled job.
    """
    owner = owner_of_user(user)
    with owner_from(lambda: owner):
        yield


@contextlib.contextmanager
def owner_from(resolve: Callable[[], str]) -> Iterator[None]:
    """Ask ``resolve`` for the owner of each task that is published inside."""
    token = _current.set(resolve)
    try:
        yield
    finally:
        _current.reset(token)


def current_owner() -> str | None:
    """Return the owner of what is published now; None where nothing says, "" for nobody."""
    resolve = _current.get()
    return None if resolve is None else resolve()
