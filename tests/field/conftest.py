"""Situations that people reported of ordinary projects; each test is one of them, in a sentence."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

#: Set by `make field`: each situation in full. The suite runs a short form.
LONG = os.environ.get("FIELD") == "long"


@pytest.fixture(scope="session")
def amount() -> Callable[[int, int], int]:
    """Pick how much of something to do: `amount(20, 2_000)` is the second with `make field`."""
    return lambda short, long: long if LONG else short
