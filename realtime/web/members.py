"""The connections of one event loop, which are told whether the store is away."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from realtime.core.logs import get_logger

logger = get_logger("realtime.hub")

#: Members that are told something before others have a turn.
_SHARE: Final = 200


class Member(Protocol):
    """A connection of this event loop."""

    def store_changed(self, available: bool) -> None:
        """Take note that nothing arrives, as the store is away, or that it is back."""
        ...


class Members:
    """Those that are there."""

    def __init__(self) -> None:
        self._members: set[Member] = set()

    def add(self, member: Member) -> None:
        """Tell a connection from now on."""
        self._members.add(member)

    def discard(self, member: Member) -> None:
        """Forget a connection that is over."""
        self._members.discard(member)

    async def tell(self, available: bool) -> None:
        """Tell all of them, some at a time."""
        for number, member in enumerate(tuple(self._members), 1):
            try:
                member.store_changed(available)
            except Exception:
                logger.exception("member_failed")
            if number % _SHARE == 0:
                await asyncio.sleep(0)
