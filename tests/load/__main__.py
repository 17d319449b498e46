"""`python -m tests.load`: measure a web process under load, and its end.

Exits with 1 when a figure misses its target. The full form takes 20 minutes, on a machine that
does nothing else; `--short` does little of each.
"""

from __future__ import annotations

import sys

from project.processes import lock_environment
from tests.runner import Runner, arguments, on_stage

from .report import SECTION
from .stage import LoadStage


def main() -> int:
    parser = arguments("tests.load", __doc__, "letters of figures")
    parser.add_argument("--short", action="store_true", help="a little of each")
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
    return runner.end(*([] if done else ["it could not be run to its end"]))


if __name__ == "__main__":
    sys.exit(main())
