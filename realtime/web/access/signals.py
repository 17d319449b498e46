"""Django's signals that change what users may see, sent on to every process.

Django sends a signal in the process where the change happens, which need not be the one with the
user's connections. ``revocation.py`` of every process receives these messages.
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
from .identity import user_key, user_key_of
from .sessions import (
    HASH_KEY,
    USER_KEY,
    ensure_session_id,
    fingerprint,
    session_fingerprints,
    session_in_cookie,
)

logger = get_logger("realtime.access")

#: The ``type`` of these messages.
MESSAGE_TYPE: Final = "realtime.access"
#: The messages of the current request; None outside of requests.
_deferred: ContextVar[DeferredMessages | None] = ContextVar("realtime_deferred", default=None)
#: An attribute of a request in which somebody has signed in.
_HAS_SIGNED_IN: Final = "_realtime_has_signed_in"
#: Seconds that a sign-out may wait for a layer that does not answer.
_SEND_TIMEOUT: Final = 1.0


def connect() -> None:
    """Connect the receivers. Repeating it changes nothing."""
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
        if hasattr(model, field):  # a project's own user model may have no permissions
            _connect(m2m_changed, _on_rights_changed, getattr(model, field).through)


def _connect(signal: Any, receiver: Any, sender: Any = None) -> None:
    name = f"realtime.{receiver.__name__}.{getattr(sender, '__name__', '')}"
    signal.connect(receiver, sender=sender, weak=False, dispatch_uid=name)


def _on_signed_in(request: Any = None, user: Any = None, **_kwargs: Any) -> None:
    session = getattr(request, "session", None)
    # REST frameworks send this signal for a sign-in by token too, which must not begin a session.
    if session is None or USER_KEY not in session:
        return
    ensure_session_id(session)
    setattr(request, _HAS_SIGNED_IN, True)
    try:
        _end_replaced(request, user)
        adopt(request, user)
    except Exception:  # the sign-in itself has succeeded
        logger.exception("adopt_failed")


def _end_replaced(request: Any, user: Any) -> None:
    """Send the end of the session that a sign-in as another user has replaced.

    Django sends no ``user_logged_out`` for it. The regular access checks find that a session on
    the server is gone; a session that is kept in the cookie is still in the request.
    """
    earlier = session_in_cookie(request)
    earlier_user = None if earlier is None else earlier.get(USER_KEY)
    if earlier_user is not None and earlier_user != str(user.pk):
        _publish(user_key_of(earlier_user), sessions=session_fingerprints(earlier))


def _on_signed_out(request: Any = None, user: Any = None, **_kwargs: Any) -> None:
    # Django sends it before the session is gone, so a check could still find the session. Where
    # the view itself has emptied the session, the cookie may still name it.
    if key := user_key(user):
        names = session_fingerprints(getattr(request, "session", None))
        names += session_fingerprints(session_in_cookie(request))
        _publish(key, sessions=sorted(set(names)))


def _on_saved(
    instance: Any, created: bool, using: str, update_fields: Any = None, **_kwargs: Any
) -> None:
    # Signing in saves `last_login`, and nothing else.
    if not created and set(update_fields or ()) != {"last_login"}:
        _publish_on_commit(user_key(instance), using)


def _on_deleted(instance: Any, using: str, **_kwargs: Any) -> None:
    # Django takes the primary key from the instance before the commit.
    key, owner, model = user_key(instance), owner_of_user(instance), type(instance)
    _publish_on_commit(key, using)
    transaction.on_commit(lambda: forget_deleted(owner, model), using=using, robust=True)


def _on_group_deleted(using: str, **_kwargs: Any) -> None:
    _publish_on_commit("", using)


def _on_rights_changed(instance: Any, action: str, using: str, **_kwargs: Any) -> None:
    if action.startswith("post_"):
        # A group has no user key: its rights are those of all its members.
        _publish_on_commit(user_key(instance), using)


def _publish_on_commit(key: str, using: str) -> None:
    # The receivers read the database, so the change must be committed.
    transaction.on_commit(lambda: _publish(key), using=using, robust=True)


class DeferredMessages:
    """Keeps the messages of one request until the view has returned.

    ``update_session_auth_hash`` gives a session another key after the password was saved. A check
    in between would find that the session has ended, and close its connections for good.
    """

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._is_open = True
        self._reset = _deferred.set(self)

    def add(self, message: dict[str, Any]) -> bool:
        """Return whether the message is kept: not after :meth:`finish`."""
        if self._is_open:
            self._messages.append(message)
        return self._is_open

    def finish(self, request: Any) -> list[dict[str, Any]]:
        """Return the messages to send, and keep no more."""
        self._is_open = False
        _deferred.reset(self._reset)
        renewed = _renewal(request)
        return [renewed, *self._messages] if renewed else self._messages


def send_messages(messages: Sequence[dict[str, Any]]) -> None:
    """Send messages that were deferred. Never raises."""
    for message in messages:
        _send_now(message)


def _renewal(request: Any) -> dict[str, Any] | None:
    """Return the message that a request's session continues under another key; None if not."""
    session: Any = getattr(request, "session", None)
    cookie = getattr(request, "COOKIES", {}).get(django_settings.SESSION_COOKIE_NAME)
    if not cookie or not getattr(session, "modified", False) or hasattr(request, _HAS_SIGNED_IN):
        return None
    if USER_KEY not in session:
        return None
    in_cookie = session_in_cookie(request)
    if in_cookie is None:
        is_same = session.session_key == cookie
    else:
        is_same = in_cookie.get(HASH_KEY) == session.get(HASH_KEY)
    if is_same:
        return None
    names = {fingerprint(cookie), *session_fingerprints(session), *session_fingerprints(in_cookie)}
    key = user_key_of(session[USER_KEY])
    return {"type": MESSAGE_TYPE, "user": key, "sessions": sorted(names), "renewed": True}


def _publish(key: str, *, sessions: Sequence[str] = ()) -> None:
    """Send to every process, at the end of the request if there is one.

    A ``key`` of "" means all users who see anything by a right.
    """
    message = {"type": MESSAGE_TYPE, "user": key, "sessions": list(sessions)}
    deferred = _deferred.get()
    if deferred is None or not deferred.add(message):
        _send_now(message)


def _send_now(message: dict[str, Any]) -> None:
    """Send to every process. Not while Redis is away: the regular checks find the change."""
    if layer_breaker.is_open:
        return
    try:
        async_to_sync(_send)(message)
    except Exception as error:  # noqa: BLE001 - the change itself has succeeded
        layer_breaker.trip("access_message", error)


async def _send(message: dict[str, Any]) -> None:
    async with asyncio.timeout(_SEND_TIMEOUT):
        await get_layer().group_send(access_group(), message)
