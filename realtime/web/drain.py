"""The process's own end: it takes no new work, and asks every connection to go elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: What closes each open connection.
_closers: set[Callable[[], None]] = set()
_draining = False


def is_draining() -> bool:
    """Return whether this process is about to end."""
    return _draining


def enter(close: Callable[[], None]) -> None:
    """Have ``close`` called when the process drains; at once if it already does."""
    _closers.add(close)
    if _draining:
        close()


def leave(close: Callable[[], None]) -> None:
    """Forget a connection that is over."""
    _closers.discard(close)


async def drain(seconds: float) -> None:
    """Close every connection, evenly over so many seconds; return at once where there is none.

    Spread, because those who are closed come back elsewhere, and all ask there at first.
    """
    global _draining
    _draining = True
    closers = list(_closers)
    for close in closers:
        if close in _closers:
            close()
            await asyncio.sleep(seconds / len(closers) if close is not closers[-1] else 0)
