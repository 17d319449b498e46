"""Write the results into `docs/performance.md`, between its markers, and draw the plots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import peers
from .report import Table, number
from .targets import TARGETS, verdicts

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
_MARKED = re.compile(r"(<!-- (\w+): .*? -->\n).*?(<!-- end -->)", re.DOTALL)

#: The colour and mark of each way.
_STYLES = {
    peers.REALTIME: ("#0b7a3b", "o"),
    peers.TUTORIAL: ("#c0392b", "s"),
    peers.CORE: ("#e67e22", "v"),
    peers.UVICORN: ("#d35ca0", "^"),
    peers.SOCKET_IO: ("#2e6fb7", "D"),
    peers.EVENTSTREAM: ("#7d5bbe", "P"),
    peers.BARE: ("#7f8c8d", "x"),
}


def write(results: Path, names: tuple[str, ...]) -> None:
    """Write every work with stored results into the page, and draw the plots."""
    kept = {
        name: json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
        for name in names
        if (results / f"{name}.json").exists()
    }
    tables = {name: Table.from_json(text) for name, text in kept.items()}
    page = PAGE.read_text(encoding="utf-8")

    _plot(tables)

    def fill(marked: re.Match[str]) -> str:
        name = marked[2]
        if name == "targets":
            lines = verdicts(tables, TARGETS)[0]
        elif name == "machine":
            lines = _machine(kept)
        elif name in tables:
            table = tables[name]
            lines = [*_pictures(name, table), *table.lines(), "", *table.notes()]
        else:
            lines = ["Not measured yet."]
        return marked[1] + "\n" + "\n".join(lines).strip() + "\n\n" + marked[3]

    PAGE.write_text(_MARKED.sub(fill, page), encoding="utf-8")


def _machine(kept: Mapping[str, Any]) -> list[str]:
    """Return lines with the time, the machine and the versions of each run."""
    runs: dict[str, list[str]] = {}
    for name, text in kept.items():
        on = text["on"]
        versions = ", ".join(f"{package} {version}" for package, version in on["versions"].items())
        where = f"{on['cpu']}, {on['cores']} cores, Linux {on['kernel']}, commit {on['commit']}"
        runs.setdefault(f"{on['date']}, {where}.\n\n{versions}.", []).append(name)
    if len(runs) == 1:
        return list(runs)
    lines = [f"**Measured in {len(runs)} runs**, not in one:"]
    for run, names in runs.items():
        lines += ["", f"{', '.join(names)}: {run}"]
    return lines


def _plot(tables: Mapping[str, Table]) -> None:
    """Draw the plots. Without matplotlib, print that and draw none."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("matplotlib is not installed: the plots were not drawn")
        return
    mpl.use("svg")
    # The same figures must give the same file, and text must stay text.
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 10})
    for name, plots in _PLOTS.items():
        for draw, column, case, file in plots:
            if name in tables:
                draw(tables[name], column, case, file)


def _pictures(name: str, table: Table) -> list[str]:
    lines = [
        f"![{table.title}: {column}](images/{file})"
        for _, column, _, file in _PLOTS.get(name, ())
        if (IMAGES / file).exists()
    ]
    return [*lines, ""] if lines else []


def _curves(table: Table, column: str, _case: str, file: str) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for way, (colour, mark) in _STYLES.items():
        sizes = [int(case) for case, of in table.rows if of == way]
        if sizes:
            middles = [table.median(way, column, size) for size in sizes]
            bold = 2.4 if way == peers.REALTIME else 1.2
            axes.plot(sizes, middles, color=colour, marker=mark, label=way, linewidth=bold)
    axes.set(xscale="log", yscale="log", xlabel=table.cases, ylabel=column, title=table.title)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, file)


def _bars(table: Table, column: str, case: str, file: str) -> None:
    from matplotlib import pyplot

    ways = [way for of, way in table.rows if of == case]
    middles = [table.median(way, column, case) for way in ways]
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.38 * len(ways)), layout="constrained")
    colours = ["#0b7a3b" if way == peers.REALTIME else "#95a5a6" for way in ways]
    bars = axes.barh(ways, middles, color=colours)
    axes.bar_label(bars, [number(each) for each in middles], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel=column)
    axes.set_title(f"{table.title}, {case}" if case else table.title, fontsize=10)
    _save(figure, file)


def _save(figure: Any, file: str) -> None:
    from matplotlib import pyplot

    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / file, metadata={"Date": None})
    pyplot.close(figure)


#: By work, its plots: the function that draws it, the column, the case, and the file.
_PLOTS = {
    "publish": ((_bars, "wall p50 µs", "", "performance-publish.svg"),),
    "tasks": ((_bars, "tasks/s", "no-op", "performance-tasks.svg"),),
    "delivery": (
        (_curves, "CPU µs a delivery", "", "performance-delivery.svg"),
        (_curves, "p99 ms", "", "performance-latency.svg"),
    ),
    "idle": ((_curves, "KiB each", "", "performance-memory.svg"),),
}
