"""The figures of a work, and its table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Self


@dataclass
class Table:
    """The figures of one work: of each way, case and round."""

    name: str
    title: str
    #: The names of a round's figures, with their units.
    columns: Sequence[str]
    #: What varies between the cases, such as "sockets"; empty if there is one case.
    cases: str = ""
    #: By case and way, the rounds; of each round the figure of each column, or None.
    rows: dict[tuple[str, str], list[list[float | None]]] = field(default_factory=dict)
    #: By way, the reason why it was not measured: left out, not installed, or failed.
    missing: dict[str, str] = field(default_factory=dict)
    #: The share of CPU time that the host gave to others meanwhile; None if unknown.
    stolen: float | None = None

    def add(self, way: str, figures: Iterable[float | None], case: object = "") -> None:
        """Add the figures of one round."""
        self.rows.setdefault((str(case), way), []).append(list(figures))

    def values(self, way: str, column: str, case: object = "") -> list[float]:
        """Return the figures of a column in all rounds. Raises KeyError if there are none."""
        which = list(self.columns).index(column)
        rounds = self.rows[str(case), way]
        return [figures[which] for figures in rounds if figures[which] is not None]  # type: ignore[misc]

    def median(self, way: str, column: str, case: object = "") -> float:
        """Return the median of a column's figures. Raises KeyError if there are none."""
        values = self.values(way, column, case)
        if not values:
            raise KeyError(way)
        return median(values)

    def lines(self) -> list[str]:
        """Return the table in Markdown. A cell has the median, the minimum and the maximum."""
        heads = ["way", *([self.cases] if self.cases else []), *self.columns]
        cells = [
            [way, *([case] if self.cases else []), *map(_cell, zip(*rounds, strict=True))]
            for (case, way), rounds in self.rows.items()
        ]
        return grid(heads, cells)

    def notes(self) -> list[str]:
        """Return sentences on the ways that were not measured, and on the host's other load."""
        notes = [f"- Not measured: {way}. Reason: {why}." for way, why in self.missing.items()]
        if self.stolen is not None and self.stolen >= 0.01:
            notes.append(f"- Meanwhile the host gave {self.stolen:.0%} of the CPU time to others.")
        return notes

    def as_json(self) -> dict[str, Any]:
        """Return the table as JSON, for its file."""
        rows = [
            {"way": way, "case": case, "rounds": rounds}
            for (case, way), rounds in self.rows.items()
        ]
        return {
            "name": self.name,
            "title": self.title,
            "cases": self.cases,
            "columns": list(self.columns),
            "rows": rows,
            "missing": self.missing,
            "stolen": self.stolen,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Return the table that `as_json` stored."""
        rows = {(row["case"], row["way"]): row["rounds"] for row in kept["rows"]}
        names = ("name", "title", "cases", "missing", "stolen")
        known = {name: kept[name] for name in names if name in kept}
        return cls(**known, columns=tuple(kept["columns"]), rows=rows)


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table: the first column is aligned to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
    return [line(heads), rule, *map(line, rows)]


def number(value: float) -> str:
    """Return a figure as text: the smaller it is, the more decimals it has, two at most."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    middle = number(median(known))
    if len(known) == 1 or number(min(known)) == number(max(known)):
        return middle
    return f"{middle} ({number(min(known))}-{number(max(known))})"
