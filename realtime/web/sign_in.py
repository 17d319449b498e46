"""Whom a handshake is of.

Channels asks the database for each handshake by itself, over a connection of its own where Django
keeps none. After a restart everybody comes at once: here those who wait are looked up together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async

from realtime.core.together import Together

from .access import BY_SESSION, find_users

_App = Callable[[Any, Any, Any], Awaitable[None]]

#: The handshakes of each event loop that wait to be told their user.
_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, Together] = WeakKeyDictionary()


class UserMiddleware:
    """Puts ``user`` into the scope; inside Channels' ``SessionMiddleware``."""

    def __init__(self, inner: _App) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Find the user, and go on. Raises what the session's store and the database raise."""
        waiting = _waiting.setdefault(asyncio.get_running_loop(), Together(_find))
        user = await waiting.answer(scope)
        await self._inner({**scope, "user": user, BY_SESSION: True}, receive, send)


async def _find(scopes: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
    return await database_sync_to_async(find_users)(scopes)
