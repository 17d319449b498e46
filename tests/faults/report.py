"""Rows, and the table that they make."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .oracle import Verdict

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"

#: Findings of a row that are told in words.
SHOWN = 5

_HEADINGS = (
    "#", "fault", "N", "lost", "doubled", "reordered", "wrong", "p50", "p99", "max", "recovered",
)  # fmt: skip
_COLUMNS = (*_HEADINGS, "besides", "measured")


@dataclass
class Row:
    """What one fault did."""

    number: str
    title: str
    seed: int
    tasks: int
    lost: int
    doubled: int
    reordered: int
    wrong: int
    #: Seconds from an outcome to its callback; None where there was none.
    p50: float | None
    p99: float | None
    max: float | None
    #: Seconds from the end of the fault until all that ended before was told; None: no such end.
    recovered: float | None = None
    #: What had to hold and did not.
    broken: list[str] = field(default_factory=list)
    #: Whether it is the usual way, of which nothing is required.
    contrast: bool = False
    note: str = ""

    @classmethod
    def of(cls, number: str, title: str, seed: int, verdict: Verdict, **more: Any) -> Row:
        """Make a row of a comparison; what must hold of every fault is looked at here."""
        counts = {
            kind: getattr(verdict, kind) for kind in ("lost", "doubled", "reordered", "wrong")
        }
        times = [verdict.percentile(share) for share in (0.5, 0.99, 1)]
        p50, p99, worst = (None if math.isnan(one) else round(one, 3) for one in times)
        row = cls(number, title, seed, verdict.tasks, **counts, p50=p50, p99=p99, max=worst, **more)
        row.broken += verdict.findings
        if len(row.broken) > SHOWN:
            row.broken[SHOWN:] = [f"and {len(row.broken) - SHOWN} more"]
        return row

    @property
    def holds(self) -> bool:
        return not self.broken

    def place(self) -> tuple[bool, tuple[int, str]]:
        """Where it stands in the table."""
        return self.contrast, _place(self.number)

    def besides(self) -> str:
        """What the counts do not say."""
        broken = [] if self.contrast else [f"**BROKEN**: {why}" for why in self.broken[:1]]
        return "; ".join([*([self.note] if self.note else []), *broken]).replace("|", "/")

    def cells(self) -> list[str]:
        """The row as text."""
        counts = [self.tasks, self.lost, self.doubled, self.reordered, self.wrong]
        times = [self.p50, self.p99, self.max, self.recovered]
        return [
            self.number,
            self.title,
            *(f"{count:,}" for count in counts),
            *("-" if one is None else f"{one:.2f}" for one in times),
        ]


def text_line(row: Row) -> str:
    """A row for the terminal."""
    number, title, *rest = row.cells()
    title = f"usual way: {title}" if row.contrast else title
    numbers = "".join(f"{cell:>10}" for cell in rest)
    verdict = "" if row.holds or row.contrast else "  BROKEN"
    return f"{number:>4}  {title:<64.64}{numbers}  seed {row.seed}{verdict}"


def heading() -> str:
    """The line above the rows in the terminal."""
    number, title, *rest = _HEADINGS
    return f"{number:>4}  {title:<64}" + "".join(f"{cell:>10}" for cell in rest)


def write_guarantees(rows: Iterable[Row], command: str, commit: str) -> None:
    """Put rows into docs/guarantees.md, between its two marks; those not run now stay."""
    today = datetime.datetime.now(datetime.UTC).date()
    before, rest = GUARANTEES.read_text().split(BEGIN)
    old, after = rest.split(END)
    # The tables stand one after the other, and each begins with its headings.
    tables: list[dict[str, list[str]]] = []
    for line in old.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells == list(_COLUMNS):
            tables.append({})
        elif len(cells) == len(_COLUMNS) and not cells[0].startswith("---"):
            tables[-1][cells[0]] = cells
    ours, theirs = [*tables, {}, {}][:2]
    for row in rows:
        cells = [*row.cells(), row.besides(), f"{today}, {commit}, seed {row.seed}"]
        (theirs if row.contrast else ours)[row.number] = cells
    tasks = sum(int(cells[_COLUMNS.index("N")].replace(",", "")) for cells in ours.values())
    about = (
        f"Printed by `{command}`: {tasks:,} tasks. Times are seconds from a task's own record of"
        " its outcome to the client's callback; *recovered* is from the end of the fault until"
        " everything that ended before was told. The last column is the day, the commit and the"
        " seed."
    )
    beside = (
        "The same for the usual way (a receiver of each signal calls `async_to_sync(group_send)`,"
        " a consumer calls `send_json`), with the same tasks, oracle and faults:"
    )
    parts = [about, _table(ours)]
    if theirs:
        parts += [beside, _table(theirs)]
    GUARANTEES.write_text(f"{before}{BEGIN}\n" + "\n\n".join(parts) + f"\n{END}{after}")


def _table(lines: dict[str, list[str]]) -> str:
    ruler = ["---:", "---", *["---:"] * (len(_HEADINGS) - 2), "---", "---"]
    ordered = [lines[number] for number in sorted(lines, key=_place)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [_COLUMNS, ruler, *ordered])


def _place(number: str) -> tuple[int, str]:
    return int(number.rstrip("abcdefgh")), number
