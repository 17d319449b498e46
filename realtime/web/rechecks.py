"""Topics whose heads the hub compares with the store's soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

#: Seconds in which topics are gathered, so that one call of the store serves them all.
_GATHER: Final = 0.05


class Rechecks:
    """Topics to check soon, gathered with those that are due at about the same time."""

    def __init__(self, check: Callable[[list[str]], object]) -> None:
        self._check = check
        self._due: dict[float, set[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))

    def add(self, name: str, delay: float) -> None:
        """Check a topic after ``delay`` seconds."""
        loop = asyncio.get_running_loop()
        due = round((loop.time() + delay) / _GATHER) * _GATHER
        names = self._due.get(due)
        if names is None:
            names = self._due[due] = set()
            loop.call_at(due, self._run, due)
        names.add(name)

    def clear(self) -> None:
        """Check nothing more."""
        self._due.clear()

    def _run(self, due: float) -> None:
        if names := self._due.pop(due, None):
            self._check(list(names))
