"""Split long sequences, so that one call does not take too long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def chunks(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """Yield the items in parts of ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
