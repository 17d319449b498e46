"""The row of a figure, and its place in the docs."""

from __future__ import annotations

from dataclasses import dataclass

from tests.runner import Section

#: The part of the docs that has the rows.
SECTION = Section(
    name="load",
    columns=("#", "figure", "N", "measured", "target", "", "date"),
    texts=("Printed by `make load`.",),
)


@dataclass
class Row:
    """One figure, and whether it meets its target; None without a target."""

    number: str
    title: str
    size: str
    measured: str
    target: str = "-"
    is_met: bool | None = None

    table = 0

    @property
    def is_broken(self) -> bool:
        """Whether it misses its target."""
        return self.is_met is False

    def cells(self) -> list[str]:
        """Return the row of the docs' table."""
        verdict = {True: "met", False: "MISSED", None: ""}[self.is_met]
        return [self.number, self.title, self.size, self.measured, self.target, verdict]

    def lines(self) -> list[str]:
        """Return the row for the terminal."""
        number, title, size, measured, target, verdict = self.cells()
        return [f"{number:>3}  {title:<58} {size:<26} {measured:<36} {target:<12} {verdict}"]
