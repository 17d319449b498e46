"""Report on a CSV file by a chord: its parts read the columns, and its body joins the results."""

from __future__ import annotations

import json
from collections import Counter
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Task, chord, shared_task
from celery.result import AsyncResult

from realtime import set_progress
from tasks.files import write_whole
from tasks.imports import HEAD_ROWS, Column, CsvError, learn_columns, open_table
from tasks.pace import pause

MAX_PARTS = 4
MAX_TOP = 10_000  #: different values of a column that are counted; later ones are left out
TOP = 5  #: most frequent values of each column that the report lists


def start_report(
    path: str, *, into: str, name: str | None = None, pace: float = 0.0
) -> AsyncResult[Any]:
    """Start a report on the CSV file at `path`; return the result of its last task.

    The parts are `result.parent.children`. Raises `CsvError` at once if the file has no header.
    """
    with open_table(path) as table:
        parts = min(MAX_PARTS, len(table.header))
    header = [read_part.s(path, part, parts, pace=pace) for part in range(parts)]
    body = build_report.s(into=into, name=name or Path(path).name)
    return chord(header)(body)


@shared_task
def read_part(path: str, part: int, parts: int, *, pace: float = 0.0) -> dict[str, Any]:
    """Read every `parts`-th column of the CSV file at `path`, starting with number `part`.

    Returns the number of rows and, for each column, its number, its figures and its most
    frequent values. Raises `CsvError` if the file is not CSV or has no rows.
    """
    rows = 0
    with open_table(path) as table:
        head = list(islice(table.rows, HEAD_ROWS))
        if not head:
            raise CsvError("The file has a header but no rows.")
        columns = learn_columns(table, [row for _, row in head])
        places = range(part, len(columns), parts)
        mine = [(place, columns[place], Counter[str]()) for place in places]
        for source in (head, table.rows):
            for line, row in source:
                rows += 1
                if len(row) == len(columns):
                    for place, column, values in mine:
                        _count(column, values, row[place].strip())
                set_progress(line, table.lines, message=f"part {part + 1} of {parts}")
                pause(pace)
    return {
        "rows": rows,
        "columns": [
            column.statistics() | {"place": place, "top": _top(values)}
            for place, column, values in mine
        ],
    }


def _count(column: Column, values: Counter[str], cell: str) -> None:
    if column.problem(cell) is not None:
        return
    column.add(cell)
    if cell and (cell in values or len(values) < MAX_TOP):
        values[cell[:80]] += 1


def _top(values: Counter[str]) -> list[list[Any]]:
    return [[value, times] for value, times in values.most_common(TOP) if times > 1]


@shared_task(bind=True)
def build_report(
    self: Task[..., Any], parts: list[dict[str, Any]], *, into: str, name: str
) -> dict[str, Any]:
    """Join the results of the parts and write the report, as JSON and as a page, into `into`.

    Returns the written files and, for each column, a sentence.
    """
    set_progress(0, 3, message="joining the parts")
    columns = sorted(
        (column for part in parts for column in part["columns"]),
        key=lambda column: column["place"],
    )
    report = {"file": name, "rows": parts[0]["rows"], "columns": columns}
    stem = Path(into) / f"report-{self.request.id or uuid4().hex}"
    set_progress(1, 3, message="writing the figures")
    data = json.dumps(report, indent=2, ensure_ascii=False).encode()
    written = [_write(stem.with_suffix(".json"), data)]
    set_progress(2, 3, message="writing the page")
    written.append(_write(stem.with_suffix(".html"), _page(report).encode()))
    set_progress(3, 3, message="report written")
    return {
        "file": name,
        "rows": report["rows"],
        "written": written,
        "summary": [_sentence(column) for column in columns],
    }


def _write(path: Path, data: bytes) -> dict[str, Any]:
    return {"file": path.name, "bytes": write_whole(path, data)}


def _sentence(column: dict[str, Any]) -> str:
    text = f"{column['name']}: {column['kind']}, {column['filled']} filled, {column['empty']} empty"
    if "min" in column:
        text += f", {column['min']} to {column['max']}"
    if column["top"] and column["kind"] == "text":
        value, times = column["top"][0]
        text += f", most often “{value}” ({times} times)"
    return text


def _page(report: dict[str, Any]) -> str:
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(str(column.get(key, '')))}</td>" for key in _SHOWN)
        + f"<td>{escape(', '.join(f'{value} ({times})' for value, times in column['top']))}</td>"
        + "</tr>\n"
        for column in report["columns"]
    )
    heads = "".join(f"<th>{key}</th>" for key in (*_SHOWN, "most often"))
    title = escape(report["file"])
    return _PAGE.format(title=title, count=report["rows"], heads=heads, rows=rows)


_SHOWN = ("name", "kind", "filled", "empty", "distinct", "min", "max", "mean")
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Report on {title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; color-scheme: light dark }}
td, th {{ padding: .3rem .8rem; text-align: left; border-bottom: 1px solid #8885 }}
</style>
<h1>Report on {title}</h1>
<p>{count} rows.</p>
<table>
<tr>{heads}</tr>
{rows}</table>
</html>
"""
