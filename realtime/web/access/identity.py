"""Who a connection's user is by now, and what names users and sessions between processes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, MutableMapping, Sequence, Set
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, NamedTuple

from django.conf import settings as django_settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils import timezone

from realtime.core.codes import CloseCode
from realtime.ownership import is_signed_in

#: In the scope of a connection whose user was found by its session.
BY_SESSION: Final = "realtime.by_session"
#: In the same scope, what names the session between processes.
_SESSION_NAME: Final = "realtime.session_name"
#: Where a signed-in session keeps a random id. Unlike the session's key it stays the same when a
#: view changes a session that is kept in a cookie, and when its key is cycled.
_SESSION_ID: Final = "realtime_session"
#: Where Django keeps the user of a session (``django.contrib.auth.SESSION_KEY``).
SIGNED_IN_BY: Final = "_auth_user_id"
#: What was made of the user's password then (``HASH_SESSION_KEY``).
SIGNED_IN_HASH: Final = "_auth_user_hash"


# Names.


def user_key(user: Any) -> str:
    """Return what names a user in messages; "" for what is no user, or not signed in."""
    if not is_signed_in(user):
        return ""
    meta = getattr(user, "_meta", None)
    model = type(user).__name__ if meta is None else meta.concrete_model._meta.label_lower  # noqa: SLF001
    return f"{model}:{user.pk}"


def name_session(session: Any) -> None:
    """Give a signed-in session its random id, if it has none."""
    if _SESSION_ID not in session:
        session[_SESSION_ID] = secrets.token_urlsafe(16)


def names_of_session(session: Any) -> list[str]:
    """Return what may name a session in messages: by its id, and by its key."""
    if session is None:
        return []
    named = [session.get(_SESSION_ID), getattr(session, "session_key", None)]
    return [fingerprint(name) for name in named if name]


def session_in_cookie(request: Any) -> Any:
    """Return the session that came with a request, where sessions are kept in signed cookies.

    It is the one from before any view changed or replaced it; None for other kinds of sessions.
    """
    store = store_class()
    cookie = getattr(request, "COOKIES", {}).get(django_settings.SESSION_COOKIE_NAME)
    return store(cookie) if cookie and issubclass(store, SignedCookies) else None


def session_name(scope: Mapping[str, Any]) -> str:
    """Return what names the session of a connection; "" where there is none."""
    if _SESSION_NAME in scope:
        return str(scope[_SESSION_NAME])
    session = scope.get("session")
    try:
        ident = None if session is None else session.get(_SESSION_ID)
    except Exception:  # noqa: BLE001 - not loaded yet, and this is an event loop
        ident = None
    return fingerprint(ident or getattr(session, "session_key", None))


def fingerprint(name: str | None) -> str:
    """Return what stands for a session in messages: whoever reads it cannot use the session."""
    return hashlib.sha256(name.encode()).hexdigest() if name else ""


# Looking: for many at once, as each question to the database has its price.


class _Session(NamedTuple):
    """What a session holds, {} where it is gone, and whom it is of, None for nobody."""

    kept: Mapping[str, Any]
    user: Any


def find_users(scopes: Sequence[MutableMapping[str, Any]]) -> list[Any]:
    """Return for each scope the user of its session, or the exception that it raised.

    The same as Django does for a request. Channels' own way ends a session that was begun under
    one of ``SECRET_KEY_FALLBACKS``. Each scope also gets what names its session.
    """
    keys = [scope["session"].session_key for scope in scopes]
    sessions = _sessions({key for key in keys if key})
    nobodys = _Session({}, None)
    found = [sessions.get(key, nobodys) for key in keys]
    for scope, key, each in zip(scopes, keys, found, strict=True):
        ident = None if isinstance(each, Exception) else each.kept.get(_SESSION_ID)
        scope[_SESSION_NAME] = fingerprint(ident or key)
    return [each if isinstance(each, Exception) else each.user or anonymous() for each in found]


def anonymous() -> Any:
    """Return an AnonymousUser; None where ``django.contrib.auth`` is not installed."""
    if not can_sign_in():
        return None
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


@lru_cache(maxsize=1)
def can_sign_in() -> bool:
    """Return whether the project has users, and a place where it keeps sessions."""
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.backends.db import SessionStore

    try:
        get_user_model()
        store = store_class()
        if issubclass(store, SessionStore):
            store.get_model_class()
    except (ImproperlyConfigured, ImportError, RuntimeError):
        return False  # `manage.py check` says so
    return True


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting in ("INSTALLED_APPS", "AUTH_USER_MODEL", "SESSION_ENGINE"):
        can_sign_in.cache_clear()


setting_changed.connect(_forget)


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
