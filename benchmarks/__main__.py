"""Compare this service with other solutions, in one run on one machine.

This command starts real processes: Redis, prefork workers, web servers. It stores the results in
benchmarks/results/, and exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from project.processes import lock_environment

from . import machine
from .report import Table
from .stage import FULL, QUICK, Size, stage
from .targets import TARGETS, verdicts

#: The works, in the order in which they run.
WORKS = (
    *("publish", "tasks", "delivery", "own", "handshakes", "idle", "pings"),
    *("latency", "browser", "polling", "scaling", "store"),
)
#: The works that `--quick` measures.
QUICK_WORKS = ("publish", "tasks", "delivery", "own")
RESULTS = Path(__file__).with_name("results")


def main(arguments: list[str]) -> int:
    """Run the chosen works, print their tables and verdicts, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure only a few ratios")
    parser.add_argument("--only", default="", help=f"the works to measure, of {','.join(WORKS)}")
    parser.add_argument("--sockets", type=int, default=0, help="measure this number of idle ones")
    parser.add_argument("--write", action="store_true", help="write the results into the docs")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",") if options.only else QUICK_WORKS if options.quick else WORKS
    if unknown := set(chosen) - set(WORKS):
        parser.error(f"unknown: {', '.join(unknown)}; allowed: {', '.join(WORKS)}")
    lock_environment()
    size = replace(QUICK if options.quick else FULL, sockets=options.sockets)
    tables = measure(chosen, size)
    targets = [each for each in TARGETS if size == FULL or not each.is_full]
    lines, met = verdicts(tables, targets)
    print("\n" + "\n".join(lines), flush=True)
    if options.write:
        from .docs import write

        write(RESULTS, WORKS)
    return 0 if met else 1


def measure(chosen: tuple[str, ...] | list[str], size: Size) -> dict[str, Table]:
    """Measure the chosen works; print and store the results of each."""
    tables: dict[str, Table] = {}
    with stage(size) as there:
        on = machine.describe(there.redis_url)
        print("\n".join(description(on)), flush=True)
        for name in chosen:
            began, stolen = time.monotonic(), machine.stolen()
            try:
                table: Table = import_module(f".works.{name}", __package__).run(there)
            finally:
                there.close()
            table.stolen = round(stolen(), 3)
            tables[name] = table
            print(f"\n{table.title} ({time.monotonic() - began:.0f} s)\n")
            print("\n".join([*table.lines(), "", *table.notes()]), flush=True)
            if size == FULL:
                keep(table, on)
    return tables


def description(on: dict[str, Any]) -> list[str]:
    """Return the lines that name the machine and the versions."""
    versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    return [
        f"{on['date']}, {on['cpu']}, {on['cores']} cores, load {on['load']}, commit {on['commit']}",
        versions,
    ]


def keep(table: Table, on: dict[str, Any]) -> None:
    """Store the figures of a work as JSON, with the machine and the versions."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"on": on, **table.as_json()}, ensure_ascii=False, indent=1)
    (RESULTS / f"{table.name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
