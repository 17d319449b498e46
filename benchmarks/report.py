"""The figures, as a table with each target beside what was reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

_WIDTH = 52


@dataclass(frozen=True)
class Comparison:
    """One thing, done in our way and in others, several times each."""

    title: str
    #: What each round measured. The first one is compared.
    columns: Sequence[str]
    #: Ours, the first way, may cost 1/target of each other one, by the medians.
    target: float
    #: By way: for each round, a number for each column.
    rounds: Mapping[str, Sequence[Sequence[float]]]

    def ratios(self) -> dict[str, float]:
        """Return how many times as much as ours each other way costs."""
        medians = {way: median(each[0] for each in rounds) for way, rounds in self.rounds.items()}
        ours = next(iter(medians))
        return {way: found / medians[ours] for way, found in medians.items() if way != ours}

    @property
    def is_met(self) -> bool:
        """Whether the target is reached against every other way."""
        return all(ratio >= self.target for ratio in self.ratios().values())

    def lines(self) -> list[str]:
        """Return the table: the smallest and the median round, then the ratios."""
        lines = [self.title, " " * _WIDTH + "".join(f"{name:>18}" for name in self.columns)]
        lines += [" " * _WIDTH + f"{'min':>9}{'median':>9}" * len(self.columns)]
        for way, rounds in self.rounds.items():
            pairs = [(min(column), median(column)) for column in zip(*rounds, strict=True)]
            lines += [f"  {way:<{_WIDTH - 2}}" + "".join(f"{a:9.1f}{b:9.1f}" for a, b in pairs)]
        for way, ratio in self.ratios().items():
            verdict = "met" if ratio >= self.target else "NOT MET"
            against = f"{self.columns[0]}, against {way}"
            lines += [f"  {against}: 1/{ratio:.1f}, target 1/{self.target:g}: {verdict}"]
        return lines
