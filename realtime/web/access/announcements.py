"""Telling every process that a user's access may have changed, and what else follows from it.

Django's signals are sent in the process where the change happens, which need not be the one that
holds the user's connections: ``watch.py`` of every process receives these messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from realtime.core.logs import get_logger
from realtime.groups.layer import access_group, get_layer
from realtime.ownership import owner_of_user
from realtime.web.breaker import layer_breaker
from realtime.web.forgetting import forget_deleted

from .adoption import adopt
from .identity import (
    SIGNED_IN_BY,
    SIGNED_IN_HASH,
    fingerprint,
    name_session,
    names_of_session,
    session_in_cookie,
    user_key,
)

logger = get_logger("realtime.access")

#: The ``type`` of these messages.
MESSAGE_TYPE: Final = "realtime.access"
#: What a request announces; None outside of requests.
_held: ContextVar[Held | None] = ContextVar("realtime_held", default=None)
#: An attribute of a request in which somebody has signed in.
_HAS_SIGNED_IN: Final = "_realtime_has_signed_in"
#: Seconds that a sign-out may wait for a layer that does not answer.
_SEND_TIMEOUT: Final = 1.0


def connect() -> None:
    """Connect the receivers. Doing it again changes nothing."""
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group

    user_model = get_user_model()
    _connect(user_logged_in, _on_signed_in)
    _connect(user_logged_out, _on_signed_out)
    _connect(post_save, _on_saved, user_model)
    _connect(post_delete, _on_deleted, user_model)
    _connect(post_delete, _on_group_deleted, Group)
    for model, field in (
        (user_model, "groups"),
        (user_model, "user_permissions"),
        (Group, "permissions"),
    ):
        if hasattr(model, field):  # a user model of one's own may have no permissions
            _connect(m2m_changed, _on_rights_changed, getattr(model, field).through)


def _connect(signal: Any, receiver: Any, sender: Any = None) -> None:
    name = f"realtime.{receiver.__name__}.{getattr(sender, '__name__', '')}"
    signal.connect(receiver, sender=sender, weak=False, dispatch_uid=name)


def _on_signed_in(request: Any = None, user: Any = None, **_kwargs: Any) -> None:
    session = getattr(request, "session", None)
    # A sign-in by a token, as REST frameworks announce it too, must not begin a session.
    if session is None or SIGNED_IN_BY not in session:
        return
    name_session(session)
    setattr(request, _HAS_SIGNED_IN, True)
    try:
        _end_replaced(request, user)
        adopt(request, user)
    except Exception:  # the sign-in itself has succeeded
        logger.exception("adopt_failed")


def _end_replaced(request: Any, user: Any) -> None:
    """Announce the end of the session that a sign-in as somebody else has replaced.

    Django sends no sign-out for it. A session that was kept on the server is gone by now, and the
    regular looks find that; one that is kept in the cookie is still in the request.
    """
    earlier = session_in_cookie(request)
    whose = None if earlier is None else earlier.get(SIGNED_IN_BY)
    if whose is not None and whose != str(user.pk):
        _announce(_key_of(whose), sessions=names_of_session(earlier))


def _on_signed_out(request: Any = None, user: Any = None, **_kwargs: Any) -> None:
    # Django sends it before the session is gone, so a look could still find it. Where the view
    # itself has emptied the session, the cookie may still name it.
    if key := user_key(user):
        names = names_of_session(getattr(request, "session", None))
        names += names_of_session(session_in_cookie(request))
        _announce(key, sessions=sorted(set(names)))


def _on_saved(
    instance: Any, created: bool, using: str, update_fields: Any = None, **_kwargs: Any
) -> None:
    # Signing in saves the time of it, and nothing else.
    if not created and set(update_fields or ()) != {"last_login"}:
        _announce_committed(user_key(instance), using)


def _on_deleted(instance: Any, using: str, **_kwargs: Any) -> None:
    # Django takes the primary key from the instance before the commit.
    key, owner, model = user_key(instance), owner_of_user(instance), type(instance)
    _announce_committed(key, using)
    transaction.on_commit(lambda: forget_deleted(owner, model), using=using, robust=True)


def _on_group_deleted(using: str, **_kwargs: Any) -> None:
    _announce_committed("", using)


def _on_rights_changed(instance: Any, action: str, using: str, **_kwargs: Any) -> None:
    if action.startswith("post_"):
        # A group's rights are those of everybody in it.
        _announce_committed(user_key(instance), using)


def _announce_committed(key: str, using: str) -> None:
    # The receivers read the database: not before the change is there.
    transaction.on_commit(lambda: _announce(key), using=using, robust=True)


class Held:
    """What a view announces, until it has returned.

    ``update_session_auth_hash`` gives a session another key after the password was saved. A look
    in between would find that the session is over, and close its connections for good.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.is_open = True
        self._reset = _held.set(self)

    def release(self, request: Any) -> list[dict[str, Any]]:
        """Return what is to be announced, and hold nothing more."""
        self.is_open = False
        _held.reset(self._reset)
        renewed = _renewed(request)
        return [renewed, *self.messages] if renewed else self.messages


def announce_all(messages: Sequence[dict[str, Any]]) -> None:
    """Announce what was held. Never raises."""
    for message in messages:
        _send_now(message)


def _renewed(request: Any) -> dict[str, Any] | None:
    """Return the announcement that a request's signed-in session goes on under another key."""
    session: Any = getattr(request, "session", None)
    cookie = getattr(request, "COOKIES", {}).get(django_settings.SESSION_COOKIE_NAME)
    if not cookie or not getattr(session, "modified", False) or hasattr(request, _HAS_SIGNED_IN):
        return None
    if SIGNED_IN_BY not in session:
        return None
    in_cookie = session_in_cookie(request)
    if in_cookie is None:
        is_same = session.session_key == cookie
    else:
        is_same = in_cookie.get(SIGNED_IN_HASH) == session.get(SIGNED_IN_HASH)
    if is_same:
        return None
    names = {fingerprint(cookie), *names_of_session(session), *names_of_session(in_cookie)}
    key = _key_of(session[SIGNED_IN_BY])
    return {"type": MESSAGE_TYPE, "user": key, "sessions": sorted(names), "renewed": True}


def _key_of(primary_key: str) -> str:
    """Return what names a session's user in messages, without loading the user."""
    from django.contrib.auth import get_user_model

    return user_key(get_user_model()(pk=primary_key))


def _announce(key: str, *, sessions: Sequence[str] = ()) -> None:
    """Tell every process; ``key`` "" means everybody who sees more than their own."""
    message = {"type": MESSAGE_TYPE, "user": key, "sessions": list(sessions)}
    held = _held.get()
    if held is not None and held.is_open:
        held.messages.append(message)
    else:
        _send_now(message)


def _send_now(message: dict[str, Any]) -> None:
    """Tell every process. Not while Redis is away: the regular looks find the change."""
    if layer_breaker.is_open:
        return
    try:
        async_to_sync(_send)(message)
    except Exception as error:  # noqa: BLE001 - the change itself has succeeded
        layer_breaker.trip("announce", error)


async def _send(message: dict[str, Any]) -> None:
    async with asyncio.timeout(_SEND_TIMEOUT):
        await get_layer().group_send(access_group(), message)
