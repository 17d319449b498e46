"""Faults that share a stage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .oracle import Verdict
from .stage import Stage


@dataclass
class Outcome:
    """The result of one fault."""

    verdict: Verdict
    #: Seconds from the end of the fault until clients had all endings from before it.
    recovered: float | None = None
    #: The requirements beside the counts that were not met.
    broken: list[str] = field(default_factory=list)
    note: str = ""

    def require(self, condition: bool, otherwise: str) -> None:
        """Note a requirement that is not met."""
        if not condition:
            self.broken.append(otherwise)

    def within(self, seconds: float) -> None:
        """Require that every ending was delivered so quickly."""
        slowest = max(self.verdict.latencies, default=0.0)
        self.require(
            slowest <= seconds, f"delivered after {slowest:.1f} s instead of {seconds:g} s"
        )

    def prompt(self) -> None:
        """Require that endings came as events: those found by a check come later than this.

        For the long form only, whose machine does nothing else. The short form has row 9b.
        """
        for share, seconds in ((0.5, 0.05), (0.99, 0.2)):
            took = self.verdict.percentile(share)
            self.require(took <= seconds, f"p{100 * share:g} is {took:.2f} s, not {seconds:g} s")


@dataclass(frozen=True)
class Fault:
    """One row: `run(family, size)` applies it to so many tasks."""

    number: str
    title: str
    short: int
    long: int
    run: Callable[[Any, int], Outcome]


def fault(number: str, title: str, *, short: int, long: int) -> Callable[[Any], Fault]:
    """Make a method of a family a row. With a `short` of 0 it is in the long form only."""
    return lambda method: Fault(number, title, short, long, method)


class Family:
    """Faults that share processes; each family has its own, and is a process itself."""

    name: ClassVar[str]
    #: Families of one lane run one after another.
    lane: ClassVar[str] = "busy"
    #: Whether the tutorial is tested, of which nothing is required.
    contrast: ClassVar[bool] = False
    #: The rows it has, where these are not all, and those that only the long form adds.
    picks: ClassVar[Collection[str] | None] = None
    more: ClassVar[Collection[str]] = ()

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.begin()

    def begin(self) -> None:
        """Start the processes."""
        raise NotImplementedError

    @classmethod
    def faults(cls, *, long: bool) -> Iterator[tuple[Fault, int]]:
        """Its rows with their sizes, in the order in which they run."""
        picks = cls.picks if cls.picks is None else {*cls.picks, *(cls.more if long else ())}
        for kind in cls.__mro__:
            for found in vars(kind).values():
                if isinstance(found, Fault) and (picks is None or found.number in picks):
                    # The tutorial loses events with few tasks already.
                    size = found.long if long and not cls.contrast else found.short
                    if size:
                        yield found, size
