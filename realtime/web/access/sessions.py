"""Which session a request or a connection belongs to, and its fingerprint in messages.

A session's key opens the session, so it never leaves the process. Messages between processes name
a session by a fingerprint of its random id, or of its key where it has no id.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, MutableMapping
from importlib import import_module
from typing import Any, Final

from django.conf import settings as django_settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.http import parse_cookie

#: Where Django keeps the user of a session (``django.contrib.auth.SESSION_KEY``).
USER_KEY: Final = "_auth_user_id"
#: The hash of the user's password at sign-in (``django.contrib.auth.HASH_SESSION_KEY``).
HASH_KEY: Final = "_auth_user_hash"
#: Where a signed-in session keeps its random id. Unlike the session's key, the id stays the same
#: when the key is cycled, and when a view changes a session that is kept in a cookie.
_ID_KEY: Final = "realtime_session"
#: In the scope of a connection: the fingerprint of its session.
_FINGERPRINT: Final = "realtime.session_name"


def session_store_class() -> Any:
    """Return the class of ``SESSION_ENGINE`` that loads and saves sessions."""
    return import_module(django_settings.SESSION_ENGINE).SessionStore


def session_of_handshake(scope: Mapping[str, Any]) -> Any:
    """Return the session that a handshake's cookie names; nothing is loaded yet."""
    cookies = next((value for name, value in scope["headers"] if name == b"cookie"), b"")
    key = parse_cookie(cookies.decode("latin-1")).get(django_settings.SESSION_COOKIE_NAME, "")
    # PostgreSQL refuses a text with a NUL in it, and with it the whole batch of lookups.
    return session_store_class()(key if key.isascii() and key.isprintable() else None)


def session_in_cookie(request: Any) -> Any:
    """Return the session that came with a request, where sessions are kept in signed cookies.

    It is the session as it was before any view changed or replaced it. For other session engines
    the result is None.
    """
    store = session_store_class()
    cookie = getattr(request, "COOKIES", {}).get(django_settings.SESSION_COOKIE_NAME)
    return store(cookie) if cookie and issubclass(store, SignedCookies) else None


def ensure_session_id(session: Any) -> None:
    """Give a signed-in session its random id, if it has none."""
    if _ID_KEY not in session:
        session[_ID_KEY] = secrets.token_urlsafe(16)


def fingerprint(name: str | None) -> str:
    """Return a hash of a session's id or key; "" for None. It does not open the session."""
    return hashlib.sha256(name.encode()).hexdigest() if name else ""


def session_fingerprints(session: Any) -> list[str]:
    """Return the fingerprints that may name a session in messages: of its id and of its key."""
    if session is None:
        return []
    names = [session.get(_ID_KEY), getattr(session, "session_key", None)]
    return [fingerprint(name) for name in names if name]


def session_fingerprint(scope: Mapping[str, Any]) -> str:
    """Return the fingerprint of a connection's session; "" where there is no session."""
    if _FINGERPRINT in scope:
        return str(scope[_FINGERPRINT])
    session = scope.get("session")
    try:
        ident = None if session is None else session.get(_ID_KEY)
    except Exception:  # noqa: BLE001 - the session is not loaded, and this is an event loop
        ident = None
    return fingerprint(ident or getattr(session, "session_key", None))


def put_fingerprint(
    scope: MutableMapping[str, Any], content: Mapping[str, Any], key: str | None
) -> None:
    """Put a session's fingerprint into a scope, made of the session's data and key."""
    scope[_FINGERPRINT] = fingerprint(content.get(_ID_KEY) or key)
