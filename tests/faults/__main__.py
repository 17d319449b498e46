"""`python -m tests.faults`: apply every fault of the catalogue to a running service.

The command exits with 1 if a requirement is not met. The short form takes less than three minutes.
It runs many processes at once, and allows three times the seconds that are promised. With `--long`
the command takes less than 45 minutes, and allows exactly the seconds that are promised.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from project.processes import Process, lock_environment
from tests.runner import Runner, arguments, on_stage

from .catalogue import FAMILIES
from .family import Family
from .report import SECTION, Row, heading
from .stage import Stage

#: The prefix of a row in a family's output; all other lines are its log.
_MARK = "row: "


def main() -> int:
    parser = arguments("tests.faults", __doc__, "numbers of faults to apply, separated by commas")
    parser.add_argument("--long", action="store_true", help="more tasks, and all faults")
    parser.add_argument("--no-contrast", action="store_true", help="without the tutorial's rows")
    parser.add_argument("--family", help=argparse.SUPPRESS)
    options = parser.parse_args()
    only = {number.strip() for number in options.only.split(",") if number.strip()}
    lock_environment()
    if options.family:
        return run_family(options.family, only, seed=options.seed, long=options.long)
    families = chosen(only, long=options.long, contrast=not options.no_contrast)
    if not families:
        parser.error(f"--only {options.only}: this form has no such fault")
    return run_all(families, options)


def chosen(only: set[str], *, long: bool, contrast: bool) -> list[type[Family]]:
    """Return the families that have something to do."""
    return [
        family
        for family in FAMILIES
        if (contrast or not family.contrast)
        and any(is_chosen(one.number, only) for one, _ in family.faults(long=long))
    ]


def is_chosen(number: str, only: set[str]) -> bool:
    """Return whether a row was selected; 14 selects 14a and 14b too."""
    return not only or number in only or number.rstrip("abcdefgh") in only


def run_all(families: list[type[Family]], options: argparse.Namespace) -> int:
    """Run each family in a process of its own, the lanes side by side."""
    runner = Runner(SECTION, options, heading())
    failed: list[str] = []
    lanes: dict[str, list[type[Family]]] = {}
    for family in families:
        lanes.setdefault(family.lane, []).append(family)

    def run_lane(lane: list[type[Family]]) -> None:
        failed.extend(family.name for family in lane if not run_process(family, runner, options))

    # The long form is the one whose seconds count.
    with ThreadPoolExecutor(2 if options.long else len(lanes)) as pool:
        for done in [pool.submit(run_lane, lane) for lane in lanes.values()]:
            done.result()
    tasks = sum(row.tasks for row in runner.rows if not row.contrast)
    return runner.end(*failed, summary=f"{tasks:,} tasks")


def run_process(family: type[Family], runner: Runner, options: argparse.Namespace) -> bool:
    """Run a family; return whether it could be run."""

    def on_line(_name: str, line: str) -> None:
        if line.startswith(_MARK):
            runner.add(Row(**json.loads(line.removeprefix(_MARK))))

    command = [sys.executable, "-m", "tests.faults", "--family", family.name]
    command += ["--seed", str(runner.seed), "--only", options.only]
    command += ["--long"] if options.long else []
    process = Process(family.name, command, env=os.environ, on_line=on_line)
    process.start()
    while process.returncode is None:
        time.sleep(0.05)
    process.kill()
    if process.returncode != 0:
        print(f"{process.describe_end()}:\n{process.log()[-3000:]}", file=sys.stderr)
    return process.returncode == 0


def run_family(name: str, only: set[str], *, seed: int, long: bool) -> int:
    """Run the rows of one family here, and print each."""
    [kind] = [family for family in FAMILIES if family.name == name]

    def run(stage: Stage) -> None:
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
                # Without all endings nothing has recovered.
                recovered=None if outcome.verdict.lost else outcome.recovered,
                broken=outcome.broken,
                note=outcome.note,
                contrast=kind.contrast,
            )
            print(_MARK + json.dumps(dataclasses.asdict(row)), flush=True)

    done = on_stage(lambda directory: Stage(directory, seed=seed, long=long), run)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
