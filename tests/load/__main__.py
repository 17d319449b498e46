"""`python -m tests.load`: what one web process holds, and how it ends, measured.

Exits with 1 when a figure misses its target. The full form takes 20 minutes, of a machine that
does nothing else; `--short` does little of each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from project.processes import hold_environment

from .report import Row, text_line, write_guarantees
from .stage import LoadStage


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a little of each")
    parser.add_argument("--only", default="", help="letters of figures")
    parser.add_argument("--seed", type=int, default=None, help="to do the same again")
    parser.add_argument("--write", action="store_true", help="put rows into docs/guarantees.md")
    parser.add_argument("--json", type=Path, help="put the rows into this file too")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    began = time.monotonic()
    hold_environment()
    rows: list[Row] = []
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="load-") as directory:
        stage = LoadStage(Path(directory), seed=seed, long=not options.short)
        try:
            stage.open()
            from .figures import FIGURES  # only now: it needs the settings

            for letter in options.only or FIGURES:
                for row in FIGURES[letter](stage):
                    rows.append(row)
                    print(text_line(row), flush=True)
        except Exception:  # noqa: BLE001 - printed
            stage.print_failure()
            return 1
        finally:
            stage.close()
    broken = [row.number for row in rows if row.holds is False]
    print(f"{time.monotonic() - began:.0f} s, seed {seed}")
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows]))
    if options.write:
        write_guarantees(rows, "make load")
    if broken:
        print(f"BROKEN: {', '.join(broken)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
