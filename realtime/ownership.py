"""Whose a task is: the user who started it, or a visitor who is not signed in.

An owner is the ident of a ``user:`` topic. The publisher puts it into the task's message, and
tasks that a task starts inherit it.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import secrets
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final, cast

from django.db import connections
from django.http import HttpRequest
from django.utils.module_loading import import_string

from .conf import conf
from .core.interruption import interrupts_task
from .core.logs import get_logger
from .core.topics import ME, USER, Topic

logger = get_logger("realtime.access")

NOBODY: Final = ""
#: Where a session keeps its visitor id.
VISITOR_KEY: Final = "realtime_visitor"
_VISITOR: Final = "visitor-"
_HASH: Final = "sha256-"

#: Called when a task is published: a request that starts no task never loads its user.
_current: ContextVar[Callable[[], str] | None] = ContextVar("realtime_owner", default=None)


def is_signed_in(user: Any) -> bool:
    """Return whether a user object is a signed-in user: not None, and not anonymous."""
    return user is not None and bool(getattr(user, "is_authenticated", False))


def owner_of_user(user: Any) -> str:
    """Return the owner of a user's tasks; NOBODY for None and anonymous users.

    It is the primary key, or the result of the function ``REALTIME["OWNER"]``. That function is
    called on event loops, so it must not use the database.
    """
    if not is_signed_in(user):
        return NOBODY
    path = conf().OWNER
    if path:
        return _chosen_owner(path, user)
    ident = str(user.pk)
    return ident if _is_ident(ident) and not _is_reserved(ident) else _hashed(ident)


def _chosen_owner(path: str, user: Any) -> str:
    try:
        ident = import_string(path)(user)
        if inspect.iscoroutine(ident):
            ident.close()
            raise TypeError("OWNER must be a plain function")
    except Exception as error:
        if interrupts_task(error):
            raise
        logger.exception("owner_failed user=%s function=%s", user.pk, path)
        return NOBODY
    if ident is None:
        return NOBODY
    if not isinstance(ident, str) or not _is_ident(ident):
        returned = repr(ident)[:300]
        logger.error(
            "owner_invalid user=%s function=%s returned=%s allowed=%s",
            user.pk,
            path,
            returned,
            "None, or a text of 1 to 255 characters without control characters",
        )
        return NOBODY
    return _hashed(ident) if _is_reserved(ident) else str(ident)


def _is_reserved(ident: str) -> bool:
    """Return whether an ident has a special meaning, so that no user may have it."""
    return ident == ME or ident.startswith((_VISITOR, _HASH))


def _is_ident(ident: str) -> bool:
    try:
        Topic.parse(f"{USER}:{ident}")
    except ValueError:
        return False
    return True


def _hashed(ident: str) -> str:
    return f"{_HASH}{hashlib.sha256(ident.encode(errors='replace')).hexdigest()}"


def is_visitor(owner: str) -> bool:
    """Return whether an owner is a visitor."""
    return owner.startswith(_VISITOR)


def visitor_of(request: HttpRequest) -> str:
    """Return the visitor id in a request's session, or NOBODY. Loads the session."""
    session = getattr(request, "session", None)
    visitor = None if session is None else session.get(VISITOR_KEY)
    return visitor if isinstance(visitor, str) and is_visitor(visitor) else NOBODY


def owner_of_request(request: HttpRequest, *, create: bool = False) -> str:
    """Return the owner of the tasks that a request's user or visitor starts.

    For a visitor without an id the result is NOBODY. With ``create`` the visitor gets an id, which
    the session keeps.
    """
    user = getattr(request, "user", None)
    if is_signed_in(user):
        return owner_of_user(user)
    visitor = visitor_of(request)
    session = getattr(request, "session", None)
    if not visitor and create and session is not None:
        visitor = session[VISITOR_KEY] = f"{_VISITOR}{secrets.token_urlsafe(16)}"
    return visitor


def owner_topic(request: HttpRequest, *, create: bool = True) -> str:
    """Return the topic of all tasks that a request's user or visitor started: ``user:<id>``.

    A visitor without an id gets one, which the session keeps, unless ``create`` is False. The
    topic is "" for a visitor without an id, and where there is no session.
    """
    owner = owner_of_request(request, create=create)
    return f"{USER}:{owner}" if owner else ""


@contextlib.contextmanager
def owned_by(user: Any, *, on_commit: bool = False) -> Iterator[None]:
    """Make ``user`` the owner of the tasks published inside: a user object, or None for nobody.

    For code that runs outside of a request: a management command, a scheduled job. With
    ``on_commit`` also the owner of tasks that are published at the end of the transaction, by
    ``delay_on_commit`` or ``transaction.on_commit`` inside.
    """
    owner = owner_of_user(user)
    hooks_before = _commit_hooks() if on_commit else []
    with owner_from(lambda: owner):
        try:
            yield
        finally:
            if on_commit:
                _own_commit_hooks(hooks_before, owner)


def _commit_hooks() -> list[Any]:
    return [
        hook
        for connection in connections.all(initialized_only=True)
        for hook in connection.run_on_commit
    ]


def _own_commit_hooks(before: list[Any], owner: str) -> None:
    """Make the owner that of the tasks of all hooks that were registered since ``before``.

    This relies on a private list of Django's connections: of tuples whose second item is the
    function (django/db/backends/base/base.py, ``on_commit``). The public way would be one hook
    that sets the owner and one that resets it. But if a hook in between raises, Django never runs
    the second one, and later tasks would belong to a user who did not start them.
    """
    known = {id(hook) for hook in before}
    for connection in connections.all(initialized_only=True):
        hooks = cast(list[Any], connection.run_on_commit)
        for index, hook in enumerate(hooks):
            if id(hook) in known:
                continue
            if not (isinstance(hook, tuple) and len(hook) > 1 and callable(hook[1])):
                logger.warning("commit_hook_without_owner hook=%.100r", hook)
                continue
            hooks[index] = (hook[0], _owned(hook[1], owner), *hook[2:])


def _owned(function: Callable[[], Any], owner: str) -> Callable[[], Any]:
    def run() -> Any:
        with owner_from(lambda: owner):
            return function()

    return run


@contextlib.contextmanager
def owner_from(resolve: Callable[[], str]) -> Iterator[None]:
    """Call ``resolve`` for the owner of each task that is published inside."""
    token = _current.set(resolve)
    try:
        yield
    finally:
        _current.reset(token)


def current_owner() -> str | None:
    """Return the owner of a task that is published now: None if nothing names one, "" for nobody.

    An exception of the user or the session is logged, and the task belongs to nobody: it must not
    prevent the publishing.
    """
    resolve = _current.get()
    if resolve is None:
        return None
    try:
        return resolve()
    except Exception as error:
        if interrupts_task(error):
            raise
        logger.exception("owner_unknown")
        return NOBODY
