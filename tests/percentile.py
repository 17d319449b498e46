"""Percentiles, for what is measured."""

from collections.abc import Sequence


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value under which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
