"""Who a connection's user is by now, and telling every process that it may have changed.

Django's own signals say so in the process where it happens, which need not be the one that holds
the connection: they are passed on through the channel layer, to ``watch.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from realtime.broker.layer import get_layer
from realtime.core.codes import CloseCode
from realtime.core.logs import get_logger
from realtime.ownership import owner_of_user

logger = get_logger("realtime.access")

#: The one group of all processes. Changes of access are rare: a group for each user would cost a
#: subscription on Redis for each of them.
GROUP: Final = "realtime.access"
#: Seconds that a sign-out may lose to a layer that does not answer.
_SEND_TIMEOUT: Final = 1.0


# Telling: wherever it happens.


def connect() -> None:
    """Connect the receivers. Doing it again changes nothing."""
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group

    user_model = get_user_model()
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


def _on_signed_out(request: Any = None, user: Any = None, **_kwargs: Any) -> None:
    # It is said before the session is gone, so a look could still find it.
    key = getattr(getattr(request, "session", None), "session_key", None)
    if owner := owner_of_user(user):
        _announce(owner, session=fingerprint(key))


def _on_saved(
    instance: Any, created: bool, using: str, update_fields: Any = None, **_kwargs: Any
) -> None:
    # Signing in saves the time of it, and nothing else.
    if not created and set(update_fields or ()) != {"last_login"}:
        _announce_committed(owner_of_user(instance), using)


def _on_deleted(instance: Any, using: str, **_kwargs: Any) -> None:
    _announce_committed(owner_of_user(instance), using)


def _on_group_deleted(using: str, **_kwargs: Any) -> None:
    _announce_committed("", using)


def _on_rights_changed(instance: Any, action: str, using: str, **_kwargs: Any) -> None:
    if action.startswith("post_"):
        # A group's rights are those of everybody in it. (A group is no user, so it owns nothing.)
        _announce_committed(owner_of_user(instance), using)


def _announce_committed(owner: str, using: str) -> None:
    # Whoever hears of it looks into the database: not before it is there.
    transaction.on_commit(lambda: _announce(owner), using=using, robust=True)


def _announce(owner: str, *, session: str = "") -> None:
    """Tell every process; ``owner`` "" means everybody who sees more than their own."""
    message = {"type": GROUP, "owner": owner, "session": session}
    try:
        async_to_sync(_send)(message)
    except Exception as error:  # noqa: BLE001 - the change itself has succeeded, and looks find it
        logger.warning("announce_failed error=%r", error)


async def _send(message: dict[str, Any]) -> None:
    async with asyncio.timeout(_SEND_TIMEOUT):
        await get_layer().group_send(GROUP, message)


def fingerprint(session_key: str | None) -> str:
    """Return what stands for a session in messages: whoever reads it cannot use the session."""
    return hashlib.sha256(session_key.encode()).hexdigest() if session_key else ""


# Looking.


def find_users(scopes: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return for each scope the user of its session, or the exception that it raised."""
    return [_or_error(find_user, scope) for scope in scopes]


def find_user(scope: Mapping[str, Any]) -> Any:
    """Return the user of a scope's session, as Django does for a request.

    Channels' own way ends a session that was begun under one of ``SECRET_KEY_FALLBACKS``.
    """
    from django.contrib.auth import SESSION_KEY
    from django.contrib.auth.models import AnonymousUser

    session = scope["session"]
    return (_user_of(session) if SESSION_KEY in session else None) or AnonymousUser()


def look_up_all(asked: Sequence[tuple[Mapping[str, Any], Any]]) -> list[Any]:
    """Return for each scope and user what :func:`look_up` does, or the exception that it raised."""
    return [_or_error(look_up, scope, user) for scope, user in asked]


def look_up(scope: Mapping[str, Any], user: Any) -> Any:
    """Return a connection's user as they are now, or the close code where they are so no more.

    It asks the database and changes nothing: Django's own way would end the session of a user who
    is just changing the password.
    """
    from django.contrib.auth import SESSION_KEY

    session = scope.get("session")
    if not session or SESSION_KEY not in session:  # signed in by something else
        model = user.__class__
        fresh = model._default_manager.filter(pk=user.pk).first()  # noqa: SLF001
        return fresh if getattr(fresh, "is_active", False) else CloseCode.SIGNED_OUT
    key = session.session_key
    kept = import_module(django_settings.SESSION_ENGINE).SessionStore(key)
    if SESSION_KEY not in kept:
        # One that has expired is not given out, but it is there until it is cleared away.
        return CloseCode.SESSION_EXPIRED if kept.exists(key) else CloseCode.SIGNED_OUT
    same = str(user.pk) == kept[SESSION_KEY]
    return (_user_of(kept) if same else None) or CloseCode.SIGNED_OUT


def _or_error(function: Callable[..., Any], *asked: Any) -> Any:
    try:
        return function(*asked)
    except Exception as error:  # noqa: BLE001 - one session that is broken is not the others'
        return error


def _user_of(session: Any) -> Any:
    """Return whom a session is of, if it was made under the user's present password; or None."""
    from django.contrib.auth import (
        BACKEND_SESSION_KEY,
        HASH_SESSION_KEY,
        SESSION_KEY,
        get_user_model,
        load_backend,
    )
    from django.utils.crypto import constant_time_compare

    backend = session.get(BACKEND_SESSION_KEY)
    if backend not in django_settings.AUTHENTICATION_BACKENDS:
        return None
    key = get_user_model()._meta.pk.to_python(session[SESSION_KEY])  # noqa: SLF001
    user: Any = load_backend(backend).get_user(key)
    if not hasattr(user, "get_session_auth_hash"):
        return user
    valid = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    told = session.get(HASH_SESSION_KEY, "")
    return user if any(constant_time_compare(told, each) for each in valid) else None
