"""`python -m tests.faults`: hurt a running service in every way of the catalogue, and count.

Exits with 1 when something that must hold did not. Without `--long` it takes under three
minutes, has many processes at once, and gives them three times the seconds that are promised;
with it under 45, and every bound is as it is promised.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from project.processes import Process, hold_environment

from .catalogue import FAMILIES
from .family import Family
from .report import Row, heading, text_line, write_guarantees
from .stage import Stage

#: What stands before a row on a family's output; all else there is its log.
_MARK = "row: "


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--long", action="store_true", help="20,000 tasks and more")
    parser.add_argument("--only", default="", help="numbers of faults, separated by commas")
    parser.add_argument("--seed", type=int, default=None, help="to do the same again")
    parser.add_argument("--no-contrast", action="store_true", help="without the usual way beside")
    parser.add_argument(
        "--write", action="store_true", help="put the table into docs/guarantees.md"
    )
    parser.add_argument("--json", type=Path, help="put the rows into this file too")
    parser.add_argument("--family", help=argparse.SUPPRESS)
    options = parser.parse_args()
    only = {number.strip() for number in options.only.split(",") if number.strip()}
    hold_environment()
    if options.family:
        return run_family(options.family, only, seed=options.seed, long=options.long)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    families = chosen(only, long=options.long, contrast=not options.no_contrast)
    if not families:
        parser.error(f"--only {options.only}: no such fault in this form")
    return run_all(families, seed, options)


def chosen(only: set[str], *, long: bool, contrast: bool) -> list[type[Family]]:
    """The families that have something to do."""
    return [
        family
        for family in FAMILIES
        if (contrast or not family.contrast)
        and any(is_chosen(one.number, only) for one, _ in family.faults(long=long))
    ]


def is_chosen(number: str, only: set[str]) -> bool:
    """Whether a row was asked for; 14 asks for 14a and 14b too."""
    return not only or number in only or number.rstrip("abcdefgh") in only


def run_all(families: list[type[Family]], seed: int, options: argparse.Namespace) -> int:
    """Run each family in a process of its own, the lanes side by side."""
    began = time.monotonic()
    rows: list[Row] = []
    failed: list[str] = []
    lock = threading.Lock()
    print(f"seed {seed}\n{heading()}", flush=True)

    def run(family: type[Family]) -> None:
        def on_line(_name: str, line: str) -> None:
            if line.startswith(_MARK):
                row = Row(**json.loads(line.removeprefix(_MARK)))
                with lock:
                    rows.append(row)
                    print(text_line(row), *(f"      {why}" for why in shown(row)), sep="\n")
                    sys.stdout.flush()

        command = [sys.executable, "-m", "tests.faults", "--family", family.name]
        command += ["--seed", str(seed), "--only", options.only]
        command += ["--long"] if options.long else []
        process = Process(family.name, command, env=os.environ, on_line=on_line)
        process.start()
        while process.returncode is None:
            time.sleep(0.05)
        process.kill()
        if process.returncode != 0:
            failed.append(family.name)
            print(f"{process.describe_end()}:\n{process.log()[-3000:]}", file=sys.stderr)

    lanes: dict[str, list[type[Family]]] = {}
    for family in families:
        lanes.setdefault(family.lane, []).append(family)

    def run_lane(lane: list[type[Family]]) -> None:
        for family in lane:
            run(family)

    # The long form is the one that looks at seconds.
    with ThreadPoolExecutor(2 if options.long else len(lanes)) as pool:
        for done in [pool.submit(run_lane, lane) for lane in lanes.values()]:
            done.result()
    rows.sort(key=Row.place)
    ours = [row for row in rows if not row.contrast]
    broken = [row.number for row in ours if not row.holds]
    took = time.monotonic() - began
    print(f"{sum(row.tasks for row in ours):,} tasks, {took:.0f} s, seed {seed}")
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows]))
    if options.write:
        command = "make faults LONG=1" if options.long else "make faults"
        write_guarantees(rows, command, commit())
    if broken or failed:
        print(f"BROKEN: {', '.join(broken + failed)}")
        return 1
    return 0


def commit() -> str:
    """The commit that is run."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def shown(row: Row) -> list[str]:
    """The lines below a row."""
    return [*([row.note] if row.note else []), *([] if row.contrast else row.broken)]


def run_family(name: str, only: set[str], *, seed: int, long: bool) -> int:
    """Run the rows of one family here, and print each."""
    [kind] = [family for family in FAMILIES if family.name == name]
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        stage = Stage(Path(directory), seed=seed, long=long)
        try:
            family = kind(stage)
            for one, size in kind.faults(long=long):
                if not is_chosen(one.number, only):
                    continue
                stage.rng.seed(f"{seed} {one.number}")
                outcome = one.run(family, size)
                row = Row.of(
                    one.number,
                    one.title,
                    seed,
                    outcome.verdict,
                    # Nothing has recovered where something never came.
                    recovered=None if outcome.verdict.lost else outcome.recovered,
                    broken=outcome.broken,
                    note=outcome.note,
                    contrast=kind.contrast,
                )
                print(_MARK + json.dumps(dataclasses.asdict(row)), flush=True)
        except Exception:  # noqa: BLE001 - printed
            stage.print_failure()
            return 1
        finally:
            stage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
