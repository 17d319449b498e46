"""Checks that another library still has the parts that it does not document."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from types import CodeType
from typing import Any, NamedTuple

from realtime.core.logs import get_logger

logger = get_logger("realtime.server")


class Part(NamedTuple):
    """A function of a class, and the names that its code must contain."""

    owner: Any
    function: str
    #: Attributes, arguments and string constants, separated by spaces.
    names: str = ""


def are_known(place: str, library: str, parts: Iterable[Part]) -> bool:
    """Return whether all parts are there; log one line where some are not."""
    missing = list(_missing(parts))
    if missing:
        logger.warning(
            "library_unknown place=%s library=%s version=%s missing=%s remedy=%r",
            place,
            library,
            _version(library),
            ",".join(missing),
            "Daphne's own class serves in place of this one, with fewer protections:"
            " install a version that pyproject.toml allows",
        )
    return not missing


def _missing(parts: Iterable[Part]) -> Iterator[str]:
    for owner, function, names in parts:
        name = f"{owner.__name__}.{function}"
        code = _code_of(getattr(owner, function, None))
        if code is None:
            yield name
            continue
        there = {*code.co_names, *code.co_varnames, *filter(_is_text, code.co_consts)}
        yield from (f"{name}:{each}" for each in names.split() if each not in there)


def _code_of(function: Any) -> CodeType | None:
    """Return the code of a function, of the one that a decorator wraps where it is decorated."""
    if function is None:
        return None
    return getattr(inspect.unwrap(function), "__code__", None)


def _is_text(constant: object) -> bool:
    return isinstance(constant, str)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "unknown"
