"""The rows of sessions and users, compared as the database stores them.

Decoding a session and loading its user takes ten times as long as reading both rows. So each
access check reads the rows of many connections, and only those that have changed since the last
check of the connection are decoded.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, MutableMapping, Sequence, Set
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.db.models.query_utils import DeferredAttribute
from django.utils import timezone

from realtime.conf import conf
from realtime.core.chunks import chunks

from .sessions import session_store_class

#: In the scope of a handshake: the hash of the rows by which its user was found.
_ROW_HASH: Final = "realtime.row_hash"
#: Set on a user whom a function was given that decides about a right: what such a function reads
#: from the database stays in the object, so the next check loads the user again.
_ASKED: Final = "_realtime_asked"
#: Parameters of a query that are left to a project's manager.
_SPARE: Final = 19


@lru_cache(maxsize=1)
def rows_decide() -> bool:
    """Return whether the two rows alone decide who the user of a session is.

    A project's own session engine, authentication backend, user model or ``OWNER`` may read
    anything else.
    """
    from django.contrib.auth import get_user_model, load_backend
    from django.contrib.auth.backends import (
        AllowAllUsersModelBackend,
        BaseBackend,
        ModelBackend,
    )
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.sessions.backends.db import SessionStore

    def is_known(kind: Any, name: str, *known: Any) -> bool:
        return getattr(kind, name, None) in (None, *(getattr(each, name) for each in known))

    backends = [type(load_backend(path)) for path in django_settings.AUTHENTICATION_BACKENDS]
    may = "user_can_authenticate"
    model = get_user_model()
    is_active = inspect.getattr_static(model, "is_active", True)
    return (
        not conf().OWNER
        and session_store_class().load is SessionStore.load
        and all(is_known(each, "get_user", ModelBackend, BaseBackend) for each in backends)
        and all(is_known(each, may, ModelBackend, AllowAllUsersModelBackend) for each in backends)
        and isinstance(is_active, bool | DeferredAttribute)  # no property
        and is_known(model, "is_authenticated", AbstractBaseUser)
        and is_known(model, "get_session_auth_hash", AbstractBaseUser)
        and is_known(model, "get_session_auth_fallback_hash", AbstractBaseUser)
    )


def _forget_settings(*, setting: str, **_kwargs: object) -> None:
    if setting in ("REALTIME", "AUTHENTICATION_BACKENDS", "AUTH_USER_MODEL", "SESSION_ENGINE"):
        rows_decide.cache_clear()


setting_changed.connect(_forget_settings)


def read_row_hashes(pairs: Sequence[tuple[str, Any]]) -> list[bytes | None]:
    """Return for each session key and primary key of a user the hash of both rows.

    None where one of the rows is gone, or the session has expired.
    """
    from django.contrib.auth import get_user_model

    sessions = dict(read_sessions({key for key, _ in pairs}))
    model = get_user_model()
    names = _columns(model)
    users: dict[Any, str] = {}
    rows = model._default_manager.values_list("pk", *names)  # noqa: SLF001
    for primary_key, *row in _read(rows, "pk", {primary_key for _, primary_key in pairs}):
        users[primary_key] = repr(row)
    return [
        hash_of_rows(sessions[key], users[primary_key])
        if key in sessions and primary_key in users
        else None
        for key, primary_key in pairs
    ]


def read_sessions(keys: Set[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys and the stored data of sessions that have not expired."""
    sessions = session_store_class().get_model_class().objects
    alive = sessions.filter(expire_date__gt=timezone.now())
    yield from _read(alive.values_list("session_key", "session_data"), "session_key", keys)


def _read(rows: Any, field: str, keys: Set[Any]) -> Iterator[Any]:
    from django.db import connections

    most = connections[rows.db].features.max_query_params
    size = most - _SPARE if most else len(keys)
    for some in chunks(list(keys), max(1, size)):
        yield from rows.filter(**{f"{field}__in": some})


def hash_of_rows(session_data: str, user_row: str) -> bytes:
    """Return a hash of a session's data and a user's columns."""
    found = hashlib.blake2b(session_data.encode(), digest_size=12)
    found.update(b"\0" + user_row.encode(errors="surrogatepass"))
    return found.digest()


def row_of(user: Any) -> str | None:
    """Return a loaded user's columns as they were stored; None for one with deferred columns."""
    names, values = _columns(type(user)), vars(user)
    if not all(name in values for name in names):
        return None
    return repr([values[name] for name in names])


def _columns(model: Any) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]  # noqa: SLF001


# At the handshake


def put_row_hash(scope: MutableMapping[str, Any], row_hash: bytes | None) -> None:
    """Put the hash of the rows by which a user was found into a handshake's scope."""
    if row_hash is not None:
        scope[_ROW_HASH] = row_hash


def take_row_hash(scope: MutableMapping[str, Any]) -> bytes | None:
    """Remove the hash from a scope and return it, if there is one."""
    found: bytes | None = scope.pop(_ROW_HASH, None)
    return found


# Users whose rights were asked for


def note_asked(user: Any) -> None:
    """Note that a function which decides about a right was given a user."""
    with suppress(AttributeError):  # a visitor's, or a project's own kind
        setattr(user, _ASKED, True)


def was_asked(user: Any) -> bool:
    """Return whether such a function was given this object."""
    return getattr(user, _ASKED, False) is True
