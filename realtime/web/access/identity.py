"""Who the user of a connection is: at the handshake, and at each later check.

Users are looked up in batches. Channels asks the database for each handshake by itself, over a
connection of its own where Django keeps none open; after a restart all clients connect at once.
Channels' three layers of middleware would also keep three copies of the scope for as long as the
connection lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence, Set
from functools import lru_cache
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from realtime.core.codes import CloseCode
from realtime.ownership import is_signed_in
from realtime.store.batching import Batcher

from .rows import (
    hash_of_rows,
    put_row_hash,
    read_row_hashes,
    read_sessions,
    row_of,
    rows_decide,
)
from .sessions import put_fingerprint, session_of_handshake, session_store_class

_App = Callable[[Any, Any, Any], Awaitable[None]]

#: In the scope of a connection whose user was found by its session.
BY_SESSION: Final = "realtime.by_session"
#: In its scope: when the lookup of the user began, by the event loop's clock.
READ_AT: Final = "realtime.user_read_at"


def user_key(user: Any) -> str:
    """Return what names a user in messages; "" for None and for users who are not signed in."""
    if not is_signed_in(user):
        return ""
    meta = getattr(user, "_meta", None)
    model = type(user).__name__ if meta is None else meta.concrete_model._meta.label_lower  # noqa: SLF001
    return f"{model}:{user.pk}"


def user_key_of(primary_key: str) -> str:
    """Return the :func:`user_key` of a session's user, without loading the user."""
    from django.contrib.auth import get_user_model

    return user_key(get_user_model()(pk=primary_key))


def anonymous() -> Any:
    """Return an AnonymousUser; None where ``django.contrib.auth`` is not installed."""
    if not can_sign_in():
        return None
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


@lru_cache(maxsize=1)
def can_sign_in() -> bool:
    """Return whether the project has users, and a session engine that works."""
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.backends.db import SessionStore

    try:
        get_user_model()
        store = session_store_class()
        if issubclass(store, SessionStore):
            store.get_model_class()
    except (ImproperlyConfigured, ImportError, RuntimeError):
        return False  # `manage.py check` reports it
    return True


def _forget_settings(*, setting: str, **_kwargs: object) -> None:
    if setting in ("INSTALLED_APPS", "AUTH_USER_MODEL", "SESSION_ENGINE"):
        can_sign_in.cache_clear()


setting_changed.connect(_forget_settings)


# At the handshake


class SessionUserMiddleware:
    """Puts the handshake's ``session`` and ``user`` into the scope."""

    def __init__(self, inner: _App) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Find the user and call the inner application.

        Raises what the session engine and the database raise. In a project without users or
        sessions both values are None, and access is by token alone.
        """
        if not can_sign_in():
            await self._inner({**scope, "session": None, "user": None}, receive, send)
            return
        batcher = _batchers.setdefault(asyncio.get_running_loop(), Batcher(_find_users))
        signed_in = {**scope, "session": session_of_handshake(scope), BY_SESSION: True}
        signed_in[READ_AT] = asyncio.get_running_loop().time()
        signed_in["user"] = await batcher.request(signed_in)
        await self._inner(signed_in, receive, send)


#: The handshakes of each event loop that wait for their user.
_batchers: WeakKeyDictionary[asyncio.AbstractEventLoop, Batcher] = WeakKeyDictionary()


async def _find_users(scopes: Sequence[MutableMapping[str, Any]]) -> Sequence[Any]:
    return await database_sync_to_async(find_users)(scopes)


def find_users(scopes: Sequence[MutableMapping[str, Any]]) -> list[Any]:
    """Return the user of each scope's session, or the exception that the lookup raised.

    The rules are Django's for a request. Channels' own lookup ends a session that was begun under
    one of ``SECRET_KEY_FALLBACKS``. Each scope also gets the fingerprint of its session, and the
    hash of the rows by which its user was found.
    """
    keys = [scope["session"].session_key for scope in scopes]
    sessions = _load_sessions({key for key in keys if key})
    empty = _Session({}, None)
    found = [sessions.get(key, empty) for key in keys]
    for scope, key, each in zip(scopes, keys, found, strict=True):
        if isinstance(each, Exception):
            put_fingerprint(scope, {}, key)
        else:
            put_fingerprint(scope, each.content, key)
            put_row_hash(scope, each.row_hash)
    return [each if isinstance(each, Exception) else each.user or anonymous() for each in found]


# At each later check


def find_row_hashes(pairs: Sequence[tuple[Mapping[str, Any], Any]]) -> list[bytes | None]:
    """Return for each pair of scope and user the hash of the rows that decide who the user is.

    None where :func:`check_users` has to find out: nothing else has changed while the hash is the
    same.
    """
    hashes: list[bytes | None] = [None] * len(pairs)
    if not rows_decide():
        return hashes
    numbers, wanted = [], []
    for number, (scope, user) in enumerate(pairs):
        key = _or_error(_session_key, scope)
        if key and isinstance(key, str):
            numbers.append(number)
            wanted.append((key, user.pk))
    found = _or_error(read_row_hashes, wanted)
    if not isinstance(found, Exception):  # what is wrong with the database is logged by the check
        for number, each in zip(numbers, found, strict=True):
            hashes[number] = each
    return hashes


def check_users(pairs: Sequence[tuple[Mapping[str, Any], Any]]) -> list[Any]:
    """Return for each pair of scope and user who the user is now.

    A result is the user as the database has it, the close code where the session or the user is
    gone, or the exception that the lookup raised. Nothing is changed: Django's own lookup would
    end the session of a user who is just changing the password.
    """
    keys = [_or_error(_session_key, scope) for scope, _ in pairs]
    sessions = _load_sessions({key for key in keys if key and isinstance(key, str)})
    return [
        _or_error(_check_user, user, key, key if isinstance(key, Exception) else sessions.get(key))
        for (_, user), key in zip(pairs, keys, strict=True)
    ]


def _session_key(scope: Mapping[str, Any]) -> str:
    """Return the key of the session that signed the scope's user in; "" if something else did.

    In a project's own routing, Channels' middleware may have loaded the session.
    """
    from django.contrib.auth import SESSION_KEY

    session: Any = scope.get("session")
    if not session or (BY_SESSION not in scope and SESSION_KEY not in session):
        return ""
    return session.session_key or ""


def _check_user(user: Any, key: str, session: _Session | Exception | None) -> Any:
    from django.contrib.auth import SESSION_KEY

    if isinstance(session, Exception):
        raise session
    if session is None:  # the user was signed in by something else
        model = user.__class__
        fresh = model._default_manager.filter(pk=user.pk).first()  # noqa: SLF001
        return fresh if getattr(fresh, "is_active", False) else CloseCode.SIGNED_OUT
    if SESSION_KEY not in session.content:
        # The engine does not load an expired session, but the session exists until `clearsessions`.
        expired = session_store_class()().exists(key)
        return CloseCode.SESSION_EXPIRED if expired else CloseCode.SIGNED_OUT
    same = str(user.pk) == session.content[SESSION_KEY]
    return (session.user if same else None) or CloseCode.SIGNED_OUT


# Sessions with their users, many at once: each query to the database has its price.


class _Session(NamedTuple):
    """A session's data, {} if it is gone, and its user, None for nobody."""

    content: Mapping[str, Any]
    user: Any
    #: Of the rows that decided; None where more than they did, and for nobody.
    row_hash: bytes | None = None


def _load_sessions(keys: Set[str]) -> dict[str, _Session | Exception]:
    """Return these sessions with their users; the exception where a lookup raised one."""
    from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY, get_user_model

    contents, texts = _load_contents(keys)
    to_python = get_user_model()._meta.pk.to_python  # noqa: SLF001
    users: dict[str, Any] = {}
    wanted: dict[Any, dict[str, Any]] = {}
    for key, content in contents.items():
        if isinstance(content, Exception):
            users[key] = content
            continue
        backend = content.get(BACKEND_SESSION_KEY)
        if backend in django_settings.AUTHENTICATION_BACKENDS and SESSION_KEY in content:
            ident = _or_error(to_python, content[SESSION_KEY])
            if isinstance(ident, Exception):
                users[key] = ident
            else:
                wanted.setdefault(backend, {})[key] = ident
    for backend, idents in wanted.items():
        known = _load_users(backend, set(idents.values()))
        users |= {key: known.get(ident) for key, ident in idents.items()}
    return {
        key: _with_user(content, users.get(key), texts.get(key))
        for key, content in contents.items()
    }


def _load_contents(keys: Set[str]) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Return the data of sessions, decoded and, where a table has them, as stored."""
    from django.contrib.sessions.backends.db import SessionStore

    store = session_store_class()
    if store.load is not SessionStore.load:
        return {key: _or_error(store(key).load) for key in keys}, {}
    texts = dict(read_sessions(keys))
    return {key: store().decode(texts[key]) if key in texts else {} for key in keys}, texts


def _load_users(path: str, idents: Set[Any]) -> dict[Any, Any]:
    from django.contrib.auth import get_user_model, load_backend
    from django.contrib.auth.backends import ModelBackend

    backend: Any = load_backend(path)
    if type(backend).get_user is not ModelBackend.get_user:
        return {ident: _or_error(backend.get_user, ident) for ident in idents}
    users = get_user_model()._default_manager.in_bulk(idents)  # noqa: SLF001
    return {ident: user for ident, user in users.items() if backend.user_can_authenticate(user)}


def _with_user(content: Any, user: Any, text: str | None) -> _Session | Exception:
    if isinstance(user, Exception):
        return user
    verified = _verified(user, content)
    if verified is None or text is None or not rows_decide():
        return _Session(content, verified)
    row = row_of(verified)
    return _Session(content, verified, None if row is None else hash_of_rows(text, row))


def _verified(user: Any, content: Any) -> Any:
    """Return the user if the session was begun under the present password, else None."""
    from django.contrib.auth import HASH_SESSION_KEY
    from django.utils.crypto import constant_time_compare

    if not hasattr(user, "get_session_auth_hash"):
        return user
    valid = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    given = content.get(HASH_SESSION_KEY, "")
    return user if any(constant_time_compare(given, each) for each in valid) else None


def _or_error(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - one broken session must not fail the batch
        return error
