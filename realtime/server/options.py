"""What the service around the server decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


def _never() -> bool:
    return False


async def _drain_nothing() -> None:
    """Return at once: the application has no connections that it would close by itself."""


def _do_nothing() -> None:
    """Start nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """Limits and hooks. The defaults suit an application that was not written for this server."""

    #: Seconds for a request's head, and between parts of its body.
    request_timeout: float = 9.0
    #: Seconds without a frame of a client, after which the server sends a WebSocket ping.
    ping_interval: float = 20.0
    #: Seconds that the client has for its answer.
    ping_timeout: float = 30.0
    #: Bytes of a request's body, at most.
    max_body_bytes: int = 20_000_000
    #: The text that answers a larger body.
    too_large: str = "The request is too large."
    #: Whether the next WebSocket is refused for lack of room.
    is_full: Callable[[], bool] = _never
    #: Closes the application's connections after SIGTERM, spread over some seconds.
    drain: Callable[[], Awaitable[None]] = _drain_nothing
    #: Called in the main thread before the server listens.
    on_start: Callable[[], None] = _do_nothing
