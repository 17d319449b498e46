"""The runner of faults and of load: arguments and a seed, rows as they come, a table in the docs.

Each row is printed and, with `--write`, put into docs/guarantees.md as soon as it was run. The
rows that are not run now stay there, and so does the text around them.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import random
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PAGE = Path(__file__).parents[1] / "docs" / "guarantees.md"


class Row(Protocol):
    """What one fault or one figure came to: a dataclass with these names."""

    number: str

    @property
    def table(self) -> int:
        """Which of the section's tables the row belongs to."""

    @property
    def is_broken(self) -> bool:
        """Whether the row misses what is required of it."""

    def cells(self) -> list[str]:
        """Return the row of the docs' table, without the last column."""

    def lines(self) -> list[str]:
        """Return the row for the terminal, with what explains it below."""


@dataclass(frozen=True)
class Section:
    """The part of a page between `<!-- name: begin -->` and `<!-- name: end -->`."""

    name: str
    #: The columns; the last one is the day of the measurement, with what else identifies it.
    columns: Sequence[str]
    #: Columns of numbers.
    right: frozenset[str] = frozenset()
    #: What stands before each table where the page has no text yet.
    texts: Sequence[str] = ("",)
    #: Changes the text once the rows are known.
    revise: Callable[[str, dict[str, list[str]]], str] = lambda text, _rows: text

    def write(self, page: Path, table: int, cells: Sequence[str]) -> None:
        """Put a row into a table of the page; keep its other rows and all text."""
        begin, end = f"<!-- {self.name}: begin -->\n", f"<!-- {self.name}: end -->"
        before, rest = page.read_text(encoding="utf-8").split(begin)
        old, after = rest.split(end)
        parts = list(self._parts(old))
        after_tables = old.rpartition("|\n")[2] if parts else ""
        while len(parts) <= table:
            text = self.texts[len(parts)] if len(parts) < len(self.texts) else ""
            parts.append((f"{text}\n\n", {}))
        parts[table][1][cells[0]] = [*cells]
        first, rows = parts[0]
        parts[0] = self.revise(first, rows), rows
        body = "\n".join(text.lstrip("\n") + self._lines(found) for text, found in parts)
        text = f"{before}{begin}{body}{after_tables}{end}{after}"
        page.write_text(text, encoding="utf-8")

    def _parts(self, old: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
        """Yield each table's rows by their number, with the text before it."""
        for match in re.finditer(r"(.*?)((?:^\|[^\n]*\n)+)", old, re.MULTILINE | re.DOTALL):
            rows = {}
            for line in match[2].splitlines()[2:]:
                cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
                if len(cells) == len(self.columns):
                    rows[cells[0]] = cells
            yield match[1], rows

    def _lines(self, rows: dict[str, list[str]]) -> str:
        ruler = ["---:" if column in self.right else "---" for column in self.columns]
        ordered = [rows[number] for number in sorted(rows, key=place)]
        return "".join(
            "| " + " | ".join(cells) + " |\n" for cells in [self.columns, ruler, *ordered]
        )


def place(number: str) -> tuple[str, int, str]:
    """Return the key that sorts 2 before 10, and 14a after 14."""
    match = re.fullmatch(r"(\D*)(\d*)(.*)", number)
    assert match is not None
    return match[1], int(match[2] or 0), match[3]


def arguments(module: str, doc: str | None, only: str) -> argparse.ArgumentParser:
    """Return a parser of the arguments that both runners have."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc)
    parser.add_argument("--only", default="", help=only)
    parser.add_argument("--seed", type=int, default=None, help="the seed of a run to repeat")
    parser.add_argument("--write", action="store_true", help=f"write the rows into {PAGE.name}")
    parser.add_argument("--json", type=Path, help="write the rows into this file too")
    return parser


class Runner:
    """One run: it prints, writes and keeps the rows, and returns the exit code."""

    def __init__(self, section: Section, options: argparse.Namespace, heading: str = "") -> None:
        self.seed = options.seed
        if self.seed is None:
            self.seed = random.SystemRandom().randrange(10**6)
        self.rows: list[Any] = []
        self._section = section
        self._options = options
        self._began = time.monotonic()
        self._lock = threading.Lock()
        print("\n".join(filter(None, [f"seed {self.seed}", heading])), flush=True)

    def add(self, row: Row) -> None:
        """Print a row, and with `--write` put it into the docs."""
        with self._lock:
            self.rows.append(row)
            print("\n".join(row.lines()), flush=True)
            if self._options.write:
                measured = f"{datetime.datetime.now(datetime.UTC).date()}, {commit()}"
                cells = [*row.cells(), f"{measured}, seed {self.seed}"]
                self._section.write(PAGE, row.table, cells)

    def end(self, *failed: str, summary: str = "") -> int:
        """Print how it ended, `failed` being what could not be run; return the exit code."""
        took = f"{time.monotonic() - self._began:.0f} s, seed {self.seed}"
        print(", ".join(filter(None, [summary, took])))
        self.rows.sort(key=lambda row: (row.table, place(row.number)))
        if self._options.json:
            rows = [dataclasses.asdict(row) for row in self.rows]
            self._options.json.write_text(json.dumps(rows))
        broken = [*(row.number for row in self.rows if row.is_broken), *failed]
        if broken:
            print(f"BROKEN: {', '.join(broken)}")
        return int(bool(broken))


def on_stage(make: Callable[[Path], Any], work: Callable[[Any], None]) -> bool:
    """Do work on a stage in a folder of its own; print why where it failed, return whether not."""
    with tempfile.TemporaryDirectory(prefix="stage-") as directory:
        stage = make(Path(directory))
        try:
            work(stage)
        except Exception:  # noqa: BLE001 - printed
            stage.print_failure()
            return False
        finally:
            stage.close()
    return True


def commit() -> str:
    """Return the commit that is run."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
