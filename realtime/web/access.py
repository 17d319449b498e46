"""Who a connection's user is by now, and telling every process that it may have changed.

Django's own signals say so in the process where it happens, which need not be the one that holds
the connection: they are passed on through the channel layer, to ``watch.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from importlib import import_module
from typing import Any, Final, NamedTuple

from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.utils import timezone

from realtime.broker.layer import get_layer
from realtime.core.codes import CloseCode
from realtime.core.logs import get_logger
from realtime.ownership import owner_of_user

logger = get_logger("realtime.access")

#: The one group of all processes. Changes of access are rare: a group for each user would cost a
#: subscription on Redis for each of them.
GROUP: Final = "realtime.access"
#: In the scope of a connection whose user was found by its session.
BY_SESSION: Final = "realtime.by_session"
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


# Looking: for many at once, as each question to the database has its price.


class _Session(NamedTuple):
    """What a session holds, {} where it is gone, and whom it is of, None for nobody."""

    kept: Mapping[str, Any]
    user: Any


def find_users(scopes: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return for each scope the user of its session, or the exception that it raised.

    The same as Django does for a request. Channels' own way ends a session that was begun under
    one of ``SECRET_KEY_FALLBACKS``.
    """
    from django.contrib.auth.models import AnonymousUser

    keys = [scope["session"].session_key for scope in scopes]
    sessions = _sessions({key for key in keys if key})
    nobodys = _Session({}, None)
    found = [sessions.get(key, nobodys) for key in keys]
    return [each if isinstance(each, Exception) else each.user or AnonymousUser() for each in found]


def look_up_all(asked: Sequence[tuple[Mapping[str, Any], Any]]) -> list[Any]:
    """Return for each scope and user who they are now, or the close code where they are no more.

    Or the exception that it raised. It changes nothing: Django's own way would end the session of
    a user who is just changing the password.
    """
    keys = [_or_error(_session_key, scope) for scope, _ in asked]
    sessions = _sessions({key for key in keys if key and isinstance(key, str)})
    return [
        _or_error(_look_up, user, key, key if isinstance(key, Exception) else sessions.get(key))
        for (_, user), key in zip(asked, keys, strict=True)
    ]


def _session_key(scope: Mapping[str, Any]) -> str:
    """Return the key of the session that a scope's user is signed in by, "" if by something else.

    It may be Channels' own middleware that looked into the session, in a project's own routing.
    """
    from django.contrib.auth import SESSION_KEY

    session: Any = scope.get("session")
    if not session or (BY_SESSION not in scope and SESSION_KEY not in session):
        return ""
    return session.session_key or ""


def _look_up(user: Any, key: str, session: _Session | Exception | None) -> Any:
    from django.contrib.auth import SESSION_KEY

    if isinstance(session, Exception):
        raise session
    if session is None:  # signed in by something else
        model = user.__class__
        fresh = model._default_manager.filter(pk=user.pk).first()  # noqa: SLF001
        return fresh if getattr(fresh, "is_active", False) else CloseCode.SIGNED_OUT
    if SESSION_KEY not in session.kept:
        # One that has expired is not given out, but it is there until it is cleared away.
        expired = store_class()().exists(key)
        return CloseCode.SESSION_EXPIRED if expired else CloseCode.SIGNED_OUT
    same = str(user.pk) == session.kept[SESSION_KEY]
    return (session.user if same else None) or CloseCode.SIGNED_OUT


def _sessions(keys: Set[str]) -> dict[str, _Session | Exception]:
    """Return these sessions; the exception where one could not be read."""
    from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY, get_user_model

    loaded = _load(keys)
    to_python = get_user_model()._meta.pk.to_python  # noqa: SLF001
    users: dict[str, Any] = {}
    wanted: dict[Any, dict[str, Any]] = {}
    for key, kept in loaded.items():
        if isinstance(kept, Exception):
            users[key] = kept
            continue
        backend = kept.get(BACKEND_SESSION_KEY)
        if backend in django_settings.AUTHENTICATION_BACKENDS and SESSION_KEY in kept:
            ident = _or_error(to_python, kept[SESSION_KEY])
            if isinstance(ident, Exception):
                users[key] = ident
            else:
                wanted.setdefault(backend, {})[key] = ident
    for backend, ids in wanted.items():
        known = _get_users(backend, set(ids.values()))
        users |= {key: known.get(ident) for key, ident in ids.items()}
    return {key: _session(users.get(key), kept) for key, kept in loaded.items()}


def _session(user: Any, kept: Any) -> _Session | Exception:
    return user if isinstance(user, Exception) else _Session(kept, _proven(user, kept))


def store_class() -> Any:
    """Return what the project keeps its sessions in."""
    return import_module(django_settings.SESSION_ENGINE).SessionStore


def _load(keys: Set[str]) -> dict[str, Any]:
    from django.contrib.sessions.backends.db import SessionStore

    store = store_class()
    if store.load is not SessionStore.load:
        return {key: _or_error(store(key).load) for key in keys}
    alive = store.get_model_class().objects.filter(
        session_key__in=keys, expire_date__gt=timezone.now()
    )
    found = {each.session_key: store().decode(each.session_data) for each in alive}
    return {key: found.get(key, {}) for key in keys}


def _get_users(path: str, idents: Set[Any]) -> dict[Any, Any]:
    from django.contrib.auth import get_user_model, load_backend
    from django.contrib.auth.backends import ModelBackend

    backend: Any = load_backend(path)
    if type(backend).get_user is not ModelBackend.get_user:
        return {ident: _or_error(backend.get_user, ident) for ident in idents}
    users = get_user_model()._default_manager.in_bulk(idents)  # noqa: SLF001
    return {ident: user for ident, user in users.items() if backend.user_can_authenticate(user)}


def _proven(user: Any, kept: Any) -> Any:
    """Return the user if the session was made under their present password, else None."""
    from django.contrib.auth import HASH_SESSION_KEY
    from django.utils.crypto import constant_time_compare

    if not hasattr(user, "get_session_auth_hash"):
        return user
    valid = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    told = kept.get(HASH_SESSION_KEY, "")
    return user if any(constant_time_compare(told, each) for each in valid) else None


def _or_error(function: Callable[..., Any], *asked: Any) -> Any:
    try:
        return function(*asked)
    except Exception as error:  # noqa: BLE001 - one that is broken is not the others'
        return error
