"""Checks that another library still has the parts that it does not document."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from types import CodeType
from typing import Any, NamedTuple

from .logs import get_logger

logger = get_logger("realtime.libraries")


class Part(NamedTuple):
    """A function of a class or module, and the names that its code must contain."""

    owner: Any
    function: str
    #: Attributes, arguments and string constants, separated by spaces.
    names: str = ""


def are_known(module: str, library: str, parts: Iterable[Part], *, instead: str) -> bool:
    """Return whether all parts exist. If some are missing, log one line: which, and what is used
    ``instead`` of the module that relies on them.
    """
    missing = list(_missing(parts))
    if missing:
        logger.warning(
            "library_unknown module=%s library=%s version=%s missing=%s instead=%r remedy=%r",
            module,
            library,
            _version(library),
            ",".join(missing),
            instead,
            "install a version that pyproject.toml allows",
        )
    return not missing


def _missing(parts: Iterable[Part]) -> Iterator[str]:
    for owner, function, names in parts:
        name = f"{owner.__name__}.{function}"
        found = getattr(owner, function, None)
        if found is None:
            yield name
        elif names:
            there = _names_in(found)
            yield from (f"{name}:{each}" for each in names.split() if each not in there)


def _names_in(function: Any) -> set[str]:
    """Return what a function's code names; of a decorated one, what the wrapped one's does."""
    code: CodeType | None = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return set()
    return {*code.co_names, *code.co_varnames, *filter(_is_text, code.co_consts)}


def _is_text(constant: object) -> bool:
    return isinstance(constant, str)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "unknown"
