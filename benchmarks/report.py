"""The figures of each round, and the tables of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Self


@dataclass
class Table:
    """One work, measured with several ways, several times each."""

    name: str
    title: str
    #: The figures of a round, with their units.
    columns: Sequence[str]
    #: The name of the cases, such as "sockets"; empty if there is only one.
    cases: str = ""
    #: By case and way, for each round the number of each column, or None.
    rows: dict[tuple[str, str], list[list[float | None]]] = field(default_factory=dict)
    #: Why a way was not measured: left out on purpose, not installed, or failed.
    missing: dict[str, str] = field(default_factory=dict)
    #: The share of CPU time that others on the host used meanwhile; None if unknown.
    stolen: float | None = None

    def add(self, way: str, figures: Iterable[float | None], case: object = "") -> None:
        """Add a round's figures."""
        self.rows.setdefault((str(case), way), []).append(list(figures))

    def values(self, way: str, column: str, case: object = "") -> list[float]:
        """Return a column's figures, of all rounds. Raises KeyError if it was not measured."""
        which = list(self.columns).index(column)
        rounds = self.rows[str(case), way]
        return [figures[which] for figures in rounds if figures[which] is not None]  # type: ignore[misc]

    def median(self, way: str, column: str, case: object = "") -> float:
        """Return the median round's figure. Raises KeyError if it was not measured."""
        values = self.values(way, column, case)
        if not values:
            raise KeyError(way)
        return median(values)

    def lines(self) -> list[str]:
        """Return the table in Markdown: the median, followed by the minimum and the maximum."""
        heads = ["way", *([self.cases] if self.cases else []), *self.columns]
        cells = [
            [way, *([case] if self.cases else []), *map(_cell, zip(*rounds, strict=True))]
            for (case, way), rounds in self.rows.items()
        ]
        return grid(heads, cells)

    def notes(self) -> list[str]:
        """Return sentences on what was not measured, and on other load of the host."""
        notes = [f"Not measured: {way}, {why}." for way, why in self.missing.items()]
        if self.stolen is not None and self.stolen >= 0.01:
            notes.append(f"Meanwhile {self.stolen:.0%} of the CPU time went to others on the host.")
        return notes

    def as_json(self) -> dict[str, Any]:
        """Return the table as it is stored."""
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
        """Read a stored table."""
        rows = {(row["case"], row["way"]): row["rounds"] for row in kept["rows"]}
        names = ("name", "title", "cases", "missing", "stolen")
        known = {name: kept[name] for name in names if name in kept}
        return cls(**known, columns=tuple(kept["columns"]), rows=rows)


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table with aligned columns; numbers are aligned to the right."""
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
    """Return a figure with three significant digits."""
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
