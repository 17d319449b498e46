"""The row of a fault, and its place in the docs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from tests.runner import Section

from .oracle import Verdict

#: Findings of a row that are printed.
SHOWN = 5

_HEADINGS = (
    "#", "fault", "N", "lost", "doubled", "reordered", "wrong", "p50", "p99", "max", "recovered",
)  # fmt: skip


@dataclass
class Row:
    """The figures of one fault."""

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
    #: Seconds from the end of the fault until clients had all that ended before; None: no such end.
    recovered: float | None = None
    #: The requirements that were not met.
    broken: list[str] = field(default_factory=list)
    #: Whether the tutorial was tested, of which nothing is required.
    contrast: bool = False
    note: str = ""

    @classmethod
    def of(cls, number: str, title: str, seed: int, verdict: Verdict, **more: Any) -> Row:
        """Make a row of a comparison; check the requirements of every fault."""
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
        """Whether all requirements of the fault are met."""
        return not self.broken

    @property
    def is_broken(self) -> bool:
        """Whether a requirement is not met. Of the tutorial nothing is required."""
        return bool(self.broken) and not self.contrast

    @property
    def table(self) -> int:
        """The rows of the tutorial are in the second table."""
        return int(self.contrast)

    def cells(self) -> list[str]:
        """Return the row of the docs' table."""
        notes = [self.note] if self.note else []
        notes += [f"**BROKEN**: {why}" for why in self.broken[:1] if self.is_broken]
        return [*self._numbers(), "; ".join(notes).replace("|", "/")]

    def lines(self) -> list[str]:
        """Return the row for the terminal, and the lines that explain it."""
        number, title, *rest = self._numbers()
        title = f"tutorial: {title}" if self.contrast else title
        numbers = "".join(f"{cell:>10}" for cell in rest)
        verdict = "  BROKEN" if self.is_broken else ""
        below = [*([self.note] if self.note else []), *([] if self.contrast else self.broken)]
        line = f"{number:>4}  {title:<64.64}{numbers}  seed {self.seed}{verdict}"
        return [line, *(f"      {why}" for why in below)]

    def _numbers(self) -> list[str]:
        counts = [self.tasks, self.lost, self.doubled, self.reordered, self.wrong]
        times = [self.p50, self.p99, self.max, self.recovered]
        return [
            self.number,
            self.title,
            *(f"{count:,}" for count in counts),
            *("-" if one is None else f"{one:.2f}" for one in times),
        ]


def heading() -> str:
    """Return the line above the rows in the terminal."""
    number, title, *rest = _HEADINGS
    return f"{number:>4}  {title:<64}" + "".join(f"{cell:>10}" for cell in rest)


def count_tasks(text: str, rows: dict[str, list[str]]) -> str:
    """Return the text with the number of all tasks of its table."""
    tasks = sum(int(cells[_HEADINGS.index("N")].replace(",", "")) for cells in rows.values())
    return re.sub(r"\b[\d,]+ tasks", f"{tasks:,} tasks", text, count=1)


#: The part of the docs that has the rows.
SECTION = Section(
    name="faults",
    columns=(*_HEADINGS, "notes", "measured"),
    right=frozenset(_HEADINGS) - {"fault"},
    texts=(
        (
            "Printed by `make faults`: 0 tasks. Times are in seconds, from the moment when a task"
            " recorded its own outcome to the client's callback. *Recovered* is the time from the"
            " end of the fault until the clients had all endings from before it. The last column"
            " has the day, the commit and the seed."
        ),
        (
            "The same tasks, faults and comparison for the solution of the Channels tutorial: a"
            " receiver of each signal calls `async_to_sync(group_send)`, and a consumer calls"
            " `send_json`."
        ),
    ),
    revise=count_tasks,
)
