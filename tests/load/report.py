"""Rows, and the table that they make."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"
BEGIN, END = "<!-- load: begin -->", "<!-- load: end -->"

_HEADINGS = ("#", "figure", "N", "measured", "target", "", "date")


@dataclass
class Row:
    """One figure, and whether it holds; None where nothing is required of it."""

    number: str
    title: str
    size: str
    measured: str
    target: str = "-"
    holds: bool | None = None

    @property
    def verdict(self) -> str:
        return {True: "holds", False: "BROKEN", None: ""}[self.holds]

    def cells(self) -> list[str]:
        return [self.number, self.title, self.size, self.measured, self.target, self.verdict]


def text_line(row: Row) -> str:
    """A row for the terminal."""
    number, title, size, measured, target, verdict = row.cells()
    return f"{number:>3}  {title:<58} {size:<26} {measured:<36} {target:<12} {verdict}"


def write_guarantees(rows: Iterable[Row], command: str) -> None:
    """Put rows into docs/guarantees.md, between the two marks; those not measured now stay."""
    today = str(datetime.datetime.now(datetime.UTC).date())
    text = GUARANTEES.read_text()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    lines = {row.number: [*row.cells(), today] for row in rows}
    for line in old.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(_HEADINGS) and cells[0] not in ("#", "---"):
            lines.setdefault(cells[0], cells)
    table = [_HEADINGS, ["---"] * len(_HEADINGS), *(lines[key] for key in sorted(lines))]
    about = f"Printed by `{command}`."
    body = "\n".join("| " + " | ".join(cells) + " |" for cells in table)
    GUARANTEES.write_text(f"{before}{BEGIN}\n{about}\n\n{body}\n{END}{after}")
