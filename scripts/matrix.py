"""Run the tests that meet other people's code against other releases of it: `make matrix`.

Each pair of versions gets an environment of its own in `.matrix/`. A Python that is not on the
machine is left out, loudly.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bootstrap import uv_environment

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".venv" / "bin" / "uv"
TESTS = [
    "tests/attacks",
    "tests/unit/core",
    "tests/unit/test_results.py",
    "tests/unit/web",
    "tests/unit/worker",
    "tests/integration/test_store.py",
    "tests/integration/test_receiver.py",
    "tests/integration/test_worker.py",
    "tests/integration/test_reconciler.py",
    "tests/integration/test_wire.py",
    "tests/integration/test_access.py",
    "tests/integration/test_http.py",
]


class Row(NamedTuple):
    """An interpreter, and what is not as in the lock."""

    python: str
    packages: tuple[str, ...]


ROWS = [
    Row("3.11", ("celery~=5.6.0",)),
    Row("3.11", ("redis~=7.0",)),
    Row("3.11", ("celery~=5.6.0", "redis~=7.0")),
    Row("3.12", ("django~=6.0.0",)),
    Row("3.13", ("django>=6.1",)),
]


def interpreter(version: str) -> str | None:
    """Return a Python of this version, if the machine has one; none is downloaded."""
    # pyenv's `python3.12` on PATH is there whether it works or not: prefer what it points to.
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")


def run(row: Row) -> bool | None:
    """Install and test one row; None where its Python is missing."""
    python = interpreter(row.python)
    if python is None:
        return None
    name = "-".join([row.python, *row.packages])
    place = ROOT / ".matrix" / "".join(c if c.isalnum() or c in ".-" else "_" for c in name)
    environment, overrides = place / "bin" / "python", place / "overrides.txt"
    requirements: list[str | Path] = ["-r", "requirements/dev.in", "--overrides", overrides]
    if not succeeds([UV, "venv", "--quiet", "--clear", "--python", python, place]):
        return False
    overrides.write_text("\n".join(row.packages))
    return succeeds(
        [UV, "pip", "install", "--quiet", "--python", environment, *requirements]
    ) and succeeds([environment, "-m", "pytest", "-q", *TESTS])


def succeeds(command: list[str | Path]) -> bool:
    """Run a command here; return whether it ended well."""
    done = subprocess.run(command, cwd=ROOT, env=uv_environment(), check=False)
    return done.returncode == 0


def main() -> int:
    """Run every row, then say what became of each."""
    results = [(row, run(row)) for row in ROWS]
    for row, passed in results:
        verdict = "LEFT OUT, no such Python" if passed is None else "ok" if passed else "FAILED"
        print(f"python {row.python}  {' '.join(row.packages):32} {verdict}")
    return any(passed is False for _, passed in results)


if __name__ == "__main__":
    sys.exit(main())
