"""The orderly end of a process: it accepts no connection, and makes every client reconnect."""

from __future__ import annotations

from .registry import get_registry, process


def is_draining() -> bool:
    """Return whether this process is about to end."""
    return process.is_draining


async def drain(seconds: float) -> None:
    """Restart all connections of this event loop, evenly over ``seconds``, and new ones."""
    process.is_draining = True
    await get_registry().restart_all(seconds)
