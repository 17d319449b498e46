"""An object that a process makes once, when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

_Object = TypeVar("_Object")


class Single(Generic[_Object]):
    """Makes the object with the first call.

    Two threads that call it first may each make one, and both get the same. ``lru_cache`` would
    give each its own. There is no lock, which a fork could leave acquired.
    """

    def __init__(self, make: Callable[[], _Object]) -> None:
        self._make = make
        self._made: dict[None, _Object] = {}

    def get(self) -> _Object:
        """Return the object."""
        try:
            return self._made[None]
        except KeyError:
            return self._made.setdefault(None, self._make())

    def forget(self) -> _Object | None:
        """Return the object, if there is one, and make another one with the next call."""
        return self._made.pop(None, None)
