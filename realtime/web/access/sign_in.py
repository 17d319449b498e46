"""Which user a handshake belongs to.

Channels asks the database for each handshake by itself, over a connection of its own where Django
keeps none. After a restart everybody comes at once: here those who wait are looked up together.
And its three layers of middleware would keep a copy of the scope each, for as long as the
connection lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.conf import settings
from django.http import parse_cookie

from realtime.store.batching import Batcher

from .identity import BY_SESSION, can_sign_in, find_users, store_class

_App = Callable[[Any, Any, Any], Awaitable[None]]

#: The handshakes of each event loop that wait to be told their user.
_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, Batcher] = WeakKeyDictionary()


class SignInMiddleware:
    """Puts the handshake's ``session`` and its ``user`` into the scope."""

    def __init__(self, inner: _App) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Find the user, and go on. Raises what the session's store and the database raise.

        Without users or sessions in the project there is nobody to find, and a token is enough.
        """
        if not can_sign_in():
            await self._inner({**scope, "session": None, "user": None}, receive, send)
            return
        waiting = _waiting.setdefault(asyncio.get_running_loop(), Batcher(_find))
        signed_in = {**scope, "session": _session(scope), BY_SESSION: True}
        signed_in["user"] = await waiting.request(signed_in)
        await self._inner(signed_in, receive, send)


def _session(scope: Mapping[str, Any]) -> Any:
    """Return the session that a scope's cookie names; nothing is loaded yet."""
    cookies = next((value for name, value in scope["headers"] if name == b"cookie"), b"")
    key = parse_cookie(cookies.decode("latin-1")).get(settings.SESSION_COOKIE_NAME, "")
    # PostgreSQL refuses a text with a NUL in it, and so all that are looked up together.
    return store_class()(key if key.isascii() and key.isprintable() else None)


async def _find(scopes: Sequence[MutableMapping[str, Any]]) -> Sequence[Any]:
    return await database_sync_to_async(find_users)(scopes)
