"""Waiting for a condition instead of for time to pass: `until` in a thread, `auntil` in a loop."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds until a condition is given up, on a machine that is busy.
TIMEOUT = 30.0


def until(condition: Callable[[], T], timeout: float = TIMEOUT) -> T:
    """Return the first true value of `condition`, or its last one after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


async def auntil(condition: Callable[[], Any]) -> None:
    """Return when `condition`, which may be a coroutine function, is true. Raises TimeoutError."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            value = condition()
            if await value if inspect.isawaitable(value) else value:
                return
            await asyncio.sleep(0.01)
