"""`python -m tests.load`: measure web processes under load, and when they end.

The command exits with 1 if a figure misses its target. It takes 20 minutes, on a machine that runs
nothing else; `--short` measures a little of each figure.
"""

from __future__ import annotations

import sys

from project.processes import lock_environment
from tests.runner import Runner, arguments, on_stage

from .report import SECTION
from .stage import LoadStage


def main() -> int:
    parser = arguments("tests.load", __doc__, "the letters of the figures to measure, such as cd")
    parser.add_argument(
        "--short",
        action="store_true",
        help="measure a little of each figure",
    )
    options = parser.parse_args()
    lock_environment()
    runner = Runner(SECTION, options)

    def run(stage: LoadStage) -> None:
        stage.open()
        from .figures import FIGURES  # only now: it needs the settings

        for letter in options.only or FIGURES:
            for row in FIGURES[letter](stage):
                runner.add(row)

    done = on_stage(
        lambda directory: LoadStage(directory, seed=runner.seed, long=not options.short), run
    )
    return runner.end(*([] if done else ["a figure could not be measured"]))


if __name__ == "__main__":
    sys.exit(main())
