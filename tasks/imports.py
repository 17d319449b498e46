"""Import an uploaded CSV file: check every row, and count the values of every column."""

import codecs
import csv
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from celery import shared_task

from realtime import set_progress
from tasks.pace import pause

MAX_BAD_ROWS = 20  #: bad rows that the result lists; the others are only counted
MAX_COLUMNS = 200
MAX_LINE = 1 << 20  #: bytes
MAX_DISTINCT = 1_000  #: different values that are counted in a column
HEAD_ROWS = 200  #: rows that decide the kind of a column
USUALLY = 0.9  #: the share of them that must be of that kind

_CHUNK = 1 << 16
# Bytes that do not occur in text. Tab, line feed, vertical tab, form feed and carriage return do.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_NUMBER = re.compile(r"[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_GERMAN_DATE = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", re.ASCII)


class CsvError(ValueError):
    """The file cannot be read as a table. The message gives the user the reason."""


@dataclass(frozen=True)
class Found:
    """The result of inspecting a file."""

    encoding: str
    lines: int


def inspect(file: BinaryIO) -> Found:
    """Read a binary file once, without storing it, and return how to decode it.

    Raises `CsvError` if the file is empty or is not text.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    utf8, cp1252 = True, True
    lines = 0
    line_bytes = 0
    last = b""
    while chunk := file.read(_CHUNK):
        if _BINARY.search(chunk):
            raise CsvError("This is not a CSV file: it contains binary data, or is UTF-16.")
        if utf8:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                utf8 = False
        # cp1252 does not define these five bytes; latin-1 accepts every byte.
        cp1252 = cp1252 and not re.search(rb"[\x81\x8d\x8f\x90\x9d]", chunk)
        # A lone carriage return (old Mac files) ends a line as well.
        *ended, rest = re.split(rb"\r\n|\n|\r(?!\Z)", chunk)
        for part in ended:
            _check_line(line_bytes + len(part))
            line_bytes = 0
        lines += len(ended)
        line_bytes += len(rest)
        _check_line(line_bytes)
        last = chunk
    if not last:
        raise CsvError("The file is empty.")
    if utf8:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            utf8 = False
    encoding = "utf-8-sig" if utf8 else "cp1252" if cp1252 else "latin-1"
    return Found(encoding, lines + (line_bytes > 0))


def _check_line(size: int) -> None:
    if size > MAX_LINE:
        raise CsvError(f"This is not a CSV file: a line is longer than {MAX_LINE:,} bytes.")


@dataclass(frozen=True)
class Table:
    """An open CSV file: its header, and its rows, each with the number of its last line."""

    encoding: str
    delimiter: str
    lines: int
    header: list[str]
    rows: Iterator[tuple[int, list[str]]]


@contextmanager
def open_table(path: str) -> Iterator[Table]:
    """Open the CSV file at `path`, to read it row by row.

    Raises `CsvError` if it is not CSV, here or while the rows are read.
    """
    with Path(path).open("rb") as file:
        found = inspect(file)
    with Path(path).open(encoding=found.encoding, newline="") as text:
        delimiter = _delimiter(text.read(_CHUNK))
        text.seek(0)
        rows = _rows(text, delimiter)
        _, header = next(rows, (0, []))
        if not header:
            raise CsvError("The file is empty.")
        if len(header) > MAX_COLUMNS:
            raise CsvError(f"The file has {len(header)} columns; {MAX_COLUMNS} are allowed.")
        header = [cell.strip() or f"column {n}" for n, cell in enumerate(header, 1)]
        yield Table(found.encoding, delimiter, found.lines, header, rows)


def _rows(text: Any, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:  # a blank line is not a row
                yield reader.line_num, row
    except csv.Error as error:
        raise CsvError(f"Line {reader.line_num} cannot be read as CSV: {error}.") from error


def _delimiter(head: str) -> str:
    """Return the separator with which most of the first rows have the same number of cells.

    Not `csv.Sniffer`: it guesses letters as separators, and fails on a single column.
    """
    best, best_score = ",", 0.0
    for candidate in ",;\t|":
        reader = csv.reader(StringIO(head, newline=""), delimiter=candidate)
        try:
            widths = [len(row) for row in islice(reader, 20) if row]
        except csv.Error:
            continue
        if widths and widths[0] > 1:
            score = sum(width == widths[0] for width in widths) / len(widths)
            if score > best_score:
                best, best_score = candidate, score
    return best


@dataclass
class Column:
    """One column: its kind, and the values that were counted."""

    name: str
    kind: str = "text"  # or "number", "date"
    required: bool = False
    decimal_comma: bool = False
    count: int = 0
    empty: int = 0
    total: float = 0.0
    low: Any = None
    high: Any = None
    # Hashes instead of values: a column of long texts would fill the memory.
    distinct: set[int] = field(default_factory=set)

    def learn(self, cells: list[str]) -> None:
        """Set the column's kind by the cells of the first rows."""
        filled = [cell for cell in cells if cell]
        self.required = len(filled) >= USUALLY * len(cells)
        for kind in ("number", "date"):
            parsed = sum(self.parse(cell, kind) is not None for cell in filled)
            if filled and parsed >= USUALLY * len(filled):
                self.kind = kind
                break

    def parse(self, cell: str, kind: str) -> float | str | None:
        """Return the value of a cell, or None if it is not of the column's kind."""
        if kind == "number":
            text = cell.replace(",", ".", 1) if self.decimal_comma else cell
            value = float(text) if len(text) < 400 and _NUMBER.fullmatch(text) else math.inf
            return value if math.isfinite(value) else None
        if kind == "date":
            return _iso_date(cell)
        return cell

    def problem(self, cell: str) -> str | None:
        """Return what is wrong with a cell; None if nothing is."""
        if not cell:
            return f"{self.name} is empty" if self.required else None
        if self.parse(cell, self.kind) is None:
            return f"{self.name} is not a {self.kind}: {_short(cell)}"
        return None

    def add(self, cell: str) -> None:
        """Count a cell of a good row."""
        if not cell:
            self.empty += 1
            return
        self.count += 1
        if len(self.distinct) <= MAX_DISTINCT:
            self.distinct.add(hash(cell))
        if self.kind == "text":
            return
        value = self.parse(cell, self.kind)
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)
        if isinstance(value, float):
            self.total += value

    def statistics(self) -> dict[str, Any]:
        """Return the column's figures as JSON, with `min` and `max` only of numbers and dates."""
        many = len(self.distinct) > MAX_DISTINCT
        figures: dict[str, Any] = {
            "name": _short(self.name),
            "kind": self.kind,
            "filled": self.count,
            "empty": self.empty,
            "distinct": f"more than {MAX_DISTINCT}" if many else len(self.distinct),
        }
        if self.low is not None:
            figures |= {"min": self.low, "max": self.high}
        if self.kind == "number" and self.count:
            figures["mean"] = round(self.total / self.count, 6)
        return figures


def _iso_date(cell: str) -> str | None:
    """Return a date (`2026-11-22`, also with a time, or `22.11.2026`) as ISO text, or None."""
    if len(cell) > 40:
        return None
    try:
        return date.fromisoformat(cell).isoformat()
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(cell).isoformat()
    except ValueError:
        pass
    if german := _GERMAN_DATE.fullmatch(cell):
        day, month, year = map(int, german.groups())
        try:
            return date(year, month, day).isoformat()
        except ValueError:
            pass
    return None


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def learn_columns(table: Table, head: list[list[str]]) -> list[Column]:
    """Return the columns of a table, with their kinds by its first rows."""
    columns = [Column(name, decimal_comma=table.delimiter == ";") for name in table.header]
    whole = [row for row in head if len(row) == len(columns)]
    for index, column in enumerate(columns):
        column.learn([row[index].strip() for row in whole])
    return columns


@shared_task
def import_csv(path: str, *, name: str | None = None, pace: float = 0.0) -> dict[str, Any]:
    """Read the CSV file at `path`, check every row and count the values of every column.

    The first rows decide the kind of a column (numbers, dates, never empty). `name` is the
    user's name of the file, `pace` the seconds to wait at each row. Returns the numbers of
    rows, the first bad rows with their lines and reasons, and figures for each column. Raises
    `CsvError` if the file is not CSV or has no rows.
    """
    good = bad = 0
    bad_rows: list[dict[str, Any]] = []
    with open_table(path) as table:
        head = list(islice(table.rows, HEAD_ROWS))
        if not head:
            raise CsvError("The file has a header but no rows.")
        columns = learn_columns(table, [row for _, row in head])
        for rows in (head, table.rows):
            for line, row in rows:
                cells = [cell.strip() for cell in row]
                reason = _problem(columns, cells)
                if reason is None:
                    good += 1
                    for column, cell in zip(columns, cells, strict=True):
                        column.add(cell)
                else:
                    bad += 1
                    if len(bad_rows) < MAX_BAD_ROWS:
                        bad_rows.append({"line": line, "reason": reason})
                set_progress(line, table.lines, message=f"{good + bad} rows read, {bad} bad")
                pause(pace)
    return {
        "file": name or Path(path).name,
        "encoding": table.encoding,
        "delimiter": table.delimiter,
        "rows": good + bad,
        "good": good,
        "bad": bad,
        "bad_rows": bad_rows,
        "columns": [column.statistics() for column in columns],
    }


def _problem(columns: list[Column], cells: list[str]) -> str | None:
    if len(cells) != len(columns):
        return f"{len(cells)} cells instead of {len(columns)}"
    problems = (column.problem(cell) for column, cell in zip(columns, cells, strict=True))
    return next((problem for problem in problems if problem), None)
