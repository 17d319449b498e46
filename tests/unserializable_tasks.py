"""Tasks whose results their backend cannot express. A test's own worker imports them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import shared_task


class Plain:
    """An object that nothing knows how to write."""


class Hostile:
    """An object that raises on every access."""

    def __repr__(self) -> str:
        raise RuntimeError("do not look")


def _containing_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


MAKERS: dict[str, Callable[[], Any]] = {
    "a set": lambda: {1, 2},
    "an object": Plain,
    "an object that raises": Hostile,
    "an object that contains itself": _containing_itself,
    "a very deep one": lambda: _nested(50_000),
    "one too deep for a parser": lambda: _nested(400),
    "keys that are no text": lambda: {(1, 2): 3},
    "bytes": lambda: b"\x00\xff",
    "ten megabytes": lambda: "x" * 10_000_000,
}


@shared_task
def give(what: str) -> Any:
    """Return one of MAKERS."""
    return MAKERS[what]()
