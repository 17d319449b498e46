"""Whom a handshake is of.

Channels asks the database for each handshake by itself, over a connection of its own where Django
keeps none. After a restart everybody comes at once: here those who wait are looked up together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async

from .access import BATCH, BY_SESSION, find_users

_App = Callable[[Any, Any, Any], Awaitable[None]]


class SignIns:
    """The handshakes of one event loop that wait to be told their user."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Mapping[str, Any], asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def user_of(self, scope: Mapping[str, Any]) -> Any:
        """Return the user of a scope's session.

        Raises what the session's store and the database raise.
        """
        loop = asyncio.get_running_loop()
        found = loop.create_future()
        self._waiting.append((scope, found))
        if self._task is None:
            self._task = loop.create_task(self._answer())
        return await found

    async def _answer(self) -> None:
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                try:
                    users = await database_sync_to_async(find_users)([scope for scope, _ in some])
                except Exception as error:  # noqa: BLE001 - theirs, each by itself
                    users = [error] * len(some)
                for (_, found), user in zip(some, users, strict=True):
                    if found.done():  # its client is gone
                        continue
                    if isinstance(user, Exception):
                        found.set_exception(user)
                    else:
                        found.set_result(user)
        finally:
            self._task = None


_sign_ins: WeakKeyDictionary[asyncio.AbstractEventLoop, SignIns] = WeakKeyDictionary()


class UserMiddleware:
    """Puts ``user`` into the scope; inside Channels' ``SessionMiddleware``."""

    def __init__(self, inner: _App) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Find the user, and go on."""
        sign_ins = _sign_ins.setdefault(asyncio.get_running_loop(), SignIns())
        user = await sign_ins.user_of(scope)
        await self._inner({**scope, "user": user, BY_SESSION: True}, receive, send)
